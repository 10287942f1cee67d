//! Position, what is being sent, and dead letters, on disk.
//!
//! `position.json` is replaced as a whole, `dead.jsonl` grows by lines; both are synced before anything follows from them.
//! A last line without an end is what a crash left of one that nothing followed from.

use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Error, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

const VERSION: u32 = 1;
const POSITION: &str = "position.json";
const DEAD: &str = "dead.jsonl";
/// Longest file of a position, and longest dead letter: an event has 1 MiB at the most, and its text is quoted.
const LONGEST: u64 = 8 << 20;

/// An event that is being sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) body: String,
    /// The position after it.
    pub(super) cursor: String,
    /// When it was sent first, in milliseconds after the Unix epoch.
    pub(super) first_ms: u64,
}

/// Where an endpoint is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    version: u32,
    /// The chain and its first block.
    pub(super) chain: Option<(String, String)>,
    /// The cursor after the last event that was acknowledged or given up.
    pub(super) cursor: Option<String>,
    pub(super) pending: Option<Pending>,
    /// Whether the endpoint wants nothing any more.
    pub(super) disabled: bool,
}

/// An event that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    /// Its id, as it was sent.
    pub id: String,
    /// The event's kind.
    pub kind: String,
    /// When it was given up, in milliseconds after the Unix epoch.
    pub at_ms: u64,
    /// Attempts of the process that gave it up.
    pub attempts: u64,
    /// Why the last one failed.
    pub reason: String,
    /// What was sent.
    pub body: String,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Dead(Dead),
    /// It was sent again, and acknowledged.
    Again {
        sent_again: String,
    },
}

/// What an endpoint's directory holds. It is for one process at a time, which its caller sees to.
#[derive(Debug)]
pub struct Kept {
    directory: PathBuf,
    pub(super) position: Position,
}

fn wrong(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{}: {why}", path.display()))
}

impl Kept {
    /// Opens a directory, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// The disk, or what is there is damaged or of a newer version.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join(POSITION);
        let mut text = String::new();
        let position = match File::open(&path) {
            Ok(file) => {
                file.take(LONGEST).read_to_string(&mut text)?;
                serde_json::from_str::<Position>(&text).map_err(|error| wrong(&path, error))?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Position { version: VERSION, ..Position::default() }
            }
            Err(error) => return Err(error),
        };
        if position.version != VERSION {
            return Err(wrong(&path, format_args!("version {}, not {VERSION}", position.version)));
        }
        Ok(Self { directory: directory.into(), position })
    }

    /// Writes the position durably: a start after a crash sees this one or the one before.
    pub(super) fn save(&self) -> Result<(), Error> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        serde_json::to_writer(&mut file, &self.position)?;
        file.as_file().sync_all()?;
        file.persist(self.directory.join(POSITION)).map_err(|error| error.error)?;
        self.sync()
    }

    fn sync(&self) -> Result<(), Error> {
        File::open(&self.directory)?.sync_all()
    }

    /// Writes a dead letter durably.
    pub(super) fn bury(&self, dead: Dead) -> Result<(), Error> {
        self.append(&Line::Dead(dead))
    }

    /// Notes durably that a dead letter was sent again.
    pub(super) fn sent_again(&self, id: &str) -> Result<(), Error> {
        self.append(&Line::Again { sent_again: id.into() })
    }

    fn append(&self, line: &Line) -> Result<(), Error> {
        let path = self.directory.join(DEAD);
        let mut options = OpenOptions::new();
        let mut file = options.create(true).read(true).append(true).open(path)?;
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                text.insert(0, b'\n');
            }
        }
        file.write_all(&text)?;
        file.sync_all()?;
        self.sync()
    }

    /// The dead letters that were not sent again, the oldest first.
    ///
    /// # Errors
    ///
    /// The disk.
    pub fn dead(&self) -> Result<Vec<Dead>, Error> {
        let file = match File::open(self.directory.join(DEAD)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let (mut reader, mut dead, mut text) =
            (BufReader::new(file), Vec::<Dead>::new(), Vec::new());
        loop {
            text.clear();
            if (&mut reader).take(LONGEST).read_until(b'\n', &mut text)? == 0 {
                return Ok(dead);
            }
            match serde_json::from_slice(&text) {
                Ok(Line::Dead(letter)) if dead.iter().all(|known| known.id != letter.id) => {
                    dead.push(letter);
                }
                Ok(Line::Again { sent_again }) => dead.retain(|letter| letter.id != sent_again),
                // A crash between the two files, or in the middle of a line.
                Ok(Line::Dead(_)) | Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(id: &str) -> Dead {
        let (kind, reason) = ("blocks".into(), "status 500".into());
        Dead { id: id.into(), kind, at_ms: 1, attempts: 2, reason, body: "{\"a\":1}".into() }
    }

    fn ids(kept: &Kept) -> Vec<String> {
        kept.dead().unwrap().into_iter().map(|dead| dead.id).collect()
    }

    #[test]
    fn a_position_is_the_one_that_was_written_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("here");
        let mut kept = Kept::open(&path).unwrap();
        assert_eq!(kept.position.cursor, None);
        for cursor in ["a", "b"] {
            kept.position.cursor = Some(cursor.into());
            kept.position.pending = Some(Pending {
                id: "i".into(),
                kind: "blocks".into(),
                body: "{}".into(),
                cursor: "c".into(),
                first_ms: 7,
            });
            kept.save().unwrap();
            assert_eq!(Kept::open(&path).unwrap().position, kept.position);
        }
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1, "nothing else is left there");
        for (text, words) in
            [("", "EOF"), ("{\"version\":2,\"disabled\":false}", "version 2, not 1")]
        {
            std::fs::write(path.join(POSITION), text).unwrap();
            let refused = Kept::open(&path).unwrap_err().to_string();
            assert!(refused.contains(words) && refused.contains(POSITION), "{refused}");
        }
    }

    #[test]
    fn a_dead_letter_is_there_until_it_was_sent_again() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Kept::open(directory.path()).unwrap();
        assert_eq!(ids(&kept), [""; 0]);
        for id in ["a", "b", "a", "c"] {
            kept.bury(letter(id)).unwrap();
        }
        assert_eq!(ids(&kept), ["a", "b", "c"], "one that was written twice is one");
        assert_eq!(kept.dead().unwrap()[1], letter("b"));
        kept.sent_again("b").unwrap();
        assert_eq!(ids(&kept), ["a", "c"]);
        // A process that was killed left half of a line.
        let path = directory.path().join(DEAD);
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"id\":\"d\",\"kin");
        std::fs::write(&path, text).unwrap();
        assert_eq!(ids(&kept), ["a", "c"]);
        kept.bury(letter("e")).unwrap();
        assert_eq!(ids(&kept), ["a", "c", "e"]);
    }
}

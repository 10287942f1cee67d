//! How `tidewatch prover` asks whoever proves: over a socket in the data directory.
//!
//! A question is one JSON line, and after it the bytes that it is about; then the asker closes its side. The answer
//! is one JSON line, with bytes after it likewise. The socket is its owner's alone, as the directory is.

use super::desk::Desk;
use crate::{Outcome, command::Problem};
use bytes::Bytes;
use commonware_runtime::{Clock as _, Spawner as _, Supervisor as _, tokio::Context};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tidewatch_core::json::Block;
use tidewatch_prover::Program;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
    sync::Semaphore,
    time::timeout,
};

/// The socket's name in the data directory.
const SOCKET: &str = "prover.sock";
/// Longest line of a question, and longest answer, in bytes.
const LINE_MAX: usize = 4 * 1024 * 1024;
/// Largest proof, in bytes.
const PROOF_MAX: usize = 64 * 1024 * 1024;
/// How long a question and its answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Questions at once.
const ASKERS: usize = 4;
/// Wait after a connection could not be accepted.
const REFUSED: Duration = Duration::from_millis(100);

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Ask {
    Status,
    Jobs {
        from: u64,
        max: u32,
    },
    Requeue {
        height: u64,
    },
    /// The bytes after it are the proof.
    Supply {
        height: u64,
    },
    Verify {
        height: u64,
    },
    /// Blocks that are as final as the finality of that name.
    Range {
        from: u64,
        finality: String,
        max: u32,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "snake_case")]
pub(super) enum Told {
    Status(Standing),
    Jobs {
        jobs: Vec<Job>,
    },
    Requeued {
        block: Named,
    },
    Supplied {
        block: Named,
    },
    /// The bytes after it are the proof.
    Verified {
        block: Named,
        parent: Named,
        bytes: usize,
        verified_ms: u64,
    },
    /// All of it as it stood at one moment.
    Range {
        finality: String,
        /// How far blocks are as final.
        tip: Named,
        /// Every tier that is known.
        tips: BTreeMap<String, Named>,
        blocks: Vec<Header>,
    },
    Refused {
        message: String,
        hint: Option<String>,
    },
}

/// A block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    pub(super) height: u64,
    pub(super) digest: String,
}

impl From<tidewatch_core::BlockRef> for Named {
    fn from(block: tidewatch_core::BlockRef) -> Self {
        let Block { height, digest } = block.into();
        Self { height, digest: digest.to_string() }
    }
}

/// A block, and the one below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    #[serde(flatten)]
    pub(super) block: Named,
    pub(super) parent: String,
}

/// Where proving stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Whether somebody proves; otherwise it is what is on disk.
    pub(super) running: bool,
    pub(super) proven: Named,
    pub(super) committed: Named,
    /// Blocks between them.
    pub(super) lag: u64,
    /// How long the lowest block that is not proven has waited here.
    pub(super) oldest_ms: Option<u64>,
    pub(super) pending: usize,
    pub(super) active: usize,
    pub(super) waiting: usize,
    pub(super) poisoned: usize,
    pub(super) stalled: bool,
    /// Why the lowest block is poisoned.
    pub(super) reason: Option<String>,
    pub(super) provers: Vec<Prover>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Prover {
    pub(super) name: String,
    pub(super) slots: usize,
    pub(super) used: usize,
    pub(super) down: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) block: Named,
    pub(super) stage: String,
    pub(super) attempts: u32,
    pub(super) failure: Option<String>,
    pub(super) provers: Vec<String>,
}

/// Asks whoever proves in `data`; `None` if nobody does.
pub(super) fn ask(data: &Path, ask: &Ask, bytes: &[u8]) -> Outcome<Option<(Told, Bytes)>> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let path = data.join(SOCKET);
    let failed = |error: io::Error| {
        Problem::failure(format!("cannot ask the prover at {}: {error}", path.display()))
            .hint("ask as the user that `tidewatch prove` runs as, or stop it and ask again")
    };
    let stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        // One that was killed leaves its socket behind.
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let (line, rest) = exchange(stream, ask, bytes).map_err(failed)?;
    let told = serde_json::from_slice(&line).map_err(|error| failed(error.into()))?;
    Ok(Some((told, rest)))
}

/// The line of the answer, and what comes after it.
fn exchange(mut stream: UnixStream, ask: &Ask, bytes: &[u8]) -> io::Result<(Bytes, Bytes)> {
    stream.set_read_timeout(Some(2 * PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut question = serde_json::to_vec(ask)?;
    question.push(b'\n');
    question.extend_from_slice(bytes);
    stream.write_all(&question)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.take((LINE_MAX + PROOF_MAX) as u64).read_to_end(&mut answer)?;
    split(answer).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// The first line, and the rest.
fn split(text: Vec<u8>) -> Option<(Bytes, Bytes)> {
    let at = text.iter().position(|byte| *byte == b'\n')?;
    let mut line = Bytes::from(text);
    let rest = line.split_off(at + 1);
    Some((line, rest))
}

/// A socket that answers until it is dropped.
pub(in crate::command) struct Socket {
    path: PathBuf,
    listener: Option<UnixListener>,
}

impl Socket {
    /// Listens in `data`, which is locked for this process.
    pub(super) fn open(data: &Path) -> Outcome<Self> {
        let path = data.join(SOCKET);
        let failed = |error: io::Error| {
            let problem = Problem::failure(format!("cannot listen at {}: {error}", path.display()));
            match error.kind() {
                io::ErrorKind::InvalidInput => problem.hint(
                    "a socket's path has about 100 characters at the most: name a shorter --data-dir",
                ),
                _ => problem.hint("check that the data directory is writable"),
            }
        };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { path, listener: Some(listener) })
    }

    /// Answers from `desk` until the runtime ends.
    pub(super) fn serve<P: Program>(&mut self, context: &Context, desk: Desk<P>) {
        let Some(listener) = self.listener.take() else { return };
        let (room, desk) = (Arc::new(Semaphore::new(ASKERS)), Arc::new(desk));
        context.child("control").spawn(move |context| async move {
            loop {
                let Ok((connection, _)) = listener.accept().await else {
                    context.sleep(REFUSED).await;
                    continue;
                };
                let Ok(permit) = room.clone().try_acquire_owned() else { continue };
                let desk = desk.clone();
                context.child("question").spawn(move |_| async move {
                    if let Ok(Err(error)) = timeout(PATIENCE, answer(connection, &desk)).await {
                        tracing::debug!(%error, "a question was not answered");
                    }
                    drop(permit);
                });
            }
        });
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // One that stays is taken away by the next.
    }
}

async fn answer<P: Program>(
    mut connection: tokio::net::UnixStream,
    desk: &Desk<P>,
) -> io::Result<()> {
    let mut question = Vec::new();
    (&mut connection).take((LINE_MAX + PROOF_MAX) as u64).read_to_end(&mut question).await?;
    let (line, bytes) = split(question).ok_or(io::ErrorKind::InvalidData)?;
    let (told, bytes) = match serde_json::from_slice(&line) {
        Ok(ask) => desk.answer(&ask, bytes).await,
        Err(error) => {
            let message = format!("the question is not understood: {error}");
            let hint = Some("ask with the same version of tidewatch".into());
            (Told::Refused { message, hint }, Bytes::new())
        }
    };
    let mut line = serde_json::to_vec(&told)?;
    line.push(b'\n');
    connection.write_all(&line).await?;
    connection.write_all(&bytes).await?;
    connection.shutdown().await
}

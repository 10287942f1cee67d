//! What a stream of events is made of.

use bytes::Bytes;
use commonware_cryptography::{Hasher as _, Sha256};
use rand::{Rng, RngExt as _};
use std::fmt;
use tidewatch_core::{ChainId, Cursor, Event};

/// One run of a publisher: drawn at its start, so that no two have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublisherId(String);

impl PublisherId {
    /// A new one.
    pub fn draw(rng: &mut impl Rng) -> Self {
        Self(format!("{:016x}", rng.random::<u64>()))
    }

    /// As it was written.
    pub fn read(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PublisherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who writes: a publisher, and the fencing token of its leadership. Of two leaders the one with the greater token
/// is the later one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The publisher.
    pub publisher: PublisherId,
    /// The token.
    pub token: u64,
}

/// Names one message of a stream (`Nats-Msg-Id`): the publisher, its token, and a number that grows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(String);

impl MessageId {
    /// The message `number` of `leader`.
    pub fn new(leader: &Leader, number: u64) -> Self {
        Self(format!("{}.{}.{number}", leader.publisher, leader.token))
    }

    /// As it was written.
    pub fn read(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What things of one chain are called at a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The stream of events.
    pub stream: String,
    /// The bucket that the leader's lease is in.
    pub bucket: String,
    /// The bucket that consumers' positions are in.
    pub positions: String,
    /// What all subjects of the chain begin with.
    pub prefix: String,
}

/// Longest part of a chain's name that is kept in other names.
const KEPT: usize = 48;

impl Names {
    /// The names for `chain`. What a name of NATS cannot have becomes `-`, and then a part of the digest of the
    /// chain's name keeps two chains apart.
    pub fn of(chain: &ChainId) -> Self {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let id = chain.as_str();
        let mut name: String =
            id.chars().take(KEPT).map(|c| if allowed(c) { c } else { '-' }).collect();
        if name != id {
            let digest = Sha256::hash(&[id.as_bytes()]);
            let tag: String = digest.0[..4].iter().map(|byte| format!("{byte:02x}")).collect();
            name = format!("{name}-{tag}");
        }
        Self {
            stream: format!("TIDEWATCH_{name}"),
            bucket: format!("TIDEWATCH_LEADER_{name}"),
            positions: format!("TIDEWATCH_POSITIONS_{name}"),
            prefix: format!("tidewatch.{name}"),
        }
    }

    /// All subjects of the stream.
    pub fn subjects(&self) -> String {
        format!("{}.>", self.prefix)
    }

    /// The subject of `event`: its kind, and the tier where it is a tier's.
    pub fn event(&self, event: &Event) -> String {
        let (prefix, kind) = (&self.prefix, event.name());
        match event {
            Event::Advanced { tier, .. } | Event::Regressed { tier, .. } => {
                format!("{prefix}.event.{kind}.{}", tier.as_str())
            }
            Event::Blocks { .. } | Event::Pruned { .. } => format!("{prefix}.event.{kind}"),
        }
    }

    /// The subject of resets.
    pub fn reset(&self) -> String {
        format!("{}.event.reset", self.prefix)
    }

    /// The subject of the record that a leadership begins with.
    pub fn lead(&self) -> String {
        format!("{}.lead", self.prefix)
    }
}

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its subject.
    pub subject: String,
    /// Its name.
    pub id: MessageId,
    /// The message before it; `None` where the publisher knows of none.
    pub after: Option<MessageId>,
    /// Whose it is.
    pub leader: Leader,
    /// The stream's last sequence, or the message is refused.
    pub expected: u64,
    /// The place of the newest `lead` record, or the message is refused; `None` for a record itself.
    pub record: Option<u64>,
    /// One JSON object.
    pub payload: Bytes,
}

/// A message as the stream has it. Nothing in it is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its place in the stream, from 1.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// `Nats-Msg-Id`.
    pub id: Option<String>,
    /// `Tidewatch-After`.
    pub after: Option<String>,
    /// `Tidewatch-Record`.
    pub record: Option<String>,
    /// `Tidewatch-Publisher`.
    pub publisher: Option<String>,
    /// `Tidewatch-Token`.
    pub token: Option<String>,
    /// What it holds.
    pub payload: Bytes,
}

impl Message {
    /// The message at `sequence`, whose headers `header` gives.
    pub(crate) fn new(
        sequence: u64,
        subject: String,
        payload: Bytes,
        header: impl Fn(&str) -> Option<String>,
    ) -> Self {
        Self {
            sequence,
            subject,
            id: header("Nats-Msg-Id"),
            after: header("Tidewatch-After"),
            record: header("Tidewatch-Record"),
            publisher: header("Tidewatch-Publisher"),
            token: header("Tidewatch-Token"),
            payload,
        }
    }
}

/// Where a stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The last sequence that was given; 0 in a new stream. The messages may be gone, by age.
    pub sequence: u64,
    /// The message there, where it is kept.
    pub message: Option<Message>,
}

/// A message of a publisher, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Its place in the stream.
    pub sequence: u64,
    /// Its name.
    pub id: MessageId,
    /// The name of the one before.
    pub after: Option<MessageId>,
    /// The place of the record that its leadership begins with; `None` where it is one, or does not say.
    pub record: Option<u64>,
    /// Who wrote it.
    pub leader: Leader,
    /// Whether a leadership begins with it.
    pub leads: bool,
    /// The position after it.
    pub cursor: Cursor,
}

/// Why a message is not of a publisher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message {sequence} on {subject:?} was not written by a publisher: {why}")]
pub struct Foreign {
    /// Its place in the stream.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// What is wrong.
    pub why: &'static str,
}

/// What the subject of a record ends with.
const LEAD: &str = ".lead";

/// Longest name of a message or of a publisher, in bytes.
const NAME_MAX: usize = 128;

impl Marked {
    /// Reads `message`.
    ///
    /// # Errors
    ///
    /// It has no name, no publisher, no token, or no position.
    pub fn read(message: &Message) -> Result<Self, Foreign> {
        let Message { sequence, subject, payload, .. } = message;
        let foreign = |why| Foreign { sequence: *sequence, subject: subject.clone(), why };
        let text = |header: &Option<String>, why| {
            header.clone().filter(|text| text.len() <= NAME_MAX).ok_or_else(|| foreign(why))
        };
        let id = MessageId(text(&message.id, "it has no id")?);
        let publisher = PublisherId(text(&message.publisher, "it names no publisher")?);
        let token = text(&message.token, "it has no token")?;
        let token = token.parse().map_err(|_| foreign("its token is no number"))?;
        let after = message.after.clone().filter(|text| text.len() <= NAME_MAX).map(MessageId);
        let cursor = position(payload).ok_or_else(|| foreign("it has no cursor"))?;
        let leads = subject.ends_with(LEAD);
        let leader = Leader { publisher, token };
        let record = message.record.as_ref().and_then(|record| record.parse().ok());
        Ok(Self { sequence: *sequence, id, after, record, leader, leads, cursor })
    }
}

/// The position in a line.
fn position(payload: &[u8]) -> Option<Cursor> {
    #[derive(serde::Deserialize)]
    struct Position {
        cursor: String,
    }
    let Position { cursor } = serde_json::from_slice(payload).ok()?;
    cursor.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_whose_name_is_no_name_of_nats_keeps_names_of_its_own() {
        let names = |id: &str| Names::of(&ChainId::new(id).unwrap());
        assert_eq!(names("alto-1_a").stream, "TIDEWATCH_alto-1_a");
        assert_eq!(names("alto-1_a").subjects(), "tidewatch.alto-1_a.>");
        let (a, b) = (names("eip155:1"), names("eip155-1"));
        assert!(a.stream.starts_with("TIDEWATCH_eip155-1-") && a != b, "{a:?} {b:?}");
        assert_ne!(names("a.b"), names("a*b"));
        let long = names(&"x".repeat(128));
        assert!(long.stream.len() < 80 && long != names(&"x".repeat(127)));
        for bad in ['.', '*', '>', ' ', '/', '\\', ':'] {
            let name = names("a.*>/\\:b");
            assert!(!name.stream.contains(bad) && !name.bucket.contains(bad), "{name:?}");
        }
    }

    #[test]
    fn what_no_publisher_wrote_is_named_with_what_it_lacks() {
        let chain = ChainId::new("c").unwrap();
        let cursor = Cursor::start(&chain);
        let whole = Message {
            sequence: 7,
            subject: "tidewatch.c.lead".into(),
            id: Some("p.1.0".into()),
            after: None,
            record: None,
            publisher: Some("p".into()),
            token: Some("1".into()),
            payload: format!(r#"{{"event":"lead","cursor":"{cursor}"}}"#).into(),
        };
        let read = Marked::read(&whole).unwrap();
        assert!(read.leads && read.cursor == cursor && read.leader.token == 1);
        type Spoil = fn(&mut Message);
        let table: [(&str, Spoil); 7] = [
            ("no id", |m| m.id = None),
            ("no id", |m| m.id = Some("x".repeat(NAME_MAX + 1))),
            ("no publisher", |m| m.publisher = None),
            ("no token", |m| m.token = None),
            ("no number", |m| m.token = Some("-1".into())),
            ("no cursor", |m| m.payload = "{}".into()),
            ("no cursor", |m| m.payload = r#"{"cursor":"made up"}"#.into()),
        ];
        for (why, spoil) in table {
            let mut message = whole.clone();
            spoil(&mut message);
            let foreign = Marked::read(&message).unwrap_err();
            assert!(foreign.why.contains(why), "{why}: {foreign}");
        }
    }
}

//! What the queue is made of.

use crate::client::api::Delivered;
use bytes::Bytes;
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_formatting::from_hex;
use serde::{Deserialize, Serialize};
use tidewatch_core::Digest;
use tidewatch_prover::{Failure, Handle, Key};

/// What things of one program are called at a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobNames {
    /// The program: jobs of another one are refused.
    pub program: Digest,
    tag: String,
}

/// The consumer that all workers share.
pub const WORKERS: &str = "provers";
/// The consumer of those who file dead letters.
pub const FILERS: &str = "filers";

impl JobNames {
    /// The names for `program`.
    pub fn of(program: Digest) -> Self {
        let tag = program.0[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { program, tag }
    }

    /// The stream of jobs.
    pub fn jobs(&self) -> String {
        format!("TIDEWATCH_JOBS_{}", self.tag)
    }

    /// All subjects of that stream.
    pub fn subjects(&self) -> String {
        format!("tidewatch.jobs.{}.*", self.tag)
    }

    /// The subject of the job of `key`: there is one message on it at the most.
    pub fn subject(&self, key: &Key) -> String {
        format!("tidewatch.jobs.{}.{}", self.tag, Handle::of(key))
    }

    /// The stream of dead letters.
    pub fn dead(&self) -> String {
        format!("TIDEWATCH_DEAD_{}", self.tag)
    }

    /// The bucket of results.
    pub fn results(&self) -> String {
        format!("TIDEWATCH_RESULTS_{}", self.tag)
    }

    /// The bucket of inputs that are too large for a message, and of proofs.
    pub fn objects(&self) -> String {
        format!("TIDEWATCH_OBJECTS_{}", self.tag)
    }

    /// Where the result of `job` is.
    pub fn result(&self, job: &JobId) -> String {
        format!("$KV.{}.{}", self.results(), job.handle())
    }

    /// Where results of all generations of `key` are.
    pub fn any_result(&self, key: &Key) -> String {
        format!("$KV.{}.{}.*", self.results(), Handle::of(key))
    }
}

/// One submission of a job: what is proven, and which generation of it. A job that was released and is submitted again is
/// of a new generation, so that nothing of the old one is taken for it: neither a name that the stream remembers, nor a
/// result that comes late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobId {
    /// What is proven.
    pub key: Key,
    /// Drawn at each submission.
    pub generation: u64,
}

impl JobId {
    /// Its handle, which is also the name of its message (`Nats-Msg-Id`).
    pub fn handle(&self) -> String {
        format!("{}.{:016x}", Handle::of(&self.key), self.generation)
    }

    /// Reads a handle; `None` if it is none of this queue.
    pub fn read(text: &str) -> Option<Self> {
        let (key, generation) = text.split_once('.')?;
        let key = Handle::new(key).ok()?.key()?;
        let this = Self { key, generation: u64::from_str_radix(generation, 16).ok()? };
        // The one spelling.
        (this.handle() == text).then_some(this)
    }
}

/// Bytes that are somewhere else: how many, and what they hash to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The object; `None` where the message itself has them.
    pub object: Option<String>,
    /// How many bytes.
    pub bytes: u64,
    /// Their SHA-256, in lower-case hex.
    pub digest: String,
}

impl Reference {
    /// Of `bytes`, which are in `object`.
    pub fn to(bytes: &[u8], object: Option<String>) -> Self {
        let digest = Sha256::hash(&[bytes]).to_string();
        Self { object, bytes: bytes.len() as u64, digest }
    }

    /// Whether `bytes` are those.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        let digest = from_hex(&self.digest);
        bytes.len() as u64 == self.bytes
            && digest.is_some_and(|digest| digest == Sha256::hash(&[bytes]).0)
    }
}

/// A job, as its message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// Which.
    pub(super) id: JobId,
    /// Its inputs.
    pub(super) inputs: Reference,
    /// What the message holds: the inputs, where they are in no object.
    pub(super) payload: Bytes,
}

/// A message that a worker was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where it is acknowledged.
    pub reply: String,
    /// Its place in the stream.
    pub sequence: u64,
    /// How often it was delivered, with this one: the token of the lease.
    pub number: u64,
}

impl Delivery {
    /// Reads where a message of `stream`, given by `consumer`, is acknowledged.
    pub fn read(reply: &str, stream: &str, consumer: &str) -> Option<Self> {
        let delivered = Delivered::read(reply)?;
        // No server was seen to say more than twelve words.
        let ours = delivered.stream == stream
            && delivered.consumer == consumer
            && reply.split('.').count() <= 12;
        let Delivered { sequence, times: number, .. } = delivered;
        ours.then(|| Self { reply: reply.into(), sequence, number })
    }
}

/// How a job ended, as it stands in the bucket of results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// There is a proof.
    Proved(Reference),
    /// The worker says that there is none.
    Unprovable {
        /// Why.
        reason: String,
    },
    /// The worker gave up at its own deadline.
    TimedOut {
        /// That deadline.
        after_ms: u64,
    },
    /// It was delivered as often as it may be, and nobody ended it.
    Dead {
        /// How often.
        deliveries: u64,
    },
}

/// What stands in the bucket of results: the first that is written of a generation counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who wrote it.
    pub worker: String,
    /// Under which delivery.
    pub delivery: u64,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// `reason` as it is kept: one line, bounded.
pub(super) fn bounded(reason: &str) -> String {
    let mut kept = String::new();
    for char in reason.chars().map(|char| if char.is_control() { ' ' } else { char }) {
        if kept.len() + char.len_utf8() > Failure::REASON_MAX {
            break;
        }
        kept.push(char);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::{BlockRef, Height};

    fn key(first: u64) -> Key {
        let block = BlockRef::new(Height::new(9), Digest([1; 32]));
        Key { block, program: Digest([2; 32]), first: Height::new(first) }
    }

    #[test]
    fn a_handle_names_a_job_and_its_generation_in_one_spelling() {
        for (first, generation) in [(9, 0), (3, 7), (9, u64::MAX)] {
            let id = JobId { key: key(first), generation };
            assert_eq!(JobId::read(&id.handle()), Some(id));
            assert!(Handle::new(id.handle()).is_ok());
        }
        let longest = Key {
            first: Height::new(u64::MAX - 1),
            block: BlockRef::new(Height::new(u64::MAX), Digest([1; 32])),
            ..key(9)
        };
        let longest = JobId { key: longest, generation: u64::MAX };
        assert!(Handle::new(longest.handle()).is_ok());
        let handle = JobId { key: key(9), generation: 255 }.handle();
        for other in [
            handle.to_uppercase(),
            handle.replace(".00", "."),
            format!("0{handle}"),
            format!("{handle}.1"),
            Handle::of(&key(9)).to_string(),
            String::new(),
        ] {
            assert_eq!(JobId::read(&other), None, "{other}");
        }
    }

    #[test]
    fn where_a_delivery_is_acknowledged_is_read_in_both_forms_and_of_ours_alone() {
        let read = |reply: &str| Delivery::read(reply, "S", "provers");
        let (number, sequence) = (2, 17);
        for reply in [
            "$JS.ACK.S.provers.2.17.5.1700000000000000000.3",
            "$JS.ACK._.hash.S.provers.2.17.5.1700000000000000000.3",
            "$JS.ACK.hub.hash.S.provers.2.17.5.1700000000000000000.3.random",
        ] {
            let read = read(reply).expect(reply);
            assert_eq!((read.number, read.sequence, &*read.reply), (number, sequence, reply));
        }
        for reply in [
            "$JS.ACK.T.provers.2.17.5.1700000000000000000.3",
            "$JS.ACK.S.others.2.17.5.1700000000000000000.3",
            "$JS.ACK.S.provers.x.17.5.1700000000000000000.3",
            "$JS.API.S.provers.2.17.5.1700000000000000000.3",
            "$JS.ACK.S.provers.2.17",
            "_INBOX.1",
            "",
        ] {
            assert_eq!(read(reply), None, "{reply}");
        }
    }

    #[test]
    fn a_record_keeps_its_form_and_a_reference_knows_its_bytes() {
        let proof = Reference::to(b"proof", Some("name".into()));
        assert!(proof.is_of(b"proof") && !proof.is_of(b"other") && !proof.is_of(b""));
        let record = Record { worker: "w".into(), delivery: 2, outcome: Outcome::Proved(proof) };
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.starts_with(
            r#"{"worker":"w","delivery":2,"outcome":"proved","object":"name","bytes":5,"digest":""#
        ));
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        let reason = "two\nlines ".repeat(100);
        let kept = bounded(&reason);
        assert!(kept.len() <= Failure::REASON_MAX && !kept.contains('\n'), "{kept}");
    }
}

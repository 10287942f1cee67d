//! What follows from what was found and answered. Pure: no clock, no connection.

use super::{
    cluster::{Answer, Found},
    values::{Job, Outcome, Record, bounded},
};
use bytes::Bytes;
use std::time::Duration;
use tidewatch_prover::{Failure, Progress};

/// What a worker does with a message that it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// Gets the inputs and proves.
    Prove(Job),
    /// Acknowledges it: its result is there already, from somebody whose acknowledgement was lost.
    Ack,
    /// Stores that it is not provable, and ends it for good, with the reason.
    Poison(Job, String),
    /// Ends it for good, with the reason: it is no job, and nobody can make one of it.
    Terminate(String),
}

/// Judges a message. `ended` is whether its result is there.
pub(super) fn begin(job: Result<Job, String>, ended: bool, inputs_max: u64) -> Begin {
    match job {
        Err(reason) => Begin::Terminate(bounded(&format!("no job: {reason}"))),
        Ok(_) if ended => Begin::Ack,
        Ok(job) if job.inputs.bytes > inputs_max => {
            let bytes = job.inputs.bytes;
            Begin::Poison(job, format!("inputs of {bytes} bytes, of {inputs_max} at the most"))
        }
        Ok(job) => Begin::Prove(job),
    }
}

/// What a worker does while it has a job, and when that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Renews the lease, and goes on.
    Renew,
    /// Stores the proof and the result, and acknowledges.
    Prove(Bytes),
    /// Stores the result, and acknowledges: an end that is nobody's fault.
    Record(Outcome),
    /// Stores the result, and ends the job for good with the reason: poison.
    Poison(Outcome, String),
    /// Gives the job back, for anybody after this time, and takes none in the meantime: this machine is in trouble.
    GiveBack(Duration),
}

/// The first wait after a job was given back.
const TROUBLE: Duration = Duration::from_secs(1);
/// The longest.
const TROUBLE_MAX: Duration = Duration::from_secs(60);

/// What follows from what the prover behind a worker answered to the delivery `number` of a job.
pub(super) fn step(answer: Result<Progress, Failure>, number: u64) -> Step {
    let unprovable = |reason: String| {
        let reason = bounded(&reason);
        Step::Poison(Outcome::Unprovable { reason: reason.clone() }, reason)
    };
    match answer {
        Ok(Progress::Running) => Step::Renew,
        Ok(Progress::Proved(proof)) => Step::Prove(proof),
        Err(Failure::Unprovable(reason) | Failure::Rejected(reason)) => unprovable(reason),
        Err(Failure::TimedOut(after)) => {
            let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            Step::Record(Outcome::TimedOut { after_ms })
        }
        Err(Failure::Full | Failure::Unavailable(_) | Failure::Silent(_) | Failure::Lost) => {
            let doubled = TROUBLE.saturating_mul(1 << number.saturating_sub(1).min(6));
            Step::GiveBack(doubled.min(TROUBLE_MAX))
        }
    }
}

/// Whether inputs are those of the job: what the message has, or what its object had. `None` where they are gone, or
/// others; nobody can prove it then, and whoever submitted it is told that it is not known any more.
pub(super) fn inputs(job: &Job, object: Option<Bytes>) -> Option<Bytes> {
    let bytes = match &job.inputs.object {
        None => job.payload.clone(),
        Some(_) => object?,
    };
    job.inputs.is_of(&bytes).then_some(bytes)
}

/// What a submitter does after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Submitted {
    /// It is there.
    There,
    /// Looks which one is there; where none is, it submits a new generation.
    Look,
    /// Waits.
    Full,
}

/// What follows from the answer to a submission.
pub(super) const fn submitted(answer: &Answer) -> Submitted {
    match answer {
        Answer::Stored => Submitted::There,
        // A duplicate may be ours, where the answer was lost, or the memory of one that is gone: then nothing was
        // stored.
        Answer::Duplicate | Answer::There => Submitted::Look,
        Answer::Full => Submitted::Full,
    }
}

/// What a submitter says of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// Nothing new.
    Running,
    /// Gets the proof.
    Fetch(super::values::Reference),
    /// It ended without one.
    Failed(Failure),
}

/// What follows from what was found of a job. `proof_max` is in bytes.
pub(super) fn polled(found: Found, proof_max: u64) -> Polled {
    let failed = |failure| Polled::Failed(failure);
    match found {
        Found::Waiting => Polled::Running,
        // What the cluster forgot, and what nobody of ours wrote, is submitted again.
        Found::Nothing | Found::Unreadable => failed(Failure::Lost),
        Found::Ended(Record { outcome, .. }) => match outcome {
            Outcome::Proved(proof) if proof.bytes > proof_max => {
                let bytes = proof.bytes;
                let reason = format!("{bytes} bytes, of {proof_max} at the most");
                failed(Failure::Rejected(reason))
            }
            Outcome::Proved(proof) => Polled::Fetch(proof),
            Outcome::Unprovable { reason } => failed(Failure::Unprovable(bounded(&reason))),
            Outcome::TimedOut { after_ms } => {
                failed(Failure::TimedOut(Duration::from_millis(after_ms)))
            }
            Outcome::Dead { deliveries } => failed(Failure::Unprovable(format!(
                "given up after {deliveries} deliveries: each worker that took it died, lost its connection, or \
                 gave it back"
            ))),
        },
    }
}

/// Jobs that are handed over for each worker: one that it works on, and one that waits for it.
const AHEAD: u64 = 2;

/// How many jobs are handed over at once where so many workers wait for one or have one.
///
/// # Errors
///
/// There is none.
pub(super) fn slots(workers: u64) -> Result<usize, Failure> {
    if workers == 0 {
        return Err(Failure::Unavailable(
            "no worker takes jobs from it: start one with `tidewatch prover-worker --nats`".into(),
        ));
    }
    Ok(usize::try_from(workers.saturating_mul(AHEAD)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::{
        super::values::{JobId, Reference},
        *,
    };
    use tidewatch_core::{BlockRef, Digest, Height};
    use tidewatch_prover::Key;

    fn job(inputs: &'static [u8], object: Option<String>) -> Job {
        let block = BlockRef::new(Height::new(9), Digest([1; 32]));
        let id = JobId { key: Key::one(block, Digest([2; 32])), generation: 3 };
        let payload = if object.is_some() { Bytes::new() } else { Bytes::from_static(inputs) };
        Job { id, inputs: Reference::to(inputs, object), payload }
    }

    #[test]
    fn a_message_is_proven_once_and_what_is_no_job_is_ended_with_the_reason() {
        let ours = job(b"inputs", None);
        for (job, ended, begins) in [
            (Ok(ours.clone()), false, Begin::Prove(ours.clone())),
            (Ok(ours), true, Begin::Ack),
            (
                Ok(job(b"too large", None)),
                false,
                Begin::Poison(
                    job(b"too large", None),
                    "inputs of 9 bytes, of 8 at the most".into(),
                ),
            ),
            (Ok(job(b"too large", None)), true, Begin::Ack),
            (
                Err("it has no name".into()),
                false,
                Begin::Terminate("no job: it has no name".into()),
            ),
        ] {
            assert_eq!(begin(job, ended, 8), begins);
        }
    }

    #[test]
    fn each_end_of_a_proof_has_its_step() {
        let seconds = Duration::from_secs;
        let unavailable = || Failure::Unavailable("gone".into());
        let unprovable = |reason: &str| {
            Step::Poison(Outcome::Unprovable { reason: reason.into() }, reason.into())
        };
        for (answer, number, expected) in [
            (Ok(Progress::Running), 1, Step::Renew),
            (Ok(Progress::Proved("p".into())), 1, Step::Prove("p".into())),
            (Err(Failure::Unprovable("no\nway".into())), 1, unprovable("no way")),
            (Err(Failure::Rejected("bad".into())), 1, unprovable("bad")),
            (
                Err(Failure::TimedOut(seconds(2))),
                1,
                Step::Record(Outcome::TimedOut { after_ms: 2_000 }),
            ),
            (Err(Failure::Full), 1, Step::GiveBack(seconds(1))),
            (Err(Failure::Lost), 2, Step::GiveBack(seconds(2))),
            (Err(Failure::Silent(seconds(1))), 3, Step::GiveBack(seconds(4))),
            (Err(unavailable()), 0, Step::GiveBack(seconds(1))),
            (Err(unavailable()), u64::MAX, Step::GiveBack(seconds(60))),
        ] {
            assert_eq!(step(answer.clone(), number), expected, "{answer:?} {number}");
        }
    }

    #[test]
    fn inputs_count_only_where_they_are_those_that_were_submitted() {
        let within = job(b"inputs", None);
        assert_eq!(inputs(&within, None).unwrap(), "inputs");
        let changed = Job { payload: "others".into(), ..within };
        assert_eq!(inputs(&changed, None), None);
        let outside = job(b"inputs", Some("object".into()));
        assert_eq!(inputs(&outside, Some("inputs".into())).unwrap(), "inputs");
        assert_eq!(inputs(&outside, Some("others".into())), None);
        assert_eq!(inputs(&outside, None), None);
    }

    #[test]
    fn what_the_queue_answers_and_has_says_what_whoever_submitted_is_told() {
        for (answer, follows) in [
            (Answer::Stored, Submitted::There),
            (Answer::Duplicate, Submitted::Look),
            (Answer::There, Submitted::Look),
            (Answer::Full, Submitted::Full),
        ] {
            assert_eq!(submitted(&answer), follows);
        }
        let ended = |outcome| Found::Ended(Record { worker: "w".into(), delivery: 1, outcome });
        let proof = Reference::to(b"proof", Some("object".into()));
        let rejected = Failure::Rejected("5 bytes, of 4 at the most".into());
        for (found, proof_max, told) in [
            (Found::Waiting, 5, Polled::Running),
            (Found::Nothing, 5, Polled::Failed(Failure::Lost)),
            (Found::Unreadable, 5, Polled::Failed(Failure::Lost)),
            (ended(Outcome::Proved(proof.clone())), 5, Polled::Fetch(proof.clone())),
            (ended(Outcome::Proved(proof)), 4, Polled::Failed(rejected)),
            (
                ended(Outcome::Unprovable { reason: "no".into() }),
                5,
                Polled::Failed(Failure::Unprovable("no".into())),
            ),
            (
                ended(Outcome::TimedOut { after_ms: 5 }),
                5,
                Polled::Failed(Failure::TimedOut(Duration::from_millis(5))),
            ),
        ] {
            assert_eq!(polled(found, proof_max), told);
        }
        let Polled::Failed(dead) = polled(ended(Outcome::Dead { deliveries: 5 }), 5) else {
            panic!("it is dead")
        };
        assert!(dead.to_string().contains("given up after 5 deliveries"), "{dead}");
    }

    #[test]
    fn without_a_worker_nothing_is_handed_over_and_each_one_has_a_job_ahead() {
        let none = slots(0).unwrap_err().to_string();
        assert!(none.contains("tidewatch prover-worker --nats"), "{none}");
        assert_eq!((slots(1), slots(3)), (Ok(2), Ok(6)));
    }
}

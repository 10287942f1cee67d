//! `tidewatch prover`: what operators ask of whoever proves, or of its data directory.

use super::{
    args::{At, Prover},
    control::{Ask, CONTROL, Header, Standing, Told},
    desk::Desk,
    prover::{PARTITION, disk},
    statement::{Statement, chain, statement},
};
use crate::{
    Outcome,
    command::{
        Problem,
        args::Format,
        control::{self, Desk as _},
        data_dir::{DataDir, Refused},
        logs,
    },
};
use bytes::Bytes;
use commonware_runtime::{Runner as _, Supervisor as _, tokio::Context};
use std::{fmt::Write as _, io::Write as _, path::Path, sync::Arc};
use tidewatch_core::{AnyBlock, BlockRef, Digest, Fault, FaultKind};
use tidewatch_prover::{
    Program, Scheduler,
    disk::Subject,
    scheduler::{self, Parts},
};
use tidewatch_store::{Config as StoreConfig, Store};

/// Asks, and prints the answer.
pub(in crate::command) fn run(asked: Prover) -> Outcome<()> {
    logs::start();
    let (question, bytes, out, at) = match asked {
        Prover::Status { at } => (Ask::Status, Vec::new(), None, at),
        Prover::Jobs { from, max, at } => {
            (Ask::Jobs { from, max: max.get() }, Vec::new(), None, at)
        }
        Prover::Requeue { height, at } => (Ask::Requeue { height }, Vec::new(), None, at),
        Prover::Supply { height, file, at } => {
            let proof = std::fs::read(&file).map_err(|error| {
                Problem::usage(format!("cannot read {}: {error}", file.display())).hint(
                    "name a file with a proof, such as `tidewatch prover verify --out` writes",
                )
            })?;
            (Ask::Supply { height }, proof, None, at)
        }
        Prover::Range { from, finality, max, at } => {
            let range = Ask::Range { from, finality: finality.to_string(), max: max.get() };
            (range, Vec::new(), None, at)
        }
        Prover::Verify { height, out, at } => (Ask::Verify { height }, Vec::new(), out, at),
    };
    let At { data_dir, format } = at;
    let (told, proof) = CONTROL.ask_wherever(&data_dir, (&question, &bytes), open, |data| {
        offline(data, question.clone(), Bytes::copy_from_slice(&bytes))
    })?;
    if let Some(out) = out {
        std::fs::write(&out, &proof).map_err(|error| {
            Problem::failure(format!("cannot write {}: {error}", out.display()))
        })?;
    }
    let text = match format {
        Format::Human => text(&told),
        Format::Json => serde_json::to_string(&told)
            .map_err(|error| Problem::failure(format!("cannot print: {error}")))?,
    };
    writeln!(std::io::stdout().lock(), "{text}")
        .map_err(|error| Problem::failure(format!("cannot print: {error}")))
}

/// The program of a directory: the statement of this build where that is the one, and otherwise its name alone,
/// which is enough for all but proofs.
enum Known {
    Statement(Statement),
    Named(Digest),
}

impl Known {
    fn of(program: Digest) -> Self {
        match statement() {
            Ok(statement) if statement.id() == program => Self::Statement(statement),
            _ => Self::Named(program),
        }
    }
}

impl Program for Known {
    fn id(&self) -> Digest {
        match self {
            Self::Statement(statement) => statement.id(),
            Self::Named(program) => *program,
        }
    }

    fn check(&self, block: BlockRef, inputs: &[u8]) -> Result<(), String> {
        match self {
            Self::Statement(statement) => statement.check(block, inputs),
            Self::Named(_) => Ok(()),
        }
    }

    fn verify(&self, parent: Digest, block: BlockRef, proof: &[u8]) -> Result<(), String> {
        match self {
            Self::Statement(statement) => statement.verify(parent, block, proof),
            Self::Named(program) => Err(format!(
                "this build does not know program {program}: ask with the build that proved, with \
                 --features prove"
            )),
        }
    }
}

/// A directory in which nobody proves.
fn open(path: &Path) -> Result<DataDir, Refused> {
    let table = path.join("storage").join(format!("{PARTITION}-table_data"));
    if !table.is_dir() {
        return Err(Problem::usage(format!("nothing was proven in {}", path.display()))
            .hint("name the directory of `tidewatch prove` with --data-dir")
            .into());
    }
    DataDir::briefly(path)
}

/// Answers from there.
fn offline(data: &DataDir, question: Ask, bytes: Bytes) -> Outcome<(Told, Bytes)> {
    let runtime = commonware_runtime::tokio::Config::new()
        .with_worker_threads(1)
        .with_storage_directory(data.storage());
    commonware_runtime::tokio::Runner::new(runtime).start(|context| async move {
        let answered = answer(&context, question, bytes).await;
        Ok(answered.map_err(|fault| Problem::ended(fault, data.path()))??)
    })
}

async fn answer(
    context: &Context,
    question: Ask,
    bytes: Bytes,
) -> Result<Result<(Told, Bytes), control::Refused>, Fault> {
    let subject = Subject::of(context.child("subject"), &disk()).await?;
    let subject = subject
        .ok_or_else(|| FaultKind::Missing.fault("the proving directory", "it was never begun"))?;
    let (chain_info, decoder) = chain(subject.chain.clone());
    let config = StoreConfig::new(chain_info, decoder);
    let (_, store) = Store::open::<_, AnyBlock>(context.child("store"), config).await?;
    let program = Arc::new(Known::of(subject.program));
    let parts = Parts { program: program.clone(), provers: Vec::new(), subject };
    let config = scheduler::Config::new(disk());
    let (scheduling, mailbox) = Scheduler::open(context.child("scheduler"), parts, config).await?;
    let handle = scheduling.start();
    let context = context.child("desk");
    let desk = Desk { context, mailbox: mailbox.clone(), program, store, running: false };
    let answer = desk.answer(question, bytes).await;
    mailbox.stop();
    handle.await.map_err(|error| FaultKind::Bug.fault("the proof scheduler", error))??;
    Ok(answer)
}

/// `told` for people.
fn text(told: &Told) -> String {
    match told {
        Told::Status(standing) => status(standing),
        Told::Jobs { jobs } if jobs.is_empty() => "every block is proven".into(),
        Told::Jobs { jobs } => {
            let mut text =
                format!("{:>10}  {:<8}  {:>8}  at and why not", "height", "stage", "attempts");
            for job in jobs {
                let why = job.failure.as_deref().unwrap_or_default();
                let at = job.provers.join(", ");
                let gap = if at.is_empty() || why.is_empty() { "" } else { ": " };
                let (height, stage) = (job.block.height, &job.stage);
                let _ =
                    write!(text, "\n{height:>10}  {stage:<8}  {:>8}  {at}{gap}{why}", job.attempts); // A String takes everything.
            }
            text
        }
        Told::Range { finality, tip, blocks, .. } => {
            let mut text = format!("{finality}  {}  {}", tip.height, tip.digest);
            for Header { block, parent } in blocks {
                let _ = write!(text, "\n{:>10}  {}  on {parent}", block.height, block.digest); // A String takes everything.
            }
            text
        }
        Told::Requeued { block } => format!("block {} is attempted again", block.height),
        Told::Supplied { block } => format!("the proof of block {} is taken in", block.height),
        Told::Verified { block, parent, bytes, verified_ms } => format!(
            "verified  {}  {}\non        {}  {}\nproof     {bytes} bytes, checked in {verified_ms} ms",
            block.height, block.digest, parent.height, parent.digest
        ),
    }
}

fn status(standing: &Standing) -> String {
    let Standing { proven, committed, lag, pending, active, waiting, poisoned, .. } = standing;
    let waits = match standing.oldest_ms {
        Some(oldest) => format!(", the lowest waits for {:.1} s", oldest as f64 / 1_000.0),
        None => String::new(),
    };
    let mut text = format!(
        "proven     {}  {}\ncommitted  {}  {}\nbehind     {lag} blocks{waits}\njobs       {pending} \
         pending, {active} running, {waiting} waiting, {poisoned} poisoned",
        proven.height, proven.digest, committed.height, committed.digest
    );
    if !standing.running {
        text += "\nprovers    nobody proves in this directory now";
    }
    for prover in &standing.provers {
        let state = if prover.down { ", not available" } else { "" };
        let (name, used, slots) = (&prover.name, prover.used, prover.slots);
        let _ = write!(text, "\nprover     {name}: {used} of {slots} slots in use{state}");
    }
    if standing.stalled {
        let reason = standing.reason.as_deref().unwrap_or("the lowest block waits for long");
        let _ = write!(text, "\nstalled    {reason}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_cryptography::{Hasher as _, Sha256};
    use std::{io::Read as _, net::Shutdown, os::unix::net::UnixStream, thread};
    use tidewatch_core::{ChainId, Height};
    use tidewatch_prover::scheduler::NewBlock;

    fn block(height: u64) -> BlockRef {
        match height {
            0 => chain(ChainId::new("alto:test").unwrap()).0.genesis,
            _ => BlockRef::new(Height::new(height), Sha256::hash(&[&height.to_be_bytes()])),
        }
    }

    fn runtime(data: &DataDir) -> commonware_runtime::tokio::Runner {
        let runtime = commonware_runtime::tokio::Config::new();
        let runtime = runtime.with_storage_directory(data.storage());
        commonware_runtime::tokio::Runner::new(runtime)
    }

    /// A scheduler for which three blocks wait, under a program that no build has.
    async fn desk(context: &Context, running: bool) -> Desk<Known> {
        let program = Arc::new(Known::Named(Digest([7; 32])));
        let id = ChainId::new("alto:test").unwrap();
        let subject = Subject { chain: id.clone(), program: program.id(), start: block(0) };
        let parts = Parts { program: program.clone(), provers: Vec::new(), subject };
        let config = scheduler::Config::new(disk());
        let opened = Scheduler::open(context.child("scheduler"), parts, config).await;
        let (scheduling, mailbox) = opened.unwrap();
        scheduling.start();
        let new = |height| NewBlock {
            block: block(height),
            parent: block(height - 1).digest,
            inputs: Bytes::from_static(b"inputs"),
        };
        mailbox.add((1..=3).map(new).collect()).await.unwrap();
        let (chain_info, decoder) = chain(id);
        let config = StoreConfig::new(chain_info, decoder);
        let store = Store::open::<_, AnyBlock>(context.child("store"), config).await.unwrap().1;
        Desk { context: context.child("desk"), mailbox, program, store, running }
    }

    /// Every question, and words that are in the answer.
    const QUESTIONS: [(Ask, &str); 9] = [
        (Ask::Status, "\"lag\":3,"),
        (Ask::Status, "\"pending\":3,"),
        (Ask::Jobs { from: 2, max: 1 }, "{\"told\":\"jobs\",\"jobs\":[{\"block\":{\"height\":2,"),
        (Ask::Jobs { from: 4, max: 9 }, "\"jobs\":[]"),
        (Ask::Requeue { height: 2 }, "{\"told\":\"requeued\",\"block\":{\"height\":2,"),
        (Ask::Requeue { height: 9 }, "nothing is known at height 9"),
        (Ask::Supply { height: 1 }, "does not know program 0707"),
        (Ask::Verify { height: 1 }, "there is no block at height 1"),
        (
            Ask::Range { from: 1, finality: String::new(), max: 9 },
            "expected `committed`, `proven` or `finalized`",
        ),
    ];

    fn said(told: Outcome<(Told, Bytes)>) -> String {
        match told {
            Ok((told, _)) => serde_json::to_string(&told).unwrap(),
            Err(problem) => problem.to_string(),
        }
    }

    #[test]
    fn questions_are_answered_while_somebody_proves_and_when_nobody_does() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("data");
        let refused = Problem::from(open(&path).unwrap_err());
        assert!(refused.to_string().contains("nothing was proven in"), "{refused}");

        let data = DataDir::open(&path).unwrap();
        runtime(&data).start(|context| async move {
            let mut socket = CONTROL.listen(data.path()).unwrap();
            socket.serve(&context, desk(&context, true).await);
            let asking = data.path().to_owned();
            let asked = thread::spawn(move || {
                for (question, words) in &QUESTIONS {
                    let told = CONTROL.ask(&asking, question, b"proof").map(|told| told.unwrap());
                    let told = said(told);
                    assert!(told.contains(words), "{question:?}: {told}");
                }
                let mut nonsense = UnixStream::connect(asking.join("prover.sock")).unwrap();
                nonsense.write_all(b"{\"ask\":\"everything\"}\n").unwrap();
                nonsense.shutdown(Shutdown::Write).unwrap();
                let mut answer = String::new();
                nonsense.read_to_string(&mut answer).unwrap();
                assert!(answer.contains("not understood"), "{answer}");
            });
            while !asked.is_finished() {
                commonware_runtime::reschedule().await;
            }
            asked.join().unwrap();
            drop(socket);
            assert!(CONTROL.ask::<Told>(data.path(), &Ask::Status, &[]).unwrap().is_none());
        });
        // One that was killed left its socket.
        drop(std::os::unix::net::UnixListener::bind(path.join("prover.sock")).unwrap());
        assert!(CONTROL.ask::<Told>(&path, &Ask::Status, &[]).unwrap().is_none());
        for (question, words) in &QUESTIONS {
            let data = open(&path).unwrap();
            let told = said(offline(&data, question.clone(), Bytes::from_static(b"proof")));
            assert!(told.contains(words), "{question:?}: {told}");
        }
    }

    #[test]
    fn people_are_told_where_it_stands() {
        let outer = tempfile::tempdir().unwrap();
        let data = DataDir::open(&outer.path().join("data")).unwrap();
        runtime(&data).start(|context| async move {
            let desk = desk(&context, false).await;
            let (told, _) = desk.answer(Ask::Status, Bytes::new()).await.unwrap();
            let status = text(&told);
            for words in ["proven     0  ", "committed  3  ", "behind     3 blocks\n", "3 pending"]
            {
                assert!(status.contains(words), "{words}: {status}");
            }
            let asked = Ask::Jobs { from: 0, max: 9 };
            let (told, _) = desk.answer(asked, Bytes::new()).await.unwrap();
            assert_eq!(text(&told).lines().count(), 4, "{}", text(&told));
        });
    }
}

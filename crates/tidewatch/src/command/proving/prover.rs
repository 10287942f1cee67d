//! `tidewatch prove`: what a follower has beside it when it proves.

use super::{
    args::Proving,
    control::Socket,
    desk::Desk,
    progress,
    statement::{Statement, inputs, statement},
    worker::token,
};
use crate::{
    Outcome,
    command::{Problem, args::Follow},
};
use commonware_runtime::{Supervisor as _, tokio::Context};
use std::{num::NonZeroUsize, path::Path, sync::Arc, time::Duration};
use tidewatch_core::{
    AnyBlock, AnySource, Archive as _, ArchiveError, Block as _, BlockRef, ChainInfo, Fault,
    FaultKind, Height, Monitor, Running, json,
};
use tidewatch_node::{Attachment, Follower, Member, Role};
use tidewatch_prover::{
    Error, Pool, Program as _, Prover, Scheduler, disk, plan,
    proven::{Feed, ProvenOverlay},
    remote::Remote,
    scheduler::{self, Mailbox, Parts},
};
use tidewatch_store::Reader;
use tidewatch_stream::{Start, delivery};

/// Prefix of the partitions of what is proven, in the data directory.
pub(super) const PARTITION: &str = "tidewatch-proving";
/// Largest proof, and largest inputs, in bytes: several times those of the statement.
const BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How long a stop waits for proofs that are being verified: within that of the whole command.
const GRACE: Duration = Duration::from_millis(500);

/// How a scheduler of this command keeps its things.
pub(super) fn disk() -> disk::Config {
    let max = BYTES_MAX;
    disk::Config { inputs_max: max, proof_max: max, ..disk::Config::new(PARTITION) }
}

/// Who is to prove what.
pub(in crate::command) struct Wanted {
    statement: Statement,
    remotes: Vec<Remote>,
    slots: Option<NonZeroUsize>,
    ahead: Option<NonZeroUsize>,
}

impl Wanted {
    /// Reads the options.
    pub(in crate::command) fn parse(follow: &Follow, proving: Proving) -> Outcome<Self> {
        let Proving { prover, token_file, slots, ahead } = proving;
        provable(follow)?;
        let slots = slots.unwrap_or_else(|| usize::from(prover.is_empty()));
        if slots == 0 && prover.is_empty() {
            return Err(Problem::usage(
                "nobody would prove: --slots is 0 and there is no --prover",
            )
            .hint("give one of them"));
        }
        if token_file.is_some() && prover.is_empty() {
            return Err(Problem::usage("--token-file means nothing without --prover")
                .hint("name the workers that ask for the token, or leave it out"));
        }
        let token = token_file.as_deref().map(token).transpose()?;
        let statement = statement()?;
        let program = statement.id();
        let remote = |address: &String| {
            let remote = Remote::new(address, program, BYTES_MAX).map_err(|error| {
                Problem::usage(format!("--prover: {error}"))
                    .hint("it is the address that `tidewatch prover-worker` listens at")
            })?;
            Ok(match &token {
                Some(token) => remote.with_token(token.clone()),
                None => remote,
            })
        };
        let remotes = prover.iter().map(remote).collect::<Outcome<_>>()?;
        Ok(Self { statement, remotes, slots: NonZeroUsize::new(slots), ahead })
    }

    /// Opens what was proven before, or begins above the first block that is kept.
    pub(in crate::command) async fn open(
        self,
        context: &Context,
        chain: &ChainInfo,
        store: &Reader<Context, AnyBlock>,
        data: &Path,
    ) -> Outcome<Ready> {
        let context = context.child("proving");
        let ended = |fault| Problem::ended(fault, data);
        let start = below_the_first(store).await.map_err(ended)?;
        let mut provers: Vec<Arc<dyn Prover>> = Vec::new();
        if let Some(slots) = self.slots {
            let statement = self.statement.clone();
            provers.push(Arc::new(Pool::new(context.child("pool"), "pool", statement, slots)));
        }
        provers.extend(self.remotes.into_iter().map(|remote| Arc::new(remote) as Arc<dyn Prover>));
        let parts = Parts {
            program: Arc::new(self.statement.clone()),
            provers,
            subject: disk::Subject { chain: chain.id.clone(), program: self.statement.id(), start },
        };
        let mut config = scheduler::Config { grace: GRACE, ..scheduler::Config::new(disk()) };
        config.plan.ahead_max = self.ahead.unwrap_or(config.plan.ahead_max);
        let opened = Scheduler::open(context.child("scheduler"), parts, config).await;
        let (scheduling, mailbox) = opened.map_err(|fault| refused(fault, data))?;
        let socket = Socket::open(data)?;
        let (statement, store) = (self.statement, store.clone());
        Ok(Ready { context, statement, scheduling, mailbox, store, socket })
    }
}

/// Refuses what has no digests of the kind that is proven.
fn provable(follow: &Follow) -> Outcome<()> {
    let alto = |source: &String| source.starts_with("alto+") || source.starts_with("devnet:");
    if !follow.source.iter().all(alto) {
        return Err(Problem::usage(
            "only a chain whose digests are SHA-256 of a header is proven by this command",
        )
        .hint(
            "name an alto network with --source, or leave it out for the devnet; the library proves \
             statements of your own, see examples/own_prover.rs",
        ));
    }
    let epochs =
        |source: &String| source.contains("epoch_length=") || source.starts_with("devnet:epochs");
    if follow.source.iter().any(epochs) {
        return Err(Problem::usage(
            "blocks that carry what validators reshare are larger than what is proven at once",
        )
        .hint("prove a network without epochs"));
    }
    if follow.start.is_some_and(|start| start.0 != Start::Genesis) {
        return Err(Problem::usage("proving begins above the first block that is kept").hint(
            "leave --start out; or run `tidewatch follow --start` for a moment, and prove on the same \
             --data-dir: it goes on from there",
        ));
    }
    Ok(())
}

/// The block that proving begins above: genesis, or the parent of the first block that is kept.
async fn below_the_first(store: &Reader<Context, AnyBlock>) -> Result<BlockRef, Fault> {
    let genesis = store.chain_info().genesis;
    let Some(first) = store.retention().await?.oldest_block else { return Ok(genesis) };
    let found = store.locate(&[first]).await?.first().copied().flatten();
    let Some((found, below)) = found.zip(first.get().checked_sub(1)) else { return Ok(genesis) };
    let block = store.block(found).await.map_err(|error| match error {
        ArchiveError::Fault(fault) => fault,
        error => FaultKind::Missing.fault("the first block that is kept", error),
    })?;
    Ok(BlockRef::new(Height::new(below), block.parent()))
}

/// Why what was proven before cannot be gone on with.
fn refused(fault: Fault, data: &Path) -> Problem {
    match fault.reason::<Error>() {
        Some(Error::WrongProgram { .. } | Error::WrongChain { .. }) => {
            Problem::from(fault).hint("name another directory with --data-dir")
        }
        Some(Error::NotNested(plan::NotNested { .. }) | Error::SameName(_)) => {
            Problem::from(fault).hint("name each --prover once")
        }
        _ => Problem::ended(fault, data),
    }
}

/// A scheduler that was opened.
pub(in crate::command) struct Ready {
    context: Context,
    statement: Statement,
    scheduling: Scheduler<Context, Statement>,
    mailbox: Mailbox,
    store: Reader<Context, AnyBlock>,
    socket: Socket,
}

impl Ready {
    /// `source` with the proven tier that is made here.
    pub(in crate::command) fn overlay(&self, source: AnySource) -> ProvenOverlay<AnySource> {
        ProvenOverlay::new(source, self.mailbox.proven())
    }

    /// Proves what `follower` delivers. What is returned is to be kept as long as that goes on.
    pub(in crate::command) fn start(
        self,
        follower: &Follower<Context, Reader<Context, AnyBlock>>,
        monitor: Arc<dyn Monitor>,
        show: impl Fn(&json::Proving) + Send + 'static,
    ) -> Socket {
        let Self { context, statement, scheduling, mailbox, store, mut socket } = self;
        follower.supervise(Member::critical(Running::start(scheduling)));
        // The command exists for it, as for the events that it prints.
        follower.attach(Attachment {
            consumer: Feed::new(store.clone(), mailbox.clone(), inputs),
            monitor,
            role: Role::Critical,
            config: delivery::Config::default(),
        });
        let desk = Desk {
            context: context.child("desk"),
            mailbox: mailbox.clone(),
            program: Arc::new(statement),
            store: store.clone(),
            running: true,
        };
        socket.serve(&context, desk);
        progress::start(&context, mailbox, store, show);
        socket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::args::StartAt;

    #[test]
    fn what_cannot_be_proven_is_refused_with_what_to_do() {
        let url = || vec!["http://127.0.0.1:8700".to_owned()];
        let follow = |source: &str| Follow { source: vec![source.into()], ..Follow::default() };
        let at = |start| Follow { start: Some(StartAt(start)), ..Follow::default() };
        let none = Proving::default;
        let table = [
            (follow("eth+http://host"), none(), "examples/own_prover.rs"),
            (follow("devnet:epochs"), none(), "without epochs"),
            (follow("alto+http://host?mode=vrf&epoch_length=9"), none(), "without epochs"),
            (at(Start::Tip), none(), "leave --start out"),
            (follow("devnet:"), Proving { slots: Some(0), ..none() }, "give one of them"),
            (
                follow("devnet:"),
                Proving { token_file: Some("/none".into()), ..none() },
                "means nothing without --prover",
            ),
            (
                follow("devnet:"),
                Proving { prover: url(), token_file: Some("/none".into()), ..none() },
                "openssl rand -hex 32",
            ),
            #[cfg(feature = "prove")]
            (
                follow("devnet:"),
                Proving { prover: vec!["http://me:hunter2@host/".into()], ..none() },
                "prover-worker",
            ),
            #[cfg(not(feature = "prove"))]
            (follow("devnet:"), none(), "cargo run --release --features prove"),
        ];
        for (follow, proving, words) in table {
            let problem = Wanted::parse(&follow, proving).err().expect(words);
            let text = format!("{problem} {:?}", problem.hint);
            assert!(text.contains(words), "{words}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[cfg(feature = "prove")]
    #[test]
    fn this_process_proves_unless_others_do() {
        let prover = vec!["http://127.0.0.1:8700".to_owned()];
        for (prover, slots, local) in [
            (vec![], None, 1),
            (vec![], Some(3), 3),
            (prover.clone(), None, 0),
            (prover, Some(2), 2),
        ] {
            let proving = Proving { prover, slots, ..Proving::default() };
            let wanted = Wanted::parse(&Follow::default(), proving).ok().unwrap();
            assert_eq!(wanted.slots.map_or(0, NonZeroUsize::get), local);
        }
    }
}

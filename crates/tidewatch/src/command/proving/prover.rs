//! `tidewatch prove`: what a follower has beside it when it proves.

use super::{
    args::Proving,
    control::CONTROL,
    desk::Desk,
    progress,
    statement::{Statement, inputs, statement},
    worker::token,
};
use crate::{
    Outcome,
    command::{Problem, args::Follow, control::Socket, nats},
};
use commonware_runtime::{Spawner as _, Supervisor as _, tokio::Context};
use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tidewatch_core::{
    AnyBlock, AnySource, Archive as _, ArchiveError, Block as _, BlockRef, Fault, FaultKind,
    Height, Monitor, Running, json,
    watch::{Receiver, Sender, watch},
};
use tidewatch_nats::{client::Options, jobs::Queue};
use tidewatch_node::{Attachment, Follower, Member, Role};
use tidewatch_prover::{
    Error, Pool, Program as _, Prover, Scheduler, disk, plan,
    proven::{Feed, ProvenOverlay},
    remote::Remote,
    scheduler::{self, Mailbox, Parts, Proven},
};
use tidewatch_store::Reader;
use tidewatch_stream::{Start, delivery};

/// Prefix of the partitions of what is proven, in the data directory.
pub(super) const PARTITION: &str = "tidewatch-proving";
/// Largest proof, and largest inputs, in bytes: more than those of the largest block.
pub(super) const BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How long a stop waits for proofs that are being verified: within that of the whole command.
const GRACE: Duration = Duration::from_millis(500);

/// How a scheduler of this command keeps its things.
pub(super) fn disk() -> disk::Config {
    let max = BYTES_MAX;
    disk::Config { inputs_max: max, proof_max: max, ..disk::Config::new(PARTITION) }
}

/// A prover that is another process.
enum Elsewhere {
    /// A worker over HTTP.
    Http(Remote),
    /// Whoever takes jobs from a queue.
    Nats(Options),
}

/// Whether the address is that of a queue.
fn is_queue(address: &str) -> bool {
    ["nats://", "tls://"].iter().any(|scheme| address.starts_with(scheme))
}

/// Who is to prove what.
pub(in crate::command) struct Wanted {
    statement: Statement,
    elsewhere: Vec<Elsewhere>,
    slots: Option<NonZeroUsize>,
    ahead: Option<NonZeroUsize>,
    /// Whether the first block that is kept is the lowest of all.
    from_genesis: bool,
}

impl Wanted {
    /// Reads the options.
    pub(in crate::command) fn parse(follow: &Follow, proving: Proving) -> Outcome<Self> {
        let Proving { prover, prover_creds, token_file, slots, ahead } = proving;
        provable(follow)?;
        let slots = slots.unwrap_or_else(|| usize::from(prover.is_empty()));
        if slots == 0 && prover.is_empty() {
            return Err(Problem::usage(
                "nobody would prove: --slots is 0 and there is no --prover",
            )
            .hint("give one of them"));
        }
        if token_file.is_some() && prover.iter().all(|address| is_queue(address)) {
            return Err(Problem::usage(
                "--token-file means nothing without --prover http://HOST:PORT",
            )
            .hint("name the workers that ask for the token, or leave it out"));
        }
        if prover_creds.is_some() && !prover.iter().any(|address| is_queue(address)) {
            return Err(Problem::usage(
                "--prover-creds means nothing without --prover nats://HOST:PORT",
            )
            .hint("name the queue that asks for credentials, or leave it out"));
        }
        let token = token_file.as_deref().map(token).transpose()?;
        let statement = statement()?;
        let program = statement.id();
        let elsewhere = |address: &String| {
            if is_queue(address) {
                let servers: Vec<_> = address.split(',').map(str::to_owned).collect();
                return nats::read(&servers, prover_creds.as_ref()).map(Elsewhere::Nats);
            }
            let remote = Remote::new(address, program, BYTES_MAX).map_err(|error| {
                Problem::usage(format!("--prover: {error}"))
                    .hint(
                    "it is the address that `tidewatch prover-worker` listens at, or nats://HOST:PORT where workers \
                     take jobs from a queue",
                )
            })?;
            Ok(Elsewhere::Http(match &token {
                Some(token) => remote.with_token(token.clone()),
                None => remote,
            }))
        };
        let elsewhere = prover.iter().map(elsewhere).collect::<Outcome<_>>()?;
        let from_genesis = follow.start.is_none_or(|start| start.0 == Start::Genesis);
        Ok(Self { statement, elsewhere, slots: NonZeroUsize::new(slots), ahead, from_genesis })
    }

    /// Gets ready to prove what a follower keeps in `store`, in the directory `data`.
    pub(in crate::command) async fn ready(
        self,
        context: &Context,
        store: &Reader<Context, AnyBlock>,
        data: &Path,
    ) -> Outcome<Ready> {
        let (context, store, data) = (context.child("proving"), store.clone(), data.to_owned());
        let genesis = store.chain_info().genesis;
        let start = match below_the_first(&store).await {
            Ok(None) if self.from_genesis => Some(genesis),
            Ok(start) => start,
            Err(fault) => return Err(Problem::ended(fault, &data)),
        };
        let (tier, begin) = match start {
            Some(start) => {
                let opened = self.open(&context, &store, &data, start).await?;
                (opened.mailbox.proven(), Begin::Opened(Box::new(opened)))
            }
            None => {
                let none = Proven { tip: genesis, committed: genesis, proof: None, stalled: false };
                let (sender, tier) = watch(none);
                (tier, Begin::AboveTheFirst(self, sender))
            }
        };
        Ok(Ready { context, store, data, tier, begin })
    }

    /// Opens what was proven before, or begins above `start`.
    async fn open(
        self,
        context: &Context,
        store: &Reader<Context, AnyBlock>,
        data: &Path,
        start: BlockRef,
    ) -> Outcome<Opened> {
        let mut provers: Vec<Arc<dyn Prover>> = Vec::new();
        if let Some(slots) = self.slots {
            let statement = self.statement.clone();
            provers.push(Arc::new(Pool::new(context.child("pool"), "pool", statement, slots)));
        }
        let (chain, program) = (store.chain_info().id.clone(), self.statement.id());
        for (number, prover) in self.elsewhere.into_iter().enumerate() {
            provers.push(match prover {
                Elsewhere::Http(remote) => Arc::new(remote),
                Elsewhere::Nats(options) => {
                    let context = context.child("queue").with_attribute("prover", number);
                    Arc::new(Queue::new(context, options, program, BYTES_MAX))
                }
            });
        }
        let parts = Parts {
            program: Arc::new(self.statement.clone()),
            provers,
            subject: disk::Subject { chain, program, start },
        };
        let mut config = scheduler::Config { grace: GRACE, ..scheduler::Config::new(disk()) };
        config.plan.ahead_max = self.ahead.unwrap_or(config.plan.ahead_max);
        let opened = Scheduler::open(context.child("scheduler"), parts, config).await;
        let (scheduling, mailbox) = opened.map_err(|fault| refused(fault, data))?;
        Ok(Opened { scheduling, mailbox, statement: self.statement, socket: CONTROL.listen(data)? })
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
    Ok(())
}

/// The parent of the first block that is kept.
async fn below_the_first(store: &Reader<Context, AnyBlock>) -> Result<Option<BlockRef>, Fault> {
    let Some(first) = store.retention().await?.oldest_block else { return Ok(None) };
    let found = store.locate(&[first]).await?.first().copied().flatten();
    let Some((found, below)) = found.zip(first.get().checked_sub(1)) else { return Ok(None) };
    let block = store.block(found).await.map_err(|error| match error {
        ArchiveError::Fault(fault) => fault,
        error => FaultKind::Missing.fault("the first block that is kept", error),
    })?;
    Ok(Some(BlockRef::new(Height::new(below), block.parent())))
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
struct Opened {
    scheduling: Scheduler<Context, Statement>,
    mailbox: Mailbox,
    statement: Statement,
    socket: Socket,
}

/// How proving begins.
enum Begin {
    /// With what is there.
    Opened(Box<Opened>),
    /// Above the first block that is kept, which is known once it is. Until then nothing is proven.
    AboveTheFirst(Wanted, Sender<Proven>),
}

/// All that is needed to prove.
pub(in crate::command) struct Ready {
    context: Context,
    store: Reader<Context, AnyBlock>,
    data: PathBuf,
    tier: Receiver<Proven>,
    begin: Begin,
}

impl Ready {
    /// `source` with the proven tier that is made here.
    pub(in crate::command) fn overlay(&self, source: AnySource) -> ProvenOverlay<AnySource> {
        ProvenOverlay::new(source, self.tier.clone())
    }

    /// Proves what `follower` delivers, from the first block that it keeps on. What is returned is to be kept as long
    /// as that goes on.
    pub(in crate::command) async fn start(
        self,
        follower: &Follower<Context, Reader<Context, AnyBlock>>,
        monitor: Arc<dyn Monitor>,
        show: impl Fn(&json::Proving) + Send + 'static,
    ) -> Outcome<Socket> {
        let Self { context, store, data, begin, .. } = self;
        let opened = match begin {
            Begin::Opened(opened) => *opened,
            Begin::AboveTheFirst(wanted, tier) => {
                let start = first(follower, &store).await;
                let start = start.map_err(|fault| Problem::ended(fault, &data))?;
                let opened = wanted.open(&context, &store, &data, start).await?;
                pass_on(&context, opened.mailbox.proven(), tier);
                opened
            }
        };
        let Opened { scheduling, mailbox, statement, mut socket } = opened;
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
        Ok(socket)
    }
}

/// The parent of the first block that `follower` keeps, once it does.
async fn first(
    follower: &Follower<Context, Reader<Context, AnyBlock>>,
    store: &Reader<Context, AnyBlock>,
) -> Result<BlockRef, Fault> {
    let mut heads = follower.heads();
    loop {
        if let Some(start) = below_the_first(store).await? {
            return Ok(start);
        }
        if heads.changed().await.is_err() {
            // Why the follower ended is reported elsewhere.
            return std::future::pending().await;
        }
    }
}

/// Keeps `tier` at what is proven.
fn pass_on(context: &Context, mut proven: Receiver<Proven>, tier: Sender<Proven>) {
    context.child("tier").spawn(move |_| async move {
        let mut next = Ok(proven.current());
        while let Ok(now) = next {
            tier.change(|shown| std::mem::replace(shown, now.clone()) != now);
            next = proven.changed().await;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_proven_is_refused_with_what_to_do() {
        let url = || vec!["http://127.0.0.1:8700".to_owned()];
        let follow = |source: &str| Follow { source: vec![source.into()], ..Follow::default() };
        let none = Proving::default;
        let table = [
            (follow("eth+http://host"), none(), "examples/own_prover.rs"),
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
            (
                follow("devnet:"),
                Proving {
                    prover: vec!["nats://host".into()],
                    token_file: Some("/none".into()),
                    ..none()
                },
                "--prover http://",
            ),
            (
                follow("devnet:"),
                Proving { prover: url(), prover_creds: Some("/none".into()), ..none() },
                "--prover nats://",
            ),
            #[cfg(feature = "prove")]
            (
                follow("devnet:"),
                Proving { prover: vec!["http://me:hunter2@host/".into()], ..none() },
                "prover-worker",
            ),
            #[cfg(feature = "prove")]
            (
                follow("devnet:"),
                Proving { prover: vec!["nats://a,nats://me:hunter2@:x".into()], ..none() },
                "no address of a NATS server",
            ),
            #[cfg(feature = "prove")]
            (
                follow("devnet:"),
                Proving {
                    prover: vec!["nats://host".into()],
                    prover_creds: Some("/none".into()),
                    ..none()
                },
                "the credentials in /none",
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
        let queue = vec!["nats://127.0.0.1:4222,nats://127.0.0.1:4223".to_owned()];
        for (prover, slots, local) in [
            (queue, None, 0),
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

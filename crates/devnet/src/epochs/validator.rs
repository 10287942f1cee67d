//! One validator: consensus for each epoch, and the resharing that prepares the next one.

use super::{
    Config,
    application::Application,
    block::{Format, MEMBERS, PAYLOAD_MAX, VERSION},
    faults::{Faults, Gate, Heard, Mouth, Votes},
    inside::Inside,
    journals,
    peers::Peers,
    pool::Pool,
    publish::{Tap, publisher},
    schemes::Schemes,
    secrets::Secrets,
    served::Served,
};
use crate::{
    Certify,
    network::{self, MAILBOX_SIZE, QUOTA},
    runtime,
};
use alto_types::{NAMESPACE, PublicKey};
use commonware_broadcast::buffered;
use commonware_consensus::{
    Reporters,
    marshal::{self, core::Actor as Marshal, standard::Deferred},
    simplex::{
        SkipBudget,
        config::{ForwardPolicy, SkipPolicy},
        elector::RoundRobin,
    },
    types::{Epoch, FixedEpocher, ViewDelta},
};
use commonware_cryptography::{
    Sha256, Signer as _,
    bls12381::{dkg::feldman_desmedt::Reveal, primitives::sharing::Mode},
    ed25519,
};
use commonware_glue::dkg::{
    Registrar as _, fence::Fence, orchestrator, reshare, state_sync, types::SchemeInfo,
};
use commonware_p2p::authenticated::discovery::Network;
use commonware_parallel::Sequential;
use commonware_runtime::{
    Clock as _, Spawner as _, Supervisor as _,
    buffer::paged::{CacheRef, page_size},
    tokio::Context,
};
use commonware_storage::{archive::prunable, translator::TwoCap};
use commonware_utils::{NZU64, NZUsize};
use std::{
    marker::PhantomData,
    net::SocketAddr,
    num::{NonZeroU16, NonZeroU64, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

/// Time that a leader has for its proposal, after it waited for the block time.
const PROPOSAL_TIME: Duration = Duration::from_millis(500);
/// Time that a proposal has after that to be certified, which waits for several disks here that are one. A
/// view that is given up after its block was notarized is a reorg for whoever follows proposed blocks.
const CERTIFICATION_TIME: Duration = Duration::from_secs(3);
const FETCH_TIMEOUT: Duration = Duration::from_secs(1);
const FETCH_RETRY: Duration = Duration::from_millis(100);
/// Views behind the newest one whose votes and blocks are kept; each is a file.
const RETENTION: ViewDelta = ViewDelta::new(16);
/// Blocks kept for each peer by the broadcast buffer.
const DEQUE_SIZE: usize = 16;
/// Messages that wait for the engine of an epoch.
const MUXER_SIZE: usize = 128;
/// Missing blocks that are fetched at a time.
const REPAIR_MAX: NonZeroUsize = NZUsize!(20);
const PAGE_SIZE: NonZeroU16 = page_size(4_096);
const PAGES: NonZeroUsize = NZUsize!(256);
/// Pages of the consensus journal, of which each epoch has its own.
const JOURNAL_PAGES: NonZeroUsize = NZUsize!(16);
const BUFFER: NonZeroUsize = NZUsize!(16 * 1024);
const REPLAY_BUFFER: NonZeroUsize = NZUsize!(256 * 1024);
/// Items in one file of an archive.
const SECTION: NonZeroU64 = NZU64!(4_096);

/// Parameters shared by all validators of a devnet.
pub(super) struct Plan<S: Certify> {
    pub(super) config: Config,
    pub(super) epoch_length: NonZeroU64,
    pub(super) pool: Arc<Pool>,
    /// Listen address of each validator.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) served: Arc<Served<S>>,
    pub(super) inside: Arc<Inside<S>>,
    pub(super) faults: Arc<Faults>,
}

impl<S: Certify> Plan<S> {
    /// Partition prefix. It contains every setting that changes the chain.
    fn partition(&self, index: usize) -> String {
        let Config { mode, validators, committee, epoch_length, seed, .. } = self.config;
        let mode = mode.as_str();
        format!("epochs-{mode}-{validators}-{committee}-{epoch_length}-{seed}-validator-{index}")
    }

    fn peers(&self) -> Vec<(PublicKey, SocketAddr)> {
        let keys = self.pool.keys().iter().map(|key| key.public_key());
        keys.zip(self.addresses.iter().copied()).collect()
    }

    fn simplex(&self) -> orchestrator::SimplexConfig<RoundRobin<Sha256>> {
        let leader_timeout = self.config.block_time + PROPOSAL_TIME;
        let certification_timeout = leader_timeout + CERTIFICATION_TIME;
        orchestrator::SimplexConfig {
            // Each dealer publishes its result when it leads: leaders take turns in both modes.
            elector: RoundRobin::default(),
            mailbox_size: MAILBOX_SIZE,
            replay_buffer: REPLAY_BUFFER,
            write_buffer: BUFFER,
            page_cache_page_size: PAGE_SIZE,
            page_cache_pages: JOURNAL_PAGES,
            leader_timeout,
            certification_timeout,
            timeout_retry: PROPOSAL_TIME,
            fetch_timeout: FETCH_TIMEOUT,
            view_retention: RETENTION,
            skip: SkipPolicy::Enabled {
                timeout: 2 * certification_timeout,
                budget: SkipBudget::Participants,
            },
            forward: ForwardPolicy::Disabled,
            track_historical_votes: false,
        }
    }
}

/// Configuration of an archive of marshal's, which is never pruned.
fn archive<C>(
    partition: &str,
    name: &str,
    cache: &CacheRef,
    codec_config: C,
) -> prunable::Config<TwoCap, C> {
    prunable::Config {
        translator: TwoCap,
        metadata_partition: format!("{partition}-{name}-metadata"),
        key_partition: format!("{partition}-{name}-key"),
        key_page_cache: cache.clone(),
        value_partition: format!("{partition}-{name}-value"),
        compression: None,
        codec_config,
        items_per_section: SECTION,
        key_write_buffer: BUFFER,
        value_write_buffer: BUFFER,
        replay_buffer: REPLAY_BUFFER,
    }
}

/// How long a validator that was stopped takes to let go of its files and its port.
const STOPPING: Duration = Duration::from_millis(250);

/// Runs the validator at `index` until one of its parts ends, over stops and starts. Returns which part ended, and
/// why.
pub(super) async fn run<S: Certify>(context: Context, plan: Arc<Plan<S>>, index: usize) -> String {
    for life in 0_u64.. {
        plan.faults.until(index, false).await;
        let running = plan.clone();
        // Everything that it is lives below this task, and ends with it.
        let mut alive =
            context.child("life").with_attribute("life", life).spawn(move |context| async move {
                match parts(context, &running, index).await {
                    Ok(parts) => runtime::first_ended(index, parts).await,
                    Err(error) => {
                        format!("the storage of validator {index} cannot be used: {error}")
                    }
                }
            });
        tokio::select! {
            ended = &mut alive => {
                return ended.unwrap_or_else(|error| format!("validator {index} ended: {error}"));
            }
            () = plan.faults.until(index, true) => alive.abort(),
        }
        let _ = alive.await;
        context.sleep(STOPPING).await;
    }
    format!("validator {index} has no life left")
}

type Parts = Vec<(&'static str, commonware_runtime::Handle<()>)>;

/// Starts the parts of the validator at `index`.
async fn parts<S: Certify>(
    context: Context,
    plan: &Plan<S>,
    index: usize,
) -> Result<Parts, Box<dyn std::error::Error + Send + Sync>> {
    let key = plan.pool.keys()[index].clone();
    let me = key.public_key();
    let partition = plan.partition(index);
    let first = plan.pool.first();
    let format = Format::new(first.clone());
    let epocher = FixedEpocher::new(plan.epoch_length);
    let cache = CacheRef::from_pooler(&context, PAGE_SIZE, PAGES);

    let (mut network, oracle) = Network::new(
        context.child("network"),
        network::config(&key, plan.addresses[index], plan.peers(), PAYLOAD_MAX),
    );
    let peers = Peers::connect(oracle.clone(), plan.pool.rotation().everybody());
    let mut channel = |id| {
        let (sender, receiver) = network.register(id, QUOTA);
        (sender, Gate::new(receiver, plan.faults.clone(), index))
    };
    let (votes, certificates, resolver) = (channel(0), channel(1), channel(2));
    let (broadcast, backfill, dealings) = (channel(3), channel(4), channel(5));
    let p2p = network.start();
    let (publisher, tips, tap) = publisher(plan.served.clone(), Heard::new(certificates.1, None));

    let dealt = plan.pool.share(&key);
    let electorate = plan.inside.electorate(index);
    let schemes = Schemes::<S>::new(plan.pool.dealt().identity(), electorate);
    let (participants, sharing) = (first.output.players().clone(), first.output.public().clone());
    let scheme = match dealt.clone() {
        Some(share) => SchemeInfo::Signer { participants, sharing, share },
        None => SchemeInfo::Verifier { participants, sharing },
    };
    schemes.register(Epoch::zero(), scheme).await;
    let ears = plan.inside.ears(index);
    let ears = Votes::new(me.clone(), index, plan.faults.clone(), schemes.clone(), ears);
    let secrets =
        Secrets::open(context.child("secrets"), format!("{partition}-secrets"), dealt).await?;

    let backfill = marshal::resolver::p2p::init(
        context.child("marshal_resolver"),
        marshal::resolver::p2p::Config {
            public_key: me.clone(),
            peer_provider: oracle.clone(),
            blocker: oracle.clone(),
            mailbox_size: MAILBOX_SIZE,
            timeout: FETCH_TIMEOUT,
            fetch_retry_timeout: FETCH_RETRY,
            priority_requests: false,
            priority_responses: false,
        },
        backfill,
    );
    let (buffer, buffered) = buffered::Engine::new(
        context.child("buffer"),
        buffered::Config {
            public_key: me,
            mailbox_size: MAILBOX_SIZE,
            deque_size: DEQUE_SIZE,
            priority: true,
            codec_config: format.clone(),
            peer_provider: oracle.clone(),
        },
    );
    let buffer = buffer.start(broadcast);

    let finalizations = prunable::Archive::init(
        context.child("finalizations"),
        archive(&partition, "finalizations", &cache, ()),
    )
    .await?;
    let blocks = prunable::Archive::init(
        context.child("blocks"),
        archive(&partition, "blocks", &cache, format.clone()),
    )
    .await?;
    let (marshal, mailbox, _) = Marshal::init(
        context.child("marshal"),
        finalizations,
        blocks,
        marshal::Config {
            provider: schemes.clone(),
            epocher: epocher.clone(),
            start: marshal::Start::Genesis(format.genesis()),
            partition_prefix: partition.clone(),
            mailbox_size: MAILBOX_SIZE,
            view_retention: RETENTION,
            prunable_items_per_section: SECTION,
            page_cache: cache,
            replay_buffer: REPLAY_BUFFER,
            key_write_buffer: BUFFER,
            value_write_buffer: BUFFER,
            block_codec_config: format,
            max_repair: REPAIR_MAX,
            // The resharing takes in a block before the next one is delivered.
            max_pending_acks: NonZeroUsize::MIN,
            strategy: Sequential,
        },
    )
    .await;
    plan.served.attach(index, mailbox.clone());

    // Nobody joins without the history, so there is no state to begin with.
    let state_sync = state_sync::Plan::init(
        context.child("state_sync"),
        state_sync::Config {
            partition_prefix: partition.clone(),
            max_participants: MEMBERS,
            max_supported_mode: VERSION,
        },
        None,
    )
    .await;
    let (fence, gate) = Fence::new(Epoch::zero());
    let (reshare, resharing) = reshare::Actor::new(
        context.child("reshare"),
        reshare::Config {
            signer: key,
            manager: peers.clone(),
            blocker: oracle.clone(),
            participants_provider: plan.pool.rotation().clone(),
            secret_store: secrets,
            strategy: Sequential,
            registrar: schemes.clone(),
            marshal: mailbox.clone(),
            state_sync: state_sync.clone(),
            fence,
            namespace: NAMESPACE,
            sharing_mode: Mode::NonZeroCounter,
            reveal: Reveal::V1,
            mailbox_size: MAILBOX_SIZE,
            partition_prefix: format!("{partition}-reshare"),
            max_participants: MEMBERS,
            blocks_per_epoch: plan.epoch_length,
            batch_verifier: PhantomData::<ed25519::Batch>,
        },
    );
    let reshare = reshare.start(dealings);

    let application = reshare::Application::new(
        Application::<S>::new(plan.config.block_time, epocher.clone()),
        resharing.clone(),
        plan.epoch_length,
    );
    let (orchestrator, epochs) = orchestrator::Actor::new(
        context.child("orchestrator"),
        orchestrator::Config {
            oracle,
            manager: peers,
            provider: schemes.clone(),
            marshal: mailbox.clone(),
            application: Deferred::new(
                context.child("deferred"),
                application,
                mailbox.clone(),
                epocher.clone(),
            ),
            strategy: Sequential,
            simplex: plan.simplex(),
            gate,
            state_sync,
            blocks_per_epoch: plan.epoch_length,
            muxer_size: MUXER_SIZE,
            mailbox_size: MAILBOX_SIZE,
            partition_prefix: partition.clone(),
        },
    );
    let orchestrator = orchestrator.start(
        (Mouth::new(votes.0, Some(ears.clone())), Tap::closed(Heard::new(votes.1, Some(ears)))),
        (Mouth::new(certificates.0, None), tap),
        (Mouth::new(resolver.0, None), Tap::closed(Heard::new(resolver.1, None))),
    );

    let delivered = tips.delivered();
    let journals = context
        .child("journals")
        .spawn(move |context| journals::remove_old(context, partition, epocher, delivered));
    let own = Reporters::from((Reporters::from((epochs, resharing)), tips));
    let reporters = Reporters::from((own, plan.inside.bell(index)));
    let marshal = marshal.start(reporters, buffered, backfill);
    let publisher = context
        .child("publisher")
        .spawn(move |_| async move { publisher.run(mailbox, schemes).await });
    Ok(vec![
        ("p2p", p2p),
        ("buffer", buffer),
        ("resharing", reshare),
        ("orchestrator", orchestrator),
        ("marshal", marshal),
        ("publisher", publisher),
        ("journals", journals),
    ])
}

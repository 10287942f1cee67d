//! One validator: the alto engine on authenticated p2p, sized for a shared process.

use super::{
    gate::Gate,
    upload::{Slot, Uploader},
};
use crate::{
    Certify, Committee, Config,
    network::{self, MAILBOX_SIZE, QUOTA},
    runtime,
};
use alto_chain::{
    DEFAULT_BACKFILLER_MAX_ACTIVE,
    engine::{self, Engine, StableElector, stable_elector},
};
use alto_types::{EPOCH, PublicKey, ROTATING_ELECTOR, RotatingElector, StandardScheme, VrfScheme};
use commonware_consensus::{marshal, simplex::elector, types::ViewDelta};
use commonware_cryptography::Signer as _;
use commonware_p2p::{
    Manager as _,
    authenticated::discovery::{Network, Oracle},
};
use commonware_parallel::Sequential;
use commonware_runtime::{Supervisor as _, tokio::Context};
use commonware_utils::NZU32;
use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// Blocks kept for each peer by the broadcast buffer.
const DEQUE_SIZE: usize = 16;
/// Initial slots of each freezer table (50 KiB): it grows with the chain.
const FREEZER_TABLE_INITIAL_SIZE: u32 = 1 << 10;
const ACTIVITY_TIMEOUT: ViewDelta = ViewDelta::new(256);
const FETCH_TIMEOUT: Duration = Duration::from_secs(1);
const BACKFILLER_RETRY: Duration = Duration::from_millis(500);
/// Views of one leader in standard mode, and how far it may run ahead of certificates.
const TERM_LENGTH: NonZeroU32 = NZU32!(32);
const OPTIMISTIC_VIEWS: u64 = 4;
/// Time that the leader has for its proposal, after it waited for the block time.
const PROPOSAL_TIME: Duration = Duration::from_millis(500);

/// A certificate scheme that validators can run.
pub(super) trait Validate: Certify {
    /// Leader election of the mode.
    type Elector: elector::Config<Self>;

    fn elector() -> Self::Elector;
}

impl Validate for StandardScheme {
    type Elector = StableElector;

    fn elector() -> Self::Elector {
        stable_elector(TERM_LENGTH, OPTIMISTIC_VIEWS)
    }
}

impl Validate for VrfScheme {
    type Elector = RotatingElector;

    fn elector() -> Self::Elector {
        ROTATING_ELECTOR
    }
}

/// Parameters shared by all validators of a devnet.
pub(super) struct Plan<S: Certify> {
    pub(super) config: Config,
    pub(super) committee: Arc<Committee>,
    /// Listen address of each member, in the committee's order.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) slot: Arc<Slot<S>>,
    pub(super) paused: Arc<AtomicBool>,
}

impl<S: Certify> Plan<S> {
    /// Partition prefix. It contains every setting that changes the chain, because a different mode,
    /// committee, block size or seed is a different chain.
    fn partition(&self, index: usize) -> String {
        let Config { mode, validators, seed, block_size, .. } = self.config;
        format!("{}-{validators}-{seed}-{block_size}-validator-{index}", mode.as_str())
    }

    fn engine(
        &self,
        me: PublicKey,
        index: usize,
        scheme: S,
        oracle: Oracle<PublicKey>,
    ) -> engine::Config<Oracle<PublicKey>, Oracle<PublicKey>, Uploader<S>, Sequential, S, S::Elector>
    where
        S: Validate,
    {
        let block_time = self.config.block_time;
        let leader_timeout = block_time + PROPOSAL_TIME;
        engine::Config {
            blocker: oracle.clone(),
            provider: oracle,
            partition_prefix: self.partition(index),
            blocks_freezer_table_initial_size: FREEZER_TABLE_INITIAL_SIZE,
            finalized_freezer_table_initial_size: FREEZER_TABLE_INITIAL_SIZE,
            me,
            scheme,
            elector: S::elector(),
            mailbox_size: MAILBOX_SIZE.get(),
            deque_size: DEQUE_SIZE,
            block_size: self.config.block_size,
            proposal_delay_ms: u64::try_from(block_time.as_millis()).unwrap_or(u64::MAX),
            leader_timeout,
            certification_timeout: leader_timeout + PROPOSAL_TIME,
            // Also the interval at which votes that a pause dropped are sent again.
            nullify_retry: PROPOSAL_TIME,
            fetch_timeout: FETCH_TIMEOUT,
            activity_timeout: ACTIVITY_TIMEOUT,
            skip_timeout: 4 * leader_timeout,
            backfiller_max_active: DEFAULT_BACKFILLER_MAX_ACTIVE,
            backfiller_retry: BACKFILLER_RETRY,
            strategy: Sequential,
            indexer: Some(Uploader(self.slot.clone())),
        }
    }
}

/// Runs the member at `index` until one of its parts ends. Returns which part ended, and why.
pub(super) async fn run<S: Validate>(context: Context, plan: Arc<Plan<S>>, index: usize) -> String {
    let Some(member) = plan.committee.members().get(index) else {
        return format!("validator {index} is not a member of the committee");
    };
    let participants = plan.committee.participants().clone();
    let polynomial = plan.committee.polynomial().clone();
    let Some(scheme) = S::signing(participants.clone(), polynomial, member.share.clone()) else {
        return format!("validator {index} holds a share of another committee");
    };
    let me = member.key.public_key();

    let peers = participants.iter().cloned().zip(plan.addresses.iter().copied()).collect();
    let (mut network, mut oracle) = Network::new(
        context.child("network"),
        network::config(&member.key, plan.addresses[index], peers, plan.config.block_size),
    );
    oracle.track(EPOCH.get(), participants);
    let mut channel = |id| {
        let (sender, receiver) = network.register(id, QUOTA);
        (sender, Gate::new(receiver, plan.paused.clone()))
    };
    let (votes, certificates, resolver) = (channel(0), channel(1), channel(2));
    let (broadcast, backfill) = (channel(3), channel(4));
    let p2p = network.start();

    let backfill = marshal::resolver::p2p::init(
        context.child("marshal_resolver"),
        marshal::resolver::p2p::Config {
            public_key: me.clone(),
            peer_provider: oracle.clone(),
            blocker: oracle.clone(),
            mailbox_size: MAILBOX_SIZE,
            timeout: FETCH_TIMEOUT,
            fetch_retry_timeout: Duration::from_millis(100),
            priority_requests: false,
            priority_responses: false,
        },
        backfill,
    );
    let config = plan.engine(me, index, scheme, oracle);
    let engine = Engine::new(context.child("engine"), config).await.start(
        votes,
        certificates,
        resolver,
        broadcast,
        backfill,
    );
    runtime::first_ended(index, [("p2p", p2p), ("engine", engine)]).await
}

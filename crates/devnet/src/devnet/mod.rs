//! A live chain: validators and an indexer in one process.
//!
//! # Overview
//!
//! ```text
//!  ┌ thread devnet-validators ─────────────────┐   ┌ thread devnet-indexer ────────┐
//!  │ commonware runtime                        │   │ tokio runtime                 │
//!  │  validator 0 ◀─ p2p on loopback ─▶ 1,2,3  │   │  alto_indexer::Api on axum    │◀── followers
//!  │     └──────────── uploads ────────────────┼──▶│  alto_indexer::Indexer        │    (HTTP, WebSocket)
//!  └───────────────────────────────────────────┘   └───────────────────────────────┘
//! ```
//!
//! Each validator is the alto engine (Simplex consensus, marshal, application) with its own identity,
//! share of the group's BLS12-381 key, listener and storage partitions. Validators vote over
//! authenticated connections, and upload certified blocks to the indexer, which verifies them.
//!
//! The embedder's runtime is used for deadlines only. Restarts and limits are documented at [`Devnet`].

mod config;
mod gate;
mod rounds;
#[cfg(test)]
mod tests;
mod upload;
mod validator;

use crate::{
    Committee, Error,
    host::Host,
    runtime::{self, Validators},
};
use alto_types::{CertificateMode, Identity, NAMESPACE, StandardScheme, VrfScheme};
use commonware_runtime::tokio::Context;
pub use config::Config;
use futures::{FutureExt as _, future::BoxFuture};
pub use rounds::Rounds;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tidewatch_core::Height;
use tokio::sync::watch;
use upload::{Indexed, Slot};
use validator::{Plan, Validate};

/// A running chain. Dropping it stops the chain without waiting for the shutdown.
///
/// # Restart safety
///
/// A start on the same directory with the same settings continues the chain: same identity, higher
/// heights. A directory stays locked until the last write to it has completed, and the next start waits
/// for that.
///
/// The indexer keeps its state in memory. After a restart, of the devnet or of the indexer alone, it
/// returns 404 for heights that are not uploaded again, as a real indexer that lost its state does.
/// Restarted validators upload the contents of their consensus journals again: the last few hundred
/// views.
///
/// # Limits
///
/// Heights may be missing from the indexer in normal operation too: if no finalization certificate
/// formed for a block, Simplex finalizes it through that of a descendant, and alto indexers store one
/// block per certificate.
///
/// The indexer never evicts anything, and needs about 2 KiB per block with small payloads: for a devnet
/// that runs for days, call [`Devnet::restart_indexer`] from time to time. The ports of the validators
/// are reserved and released before use; if another process takes one, the start is retried.
pub struct Devnet {
    context: Context,
    mode: CertificateMode,
    committee: Arc<Committee>,
    validators: Validators,
    host: Host,
    indexed: Arc<dyn Indexed>,
    tip: watch::Receiver<Height>,
    rounds: Rounds,
    paused: Arc<AtomicBool>,
}

impl fmt::Debug for Devnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Devnet")
            .field("url", &self.url())
            .field("mode", &self.mode)
            .field("identity", &self.identity())
            .field("tip", &self.tip())
            .finish_non_exhaustive()
    }
}

impl Devnet {
    /// Starts the validators and the indexer, and returns once all of them listen. The first block
    /// follows within a few block times.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if a setting is invalid; [`Error::Bind`], [`Error::Directory`] or
    /// [`Error::Thread`] if the operating system denies a resource; [`Error::Ended`] if the validators
    /// fail; [`Error::Timeout`] if they do not listen in time.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, everything it started is stopped.
    // Boxed, so that consensus is compiled here once, and not again wherever the future is awaited.
    pub fn start(context: Context, config: Config) -> BoxFuture<'static, Result<Self, Error>> {
        let start = async move {
            config.validate()?;
            let committee = Arc::new(Committee::deal(config.seed, config.validators)?);
            match config.mode {
                CertificateMode::Standard => {
                    let verifier =
                        StandardScheme::certificate_verifier(NAMESPACE, committee.identity());
                    Self::start_with(context, config, committee, verifier).await
                }
                CertificateMode::Vrf => {
                    let verifier = VrfScheme::certificate_verifier(NAMESPACE, committee.identity());
                    Self::start_with(context, config, committee, verifier).await
                }
            }
        };
        start.boxed()
    }

    async fn start_with<S: Validate>(
        context: Context,
        config: Config,
        committee: Arc<Committee>,
        verifier: S,
    ) -> Result<Self, Error> {
        let (tips, tip) = watch::channel(Height::zero());
        let rounds = Rounds::new();
        let slot = Arc::new(Slot::new(verifier, config.block_size, tips, rounds.clone()));
        let host = Host::start(config.port, slot.renew())?;
        let paused = Arc::new(AtomicBool::new(false));
        let validators = runtime::start(&context, committee.members().len(), |addresses| {
            let plan = Arc::new(Plan {
                config: config.clone(),
                committee: committee.clone(),
                addresses: addresses.clone(),
                slot: slot.clone(),
                paused: paused.clone(),
            });
            runtime::launch(config.directory.clone(), addresses, move |context, index| {
                validator::run(context, plan.clone(), index)
            })
        })
        .await?;
        let mode = S::MODE;
        Ok(Self { context, mode, committee, validators, host, indexed: slot, tip, rounds, paused })
    }

    /// URL of the indexer: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.host.address())
    }

    /// The group's public key in hex, as in the configuration of a follower.
    pub fn identity(&self) -> String {
        self.committee.identity_hex()
    }

    /// The group's public key.
    pub fn public(&self) -> Identity {
        self.committee.identity()
    }

    /// Certificate mode of the chain.
    pub const fn mode(&self) -> CertificateMode {
        self.mode
    }

    /// Highest height that a validator has finalized since the start; 0 before the first.
    pub fn tip(&self) -> Height {
        *self.tip.borrow()
    }

    /// The rounds that the validators have certified since the start.
    pub fn rounds(&self) -> Rounds {
        self.rounds.clone()
    }

    /// The keys that the chain is signed with.
    pub(crate) fn committee(&self) -> &Arc<Committee> {
        &self.committee
    }

    /// Waits until the chain has finalized `height`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] after `deadline`, [`Error::Ended`] if the validators end first.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the future may be dropped and the method called again.
    pub async fn reach(&self, height: Height, deadline: Duration) -> Result<(), Error> {
        self.validators.reach(&self.context, self.tip.clone(), height, deadline).await
    }

    /// Resolves with the reason when the validators end although they were not stopped.
    pub async fn ended(&self) -> Error {
        self.validators.ended().await
    }

    /// Pauses the chain: the validators drop each other's messages, so that no quorum forms. Blocks that
    /// are already certified may still reach the indexer, which keeps serving.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::Release);
    }

    /// Ends a pause. The chain grows again within a few seconds: each validator must first time out of
    /// the views whose votes were dropped.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::Release);
    }

    /// Stops the indexer: its connections are cut, its port is closed and its state is lost. The
    /// validators continue without it.
    pub async fn stop_indexer(&mut self) {
        self.indexed.clear();
        self.host.close().await;
    }

    /// Starts an empty indexer on the same port. Does nothing if the indexer is running.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] if another process has taken the port; the call may be retried.
    pub fn start_indexer(&mut self) -> Result<(), Error> {
        if self.host.is_open() {
            return Ok(());
        }
        let router = self.indexed.renew();
        self.host.open(router).inspect_err(|_| self.indexed.clear())
    }

    /// Stops the indexer and starts an empty one on the same port.
    ///
    /// # Errors
    ///
    /// As [`Devnet::start_indexer`].
    pub async fn restart_indexer(&mut self) -> Result<(), Error> {
        self.stop_indexer().await;
        self.start_indexer()
    }

    /// Stops the chain: tasks are dropped, ports are freed, a temporary directory is removed. Takes tens
    /// of milliseconds; on a slow disk it returns after a second, and the last writes complete in the
    /// background.
    pub async fn stop(mut self) {
        self.stop_indexer().await;
        self.validators.stop_within(&self.context).await;
    }
}

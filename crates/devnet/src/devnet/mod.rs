//! A chain that runs by itself: validators and an indexer in one process.
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
//! Each validator is the alto engine (Simplex consensus, marshal, application) with an identity, a
//! share of the group's BLS12-381 key, a listener and storage partitions of its own. They vote over
//! authenticated connections; what they certify goes to the indexer, which verifies it.
//!
//! The embedder's runtime is used for deadlines only.
//!
//! What an embedder has to know, restarts and limits, is with [`Devnet`].

mod config;
mod gate;
mod runtime;
#[cfg(test)]
mod tests;
mod upload;
mod validator;

use crate::{Committee, Error, host::Host};
use alto_types::{CertificateMode, Identity, NAMESPACE, StandardScheme, VrfScheme};
use commonware_runtime::{Clock as _, tokio::Context};
pub use config::Config;
use runtime::{Launch, Validators};
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
use validator::Validate;

/// Times that a start is tried when another process takes one of the ports found for it.
const START_ATTEMPTS: u32 = 3;
/// Longest that a start may take, until all validators listen. It flushes the file system first, and
/// waits for a directory that another devnet still holds.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Longest that a stop waits for writes to land: whoever opens the directory next waits for the rest.
const STOP_DEADLINE: Duration = Duration::from_secs(1);

const STARTING: &str = "starting the validators (is their directory in use?)";

/// A running chain. Dropping it ends it too, without waiting.
///
/// # Restart safety
///
/// On the same directory, with the same settings, the next start continues the chain: same identity,
/// higher heights. A directory is held until the last write to it has landed, and the next start waits
/// for that.
///
/// The indexer is in memory. After a restart, of the devnet or of the indexer alone, it answers 404
/// for heights that nobody uploads again, as a real indexer that lost its memory does. Restarted
/// validators upload again what is in their consensus journals, the last few hundred views.
///
/// # Limits
///
/// Heights may be missing from the indexer in normal operation too: Simplex finalizes a block whose
/// own finalization certificate never formed through that of a descendant, and alto indexers hold one
/// block a certificate.
///
/// The indexer keeps everything it was given, about 2 KiB a block with small payloads: a devnet that
/// runs for days wants [`Devnet::restart_indexer`] from time to time. The ports of the validators are
/// found and given back before use; a start that loses one to another process is repeated.
pub struct Devnet {
    context: Context,
    mode: CertificateMode,
    committee: Arc<Committee>,
    validators: Validators,
    host: Host,
    indexed: Arc<dyn Indexed>,
    tip: watch::Receiver<Height>,
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
    /// Starts the validators and their indexer, and returns once all of them listen. The first block
    /// follows within a few block times.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a setting that cannot work; [`Error::Bind`], [`Error::Directory`],
    /// [`Error::Thread`] if the system refuses; [`Error::Ended`] if the validators could not run;
    /// [`Error::Timeout`] if they did not listen in time.
    ///
    /// # Cancel safety
    ///
    /// What was started ends when the future is dropped.
    pub async fn start(context: Context, config: Config) -> Result<Self, Error> {
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
    }

    async fn start_with<S: Validate>(
        context: Context,
        config: Config,
        committee: Arc<Committee>,
        verifier: S,
    ) -> Result<Self, Error> {
        let (tips, tip) = watch::channel(Height::zero());
        let slot = Arc::new(Slot::new(verifier, config.block_size, tips));
        let host = Host::start(config.port, slot.renew())?;
        let paused = Arc::new(AtomicBool::new(false));
        let mut attempt = 1;
        let validators = loop {
            let mut validators = runtime::launch(Launch {
                config: config.clone(),
                committee: committee.clone(),
                slot: slot.clone(),
                paused: paused.clone(),
            })?;
            let running = validators.running();
            match within(&context, START_DEADLINE, STARTING, running).await {
                Ok(()) => break validators,
                Err(error @ Error::Ended { .. }) if attempt < START_ATTEMPTS => {
                    tracing::warn!(%error, attempt, "devnet did not start, trying again");
                    validators.stop().await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        };
        let mode = S::MODE;
        Ok(Self { context, mode, committee, validators, host, indexed: slot, tip, paused })
    }

    /// Where the indexer serves: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.host.address())
    }

    /// The group's public key, in hex, as a follower is configured with it.
    pub fn identity(&self) -> String {
        self.committee.identity_hex()
    }

    /// The group's public key.
    pub fn public(&self) -> Identity {
        self.committee.identity()
    }

    /// How its certificates are made.
    pub const fn mode(&self) -> CertificateMode {
        self.mode
    }

    /// The highest height that a validator has reported final since the start; 0 before the first.
    pub fn tip(&self) -> Height {
        *self.tip.borrow()
    }

    /// Waits until the chain has finalized `height`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] after `deadline`, [`Error::Ended`] if the validators ended before.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub async fn reach(&self, height: Height, deadline: Duration) -> Result<(), Error> {
        let mut tip = self.tip.clone();
        let reached = async {
            let below = tokio::select! {
                reached = tip.wait_for(|tip| *tip >= height) => reached.is_err(),
                _ = self.validators.ended() => true,
            };
            if below { Err(self.validators.ended().await) } else { Ok(()) }
        };
        within(&self.context, deadline, "reaching a height", reached).await
    }

    /// Resolves when the validators end although nobody stopped them, with the reason.
    pub async fn ended(&self) -> Error {
        self.validators.ended().await
    }

    /// Makes the chain stand still: the validators stop hearing each other, so that no quorum forms.
    /// What is already certified may still reach the indexer, which goes on serving.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::Release);
    }

    /// Ends a pause. The chain goes on within a few seconds: each validator first has to give up the
    /// views whose votes were lost.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::Release);
    }

    /// Stops the indexer: connections are cut, the port is closed, its memory is gone. Validators go
    /// on without it.
    pub async fn stop_indexer(&mut self) {
        self.indexed.clear();
        self.host.close().await;
    }

    /// Starts an empty indexer on the same port. Does nothing if one is running.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] if another process took the port meanwhile; it can be tried again.
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

    /// Ends the chain: tasks are dropped, ports are freed, a temporary directory is removed. Takes
    /// tens of milliseconds; if the disk is slow to take the last writes, it returns after a second
    /// and they land behind its back.
    pub async fn stop(mut self) {
        self.stop_indexer().await;
        let context = &self.context;
        tokio::select! {
            () = self.validators.stop() => {}
            () = context.sleep(STOP_DEADLINE) => {
                tracing::debug!("devnet still writes to its directory");
            }
        }
    }
}

async fn within<T>(
    context: &Context,
    deadline: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        result = work => result,
        () = context.sleep(deadline) => Err(Error::Timeout { what, after: deadline }),
    }
}

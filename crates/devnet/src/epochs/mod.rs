//! A live chain whose validators reshare their key and rotate their committee.
//!
//! # Overview
//!
//! ```text
//!  ┌ thread devnet-validators ─────────────────────────────┐   ┌ thread devnet-indexer ──────┐
//!  │ each of the validators, on p2p on loopback:           │   │ the routes of alto's indexer│
//!  │                                                       │   │                             │
//!  │  orchestrator ── one Simplex engine for each epoch    │   │  by height, by digest       │◀── followers
//!  │      │  certificates                                  │   │         │                   │
//!  │      ▼                                                │   │         ▼                   │
//!  │  marshal ── finalized blocks ──▶ resharing ──▶ schemes│◀──┼── archives of the validators│
//!  │      └───────── newest certificates ──────────────────┼──▶│  newest, pushed             │
//!  └───────────────────────────────────────────────────────┘   └─────────────────────────────┘
//! ```
//!
//! An epoch has a fixed number of blocks, and a committee that holds shares of the group's key. In its
//! first half the members deal new shares to the next committee, in its second half blocks carry the
//! dealers' results, and the last block carries the [`EpochInfo`] of the next epoch: its committee, and
//! the polynomial that its members' shares lie on. The parts come from `commonware_glue::dkg`.
//!
//! Blocks are alto's, with a [`Payload`] as their data or none. Certificates are alto's too, signed in
//! its namespace, with the epoch they belong to; views begin anew in each epoch. In each epoch one
//! validator leaves the committee and one joins it.
//!
//! # The key
//!
//! Resharing keeps the group's key: the identity is the same in all epochs, and verifies every
//! certificate. If too few dealers publish their results in an epoch, the old shares stay, with
//! [`EpochOutcome::Failure`](commonware_glue::dkg::types::EpochOutcome) in the last block.
//!
//! A change of the group's key itself cannot be had from `commonware_glue` 2026.9.0 while a chain runs:
//!
//! - `reshare::Actor` generates a key without a previous one only in a mode that is private to the
//!   crate (`Actor::new_dkg`). As the public configuration makes it, each ceremony starts from the
//!   output in the last boundary block (`previous: Some(info.output)` in its setup), whether that
//!   ceremony succeeded or failed, so the constant term of the polynomial is kept.
//! - `bootstrap::Engine`, which does use that mode, runs a consensus of its own over one epoch, numbered
//!   zero, and refuses to run where a share of epoch zero is stored. Its result is meant for a genesis.
//! - Were a fresh key made beside the chain, no block could announce it: validators must reject a
//!   boundary block whose `EpochInfo` is not the one that their resharing derived from the previous key
//!   (the contract of `reshare`, enforced by `reshare::Application`).
//!
//! Chains that change their key are made by hand in tests; this devnet does not pretend to.

mod application;
mod block;
mod config;
mod faults;
mod inside;
mod journals;
mod peers;
mod pool;
mod publish;
mod schemes;
mod secrets;
mod served;
#[cfg(test)]
mod tests;
mod validator;
#[cfg(test)]
mod watched;

use crate::{
    Certify, Error,
    host::Host,
    runtime::{self, Validators},
};
use alto_types::{CertificateMode, Identity, StandardScheme, VrfScheme};
pub use block::{EpochInfo, Payload, payload};
use commonware_cryptography::Signer as _;
use commonware_runtime::tokio::Context;
pub use config::Config;
pub use faults::Condition;
use faults::Faults;
use futures::{FutureExt as _, future::BoxFuture};
use inside::Inside;
pub use inside::Watched;
use pool::Pool;
use served::Served;
use std::{fmt, sync::Arc, time::Duration};
use tidewatch_core::{AnySource, ChainId, Height};
use tidewatch_sentinel::simplex::HandIn;
use tokio::sync::watch;
use validator::Plan;

/// A running chain with epochs. Dropping it stops the chain without waiting for the shutdown.
///
/// # Restart safety
///
/// A start on the same directory with the same settings continues the chain, also if the process was
/// killed. The indexer answers from the validators' archives, so it has the whole history after a
/// restart, and its newest certificate at once.
///
/// # Limits
///
/// Heights may have no certificate of their own, as on any alto chain: if none formed, Simplex finalizes
/// the block through that of a descendant. The last block of an epoch always has one, because no block
/// of that epoch follows.
///
/// Blocks and certificates are never pruned: a directory grows with the chain. The ports of the validators are reserved and released before use; if another process
/// takes one, the start is retried.
pub struct Devnet {
    context: Context,
    mode: CertificateMode,
    epoch_length: u64,
    pool: Arc<Pool>,
    validators: Validators,
    host: Host,
    tip: watch::Receiver<Height>,
    inside: Box<dyn Fn(usize, ChainId) -> Option<AnySource> + Send + Sync>,
    watched: Watch,
    faults: Arc<Faults>,
}

type Watch = Box<dyn Fn(Context, usize, ChainId, HandIn) -> Option<Watched> + Send + Sync>;

impl fmt::Debug for Devnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Devnet")
            .field("url", &self.url())
            .field("mode", &self.mode)
            .field("epoch_length", &self.epoch_length)
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
        match config.mode {
            CertificateMode::Standard => {
                Self::start_with::<StandardScheme>(context, config).boxed()
            }
            CertificateMode::Vrf => Self::start_with::<VrfScheme>(context, config).boxed(),
        }
    }

    async fn start_with<S: Certify>(context: Context, config: Config) -> Result<Self, Error> {
        let epoch_length = config.validate()?;
        let pool = Arc::new(Pool::deal(&config)?);
        let (tips, tip) = watch::channel(Height::zero());
        let served = Arc::new(Served::<S>::new(tips));
        let host = Host::start(config.port, served.clone().router())?;
        let inside = Arc::new(Inside::new(served.clone(), epoch_length));
        let keys = pool.keys().iter().map(|key| key.public_key()).collect();
        let faults = Arc::new(Faults::new(keys));
        let validators = runtime::start(&context, pool.keys().len(), |addresses| {
            let plan = Arc::new(Plan {
                config: config.clone(),
                epoch_length,
                pool: pool.clone(),
                addresses: addresses.clone(),
                served: served.clone(),
                inside: inside.clone(),
                faults: faults.clone(),
            });
            runtime::launch(config.directory.clone(), addresses, move |context, index| {
                validator::run(context, plan.clone(), index)
            })
        })
        .await?;
        let (mode, epoch_length) = (S::MODE, epoch_length.get());
        let followed = inside.clone();
        let inside_of = Box::new(move |index, chain| followed.source(index, chain));
        let watched = Box::new(move |context, index, chain, hand_in| {
            inside.watched(context, index, chain, hand_in)
        });
        Ok(Self {
            context,
            mode,
            epoch_length,
            pool,
            validators,
            host,
            tip,
            inside: inside_of,
            watched,
            faults,
        })
    }

    /// URL of the indexer: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.host.address())
    }

    /// The group's public key in hex, as in the configuration of a follower. It is the same in all epochs.
    pub fn identity(&self) -> String {
        self.pool.dealt().identity_hex()
    }

    /// The group's public key.
    pub fn public(&self) -> Identity {
        self.pool.dealt().identity()
    }

    /// Certificate mode of the chain.
    pub const fn mode(&self) -> CertificateMode {
        self.mode
    }

    /// Number of blocks in an epoch.
    pub const fn epoch_length(&self) -> u64 {
        self.epoch_length
    }

    /// What epoch 0 begins with, which no block carries.
    pub fn first(&self) -> EpochInfo {
        self.pool.first()
    }

    /// Highest height that is finalized; 0 before the first.
    pub fn tip(&self) -> Height {
        *self.tip.borrow()
    }

    /// A source over the marshal of the validator at `index`, as somebody who embeds a follower in that
    /// validator's process has it; the chain is to be called `chain`. Its blocks have alto's encoding. `None`
    /// if there is no such validator, or it is starting still: with the first final block they all run.
    pub fn inside(&self, index: usize, chain: ChainId) -> Option<AnySource> {
        (self.inside)(index, chain)
    }

    /// The ports of a sentinel that watches from inside of the validator at `index`; the chain is to be called `chain`.
    /// `hand_in` is given everything that validators are seen to send, and has to return at once. `None` as for
    /// [`Devnet::inside`]. A sentinel begins with what is sent from then on; one of a validator that is stopped goes
    /// on when that runs again.
    pub fn watched(
        &self,
        context: Context,
        index: usize,
        chain: ChainId,
        hand_in: HandIn,
    ) -> Option<Watched> {
        (self.watched)(context, index, chain, hand_in)
    }

    /// Public keys of the validators, by their index, in the bytes that blocks name their leaders with.
    pub fn keys(&self) -> Vec<alto_types::PublicKey> {
        self.pool.keys().iter().map(|key| key.public_key()).collect()
    }

    /// Changes what the validator at `index` does. With fewer than a quorum of the committee that do what they should,
    /// the chain does not grow until enough do again. False if there is no such validator.
    pub fn set(&self, index: usize, condition: Condition) -> bool {
        self.faults.set(index, condition)
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

    /// Stops the chain: tasks are dropped, ports are freed, a temporary directory is removed. On a slow
    /// disk it returns after a second, and the last writes complete in the background.
    pub async fn stop(mut self) {
        self.host.close().await;
        self.validators.stop_within(&self.context).await;
    }
}

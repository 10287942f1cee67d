//! A pinned block: a height and a digest that somebody is trusted for, and no more.
//!
//! The block of that digest is what it is by hashing alone, whoever sends it, and so is each of its ancestors. The
//! newest one that ends an epoch gives the scheme to begin with. Nothing is signed on that way and no certificate
//! is checked: the pin is the trust.

use super::keeper::Record;
use crate::{CertifiedBlock, Error, Key, Transport};
use commonware_consensus::types::Epocher;
use commonware_runtime::Clock;
use std::{
    num::NonZeroU64,
    time::{Duration, SystemTime},
};
use tidewatch_core::{BlockRef, Fault, within};

/// What bounds the way down from a pinned block.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Deadline of each request.
    pub request_timeout: Duration,
    /// Maximum number of blocks on the way to the end of an epoch: each is a request.
    pub steps_max: NonZeroU64,
}

/// The boundary that a pinned block leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The boundary, as it is written.
    pub record: Record,
    /// The pinned block.
    pub pinned: BlockRef,
    /// Its own timestamp, in milliseconds since the Unix epoch.
    pub time_ms: Option<u64>,
}

impl Found {
    /// Refuses a pinned block that is too old at `now`: since then the keys of that time may have been sold,
    /// and what they sign verifies still. One without a time is refused too.
    ///
    /// # Errors
    ///
    /// [`Error::PinTooOld`] if it is older than `age_max`.
    pub fn fresh(&self, now: SystemTime, age_max: Duration) -> Result<(), Error> {
        let time = Duration::from_millis(self.time_ms.unwrap_or(0));
        let Ok(age) = now.duration_since(SystemTime::UNIX_EPOCH + time) else { return Ok(()) };
        let (pinned, age) = (self.pinned, Duration::from_secs(age.as_secs()));
        match age > age_max {
            true => Err(Error::PinTooOld { pinned, age, age_max }),
            false => Ok(()),
        }
    }
}

/// The newest block that ends an epoch and is `pinned` or an ancestor of it, from an endpoint that is not
/// trusted.
///
/// # Errors
///
/// [`Error::NoPinnedEpoch`] if `pinned` is in the first epoch, [`Error::PinTooFar`] if an epoch is longer than
/// the limit; [`Error::NoBlock`], [`Error::NoAnswer`] and what the endpoint fails with; a block that is not the
/// one that was asked for, as [`Verifier::resolve`](crate::Verifier::resolve).
///
/// # Cancel safety
///
/// May be dropped at any await.
pub async fn boundary<T: Transport, B: CertifiedBlock>(
    clock: &impl Clock,
    transport: &T,
    epocher: &impl Epocher,
    codec: &B::Cfg,
    pinned: BlockRef,
    limits: Limits,
) -> Result<Found, Fault> {
    let fault = |error| Fault::new(transport.name(), error);
    let first = epocher.containing(pinned.height).map(|bounds| (bounds.epoch(), bounds.last()));
    let Some((epoch, last)) = first else { return Err(fault(Error::NoPinnedEpoch { pinned })) };
    if epoch.is_zero() && pinned.height != last {
        return Err(fault(Error::NoPinnedEpoch { pinned }));
    }
    let (mut name, mut time_ms) = (pinned, None);
    for step in 0..limits.steps_max.get() {
        let key = Key::Digest(name.digest);
        let limit = limits.request_timeout;
        let bytes = within(clock, limit, transport.fetch(key)).await;
        let bytes = bytes.ok_or_else(|| fault(Error::NoAnswer { key, limit }))??;
        let bytes = bytes.ok_or_else(|| fault(Error::NoBlock { name }))?;
        let block = B::decode_cfg(bytes.clone(), codec)
            .map_err(|error| fault(Error::NotABlock { name, error }))?;
        let found = block.reference();
        if found.digest != name.digest {
            return Err(fault(Error::OtherBlock { found, name }));
        }
        if found.height != name.height {
            return Err(fault(Error::PinnedHeight { found, name }));
        }
        if step == 0 {
            time_ms = block.time_ms();
        }
        let ends = epocher.containing(name.height).filter(|bounds| bounds.last() == name.height);
        if let Some(bounds) = ends {
            let record = Record { epoch: bounds.epoch().next(), block: name, bytes, proof: None };
            return Ok(Found { record, pinned, time_ms });
        }
        let height = name.height.previous();
        let height = height.ok_or_else(|| fault(Error::NoPinnedEpoch { pinned }))?;
        name = BlockRef::new(height, block.parent());
    }
    Err(fault(Error::PinTooFar { pinned, max: limits.steps_max }))
}

use crate::{Error, MEMBERS_MAX, MEMBERS_MIN};
use alto_types::CertificateMode;
use std::{num::NonZeroU64, path::PathBuf, time::Duration};

/// Minimum time between blocks: below it, certification dominates.
const BLOCK_TIME_MIN: Duration = Duration::from_millis(10);
/// Maximum time between blocks.
const BLOCK_TIME_MAX: Duration = Duration::from_secs(60);
/// Minimum number of blocks in an epoch for each member of the committee. Only the second half takes the
/// results of the dealers, each at its own turn as leader: this gives every member two turns.
const BLOCKS_PER_MEMBER: u64 = 4;
/// Maximum number of blocks in an epoch.
const EPOCH_LENGTH_MAX: u64 = 1 << 20;

/// Configuration of a [`Devnet`](super::Devnet) with epochs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Storage directory of the validators, used by one devnet at a time. A start on the same directory
    /// with the same `mode`, `validators`, `committee`, `epoch_length` and `seed` continues the chain;
    /// with other settings it creates another chain beside it. `None` uses a temporary directory, which
    /// is removed when the devnet ends.
    pub directory: Option<PathBuf>,
    /// Certificate mode.
    pub mode: CertificateMode,
    /// Number of validators that take turns in the committee, from `committee` to
    /// [`MEMBERS_MAX`].
    pub validators: u32,
    /// Size of the committee, at least [`MEMBERS_MIN`].
    pub committee: u32,
    /// Number of blocks in an epoch, at least four for each member of the committee.
    pub epoch_length: u64,
    /// Minimum time between two blocks, from 10 milliseconds to a minute.
    pub block_time: Duration,
    /// Seed of the identities and of the first committee's key.
    pub seed: u64,
    /// Loopback port of the indexer; 0 lets the system choose.
    pub port: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            directory: None,
            mode: CertificateMode::Standard,
            validators: 6,
            committee: 4,
            epoch_length: 32,
            block_time: Duration::from_millis(400),
            seed: 0,
            port: 0,
        }
    }
}

impl Config {
    /// Validates the settings, and returns the number of blocks in an epoch.
    pub(super) fn validate(&self) -> Result<NonZeroU64, Error> {
        let check = |setting, valid, value, expected| {
            if valid { Ok(()) } else { Err(Error::Setting { setting, value, expected }) }
        };
        check(
            "committee",
            (MEMBERS_MIN..=MEMBERS_MAX).contains(&self.committee),
            self.committee.to_string(),
            format!("from {MEMBERS_MIN} to {MEMBERS_MAX}"),
        )?;
        check(
            "validators",
            (self.committee..=MEMBERS_MAX).contains(&self.validators),
            self.validators.to_string(),
            format!("from {} (the committee) to {MEMBERS_MAX}", self.committee),
        )?;
        let shortest = BLOCKS_PER_MEMBER * u64::from(self.committee);
        check(
            "epoch_length",
            (shortest..=EPOCH_LENGTH_MAX).contains(&self.epoch_length),
            self.epoch_length.to_string(),
            format!("from {shortest} to {EPOCH_LENGTH_MAX}"),
        )?;
        check(
            "block_time",
            (BLOCK_TIME_MIN..=BLOCK_TIME_MAX).contains(&self.block_time),
            format!("{:?}", self.block_time),
            format!("from {BLOCK_TIME_MIN:?} to {BLOCK_TIME_MAX:?}"),
        )?;
        Ok(NonZeroU64::new(self.epoch_length).unwrap_or(NonZeroU64::MIN))
    }
}

use crate::Error;
use alto_types::CertificateMode;
use std::{path::PathBuf, time::Duration};

/// Minimum time between blocks: below it, certification dominates.
const BLOCK_TIME_MIN: Duration = Duration::from_millis(10);
/// Maximum time between blocks.
const BLOCK_TIME_MAX: Duration = Duration::from_secs(60);
/// Maximum payload of a block, in bytes.
const BLOCK_SIZE_MAX: u32 = 1024 * 1024;

/// Configuration of a [`Devnet`](crate::Devnet).
#[derive(Clone, Debug)]
pub struct Config {
    /// Storage directory of the validators, used by one devnet at a time. A start on the same directory
    /// with the same `mode`, `validators`, `block_size` and `seed` continues the chain; with other
    /// settings it creates another chain beside it. `None` uses a temporary directory, which is removed
    /// when the devnet ends.
    pub directory: Option<PathBuf>,
    /// Certificate mode: standard has stable leaders, VRF rotates them.
    pub mode: CertificateMode,
    /// Number of validators, from [`MEMBERS_MIN`](crate::MEMBERS_MIN) to
    /// [`MEMBERS_MAX`](crate::MEMBERS_MAX).
    pub validators: u32,
    /// Minimum time between two blocks, from 10 milliseconds to a minute.
    pub block_time: Duration,
    /// Random payload of each block, in bytes; up to a mebibyte.
    pub block_size: u32,
    /// Seed of the keys.
    pub seed: u64,
    /// Loopback port of the indexer; 0 lets the system choose.
    pub port: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            directory: None,
            mode: CertificateMode::Standard,
            validators: 4,
            block_time: Duration::from_millis(400),
            block_size: 64,
            seed: 0,
            port: 0,
        }
    }
}

impl Config {
    /// Validates the settings that [`Committee::deal`](crate::Committee::deal) does not validate.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        if !(BLOCK_TIME_MIN..=BLOCK_TIME_MAX).contains(&self.block_time) {
            return Err(Error::Setting {
                setting: "block_time",
                value: format!("{:?}", self.block_time),
                expected: format!("from {BLOCK_TIME_MIN:?} to {BLOCK_TIME_MAX:?}"),
            });
        }
        if self.block_size > BLOCK_SIZE_MAX {
            return Err(Error::Setting {
                setting: "block_size",
                value: self.block_size.to_string(),
                expected: format!("at most {BLOCK_SIZE_MAX} bytes"),
            });
        }
        Ok(())
    }
}

use crate::Error;
use alto_types::CertificateMode;
use std::{path::PathBuf, time::Duration};

/// Shortest time between blocks: below, certificates take the time.
const BLOCK_TIME_MIN: Duration = Duration::from_millis(10);
/// Longest time between blocks.
const BLOCK_TIME_MAX: Duration = Duration::from_secs(60);
/// Largest payload of a block, in bytes.
const BLOCK_SIZE_MAX: u32 = 1024 * 1024;

/// How a [`Devnet`](crate::Devnet) is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the validators keep their state. On the same directory, with the same `mode`,
    /// `validators`, `block_size` and `seed`, a start continues the chain; other settings make another
    /// chain beside it. `None` is a temporary directory that goes with the devnet. Used by one devnet at a time.
    pub directory: Option<PathBuf>,
    /// Certificate construction: standard has stable leaders, VRF rotates them.
    pub mode: CertificateMode,
    /// Validators, from [`MEMBERS_MIN`](crate::MEMBERS_MIN) to [`MEMBERS_MAX`](crate::MEMBERS_MAX).
    pub validators: u32,
    /// Least time between two blocks, from 10 milliseconds to a minute.
    pub block_time: Duration,
    /// Payload of each block in bytes, random; up to a mebibyte.
    pub block_size: u32,
    /// Where the keys come from.
    pub seed: u64,
    /// The indexer's loopback port; 0 lets the system choose.
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
    /// Checks what the committee does not check itself.
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

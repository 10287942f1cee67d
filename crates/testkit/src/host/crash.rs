//! What a crash leaves of the writes that were not synced.

use commonware_runtime::deterministic::{FaultConfig, PartialWriteMode, WriteConfig};
use commonware_utils::{Probability, probability};

/// In which way a part of each write is left, and how much of it.
pub type Left = (PartialWriteMode, Probability);

/// Nothing, beginnings, parts, and all of it.
pub const LEFT: [Left; 4] = [
    (PartialWriteMode::Prefix, probability!(0.0)),
    (PartialWriteMode::Prefix, probability!(0.5)),
    (PartialWriteMode::Subset, probability!(0.5)),
    (PartialWriteMode::Prefix, probability!(1.0)),
];

/// The runtime's setting for it. No write fails.
pub fn faults((mode, retention_rate): Left) -> FaultConfig {
    let failure_rate = probability!(0.0);
    FaultConfig::default().write(WriteConfig { failure_rate, retention_rate, mode })
}

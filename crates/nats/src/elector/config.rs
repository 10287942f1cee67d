//! Configuration of an elector.

use super::Timing;
use crate::PublisherId;

/// Who would lead, and how long things take.
#[derive(Clone, Debug)]
pub struct Config {
    /// The publisher that leads.
    pub publisher: PublisherId,
    /// How long things take.
    pub timing: Timing,
}

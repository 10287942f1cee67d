//! Configuration of a publisher.

use crate::{Names, PublisherId};
use std::time::Duration;
use tidewatch_core::ChainId;

/// What is published where, and how long things take.
#[derive(Clone, Debug)]
pub struct Config {
    /// The chain.
    pub chain: ChainId,
    /// What it is called at the cluster.
    pub names: Names,
    /// This run of the publisher.
    pub publisher: PublisherId,
    /// How long an answer is waited for.
    pub answer: Duration,
    /// The first pause before something is tried again; it doubles up to `retry_max`.
    pub retry: Duration,
    /// The longest such pause.
    pub retry_max: Duration,
    /// How often it is looked, while this publisher does not lead, whether it could.
    pub look: Duration,
    /// How often a leader looks whether the stream still has what it wrote.
    pub audit: Duration,
}

impl Config {
    /// The defaults: 2 s for an answer, pauses of 50 ms to 1 s, a look every second, an audit every 3 s.
    pub fn new(chain: ChainId, publisher: PublisherId) -> Self {
        Self {
            names: Names::of(&chain),
            chain,
            publisher,
            answer: Duration::from_secs(2),
            retry: Duration::from_millis(50),
            retry_max: Duration::from_secs(1),
            look: Duration::from_secs(1),
            audit: Duration::from_secs(3),
        }
    }
}

//! Indexers of ready-made chains.

use std::time::{Duration, SystemTime};
use tidewatch_core::Height;
use tidewatch_devnet::{
    CertificateMode,
    readymade::{Chain, ChainConfig, Server, ServerConfig},
};

/// Blocks of an epoch.
pub(crate) const LENGTH: u64 = 20;

/// A chain of epochs that began `age` ago, whose key changes every `key_every` epochs.
#[allow(clippy::disallowed_methods, reason = "the command reads the same clock")]
pub(crate) fn epochs(blocks: u64, key_every: u64, age: Duration) -> Chain {
    let began = SystemTime::now() - age;
    let began = began.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let config = ChainConfig {
        epoch_length: LENGTH,
        key_every,
        start_time_ms: began.try_into().unwrap(),
        ..ChainConfig::default()
    };
    Chain::sign(blocks, CertificateMode::Standard, config).unwrap()
}

/// An indexer that has finalized `chain` up to this height.
pub(crate) fn indexer(chain: &Chain, upto: u64) -> Server {
    let upto = Some(Height::new(upto));
    Server::start(chain, ServerConfig { upto, ..ServerConfig::default() }).unwrap()
}

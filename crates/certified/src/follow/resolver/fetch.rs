//! One request for one key.

use super::{Config, config::Parts, metrics::Metrics};
use crate::{Epochs, Key as Request, Transport, follow::ExecutionLayer};
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_consensus::marshal::resolver::handler::Key;
use commonware_runtime::Clock;
use tidewatch_core::{Digest, Fault, within};
use tracing::debug;

/// Why a key is asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The execution layer failed.
    Local,
    /// No answer in time.
    Timeout,
    /// The upstream failed or refused.
    Upstream,
    /// The upstream does not have it.
    Missing,
    /// The marshal found the bytes bad.
    Invalid,
    /// The epoch of the height is not known, so that the marshal could not check it.
    Epoch,
}

impl Failure {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "execution",
            Self::Timeout => "timeout",
            Self::Upstream => "upstream",
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Epoch => "unknown_epoch",
        }
    }
}

/// Where bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Execution,
    Upstream,
}

/// What the upstream is asked for; `None` for what it cannot be.
pub(super) const fn request(key: &Key<Digest>) -> Option<Request> {
    match key {
        Key::Block(digest) => Some(Request::Digest(*digest)),
        Key::Finalized { height } => Some(Request::Height(*height)),
        Key::Notarized { .. } => None,
    }
}

/// Gets the bytes of `request`. With `local` the execution layer is asked first.
pub(super) async fn fetch<T: Transport, L: ExecutionLayer, X: Epochs, C>(
    clock: &impl Clock,
    parts: &Parts<T, L, X, C>,
    request: Request,
    local: bool,
    config: &Config,
    metrics: &Metrics,
) -> Result<(Bytes, From), Failure> {
    let timeout = config.request_timeout;
    match request {
        Request::Digest(digest) if local => {
            let block = within(clock, timeout, parts.execution.by_digest(digest)).await;
            match block.ok_or(Failure::Local)? {
                Ok(Some(block)) => {
                    metrics.local.inc();
                    return Ok((block.encode(), From::Execution));
                }
                Ok(None) => {}
                Err(fault) => return Err(failed(&fault, Failure::Local)),
            }
        }
        Request::Height(height) if !known(&parts.epochs, height) => return Err(Failure::Epoch),
        _ => {}
    }
    metrics.requests.inc();
    match within(clock, timeout, parts.transport.fetch(request)).await {
        None => Err(Failure::Timeout),
        Some(Ok(Some(bytes))) => Ok((bytes, From::Upstream)),
        Some(Ok(None)) => Err(Failure::Missing),
        Some(Err(fault)) => Err(failed(&fault, Failure::Upstream)),
    }
}

fn known(epochs: &impl Epochs, height: tidewatch_core::Height) -> bool {
    epochs.at(height).is_some()
}

fn failed(fault: &Fault, failure: Failure) -> Failure {
    debug!(%fault, "not resolved");
    failure
}

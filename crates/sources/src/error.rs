//! Why an address, an answer or a connection was refused.
//!
//! Each family has an enum of its own beside the code that refuses; this one covers them all, so that
//! whoever embeds several families looks in one place.

use tidewatch_core::{Fault, FaultKind, Reason};

/// Everything that this crate refuses or fails with, with the values that disagree. Inside a [`Fault`],
/// [`Fault::reason`] gives it back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of a node that answers JSON-RPC, whatever its chain.
    #[cfg(feature = "rpc")]
    #[error(transparent)]
    Node(#[from] crate::rpc::NodeError),
    /// Of an execution node.
    #[cfg(feature = "ethereum")]
    #[error(transparent)]
    Ethereum(#[from] crate::ethereum::EthereumError),
    /// Of a consensus client beside an execution node.
    #[cfg(feature = "ethereum")]
    #[error(transparent)]
    Beacon(#[from] crate::ethereum::BeaconError),
    /// Of a rollup node, or of the two nodes of a rollup beside each other.
    #[cfg(feature = "optimism")]
    #[error(transparent)]
    Optimism(#[from] crate::optimism::OptimismError),
    /// Of an Aztec node.
    #[cfg(feature = "aztec")]
    #[error(transparent)]
    Aztec(#[from] crate::aztec::AztecError),
    /// Of an Aztec node, or of layer 1 below it, about validators.
    #[cfg(feature = "aztec-validators")]
    #[error(transparent)]
    Validators(#[from] crate::aztec::validators::ValidatorsError),
    /// Of a Miden node.
    #[cfg(feature = "miden")]
    #[error(transparent)]
    Miden(#[from] crate::miden::MidenError),
    /// Of an indexer of alto.
    #[cfg(feature = "alto")]
    #[error(transparent)]
    Alto(#[from] crate::alto::AltoError),
    /// Of a node of Tempo.
    #[cfg(feature = "tempo")]
    #[error(transparent)]
    Tempo(#[from] crate::tempo::TempoError),
    /// Of another Tidewatch.
    #[cfg(feature = "tide")]
    #[error(transparent)]
    Tide(#[from] crate::tide::TideError),
}

impl Reason for Error {
    fn kind(&self) -> FaultKind {
        match self {
            #[cfg(feature = "rpc")]
            Self::Node(error) => error.kind(),
            #[cfg(feature = "ethereum")]
            Self::Ethereum(error) => error.kind(),
            #[cfg(feature = "ethereum")]
            Self::Beacon(error) => error.kind(),
            #[cfg(feature = "optimism")]
            Self::Optimism(error) => error.kind(),
            #[cfg(feature = "aztec")]
            Self::Aztec(error) => error.kind(),
            #[cfg(feature = "aztec-validators")]
            Self::Validators(error) => error.kind(),
            #[cfg(feature = "miden")]
            Self::Miden(error) => error.kind(),
            #[cfg(feature = "alto")]
            Self::Alto(error) => error.kind(),
            #[cfg(feature = "tempo")]
            Self::Tempo(error) => error.kind(),
            #[cfg(feature = "tide")]
            Self::Tide(error) => error.kind(),
        }
    }
}

/// The fault of `about`, which must not contain credentials, for this reason.
pub(crate) fn fault(about: impl Into<String>, error: impl Into<Error>) -> Fault {
    Fault::new(about, error.into())
}

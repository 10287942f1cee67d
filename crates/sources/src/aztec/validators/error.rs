//! Why an answer about validators was refused.

use crate::aztec::Field;
use tidewatch_core::FaultKind;

/// What is refused of the answers about an Aztec chain's validators, of its node and of layer 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorsError {
    /// No whole words of 32 bytes, or another number of them.
    #[error("{what}: {got} bytes, which are not {want} words of 32")]
    Words {
        /// What was asked for.
        what: &'static str,
        /// How many bytes came.
        got: usize,
        /// How many words it should be.
        want: usize,
    },
    /// A word that is no number of 64 bits, no address, or no duration.
    #[error("{what} is 0x{word}")]
    Word {
        /// What it is called.
        what: &'static str,
        /// The word, in hexadecimal.
        word: String,
    },
    /// There is no contract at the address that the node names.
    #[error("layer 1 has no rollup contract at {address}")]
    NoContract {
        /// The address.
        address: String,
    },
    /// The endpoint is of another chain than the one that the node's rollup lives on.
    #[error("it is of chain {l1}, and the node's rollup lives on chain {node}")]
    OtherChain {
        /// The chain id that the endpoint names.
        l1: u64,
        /// The chain id that the node names.
        node: u64,
    },
    /// The contract is of another rollup than the node.
    #[error("the contract is of rollup version {contract}, the node of {node}")]
    OtherRollup {
        /// The version that the contract names.
        contract: u64,
        /// The version that the node names.
        node: u64,
    },
    /// More than can be.
    #[error("{got} {what}, of {max} at the most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// Checkpoints whose slots do not ascend.
    #[error("checkpoint {number} is of slot {slot}, the one above it of slot {above}")]
    Order {
        /// Number of the checkpoint.
        number: u64,
        /// Its slot.
        slot: u64,
        /// The slot of the next one.
        above: u64,
    },
    /// The node's header is not the one that layer 1 has.
    #[error("the header of checkpoint {number} hashes to {got}, layer 1 has {want}")]
    Header {
        /// Number of the checkpoint.
        number: u64,
        /// The hash of the node's header.
        got: Field,
        /// What layer 1 has.
        want: Field,
    },
    /// The node's archive is not the one that layer 1 has.
    #[error("checkpoint {number} leaves the archive {got}, layer 1 has {want}")]
    Archive {
        /// Number of the checkpoint.
        number: u64,
        /// What the node says.
        got: Field,
        /// What layer 1 has.
        want: Field,
    },
    /// The header says another slot than layer 1.
    #[error("checkpoint {number} is of slot {got}, layer 1 has it in slot {want}")]
    Slot {
        /// Number of the checkpoint.
        number: u64,
        /// The header's slot.
        got: u64,
        /// The slot on layer 1.
        want: u64,
    },
    /// The node's attestations are not those that were published on layer 1.
    #[error("the attestations of checkpoint {number} are not those that layer 1 has")]
    Attestations {
        /// Number of the checkpoint.
        number: u64,
    },
    /// An attestation of another slot than was asked for.
    #[error("an attestation of slot {got} where those of slot {want} were asked for")]
    OtherSlot {
        /// The slot that was asked for.
        want: u64,
        /// The attestation's slot.
        got: u64,
    },
    /// The node has not the checkpoint that it names as its tip.
    #[error("it has no checkpoint {number}, and names it, or a later one, as its tip")]
    NoCheckpoint {
        /// Number of the checkpoint.
        number: u64,
    },
    /// Layer 1 has moved away from the block that a question was about.
    #[error("layer 1 moved away from the block that was asked about")]
    Moved,
}

impl ValidatorsError {
    pub(crate) const fn kind(&self) -> FaultKind {
        match self {
            Self::Words { .. } | Self::Word { .. } | Self::Order { .. } => FaultKind::Malformed,
            Self::NoContract { .. } | Self::OtherChain { .. } | Self::OtherRollup { .. } => {
                FaultKind::InvalidConfig
            }
            Self::TooMany { .. } => FaultKind::Oversized,
            Self::Header { .. } | Self::Archive { .. } | Self::Attestations { .. } => {
                FaultKind::WrongDigest
            }
            Self::Slot { .. } | Self::OtherSlot { .. } => FaultKind::WrongPosition,
            Self::NoCheckpoint { .. } => FaultKind::Missing,
            Self::Moved => FaultKind::Torn,
        }
    }
}

//! The port to a chain's own format: how the last block of an epoch carries the next scheme.

use super::Scheme;
use bytes::Bytes;
use commonware_codec::Error;
use commonware_consensus::types::Epoch;

/// Reads the boundaries of one chain.
pub trait Boundary<B>: Send + Sync + 'static {
    /// The chain's certificate scheme.
    type Scheme: Scheme;

    /// The scheme of `epoch`, which `block`, the last one of the epoch before, carries.
    ///
    /// # Errors
    ///
    /// The block carries no scheme, or that of another epoch. The block is final when it is read: an error
    /// says that the chain, or our understanding of it, is wrong.
    fn scheme(&self, epoch: Epoch, block: &B) -> Result<Self::Scheme, Error>;

    /// The group's key that certificates of `scheme` show, encoded, where they show nothing else: two schemes
    /// with one key verify the same certificates, whatever their committees are. `None` for a scheme whose
    /// certificates depend on the committee.
    fn key(&self, scheme: &Self::Scheme) -> Option<Bytes>;
}

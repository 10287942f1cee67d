//! An alto chain, followed from its indexer over HTTP and WebSocket.
//!
//! # Overview
//!
//! ```text
//!  alto+http://HOST:PORT?mode=standard  ──parse──▶ Endpoint
//!  group public key (hex)               ─────────▶ the one trust root
//!                                                      │ open
//!               HttpTransport ◀── CertifiedSource ◀────┴────▶ Upstream ──▶ HttpTransport
//!                 GET ...                                       WebSocket /consensus/ws
//! ```
//!
//! [`open`] gives a ready source and its upstream for one certificate mode. Nothing is asked of the
//! network until the source is used; [`HttpTransport::probe`] asks whether anybody is there.
//!
//! # Wire
//!
//! | [`Key`](tidewatch_certified::Key) | request | answer |
//! |---|---|---|
//! | `LatestFinalization` | `GET /finalization/latest` | certificate and block, 404 before the first |
//! | `LatestNotarization` | `GET /notarization/latest` | certificate and block, 404 before the first |
//! | `Height` | `GET /block/` and 16 hex digits | certificate and block, 404 if no finalization of its own |
//! | `Digest` | `GET /block/` and 64 hex digits | block |
//!
//! The indexer has two index spaces: finalizations by view, blocks by height. Views are never asked for
//! here, and a height is asked for where the answer says itself which height it is.
//!
//! A WebSocket message is one byte of kind (0 seed, 1 notarization, 2 finalization) and a body. Seeds are
//! of no use to a follower.
//!
//! # Limits
//!
//! An answer is at most the block size of [`Config`] and 1 MiB, refused from its header where that says
//! so, and cut off while it streams in where it does not; a WebSocket message likewise. Connecting and
//! requests have deadlines. Redirects are not followed. With `&rate=N` in the address no more than `N` requests
//! a second are made, and no more are on their way at once.
//!
//! # Secrets
//!
//! User and password of an endpoint go into the authorization header and nowhere else: they, and the
//! path, are part of no name, message, metric or `Debug` text.

mod block;
mod boundary;
mod endpoint;
mod error;
mod family;
mod transport;

#[cfg(test)]
mod tests;

pub use block::AltoBlock;
pub use boundary::{AltoBoundary, identity};
pub use endpoint::{Endpoint, EndpointError};
pub use error::AltoError;
pub use family::EPOCHS;
pub(crate) use family::FAMILY;
#[cfg(feature = "tide")]
pub(crate) use family::Network;
pub use transport::{HttpFeed, HttpTransport};

pub use alto_types::{CertificateMode, StandardScheme, VrfScheme};

use crate::error::fault;
use alto_types::{EPOCH, Identity, NAMESPACE};
use commonware_codec::DecodeExt as _;
use commonware_consensus::types::{Epoch, FixedEpocher};
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_formatting::hex;
use commonware_runtime::{Clock, Metrics, Spawner};
use rand::CryptoRng;
use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
};
use tidewatch_certified::{
    CertifiedSource, Epochs, Failover, OneEpoch, Parts, Schemes, SchemesParts, Upstream, Watched,
};
use tidewatch_core::{ChainId, Fault, Monitor};

/// Payload allowance of a block where nobody says how large the network's blocks are: that of the
/// indexer.
const BLOCK_SIZE_MAX: u32 = 4 * 1024 * 1024;

/// Limits of a source for an alto chain.
#[derive(Clone, Debug)]
pub struct Config {
    /// Limits that do not depend on the chain.
    pub certified: tidewatch_certified::Config,
    /// Payload of a block, in bytes. A larger one is refused.
    pub block_size_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        let certified = tidewatch_certified::Config::default();
        Self { certified, block_size_max: BLOCK_SIZE_MAX }
    }
}

/// A certificate scheme of alto, with the mode that it is.
pub trait Scheme: alto_types::Scheme {
    /// The mode.
    const MODE: CertificateMode;

    /// The group's public key.
    fn identity(&self) -> &Identity;
}

impl Scheme for StandardScheme {
    const MODE: CertificateMode = CertificateMode::Standard;

    fn identity(&self) -> &Identity {
        self.identity()
    }
}

impl Scheme for VrfScheme {
    const MODE: CertificateMode = CertificateMode::Vrf;

    fn identity(&self) -> &Identity {
        self.identity()
    }
}

/// The epochs of an alto network whose validators reshare their key.
pub type AltoSchemes<S> = Schemes<FixedEpocher, AltoBoundary<S>, AltoBlock>;

/// The endpoints of an alto chain, as one.
pub type Endpoints<E> = Failover<Watched<E, HttpTransport>>;

/// An alto chain as a source, under a table of epochs.
pub type SourceUnder<E, X> = CertifiedSource<E, Endpoints<E>, X, AltoBlock>;

/// The push connection of a [`SourceUnder`].
pub type UpstreamUnder<E, X> = Upstream<E, Endpoints<E>, X, AltoBlock>;

/// A source and its upstream, as [`open_under`] makes them.
pub type OpenedUnder<E, X> = (SourceUnder<E, X>, UpstreamUnder<E, X>);

/// An alto chain whose validators never change their key, as a source.
pub type AltoSource<E, S> = SourceUnder<E, OneEpoch<S>>;

/// The push connection of an [`AltoSource`].
pub type AltoUpstream<E, S> = UpstreamUnder<E, OneEpoch<S>>;

/// A source and its upstream, as [`open`] makes them.
pub type Opened<E, S> = OpenedUnder<E, OneEpoch<S>>;

/// Makes a source for the chain whose validators hold the group public key `identity`, and the upstream
/// that brings it pushes once it is started. Several endpoints are asked in turn (see [`Failover`]). What
/// is refused on the way to an answer is told to `monitor`.
///
/// # Errors
///
/// `Setting`, with what to do about it: the identity is not a key, there is no endpoint, an endpoint is of
/// another certificate mode than `S`, or no TLS can be set up for it.
pub fn open<E, S>(
    context: E,
    endpoints: &[Endpoint],
    identity: &[u8],
    monitor: Arc<dyn Monitor>,
    config: Config,
) -> Result<Opened<E, S>, Fault>
where
    E: Clock + Metrics + Spawner + CryptoRng,
    S: Scheme,
{
    let epochs = OneEpoch::new(EPOCH, S::certificate_verifier(NAMESPACE, public_key(identity)?));
    open_under(context, endpoints, chain_id(identity, S::MODE), epochs, monitor, config)
}

/// The epochs of a network whose validators reshare their key every `length` blocks, and hold `identity` in
/// epoch 0. Everything else is learned from the last block of each epoch; see
/// [`epochs`](tidewatch_certified::epochs).
///
/// # Errors
///
/// `Setting`, with what to do about it: the identity is not a key, or an epoch has fewer than two blocks.
pub fn schemes<S: Scheme>(
    identity: &[u8],
    length: NonZeroU64,
    config: &Config,
) -> Result<AltoSchemes<S>, Fault> {
    if length.get() < 2 {
        return Err(fault("alto", AltoError::EpochLength));
    }
    let parts = SchemesParts {
        epocher: FixedEpocher::new(length),
        boundary: AltoBoundary::default(),
        blocks: AltoBlock::codec(config.block_size_max),
        certificates: (),
    };
    let scheme = S::certificate_verifier(NAMESPACE, public_key(identity)?);
    Ok(Schemes::new(parts, Epoch::zero(), scheme))
}

/// As [`open`], for the network called `chain` whose epochs are `epochs`: [`AltoSchemes`], or a table of your
/// own.
///
/// # Errors
///
/// `Setting`, as [`open`].
pub fn open_under<E, X>(
    context: E,
    endpoints: &[Endpoint],
    chain: ChainId,
    epochs: X,
    monitor: Arc<dyn Monitor>,
    mut config: Config,
) -> Result<OpenedUnder<E, X>, Fault>
where
    E: Clock + Metrics + Spawner + CryptoRng,
    X: Epochs<Scheme: Scheme>,
{
    let [first, others @ ..] = endpoints else {
        return Err(fault("alto", AltoError::NoEndpoint));
    };
    // A silent endpoint must leave time for the others within the deadline of one request.
    let mut each = config.clone();
    each.certified.request_timeout /= u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
    let clock = Arc::new(context.child("rate"));
    let limits = endpoints.iter().filter_map(|endpoint| endpoint.rate().limit(None));
    if let Some(least) = limits.map(|limit| limit.per_second).min() {
        // Whatever waits for its turn does so within the deadline of a request: of a second's requests at the
        // most.
        let least = NonZeroUsize::try_from(least).unwrap_or(NonZeroUsize::MAX);
        config.certified.concurrency = config.certified.concurrency.min(least);
    }
    let connect = |endpoint: &Endpoint| {
        if endpoint.mode() != X::Scheme::MODE {
            let (theirs, ours) = (endpoint.mode().as_str(), X::Scheme::MODE.as_str());
            return Err(fault(endpoint.to_string(), AltoError::OtherMode { theirs, ours }));
        }
        let transport = HttpTransport::new(endpoint, &each)?;
        let transport = transport.metered(clock.clone(), endpoint);
        Ok(Watched::new(clock.clone(), transport, monitor.clone()))
    };
    let others = others.iter().map(connect).collect::<Result<Vec<_>, _>>()?;
    let parts = Parts {
        chain,
        genesis: AltoBlock::genesis(),
        codec: AltoBlock::codec(config.block_size_max),
        epochs,
        transport: Failover::new(connect(first)?, others),
        monitor,
    };
    Ok(tidewatch_certified::open(context, parts, config.certified))
}

/// The group public key that `identity` encodes.
///
/// # Errors
///
/// `Setting`, with what to do about it.
pub fn public_key(identity: &[u8]) -> Result<Identity, Fault> {
    Identity::decode(identity).map_err(|error| fault("alto", AltoError::NotAKey(error)))
}

/// Names the chain of the validators that hold `identity`, certified in `mode`: the first 16 bytes of the
/// SHA-256 hash of both, because the key itself is longer than a name may be.
pub fn chain_id(identity: &[u8], mode: CertificateMode) -> ChainId {
    let digest = Sha256::hash(&[identity, mode.as_str().as_bytes()]);
    let name = format!("alto:{}", hex(&digest[..16]));
    #[allow(clippy::expect_used)]
    ChainId::new(name).expect("37 printable characters")
}

//! Sources: one folder a chain family, each behind a feature.
//!
//! | feature | module | what is followed | how it is certified |
//! |---|---|---|---|
//! | `alto` (default) | [`alto`] | an alto chain, from its indexer | BLS12-381 threshold certificates |
//!
//! Sockets live here, and nothing that is decided: what comes in is bytes for the verifier of
//! [`tidewatch_certified`].

#[cfg(feature = "alto")]
pub mod alto;

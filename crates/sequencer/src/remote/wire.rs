//! How the interface is written.

use crate::{Identity, Preblock};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use commonware_codec::{DecodeExt as _, Encode as _};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use tidewatch_core::{Digest, Height};

/// The answer to `GET /v1/newest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    /// The number of the newest preblock.
    pub newest: Option<u64>,
}

/// The answer to `GET /v1/round`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Its epoch.
    pub epoch: u64,
    /// Its view.
    pub view: u64,
    /// The validators' signature over it, in hex.
    pub seed: String,
}

/// The answer to `GET /v1/health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The number of the newest preblock.
    pub newest: Option<u64>,
    /// The newest view that the validators certified.
    pub view: Option<u64>,
    /// The number that is being ordered.
    pub pending: Option<u64>,
    /// Key holders that attest.
    pub holders: usize,
    /// How many are needed.
    pub quorum: usize,
}

/// The name of a proposal in a path.
pub fn name(identity: &Identity) -> String {
    let Identity { number, parent, content, attempt } = identity;
    format!("{number}-{parent}-{content}-{attempt}")
}

/// The identity that [`name`] made `text` of.
pub fn named(text: &str) -> Option<Identity> {
    let mut parts = text.split('-');
    let number = Height::new(parts.next()?.parse().ok()?);
    let (parent, content) = (digest(parts.next()?)?, digest(parts.next()?)?);
    let attempt: NonZeroU32 = parts.next()?.parse().ok()?;
    let identity = Identity { number, parent, content, attempt };
    // The one spelling: `+7` and `07` parse too.
    (name(&identity) == text).then_some(identity)
}

fn digest(text: &str) -> Option<Digest> {
    let bytes = commonware_formatting::from_hex(text)?;
    Some(Digest(bytes.try_into().ok()?))
}

/// A preblock as a line, with its end.
pub fn line(preblock: &Preblock) -> String {
    let mut line = BASE64_STANDARD.encode(preblock.encode());
    line.push('\n');
    line
}

/// The preblock in a line without its end.
///
/// # Errors
///
/// It holds none: why.
pub fn preblock(line: &[u8]) -> Result<Preblock, String> {
    let bytes = BASE64_STANDARD.decode(line).map_err(|error| error.to_string())?;
    Preblock::decode(bytes.as_slice()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_has_one_name() {
        let identity = Identity {
            number: Height::new(7),
            parent: Digest([0xab; 32]),
            content: Digest([1; 32]),
            attempt: NonZeroU32::new(3).unwrap(),
        };
        let text = name(&identity);
        assert_eq!(text, format!("7-{}-{}-3", "ab".repeat(32), "01".repeat(32)));
        assert_eq!(named(&text), Some(identity));
        let digest = "ab".repeat(32);
        for other in [
            String::new(),
            text.replace('7', "+7"),
            text.replace('7', "07"),
            text.to_uppercase(),
            format!("{text}-1"),
            format!("{text} "),
            format!("7-{digest}-{digest}-0"),
            format!("7-{digest}-{digest}"),
            format!("7-{digest}-0x{}-1", &digest[2..]),
            format!("18446744073709551616-{digest}-{digest}-1"),
            format!("7-{}-{digest}-1", &digest[2..]),
        ] {
            assert_eq!(named(&other), None, "{other}");
        }
    }
}

//! Slots, epochs, validators.

use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{EncodeSize, Error, RangeCfg, Read, Write, varint::UInt};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A turn to propose. Slots are consecutive, across epochs too; slot 0 is one like any other.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Slot(pub u64);

/// Consecutive slots that have one committee, or none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

macro_rules! number {
    ($name:ident) => {
        impl $name {
            /// As a number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The one that is `n` later; the last of all if there is none.
            #[must_use]
            pub const fn plus(self, n: u64) -> Self {
                Self(self.0.saturating_add(n))
            }

            /// The one that is `n` earlier; `None` if there is none.
            #[must_use]
            pub const fn minus(self, n: u64) -> Option<Self> {
                match self.0.checked_sub(n) {
                    Some(n) => Some(Self(n)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Write for $name {
            fn write(&self, buf: &mut impl BufMut) {
                UInt(self.0).write(buf);
            }
        }

        impl EncodeSize for $name {
            fn encode_size(&self) -> usize {
                UInt(self.0).encode_size()
            }
        }

        impl Read for $name {
            type Cfg = ();

            fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
                Ok(Self(UInt::read_cfg(buf, &())?.into()))
            }
        }
    };
}

number!(Slot);
number!(Epoch);

/// A validator, by what its chain identifies it with: a public key or an address. As text it is hexadecimal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValidatorId(Bytes);

impl fmt::Debug for ValidatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What does not identify a validator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a validator has 1 to 96 bytes in hexadecimal, got {0:?}")]
pub struct NoValidator(pub String);

impl ValidatorId {
    /// Length limit, in bytes.
    pub const MAX: usize = 96;

    /// Validates the length.
    ///
    /// # Errors
    ///
    /// None at all, or more than [`Self::MAX`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, NoValidator> {
        let bytes = bytes.into();
        if bytes.is_empty() || bytes.len() > Self::MAX {
            let shown = bytes.slice(..bytes.len().min(Self::MAX));
            return Err(NoValidator(commonware_formatting::hex(&shown)));
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ValidatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&commonware_formatting::hex(&self.0))
    }
}

impl FromStr for ValidatorId {
    type Err = NoValidator;

    fn from_str(text: &str) -> Result<Self, NoValidator> {
        let bare = text.strip_prefix("0x").unwrap_or(text);
        let shown = || NoValidator(text.chars().take(2 * Self::MAX).collect());
        if bare.len() > 2 * Self::MAX {
            return Err(shown());
        }
        let bytes = commonware_formatting::from_hex(bare).ok_or_else(shown)?;
        Self::new(bytes).map_err(|_| shown())
    }
}

impl Serialize for ValidatorId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ValidatorId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Write for ValidatorId {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}

impl EncodeSize for ValidatorId {
    fn encode_size(&self) -> usize {
        self.0.encode_size()
    }
}

impl Read for ValidatorId {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self(Bytes::read_cfg(buf, &RangeCfg::from(1..=Self::MAX))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_codec::{DecodeExt as _, Encode as _};

    #[test]
    fn a_validator_is_its_bytes_as_text_and_as_json() {
        let id = ValidatorId::new(vec![0xAB, 0x01]).unwrap();
        assert_eq!(id.to_string(), "ab01");
        assert_eq!("0xab01".parse(), Ok(id.clone()));
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"ab01\"");
        assert_eq!(serde_json::from_str::<ValidatorId>("\"ab01\"").unwrap(), id);
        assert_eq!(ValidatorId::decode(id.encode()).unwrap(), id);
    }

    #[test]
    fn ss_8_a_malformed_validator_is_refused_wherever_it_comes_from() {
        let long = "ab".repeat(ValidatorId::MAX + 1);
        for text in ["", "0x", "abc", "zz", &long] {
            assert!(text.parse::<ValidatorId>().is_err(), "{text}");
            assert!(serde_json::from_str::<ValidatorId>(&format!("\"{text}\"")).is_err());
        }
        assert!(ValidatorId::new(vec![]).is_err());
        assert!(ValidatorId::new(vec![1; ValidatorId::MAX + 1]).is_err());
        assert!(ValidatorId::decode(Bytes::from_static(&[0])).is_err());
    }
}

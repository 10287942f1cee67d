//! The committee that evidence is judged by.

use super::Refusal;
use bytes::{Buf, BufMut};
use commonware_codec::{Encode as _, EncodeSize, Error, RangeCfg, Read, ReadExt as _, Write};
use commonware_cryptography::{
    Hasher as _, Sha256,
    bls12381::primitives::{
        sharing::{ModeVersion, Sharing},
        variant::{MinSig, Variant},
    },
    ed25519::PublicKey,
};
use commonware_formatting::hex;
use commonware_utils::{
    N3f1, NZU32,
    ordered::{Quorum as _, Set},
};
use std::num::NonZeroU32;

/// Members of a committee at most.
pub const MEMBERS_MAX: u32 = 1_024;
/// Bytes of a namespace at most.
pub const NAMESPACE_MAX: usize = 256;

const SHARES: NonZeroU32 = NZU32!(MEMBERS_MAX);
const MODES: ModeVersion = ModeVersion::v0();

/// How votes are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemeKind {
    /// Each member by its own ed25519 key.
    Ed25519,
    /// Shares of a BLS12-381 threshold key (`MinSig`): alto's standard certificates.
    Standard,
    /// Likewise, each vote with a share of the view's random seed: alto's VRF certificates.
    Vrf,
}

impl SchemeKind {
    /// Name in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Standard => "bls12381-threshold",
            Self::Vrf => "bls12381-threshold-vrf",
        }
    }

    /// Whether two signatures convince whoever was not there. See the module's documentation.
    pub const fn is_attributable(self) -> bool {
        matches!(self, Self::Ed25519)
    }
}

/// Who may vote in an epoch, and how their votes are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committee {
    namespace: Vec<u8>,
    members: Set<PublicKey>,
    kind: SchemeKind,
    /// There if the kind is a threshold scheme.
    polynomial: Option<Sharing<MinSig>>,
}

impl Committee {
    /// Members who sign by their own keys, in `namespace`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Committee`] or [`Refusal::Malformed`] if it is none, or larger than the limits.
    pub fn ed25519(namespace: &[u8], members: Set<PublicKey>) -> Result<Self, Refusal> {
        let kind = SchemeKind::Ed25519;
        Self { namespace: namespace.to_vec(), members, kind, polynomial: None }.valid()
    }

    /// Members who sign by shares of one key, which lie on `polynomial`. `vrf` if each vote carries a share of
    /// the view's seed.
    ///
    /// # Errors
    ///
    /// As [`Committee::ed25519`].
    pub fn threshold(
        namespace: &[u8],
        members: Set<PublicKey>,
        polynomial: Sharing<MinSig>,
        vrf: bool,
    ) -> Result<Self, Refusal> {
        let kind = if vrf { SchemeKind::Vrf } else { SchemeKind::Standard };
        Self { namespace: namespace.to_vec(), members, kind, polynomial: Some(polynomial) }.valid()
    }

    /// Refuses what the schemes would panic over.
    fn valid(self) -> Result<Self, Refusal> {
        let members = self.members.len();
        let (total, required) = match &self.polynomial {
            Some(sharing) => (sharing.total().get(), sharing.required()),
            None => (u32::try_from(members).unwrap_or(u32::MAX), 0),
        };
        let wrong = Refusal::Committee { members, total, required };
        if members == 0 || members > MEMBERS_MAX as usize || total as usize != members {
            return Err(wrong);
        }
        if self.polynomial.is_some() && required != self.members.quorum::<N3f1>() {
            return Err(wrong);
        }
        if self.namespace.len() > NAMESPACE_MAX {
            let reason = format!("{} bytes, at most {NAMESPACE_MAX}", self.namespace.len());
            return Err(Refusal::Malformed { part: "namespace", reason });
        }
        Ok(self)
    }

    /// What its votes are signed in.
    pub fn namespace(&self) -> &[u8] {
        &self.namespace
    }

    /// Its members, in the order of their indices.
    pub const fn members(&self) -> &Set<PublicKey> {
        &self.members
    }

    /// How its votes are signed.
    pub const fn kind(&self) -> SchemeKind {
        self.kind
    }

    pub(super) const fn polynomial(&self) -> Option<&Sharing<MinSig>> {
        self.polynomial.as_ref()
    }

    /// The group's public key, if it has one.
    pub fn identity(&self) -> Option<<MinSig as Variant>::Public> {
        self.polynomial.as_ref().map(|sharing| *sharing.public())
    }

    /// The group's public key in hex, if it has one.
    pub fn identity_hex(&self) -> Option<String> {
        self.identity().map(|identity| hex(&identity.encode()))
    }

    /// SHA-256, in hex, of the namespace, the scheme, the members and their keys: the one value that pins all that
    /// evidence is judged by.
    pub fn fingerprint(&self) -> String {
        Sha256::hash(&[b"tidewatch committee", &self.encode()]).to_string()
    }
}

impl Write for Committee {
    fn write(&self, buf: &mut impl BufMut) {
        let kind: u8 = match self.kind {
            SchemeKind::Ed25519 => 0,
            SchemeKind::Standard => 1,
            SchemeKind::Vrf => 2,
        };
        kind.write(buf);
        self.namespace.write(buf);
        self.members.write(buf);
        if let Some(polynomial) = &self.polynomial {
            polynomial.write(buf);
        }
    }
}

impl EncodeSize for Committee {
    fn encode_size(&self) -> usize {
        1 + self.namespace.encode_size()
            + self.members.encode_size()
            + self.polynomial.as_ref().map_or(0, EncodeSize::encode_size)
    }
}

impl Read for Committee {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let kind = match u8::read(buf)? {
            0 => SchemeKind::Ed25519,
            1 => SchemeKind::Standard,
            2 => SchemeKind::Vrf,
            other => return Err(Error::InvalidEnum(other)),
        };
        let namespace = Vec::<u8>::read_cfg(buf, &(RangeCfg::from(..=NAMESPACE_MAX), ()))?;
        let range = RangeCfg::from(1..=MEMBERS_MAX as usize);
        let members = Set::<PublicKey>::read_cfg(buf, &(range, ()))?;
        let polynomial = match kind {
            SchemeKind::Ed25519 => None,
            SchemeKind::Standard | SchemeKind::Vrf => {
                Some(Sharing::read_cfg(buf, &(SHARES, MODES))?)
            }
        };
        let committee = Self { namespace, members, kind, polynomial };
        committee.valid().map_err(|_| Error::Invalid("Committee", "not one of its scheme"))
    }
}

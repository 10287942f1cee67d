//! The address of an alto indexer.

use crate::{
    rate::{self, Rate, WrongRate},
    secrets,
};
use alto_types::CertificateMode;
use std::{fmt, num::NonZeroU64, str::FromStr};
use url::Url;

/// What an endpoint looks like, for messages.
const FORM: &str = "alto+http://HOST:PORT?mode=standard (or alto+https://, or mode=vrf)";

const ALTO: &str = "alto+";
const TIDE: &str = "tide+";

/// Why a text is not the address of an alto indexer. No message repeats what may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Another scheme, or none.
    #[error("not the address of an alto indexer: write {FORM}")]
    Scheme,
    /// Not a URL after the scheme.
    #[error("not a URL ({0}): write {FORM}")]
    Url(url::ParseError),
    /// The certificate mode is not said.
    #[error(
        "the certificate mode is missing: end the address with ?mode=standard or ?mode=vrf, as the \
         network was started"
    )]
    NoMode,
    /// There is no such certificate mode. What stands there is not repeated: with a slip in typing it is more
    /// than a mode, such as in `?mode=standard?apikey=…`.
    #[error("unknown certificate mode: it is standard or vrf")]
    Mode,
    /// A parameter that means nothing here, or comes twice. Its name is not repeated: a key in a query
    /// may stand alone.
    #[error("unexpected parameter: the only ones are mode, epoch_length and rate, each once")]
    Parameter,
    /// The length of an epoch is wrong.
    #[error("epoch_length is the number of blocks of an epoch: at least 2")]
    EpochLength,
    /// The rate is wrong, or comes twice.
    #[error("the parameter rate is wrong: {}", rate::EXPECTED)]
    Rate,
    /// A part behind `#`.
    #[error("the address has a part behind #, which means nothing here: leave it out")]
    Fragment,
}

/// The address of an alto indexer and the certificate mode of its chain.
///
/// `&epoch_length=N` says that the validators reshare their key every `N` blocks.
///
/// `&rate=N` is how many requests a second may be made. There is no limit unless the address says so.
///
/// `Display` and `Debug` show scheme, host and port alone: user, password and path may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What the address begins with: a Tidewatch that serves a certified chain is asked as an indexer is.
    prefix: &'static str,
    url: Url,
    mode: CertificateMode,
    epoch_length: Option<NonZeroU64>,
    rate: Rate,
}

impl Endpoint {
    /// How the chain is certified.
    pub const fn mode(&self) -> CertificateMode {
        self.mode
    }

    /// Blocks of an epoch, on a network whose validators reshare their key; `None` on one that keeps its
    /// validators.
    pub const fn epoch_length(&self) -> Option<NonZeroU64> {
        self.epoch_length
    }

    /// How often it may be asked.
    pub(super) const fn rate(&self) -> Rate {
        self.rate
    }

    /// Whether the connection is encrypted.
    pub(super) fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The URL to request from, with its secrets, without a query.
    pub(super) const fn url(&self) -> &Url {
        &self.url
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (endpoint, mode) = Self::parse(ALTO, text)?;
        Ok(endpoint.of_mode(mode.ok_or(EndpointError::NoMode)?))
    }
}

impl Endpoint {
    /// The address of a Tidewatch. Its mode is not known before it is asked.
    #[cfg(feature = "tide")]
    pub(crate) fn of_tide(text: &str) -> Result<Self, EndpointError> {
        match Self::parse(TIDE, text)? {
            (endpoint, None) => Ok(endpoint),
            (_, Some(_)) => Err(EndpointError::Parameter),
        }
    }

    /// The same, of a chain that is certified in `mode`.
    pub(crate) fn of_mode(self, mode: CertificateMode) -> Self {
        Self { mode, ..self }
    }

    /// Whether a Tidewatch is there.
    pub(super) fn is_tide(&self) -> bool {
        self.prefix == TIDE
    }

    fn parse(
        prefix: &'static str,
        text: &str,
    ) -> Result<(Self, Option<CertificateMode>), EndpointError> {
        let plain = text.strip_prefix(prefix).ok_or(EndpointError::Scheme)?;
        if !plain.starts_with("http://") && !plain.starts_with("https://") {
            return Err(EndpointError::Scheme);
        }
        let mut url = Url::parse(plain).map_err(EndpointError::Url)?;
        if url.fragment().is_some() {
            return Err(EndpointError::Fragment);
        }
        let rate = Rate::take(&mut url).map_err(|WrongRate| EndpointError::Rate)?;
        let (mut mode, mut epoch_length) = (None, None);
        for (name, value) in url.query_pairs() {
            match &*name {
                "mode" if mode.is_none() => {
                    mode = Some(value.parse().map_err(|_| EndpointError::Mode)?);
                }
                "epoch_length" if epoch_length.is_none() => {
                    let length = value.parse().ok().filter(|length: &NonZeroU64| length.get() > 1);
                    epoch_length = Some(length.ok_or(EndpointError::EpochLength)?);
                }
                _ => return Err(EndpointError::Parameter),
            }
        }
        url.set_query(None);
        secrets::keep(&url);
        let assumed = mode.unwrap_or(CertificateMode::Standard);
        Ok((Self { prefix, url, mode: assumed, epoch_length, rate }, mode))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}://{}",
            self.prefix,
            self.url.scheme(),
            self.url.host_str().unwrap_or_default()
        )?;
        self.url.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self}?mode={})", self.mode.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    #[test]
    fn addresses_parse_to_what_they_say() {
        use CertificateMode::{Standard, Vrf};
        let table = [
            ("alto+http://127.0.0.1:8080?mode=standard", Standard, "alto+http://127.0.0.1:8080"),
            ("alto+http://127.0.0.1:8080/?mode=vrf", Vrf, "alto+http://127.0.0.1:8080"),
            ("alto+http://[::1]:8080?mode=vrf", Vrf, "alto+http://[::1]:8080"),
            ("alto+https://indexer.example?mode=vrf", Vrf, "alto+https://indexer.example"),
            ("alto+https://indexer.example/v1/key?mode=vrf", Vrf, "alto+https://indexer.example"),
            ("alto+http://user:secret@host:1?mode=standard", Standard, "alto+http://host:1"),
        ];
        for (text, mode, shown) in table {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!((endpoint.mode(), endpoint.to_string().as_str()), (mode, shown), "{text}");
        }
    }

    #[test]
    fn the_rate_is_taken_as_by_every_other_address() {
        let table = [
            ("alto+http://host?mode=vrf", Rate::Usual),
            ("alto+http://[::1]:8080?mode=vrf", Rate::Unlimited),
            ("alto+http://host?rate=none&mode=vrf", Rate::Unlimited),
            ("alto+http://host?mode=vrf&rate=7", Rate::PerSecond(NonZeroU32::new(7).unwrap())),
        ];
        for (text, rate) in table {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!((endpoint.rate(), endpoint.url().query()), (rate, None), "{text}");
        }
    }

    #[test]
    fn wrong_addresses_are_refused_with_what_to_do() {
        use EndpointError::{EpochLength, Fragment, Mode, NoMode, Parameter, Scheme, Url};
        let table = [
            ("", Scheme),
            ("http://host:1?mode=vrf", Scheme),
            ("alto://host:1?mode=vrf", Scheme),
            ("alto+ftp://host?mode=vrf", Scheme),
            ("alto+ws://host?mode=vrf", Scheme),
            ("devnet:", Scheme),
            ("alto+http://?mode=vrf", Url(url::ParseError::EmptyHost)),
            ("alto+http://host:99999?mode=vrf", Url(url::ParseError::InvalidPort)),
            ("alto+http://host", NoMode),
            ("alto+http://host?", NoMode),
            ("alto+http://host?mode=", Mode),
            ("alto+http://host?mode=threshold", Mode),
            ("alto+http://host?mode=standard?apikey=hunter2", Mode),
            ("alto+http://host?mode=vrf&mode=vrf", Parameter),
            ("alto+http://host?mode=vrf&epoch_length=1", EpochLength),
            ("alto+http://host?mode=vrf&epoch_length=", EpochLength),
            ("alto+http://host?mode=vrf&epoch_length=hunter2", EpochLength),
            ("alto+http://host?mode=vrf&epoch_length=9&epoch_length=9", Parameter),
            ("alto+http://host?token=hunter2&mode=vrf", Parameter),
            ("alto+http://host?hunter2&mode=vrf", Parameter),
            ("alto+http://host?mode=vrf&rate=hunter2", EndpointError::Rate),
            ("alto+http://host?mode=vrf&rate=1&rate=1", EndpointError::Rate),
            ("alto+http://host?mode=vrf#part", Fragment),
        ];
        for (text, error) in table {
            let refused = text.parse::<Endpoint>().expect_err(text);
            assert_eq!(refused, error, "{text}");
            assert!(!refused.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let endpoint: Endpoint =
            "alto+https://alice:hunter2@host/key-4711?mode=vrf".parse().expect("valid");
        for shown in [endpoint.to_string(), format!("{endpoint:?}"), format!("{endpoint:#?}")] {
            for secret in ["alice", "hunter2", "4711"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }
}

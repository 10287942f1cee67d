//! Addresses of nodes that answer JSON-RPC.

use super::Rate;
use crate::{
    rate::{self, Twice, WrongRate},
    secrets,
};
use http::HeaderValue;
use std::fmt;
use url::Url;

/// Why a text is not the address of a node. No message repeats what may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Another scheme, or none.
    #[error("not the address of such a node: write {0}")]
    Scheme(String),
    /// Not a URL after the scheme.
    #[error("not a URL ({0})")]
    Url(url::ParseError),
    /// A parameter of ours with a value that it cannot have, or that comes twice.
    #[error("the parameter {name} is wrong: {expected}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// A part behind `#`.
    #[error("the address has a part behind #, which means nothing here: leave it out")]
    Fragment,
}

/// The address of a node: a URL with the family of its chain in front, as in `eth+http://`.
///
/// `Display` and `Debug` show family, scheme, host and port alone: user, password, path and query may
/// be secrets. They are also taken out of whatever is quoted of a node.
///
/// # Rate
///
/// `?rate=N` is how many requests a second may be made, `?rate=none` lifts the limit. A node at a loopback
/// address is one's own: it has none unless the address says so.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    family: &'static str,
    url: Url,
    rate: Rate,
}

impl Endpoint {
    /// Reads `text` as the address of a node of `family`, with one of `schemes` after the `+`.
    pub(crate) fn parse(
        family: &'static str,
        schemes: &[&str],
        text: &str,
    ) -> Result<Self, EndpointError> {
        let forms = || {
            let forms: Vec<_> =
                schemes.iter().map(|scheme| format!("{family}+{scheme}://HOST:PORT")).collect();
            EndpointError::Scheme(forms.join(" or "))
        };
        let plain = text.strip_prefix(family).and_then(|rest| rest.strip_prefix('+'));
        let plain = plain.ok_or_else(forms)?;
        let scheme = plain.split_once("://").map(|(scheme, _)| scheme);
        if !scheme.is_some_and(|scheme| schemes.contains(&scheme)) {
            return Err(forms());
        }
        Self::new(family, Url::parse(plain).map_err(EndpointError::Url)?)
    }

    /// Reads `text` as the address of an execution client's Engine API: `http://` or `https://`.
    ///
    /// # Errors
    ///
    /// Why it is none, without what may be a secret.
    #[cfg(feature = "ethereum")]
    pub fn engine(text: &str) -> Result<Self, EndpointError> {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("http" | "https")) {
            return Err(EndpointError::Scheme("http://HOST:PORT or https://HOST:PORT".into()));
        }
        Self::new("engine", Url::parse(text).map_err(EndpointError::Url)?)
    }

    /// The node of `family` at `url`.
    pub(crate) fn new(family: &'static str, mut url: Url) -> Result<Self, EndpointError> {
        if url.fragment().is_some() {
            return Err(EndpointError::Fragment);
        }
        secrets::keep(&url);
        let wrong = |WrongRate| EndpointError::Parameter { name: "rate", expected: rate::EXPECTED };
        let rate = Rate::take(&mut url).map_err(wrong)?;
        Ok(Self { family, url, rate })
    }

    /// How often it may be asked.
    pub(crate) const fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes the value of the parameter `name` out of the query; what else is there goes to the node.
    #[cfg_attr(
        not(any(feature = "ethereum", feature = "tempo", test)),
        allow(dead_code, reason = "others have no parameters of their own")
    )]
    pub(crate) fn take(
        &mut self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<Option<String>, EndpointError> {
        rate::take(&mut self.url, name).map_err(|Twice| EndpointError::Parameter { name, expected })
    }

    /// Whether it is asked over a WebSocket.
    pub(crate) fn is_websocket(&self) -> bool {
        matches!(self.url.scheme(), "ws" | "wss")
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_secure(&self) -> bool {
        matches!(self.url.scheme(), "https" | "wss")
    }

    /// The URL, with its secrets.
    #[cfg(test)]
    pub(crate) const fn url(&self) -> &Url {
        &self.url
    }

    /// The URL to request from: without user and password, which are a header.
    pub(crate) fn bare(&self) -> Url {
        let mut url = self.url.clone();
        // Every URL with a host takes none.
        let _ = (url.set_username(""), url.set_password(None));
        url
    }

    /// The header that user and password are, decoded as RFC 3986 has them.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let mut header = HeaderValue::try_from(secrets::basic(&self.url)?).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host) = (self.url.scheme(), self.url.host_str().unwrap_or_default());
        write!(f, "{}+{scheme}://{host}", self.family)?;
        self.url.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    const BOTH: [&str; 4] = ["http", "https", "ws", "wss"];

    fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::parse("eth", &BOTH, text)
    }

    #[test]
    fn addresses_are_shown_without_what_may_be_secret() {
        let table = [
            ("eth+http://127.0.0.1:8545", "eth+http://127.0.0.1:8545", false, false),
            ("eth+ws://[::1]:8546", "eth+ws://[::1]:8546", true, false),
            ("eth+https://node.example/v3/4711", "eth+https://node.example", false, true),
            ("eth+wss://node.example/?key=4711", "eth+wss://node.example", true, true),
            ("eth+http://alice:hunter2@host:1/4711", "eth+http://host:1", false, false),
        ];
        for (text, shown, websocket, secure) in table {
            let endpoint = parse(text).expect(text);
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!((endpoint.is_websocket(), endpoint.is_secure()), (websocket, secure));
            for secret in ["alice", "hunter2", "4711"] {
                assert!(!format!("{endpoint:?} {endpoint:#?}").contains(secret), "{text}");
            }
        }
    }

    #[test]
    fn wrong_addresses_are_refused_with_what_to_do() {
        let form = || {
            let forms = BOTH.map(|scheme| format!("eth+{scheme}://HOST:PORT"));
            EndpointError::Scheme(forms.join(" or "))
        };
        let table = [
            ("", form()),
            ("http://host:1", form()),
            ("ether+http://host", form()),
            ("eth+ftp://host", form()),
            ("eth+host:1", form()),
            ("eth+http://", EndpointError::Url(url::ParseError::EmptyHost)),
            ("eth+http://host:99999", EndpointError::Url(url::ParseError::InvalidPort)),
            ("eth+http://host#part", EndpointError::Fragment),
        ];
        for (text, error) in table {
            assert_eq!(parse(text).expect_err(text), error, "{text}");
        }
    }

    #[test]
    fn our_parameters_are_taken_out_of_a_query_and_others_stay() {
        let mut endpoint = parse("eth+http://host/path?a=1&el=http://b&key=4711").unwrap();
        assert_eq!(endpoint.take("el", "a URL"), Ok(Some("http://b".into())));
        assert_eq!(endpoint.take("el", "a URL"), Ok(None));
        assert_eq!(endpoint.url().as_str(), "http://host/path?a=1&key=4711");
        let mut twice = parse("eth+http://host?el=a&el=b").unwrap();
        assert!(twice.take("el", "a URL").is_err());
        let mut alone = parse("eth+http://host?hunter2").unwrap();
        assert_eq!(alone.take("el", "a URL"), Ok(None));
        assert_eq!(alone.url().as_str(), "http://host/?hunter2");
    }

    #[test]
    fn a_nodes_own_rate_is_part_of_its_address_and_a_loopback_node_has_none() {
        let per_second = |rate| Rate::PerSecond(NonZeroU32::new(rate).unwrap());
        let table = [
            ("eth+http://host", Rate::Usual),
            ("eth+http://localhost.example", Rate::Usual),
            ("eth+http://128.0.0.1", Rate::Usual),
            ("eth+http://localhost:8545", Rate::Unlimited),
            ("eth+ws://127.1.2.3", Rate::Unlimited),
            ("eth+http://[::1]:8545", Rate::Unlimited),
            ("eth+http://[::ffff:127.0.0.1]", Rate::Unlimited),
            ("eth+http://127.0.0.1?rate=5", per_second(5)),
            ("eth+http://host?key=1&rate=5", per_second(5)),
            ("eth+http://host?rate=none", Rate::Unlimited),
        ];
        for (text, rate) in table {
            let endpoint = parse(text).unwrap();
            assert_eq!(endpoint.rate(), rate, "{text}");
            assert!(
                !endpoint.url().as_str().contains("rate"),
                "it does not go to the node: {text}"
            );
        }
        for value in ["", "0", "-1", "fast", "5&rate=6"] {
            let error = parse(&format!("eth+http://host?rate={value}")).unwrap_err();
            let parameter = EndpointError::Parameter { name: "rate", expected: rate::EXPECTED };
            assert_eq!(error, parameter, "{value}");
        }
    }

    #[test]
    fn user_and_password_are_a_header_as_they_stand_for_and_no_part_of_the_request() {
        let table = [
            (
                "http://us%40er:p%3Aw%2F1@host/path",
                Some("Basic dXNAZXI6cDp3LzE="),
                "http://host/path",
            ),
            ("http://alice@host", Some("Basic YWxpY2U6"), "http://host/"),
            ("ws://:word@host", Some("Basic OndvcmQ="), "ws://host/"),
            ("http://host?a@b", None, "http://host/?a@b"),
        ];
        for (text, header, bare) in table {
            let endpoint = parse(&format!("eth+{text}")).unwrap();
            let authorization = endpoint.authorization();
            let authorization = authorization.as_ref().map(|header| header.to_str().unwrap());
            assert_eq!((authorization, endpoint.bare().as_str()), (header, bare), "{text}");
        }
    }
}

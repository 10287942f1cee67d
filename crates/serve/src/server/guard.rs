//! Who may ask: decisions over a request's headers.

use crate::{
    Config,
    problem::{Code, Problem},
};
use http::{
    HeaderMap, Uri,
    header::{AUTHORIZATION, COOKIE, HOST, ORIGIN},
    uri::Authority,
};
use std::net::{IpAddr, SocketAddr};

/// The cookie that carries the token where a page cannot send headers.
pub(crate) const COOKIE_NAME: &str = "tidewatch_token";

/// Whether a page of another name or origin asks.
pub(crate) fn same_site(
    config: &Config,
    address: SocketAddr,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    // A client of HTTP/1.0 names no host; a browser always does.
    let named = headers.get(HOST).map(|host| host.to_str().ok().and_then(|host| host.parse().ok()));
    let host: Option<Authority> = match (named, uri.authority()) {
        (Some(None), _) => return Err(foreign("a name that cannot be read")),
        (Some(host), _) => host,
        (None, authority) => authority.cloned(),
    };
    if let Some(host) = &host
        && !is_ours(config, address, host.host())
    {
        return Err(foreign(host.host()));
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let same = host.as_ref().is_some_and(|host| authority == Some(host.as_str()));
    if same || config.origins.iter().any(|allowed| allowed == origin) {
        return Ok(());
    }
    Err(Problem::new(Code::ForeignOrigin, format!("pages of {origin} may not ask this server")))
}

fn foreign(host: &str) -> Problem {
    Problem::new(Code::ForeignHost, format!("this server is not called {host}"))
}

/// Whether a request for `host` is for this server. Its address is, and so is the loopback; any other name is
/// one that somebody else may have pointed here.
fn is_ours(config: &Config, address: SocketAddr, host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        // An address cannot be pointed elsewhere. Only one that was chosen to listen at tells nothing new.
        let ip = ip.to_canonical();
        let any = address.ip().is_unspecified();
        return any || ip.is_loopback() || ip == address.ip().to_canonical();
    }
    let named = |name: &String| name.eq_ignore_ascii_case(bare);
    bare.eq_ignore_ascii_case("localhost") || config.hosts.iter().any(named)
}

/// Whether the token was shown, where one is needed.
pub(crate) fn authorized(config: &Config, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(token) = &config.token else { return Ok(()) };
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let cookie = cookies.flat_map(|value| value.split(';')).find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE_NAME).then_some(value)
    });
    if [bearer, cookie].into_iter().flatten().any(|shown| token.is(shown)) {
        return Ok(());
    }
    Err(Problem::new(Code::Unauthorized, "send `Authorization: Bearer` with the server's token"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Token;
    use http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.clone(), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn names_that_somebody_else_may_have_pointed_here_are_refused() {
        let config = Config { hosts: vec!["tide.example".into()], ..Config::default() };
        let loopback: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        let every: SocketAddr = "0.0.0.0:8080".parse().unwrap();
        let table = [
            (loopback, "localhost:8080", true),
            (loopback, "127.0.0.1:8080", true),
            (loopback, "[::1]:9", true),
            (loopback, "tide.example", true),
            (loopback, "TIDE.example:1", true),
            (loopback, "rebound.example", false),
            (loopback, "192.168.0.1", false),
            (every, "192.168.0.1", true),
            (every, "rebound.example", false),
            (loopback, "a b", false),
        ];
        for (address, host, ours) in table {
            let asked =
                same_site(&config, address, &Uri::from_static("/"), &headers(&[(HOST, host)]));
            assert_eq!(
                asked.map_err(|problem| problem.code),
                if ours { Ok(()) } else { Err(Code::ForeignHost) },
                "{host}"
            );
        }
        assert!(same_site(&config, loopback, &Uri::from_static("/"), &headers(&[])).is_ok());
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let config = Config { origins: vec!["https://dash.example".into()], ..Config::default() };
        let address: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        let table = [
            ("http://127.0.0.1:8080", true),
            ("https://dash.example", true),
            ("http://127.0.0.1:9", false),
            ("https://evil.example", false),
            ("null", false),
        ];
        for (origin, allowed) in table {
            let headers = headers(&[(HOST, "127.0.0.1:8080"), (ORIGIN, origin)]);
            let asked = same_site(&config, address, &Uri::from_static("/"), &headers);
            assert_eq!(asked.is_ok(), allowed, "{origin}");
        }
    }

    #[test]
    fn the_token_comes_in_a_header_or_in_the_cookie() {
        let token = Some(Token::new("0123456789abcdef").unwrap());
        let config = Config { token, ..Config::default() };
        let table = [
            (headers(&[]), false),
            (headers(&[(AUTHORIZATION, "Bearer 0123456789abcdef")]), true),
            (headers(&[(AUTHORIZATION, "bearer 0123456789abcdef")]), true),
            (headers(&[(AUTHORIZATION, "Bearer 0123456789abcdeg")]), false),
            (headers(&[(AUTHORIZATION, "Basic 0123456789abcdef")]), false),
            (headers(&[(COOKIE, "a=b; tidewatch_token=0123456789abcdef")]), true),
            (headers(&[(COOKIE, "tidewatch_token=0")]), false),
        ];
        for (headers, allowed) in table {
            assert_eq!(authorized(&config, &headers).is_ok(), allowed, "{headers:?}");
            assert!(authorized(&Config::default(), &headers).is_ok());
        }
    }
}

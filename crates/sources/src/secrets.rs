//! Parts of our own addresses, which are shown nowhere.
//!
//! A node can repeat what it was sent: the path in an error page, the key of a query in a message. Every
//! address that is parsed leaves its parts here ([`keep`]), and the words of others go through [`hide`]
//! before they are shown. There is one list for the process: an answer is quoted in many places, and none of
//! them has to know which address it came from. An address of one endpoint that another one repeats is
//! hidden, too.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use commonware_utils::sync::Mutex;
use std::collections::BTreeSet;
use url::{Url, form_urlencoded};

/// Stands for what is not shown.
const HIDDEN: &[u8] = b"***";

/// A part that is shorter is looked for as a word by itself: it may well be part of other words.
const SHORT: usize = 5;

/// Parts of the addresses of this process.
static SECRETS: Mutex<BTreeSet<Vec<u8>>> = Mutex::new(BTreeSet::new());

/// `text` without parts of our own addresses.
pub(crate) fn hide(text: &[u8]) -> Vec<u8> {
    // The longest first: others may be parts of it.
    let mut secrets: Vec<_> = SECRETS.lock().iter().cloned().collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.iter().fold(text.to_vec(), |text, secret| without(&text, secret))
}

fn without(text: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(secret.len()).position(|window| window == secret) {
        let (before, after) = (&rest[..at], &rest[at + secret.len()..]);
        let word = |byte: Option<&u8>| {
            byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        };
        let inside = word(before.last()) || word(after.first());
        shown.extend_from_slice(before);
        shown.extend_from_slice(if secret.len() < SHORT && inside { secret } else { HIDDEN });
        rest = after;
    }
    shown.extend_from_slice(rest);
    shown
}

/// Hides the parts of an address from now on: its path and the parts of it, the query and the values in it,
/// user, password and what they are sent as.
pub(crate) fn keep(url: &Url) {
    let mut parts: Vec<String> = vec![url.path().trim_matches('/').to_owned()];
    parts.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
    parts.extend(url.query().map(str::to_owned));
    // A key may stand alone.
    let raw = url.query().into_iter().flat_map(|query| query.split('&'));
    parts.extend(raw.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value).to_owned()));
    let pairs = url.query_pairs().filter(|(_, value)| !value.is_empty());
    parts.extend(pairs.map(|(_, value)| value.into_owned()));
    parts.push(url.username().to_owned());
    parts.extend(url.password().map(str::to_owned));
    if let Some(basic) = basic(url) {
        let encoded = basic.trim_start_matches("Basic ").to_owned();
        parts.extend([encoded.trim_end_matches('=').to_owned(), encoded]);
    }
    let decoded: Vec<_> = parts.iter().map(|part| decode(part)).collect();
    parts.extend(decoded);
    // As JSON may have them.
    let escaped: Vec<_> = parts.iter().map(|part| part.replace('/', "\\/")).collect();
    parts.extend(escaped);
    parts.retain(|part| part.len() > 1 && !is_version(part));
    SECRETS.lock().extend(parts.into_iter().map(String::into_bytes));
}

/// A part of a path that names no more than a version.
fn is_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|number| number.parse::<u8>().is_ok())
}

/// The value of the authorization header that user and password of a URL are, decoded as RFC 3986 has
/// them.
pub(crate) fn basic(url: &Url) -> Option<String> {
    let (user, password) = (url.username(), url.password());
    if user.is_empty() && password.is_none() {
        return None;
    }
    let plain = format!("{}:{}", decode(user), decode(password.unwrap_or_default()));
    Some(format!("Basic {}", STANDARD.encode(plain)))
}

/// What a part of a URL stands for: a `+` is a `+` there.
fn decode(part: &str) -> String {
    let part = part.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    let pairs = form_urlencoded::parse(part.as_bytes()).next();
    pairs.map_or_else(String::new, |(part, _)| part.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::excerpt;

    #[test]
    fn parts_of_our_own_addresses_are_taken_out_of_every_excerpt() {
        let url = "https://al%69ce:hunt%2Fer2@host/v3/key-4711?token=to%20ken-4712&alone-4713&x=ab";
        keep(&Url::parse(url).unwrap());
        let table = [
            ("no such page /v3/key-4711 here", "no such page /*** here"),
            (r#"{"url":"\/v3\/key-4711?token=to ken-4712"}"#, r#"{\"url\":\"\\/***?token=***\"}"#),
            ("who is alice:hunt/er2?", "who is ***:***?"),
            ("al%69ce hunt%2Fer2", "*** ***"),
            ("Basic YWxpY2U6aHVudC9lcjI=", "Basic ***"),
            ("alone-4713 to%20ken-4712", "*** ***"),
            ("ab is a short one, cab and ab_c are not", "*** is a short one, cab and ab_c are not"),
            ("v3 is a version", "v3 is a version"),
        ];
        for (said, shown) in table {
            assert_eq!(excerpt(said.as_bytes()), shown, "{said}");
        }
        let page = format!("{}key-4711 and more", "x".repeat(76));
        assert!(!excerpt(page.as_bytes()).contains("key"), "cut in the middle");
        assert_eq!(excerpt(b"\xff\x1b[2J"), "\\xff\\x1b[2J");
    }
}

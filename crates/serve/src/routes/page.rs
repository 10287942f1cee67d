//! `GET /` and `/assets/…`: the live page, which is part of the program. It is drawn by `assets/page.js` from the other
//! routes, and needs nothing from elsewhere.

use crate::problem::{Code, Problem};
use axum::{
    extract::Path,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::hash::{DefaultHasher, Hasher as _};

/// Nothing from elsewhere, nothing inline, and in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal: $type:expr,)+) => {
        /// Name, type and content of each file.
        const FILES: &[(&str, &str, &str)] =
            &[$(($name, $type, include_str!(concat!("../../assets/", $name)))),+];
    };
}

files! {
    "index.html": HTML,
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "page.js": SCRIPT,
    "chart.js": SCRIPT,
    "dom.js": SCRIPT,
    "feed.js": SCRIPT,
    "model.js": SCRIPT,
    "playback.js": SCRIPT,
    "proof.js": SCRIPT,
}

pub(super) async fn index(headers: HeaderMap) -> Response {
    file("index.html", &headers)
}

pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    file(&name, &headers)
}

fn file(name: &str, headers: &HeaderMap) -> Response {
    let Some((_, kind, content)) = FILES.iter().find(|(known, _, _)| *known == name) else {
        return Problem::new(Code::NotFound, "the page has no such file").into_response();
    };
    let mut hasher = DefaultHasher::new();
    hasher.write(content.as_bytes());
    let tag = format!("\"{:016x}\"", hasher.finish());
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == tag.as_str());
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { content.into_response() };
    let headers = response.headers_mut();
    headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    let referrer = HeaderName::from_static("referrer-policy");
    headers.insert(referrer, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(name: &str) -> &'static str {
        FILES.iter().find(|(known, _, _)| *known == name).unwrap().2
    }

    /// What stands between `begin` and the next `end`, wherever it does.
    fn between<'a>(text: &'a str, begin: &str, end: char) -> Vec<&'a str> {
        text.split(begin).skip(1).map(|rest| rest.split(end).next().unwrap()).collect()
    }

    #[test]
    fn the_page_is_whole_and_small_and_has_nothing_inline() {
        let html = content("index.html");
        let mut named: Vec<_> = between(html, "\"assets/", '"');
        for (name, kind, script) in FILES.iter().filter(|(_, kind, _)| *kind == SCRIPT) {
            named.extend(between(script, "from './", '\''));
            assert!(!script.contains("innerHTML"), "{name}, {kind}");
        }
        for name in named {
            assert!(FILES.iter().any(|(known, _, _)| *known == name), "there is no {name}");
        }
        for inline in [" style=", " onclick=", "<style", "javascript:"] {
            assert!(!html.contains(inline), "{inline} is against the policy");
        }
        for (name, _, content) in FILES {
            let elsewhere = content.replace("http://www.w3.org/2000/svg", "");
            assert!(!elsewhere.contains("://"), "{name} names something elsewhere");
        }
        let size: usize = FILES.iter().map(|(_, _, content)| content.len()).sum();
        assert!(size < 60_000, "{size} bytes");
    }

    #[test]
    fn a_file_is_sent_once() {
        let first = file("page.js", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers()[header::ETAG].clone();
        let again = file("page.js", &HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(file("../Cargo.toml", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }
}

//! Classification and counts of the requests to a server.

use axum::http::{Method, Uri};
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident,)+) => {
        /// Kind of a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $kind,)+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];
        }
    };
}

kinds! {
    /// `GET /health`
    Health,
    /// `GET /block/latest`
    BlockLatest,
    /// `GET /block/<height>`
    BlockAt,
    /// `GET /block/<digest>`
    BlockNamed,
    /// `GET /finalization/<view or latest>`
    Finalization,
    /// `GET /notarization/<view or latest>`
    Notarization,
    /// `GET /seed/<view or latest>`
    Seed,
    /// `GET /consensus/ws`, the WebSocket of pushes.
    Stream,
    /// Anything else, uploads included.
    Other,
}

/// Hex digits of a height or view in a path.
const INDEX_DIGITS: usize = 16;
/// Hex digits of a digest in a path.
const DIGEST_DIGITS: usize = 64;

/// The parts of a request that rules match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) kind: Kind,
    /// Height or view in the path.
    pub(super) index: Option<u64>,
}

impl Asked {
    pub(super) fn parse(method: &Method, uri: &Uri) -> Self {
        if method != Method::GET {
            return Self { kind: Kind::Other, index: None };
        }
        let path = uri.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        let (root, rest) = path.split_once('/').unwrap_or((path, ""));
        let index =
            (rest.len() == INDEX_DIGITS).then(|| u64::from_str_radix(rest, 16).ok()).flatten();
        let kind = match (root, rest) {
            ("health", "") => Kind::Health,
            ("consensus", "ws") => Kind::Stream,
            ("block", "latest") => Kind::BlockLatest,
            ("block", _) if index.is_some() => Kind::BlockAt,
            ("block", digest) if digest.len() == DIGEST_DIGITS => Kind::BlockNamed,
            ("finalization", _) => Kind::Finalization,
            ("notarization", _) => Kind::Notarization,
            ("seed", _) => Kind::Seed,
            _ => Kind::Other,
        };
        Self { kind, index }
    }
}

/// Number of requests by kind.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; Kind::ALL.len()]);

impl Counts {
    pub(super) fn add(&self, kind: Kind) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize].load(Ordering::Relaxed)
    }

    pub(super) fn total(&self) -> u64 {
        Kind::ALL.iter().map(|kind| self.of(*kind)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_of_the_kind_that_the_indexer_takes_it_for() {
        let digest = "ab".repeat(32);
        for (path, kind, index) in [
            ("/health", Kind::Health, None),
            ("/block/latest", Kind::BlockLatest, None),
            ("/block/000000000000002a", Kind::BlockAt, Some(42)),
            (&format!("/block/{digest}"), Kind::BlockNamed, None),
            ("/block/zz", Kind::Other, None),
            ("/block", Kind::Other, None),
            ("/finalization/latest", Kind::Finalization, None),
            ("/finalization/0000000000000001", Kind::Finalization, Some(1)),
            ("/notarization/latest", Kind::Notarization, None),
            ("/seed/latest", Kind::Seed, None),
            ("/consensus/ws", Kind::Stream, None),
            ("/", Kind::Other, None),
        ] {
            let uri = path.parse::<Uri>().unwrap();
            assert_eq!(Asked::parse(&Method::GET, &uri), Asked { kind, index }, "{path}");
            let posted = Asked::parse(&Method::POST, &uri);
            assert_eq!(posted, Asked { kind: Kind::Other, index: None }, "{path}");
        }
    }
}

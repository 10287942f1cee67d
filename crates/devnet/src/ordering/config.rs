use commonware_utils::NZUsize;
use std::{num::NonZeroUsize, time::Duration};

/// Configuration of a [`Network`](super::Network).
#[derive(Clone, Debug)]
pub struct Config {
    /// The validators. Their mode must be [`Vrf`](crate::CertificateMode::Vrf).
    pub devnet: crate::Config,
    /// Prefix of the storage partitions, in the storage of the runtime that the network is started on.
    pub partition: String,
    /// Loopback port of the interface; 0 lets the system choose.
    pub port: u16,
    /// What the interface takes.
    pub limits: Limits,
}

impl Default for Config {
    /// A round each 100 ms at the most.
    fn default() -> Self {
        Self {
            devnet: crate::Config {
                mode: crate::CertificateMode::Vrf,
                block_time: Duration::from_millis(100),
                ..crate::Config::default()
            },
            partition: "ordering".into(),
            port: 0,
            limits: Limits::default(),
        }
    }
}

/// What the interface takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest content of a proposal, in bytes.
    pub content_max: usize,
    /// Connections that are open at once; others wait.
    pub connections_max: NonZeroUsize,
    /// Requests that are served at once, without streams; others are refused.
    pub requests_max: NonZeroUsize,
    /// Streams that are open at once; others are refused.
    pub streams_max: NonZeroUsize,
    /// How long the headers of a request, its body and its answer may take.
    pub request: Duration,
    /// A stream with nothing to say says so this often.
    pub alive: Duration,
    /// A connection that takes nothing for so long is cut.
    pub stall: Duration,
}

impl Default for Limits {
    /// 8 MiB, 256 connections, 64 requests, 64 streams, 10 s for a request, a sign of life each second, 10 s of stall.
    fn default() -> Self {
        Self {
            content_max: 8 * 1024 * 1024,
            connections_max: NZUsize!(256),
            requests_max: NZUsize!(64),
            streams_max: NZUsize!(64),
            request: Duration::from_secs(10),
            alive: Duration::from_secs(1),
            stall: Duration::from_secs(10),
        }
    }
}

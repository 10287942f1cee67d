//! Options of `sequence`, `sequence submit` and `sequence network`.

use crate::command::args::Follow;
use clap::{Args, Subcommand};
use std::{net::SocketAddr, path::PathBuf};

/// Options of `sequence`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Sequence {
    #[command(subcommand)]
    pub(crate) asked: Option<Asked>,
    #[command(flatten)]
    pub(crate) running: Running,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Asked {
    /// Encrypt a transaction and send it to a `tidewatch sequence`. Ends once it is in a block.
    Submit(Submit),
    /// Run the network of key holders by itself, for `tidewatch sequence --ordering`.
    ///
    /// Four validators certify rounds, and the key holders among them fix the order of proposals. What was
    /// acknowledged is on disk: whatever ends it, a start on the same directory goes on. All keys follow from a fixed
    /// seed: it is for trying out.
    Network(Network),
}

/// What runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct Running {
    /// Where to take transactions.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8750")]
    pub(crate) listen: SocketAddr,

    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = "tidewatch-sequencer")]
    pub(crate) data_dir: PathBuf,

    /// Seconds from one block to the next where no transaction waits.
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) interval: u64,

    /// Serve metrics for Prometheus at http://ADDR/metrics, such as `127.0.0.1:9102`.
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,

    #[command(flatten)]
    pub(crate) ordering: Ordering,

    #[command(flatten)]
    pub(crate) served: Served,
}

/// Which network of key holders orders, and what it is believed by.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Ordering {
    /// A network of key holders that runs elsewhere, such as `tidewatch sequence network`. Nothing that it answers is
    /// believed unless the keys below show it. [default: one inside of this process]
    #[arg(long, value_name = "URL")]
    pub(crate) ordering: Option<String>,

    /// The public key of the validators whose rounds transactions are encrypted to, in hex. [default: that of `tidewatch
    /// sequence network`]
    #[arg(long, value_name = "HEX", requires_all = ["ordering", "holder"])]
    pub(crate) identity: Option<String>,

    /// The public key of a key holder, in hex. Several are given, all that there are. [default: those of `tidewatch
    /// sequence network`]
    #[arg(long, value_name = "HEX", requires_all = ["ordering", "identity"])]
    pub(crate) holder: Vec<String>,
}

/// Whom the chain is served to. These are options of `follow` too.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Served {
    /// Serve the chain over HTTP at http://ADDR, such as `127.0.0.1:9200`: `tidewatch follow --source tide+http://ADDR`
    /// follows it. Another address than a loopback needs `--serve-token-file`, or `--serve-open`.
    #[arg(long, value_name = "ADDR")]
    pub(crate) serve: Option<SocketAddr>,

    /// The file with the token that clients of `--serve` have to show.
    #[arg(long, value_name = "FILE", requires = "serve")]
    pub(crate) serve_token_file: Option<PathBuf>,

    /// Serve other machines without a token.
    #[arg(long, requires = "serve")]
    pub(crate) serve_open: bool,

    /// A name that clients of `--serve` ask by, besides `localhost` and its address. Several may be given.
    #[arg(long, value_name = "NAME", requires = "serve")]
    pub(crate) serve_host: Vec<String>,
}

impl Served {
    /// The same, as `follow` says it.
    pub(super) fn options(&self) -> Follow {
        let Self { serve, serve_token_file, serve_open, serve_host } = self.clone();
        Follow { serve, serve_token_file, serve_open, serve_host, ..Follow::default() }
    }
}

/// Options of `sequence network`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Network {
    /// The port of the interface, on the loopback.
    #[arg(long, value_name = "PORT", default_value = "8760")]
    pub(crate) port: u16,

    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = "tidewatch-ordering")]
    pub(crate) data_dir: PathBuf,

    /// Serve metrics for Prometheus at http://ADDR/metrics, such as `127.0.0.1:9103`.
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,
}

/// Options of `sequence submit`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Submit {
    /// What the transaction says.
    #[arg(value_name = "TEXT")]
    pub(crate) text: String,

    /// The sequencer.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8750")]
    pub(crate) to: String,

    /// Who sends it, 32 bytes in hex. [default: a new one]
    #[arg(long, value_name = "HEX")]
    pub(crate) sender: Option<String>,

    /// The identity of the network that it is encrypted for. [default: that of `tidewatch sequence network`, which is
    /// also the one inside of `tidewatch sequence`]
    #[arg(long, value_name = "HEX")]
    pub(crate) identity: Option<String>,
}

//! Options of `sequence` and `sequence submit`.

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

    /// The identity of the network that it is encrypted for. [default: that of the network inside of
    /// `tidewatch sequence`]
    #[arg(long, value_name = "HEX")]
    pub(crate) identity: Option<String>,
}

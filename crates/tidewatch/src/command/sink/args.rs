//! Options of `sink postgres`.

use super::super::args::Format;
use clap::{Args, Subcommand, ValueEnum};
use std::{net::SocketAddr, path::PathBuf};

/// Where a stream goes.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Sink {
    /// Keep the chain in a Postgres database: tiers, blocks, and every event, undone over reorgs.
    ///
    /// Tables and cursor are committed together, so whatever ends the sink, the database or the server, a start goes
    /// on from where the tables are, with nothing missing and nothing twice. It makes its tables in a schema of its
    /// own (`tips`, `blocks`, `events`, `undone`, `cursors`, and the view `chain`: every block with the most final
    /// tier that it has reached). One sink at a time writes to a schema: another one is refused, and told which
    /// session of the database writes.
    Postgres(Postgres),
}

/// The stream that is taken in.
#[derive(Clone, Debug, Args)]
pub(crate) struct Stream {
    /// The Tidewatch that serves: what it was started with after --serve, as `http://127.0.0.1:9200`.
    #[arg(long, value_name = "URL")]
    pub(crate) from: String,

    /// The file with the server's token, if it has one.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Where to begin when there is no position yet: with the oldest event that the server keeps, or at its tip.
    #[arg(long, value_name = "earliest|tip", default_value = "earliest")]
    pub(crate) begin: Begin,

    /// What to print: for people, or one JSON object a line.
    #[arg(long, value_name = "human|json", default_value = "human")]
    pub(crate) format: Format,

    /// Serve metrics for Prometheus at http://ADDR/metrics, such as `127.0.0.1:9104`.
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Begin {
    Earliest,
    Tip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnReset {
    Stop,
    Begin,
}

/// Options of `sink postgres`.
#[derive(Clone, Debug, Args)]
#[command(after_help = POSTGRES)]
pub(crate) struct Postgres {
    /// The database, as `postgres://USER@HOST:PORT/DATABASE`, or `postgres://USER@/DATABASE?host=/run/postgresql` for
    /// its socket. Another machine's is asked over TLS, unless the address says `sslmode=disable`.
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    #[command(flatten)]
    pub(crate) stream: Stream,

    /// The file with the password of the database's user, if there is one. The address cannot hold it.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,

    /// The schema that has the tables.
    #[arg(long, value_name = "NAME", default_value = "tidewatch")]
    pub(crate) schema: String,

    /// What to do if no event of the server leads on from where the tables are, because they were away for longer than
    /// it keeps events: stop, or empty the blocks and begin again from what the server keeps. The log of events stays,
    /// and says so.
    #[arg(long, value_name = "stop|begin", default_value = "stop")]
    pub(crate) on_reset: OnReset,
}

const POSTGRES: &str = "\
Example:
  tidewatch follow --serve 127.0.0.1:9200
      in one terminal, and in another:
  createdb chain
  tidewatch sink postgres 'postgres://me@/chain?host=/run/postgresql' --from http://127.0.0.1:9200
  psql chain -c 'select number, hash, tier from tidewatch.chain order by number desc limit 5'
      the newest blocks, and how final each is

It ends with exit code 2 where something that was typed has to change, and with 1 for what failed; whatever passes by
itself is tried again for as long as it takes, and said.";

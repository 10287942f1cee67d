//! Options of `sink postgres`, `sink webhook` and `sink dead`.

use super::super::args::{Format, TrustPeriod};
use clap::{Args, Subcommand, ValueEnum};
use std::{net::SocketAddr, num::NonZeroU64, path::PathBuf};

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
    /// Send every event to an endpoint, signed as Standard Webhooks have it.
    ///
    /// One event at a time, in order: the next one follows once the endpoint answered 2xx. Every other answer, and
    /// none, is tried again with growing waits; `Retry-After` is kept to, and 410 ends it. An event that was given up is
    /// kept as a dead letter, which `tidewatch sink dead` lists. After a crash the last event may come once more, under
    /// the same `webhook-id` and with the same bytes.
    Webhook(Webhook),
    /// List what `tidewatch sink webhook` gave up, or send it again.
    Dead(Dead),
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

/// Options of `sink webhook`.
#[derive(Clone, Debug, Args)]
#[command(after_help = WEBHOOK)]
pub(crate) struct Webhook {
    /// The endpoint, such as `https://hooks.example/tide`. Redirects are not followed.
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    #[command(flatten)]
    pub(crate) stream: Stream,

    /// The file with the endpoint's secrets, one a line: `whsec_` and 24 to 64 bytes in base64. Events are signed by each of
    /// them, so that the endpoint can change from one to the next.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: PathBuf,

    /// Where the position and dead letters are kept: a directory for each endpoint.
    #[arg(long, value_name = "DIR", default_value = "tidewatch-webhook")]
    pub(crate) data_dir: PathBuf,

    /// Send only that blocks became final.
    #[arg(long)]
    pub(crate) finalized: bool,

    /// Give an event up after so long, and go on with the next one.
    #[arg(long, value_name = "DAYSd|HOURSh", default_value = "3d")]
    pub(crate) give_up: TrustPeriod,

    /// Give an event up after so many attempts, if that is sooner.
    #[arg(long, value_name = "N")]
    pub(crate) attempts: Option<NonZeroU64>,

    /// Send again to an endpoint that said 410.
    #[arg(long)]
    pub(crate) enable: bool,
}

/// Options of `sink dead`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Dead {
    /// The directory of the `tidewatch sink webhook` that gave up.
    #[arg(long, value_name = "DIR", default_value = "tidewatch-webhook")]
    pub(crate) data_dir: PathBuf,

    /// Send them to this endpoint, the oldest first, each once; ends with the first one that is not acknowledged. The
    /// `tidewatch sink webhook` of the directory must not run meanwhile.
    #[arg(long, value_name = "URL", requires = "secret_file")]
    pub(crate) again: Option<String>,

    /// The file with the endpoint's secrets.
    #[arg(long, value_name = "FILE", requires = "again")]
    pub(crate) secret_file: Option<PathBuf>,

    /// What to print: for people, or one JSON object a line.
    #[arg(long, value_name = "human|json", default_value = "human")]
    pub(crate) format: Format,
}

const WEBHOOK: &str = "\
Example:
  (printf whsec_; openssl rand -base64 32) > secret
      the secret, which the endpoint has too
  tidewatch sink webhook https://hooks.example/tide --from http://127.0.0.1:9200 --secret-file secret --finalized
      it is told of every block that the finalized tier moves to
  tidewatch sink dead
      what was given up

It ends with exit code 2 where something that was typed has to change, or the endpoint said 410, and with 1 for what
failed.";

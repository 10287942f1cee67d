//! What may be said on the command line, and in a configuration file.

use super::{
    Problem,
    monitoring::args as monitoring,
    proving::args::{self as proving, Proving},
    sentinel::args as sentinel,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use commonware_formatting::from_hex;
use serde::Deserialize;
use std::{
    fmt,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};
use tidewatch_core::{BlockRef, Digest, Height};
use tidewatch_sources::registry::{FAMILIES, Settings};
use tidewatch_stream::{Mode, Start};

/// Where data is kept when no directory is named.
pub(crate) const DATA_DIR: &str = "tidewatch-data";

/// Follows the tip of a chain and says how final it is: proposed, checkpointed, proven, finalized.
///
/// Without a command it follows `devnet:`, a real BLS-certified chain that runs inside this process.
#[derive(Debug, Parser)]
#[command(name = "tidewatch", version, about, long_about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Cli {
    /// What was typed. Ends the process where that asks for help.
    pub(crate) fn typed() -> Result<Self, Problem> {
        let typed: Vec<_> = std::env::args_os().collect();
        Self::try_parse_from(&typed).map_err(|error| {
            if !error.use_stderr() {
                error.exit();
            }
            let typed: Vec<_> = typed.iter().map(|word| word.to_string_lossy()).collect();
            mistyped(&error.to_string(), typed.iter().skip(1).map(AsRef::as_ref))
        })
    }
}

/// `message` of a command line that cannot be read, without what may be an address with a password in it.
fn mistyped<'a>(message: &str, typed: impl Iterator<Item = &'a str>) -> Problem {
    let message = message.trim_start_matches("error: ").trim_end();
    let mut shown = message.to_owned();
    let values = typed.map(|word| match word.split_once('=') {
        Some((option, value)) if option.starts_with('-') => value,
        _ => word,
    });
    for value in values.filter(|value| value.contains(['/', ':', '@', '?', '='])) {
        shown = shown.replace(value, "ADDRESS");
    }
    let problem = Problem::usage(shown.as_str());
    if shown == message { problem } else { problem.hint("an address is written after --source") }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Follow a chain until it is stopped, or until a height is final.
    Follow(Box<Follow>),
    /// Export, verify and import anchors: where a chain whose validators change is begun from.
    ///
    /// An anchor is one small file: the last block of an epoch, which carries the validators' key of the
    /// next one, and the signatures of those who vouch for it. A follower that was away for long, or that
    /// begins today, starts from it instead of from the network's first key.
    #[command(subcommand)]
    Anchor(Anchor),
    /// Follow a chain, and prove each of its blocks behind the tip.
    ///
    /// A follower as `follow` is, with one more tier: proven. Needs a build with `--features prove`.
    Prove(Box<proving::Prove>),
    /// Prove blocks for `tidewatch prove` on other machines.
    ///
    /// Needs a build with `--features prove`, of the same version as theirs.
    ProverWorker(proving::Worker),
    /// See and mend what `tidewatch prove` does: status, jobs, range, requeue, supply, verify.
    ///
    /// The running `tidewatch prove` of the data directory answers, through its socket `prover.sock` there, to the
    /// user that it runs as. If none runs, the answer comes from the directory itself, which is locked meanwhile;
    /// what is changed there counts from the next start on. Only what checks a proof (supply, verify) needs a
    /// build with `--features prove`.
    #[command(subcommand)]
    Prover(proving::Prover),
    /// Watch validators: who proposed, who voted, who was absent, judged on the canonical chain alone.
    ///
    /// A slot is a turn to propose. It is judged once the chain has passed it by some slots; one that was not wholly
    /// watched is recorded as not judged, and nobody is called absent in it. When an epoch is over, whoever missed most
    /// of its duties is inactive. Votes that contradict each other are kept as evidence files, which
    /// `tidewatch verify-evidence` checks anywhere.
    Sentinel(sentinel::Sentinel),
    /// Sequence transactions that stay encrypted until their order is fixed.
    ///
    /// The network of key holders that orders them, and the chain whose rounds they are encrypted to, run inside of
    /// this process. It takes transactions over HTTP, prints a line for each block, and keeps everything in its data
    /// directory: whatever ends it, no transaction that was accepted is lost, and none is applied twice.
    #[cfg(feature = "devnet")]
    Sequence(Box<super::sequence::args::Sequence>),
    /// Print a dashboard for Grafana and alert rules for Prometheus, for what `--metrics` serves.
    #[command(subcommand)]
    Monitoring(monitoring::Monitoring),
    /// Check, offline, that a validator signed two messages that contradict each other.
    ///
    /// The file is evidence that `tidewatch sentinel` kept. It brings the committee that it is judged by along, and
    /// whoever made the file chose that: to show something about a network, pin the committee with `--committee`,
    /// by the fingerprint that a `tidewatch sentinel` of your own prints for the epoch. Ends with exit code 0 if
    /// the evidence holds, and says why if it does not.
    VerifyEvidence(VerifyEvidence),
    /// Keep in a database what a Tidewatch serves, or send it to webhooks.
    #[command(subcommand)]
    Sink(super::sink::args::Sink),
    /// Watch a Tidewatch that serves, on this machine or another one. It connects again by itself.
    Watch(Watch),
    /// Print the events that followers publish to NATS (`follow --nats`), one JSON object a line.
    ///
    /// Each event comes once and in order, also while servers restart and followers take over from each other. Where the
    /// cluster forgot what was printed and another fork took its place, one `pruned` leads back. It begins with a `reset`
    /// that says where it stands, and prints another one only where no event leads on.
    Tail(super::tail::args::Tail),
}

/// Options of `verify-evidence`.
#[derive(Clone, Debug, Args)]
pub(crate) struct VerifyEvidence {
    /// The evidence; `-` reads it from standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The fingerprint of the committee that you trust: of its namespace, its members and their keys.
    #[arg(long, value_name = "HEX")]
    pub(crate) committee: Option<String>,
    /// The network's identity that the committee must have. It refuses files of other networks; it does not pin
    /// the members' keys, which only `--committee` does.
    #[arg(long, value_name = "HEX")]
    pub(crate) identity: Option<String>,
    /// The namespace that the votes must be signed in.
    #[arg(long, value_name = "TEXT")]
    pub(crate) namespace: Option<String>,
    /// What to print: for people, or one JSON object.
    #[arg(long, value_name = "human|json", default_value = "human")]
    pub(crate) format: Format,
}

/// Options of `watch`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Watch {
    /// The server's address, such as `http://127.0.0.1:8080`.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// What to print: for people, or the events as the server sends them, one JSON object a line.
    #[arg(long, value_name = "human|json", default_value = "human")]
    pub(crate) format: Format,
    /// The cursor to go on from. [default: the server's tip]
    #[arg(long, value_name = "CURSOR")]
    pub(crate) cursor: Option<String>,
    /// Without a cursor, begin with the oldest event that the server keeps.
    #[arg(long, conflicts_with = "cursor")]
    pub(crate) earliest: bool,
    /// Keep the cursor in this file, and go on from the one that it holds.
    #[arg(long, value_name = "FILE", conflicts_with = "cursor")]
    pub(crate) cursor_file: Option<PathBuf>,
    /// The file with the server's token, if it has one.
    #[arg(long, value_name = "FILE")]
    pub(crate) token: Option<PathBuf>,
    /// Only moves of these tiers, such as `finalized,proven`, and what undoes them.
    #[arg(long, value_name = "TIERS")]
    pub(crate) tiers: Option<String>,
}

/// What can be done with anchors.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Anchor {
    /// Print the newest epoch that a data directory knows, signed where a key is given.
    Export {
        /// The data directory of a follower that does not run.
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// A file with the ed25519 key to sign with: 32 bytes in hex, such as `openssl rand -hex 32` prints.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Signatures of others to keep: an anchor of the same epoch.
        #[arg(long, value_name = "FILE")]
        with: Option<PathBuf>,
    },
    /// Check who vouches for an anchor, and say what it is.
    Verify {
        #[command(flatten)]
        vouched: Vouched,
    },
    /// Check an anchor, and have a data directory begin from it.
    Import {
        #[command(flatten)]
        vouched: Vouched,
        /// The data directory of a follower that does not run; it may be new.
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
}

/// An anchor, and whose word counts.
#[derive(Clone, Debug, Args)]
pub(crate) struct Vouched {
    /// The anchor; `-` reads it from standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The ed25519 public key, in hex, of somebody whose word counts. Several may be given.
    #[arg(long, value_name = "HEX", required = true)]
    pub(crate) publisher: Vec<String>,
    /// How many of them have to vouch for it. [default: all]
    #[arg(long, value_name = "K")]
    pub(crate) threshold: Option<usize>,
    /// How old it may be. [default: 14d]
    #[arg(long, value_name = "DAYSd|HOURSh")]
    pub(crate) trust_period: Option<TrustPeriod>,
}

/// Options of `follow`. Each may also stand in the file of `--config`, under the same name with `_`
/// for `-`; what is said here counts more.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Follow {
    /// What to follow; several addresses are several endpoints of one chain. [default: devnet:]
    ///
    /// `devnet:` is the embedded network, all others are the families of `tidewatch-sources`.
    #[arg(long, value_name = "URL", long_help = source_help())]
    pub(crate) source: Vec<String>,

    /// The public key of an alto network, in hex: everything is verified against it. Nothing else needs
    /// one.
    #[arg(long, value_name = "HEX")]
    pub(crate) identity: Option<String>,

    /// How old what is known of a chain's validators may be at a start, where they change: after a longer
    /// absence their keys are not trusted any more, such as `14d` or `36h`. [default: 14d]
    #[arg(long, value_name = "DAYSd|HOURSh")]
    pub(crate) trust_period: Option<TrustPeriod>,

    /// A block that you vouch for, where validators change: its height and its digest in hex. The chain is begun
    /// from the last end of an epoch at or below it, found by hashing alone; the identity only names the chain
    /// then. It may be as old as `--trust-period` by its own time, and counts as said now. A data directory that
    /// knows as much, and not too long, needs it no more.
    #[arg(long, value_name = "HEIGHT:DIGEST")]
    pub(crate) anchor: Option<Pinned>,

    /// Where to start in an empty data directory: `genesis`, `tip` or a height. One that has blocks
    /// is followed on from there. [default: genesis]
    #[arg(long, value_name = "genesis|tip|HEIGHT", allow_negative_numbers = true)]
    pub(crate) start: Option<StartAt>,

    /// End with exit code 0 once this height is finalized, proven where blocks are proven, and on disk.
    #[arg(long, value_name = "HEIGHT", allow_negative_numbers = true)]
    pub(crate) until: Option<u64>,

    /// Where blocks, certificates and events are kept. [default: ./tidewatch-data; the devnet's is
    /// temporary]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// What to print: for people, or one JSON object a line. [default: human]
    #[arg(long, value_name = "human|json")]
    pub(crate) format: Option<Format>,

    /// Serve metrics for Prometheus at http://ADDR/metrics, such as `127.0.0.1:9100`.
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,

    /// Serve events, tips and status over HTTP at http://ADDR, such as `127.0.0.1:9200`: `/v1/events`, `/v1/tips`,
    /// `/v1/status`, `/ready` and the rest. Another address than a loopback needs `--serve-token-file`, or
    /// `--serve-open`.
    #[arg(long, value_name = "ADDR")]
    pub(crate) serve: Option<SocketAddr>,

    /// The file with the token that clients of `--serve` have to show (`Authorization: Bearer TOKEN`): at least 16
    /// characters, such as `openssl rand -hex 32` prints.
    #[arg(long, value_name = "FILE")]
    pub(crate) serve_token_file: Option<PathBuf>,

    /// Serve other machines without a token.
    #[arg(long)]
    pub(crate) serve_open: bool,

    /// A name that clients of `--serve` ask by, such as `tide.example`, besides `localhost` and its address.
    /// Several may be given.
    #[arg(long, value_name = "NAME")]
    pub(crate) serve_host: Vec<String>,

    /// The origin of pages that may read what `--serve` answers, such as `https://dash.example`; others than its
    /// own are refused. Several may be given.
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) serve_origin: Vec<String>,

    /// Streams that `--serve` has open at once, each for about 18 KiB of memory and one descriptor. [default: 1024]
    #[arg(long, value_name = "N")]
    pub(crate) serve_streams: Option<NonZeroUsize>,

    /// Streams of one client address, of these. A proxy before it is one client. [default: 32]
    #[arg(long, value_name = "N")]
    pub(crate) serve_streams_per_client: Option<NonZeroUsize>,

    /// `/ready` answers 503 with more blocks than this still to go. [default: 16]
    #[arg(long, value_name = "BLOCKS")]
    pub(crate) serve_ready_lag: Option<u64>,

    /// `/ready` answers 503 with a tip that is older, in seconds: more than the longest time between two blocks of
    /// the chain. [default: 60]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) serve_ready_age: Option<u64>,

    /// Publish the events to NATS JetStream: a server, such as `nats://127.0.0.1:4222` or `tls://nats.example`;
    /// several are servers of one cluster. Several followers of one chain, on several machines, publish as one: one of
    /// them leads, and another one goes on where the stream stands when it does not. Readers find one history in the
    /// stream `TIDEWATCH_<chain>`, whoever wrote it. NATS 2.12.8 or newer.
    #[arg(long, value_name = "URL")]
    pub(crate) nats: Vec<String>,

    /// On how many servers of the cluster events are kept: 1, 3 or 5. [default: what is there, and 1 for what is made]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) nats_replicas: Option<u8>,

    /// The file with the credentials for it.
    #[arg(long, value_name = "FILE")]
    pub(crate) nats_creds: Option<PathBuf>,

    /// Have an execution client follow too: the address of its Engine API. It is given every block of an `eth+`
    /// source, and is pointed at its head, safe and finalized blocks; no consensus client is needed.
    #[arg(long, value_name = "http://HOST:PORT")]
    pub(crate) execution: Option<String>,

    /// The file with the secret that the execution client was started with: 32 bytes in hex.
    #[arg(long, value_name = "FILE")]
    pub(crate) jwt_secret: Option<PathBuf>,

    /// Read options from this TOML file.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,

    /// What the file says for `prove`, which `follow` has no use for.
    #[arg(skip)]
    pub(crate) prove: Proving,
}

const EXAMPLES: &str = "\
Examples:
  tidewatch follow
      follow the embedded devnet and print its tip
  tidewatch follow --until 20 --format json
      the first 20 finalized blocks of it, as events
  tidewatch follow --serve 127.0.0.1:9200
      and serve it: curl -N -H 'accept: text/event-stream' http://127.0.0.1:9200/v1/events
  tidewatch follow --nats nats://127.0.0.1:4222
      and publish its events to NATS JetStream, as one with every other follower of the chain
  tidewatch follow --source 'alto+http://127.0.0.1:8080?mode=standard' --identity 8f4c…
      follow an alto network, keeping it in ./tidewatch-data
  tidewatch follow --source eth+ws://127.0.0.1:8546 --source eth+http://127.0.0.1:8545 --start tip
      follow an Ethereum chain from its tip on, by two nodes
  tidewatch follow --source eth+http://127.0.0.1:8545 --execution http://127.0.0.1:18551 --jwt-secret jwt.hex
      follow one, and have a client of your own follow with it

Logs go to standard error; RUST_LOG=debug shows more of them.";

/// The help of `--source`, with every family that the registry knows.
fn source_help() -> String {
    let mut help = "What to follow; several addresses are several endpoints of one chain. \
                    [default: devnet:]\n\n\
                    `devnet:` is the embedded network (`devnet:?mode=vrf` for its other kind of \
                    certificates), `devnet:epochs` one whose validators reshare their key and take \
                    turns"
        .to_owned();
    for family in FAMILIES {
        let forms: Vec<_> = family.forms.iter().map(|form| format!("`{form}`")).collect();
        help = format!("{help},\n{} {}", forms.join(" or "), family.chain);
        if !family.parameters.is_empty() {
            help = format!("{help} ({})", family.parameters);
        }
    }
    help + ".\n\nAll of them also with `https` or `wss`, which trust what this machine trusts, or the \
            file in `SSL_CERT_FILE`. What is secret in an address is never shown."
}

/// Where to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StartAt(pub(crate) Start);

impl FromStr for StartAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text {
            "genesis" => Start::Genesis,
            "tip" => Start::Tip,
            height => Start::Height(Height::new(
                height.parse().map_err(|_| "expected `genesis`, `tip` or a height".to_string())?,
            )),
        }))
    }
}

impl<'de> Deserialize<'de> for StartAt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Height(u64),
            Name(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Height(height) => Ok(Self(Start::Height(Height::new(height)))),
            Raw::Name(name) => name.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// What is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    #[default]
    Human,
    Json,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

/// A number of days or hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct TrustPeriod(pub(crate) Duration);

impl FromStr for TrustPeriod {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const HOUR: u64 = 60 * 60;
        let unit = if text.ends_with('d') { 24 * HOUR } else { HOUR };
        let number = text.strip_suffix(['d', 'h']).and_then(|number| number.parse::<u32>().ok());
        let number = number.filter(|number| *number > 0);
        number
            .map(|number| Self(Duration::from_secs(u64::from(number) * unit)))
            .ok_or("write days or hours, such as 14d or 36h")
    }
}

impl TryFrom<String> for TrustPeriod {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

/// A block by its height and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Pinned(pub(crate) BlockRef);

impl FromStr for Pinned {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let parse = |(height, digest): (&str, &str)| {
            let digest: [u8; 32] = from_hex(digest)?.try_into().ok()?;
            Some(Self(BlockRef::new(Height::new(height.parse().ok()?), Digest(digest))))
        };
        text.split_once(':')
            .and_then(parse)
            .ok_or("write a height and a digest of 64 hex digits, such as 4095:9f86…")
    }
}

impl TryFrom<String> for Pinned {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

impl Follow {
    /// These options, over those of the configuration file where one is named.
    pub(crate) fn resolve(self) -> Result<Self, Problem> {
        let Some(path) = self.config.clone() else { return Ok(self) };
        Ok(self.over(Self::read(&path)?))
    }

    fn read(path: &Path) -> Result<Self, Problem> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Problem::usage(format!(
                "cannot read the configuration file {}: {error}",
                path.display()
            ))
        })?;
        Self::parse(&text).map_err(|wrong| {
            Problem::usage(format!("the configuration file {} is wrong: {wrong}", path.display()))
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| wrong(text, &error))
    }

    fn over(self, file: Self) -> Self {
        Self {
            source: if self.source.is_empty() { file.source } else { self.source },
            identity: self.identity.or(file.identity),
            trust_period: self.trust_period.or(file.trust_period),
            anchor: self.anchor.or(file.anchor),
            start: self.start.or(file.start),
            until: self.until.or(file.until),
            data_dir: self.data_dir.or(file.data_dir),
            format: self.format.or(file.format),
            metrics: self.metrics.or(file.metrics),
            serve: self.serve.or(file.serve),
            serve_token_file: self.serve_token_file.or(file.serve_token_file),
            serve_open: self.serve_open || file.serve_open,
            serve_host: if self.serve_host.is_empty() { file.serve_host } else { self.serve_host },
            serve_origin: match self.serve_origin.is_empty() {
                true => file.serve_origin,
                false => self.serve_origin,
            },
            serve_streams: self.serve_streams.or(file.serve_streams),
            serve_streams_per_client: self
                .serve_streams_per_client
                .or(file.serve_streams_per_client),
            serve_ready_lag: self.serve_ready_lag.or(file.serve_ready_lag),
            serve_ready_age: self.serve_ready_age.or(file.serve_ready_age),
            nats: if self.nats.is_empty() { file.nats } else { self.nats },
            nats_replicas: self.nats_replicas.or(file.nats_replicas),
            nats_creds: self.nats_creds.or(file.nats_creds),
            execution: self.execution.or(file.execution),
            jwt_secret: self.jwt_secret.or(file.jwt_secret),
            config: self.config,
            prove: file.prove,
        }
    }

    /// What they say of chains whose validators change.
    pub(crate) fn settings(&self) -> Settings {
        let default = Settings::default();
        let trust_period = self.trust_period.map_or(default.trust_period, |period| period.0);
        let anchor = self.anchor.map(|pinned| pinned.0);
        Settings { trust_period, anchor, serves: self.serve.is_some() }
    }

    pub(crate) fn mode(&self) -> Mode {
        let start = self.start.map_or(Start::Genesis, |start| start.0);
        Mode::Blocks { start, skip_finalized: false }
    }
}

/// What is wrong in a configuration file, and where, without repeating what was written there: an
/// address may hold a password.
fn wrong(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count();
    let name = text.split('\n').nth(line).and_then(|line| line.split_once('='));
    let name = name.map(|(name, _)| name.trim()).filter(|name| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    });
    let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
    // A value that was refused is told before what was expected in its place.
    let message = error.message();
    let told = ["invalid type: ", "invalid value: ", "unknown variant "];
    let message = match message.rsplit_once("expected ") {
        Some((_, expected)) if told.iter().any(|told| message.starts_with(told)) => {
            format!("expected {expected}")
        }
        _ => message.to_owned(),
    };
    format!("line {}{name}: {message}", line + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_names_every_family() {
        let help = source_help();
        for form in tidewatch_sources::registry::forms() {
            assert!(help.contains(form), "{form} is not in {help}");
        }
    }

    #[test]
    fn a_slip_in_typing_is_told_without_repeating_an_address() {
        const ADDRESS: &str = "https://alice:hunter2@host/?apikey=hunter2";
        let with = |option: &str| format!("{option}={ADDRESS}");
        for (typed, words) in [
            (vec!["follow".into(), ADDRESS.into()], "unexpected argument"),
            (vec![ADDRESS.into()], "unrecognized subcommand"),
            (vec!["follow".into(), "--until".into(), ADDRESS.into()], "--until <HEIGHT>"),
            (vec!["follow".into(), with("--until")], "--until <HEIGHT>"),
            (vec!["follow".into(), with("--sauce")], "--source"),
            (vec!["follow".into(), "--format".into(), "hunter2@host".into()], "json"),
        ] {
            let line = std::iter::once("tidewatch".to_owned()).chain(typed.iter().cloned());
            let refused = Cli::try_parse_from(line).unwrap_err().to_string();
            let problem = mistyped(&refused, typed.iter().map(String::as_str));
            let told = format!("{problem} {}", problem.hint.clone().unwrap_or_default());
            assert!(told.contains(words), "{typed:?}: {told}");
            assert!(!told.contains("hunter2") && !told.contains("alice"), "{typed:?}: {told}");
        }
        let plain = mistyped("error: unrecognized subcommand 'folow'", ["folow"].into_iter());
        assert_eq!(plain.to_string(), "unrecognized subcommand 'folow'");
    }

    #[test]
    fn no_command_means_follow_with_defaults() {
        let cli = Cli::try_parse_from(["tidewatch"]).unwrap();
        assert!(cli.command.is_none());
    }

    #[test]
    fn a_start_is_genesis_the_tip_or_a_height() {
        let table = [
            ("genesis", Some(Start::Genesis)),
            ("tip", Some(Start::Tip)),
            ("17", Some(Start::Height(Height::new(17)))),
            ("-1", None),
            ("latest", None),
            ("", None),
        ];
        for (text, start) in table {
            assert_eq!(text.parse::<StartAt>().ok().map(|start| start.0), start, "{text:?}");
        }
    }

    #[test]
    fn an_anchor_is_a_height_and_a_digest() {
        let digest = "ab".repeat(32);
        let reference = BlockRef::new(Height::new(29), Digest([0xab; 32]));
        let good = format!("29:{digest}");
        assert_eq!(good, reference.to_string(), "as blocks are printed");
        assert_eq!(good.parse(), Ok(Pinned(reference)));
        let file: Follow = toml::from_str(&format!("anchor = '{good}'")).unwrap();
        assert_eq!(file.anchor, Some(Pinned(reference)));
        for bad in ["", "29", "29:", ":ab", "x:ab", "29:ab", &format!("-1:{digest}"), &digest] {
            assert!(bad.parse::<Pinned>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_counts_more_than_the_file() {
        let file: Follow = toml::from_str(
            "source = ['devnet:']\nstart = 7\nuntil = 9\nformat = 'json'\ndata_dir = 'here'",
        )
        .unwrap();
        let line = Follow { until: Some(12), ..Follow::default() };
        let both = line.over(file);
        assert_eq!(both.until, Some(12));
        assert_eq!(both.format, Some(Format::Json));
        assert_eq!(both.start, Some(StartAt(Start::Height(Height::new(7)))));
        assert_eq!(both.source, ["devnet:"]);
    }

    #[test]
    fn what_is_wrong_in_the_file_is_told_without_repeating_an_address() {
        const ADDRESS: &str = "alto+http://alice:hunter2@host:1?mode=vrf";
        let table = [
            (format!("until = 9\nsource = '{ADDRESS}'"), "line 2 (source): expected a sequence"),
            (format!("source = ['{ADDRESS}"), "line 1 (source): "),
            (format!("source = {ADDRESS}"), "line 1 (source): "),
            (format!("source = [\n  '{ADDRESS}',\n  9,\n]"), "line 3: expected a string"),
            (format!("source = [\n  '{ADDRESS}'\n  '{ADDRESS}'\n]"), "line 3: "),
            (format!("until = '{ADDRESS}'"), "line 1 (until): expected u64"),
            (format!("format = '{ADDRESS}'"), "line 1 (format): expected `human` or `json`"),
            (format!("untill = '{ADDRESS}'"), "line 1 (untill): unknown field `untill`"),
            ("start = 'yesterday'".into(), "line 1 (start): expected `genesis`"),
        ];
        for (text, words) in table {
            let wrong = Follow::parse(&text).unwrap_err();
            assert!(wrong.starts_with(words), "{text}: {wrong}");
            assert!(!wrong.contains("alice") && !wrong.contains("hunter2"), "{text}: {wrong}");
        }
    }

    #[test]
    fn an_unknown_name_in_the_file_is_refused() {
        assert!(toml::from_str::<Follow>("untill = 9").is_err());
        assert!(toml::from_str::<Follow>("start = 'yesterday'").is_err());
    }
}

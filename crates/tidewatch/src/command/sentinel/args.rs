//! Options of `tidewatch sentinel`, and what its address says.

use super::super::{Problem, args::Format};
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, num::NonZeroUsize, ops::RangeInclusive, path::PathBuf, time::Duration};
use tidewatch_sources::{
    aztec::{endpoint, validators::layer_1},
    rpc::Endpoint,
};

/// The devnet's scheme.
const DEVNET: &str = "devnet:";
/// What the address of an Aztec node begins with.
const AZTEC: &str = "aztec+";

const EXAMPLES: &str = "\
What the strip of a validator says, a letter for each of the last slots:
  P proposed    v voted    X its proposal is missing    x its vote is missing
  ! contradicted itself    ? not judged    . nothing was due of it

Examples:
  tidewatch sentinel
      watch four validators from inside of the first one
  tidewatch sentinel --source 'devnet:?validators=7&stop=3@2-4&twice=5@2' --data-dir data --until-epoch 5
      stop validator 3 from epoch 2 on until epoch 4, have validator 5 vote twice in epoch 2, and end after epoch 5
  tidewatch sentinel --source aztec+http://127.0.0.1:8080 --l1 http://127.0.0.1:8545 --data-dir data
      watch an Aztec chain's validators by what a node has published and heard, and by the rollup's contract
  tidewatch sentinel report --epoch 2 --data-dir data --format csv
      what was judged of epoch 2
  tidewatch verify-evidence data/evidence/FILE --committee FINGERPRINT
      that a validator contradicted itself, checked anywhere

A data directory is kept by one process at a time. Logs go to standard error.";

/// Options of `sentinel`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Sentinel {
    #[command(subcommand)]
    pub(crate) command: Option<SentinelCommand>,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

/// What else there is.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SentinelCommand {
    /// Print what was judged of one epoch, from the data directory of a sentinel, whether it runs or not.
    Report(Report),
}

/// Options of watching.
#[derive(Clone, Debug, Args)]
pub(crate) struct Watch {
    /// Whom to watch: `devnet:`, validators inside of this process, watched from inside of the first one; or
    /// `aztec+http://HOST:PORT`, those of an Aztec chain, by one of its nodes and by layer 1 (`--l1`).
    ///
    /// Written `devnet:?NAME=VALUE&...`: `validators` (4 to 16), `epoch_length` (blocks of an epoch, at least four for
    /// each validator), `block_ms` (10 to 60000), `mode` (`standard` or `vrf`), and what goes wrong, each as often as
    /// you like: `stop=V@E-F` stops validator V from epoch E on until epoch F begins; `pause=V@E-F` halts it; `apart=V@E-F`
    /// cuts it off; `twice=V@E` has it vote twice in epoch E. Validator 0 watches, and nothing is wrong with it.
    #[arg(long, value_name = "URL", default_value = DEVNET)]
    pub(crate) source: String,
    /// An execution node of the chain that an Aztec rollup lives on: `http://HOST:PORT`.
    ///
    /// Its contract says who is in a committee, and what was published. Which contract that is says the Aztec node.
    #[arg(long, value_name = "URL")]
    pub(crate) l1: Option<String>,
    /// Where judgements are kept, and evidence in `evidence/`. [default: temporary]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What to print: for people a table, or one JSON object a line. [default: human]
    #[arg(long, value_name = "human|json", default_value = "human")]
    pub(crate) format: Format,
    /// Serve metrics for Prometheus at http://ADDR/metrics, such as `127.0.0.1:9100`.
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,
    /// End with exit code 0 once this epoch was evaluated.
    #[arg(long, value_name = "E")]
    pub(crate) until_epoch: Option<u64>,
    /// The part of its duties that an inactive validator missed in an epoch: above 0, up to 1.
    #[arg(long, value_name = "PART", default_value = "0.9")]
    pub(crate) target: f64,
    /// Epochs in a row in which a validator was inactive before that is a verdict.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) threshold: NonZeroUsize,
}

/// Options of `sentinel report`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Report {
    /// The epoch.
    #[arg(long, value_name = "E")]
    pub(crate) epoch: u64,
    /// The data directory of the sentinel.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// How to print it.
    #[arg(long, value_name = "table|csv|json", default_value = "table")]
    pub(crate) format: ReportFormat,
}

/// How an epoch is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReportFormat {
    Table,
    Csv,
    Json,
}

/// What goes wrong with a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Stopped,
    Paused,
    Apart,
    Twice,
}

/// What goes wrong, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) validator: usize,
    pub(super) wrong: Wrong,
    /// The first epoch of it, and the last one.
    pub(super) epochs: RangeInclusive<u64>,
}

/// The network that an address asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) validators: u32,
    pub(super) epoch_length: Option<u64>,
    pub(super) block_time: Duration,
    pub(super) vrf: bool,
    pub(super) planned: Vec<Planned>,
}

/// The addresses of an Aztec chain's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nodes {
    pub(super) aztec: Endpoint,
    pub(super) l1: Endpoint,
}

impl Watch {
    /// The nodes that are asked, where it is an Aztec chain.
    pub(super) fn nodes(&self) -> Result<Option<Nodes>, Problem> {
        let l1 = self.l1.as_deref();
        if !self.source.starts_with(AZTEC) {
            return match l1 {
                None => Ok(None),
                Some(_) => Err(Problem::usage("--l1 is for an Aztec chain")
                    .hint("write --source aztec+http://HOST:PORT, or leave --l1 out")),
            };
        }
        let aztec =
            endpoint(&self.source).map_err(|error| Problem::usage(format!("--source: {error}")))?;
        let missing = || {
            Problem::usage("the committee of an Aztec chain is only on layer 1").hint(
                "add --l1 http://HOST:PORT, an execution node of the chain that the rollup lives on",
            )
        };
        let l1 = layer_1(l1.ok_or_else(missing)?);
        let l1 = l1.map_err(|error| Problem::usage(format!("--l1: {error}")))?;
        Ok(Some(Nodes { aztec, l1 }))
    }

    /// What the address says.
    pub(super) fn wanted(&self) -> Result<Wanted, Problem> {
        let Some(asked) = self.source.strip_prefix(DEVNET) else {
            return Err(elsewhere(&self.source));
        };
        let mut wanted = Wanted {
            validators: 4,
            epoch_length: None,
            block_time: Duration::from_millis(400),
            vrf: false,
            planned: Vec::new(),
        };
        let asked = match asked.strip_prefix('?') {
            Some(asked) => asked,
            None if asked.is_empty() => "",
            None => return Err(wrong(asked, "after devnet: comes ?NAME=VALUE&NAME=VALUE")),
        };
        for pair in asked.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = || value.parse::<u64>().map_err(|_| wrong(pair, "it wants a number"));
            match name {
                "validators" => {
                    wanted.validators = u32::try_from(number()?).unwrap_or(u32::MAX);
                    if !(4..=16).contains(&wanted.validators) {
                        return Err(wrong(pair, "it runs 4 to 16 validators"));
                    }
                }
                "epoch_length" => wanted.epoch_length = Some(number()?),
                "block_ms" => wanted.block_time = Duration::from_millis(number()?),
                "mode" => {
                    wanted.vrf = match value {
                        "standard" => false,
                        "vrf" => true,
                        _ => return Err(wrong(pair, "the mode is standard or vrf")),
                    }
                }
                "stop" => wanted.planned.push(planned(pair, value, Wrong::Stopped)?),
                "pause" => wanted.planned.push(planned(pair, value, Wrong::Paused)?),
                "apart" => wanted.planned.push(planned(pair, value, Wrong::Apart)?),
                "twice" => wanted.planned.push(planned(pair, value, Wrong::Twice)?),
                _ => return Err(wrong(pair, "`tidewatch sentinel --help` says what there is")),
            }
        }
        let validators = wanted.validators as usize;
        match wanted.planned.iter().find(|planned| planned.validator >= validators) {
            Some(planned) => {
                let message =
                    format!("there is no validator {} of {validators}", planned.validator);
                Err(Problem::usage(message).hint("validators are counted from 0"))
            }
            None => Ok(wanted),
        }
    }
}

fn wrong(pair: &str, hint: &str) -> Problem {
    Problem::usage(format!("--source: {pair} means nothing to the devnet")).hint(hint)
}

/// Refuses a source that cannot be watched, with why. Nothing of the address is repeated.
fn elsewhere(source: &str) -> Problem {
    if source.starts_with("alto+") || source.starts_with("tide+") {
        return Problem::usage("who voted is not in what such a source answers: certificates name nobody").hint(
            "watch from inside of a validator: see examples/embedded_validator.rs and `tidewatch_sentinel::simplex`",
        );
    }
    Problem::usage("nobody can be watched by this source")
        .hint("write devnet: or aztec+http://HOST:PORT, or leave --source out")
}

/// `V@E` or `V@E-F`, of which F is the first epoch after it.
fn planned(pair: &str, value: &str, of: Wrong) -> Result<Planned, Problem> {
    let refuse = |hint| wrong(pair, hint);
    let (validator, epochs) =
        value.split_once('@').ok_or_else(|| refuse("write V@E-F, such as 3@2-4"))?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| refuse("write V@E-F, such as 3@2-4"));
    let (first, end) = match epochs.split_once('-') {
        Some((first, end)) => (number(first)?, number(end)?),
        None => (number(epochs)?, number(epochs)?.saturating_add(1)),
    };
    let validator = usize::try_from(number(validator)?).unwrap_or(usize::MAX);
    if validator == 0 {
        return Err(refuse("validator 0 watches: let something be wrong with another one"));
    }
    if first >= end {
        return Err(refuse("the epoch that it ends with comes after the one that it begins with"));
    }
    Ok(Planned { validator, wrong: of, epochs: first..=end - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        sentinel: Sentinel,
    }

    fn wanted(source: &str) -> Result<Wanted, Problem> {
        Line::try_parse_from(["x", "--source", source]).unwrap().sentinel.watch.wanted()
    }

    #[test]
    fn the_devnets_address_says_how_it_is_and_what_goes_wrong() {
        assert_eq!(wanted("devnet:").unwrap().validators, 4);
        let all = "devnet:?validators=7&epoch_length=28&block_ms=50&mode=vrf&stop=3@2-4&twice=5@2";
        let wanted = wanted(all).unwrap();
        assert_eq!((wanted.validators, wanted.epoch_length, wanted.vrf), (7, Some(28), true));
        assert_eq!(wanted.block_time, Duration::from_millis(50));
        let planned = |validator, wrong, epochs| Planned { validator, wrong, epochs };
        let both = [planned(3, Wrong::Stopped, 2..=3), planned(5, Wrong::Twice, 2..=2)];
        assert_eq!(wanted.planned, both);
    }

    #[test]
    fn an_aztec_chain_is_watched_by_two_nodes_and_neither_address_is_repeated() {
        let nodes = |arguments: &[&str]| {
            let line = ["x"].iter().chain(arguments);
            Line::try_parse_from(line).unwrap().sentinel.watch.nodes()
        };
        let aztec = "aztec+http://alice:hunter2@host:8080";
        let both = nodes(&["--source", aztec, "--l1", "http://hunter2@l1:8545/hunter2"]);
        let Nodes { aztec: node, l1 } = both.unwrap().unwrap();
        assert_eq!(node.to_string(), "aztec+http://host:8080");
        assert_eq!(l1.to_string(), "l1+http://l1:8545");
        assert_eq!(nodes(&[]).unwrap(), None);
        for (arguments, words) in [
            (&["--source", aztec][..], "--l1"),
            (&["--source", aztec, "--l1", "hunter2"], "write http://"),
            (&["--source", "aztec+ws://hunter2", "--l1", "http://l1"], "aztec+http://"),
            (&["--l1", "http://hunter2"], "leave --l1 out"),
        ] {
            let problem = nodes(arguments).unwrap_err();
            let text = format!("{problem} {:?}", problem.hint);
            assert!(text.contains(words), "{arguments:?}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
            assert_eq!(problem.code(), 2);
        }
    }

    #[test]
    fn what_cannot_be_watched_is_refused_with_why_and_without_the_address() {
        for (source, words) in [
            ("alto+http://alice:hunter2@host?mode=vrf", "certificates name nobody"),
            ("tide+http://host", "certificates name nobody"),
            ("eth+http://hunter2", "write devnet:"),
            ("devnet:epochs", "?NAME=VALUE"),
            ("devnet:?stop=0@1-2", "validator 0 watches"),
            ("devnet:?stop=9@1-2", "no validator 9 of 4"),
            ("devnet:?stop=2@2-2", "comes after"),
            ("devnet:?stop=2", "V@E-F"),
            ("devnet:?sotp=2@1", "--help"),
            ("devnet:?validators=many", "a number"),
            ("devnet:?validators=3", "4 to 16"),
            ("devnet:?mode=fast", "standard or vrf"),
        ] {
            let problem = wanted(source).unwrap_err();
            let text = format!("{problem} {:?}", problem.hint);
            assert!(text.contains(words), "{source}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
            assert_eq!(problem.code(), 2);
        }
    }
}

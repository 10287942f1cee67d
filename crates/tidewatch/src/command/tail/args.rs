//! Options of `tail`.

use clap::Args;
use std::{path::PathBuf, str::FromStr};
use tidewatch_core::Cursor;

/// Options of `tail`.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Tail {
    /// A server, such as `nats://127.0.0.1:4222`; several are servers of one cluster.
    #[arg(value_name = "URL", required = true)]
    pub(crate) nats: Vec<String>,
    /// The chain's name, as `follow --nats` says it: "publishing to nats://127.0.0.1:4222, chain NAME".
    #[arg(long, value_name = "NAME")]
    pub(crate) chain: String,
    /// The file with the credentials for the servers.
    #[arg(long, value_name = "FILE")]
    pub(crate) nats_creds: Option<PathBuf>,
    /// Where to begin: with the oldest event that is kept, with the newest, or after a cursor that was printed. [default:
    /// where the consumer is, otherwise oldest]
    #[arg(long, value_name = "oldest|newest|CURSOR")]
    pub(crate) from: Option<Begin>,
    /// Keep the position at the cluster under this name, and go on from it. Of two of one name the newer one goes on.
    #[arg(long, value_name = "NAME")]
    pub(crate) consumer: Option<String>,
}

const HELP: &str = "\
Example:
  nats-server -js
  tidewatch follow --nats nats://127.0.0.1:4222
      in two terminals, and in a third one, with the name of the chain that the follower says:
  tidewatch tail nats://127.0.0.1:4222 --chain NAME --consumer mine

After a crash the last event may be printed once more. It ends with exit code 2 where something that was typed has to
change, and with 1 for what failed; whatever passes by itself is tried again for as long as it takes, and said.";

/// Where to begin.
#[derive(Clone, Debug)]
pub(crate) enum Begin {
    Oldest,
    Newest,
    After(Box<Cursor>),
}

impl FromStr for Begin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "oldest" => Ok(Self::Oldest),
            "newest" => Ok(Self::Newest),
            cursor => match cursor.parse() {
                Ok(cursor) => Ok(Self::After(Box::new(cursor))),
                Err(error) => Err(format!("neither oldest nor newest, and a {error}")),
            },
        }
    }
}

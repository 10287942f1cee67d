//! Options of `prove`, `prover` and `prover-worker`.

use super::super::{
    Problem,
    args::{DATA_DIR, Follow, Format},
};
use clap::{Args, Subcommand};
use serde::Deserialize;
use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};
use tidewatch_prover::proven::Finality;

/// Options of `prove`: those of `follow`, and how blocks are proven.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Prove {
    #[command(flatten)]
    pub(crate) follow: Follow,
    #[command(flatten)]
    pub(crate) proving: Proving,
}

impl Prove {
    /// These options, over those of the configuration file where one is named.
    pub(crate) fn resolve(self) -> Result<Self, Problem> {
        let mut follow = self.follow.resolve()?;
        let proving = self.proving.over(std::mem::take(&mut follow.prove));
        Ok(Self { follow, proving })
    }
}

/// How blocks are proven. In the file of `--config` these stand in a table `[prove]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Proving")]
pub(crate) struct Proving {
    /// Have blocks proven by the `tidewatch prover-worker` at this address too, such as `http://127.0.0.1:8700`; or by
    /// all that take jobs from a queue on NATS, such as `nats://127.0.0.1:4222`, where the servers of a cluster stand
    /// with commas between them. Several may be given.
    #[arg(long, value_name = "URL")]
    pub(crate) prover: Vec<String>,

    /// The file with the credentials for NATS, where a prover is a queue there.
    #[arg(long, value_name = "FILE")]
    pub(crate) prover_creds: Option<PathBuf>,

    /// The file with the token that these workers were started with.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Proofs that this process makes at once; 0 leaves all of them to --prover. One proof uses every core.
    /// [default: 1, and 0 with --prover]
    #[arg(long, value_name = "N")]
    pub(crate) slots: Option<usize>,

    /// How far above the proven tip blocks are proven already, while a lower one is not. [default: 64]
    #[arg(long, value_name = "BLOCKS")]
    pub(crate) ahead: Option<NonZeroUsize>,
}

impl Proving {
    fn over(self, file: Self) -> Self {
        Self {
            prover: if self.prover.is_empty() { file.prover } else { self.prover },
            prover_creds: self.prover_creds.or(file.prover_creds),
            token_file: self.token_file.or(file.token_file),
            slots: self.slots.or(file.slots),
            ahead: self.ahead.or(file.ahead),
        }
    }
}

const EXAMPLES: &str = "\
Each block is proven behind the tip: that its digest is SHA-256 of a header that holds the digest of the block
before. Every proof is verified against the block before it counts, and kept; the proven tier then advances in
order. A block that cannot be proven is kept with its reason, and holds up the proven tier alone.

Examples:
  tidewatch prove
      follow the embedded devnet, which makes a block every five seconds, and prove each block in this process
  tidewatch prove --source 'alto+http://127.0.0.1:8080?mode=standard' --identity 8f4c… \\
      --prover http://127.0.0.1:8700 --prover http://127.0.0.1:8701
      prove an alto network with two workers, keeping everything in ./tidewatch-data
  tidewatch prove --prover nats://127.0.0.1:4222
      prove with every worker that takes jobs from the queue at that server
  tidewatch prover status
      where that stands

Logs go to standard error; RUST_LOG=debug shows more of them.";

/// Options of `prover-worker`.
#[derive(Clone, Debug, Args)]
#[command(after_help = WORKER)]
pub(crate) struct Worker {
    /// Where to listen. Off loopback a token has to be asked for.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8700")]
    pub(crate) listen: SocketAddr,

    /// A file with the token that `tidewatch prove` has to show: 32 characters or more, such as
    /// `openssl rand -hex 32` prints.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Serve whoever reaches the address, also off loopback: for a network that you trust.
    #[arg(long, conflicts_with = "token_file")]
    pub(crate) open: bool,

    /// Answer sequencers of Miden 0.15 too, at the same address: `miden-node sequencer --block-prover.url
    /// http://HOST:PORT`. The block proofs of that version are empty, and prove nothing.
    #[arg(long)]
    pub(crate) miden: bool,

    /// Take jobs from a queue on NATS JetStream in place of listening: a server, such as `nats://127.0.0.1:4222` or
    /// `tls://nats.example`; several are servers of one cluster. `tidewatch prove --prover nats://127.0.0.1:4222` hands
    /// them in. Several workers share a queue: one that dies leaves its job to another. NATS 2.12.8 or newer.
    #[arg(long, value_name = "URL", conflicts_with_all = ["listen", "token_file", "open", "miden"])]
    pub(crate) nats: Vec<String>,

    /// On how many servers of the cluster jobs and proofs are kept: 1, 3 or 5. [default: what is there, and 1 for what
    /// is made]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5), requires = "nats")]
    pub(crate) nats_replicas: Option<u8>,

    /// The file with the credentials for it.
    #[arg(long, value_name = "FILE", requires = "nats")]
    pub(crate) nats_creds: Option<PathBuf>,

    /// Proofs that are made at once. One uses every core.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) slots: NonZeroUsize,

    /// Where finished proofs are kept until they are fetched, 256 at the most.
    #[arg(long, value_name = "DIR", default_value = "tidewatch-worker")]
    pub(crate) data_dir: PathBuf,

    /// Serve metrics for Prometheus at http://ADDR/metrics, such as `127.0.0.1:9101`.
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,
}

const WORKER: &str = "\
It prints a line for each proof that it begins, and one when it is finished and on disk. Whatever ends it: what it
had finished is there after the next start. What it was working on is proven again.

With --nats it needs no port of its own. It has a job for 30 seconds, and renews that while it proves; one that a worker
does not renew is given to the next one. One that five workers did not end is given up, and whoever submitted it is told.

With --miden it is what a Miden sequencer of version 0.15 calls a block prover (gRPC, remote_prover.Api/Prove, blocks
alone). That version has no block proofs yet: what its own prover makes has no bytes, and no more has the answer from
here. It makes proven follow committed, and proves nothing to anybody. A sequencer gives a block three attempts without a
pause and then ends, so restart this one behind an address that does not go away, or restart both. It needs no
build with `--features prove`; without that, it answers Miden's sequencers alone.

Examples:
  tidewatch prover-worker
      prove for whoever asks on this machine
  tidewatch prover-worker --listen 10.0.0.7:8700 --token-file token
      prove for those who show the token. It crosses the network as it is: put TLS in front where others listen
  tidewatch prover-worker --nats nats://10.0.0.7:4222
      take jobs from the queue at that server, as one of many
  tidewatch prover-worker --miden --listen 10.0.0.7:8700 --open
      answer the Miden sequencers of a network of your own: they can show no token";

/// What can be asked of whoever proves.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Prover {
    /// Print how far proving is, what it waits for, and who proves.
    Status {
        #[command(flatten)]
        at: At,
    },
    /// List the blocks that are not proven, from the lowest on.
    Jobs {
        /// The height to list from. [default: the lowest]
        #[arg(long, value_name = "HEIGHT", default_value = "0", hide_default_value = true)]
        from: u64,
        /// How many to list, 1,000 at the most.
        #[arg(long, value_name = "N", default_value = "100")]
        max: NonZeroU32,
        #[command(flatten)]
        at: At,
    },
    /// Attempt the block at a height again at once, as if it had never failed: for one that is poisoned.
    Requeue {
        /// The height of the block.
        height: u64,
        #[command(flatten)]
        at: At,
    },
    /// Take in a proof that was made elsewhere, such as `prover verify --out` writes. It has to verify.
    Supply {
        /// The height of the block.
        height: u64,
        /// The file with the proof.
        file: PathBuf,
        #[command(flatten)]
        at: At,
    },
    /// List followed blocks from a height on that are as final as asked, with how far that is: of one moment.
    Range {
        /// The height to list from.
        from: u64,
        /// How final: `committed` (followed, and on disk), `proven` or `finalized`.
        #[arg(long, value_name = "FINALITY", default_value_t = Finality::Proven)]
        finality: Finality,
        /// How many to list, 1,000 at the most.
        #[arg(long, value_name = "N", default_value = "100")]
        max: NonZeroU32,
        #[command(flatten)]
        at: At,
    },
    /// Verify the kept proof of the block at a height against the blocks that were followed.
    Verify {
        /// The height of the block.
        height: u64,
        /// Write the proof to this file once it verified.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        at: At,
    },
}

/// Where, and for whom the answer is.
#[derive(Clone, Debug, Args)]
pub(crate) struct At {
    /// The data directory of `tidewatch prove`.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub(crate) data_dir: PathBuf,
    /// What to print: for people, or one JSON object.
    #[arg(long, value_name = "human|json", default_value = "human")]
    pub(crate) format: Format,
}

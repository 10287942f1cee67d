//! The embedded network, where this build has one (feature `devnet`).

#[cfg(feature = "devnet")]
pub(super) use with::Embedded;
#[cfg(not(feature = "devnet"))]
pub(super) use without::Embedded;

#[cfg(feature = "devnet")]
mod with {
    use crate::{
        Outcome,
        command::{Problem, target::Chosen},
    };
    use commonware_runtime::{Supervisor as _, tokio::Context};
    use std::{path::PathBuf, time::Duration};
    use tidewatch_core::Height;
    use tidewatch_devnet::{Config, Devnet, Error, epochs};
    use tidewatch_sources::registry;

    /// Time between blocks that are proven: it leaves the validators a core.
    const PROVEN: Duration = Duration::from_secs(5);

    /// How long its first block may take.
    const FIRST_BLOCK: Duration = Duration::from_secs(30);

    /// A real chain inside of this process.
    pub(in crate::command) enum Embedded {
        Plain(Devnet),
        Epochs(epochs::Devnet),
    }

    impl Embedded {
        /// Starts the network, which keeps its data in `directory`.
        pub(in crate::command) async fn start(
            context: &Context,
            chosen: Chosen,
            directory: PathBuf,
        ) -> Outcome<Self> {
            let started = Self::launch(context.child("devnet"), chosen, directory).await;
            started.map_err(|error| Problem::failure(format!("the devnet did not start: {error}")))
        }

        async fn launch(
            context: Context,
            Chosen { mode, epochs, proven }: Chosen,
            directory: PathBuf,
        ) -> Result<Self, Error> {
            let (directory, first) = (Some(directory), Height::new(1));
            // Before the first certificate its indexer has nothing that could be followed.
            if epochs {
                let mut config = epochs::Config { directory, mode, ..Default::default() };
                if proven {
                    config.block_time = PROVEN;
                }
                let devnet = epochs::Devnet::start(context, config).await?;
                devnet.reach(first, FIRST_BLOCK).await?;
                Ok(Self::Epochs(devnet))
            } else {
                let mut config = Config { directory, mode, ..Default::default() };
                if proven {
                    config.block_time = PROVEN;
                }
                let devnet = Devnet::start(context, config).await?;
                devnet.reach(first, FIRST_BLOCK).await?;
                Ok(Self::Plain(devnet))
            }
        }

        /// The network as any other alto network.
        pub(in crate::command) fn target(&self) -> Outcome<registry::Target> {
            let (address, identity) = match self {
                Self::Plain(devnet) => {
                    let (url, mode) = (devnet.url(), devnet.mode().as_str());
                    (format!("alto+{url}?mode={mode}"), devnet.identity())
                }
                Self::Epochs(devnet) => {
                    let (url, mode) = (devnet.url(), devnet.mode().as_str());
                    let length = devnet.epoch_length();
                    (format!("alto+{url}?mode={mode}&epoch_length={length}"), devnet.identity())
                }
            };
            registry::parse(&[&address], Some(&identity))
                .map_err(|refused| Problem::failure(format!("the devnet: {refused}")))
        }

        /// Resolves if the network ends although nobody stopped it.
        pub(in crate::command) async fn ended(&self) -> Problem {
            let reason = match self {
                Self::Plain(devnet) => devnet.ended().await,
                Self::Epochs(devnet) => devnet.ended().await,
            };
            Problem::failure(format!("the devnet ended: {reason}"))
        }

        pub(in crate::command) async fn stop(self) {
            match self {
                Self::Plain(devnet) => devnet.stop().await,
                Self::Epochs(devnet) => devnet.stop().await,
            }
        }
    }
}

#[cfg(not(feature = "devnet"))]
mod without {
    use crate::{
        Outcome,
        command::{Problem, target::Chosen},
    };
    use commonware_runtime::tokio::Context;
    use std::path::PathBuf;
    use tidewatch_sources::registry;

    /// No network: it cannot be started.
    pub(in crate::command) enum Embedded {}

    impl Embedded {
        pub(in crate::command) async fn start(_: &Context, _: Chosen, _: PathBuf) -> Outcome<Self> {
            Err(Problem::usage("this build has no devnet")
                .hint("name what to follow with --source, or build with the feature devnet"))
        }

        pub(in crate::command) fn target(&self) -> Outcome<registry::Target> {
            match *self {}
        }

        pub(in crate::command) async fn ended(&self) -> Problem {
            match *self {}
        }

        pub(in crate::command) async fn stop(self) {
            match self {}
        }
    }
}

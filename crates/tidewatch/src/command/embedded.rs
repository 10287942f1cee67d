//! The embedded network, where this build has one (feature `devnet`).

#[cfg(feature = "devnet")]
pub(super) use with::Embedded;
#[cfg(not(feature = "devnet"))]
pub(super) use without::Embedded;

#[cfg(feature = "devnet")]
mod with {
    use crate::{Outcome, command::Problem};
    use commonware_runtime::{Supervisor as _, tokio::Context};
    use std::{path::PathBuf, time::Duration};
    use tidewatch_core::Height;
    use tidewatch_devnet::{Config, Devnet};
    use tidewatch_sources::{alto::CertificateMode, registry};

    /// How long its first block may take.
    const FIRST_BLOCK: Duration = Duration::from_secs(30);

    /// A real chain inside of this process.
    pub(in crate::command) struct Embedded(Devnet);

    impl Embedded {
        /// Starts the network, which keeps its data in `directory`.
        pub(in crate::command) async fn start(
            context: &Context,
            mode: CertificateMode,
            directory: PathBuf,
        ) -> Outcome<Self> {
            let config = Config { directory: Some(directory), mode, ..Config::default() };
            let failed = |error| Problem::failure(format!("the devnet did not start: {error}"));
            let devnet = Devnet::start(context.child("devnet"), config).await.map_err(failed)?;
            // Before the first certificate its indexer has nothing that could be followed.
            devnet.reach(Height::new(1), FIRST_BLOCK).await.map_err(failed)?;
            Ok(Self(devnet))
        }

        /// The network as any other alto network.
        pub(in crate::command) fn target(&self) -> Outcome<registry::Target> {
            let address = format!("alto+{}?mode={}", self.0.url(), self.0.mode().as_str());
            registry::parse(&[&address], Some(&self.0.identity()))
                .map_err(|refused| Problem::failure(format!("the devnet: {refused}")))
        }

        /// Resolves if the network ends although nobody stopped it.
        pub(in crate::command) async fn ended(&self) -> Problem {
            Problem::failure(format!("the devnet ended: {}", self.0.ended().await))
        }

        pub(in crate::command) async fn stop(self) {
            self.0.stop().await;
        }
    }
}

#[cfg(not(feature = "devnet"))]
mod without {
    use crate::{Outcome, command::Problem};
    use commonware_runtime::tokio::Context;
    use std::path::PathBuf;
    use tidewatch_sources::{alto::CertificateMode, registry};

    /// No network: it cannot be started.
    pub(in crate::command) enum Embedded {}

    impl Embedded {
        pub(in crate::command) async fn start(
            _: &Context,
            _: CertificateMode,
            _: PathBuf,
        ) -> Outcome<Self> {
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

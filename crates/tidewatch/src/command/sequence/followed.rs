//! The chain that comes out, as every other one is served: a follower in this process, and a server over its store.

use crate::{
    Outcome,
    command::{Problem, data_dir::DataDir, follow, serve::Serving},
};
use commonware_runtime::{Supervisor as _, tokio::Context};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{
    AnyBlock, AnySource, BlockDecoder, BlockRef, ChainId, ChainInfo, FaultKind, Height,
    Source as _, watch::Receiver,
};
use tidewatch_node::{Follower, Member};
use tidewatch_sequencer::{
    Block, Sequenced,
    coordinator::Status,
    disk::{Chain, Genesis, Published},
};
use tidewatch_store::{Config as StoreConfig, Reader, Store};
use tidewatch_stream::driver;

/// A follower of the chain of this process, which is served.
pub(super) struct Followed(Option<Follower<Context, Reader<Context, AnyBlock>>>);

impl Followed {
    /// Nothing: the chain is not served.
    pub(super) const NOT: Self = Self(None);

    /// Follows the chain of `applier`, and serves it.
    pub(super) async fn start(
        context: &Context,
        (applier, publisher): (Arc<Chain<Context>>, Arc<Published<Context>>),
        status: Receiver<Status>,
        serving: Serving,
        data: &DataDir,
    ) -> Outcome<Self> {
        data.has_descriptors()?;
        let ended = |fault| Problem::ended(fault, data.path());
        let Genesis { chain: id, digest, .. } = applier.genesis().clone();
        let genesis = BlockRef::new(Height::zero(), digest);
        let info = ChainInfo { id, genesis };
        let name = name(&info.id);
        let source = Sequenced::new(info.clone(), applier, publisher, status);
        let ladder = source.ladder();
        let config = StoreConfig::new(info, BlockDecoder::new::<Block>(()));
        let kept = Store::open::<_, AnyBlock>(context.child("store"), config).await;
        let (view, store) = kept.map_err(|fault| match fault.kind {
            FaultKind::WrongChain => {
                Problem::from(fault).hint("name another directory with --data-dir")
            }
            _ => ended(fault),
        })?;
        let monitor = Arc::new(serving.observer.clone());
        let kept = (view, store.clone());
        let source = AnySource::new(Arc::new(source));
        let follower = follow::start(context, source, kept, (monitor, driver::Config::default()));
        let server = serving.start(context, store, follower.heads(), ladder, name).await;
        if let Some(server) = server.map_err(ended)? {
            follower.supervise(Member::optional(server));
        }
        Ok(Self(Some(follower)))
    }

    /// Resolves if it ends although nobody stopped it.
    pub(super) async fn ended(&self, data: &DataDir) -> Problem {
        match &self.0 {
            Some(follower) => {
                follow::problem(follower.ended().await, "name another --data-dir", data)
            }
            None => std::future::pending().await,
        }
    }

    /// Stops it: what it was writing is complete, and its clients have heard that it ends.
    pub(super) async fn stop(self, limit: Duration) -> Outcome<()> {
        let Some(follower) = self.0 else { return Ok(()) };
        let stopped = follower.stop(limit).await;
        stopped.map(drop).map_err(|error| Problem::failure(error.to_string()))
    }
}

/// What the source is called by those who follow in turn.
fn name(chain: &ChainId) -> String {
    format!("a sequencer ({chain})")
}

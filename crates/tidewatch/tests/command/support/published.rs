//! What followers published to NATS, as a reader has it.

use commonware_runtime::{Clock as _, Supervisor as _, tokio};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{ChainId, Tier, within};
use tidewatch_nats::{
    Cluster as _, Marked, Tail,
    client::{JetStream, Options},
    service::Config,
    tail::{self, From, Given, Taken},
};

/// How long a block may take.
const END: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(50);

/// What a reader has of a stream.
pub(crate) struct Read {
    pub(crate) cluster: JetStream,
    tail: Tail<tokio::Context, JetStream>,
    pub(crate) given: Vec<Taken>,
}

impl Read {
    pub(crate) async fn open(context: &tokio::Context, nats: &str, chain: ChainId) -> Self {
        Self::open_copies(context, nats, chain, None).await
    }

    /// Of a stream that has so many copies, whoever comes first makes it.
    pub(crate) async fn open_copies(
        context: &tokio::Context,
        nats: &str,
        chain: ChainId,
        replicas: Option<u32>,
    ) -> Self {
        let options = Options::read(&[nats.to_owned()], None).unwrap();
        let config = Config { options, chain: chain.clone(), replicas };
        let opens = async {
            loop {
                match config.open(context).await {
                    Ok(cluster) => return cluster,
                    Err(fault) if fault.severity().is_fatal() => panic!("{fault}"),
                    Err(_) => context.sleep(TICK).await,
                }
            }
        };
        let cluster = within(context, END, opens).await.expect("the cluster is ready");
        let (context, config) = (context.child("tail"), tail::Config::new(chain));
        let tail = Tail::new(context, cluster.clone(), Arc::new(()), config, From::Oldest);
        Self { cluster, tail, given: Vec::new() }
    }

    pub(crate) fn finalized(&self) -> Option<u64> {
        let position = &self.given.last()?.place.cursor;
        position.block(Tier::Finalized).map(|block| block.height.get())
    }

    /// Reads until `height` is final, or one above it.
    pub(crate) async fn until(&mut self, context: &tokio::Context, height: u64) {
        let reads = async {
            while self.finalized() < Some(height) {
                self.given.push(self.tail.next().await.unwrap());
            }
        };
        assert!(within(context, END, reads).await.is_some(), "{height} was not published");
    }

    /// Whether each event came once and in order, after a start.
    pub(crate) fn is_whole(&self) -> bool {
        let event = |taken: &Taken| matches!(taken.given, Given::Event { .. });
        let first = self.given.split_first();
        first.is_some_and(|(first, rest)| first.given == Given::Restart && rest.iter().all(event))
    }

    /// The tokens of the leaders so far.
    pub(crate) async fn tokens(&self) -> Vec<u64> {
        let last = self.given.last().map_or(0, |last| last.place.sequence);
        let mut tokens = Vec::new();
        for sequence in 1..=last {
            let message = self.cluster.message(sequence).await.unwrap().unwrap();
            let marked = Marked::read(&message).unwrap();
            tokens.extend(marked.leads.then_some(marked.leader.token));
        }
        tokens
    }
}

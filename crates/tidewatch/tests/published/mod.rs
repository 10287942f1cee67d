//! What followers published to NATS, as a reader has it.

use commonware_runtime::{Clock as _, tokio};
use std::time::Duration;
use tidewatch_core::{ChainId, Tier, within};
use tidewatch_nats::{
    Cluster as _, Marked,
    client::{JetStream, Options},
    reader::{Reader, Step},
    service::Config,
};

/// How long a block may take.
const END: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(50);

/// What a reader has of a stream.
pub(crate) struct Read {
    pub(crate) cluster: JetStream,
    reader: Reader,
    pub(crate) steps: Vec<Step>,
    pub(crate) tokens: Vec<u64>,
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
        let config = Config { options, chain, replicas };
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
        Self { cluster, reader: Reader::default(), steps: Vec::new(), tokens: Vec::new() }
    }

    pub(crate) fn finalized(&self) -> Option<u64> {
        let position = self.reader.position()?;
        position.block(Tier::Finalized).map(|block| block.height.get())
    }

    /// Reads until `height` is final, or one above it.
    pub(crate) async fn until(&mut self, context: &tokio::Context, height: u64) {
        let reads = async {
            while self.finalized() < Some(height) {
                let next = self.steps.len() as u64 + 1;
                match within(context, 40 * TICK, self.cluster.message(next)).await {
                    Some(Ok(Some(message))) => {
                        let marked = Marked::read(&message).unwrap();
                        if marked.leads {
                            self.tokens.push(marked.leader.token);
                        }
                        let resets = message.subject.ends_with(".reset");
                        self.steps.push(self.reader.take(&marked, resets));
                    }
                    _ => context.sleep(TICK).await,
                }
            }
        };
        assert!(within(context, END, reads).await.is_some(), "{height} was not published");
    }
}

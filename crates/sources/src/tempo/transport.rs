//! One node of Tempo, as a transport of certificates and headers.

use super::{
    Network,
    wire::{By, Query, Sent, framed, handshake, joined, numbered},
};
use crate::{
    error::fault,
    rpc::{Call, Config, Rpc, Upstreams, Work},
    tempo::TempoError,
};
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_runtime::{Clock, Metrics};
use commonware_utils::sync::Mutex;
use futures::FutureExt as _;
use std::{fmt, num::NonZeroU64, sync::Arc};
use tidewatch_certified::{Feed, Key, Push, Transport};
use tidewatch_core::{Block as _, ChainInfo, Doorbell, Fault, Height, Monitor};

/// Headers in one answer at the most: a few batches, so that a range goes on before it is whole.
const RANGE_MAX: u64 = 400;

/// How far from the height that a range should end with certificates are tried, one after another. Where views were skipped,
/// a block is final by the next one's certificate and has none of its own; that is seldom, and hardly ever twice in a row.
/// A node that lacks many more is tried ever further below.
const NEAR: [u64; 4] = [1, 2, 3, 4];

/// Events that wait and are answered by one question.
const RINGS_MAX: usize = 1_024;

/// A node of Tempo.
pub struct TempoTransport<E: Clock, R>(Arc<Inner<E, R>>);

struct Inner<E: Clock, R> {
    upstreams: Upstreams<E, R>,
    epoch_length: NonZeroU64,
    /// Whether the node pushes.
    pushes: bool,
    /// The height of the newest finalization that was sent.
    latest: Mutex<Option<Height>>,
}

impl<E: Clock, R> Clone for TempoTransport<E, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: Clock, R> fmt::Debug for TempoTransport<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TempoTransport").field(&self.0.upstreams).finish()
    }
}

impl<E: Clock + Metrics, R: Rpc> TempoTransport<E, R> {
    /// The node `rpc` of `network`, which `pushes` or does not.
    ///
    /// # Errors
    ///
    /// None today: one node is enough.
    pub(super) fn new(
        context: E,
        rpc: R,
        pushes: bool,
        network: &Network,
        monitor: Arc<dyn Monitor>,
        config: &Config,
    ) -> Result<Self, Fault> {
        let chain_info =
            ChainInfo { id: numbered(network.chain()), genesis: network.genesis().reference() };
        let upstreams = Upstreams::new(context, vec![rpc], handshake(), monitor, config)?;
        Ok(Self(Arc::new(Inner {
            upstreams: upstreams.of(chain_info),
            epoch_length: network.epoch_length(),
            pushes,
            latest: Mutex::default(),
        })))
    }
}

impl<E: Clock, R: Rpc> TempoTransport<E, R> {
    /// What was asked of the node and refused of it so far.
    pub fn work(&self) -> Work {
        self.0.upstreams.work()
    }

    /// Asks the node which chain it is of.
    ///
    /// # Errors
    ///
    /// It does not answer, or is of another chain.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any await and called again.
    pub async fn probe(&self) -> Result<(), Fault> {
        self.0.upstreams.greet_again().await
    }

    async fn ask(&self, call: Call) -> Result<crate::rpc::Answer, Fault> {
        let answers = self.0.upstreams.ask(&[call]).await?;
        let none = || fault(self.name(), crate::rpc::NodeError::ShortAnswers { got: 0, want: 1 });
        answers.into_iter().next().ok_or_else(none)
    }

    fn refuse(&self, fault: Fault) -> Fault {
        self.0.upstreams.refuse(fault)
    }

    async fn finalization(&self, query: Query) -> Result<Option<Bytes>, Fault> {
        let answer = self.ask(query.call()).await?;
        let sent = query.read(self.name(), &answer).map_err(|fault| self.refuse(fault))?;
        let (height, certified) = match sent {
            None => return Ok(None),
            Some(Sent::Whole { height, certified }) => (height, certified),
            Some(Sent::Certificate { digest, certificate }) => {
                let by = By::Digest(digest);
                let answer = self.ask(by.call()).await?;
                let block = by.read(self.name(), &answer).map_err(|fault| self.refuse(fault))?;
                let Some(block) = block else { return Ok(None) };
                (block.reference().height, joined(&certificate, &block))
            }
        };
        if query == Query::Latest && self.0.latest.lock().replace(height) != Some(height) {
            self.0.upstreams.moved();
        }
        Ok(Some(certified))
    }

    /// The certificate of `to` or of one below it, of the end of an epoch, or of one of the few above: what a range can end
    /// with.
    async fn certificate(&self, from: Height, to: Height) -> Result<Option<Bytes>, Fault> {
        for height in candidates(from, to, self.0.epoch_length) {
            if let Some(certified) = self.finalization(Query::Height(height)).await? {
                return Ok(Some(certified));
            }
        }
        Ok(None)
    }

    async fn block(&self, by: By) -> Result<Option<Bytes>, Fault> {
        let answer = self.ask(by.call()).await?;
        let block = by.read(self.name(), &answer).map_err(|fault| self.refuse(fault))?;
        Ok(block.map(|block| block.encode()))
    }

    /// Headers from `from` up to `to`, or to a lower height; `None` if there are none.
    async fn blocks(&self, from: Height, to: Height) -> Result<Option<Bytes>, Fault> {
        let Some(count) = to.get().checked_sub(from.get()) else { return Ok(None) };
        let most = u64::try_from(self.0.upstreams.question_max()).unwrap_or(u64::MAX);
        let count = count.saturating_add(1).min(RANGE_MAX).min(most.max(1));
        let by: Vec<_> = (from.get()..from.get().saturating_add(count))
            .map(|height| By::Height(Height::new(height)))
            .collect();
        let calls: Vec<_> = by.iter().map(|by| by.call()).collect();
        let answers = self.0.upstreams.ask(&calls).await?;
        let mut blocks = Vec::with_capacity(by.len());
        for (by, answer) in by.iter().zip(&answers) {
            match by.read(self.name(), answer) {
                Ok(Some(block)) => blocks.push(block),
                Ok(None) => break,
                // What is below it is of use.
                Err(fault) if !blocks.is_empty() => {
                    self.0.upstreams.absorb(fault);
                    break;
                }
                Err(fault) => return Err(self.refuse(fault)),
            }
        }
        Ok((!blocks.is_empty()).then(|| framed(&blocks)))
    }
}

/// Heights whose certificates a range of `from..=to` can end with, in the order in which they are tried.
pub(super) fn candidates(from: Height, to: Height, epoch_length: NonZeroU64) -> Vec<Height> {
    let (from, to) = (from.get(), to.get());
    let length = epoch_length.get();
    // The last block of an epoch always has a certificate: the next epoch begins with it.
    let below = (to.saturating_add(1) / length * length).checked_sub(1);
    let above = (to.saturating_add(1) / length).saturating_add(1).saturating_mul(length);
    let near = NEAR.iter().filter_map(|less| to.checked_sub(*less));
    let further = (3..u64::BITS).map_while(|power| to.checked_sub(1 << power));
    let within = std::iter::once(to).chain(near).chain(below).chain(further);
    let within = within.filter(|height| *height >= from);
    let beyond = NEAR.iter().map(|more| to.saturating_add(*more));
    let mut heights: Vec<u64> = Vec::new();
    for height in within.chain(beyond).chain([above.saturating_sub(1)]) {
        if !heights.contains(&height) {
            heights.push(height);
        }
    }
    heights.into_iter().map(Height::new).collect()
}

impl<E: Clock, R: Rpc> Transport for TempoTransport<E, R> {
    type Feed = TempoFeed<E, R>;

    fn name(&self) -> &str {
        self.0.upstreams.name()
    }

    async fn fetch(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        match key {
            Key::LatestFinalization => self.finalization(Query::Latest).await,
            // Nodes tell of nothing that is not final.
            Key::LatestNotarization => Ok(None),
            Key::Height(height) => self.finalization(Query::Height(height)).await,
            Key::Digest(digest) => self.block(By::Digest(digest)).await,
            Key::Certificate { from, to } => self.certificate(from, to).await,
            Key::Blocks { tip, from } => self.blocks(from, tip.height).await,
        }
    }

    /// Resolves once the node took the subscription.
    async fn listen(&self) -> Result<TempoFeed<E, R>, Fault> {
        if !self.0.pushes {
            return Err(fault(self.name(), TempoError::NoPush));
        }
        let mut bell = self.0.upstreams.doorbell();
        bell.rung().await;
        Ok(TempoFeed { transport: self.clone(), bell })
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        self.0.upstreams.judged(verdict);
    }
}

/// A subscription to what is finalized. An event is a ring, and what is finalized is asked for: events are lost in silence
/// where a subscriber is slow.
pub struct TempoFeed<E: Clock, R> {
    transport: TempoTransport<E, R>,
    bell: Doorbell,
}

impl<E: Clock, R> fmt::Debug for TempoFeed<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TempoFeed").finish_non_exhaustive()
    }
}

impl<E: Clock, R: Rpc> Feed for TempoFeed<E, R> {
    async fn next(&mut self) -> Result<Push, Fault> {
        self.bell.rung().await;
        // Of several that wait one is as good as many.
        for _ in 0..RINGS_MAX {
            if self.bell.rung().now_or_never().is_none() {
                break;
            }
        }
        let newest = self.transport.finalization(Query::Latest).await?;
        Ok(newest.map_or(Push::Irrelevant, Push::Finalization))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_utils::NZU64;

    #[test]
    fn a_range_ends_where_a_certificate_is_likely_and_never_below_its_start() {
        let heights = |from, to| {
            let heights = candidates(Height::new(from), Height::new(to), NZU64!(100));
            heights.into_iter().map(Height::get).collect::<Vec<_>>()
        };
        // Within an epoch whose last block is 99; at that; above it; at the start of everything.
        let table = [
            (41, 50, vec![50, 49, 48, 47, 46, 42, 51, 52, 53, 54, 99]),
            (97, 99, vec![99, 98, 97, 100, 101, 102, 103, 199]),
            (90, 120, vec![120, 119, 118, 117, 116, 99, 112, 104, 121, 122, 123, 124, 199]),
            (1, 2, vec![2, 1, 3, 4, 5, 6, 99]),
            (7, 7, vec![7, 8, 9, 10, 11, 99]),
        ];
        for (from, to, want) in table {
            assert_eq!(heights(from, to), want, "{from} to {to}");
        }
        assert!(heights(1, u64::MAX).len() < 128, "no overflow, and a bound");
    }
}

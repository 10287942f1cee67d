//! Questions, as the checks put them.

use super::{name, probe::Probe};
use crate::{SPAN, report::Flaw};
use commonware_runtime::Clock;
use std::{future::Future, time::Duration};
use tidewatch_core::{
    BlockRef, ChainInfo, Digest, Fault, Height, Severity, Snapshot, Source, Tier, TipSet,
};

/// How often something is looked at on a chain that moves by itself, until it stands still for long
/// enough.
const LOOKS_MAX: usize = 16;

/// How often a question is put again that a fault of the moment answered.
const TRIES_MAX: usize = 5;

/// Between tries and looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Puts questions to one source.
pub(super) struct Exam<'a, E, S> {
    pub(super) source: &'a Probe<E, S>,
    /// Whether the chain stands still.
    pub(super) still: bool,
}

pub(super) type Look<T = ()> = Result<T, Flaw>;

fn flaw(fault: &Fault) -> Flaw {
    Flaw::broken(format_args!("it answered with a fault: {fault}"))
}

impl<E: Clock, S: Source> Exam<'_, E, S> {
    /// Asks until there is an answer, or a fault that does not pass.
    async fn ask<T, F>(&self, call: impl Fn() -> F) -> Look<T>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            match call().await {
                Ok(answer) => return Ok(answer),
                Err(_) if self.source.late().is_some() => return Err(Flaw::see(name::ENDS)),
                Err(fault) => match fault.severity() {
                    Severity::Transient | Severity::Behind if tries < TRIES_MAX => {
                        self.pause().await;
                    }
                    _ => return Err(flaw(&fault)),
                },
            }
        }
    }

    pub(super) async fn pause(&self) {
        self.source.clock().sleep(PAUSE).await;
    }

    pub(super) async fn chain_info(&self) -> Look<ChainInfo> {
        self.ask(|| self.source.chain_info()).await
    }

    pub(super) async fn snapshot(&self) -> Look<Snapshot> {
        self.ask(|| self.source.snapshot()).await
    }

    pub(super) async fn digests(
        &self,
        tip: BlockRef,
        heights: &[u64],
    ) -> Look<Vec<Option<Digest>>> {
        let heights: Vec<_> = heights.iter().copied().map(Height::new).collect();
        let digests = self.ask(|| self.source.digests(tip, &heights)).await?;
        if digests.len() == heights.len() {
            return Ok(digests);
        }
        let (got, want) = (digests.len(), heights.len());
        Err(Flaw::broken(format_args!("{got} digests for {want} heights")))
    }

    /// The digests at many heights, as many at once as may be.
    pub(super) async fn digests_of(
        &self,
        tip: BlockRef,
        heights: &[u64],
    ) -> Look<Vec<Option<Digest>>> {
        let mut digests = Vec::new();
        for part in heights.chunks(self.source.limits().digests_max.get()) {
            digests.extend(self.digests(tip, part).await?);
        }
        Ok(digests)
    }

    pub(super) async fn blocks(&self, tip: BlockRef, from: u64) -> Look<Vec<S::Block>> {
        self.ask(|| self.source.blocks(tip, Height::new(from))).await
    }

    /// Looks at the chain between two snapshots that are the same. What holds holds in any case; what
    /// does not counts only if the chain stood still meanwhile.
    pub(super) async fn steady<T>(&self, look: impl AsyncFn(&Snapshot) -> Look<T>) -> Look<T> {
        for _ in 0..LOOKS_MAX {
            let before = self.snapshot().await?;
            let seen = look(&before).await;
            let Err(Flaw::Broken(_)) = &seen else { return seen };
            let after = self.snapshot().await?;
            if before.tips.same_blocks(&after.tips) {
                return seen;
            }
            self.pause().await;
        }
        Err(Flaw::not_shown(format_args!("the chain moved in each of {LOOKS_MAX} looks")))
    }
}

/// The proposed tip of a chain that has blocks besides genesis.
pub(super) fn tip(snapshot: &Snapshot) -> Look<BlockRef> {
    match snapshot.tips.block(Tier::Proposed) {
        None => Err(Flaw::not_shown("the source knows no proposed tip")),
        Some(tip) if tip.height.get() == 0 => {
            Err(Flaw::not_shown("the chain has no block besides genesis"))
        }
        Some(tip) => Ok(tip),
    }
}

/// The lowest height that a suite asks for under `tip`.
pub(super) fn lowest(tip: BlockRef) -> u64 {
    tip.height.get().saturating_sub(SPAN).max(1)
}

/// A digest in words, or that there is none.
pub(super) fn digest_words(digest: Option<Digest>) -> String {
    digest.map_or("no block".into(), |digest| digest.to_string())
}

/// All tiers that are known, in words.
pub(super) fn tips_words(tips: &TipSet) -> String {
    let tiers = Tier::ALL.into_iter().filter_map(|tier| Some((tier, tips.block(tier)?)));
    let words: Vec<_> = tiers.map(|(tier, block)| format!("{tier} {block}")).collect();
    if words.is_empty() { "no tier".into() } else { words.join(", ") }
}

//! The walk to an epoch that is not known: which boundary is needed next. A pure decision.

use super::table::Table;
use commonware_consensus::types::Epoch;

/// What a walk needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: the scheme of the epoch is known now, exactly or by the group's key. If the certificate that
    /// is waited for does not verify, say so to [`Walk::tried`].
    Check,
    /// The boundary that ends this epoch. If it does not verify, say so to [`Walk::refused`].
    Boundary(Epoch),
}

/// A walk to one epoch. See the [module](super) for how it goes.
#[derive(Clone, Debug)]
pub struct Walk {
    target: Epoch,
    /// The newest epoch at or below the target that was known at the last step.
    newest: Option<Epoch>,
    /// How far beyond the newest known epoch the next boundary is.
    stride: u64,
    /// The lowest epoch whose certificate did not verify under the present key.
    beyond: Option<Epoch>,
    /// The epoch from which on the certificate that is waited for may be tried again.
    retry: Epoch,
    /// Epochs until the try after that one.
    patience: u64,
}

impl Walk {
    /// A walk to `target`.
    pub(super) const fn new(target: Epoch) -> Self {
        Self { target, newest: None, stride: 1, beyond: None, retry: Epoch::zero(), patience: 1 }
    }

    /// The epoch that it leads to.
    pub const fn target(&self) -> Epoch {
        self.target
    }

    /// The certificate that is waited for did not verify under the key of the newest known epoch. Whether
    /// the key was changed on the way, or the certificate is worth nothing, the boundaries tell.
    pub fn tried(&mut self) {
        let newest = self.newest.unwrap_or_default();
        self.beyond = Some(self.target);
        self.patience = self.patience.saturating_mul(2);
        self.retry = Epoch::new(newest.get().saturating_add(self.patience));
        self.halve();
    }

    /// The boundary of `epoch` did not verify under the key of the newest known epoch. Whether that boundary
    /// is worth nothing, those below it tell.
    pub fn refused(&mut self, epoch: Epoch) {
        self.beyond = Some(epoch);
        self.halve();
    }

    fn halve(&mut self) {
        let newest = self.newest.unwrap_or_default();
        let between = self.beyond.map_or(1, |beyond| beyond.get().saturating_sub(newest.get()));
        self.stride = (between / 2).max(1);
    }

    /// What is needed next; `None` if nothing below the target is known.
    pub(super) fn step<S>(&mut self, table: &Table<S>) -> Option<Step> {
        let (newest, _) = table.newest(self.target)?;
        if newest == self.target {
            return Some(Step::Check);
        }
        if let Some(before) = self.newest.replace(newest)
            && before != newest
        {
            if table.same_key(before, newest) {
                match self.beyond {
                    None => self.stride = self.stride.saturating_mul(2),
                    Some(_) => self.halve(),
                }
            } else {
                (self.stride, self.beyond) = (1, None);
            }
        }
        // Without one boundary that kept the key, nothing says that a certificate shows it still.
        let kept = table.candidate(self.target).is_some();
        if kept && newest >= self.retry && self.beyond.is_none() {
            return Some(Step::Check);
        }
        let stride = if kept { self.stride } else { 1 };
        let limit = self.beyond.unwrap_or(self.target).min(self.target);
        let furthest = limit.get().saturating_sub(1).max(newest.get());
        Some(Step::Boundary(Epoch::new((newest.get() + stride - 1).min(furthest))))
    }
}

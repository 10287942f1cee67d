//! A range of blocks that is proven in pieces.

use crate::Class;
use std::{collections::BTreeMap, num::NonZeroU32};

/// Consecutive heights, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The first height.
    pub first: u64,
    /// The last height.
    pub last: u64,
}

impl Range {
    /// Two ranges that are this one; `None` if it is one block.
    const fn halves(self) -> Option<(Self, Self)> {
        if self.first >= self.last {
            return None;
        }
        let middle = self.first + (self.last - self.first) / 2;
        let low = Self { first: self.first, last: middle };
        Some((low, Self { first: middle + 1, last: self.last }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// With its logical failures so far.
    Open(u32),
    Proved,
    Poisoned,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// The piece is attempted again.
    Again,
    /// It failed too often, and is two pieces from now on.
    Split(Range, Range),
    /// It is one block that failed too often: the range cannot be proven.
    Poisoned,
    /// There is no such piece that is open.
    Stale,
}

/// A range in pieces that cover it exactly: no two overlap, and none is missing.
///
/// A piece that fails too often is split in two halves, once; one block that does is poisoned. Failures that say
/// nothing about the blocks do not count. The range is proven once all of its pieces are, whatever those are.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// By first height.
    pieces: BTreeMap<u64, (Range, State)>,
    logical_max: NonZeroU32,
}

impl Pieces {
    /// `whole` where proofs of `found` are there already. What lies in between is one piece each. Of ranges that
    /// overlap the first is taken, of those that begin together the longest; what is not within `whole` is left out.
    pub fn new(
        whole: Range,
        found: impl IntoIterator<Item = Range>,
        logical_max: NonZeroU32,
    ) -> Self {
        let mut found: Vec<Range> = found.into_iter().collect();
        found.sort_by_key(|range| (range.first, std::cmp::Reverse(range.last)));
        let (mut pieces, mut next) = (BTreeMap::new(), whole.first);
        let mut add = |range: Range, state| {
            if range.first <= range.last {
                pieces.insert(range.first, (range, state));
            }
        };
        for range in found {
            if range.first < next || range.last > whole.last || range.first > range.last {
                continue;
            }
            // Neither end is in the gap: the piece before it ends one block below.
            if next < range.first {
                add(Range { first: next, last: range.first - 1 }, State::Open(0));
            }
            add(range, State::Proved);
            next = range.last.saturating_add(1);
        }
        if next <= whole.last {
            add(Range { first: next, last: whole.last }, State::Open(0));
        }
        Self { pieces, logical_max }
    }

    fn state(&mut self, range: Range) -> Option<&mut State> {
        let (ours, state) = self.pieces.get_mut(&range.first)?;
        (*ours == range).then_some(state)
    }

    /// A proof of `range` is there. `false` if it is no piece, or was proven before: it proves nothing that is
    /// missing.
    pub fn proved(&mut self, range: Range) -> bool {
        match self.state(range) {
            Some(state @ (State::Open(_) | State::Poisoned)) => {
                *state = State::Proved;
                true
            }
            Some(State::Proved) | None => false,
        }
    }

    /// The proof of `range` is not there any more.
    pub fn lost(&mut self, range: Range) {
        if let Some(state @ State::Proved) = self.state(range) {
            *state = State::Open(0);
        }
    }

    /// An attempt at `range` failed.
    pub fn failed(&mut self, range: Range, class: Class) -> AfterFailure {
        let max = self.logical_max.get();
        let Some(state @ State::Open(_)) = self.state(range) else { return AfterFailure::Stale };
        let State::Open(failures) = state else { return AfterFailure::Stale };
        *failures += u32::from(class == Class::Logical);
        if *failures < max {
            return AfterFailure::Again;
        }
        let Some((low, high)) = range.halves() else {
            *state = State::Poisoned;
            return AfterFailure::Poisoned;
        };
        self.pieces.insert(low.first, (low, State::Open(0)));
        self.pieces.insert(high.first, (high, State::Open(0)));
        AfterFailure::Split(low, high)
    }

    /// Pieces that are to be proven, in rising order.
    pub fn open(&self) -> impl Iterator<Item = Range> {
        let open = |(range, state): &(Range, State)| match state {
            State::Open(_) => Some(*range),
            State::Proved | State::Poisoned => None,
        };
        self.pieces.values().filter_map(open)
    }

    /// The ranges that could be proven as one from what is proven: the longest ones without a gap.
    pub fn spans(&self) -> Vec<Range> {
        let mut spans: Vec<Range> = Vec::new();
        let proved = self.pieces.values().filter(|(_, state)| *state == State::Proved);
        for (range, _) in proved {
            match spans.last_mut() {
                Some(span) if span.last + 1 == range.first => span.last = range.last,
                _ => spans.push(*range),
            }
        }
        spans
    }

    /// Every piece in rising order, once all of them are proven.
    pub fn whole(&self) -> Option<Vec<Range>> {
        let proved = |(_, state): &(Range, State)| *state == State::Proved;
        let all = self.pieces.values().all(proved);
        all.then(|| self.pieces.values().map(|(range, _)| *range).collect())
    }
}

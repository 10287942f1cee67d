//! Whether a transaction may be accepted now: a decision over rounds, without a clock, a pool or a network.
//!
//! # Why not every round will do
//!
//! An order is fixed as of a round F, and what is sealed to a round from F to F + [`AHEAD_MAX`] counts. Nobody knows F
//! when a transaction is accepted. What is known:
//!
//! ```text
//!  newest certified   in hand                      the next           the one after it
//!  C                  waits for its last round L   fixed above L      fixed above the next one's last round
//! ```
//!
//! F is above C, and above the last round of every proposal that is ordered before: the next one is made of what waits,
//! and only when the one in hand is opened and applied. What waits may be more than one proposal takes.
//!
//! # The margin
//!
//! Between the last round of one proposal and the F of the next one lie: its seed is heard of, it is opened at the network
//! and once more at the sequencer, applied, and the next one is made, written and sent. The rounds go on meanwhile. The
//! fixed part of that is [`MARGIN`] rounds, which also covers that C is known late; opening takes as long as there are
//! transactions: a round for each [`OPENED_A_ROUND`]. Where the proposal in hand takes longer than that, nobody can say
//! when the next order is fixed, and nothing is accepted until it is: [`NotInTime::Overdue`].
//!
//! # The reach
//!
//! Whatever is accepted holds up all that is ordered after it until its round is open. So nobody may seal further than
//! [`SPREAD`] above the least round: then the next transactions have a window too, whoever sends what.

use super::AHEAD_MAX;
use crate::TRANSACTIONS_MAX;
use commonware_consensus::types::{Round, ViewDelta};

/// Rounds from the last one that an order waits for until the next order is fixed, without what opening takes.
pub const MARGIN: u64 = 6;
/// Transactions that are opened twice in one round.
pub const OPENED_A_ROUND: usize = 32;
/// Rounds that a sender has between asking for a target and being accepted.
const TRAVEL: u64 = 4;
/// Rounds above the least one that may be sealed to.
pub const SPREAD: u64 = 12;

/// The rounds that a transaction may be sealed to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first.
    pub least: Round,
    /// The last.
    pub greatest: Round,
}

/// Why a transaction is not accepted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInTime {
    /// It is no envelope, and never says anything.
    #[error("it is not a sealed transaction")]
    Malformed,
    /// Its round may be open before its order is fixed.
    #[error(
        "it is sealed to round {}, which may be open before its order is fixed: seal it to a round from {} to {}",
        .round.view(), .window.least.view(), .window.greatest.view()
    )]
    TooEarly {
        /// What it is sealed to.
        round: Round,
        /// What it may be sealed to.
        window: Window,
    },
    /// It would hold up the others.
    #[error(
        "it is sealed to round {}, and would hold up the others: seal it to a round from {} to {}",
        .round.view(), .window.least.view(), .window.greatest.view()
    )]
    TooFar {
        /// What it is sealed to.
        round: Round,
        /// What it may be sealed to.
        window: Window,
    },
    /// So much waits that no round is late enough for its order and near enough for the others.
    #[error("too much waits to be ordered before it: try again")]
    Backlog,
    /// The orders before it are late.
    #[error("what was accepted before is not ordered in its time: try again")]
    Overdue,
    /// No round is known to be certified.
    #[error("no round is certified yet: try again")]
    NoRound,
}

const fn above(round: Round, rounds: u64) -> Round {
    Round::new(round.epoch(), round.view().saturating_add(ViewDelta::new(rounds)))
}

impl Window {
    /// The round to seal a new transaction to: it is still in the window for as many rounds as it is above the least one.
    pub fn target(&self) -> Round {
        above(self.least, TRAVEL).min(self.greatest)
    }

    /// Whether what is sealed to `round` may be accepted.
    ///
    /// # Errors
    ///
    /// [`NotInTime::TooEarly`] or [`NotInTime::TooFar`].
    pub fn admits(self, round: Round) -> Result<(), NotInTime> {
        if round < self.least {
            return Err(NotInTime::TooEarly { round, window: self });
        }
        if round > self.greatest {
            return Err(NotInTime::TooFar { round, window: self });
        }
        Ok(())
    }
}

/// One proposal: the one in hand, or one that will be made of what waits.
#[derive(Clone, Copy, Debug, Default)]
struct Order {
    first: Option<Round>,
    last: Option<Round>,
    bytes: usize,
    transactions: usize,
}

impl Order {
    fn takes(&mut self, bytes: usize, round: Option<Round>) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.transactions += 1;
        self.last = self.last.max(round);
        if let Some(round) = round {
            self.first = Some(self.first.map_or(round, |first| first.min(round)));
        }
    }

    /// Rounds from its last one until the next order is fixed.
    const fn margin(&self) -> u64 {
        MARGIN + self.transactions.div_ceil(OPENED_A_ROUND) as u64
    }
}

/// What is ordered before a new transaction.
///
/// What waits is split as a pool gives it out: in the order in which it was accepted, a new proposal where one is full. A
/// pool that fills a proposal up with smaller ones gives out each of them in this one or in an earlier one.
#[derive(Clone, Debug)]
pub struct Ahead {
    /// Bytes of one proposal, at the most.
    room: usize,
    in_hand: Order,
    waiting: Vec<Order>,
}

impl Ahead {
    /// Nothing, for proposals of `room` bytes at the most.
    pub fn new(room: usize) -> Self {
        Self { room, in_hand: Order::default(), waiting: Vec::new() }
    }

    /// A transaction of so many bytes is in the proposal in hand: sealed to this round, if to any.
    pub fn in_hand(&mut self, bytes: usize, round: Option<Round>) {
        self.in_hand.takes(bytes, round);
    }

    /// A transaction of so many bytes waits, after those that were named before.
    pub fn waits(&mut self, bytes: usize, round: Option<Round>) {
        if !self.waiting.last().is_some_and(|order| self.fits(order, bytes)) {
            self.waiting.push(Order::default());
        }
        if let Some(order) = self.waiting.last_mut() {
            order.takes(bytes, round);
        }
    }

    const fn fits(&self, order: &Order, bytes: usize) -> bool {
        order.bytes.saturating_add(bytes) <= self.room && order.transactions < TRANSACTIONS_MAX
    }

    /// The rounds that a transaction of so many bytes may be sealed to, which comes after all of this, given the
    /// newest round that is `certified`.
    ///
    /// # Errors
    ///
    /// There is none now: [`NotInTime::Backlog`] or [`NotInTime::Overdue`].
    pub fn window(&self, certified: Round, bytes: usize) -> Result<Window, NotInTime> {
        let late = |last: Round| certified > above(last, self.in_hand.margin());
        let open = |first: Round| first <= certified;
        if self.in_hand.last.is_some_and(late)
            || self.waiting.iter().filter_map(|order| order.first).any(open)
        {
            return Err(NotInTime::Overdue);
        }
        let joins = self.waiting.last().is_some_and(|order| self.fits(order, bytes));
        let before = self.waiting.len() - usize::from(joins);
        let before = self.waiting.iter().take(before);
        let orders = || std::iter::once(&self.in_hand).chain(before.clone());
        let last = orders().filter_map(|order| order.last).max();
        let margin = orders().last().map_or(MARGIN, Order::margin);
        let least = above(last.map_or(certified, |last| last.max(certified)), margin);
        // The order is fixed above what is certified: what is not further than that is in time, whenever it is.
        let furthest = above(certified, 1 + AHEAD_MAX);
        if least > furthest {
            return Err(NotInTime::Backlog);
        }
        Ok(Window { least, greatest: above(least, SPREAD).min(furthest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_consensus::types::{Epoch, View};

    const fn round(view: u64) -> Round {
        Round::new(Epoch::zero(), View::new(view))
    }

    fn ahead(in_hand: &[u64], waiting: &[(usize, u64)]) -> Ahead {
        let mut ahead = Ahead::new(100);
        in_hand.iter().for_each(|view| ahead.in_hand(10, Some(round(*view))));
        waiting.iter().for_each(|(bytes, view)| ahead.waits(*bytes, Some(round(*view))));
        ahead
    }

    #[test]
    fn a_transaction_is_sealed_above_the_last_round_of_what_is_ordered_before_it() {
        // One round for opening, where anything is opened.
        let (none, some) = (MARGIN, MARGIN + 1);
        let open = |least: u64| Ok((least, (least + SPREAD).min(101 + AHEAD_MAX)));
        for (what, ahead, bytes, expected) in [
            ("nothing is there", ahead(&[], &[]), 10, open(100 + none)),
            ("one is in hand", ahead(&[105, 103], &[]), 10, open(105 + some)),
            ("one is in hand that is open", ahead(&[98, 97], &[]), 10, open(100 + some)),
            ("it joins what waits", ahead(&[105], &[(40, 118)]), 60, open(105 + some)),
            ("it waits for what waits", ahead(&[105], &[(40, 118)]), 61, open(118 + some)),
            ("likewise, with nothing in hand", ahead(&[], &[(40, 110)]), 61, open(110 + some)),
            (
                "the second one waits for less than the first",
                ahead(&[], &[(80, 110), (80, 107)]),
                50,
                open(110 + some),
            ),
            ("the furthest that it may be", ahead(&[126], &[]), 10, open(126 + some)),
            ("one further", ahead(&[127], &[]), 10, Err(NotInTime::Backlog)),
            ("too much waits", ahead(&[], &[(80, 127), (80, 127)]), 50, Err(NotInTime::Backlog)),
            ("as late as it may be", ahead(&[100 - some], &[]), 10, open(100 + some)),
            ("in hand for too long", ahead(&[99 - some], &[]), 10, Err(NotInTime::Overdue)),
            (
                "what waits is open",
                ahead(&[], &[(10, 120), (10, 100)]),
                10,
                Err(NotInTime::Overdue),
            ),
        ] {
            let window = ahead.window(round(100), bytes);
            let window = window.map(|it| (it.least.view().get(), it.greatest.view().get()));
            assert_eq!(window, expected, "{what}");
        }
    }

    #[test]
    fn what_opening_takes_is_waited_for() {
        let mut many = Ahead::new(usize::MAX);
        for _ in 0..10 * OPENED_A_ROUND {
            many.in_hand(1, Some(round(103)));
        }
        let window = many.window(round(100), 1).unwrap();
        assert_eq!(window.least, round(103 + MARGIN + 10));
        assert!(many.window(round(103 + MARGIN + 10), 1).is_ok(), "it may take so long");
        // A proposal holds so many, and what comes after is of the next one.
        let mut full = Ahead::new(usize::MAX);
        full.in_hand(1, None);
        (0..TRANSACTIONS_MAX).for_each(|_| full.waits(1, None));
        assert_eq!(full.window(round(100), 1), Err(NotInTime::Backlog));
    }

    #[test]
    fn a_round_is_in_the_window_or_is_told_what_the_window_is() {
        let window = Window { least: round(20), greatest: round(30) };
        assert_eq!(window.target(), round(20 + TRAVEL));
        let narrow = Window { least: round(20), greatest: round(21) };
        assert_eq!(narrow.target(), round(21));
        let of = |epoch, view| Round::new(Epoch::new(epoch), View::new(view));
        let early = |round| Err(NotInTime::TooEarly { round, window });
        let far = |round| Err(NotInTime::TooFar { round, window });
        for (round, expected) in [
            (of(0, 19), early(of(0, 19))),
            (of(0, 20), Ok(())),
            (of(0, 30), Ok(())),
            (of(0, 31), far(of(0, 31))),
            (of(1, 25), far(of(1, 25))),
        ] {
            assert_eq!(window.admits(round), expected, "{round:?}");
        }
        let of_an_epoch = Window { least: of(2, 20), greatest: of(2, 30) };
        assert!(matches!(of_an_epoch.admits(of(1, 25)), Err(NotInTime::TooEarly { .. })));
    }

    /// Whoever seals as far as they may: the next one has a window, once that is in hand and what was before is open.
    #[test]
    fn nobody_can_seal_so_far_that_the_others_have_no_window() {
        let mut certified = round(100);
        let mut last = None;
        for _ in 0..50 {
            let mut ahead = Ahead::new(100);
            ahead.in_hand(10, last);
            let window = ahead.window(certified, 10).expect("a window");
            // What was in hand is open and the next one is made, as soon as it can be.
            certified = last.unwrap_or(certified).max(certified);
            last = Some(window.greatest);
        }
    }
}

//! What is kept, and what may be trimmed: limits as settings, and decisions over values.

use commonware_utils::NZU64;
use std::{
    collections::VecDeque,
    num::NonZeroU64,
    time::{Duration, SystemTime},
};
use tidewatch_core::{BlockRef, Height};

/// How much of one kind is kept. Each limit that is set counts; without one, everything is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// As many of the newest.
    pub count: Option<NonZeroU64>,
    /// The newest, while their files have no more bytes together: as encoded, without the frames and
    /// checksums of the file; for a file that was there at the start, its length on disk then.
    pub bytes: Option<NonZeroU64>,
    /// Those that this process stored within this time. What was there when it started counts from the
    /// start, and a file counts from its newest item.
    pub age: Option<Duration>,
}

/// What is kept of each kind.
///
/// At the end of a commit, whole files are removed that are past a limit, so that more may be there than
/// the limits say. Blocks and proofs are never removed at or above the lowest pin or the finalized block:
/// a chain without that tier keeps them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events. By count, exactly as many can be read, whatever is still in the file.
    pub events: Keep,
    /// Blocks. Their digests stay, 32 bytes each: cursors are located by them.
    pub blocks: Keep,
    /// Proofs, of each tier.
    pub proofs: Keep,
    /// Events kept past the limits for a consumer that has a position and has not acknowledged them. By
    /// default none: a consumer that falls behind the limits is given a bridge in their place.
    pub unacknowledged_max: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self::events(NZU64!(65_536))
    }
}

impl Retention {
    /// Keeps `count` events, and every block and proof.
    pub const fn events(count: NonZeroU64) -> Self {
        let all = Keep { count: None, bytes: None, age: None };
        let events = Keep { count: Some(count), ..all };
        Self { events, blocks: all, proofs: all, unacknowledged_max: 0 }
    }
}

impl From<NonZeroU64> for Retention {
    fn from(events: NonZeroU64) -> Self {
        Self::events(events)
    }
}

/// What a store holds now, and what holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    /// Sequence of the oldest event that can be read.
    pub oldest_event: u64,
    /// Height of the oldest block; `None` where no block was delivered.
    pub oldest_block: Option<Height>,
    /// Height of the block that the oldest proof of each tier is of, in the order of
    /// [`Tier::ALL`](tidewatch_core::Tier::ALL).
    pub oldest_proofs: [Option<Height>; 4],
    /// The pins with their names, oldest first.
    pub pins: Vec<(String, BlockRef)>,
    /// The consumer with a position that acknowledged the fewest events.
    pub slowest: Option<Slowest>,
    /// [`Retention::unacknowledged_max`].
    pub unacknowledged_max: u64,
}

/// The consumer that acknowledged the fewest events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slowest {
    /// Its name.
    pub consumer: String,
    /// Events that it acknowledged.
    pub handled: u64,
    /// Events that it did not.
    pub behind: u64,
}

impl Slowest {
    /// The slowest of `consumers` in a log of `end` events, given the events that each acknowledged.
    pub(crate) fn of<'a>(
        consumers: impl IntoIterator<Item = (&'a String, u64)>,
        end: u64,
    ) -> Option<Self> {
        let (consumer, handled) = consumers.into_iter().min_by_key(|(_, handled)| *handled)?;
        Some(Self { consumer: consumer.clone(), handled, behind: end.saturating_sub(handled) })
    }
}

/// What one file of a journal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct File {
    /// Position of its first item.
    first: u64,
    bytes: u64,
    /// When its newest item came.
    seen: SystemTime,
}

/// The files of one journal, oldest first, as far as this process knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    per_file: NonZeroU64,
    files: VecDeque<File>,
    end: u64,
}

impl Files {
    /// Files of `per_file` items, in a journal that holds `start..end`; `bytes` are the lengths of the
    /// files, oldest first, where they are known.
    pub(crate) fn new(
        per_file: NonZeroU64,
        (start, end): (u64, u64),
        bytes: &[u64],
        now: SystemTime,
    ) -> Self {
        let mut files = Self { per_file, files: VecDeque::new(), end: start };
        for nth in 0.. {
            if files.end == end {
                break;
            }
            let first = files.end;
            let next = files.file_after(first).min(end);
            let bytes = bytes.get(nth).copied().unwrap_or_default();
            files.files.push_back(File { first, bytes, seen: now });
            files.end = next;
        }
        files
    }

    /// The first position of the file after the one that `position` is in.
    fn file_after(&self, position: u64) -> u64 {
        (position / self.per_file).saturating_add(1).saturating_mul(self.per_file.get())
    }

    /// An item of `bytes` was appended.
    pub(crate) fn append(&mut self, bytes: u64, now: SystemTime) {
        let starts = self.files.back().is_none_or(|last| self.file_after(last.first) == self.end);
        if starts {
            self.files.push_back(File { first: self.end, bytes: 0, seen: now });
        }
        if let Some(last) = self.files.back_mut() {
            last.bytes = last.bytes.saturating_add(bytes);
            last.seen = now;
        }
        self.end += 1;
    }

    /// Everything from `end` on was dropped. The bytes of a file that was cut stay counted.
    pub(crate) fn cut(&mut self, end: u64) {
        while self.files.pop_back_if(|last| last.first >= end).is_some() {}
        self.end = self.end.min(end);
    }

    /// Everything in files below `start` was trimmed.
    pub(crate) fn trim(&mut self, start: u64) {
        while self.files.front().is_some_and(|file| file.first < start) {
            self.files.pop_front();
        }
    }

    /// The first position that `keep` wants kept: what is in files wholly below it is past the limits.
    pub(crate) fn limit(&self, keep: &Keep, now: SystemTime) -> u64 {
        let counted = keep.count.map_or(0, |count| self.end.saturating_sub(count.get()));
        let weighed = keep.bytes.map_or(0, |most| {
            let mut bytes = 0_u64;
            let kept = self.files.iter().rev().take_while(|file| {
                bytes = bytes.saturating_add(file.bytes);
                bytes <= most.get()
            });
            kept.last().map_or(self.end, |oldest| oldest.first)
        });
        let aged = keep.age.map_or(0, |age| {
            // A clock that was set back makes nothing older.
            let old = |file: &&File| now.duration_since(file.seen).is_ok_and(|is| is > age);
            let young = self.files.iter().find(|file| !old(file));
            young.map_or(self.end, |file| file.first)
        });
        counted.max(weighed).max(aged).min(self.end)
    }
}

/// The first event that stays: `limit` by the limits, or an earlier one for a consumer that acknowledged
/// fewer events, but no more than `unacknowledged_max` of them.
pub(crate) fn events_from(limit: u64, acknowledged: Option<u64>, unacknowledged_max: u64) -> u64 {
    let floor = limit.saturating_sub(unacknowledged_max);
    acknowledged.map_or(limit, |handled| handled.clamp(floor, limit))
}

/// The height that nothing may be trimmed at or above: the finalized block, or a pin below it. Without
/// finality, nothing may be trimmed.
pub(crate) fn held_from(pinned: Option<Height>, finalized: Option<Height>) -> u64 {
    let finalized = finalized.map_or(0, |finalized| finalized.get());
    pinned.map_or(finalized, |pinned| pinned.get().min(finalized))
}

/// The start of the file that `position` is in: all that can be trimmed where `position` has to stay.
pub(crate) fn file_start(position: u64, per_file: NonZeroU64) -> u64 {
    position - position % per_file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    /// 35 items of 10 bytes in files of 10, one a second; the first 5 are gone.
    fn files() -> Files {
        let mut files = Files::new(NZU64!(10), (5, 5), &[], at(0));
        for nth in 5..35 {
            files.append(10, at(nth));
        }
        files
    }

    #[test]
    fn each_limit_keeps_the_newest() {
        let none = Keep::default();
        let count = |count| Keep { count: NonZeroU64::new(count), ..none };
        let bytes = |bytes| Keep { bytes: NonZeroU64::new(bytes), ..none };
        let age = |age| Keep { age: Some(Duration::from_secs(age)), ..none };
        for (keep, now, from) in [
            (none, 1_000, 0),
            (count(1), 34, 34),
            (count(30), 34, 5),
            (count(1_000), 34, 0),
            // Files of 50, 100, 100 and 50 bytes begin at 5, 10, 20 and 30.
            (bytes(300), 34, 5),
            (bytes(299), 34, 10),
            (bytes(249), 34, 20),
            (bytes(149), 34, 30),
            (bytes(49), 34, 35),
            // Their newest items came at 9, 19, 29 and 34.
            (age(25), 34, 5),
            (age(24), 34, 10),
            (age(24), 20, 5),
            (age(14), 34, 20),
            (age(0), 34, 30),
            (age(0), 35, 35),
            (Keep { count: NonZeroU64::new(12), ..bytes(249) }, 34, 23),
        ] {
            assert_eq!(files().limit(&keep, at(now)), from, "{keep:?} at {now}");
        }
    }

    #[test]
    fn files_follow_what_is_appended_cut_and_trimmed() {
        let mut files = files();
        files.cut(22);
        assert_eq!((files.end, files.files.len()), (22, 3));
        files.append(10, at(100));
        assert_eq!(files.files.back().map(|file| (file.first, file.bytes)), Some((20, 110)));
        files.trim(10);
        assert_eq!(files.files.front().map(|file| file.first), Some(10));
        files.cut(10);
        assert!(files.files.is_empty());
        files.append(1, at(101));
        assert_eq!(files.files.front().map(|file| file.first), Some(10));
        let opened = Files::new(NZU64!(10), (5, 35), &[50, 100, 100, 50], at(7));
        let expected: Vec<_> = [(5, 50), (10, 100), (20, 100), (30, 50)].into();
        let found: Vec<_> = opened.files.iter().map(|file| (file.first, file.bytes)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_consumer_holds_events_up_to_a_limit_of_its_own() {
        for (limit, acknowledged, most, from) in [
            (100, None, 50, 100),
            (100, Some(120), 50, 100),
            (100, Some(100), 50, 100),
            (100, Some(80), 50, 80),
            (100, Some(80), 0, 100),
            (100, Some(10), 50, 50),
            (20, Some(0), 50, 0),
        ] {
            assert_eq!(events_from(limit, acknowledged, most), from, "{limit} {acknowledged:?}");
        }
    }

    #[test]
    fn blocks_are_never_trimmed_above_a_pin_or_finality() {
        for (pinned, finalized, from) in [
            (None, None, 0),
            (Some(80), None, 0),
            (None, Some(60), 60),
            (Some(80), Some(200), 80),
            (Some(80), Some(60), 60),
            (Some(0), Some(60), 0),
        ] {
            let (pinned, finalized) = (pinned.map(Height::new), finalized.map(Height::new));
            assert_eq!(held_from(pinned, finalized), from, "{pinned:?} {finalized:?}");
        }
        for (position, start) in [(0, 0), (9, 0), (10, 10), (11, 10), (29, 20)] {
            assert_eq!(file_start(position, NZU64!(10)), start);
        }
    }

    #[test]
    fn the_slowest_consumer_is_the_one_that_acknowledged_least() {
        let (fast, slow) = ("fast".to_owned(), "slow".to_owned());
        let slowest = Slowest::of([(&fast, 90), (&slow, 70)], 100);
        assert_eq!(slowest, Some(Slowest { consumer: slow, handled: 70, behind: 30 }));
        assert_eq!(Slowest::of([], 100), None);
    }
}

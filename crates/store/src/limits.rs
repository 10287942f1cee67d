//! Bounds that both stores keep to.

use crate::Error;
use std::{num::NonZeroUsize, ops::Range};
use tidewatch_core::{ChainInfo, Cursor, Fault, Height, LogError};

/// Records that one read returns at most, whatever was asked for: about 0.7 MiB.
pub(crate) const READ_MAX: u64 = 1024;

/// Consumers that one log keeps positions for.
pub(crate) const CONSUMERS_MAX: usize = 256;

/// Length limit of a consumer's name, in bytes.
pub(crate) const NAME_MAX: usize = 128;

/// The oldest event that can be read where the events `start..end` are in files, and those from `from`
/// on are to stay. If older ones are gone, one is held back: its cursor is where a consumer that fell
/// behind starts again.
pub(crate) fn oldest(start: u64, end: u64, from: u64) -> u64 {
    let kept = if start == 0 { 0 } else { (start + 1).min(end) };
    kept.max(from.min(end))
}

/// The events that a read from `sequence` returns.
pub(crate) fn readable(
    sequence: u64,
    max: NonZeroUsize,
    oldest: u64,
    end: u64,
) -> Result<Range<u64>, LogError> {
    if sequence < oldest {
        return Err(LogError::TooOld { wanted: sequence, oldest });
    }
    let max = u64::try_from(max.get()).unwrap_or(READ_MAX).min(READ_MAX);
    let from = sequence.min(end);
    Ok(from..from.saturating_add(max).min(end))
}

/// Blocks that one range holds at most, whatever was asked for.
const BLOCKS_MAX: u64 = 1024;

/// The heights of the blocks that a range from `from` to `to` holds.
pub(crate) fn range(from: Height, to: Height, max: NonZeroUsize) -> Range<u64> {
    let max = u64::try_from(max.get()).unwrap_or(BLOCKS_MAX).min(BLOCKS_MAX);
    let end = to.get().saturating_add(1).min(from.get().saturating_add(max));
    from.get()..end.max(from.get())
}

/// Whether `consumer` may acknowledge `cursor` in a log of `end` events.
pub(crate) fn acknowledgement(
    chain_info: &ChainInfo,
    consumer: &str,
    cursor: &Cursor,
    end: u64,
) -> Result<(), Fault> {
    if consumer.is_empty() || consumer.len() > NAME_MAX {
        return Err(Fault::new(consumer, Error::ConsumerName { max: NAME_MAX }));
    }
    if !cursor.is_of(&chain_info.id) {
        let chain = chain_info.id.clone();
        return Err(Fault::new(consumer, Error::ForeignCursor { chain }));
    }
    if cursor.handled() > end {
        let handled = cursor.handled();
        return Err(Fault::new(consumer, Error::CursorAhead { handled, end }));
    }
    Ok(())
}

/// Whether there is room for the position of `consumer` beside `count` others.
pub(crate) fn consumers(consumer: &str, known: bool, count: usize) -> Result<(), Fault> {
    if known || count < CONSUMERS_MAX {
        return Ok(());
    }
    Err(Fault::new(consumer, Error::TooManyConsumers { max: CONSUMERS_MAX }))
}

//! One answer with some events, for those who ask again.

use super::{
    Ask,
    ask::PAGE_MAX,
    open::Opened,
    reader::{Reader, Step},
};
use crate::{
    problem::{Code, Problem},
    served::Served,
    shared::Shared,
};
use commonware_macros::select;
use commonware_runtime::Clock;
use futures::FutureExt as _;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use tidewatch_core::json::{Bookmark, Lagged, Resumes, Tips};

/// Bytes that the events of a page have together, but for the last one.
const BYTES_MAX: usize = 1024 * 1024;

/// Some events.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    #[serde(flatten)]
    resume: Resumes,
    /// Events that do not come, before those that do.
    #[serde(skip_serializing_if = "Option::is_none")]
    lagged: Option<Lagged>,
    events: Vec<Box<RawValue>>,
    /// Whether there are more events already.
    more: bool,
    /// The tiers after the last event.
    tips: Tips,
    /// The state of the follower, and the position after the last event.
    #[serde(flatten)]
    stands: Bookmark,
}

/// The events after `opened`. Waits for the first one as long as was asked for.
pub(crate) async fn page<L: Served>(
    context: &impl Clock,
    shared: Arc<Shared<L>>,
    ask: &Ask,
    opened: Opened,
) -> Result<Page, Problem> {
    let mut beats = shared.tail.watch();
    shared.metrics.resumed(opened.how);
    let (resume, until) = (opened.how, context.current() + ask.wait);
    let mut reader = Reader::new(shared.clone(), opened, ask);
    let mut left = ask.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let (mut events, mut bytes, mut lagged) = (Vec::new(), 0, None);
    let more = loop {
        let beat = *beats.borrow_and_update();
        if left == 0 || bytes >= BYTES_MAX {
            break true;
        }
        if reader.is_over() {
            break false;
        }
        match reader.step(beat.end, left, context.current()).await? {
            Step::Events(entries) => {
                left -= entries.len() as u64;
                for entry in entries {
                    let object = entry.frame.object();
                    bytes += object.len();
                    let object = String::from_utf8_lossy(object).into_owned();
                    let object = RawValue::from_string(object);
                    events.push(object.map_err(|error| {
                        Problem::new(Code::Failed, format!("an event is no JSON: {error}"))
                    })?);
                }
            }
            // A second gap in one page begins the next one.
            Step::Lagged(gap) if events.is_empty() && lagged.is_none() => lagged = Some(gap),
            Step::Lagged(_) => break true,
            Step::Reset(refusal) if events.is_empty() => return Err(refusal.problem()),
            Step::Reset(_) => break true,
            Step::Idle if !events.is_empty() || beat.draining => break false,
            Step::Idle => {
                if context.current() >= until {
                    break false;
                }
                let due = context.sleep_until(until).boxed();
                select! {
                    _ = beats.changed() => {},
                    () = due => {},
                }
            }
        }
    };
    let stands = Bookmark::new(&shared.heads.current().status, reader.cursor());
    let tips = (&reader.watermarks().tips).into();
    Ok(Page { resume, lagged, events, more, tips, stands })
}

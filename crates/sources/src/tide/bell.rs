//! The doorbell: a page of events that is waited for, again and again.
//!
//! Nothing of what the events say is believed, or even read: that some came is a ring. While there is no contact the
//! driver polls, and the first answer after that is a ring too.

use super::source::ask;
use crate::alto::HttpTransport;
use commonware_runtime::{Clock as _, tokio::Context};
use futures::stream::unfold;
use serde::{Deserialize, de::IgnoredAny};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidewatch_core::{CURSOR_TEXT_MAX, Doorbell};

const EVENTS: &str = "/v1/events";

/// Seconds that the upstream waits for an event: less than the deadline of a request.
const WAIT: u64 = 3;

/// Between two requests where the first one failed, or came back at once with nothing.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
struct Page {
    events: Vec<IgnoredAny>,
    cursor: String,
}

impl Page {
    /// Whether its position can be asked for again.
    fn is_sound(&self) -> bool {
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        self.cursor.len() <= CURSOR_TEXT_MAX && self.cursor.chars().all(sound)
    }
}

/// Listens for one driver.
pub(super) struct Ear {
    pub(super) transport: Arc<HttpTransport>,
    pub(super) clock: Arc<Context>,
    pub(super) requests: Arc<AtomicU64>,
    /// Up to where it has heard; `None` while it hears nothing.
    pub(super) cursor: Option<String>,
}

impl Ear {
    pub(super) fn doorbell(self) -> Doorbell {
        Doorbell::new(unfold(self, |mut ear| async move {
            ear.ring().await;
            Some(((), ear))
        }))
    }

    async fn ring(&mut self) {
        loop {
            let asked = self.clock.current();
            self.requests.fetch_add(1, Ordering::Relaxed);
            let query = match &self.cursor {
                Some(cursor) => format!("?mode=latest&wait={WAIT}&cursor={cursor}"),
                None => "?mode=latest".into(),
            };
            let page = ask::<Page>(&self.transport, EVENTS, &query).await;
            let Some(page) = page.ok().flatten().filter(Page::is_sound) else {
                self.cursor = None;
                self.clock.sleep(PAUSE).await;
                continue;
            };
            let heard = self.cursor.replace(page.cursor).is_some();
            if !heard || !page.events.is_empty() {
                return;
            }
            let took = self.clock.current().duration_since(asked).unwrap_or_default();
            if took < PAUSE {
                self.clock.sleep(PAUSE).await;
            }
        }
    }
}

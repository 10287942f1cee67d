//! What a request for events asks for: a function of its query and its headers.

use super::select::Select;
use crate::problem::{Code, Problem};
use http::{HeaderMap, header::ACCEPT};
use std::time::Duration;
use tidewatch_core::Height;
use url::form_urlencoded;

/// Events that one page holds at most.
pub(crate) const PAGE_MAX: u64 = 1_000;

/// Longest wait for a page that would be empty.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);

/// In what form events are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Representation {
    /// Server-sent events.
    Sse,
    /// JSON lines.
    Lines,
    /// One JSON object with some events.
    Page,
}

impl Representation {
    /// The first of `Accept` that there is; a page where anything will do.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut accepted = headers.get_all(ACCEPT).iter().peekable();
        if accepted.peek().is_none() {
            return Ok(Self::Page);
        }
        let accepted = accepted.filter_map(|accept| accept.to_str().ok());
        let known = accepted.flat_map(|accept| accept.split(',')).find_map(|media| {
            match media.split(';').next().unwrap_or_default().trim() {
                "text/event-stream" => Some(Self::Sse),
                "application/jsonl" | "application/x-ndjson" | "application/x-jsonlines" => {
                    Some(Self::Lines)
                }
                "application/json" | "application/*" | "*/*" => Some(Self::Page),
                _ => None,
            }
        });
        known.ok_or_else(|| {
            Problem::new(
                Code::NotAcceptable,
                "events come as text/event-stream, application/jsonl or application/json",
            )
        })
    }
}

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// After the newest event.
    Tip,
    /// With the oldest event that is kept.
    Earliest,
    /// After a cursor, as it was sent.
    Cursor(String),
}

/// How much a slow reader is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Each event, in order.
    Every,
    /// Of each tier the newest, and every prune.
    Latest,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) from: From,
    pub(crate) select: Select,
    pub(crate) mode: Mode,
    /// No more events than this.
    pub(crate) limit: Option<u64>,
    /// How long a page waits for its first event.
    pub(crate) wait: Duration,
    /// The stream ends once this height is final.
    pub(crate) until: Option<Height>,
    /// Where no event leads on, the stream begins again by itself.
    pub(crate) restart: bool,
}

impl Ask {
    /// What `query` and `headers` ask for. A browser repeats the query each time that it connects again, so
    /// the position in `Last-Event-ID` counts more than the one there.
    pub(crate) fn parse(query: &str, headers: &HeaderMap) -> Result<Self, Problem> {
        let invalid = |name: &str, wants: &str| {
            Problem::new(Code::InvalidParameter, format!("{name}: {wants}"))
        };
        let (mut from, mut cursor, mut tiers, mut kinds) = (From::Tip, None, None, None);
        let mut ask = Self {
            from: From::Tip,
            select: Select::ALL,
            mode: Mode::Every,
            limit: None,
            wait: Duration::ZERO,
            until: None,
            restart: false,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "cursor" => cursor = Some(value.into_owned()),
                "from" => {
                    from = match &*value {
                        "tip" => From::Tip,
                        "earliest" => From::Earliest,
                        _ => return Err(invalid("from", "tip or earliest")),
                    }
                }
                "tiers" => tiers = Some(value.into_owned()),
                "kinds" => kinds = Some(value.into_owned()),
                "mode" => {
                    ask.mode = match &*value {
                        "every" => Mode::Every,
                        "latest" => Mode::Latest,
                        _ => return Err(invalid("mode", "every or latest")),
                    }
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| *limit > 0);
                    ask.limit = Some(limit.ok_or_else(|| invalid("limit", "a number from 1 on"))?);
                }
                "wait" => {
                    let seconds = value.parse().ok().map(Duration::from_secs);
                    let wait = seconds.filter(|wait| *wait <= WAIT_MAX);
                    ask.wait = wait.ok_or_else(|| invalid("wait", "seconds, 30 at the most"))?;
                }
                "until" => {
                    let height = value.parse().ok().map(Height::new);
                    ask.until = Some(height.ok_or_else(|| invalid("until", "a height"))?);
                }
                "restart" => {
                    ask.restart = match &*value {
                        "1" | "true" => true,
                        "0" | "false" => false,
                        _ => return Err(invalid("restart", "0 or 1")),
                    }
                }
                _ => return Err(invalid(&name, "there is no such parameter")),
            }
        }
        ask.select = Select::parse(tiers.as_deref(), kinds.as_deref())
            .map_err(|unknown| Problem::new(Code::InvalidParameter, unknown.to_string()))?;
        let last = headers.get("last-event-id").map(|id| String::from_utf8_lossy(id.as_bytes()));
        let cursor = last.map(Into::into).filter(|id: &String| !id.is_empty()).or(cursor);
        ask.from = cursor.map_or(from, From::Cursor);
        Ok(ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn accepting(accept: Option<&'static str>) -> HeaderMap {
        accept.into_iter().map(|accept| (ACCEPT, HeaderValue::from_static(accept))).collect()
    }

    #[test]
    fn the_form_is_the_first_accepted_one_that_there_is() {
        let table = [
            (None, Some(Representation::Page)),
            (Some("*/*"), Some(Representation::Page)),
            (Some("text/event-stream"), Some(Representation::Sse)),
            (Some("text/html, application/jsonl;q=0.5"), Some(Representation::Lines)),
            (Some("application/x-ndjson"), Some(Representation::Lines)),
            (Some("application/json, text/event-stream"), Some(Representation::Page)),
            (Some("image/png"), None),
        ];
        for (accept, wanted) in table {
            assert_eq!(Representation::of(&accepting(accept)).ok(), wanted, "{accept:?}");
        }
    }

    #[test]
    fn the_position_in_the_header_counts_more_than_that_in_the_query() {
        let from = |query, last: Option<&'static str>| {
            let headers = last
                .into_iter()
                .map(|last| ("last-event-id".parse().unwrap(), HeaderValue::from_static(last)));
            Ask::parse(query, &headers.collect()).unwrap().from
        };
        let cursor = |text: &str| From::Cursor(text.into());
        assert_eq!(from("", None), From::Tip);
        assert_eq!(from("from=earliest", None), From::Earliest);
        assert_eq!(from("cursor=a&from=earliest", None), cursor("a"));
        assert_eq!(from("cursor=a", Some("b")), cursor("b"));
        assert_eq!(from("cursor=a", Some("")), cursor("a"));
        assert_eq!(from("from=earliest", Some("b")), cursor("b"));
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        let table = [
            ("limit=0", "limit: "),
            ("limit=-1", "limit: "),
            ("wait=31", "wait: "),
            ("until=x", "until: "),
            ("mode=all", "mode: "),
            ("from=genesis", "from: "),
            ("restart=maybe", "restart: "),
            ("tier=finalized", "tier: there is no such"),
            ("tiers=final", "there is no tier"),
            ("kinds=head", "there is no kind"),
        ];
        for (query, words) in table {
            let problem = Ask::parse(query, &HeaderMap::new()).unwrap_err();
            assert_eq!(problem.code, Code::InvalidParameter);
            assert!(problem.detail.starts_with(words), "{query}: {}", problem.detail);
        }
        let ask = Ask::parse("limit=7&wait=30&until=9&mode=latest&restart=1", &HeaderMap::new());
        let ask = ask.unwrap();
        assert_eq!((ask.limit, ask.wait, ask.until), (Some(7), WAIT_MAX, Some(Height::new(9))));
        assert_eq!((ask.mode, ask.restart), (Mode::Latest, true));
    }
}

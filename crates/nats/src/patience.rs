//! How long a cluster is waited for.

use crate::Error;
use commonware_runtime::Clock;
use std::time::Duration;
use tidewatch_core::{Fault, within};

/// How long it may take until a cluster has answered what it is asked at the start.
pub(crate) const OPEN: Duration = Duration::from_secs(10);
/// The first pause before something is asked again; it doubles up to `RETRY_MAX`.
pub(crate) const RETRY: Duration = Duration::from_millis(500);
/// The longest such pause.
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(10);

/// What is asked at the start, in words.
pub(crate) const FIRST: &str = "the first requests";

/// Nobody answered `what` within `limit`.
pub(crate) fn silent(what: &str, limit: Duration) -> Fault {
    let limit = match limit.subsec_millis() {
        0 => format!("{} s", limit.as_secs()),
        _ => format!("{} ms", limit.as_millis()),
    };
    let why = format!("nothing came within {limit}");
    Fault::new("nats", Error::NoAnswer { what: what.into(), why })
}

/// What `asked` answers to `what` within `limit`.
pub(crate) async fn in_time<T>(
    clock: &impl Clock,
    limit: Duration,
    what: &str,
    asked: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    within(clock, limit, asked).await.unwrap_or_else(|| Err(silent(what, limit)))
}

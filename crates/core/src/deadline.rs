//! Deadlines of waits.

use commonware_macros::select;
use commonware_runtime::Clock;
use std::{future::Future, time::Duration};

/// Waits for `future`, at most for `limit`; `None` if it took longer. The output wins where both are due.
///
/// The deadline is a sleep on `clock` and no comparison of times: the wall clock may be set back
/// meanwhile. Unlike [`Clock::timeout`], the future may borrow.
///
/// # Cancel safety
///
/// At the deadline `future` is dropped, as it is when this one is dropped.
pub async fn within<F: Future>(
    clock: &impl Clock,
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    select! {
        output = future => Some(output),
        () = clock.sleep(limit) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Runner as _, deterministic};
    use std::future::pending;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_wait_ends_with_its_output_or_at_its_deadline() {
        deterministic::Runner::timed(10 * SECOND).start(|context| async move {
            let start = context.current();
            let borrowed = String::from("borrowed");
            assert_eq!(within(&context, SECOND, async { borrowed.len() }).await, Some(8));
            assert_eq!(context.current(), start, "at once");
            let later = context.sleep(SECOND / 2);
            assert_eq!(within(&context, SECOND, later).await, Some(()));
            assert_eq!(within(&context, SECOND, pending::<()>()).await, None);
            let waited = context.current().duration_since(start).unwrap();
            assert!((SECOND * 3 / 2..SECOND * 8 / 5).contains(&waited), "{waited:?}");
        });
    }
}

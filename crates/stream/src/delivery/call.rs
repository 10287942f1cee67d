//! One call of a consumer, which may hang or panic.

use crate::Error;
use commonware_macros::select;
use commonware_runtime::Clock;
use futures::FutureExt as _;
use std::{any::Any, future::Future, panic::AssertUnwindSafe, time::Duration};
use tidewatch_core::{Fault, Stopping};

/// Characters of a panic's message that a fault repeats.
const MESSAGE_MAX: usize = 256;

/// One call of the consumer `name`. Nothing where it was not done `grace` after the delivery was stopped.
pub(super) async fn attempt<T>(
    clock: &impl Clock,
    stop: &Stopping,
    grace: Duration,
    name: &str,
    call: impl Future<Output = Result<T, Fault>>,
) -> Option<Result<T, Fault>> {
    let expired = async {
        stop.stopped().await;
        clock.sleep(grace).await;
    };
    select! {
        // A consumer that panics must not take the follower with it.
        result = AssertUnwindSafe(call).catch_unwind() => {
            Some(result.unwrap_or_else(|panic| {
                Err(Fault::new(name, Error::Panicked { message: message(&*panic) }))
            }))
        },
        () = expired => None,
    }
}

/// The words of a panic, on one line.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let words = text.unwrap_or("it gave no reason").chars();
    words.take(MESSAGE_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

//! Calls of code that is not trusted to end, nor not to panic.

use super::DEADLINE;
use commonware_runtime::Clock;
use futures::{
    FutureExt as _,
    future::{Either, select},
    pin_mut,
};
use std::{any::Any, future::Future, panic::AssertUnwindSafe};

/// How a call went wrong that gave no answer at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// It did not end within [`DEADLINE`].
    Late,
    /// It panicked, with this message.
    Panicked(String),
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").into()
}

/// Makes `call`, and takes a panic for an answer.
pub(super) async fn caught<T>(call: impl Future<Output = T>) -> Result<T, NoAnswer> {
    let result = AssertUnwindSafe(call).catch_unwind().await;
    result.map_err(|panic| NoAnswer::Panicked(message(&*panic)))
}

/// What `call` gives, unless `end` comes first.
pub(super) async fn either<T>(
    call: impl Future<Output = T>,
    end: impl Future<Output = ()>,
) -> Option<T> {
    pin_mut!(call, end);
    match select(call, end).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(((), _)) => None,
    }
}

/// Makes `call`, and waits no longer than [`DEADLINE`].
pub(super) async fn within<T>(
    clock: &impl Clock,
    call: impl Future<Output = T>,
) -> Result<T, NoAnswer> {
    either(caught(call), clock.sleep(DEADLINE)).await.unwrap_or(Err(NoAnswer::Late))
}

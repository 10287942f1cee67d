//! Calls to untrusted code, which may hang or panic.

use super::DEADLINE;
use commonware_runtime::Clock;
use futures::{
    FutureExt as _,
    future::{Either, select},
    pin_mut,
};
use std::{any::Any, future::Future, panic::AssertUnwindSafe};

/// Why a call returned nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The call did not return within [`DEADLINE`].
    Late,
    /// The call panicked with this message.
    Panicked(String),
}

/// Message of a panic.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").into()
}

/// Awaits `call` and catches its panic.
pub(super) async fn caught<T>(call: impl Future<Output = T>) -> Result<T, NoAnswer> {
    let result = AssertUnwindSafe(call).catch_unwind().await;
    result.map_err(|panic| NoAnswer::Panicked(message(&*panic)))
}

/// Output of `call`, or `None` if `end` resolves first.
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

/// Awaits `call` for at most [`DEADLINE`], and catches its panic.
pub(super) async fn within<T>(
    clock: &impl Clock,
    call: impl Future<Output = T>,
) -> Result<T, NoAnswer> {
    tidewatch_core::within(clock, DEADLINE, caught(call)).await.unwrap_or(Err(NoAnswer::Late))
}

//! A consumer with what it keeps.

use std::{fmt::Debug, future::Future};
use tidewatch_core::{Consumer, Fault, Watermarks};

/// A consumer with what it keeps across crashes: a directory, a database, a file.
pub trait Subject {
    /// The consumer.
    type Consumer: Consumer;

    /// What the consumer keeps, as far as events decide it: all its watermarks, a height, a table.
    type Held: PartialEq + Debug;

    /// Opens the consumer on what it kept. Called after every simulated crash: the one before was
    /// dropped, perhaps while it was handling events.
    fn open(&mut self) -> impl Future<Output = Result<Self::Consumer, Fault>>;

    /// What is kept, read from where a consumer that is opened now would read it. No consumer is open.
    fn holds(&mut self) -> impl Future<Output = Self::Held>;

    /// What has to be kept by a consumer that all events have led to `watermarks`.
    fn expects(&self, watermarks: &Watermarks) -> Self::Held;
}

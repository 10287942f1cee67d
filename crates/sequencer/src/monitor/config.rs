//! Configuration of a monitor.

use std::time::Duration;

/// Intervals of a monitor.
#[derive(Clone, Debug)]
pub struct Config {
    /// A connection that takes longer to open has failed.
    pub deadline: Duration,
    /// A connection without even a sign of life for this long is half open.
    pub silence: Duration,
    /// The first pause before a new connection; it doubles up to `retry_max`.
    pub retry: Duration,
    /// The longest pause before a new connection.
    pub retry_max: Duration,
}

impl Default for Config {
    /// 2 s to connect, 5 s of silence, pauses of 250 ms to 10 s.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(2),
            silence: Duration::from_secs(5),
            retry: Duration::from_millis(250),
            retry_max: Duration::from_secs(10),
        }
    }
}

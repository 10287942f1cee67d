//! Whether the actors that a server depends on make progress.
//!
//! Time is counted in ticks of the server's own loop, so that a machine that was suspended, or whose clock was
//! moved, is not taken for one that stands still. A server whose loop does not run answers nobody.

use commonware_utils::sync::Mutex;

/// Ticks without progress after which an actor stands still.
pub(crate) const TICKS: u32 = 12;

/// Who has to make progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Driver,
    /// The task that reads the log for everybody at the tip.
    Pulse,
}

impl Of {
    pub(crate) const ALL: [Self; 2] = [Self::Driver, Self::Pulse];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Pulse => "serve",
        }
    }
}

/// How long each has stood still.
#[derive(Debug, Default)]
pub(crate) struct Liveness(Mutex<[Still; 2]>);

#[derive(Clone, Copy, Debug, Default)]
struct Still {
    /// Its progress at the last tick.
    seen: u64,
    ticks: u32,
}

impl Liveness {
    /// A twelfth of the time in which progress is due has passed, and each has come so far.
    pub(crate) fn tick(&self, progress: [u64; 2]) {
        for (still, now) in self.0.lock().iter_mut().zip(progress) {
            let ticks = if still.seen == now { still.ticks.saturating_add(1) } else { 0 };
            *still = Still { seen: now, ticks };
        }
    }

    /// The first that stands still.
    pub(crate) fn stalled(&self) -> Option<Of> {
        let still = *self.0.lock();
        Of::ALL.into_iter().zip(still).find_map(|(of, still)| (still.ticks >= TICKS).then_some(of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_makes_no_progress_for_twelve_ticks_is_named_until_there_is_some() {
        // Steps of driver and pulse, then ticks, then who stands still.
        let table = [
            ([1, 1], 12, None),
            ([1, 1], 1, Some(Of::Driver)),
            ([2, 1], 1, Some(Of::Pulse)),
            ([2, 2], 1, None),
            ([2, 2], 10, None),
            ([3, 2], 2, Some(Of::Pulse)),
            ([3, 3], 13, Some(Of::Driver)),
            ([4, 4], 1, None),
        ];
        let liveness = Liveness::default();
        for (row, (progress, ticks, stalled)) in table.into_iter().enumerate() {
            (0..ticks).for_each(|_| liveness.tick(progress));
            assert_eq!(liveness.stalled(), stalled, "row {row}");
        }
    }
}

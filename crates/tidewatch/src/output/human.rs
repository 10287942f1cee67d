//! Progress while catching up, then one live line.

use super::Printer;
use commonware_utils::sync::Mutex;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::{fmt::Write as _, io::IsTerminal as _, sync::Arc, time::Duration};
use tidewatch_core::{Fault, Monitor, State, Status, Tier, Watermarks};

/// Beyond this many blocks behind, a bar says more than a line.
const BAR_FROM: u64 = 64;

#[derive(Debug, Default)]
struct Seen {
    watermarks: Watermarks,
    status: Option<Status>,
    reorgs: u64,
    faults: u64,
    /// What was last printed where there is no terminal, so that a line is a change.
    line: String,
    bar: bool,
}

/// Shows people where the tip is.
#[derive(Clone, Debug)]
pub(crate) struct Human {
    bar: ProgressBar,
    printer: Option<Printer>,
    until: Option<u64>,
    seen: Arc<Mutex<Seen>>,
}

impl Human {
    /// On a terminal, a line that is drawn again; elsewhere a line for every change.
    pub(crate) fn new(printer: Printer, until: Option<u64>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(0) } else { ProgressBar::hidden() };
        bar.set_style(live_style());
        let printer = (!terminal).then_some(printer);
        Self { bar, printer, until, seen: Arc::default() }
    }

    /// The bar, for whoever prints beside it.
    pub(crate) fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Takes the line away, and leaves the last words about where it stood.
    pub(crate) fn finish(&self) -> String {
        self.bar.finish_and_clear();
        live_line(&self.seen.lock())
    }

    fn draw(&self) {
        let mut seen = self.seen.lock();
        let Some(status) = seen.status else { return };
        let catching_up = status.state == State::CatchingUp && status.lag > BAR_FROM;
        if catching_up != seen.bar {
            seen.bar = catching_up;
            self.bar.set_style(if catching_up { bar_style() } else { live_style() });
            self.bar.reset_elapsed();
            self.bar.reset_eta();
        }
        let head = seen.watermarks.head().map_or(0, |block| block.height.get());
        let goal = self.until.map_or(head + status.lag, |until| until.min(head + status.lag));
        self.bar.set_length(goal.max(head));
        self.bar.set_position(head);
        let line = live_line(&seen);
        self.bar.set_message(line.clone());
        if let Some(printer) = self.printer.as_ref().filter(|_| line != seen.line) {
            printer.hint(format!("{line}\n"));
            seen.line = line;
        }
    }
}

fn bar_style() -> ProgressStyle {
    style("catching up [{bar:32}] {human_pos}/{human_len} blocks, {per_sec}, {eta} to go")
}

fn live_style() -> ProgressStyle {
    style("{msg}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The one line: state, height of each tier that the chain has, lag, age of the tip, reorgs.
fn live_line(seen: &Seen) -> String {
    let state = seen.status.map_or("starting", |status| status.state.as_str()).replace('_', " ");
    let mut line = state;
    for tier in Tier::ALL {
        if let Some(block) = seen.watermarks.tips.block(tier) {
            let _ = write!(line, " | {tier} {}", block.height); // A String takes everything.
        }
    }
    if let Some(status) = seen.status {
        let _ = write!(line, " | lag {}", status.lag);
        if let Some(age) = status.tip_age_ms {
            let _ = write!(line, " | tip {} old", age_text(age));
        }
    }
    let _ = write!(line, " | {} reorgs", seen.reorgs);
    if seen.faults > 0 {
        let _ = write!(line, " | {} faults", seen.faults);
    }
    line
}

/// Seconds with one digit while they matter, then the largest unit.
fn age_text(age_ms: u64) -> String {
    let age = Duration::from_millis(age_ms);
    if age < Duration::from_secs(60) {
        format!("{:.1} s", age.as_secs_f64())
    } else {
        HumanDuration(age).to_string()
    }
}

impl Monitor for Human {
    fn moved(&self, watermarks: &Watermarks) {
        {
            let mut seen = self.seen.lock();
            let height = |watermarks: &Watermarks| watermarks.head().map(|block| block.height);
            seen.reorgs += u64::from(height(watermarks) < height(&seen.watermarks));
            seen.watermarks = *watermarks;
        }
        self.draw();
    }

    fn fault(&self, _: &Fault) {
        self.seen.lock().faults += 1; // The words are in the log.
    }

    fn status(&self, status: &Status) {
        let changed = {
            let mut seen = self.seen.lock();
            let before = seen.status.replace(*status);
            before.map(|before| before.state) != Some(status.state)
        };
        // Without a terminal, the age of the tip alone is no news.
        if changed || self.printer.is_none() {
            self.draw();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::{BlockRef, Digest, Height, TipSet};

    #[test]
    fn the_live_line_names_the_tiers_that_the_chain_has() {
        let at = |height| BlockRef::new(Height::new(height), Digest([0; 32]));
        let tips = TipSet::unknown().with(Tier::Proposed, at(12)).with(Tier::Finalized, at(11));
        let seen = Seen {
            watermarks: Watermarks { delivered: Some(at(12)), tips },
            status: Some(Status {
                state: State::Live,
                lag: 0,
                source_height: Some(Height::new(12)),
                tip_age_ms: Some(1_250),
                cause: None,
            }),
            reorgs: 1,
            ..Seen::default()
        };
        assert_eq!(
            live_line(&seen),
            "live | proposed 12 | finalized 11 | lag 0 | tip 1.2 s old | 1 reorgs"
        );
    }

    #[test]
    fn a_zero_age_is_an_age() {
        assert_eq!(age_text(0), "0.0 s");
        assert_eq!(age_text(120_000), "2 minutes");
    }
}

//! Progress while catching up, then one live line.

use super::{
    Printer,
    repeats::{Repeats, counted},
};
use commonware_utils::sync::Mutex;
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use std::{fmt::Write as _, io::IsTerminal as _, sync::Arc, time::Duration};
use tidewatch_core::{
    Cause, Fault, Monitor, State, Status, Tier, Verification, Watermarks, json::Proving,
};

/// Beyond this many blocks behind, a bar says more than a line.
const BAR_FROM: u64 = 64;

#[derive(Debug, Default)]
struct Seen {
    watermarks: Watermarks,
    status: Option<Status>,
    reorgs: u64,
    /// The last move took blocks back: one that takes back more is of the same reorg.
    taking_back: bool,
    faults: u64,
    repeats: Repeats,
    /// The last fault, until it is over.
    fault: Option<String>,
    /// What was last printed where there is no terminal, so that a line is a change.
    line: String,
    bar: bool,
    /// The second line, where blocks are proven.
    proving: Option<Proving>,
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
        let seen = self.seen.lock();
        seen.proving
            .iter()
            .fold(live_line(&seen), |line, proving| format!("{line}\n{}", proving_line(proving)))
    }

    /// Shows how far proving is: below the live line, and elsewhere a line for every change.
    pub(crate) fn proving(&self, proving: &Proving) {
        let before = self.seen.lock().proving.replace(proving.clone());
        match &self.printer {
            None => self.draw(),
            Some(printer) if before.is_none_or(|before| before.is_passed_by(proving)) => {
                printer.hint(format!("{}\n", proving_line(proving)));
            }
            Some(_) => {}
        }
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
        self.bar.set_length(goal(head, &status, self.until));
        self.bar.set_position(head);
        let line = live_line(&seen);
        let below = seen
            .proving
            .as_ref()
            .map_or_else(String::new, |proving| format!("\n{}", proving_line(proving)));
        let above = if catching_up { fault_text(&seen) } else { line.clone() };
        self.bar.set_message(above + &below);
        if let Some(printer) = self.printer.as_ref().filter(|_| line != seen.line) {
            printer.hint(format!("{line}\n"));
            seen.line = line;
        }
    }
}

/// The height that a bar leads to: the source's, or where the run ends.
fn goal(head: u64, status: &Status, until: Option<u64>) -> u64 {
    let source = status.source_height.map_or(head, |height| height.get());
    until.map_or(source, |until| until.min(source)).max(head)
}

fn bar_style() -> ProgressStyle {
    style("catching up [{bar:32}] {human_pos}/{human_len} blocks, {rate}, {eta} to go{msg}")
        .with_key("rate", |state: &ProgressState, line: &mut dyn std::fmt::Write| {
            let _ = line.write_str(&rate_text(state.per_sec())); // A String takes everything.
        })
}

/// Blocks a second, as a whole number.
fn rate_text(per_second: f64) -> String {
    format!("{}/s", HumanCount(per_second.max(0.0).round() as u64))
}

/// How many there are of `noun`.
pub(super) fn number_of(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The fault that lasts, if one does.
fn fault_text(seen: &Seen) -> String {
    seen.fault.as_ref().map_or_else(String::new, |fault| format!(" | {fault}"))
}

fn live_style() -> ProgressStyle {
    style("{msg}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The one line: state, height of each tier that the chain has, lag, age of the tip, reorgs.
fn live_line(seen: &Seen) -> String {
    let state = match seen.status {
        None => "starting",
        Some(Status { cause: Some(Cause::Ended), .. }) => "ended",
        Some(status) => status.state.as_str(),
    };
    let mut line = state.replace('_', " ");
    for tier in Tier::ALL {
        if let Some(block) = seen.watermarks.tips.block(tier) {
            let _ = write!(line, " | {tier} {}", block.height); // A String takes everything.
        }
    }
    if let Some(status) = seen.status {
        if let Some(Verification { epoch, .. }) = status.verification {
            let _ = write!(line, " | epoch {epoch}");
        }
        let _ = write!(line, " | lag {}", status.lag);
        if let Some(age) = status.tip_age_ms {
            let _ = write!(line, " | tip {} old", age_text(age));
        }
    }
    let _ = write!(line, " | {}", number_of(seen.reorgs, "reorg"));
    if seen.faults > 0 {
        let _ = write!(line, " | {}", number_of(seen.faults, "fault"));
    }
    line + &fault_text(seen)
}

/// The line below it: the proven tip, how far it is behind, what is done about it.
fn proving_line(proving: &Proving) -> String {
    let Proving { proven, lag, running, waiting, poisoned, per_minute, .. } = proving;
    let mut line = format!(
        "proving | proven {} | {} and {} behind | {running} running | {waiting} waiting | {poisoned} \
         poisoned | {} a minute",
        proven.height,
        number_of(*lag, "block"),
        age_text(proving.lag_ms),
        number_of(*per_minute, "proof")
    );
    if proving.stalled {
        line += " | STALLED";
        if let Some(cause) = &proving.cause {
            let _ = write!(line, ": {cause}"); // A String takes everything.
        }
    }
    line
}

/// Whether blocks were taken back between two moments: the head is lower, or another block at its height.
fn takes_back(before: &Watermarks, after: &Watermarks) -> bool {
    let (Some(before), Some(after)) = (before.head(), after.head()) else { return false };
    after.height < before.height || (after.height == before.height && after != before)
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
            let back = takes_back(&seen.watermarks, watermarks);
            seen.reorgs += u64::from(back && !seen.taking_back);
            seen.taking_back = back;
            seen.watermarks = *watermarks;
        }
        self.draw();
    }

    /// The first of a kind, and every change, has a line of its own; the last one stays in the live line
    /// while it lasts.
    fn fault(&self, fault: &Fault) {
        let count = {
            let mut seen = self.seen.lock();
            seen.faults += 1;
            seen.fault = Some(fault.to_string());
            seen.repeats.tell(fault)
        };
        let Some(count) = count else { return };
        let line = format!("fault: {}", counted(&fault.to_string(), count));
        match &self.printer {
            Some(printer) => printer.hint(format!("{line}\n")),
            None => self.bar.println(line),
        }
    }

    fn status(&self, status: &Status) {
        let changed = {
            let mut seen = self.seen.lock();
            let before = seen.status.replace(*status);
            let changed = before.map(|before| before.state) != Some(status.state);
            // A pass has taken in everything since, and there is contact.
            let over = !matches!(status.cause, Some(Cause::Fault(_)))
                && !matches!(status.state, State::Blind | State::Conflicted);
            if over {
                seen.fault = None;
            }
            if changed && status.state == State::Live {
                seen.repeats.forget();
            }
            changed
        };
        // The end has the last line, and without a terminal, the age of the tip alone is no news.
        if status.cause == Some(Cause::Ended) {
            return;
        }
        if changed || self.printer.is_none() {
            self.draw();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::{BlockRef, Digest, FaultKind, Height, TipSet};

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
                verification: None,
            }),
            reorgs: 1,
            ..Seen::default()
        };
        assert_eq!(
            live_line(&seen),
            "live | proposed 12 | finalized 11 | lag 0 | tip 1.2 s old | 1 reorg"
        );
        let verification = Some(Verification {
            epoch: 3,
            anchor: tidewatch_core::Anchor::Identity,
            age_ms: None,
            seen: None,
            verified: None,
            contiguous: None,
        });
        let status = Status { verification, tip_age_ms: None, ..seen.status.unwrap() };
        let seen = Seen { status: Some(status), ..Seen::default() };
        assert_eq!(live_line(&seen), "live | epoch 3 | lag 0 | 0 reorgs");
    }

    fn at(height: u64, fork: u8) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([fork; 32]))
    }

    fn standing(head: BlockRef) -> Watermarks {
        Watermarks { delivered: Some(head), ..Watermarks::none() }
    }

    fn status(state: State, cause: Option<Cause>) -> Status {
        let source_height = Some(Height::new(40_298));
        Status { state, lag: 1_090, source_height, tip_age_ms: None, cause, verification: None }
    }

    /// Not of a terminal, and what it printed.
    fn human() -> (Human, Printed) {
        let printed = Printed::default();
        let printer = Some(Printer::start(printed.clone()).unwrap());
        let bar = ProgressBar::hidden();
        (Human { bar, printer, until: None, seen: Arc::default() }, printed)
    }

    #[derive(Clone, Default)]
    struct Printed(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Printed {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Printed {
        /// The lines up to now.
        fn lines(&self, human: &Human) -> Vec<String> {
            let printed = human.printer.as_ref().unwrap().print(String::new());
            futures::executor::block_on(printed).unwrap();
            String::from_utf8(self.0.lock().clone()).unwrap().lines().map(Into::into).collect()
        }
    }

    #[test]
    fn the_first_fault_of_a_kind_and_every_change_has_a_line() {
        let (human, printed) = human();
        let refused = FaultKind::Unavailable.fault("http://node", "status 401: no such key");
        for _ in 0..9 {
            human.fault(&refused);
        }
        human.fault(&FaultKind::Unreachable.fault("http://node", "connection refused"));
        human.fault(&refused);
        let lines = printed.lines(&human);
        assert_eq!(
            lines,
            [
                "fault: http://node: status 401: no such key (unavailable)",
                "fault: http://node: connection refused (unreachable)",
                "fault: http://node: status 401: no such key (unavailable) (10 times)",
            ]
        );
    }

    #[test]
    fn the_last_fault_stays_visible_while_it_lasts_and_no_longer() {
        let (human, _) = human();
        let words = "http://node: status 401 (unavailable)";
        human.fault(&FaultKind::Unavailable.fault("http://node", "status 401"));
        for state in [State::Blind, State::CatchingUp, State::Lagging] {
            human.status(&status(state, Some(Cause::Fault(FaultKind::Unavailable))));
            assert!(live_line(&human.seen.lock()).ends_with(words));
        }
        human.status(&status(State::Live, Some(Cause::Fault(FaultKind::Unavailable))));
        assert!(live_line(&human.seen.lock()).ends_with(words), "live, and not all was taken in");
        human.status(&status(State::Lagging, None));
        assert!(live_line(&human.seen.lock()).ends_with("| 1 fault"));
        assert!(human.finish().ends_with("| 1 fault"));
    }

    #[test]
    fn the_end_is_no_state_of_the_chain_and_has_one_line() {
        let (human, printed) = human();
        human.status(&status(State::Live, None));
        human.status(&status(State::Blind, Some(Cause::Ended)));
        assert_eq!(printed.lines(&human).len(), 1);
        assert!(human.finish().starts_with("ended | "), "{}", human.finish());
    }

    /// The head moves on before the lag is counted anew: their sum is higher than any tip.
    #[test]
    fn a_bar_leads_to_the_height_of_the_source() {
        for (head, until, expected) in [
            (39_298, None, 40_298),
            (39_298, Some(100_000), 40_298),
            (39_298, Some(40_000), 40_000),
            (40_300, None, 40_300),
        ] {
            let status = status(State::CatchingUp, None);
            assert_eq!(goal(head, &status, until), expected, "{head} {until:?}");
        }
    }

    #[test]
    fn proving_has_a_line_of_its_own_for_every_change() {
        let (human, printed) = human();
        let mut proving = Proving {
            proven: at(118, 1).into(),
            committed: at(121, 1).into(),
            lag: 3,
            lag_ms: 11_240,
            pending: 0,
            running: 1,
            waiting: 2,
            poisoned: 0,
            per_minute: 12,
            stalled: false,
            cause: None,
        };
        human.proving(&proving);
        proving.lag_ms += 1_000;
        human.proving(&proving);
        (proving.stalled, proving.cause) = (true, Some("not provable: no".into()));
        human.proving(&proving);
        let line = "proving | proven 118 | 3 blocks and 11.2 s behind | 1 running | 2 waiting | 0 poisoned \
                    | 12 proofs a minute";
        let stalled = line.replace("11.2", "12.2") + " | STALLED: not provable: no";
        assert_eq!(printed.lines(&human), [line, &stalled]);
        assert!(human.finish().ends_with(&format!("\n{stalled}")));
    }

    #[test]
    fn rates_are_whole_numbers() {
        assert_eq!(rate_text(5420.3958), "5,420/s");
        assert_eq!(rate_text(0.4), "0/s");
    }

    #[test]
    fn one_reorg_is_one_reorg() {
        let (human, _) = human();
        for (head, reorgs) in [
            (at(10, 1), 0),
            (at(12, 1), 0),
            // Two prunes of one reorg, and the blocks of the other fork.
            (at(11, 1), 1),
            (at(9, 1), 1),
            (at(13, 2), 1),
            (at(14, 2), 1),
            // Another block at the same height.
            (at(14, 3), 2),
            (at(15, 3), 2),
        ] {
            human.moved(&standing(head));
            assert_eq!(human.seen.lock().reorgs, reorgs, "{head}");
        }
    }

    #[test]
    fn a_zero_age_is_an_age() {
        assert_eq!(age_text(0), "0.0 s");
        assert_eq!(age_text(120_000), "2 minutes");
    }
}

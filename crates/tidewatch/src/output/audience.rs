//! What is printed of one run, and for whom.

use super::{Events, Human, Lines, Printer, Reached, printer::is_torn};
use indicatif::ProgressBar;
use std::sync::Arc;
use tidewatch_core::{Monitor, Tier, json::Proving};

/// The reader of standard output: people, or a program that reads JSON lines.
pub(crate) struct Audience {
    printer: Printer,
    reached: Reached,
    monitor: Arc<dyn Monitor>,
    watcher: Watcher,
}

/// Who watches.
enum Watcher {
    Human(Human),
    /// Events are printed, and `--until` waits for them.
    Program(Arc<Lines>),
}

impl Audience {
    /// For a program if `json`, else for people. `until` is the height that ends the run once it has `tier`.
    pub(crate) fn new(printer: Printer, json: bool, until: Option<u64>, tier: Tier) -> Self {
        let reached = Reached::new(until, tier, json);
        if json {
            if is_torn(&std::io::stdout()) {
                printer.hint("\n".into());
            }
            let lines = Arc::new(Lines::new(printer.clone()));
            let watcher = Watcher::Program(lines.clone());
            return Self { printer, reached, monitor: lines, watcher };
        }
        let human = Human::new(printer.clone(), until);
        let monitor = Arc::new(human.clone());
        Self { printer, reached, monitor, watcher: Watcher::Human(human) }
    }

    const fn human(&self) -> Option<&Human> {
        match &self.watcher {
            Watcher::Human(human) => Some(human),
            Watcher::Program(_) => None,
        }
    }

    /// Shows how far proving is.
    pub(crate) fn proving(&self) -> Box<dyn Fn(&Proving) + Send> {
        match &self.watcher {
            Watcher::Human(human) => {
                let human = human.clone();
                Box::new(move |proving| human.proving(proving))
            }
            Watcher::Program(lines) => {
                let lines = lines.clone();
                Box::new(move |proving| lines.proving(proving))
            }
        }
    }

    /// Shows what happens.
    pub(crate) fn monitor(&self) -> Arc<dyn Monitor> {
        self.monitor.clone()
    }

    /// Whether the height that ends the run is reached.
    pub(crate) const fn reached(&self) -> &Reached {
        &self.reached
    }

    /// The consumer that prints events, where they are printed.
    pub(crate) fn events(&self) -> Option<Events> {
        let events = || Events::new(self.printer.clone(), self.reached.clone());
        self.human().is_none().then(events)
    }

    /// The bar that log lines are written beside.
    pub(crate) fn bar(&self) -> Option<ProgressBar> {
        self.human().map(Human::bar)
    }

    /// Prints one line for people.
    pub(crate) async fn say(&self, line: &str) {
        if self.human().is_some() {
            let _ = self.printer.print(format!("{line}\n")).await; // A reader who left does not matter.
        }
    }

    /// Ends the live line and returns its last text, where there is one. Warns of lines that found no
    /// room because nobody read.
    pub(crate) fn finish(&self) -> Option<String> {
        if self.printer.left_out() > 0 {
            tracing::warn!(lines = self.printer.left_out(), "nobody read standard output in time");
        }
        self.human().map(Human::finish)
    }
}

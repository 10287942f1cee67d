//! Result of a conformance suite.

use std::fmt;

/// Length of a digest in hex characters.
const DIGEST: usize = 64;

/// Length of the digest prefix that a report shows.
const START: usize = 8;

/// Outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The property was tested and holds.
    Held,
    /// The property does not hold; the text describes what was observed instead.
    Broken(String),
    /// The property could not be tested; the text gives the reason.
    NotShown(String),
}

/// One property that a suite tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The property, as a sentence.
    pub name: &'static str,
    /// Whether it holds.
    pub verdict: Verdict,
}

/// Why a check did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Broken(String),
    NotShown(String),
}

impl Flaw {
    pub(super) fn broken(detail: impl fmt::Display) -> Self {
        Self::Broken(shortened(&detail.to_string()))
    }

    /// Refers to another check, which reports the same flaw.
    pub(super) fn see(check: &str) -> Self {
        Self::NotShown(format!("see: {check}"))
    }

    pub(super) fn not_shown(why: impl fmt::Display) -> Self {
        Self::NotShown(why.to_string())
    }
}

/// Shortens every digest in `text` to a prefix, which is enough to tell two of them apart.
fn shortened(text: &str) -> String {
    let mut short = String::with_capacity(text.len());
    let mut hex = 0;
    for char in text.chars() {
        hex = if char.is_ascii_hexdigit() { hex + 1 } else { 0 };
        short.push(char);
        if hex == DIGEST {
            short.truncate(short.len() - (DIGEST - START));
            hex = 0;
        }
    }
    short
}

/// Every check of a suite by name, and the cost of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    subject: String,
    checks: Vec<Check>,
    counts: Vec<(&'static str, u64)>,
}

impl Report {
    pub(super) fn new(subject: impl Into<String>, names: &[&'static str]) -> Self {
        let unseen = |name: &&'static str| Check {
            name,
            verdict: Verdict::NotShown("the suite ended before it".into()),
        };
        Self {
            subject: subject.into(),
            checks: names.iter().map(unseen).collect(),
            counts: Vec::new(),
        }
    }

    /// Records one result for the check `name`. If there are several, broken takes precedence over
    /// held, and held over not shown.
    pub(super) fn record(&mut self, name: &'static str, look: Result<(), Flaw>) {
        let Some(check) = self.checks.iter_mut().find(|check| check.name == name) else { return };
        match (&check.verdict, look) {
            (Verdict::Broken(_), _) => {}
            (_, Err(Flaw::Broken(detail))) => check.verdict = Verdict::Broken(detail),
            (_, Ok(())) => check.verdict = Verdict::Held,
            (Verdict::NotShown(_), Err(Flaw::NotShown(why))) => {
                check.verdict = Verdict::NotShown(why);
            }
            (Verdict::Held, Err(Flaw::NotShown(_))) => {}
        }
    }

    pub(super) fn about(&mut self, subject: &str) {
        self.subject = subject.into();
    }

    pub(super) fn count(&mut self, what: &'static str, number: u64) {
        self.counts.push((what, number));
    }

    /// Every check, in the order of the suite.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Verdict of the check `name`; `None` if the suite has no such check.
    pub fn verdict(&self, name: &str) -> Option<&Verdict> {
        self.checks.iter().find(|check| check.name == name).map(|check| &check.verdict)
    }

    /// The checks that are broken.
    pub fn broken(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| matches!(check.verdict, Verdict::Broken(_)))
    }

    /// Cost of the run, such as the number of calls by kind.
    pub fn counts(&self) -> &[(&'static str, u64)] {
        &self.counts
    }

    /// Fails the test if a check is broken.
    ///
    /// # Panics
    ///
    /// If a check is broken; the message is the whole report.
    pub fn assert(&self) {
        assert!(self.broken().next().is_none(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "conformance of {}", self.subject)?;
        for Check { name, verdict } in &self.checks {
            match verdict {
                Verdict::Held => writeln!(f, "  held       {name}")?,
                Verdict::Broken(detail) => writeln!(f, "  BROKEN     {name}: {detail}")?,
                Verdict::NotShown(why) => writeln!(f, "  not shown  {name}: {why}")?,
            }
        }
        let counts: Vec<_> = self.counts.iter().map(|(what, n)| format!("{n} {what}")).collect();
        write!(f, "  cost       {}", counts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_look_outweighs_one_that_held_and_that_one_that_showed_nothing() {
        let (held, gone) = (Ok(()), Err(Flaw::not_shown("why")));
        let broken = || Err(Flaw::broken("how"));
        let (is_broken, is_gone) = (Verdict::Broken("how".into()), Verdict::NotShown("why".into()));
        let table = [
            (vec![gone.clone()], is_gone),
            (vec![gone.clone(), held.clone()], Verdict::Held),
            (vec![held.clone(), gone.clone()], Verdict::Held),
            (vec![broken(), held, gone], is_broken),
        ];
        for (looks, want) in table {
            let mut report = Report::new("x", &["a", "b"]);
            for look in looks.clone() {
                report.record("a", look);
            }
            assert_eq!(report.verdict("a"), Some(&want), "{looks:?}");
            assert!(matches!(report.verdict("b"), Some(Verdict::NotShown(_))));
        }
    }

    #[test]
    #[should_panic(expected = "BROKEN     a: how")]
    fn a_report_with_a_broken_check_fails_the_test_with_the_whole_table() {
        let mut report = Report::new("x", &["a", "b"]);
        report.record("a", Err(Flaw::broken("how")));
        report.assert();
    }

    #[test]
    fn digests_are_cut_to_their_start_and_nothing_else_is() {
        let digest = |fill: &str| fill.repeat(32);
        let text = format!("3:{}, {} and deadbeef at 123456789", digest("0a"), digest("f1"));
        let flaw = Flaw::broken(text);
        assert_eq!(flaw, Flaw::Broken("3:0a0a0a0a, f1f1f1f1 and deadbeef at 123456789".into()));
    }

    #[test]
    fn what_could_not_be_shown_fails_nothing() {
        let report = Report::new("x", &["a"]);
        report.assert();
        assert!(report.to_string().contains("not shown  a"));
    }
}

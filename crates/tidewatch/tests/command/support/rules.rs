//! Prometheus's rules, as `tidewatch monitoring` prints them, over what was scraped.

use super::{
    run::{Command, END},
    scraped::{ask, metrics},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    io::Write as _,
    path::Path,
    process,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Runs promtool in `directory`; nothing, after it was said, where there is none.
pub(crate) fn promtool(directory: &Path, args: &[&str]) -> Option<()> {
    match process::Command::new("promtool").args(args).current_dir(directory).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
            assert!(output.status.success(), "promtool {args:?}: {}", said.join("\n"));
            Some(())
        }
        Err(error) => {
            skipped(&format!("promtool: {error}; it comes with Prometheus"));
            None
        }
    }
}

/// Says that the test does not go on.
pub(crate) fn skipped(why: &str) {
    let thread = std::thread::current();
    let line = format!("\nSKIPPED {}: {why}\n", thread.name().unwrap_or_default());
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// The rules.
pub(crate) fn alerts() -> String {
    let output = Command::new(&["monitoring", "alerts"]).start().ends_well(END);
    output.text()
}

/// One look at what is served.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// Samples, by name and labels.
    samples: BTreeMap<String, f64>,
    /// Names of what is counted.
    counted: BTreeSet<String>,
    /// Seconds since 1970.
    at: f64,
}

impl Look {
    /// `text` as it was served at a time.
    pub(crate) fn of(text: &str, at: SystemTime) -> Self {
        let at = at.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let counts = |line: &str| {
            let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
            ["counter", "histogram"].contains(&kind).then(|| name.to_owned())
        };
        let lines = text.lines().filter(|line| line.starts_with("tidewatch_"));
        let samples = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let name = match name.split_once('{') {
                Some((name, labels)) => format!("{name}{{job=\"tidewatch\",{labels}"),
                None => format!("{name}{{job=\"tidewatch\"}}"),
            };
            (name, value.parse().unwrap())
        });
        Self { samples: samples.collect(), counted: text.lines().filter_map(counts).collect(), at }
    }

    /// What `address` serves now.
    pub(crate) fn at(address: &str) -> Self {
        Self::of(&metrics(address), SystemTime::now())
    }

    /// What `address` serves once `shown` holds of it.
    pub(crate) fn until(address: &str, shown: impl Fn(&str) -> bool) -> Self {
        let began = Instant::now();
        loop {
            match ask(address) {
                Ok(answer) if shown(&answer) => return Self::of(&answer, SystemTime::now()),
                Ok(_) => assert!(began.elapsed() < END, "what is served never became so"),
                Err(error) => assert!(began.elapsed() < END, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `address` serves a while later.
    pub(crate) fn later(&self, address: &str, seconds: f64) -> Self {
        let until = self.at + seconds;
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        Self::until(address, |_| now() >= until)
    }

    /// What `address` serves once each tier of a follower has moved, in another second.
    pub(crate) fn moved(&self, address: &str) -> Self {
        let moved = |text: &str| {
            let new = Self::of(text, UNIX_EPOCH);
            let tips = |of: &Self| {
                let is = ["_driver_tip_height", "_driver_tip_time", "_driver_contact_time"];
                let all = of.samples.iter();
                let tips = all.filter(|(name, _)| is.iter().any(|part| name.contains(part)));
                tips.map(|(_, value)| *value).collect::<Vec<_>>()
            };
            let (before, now) = (tips(self), tips(&new));
            assert!(!before.is_empty());
            before.len() == now.len() && before.iter().zip(now).all(|(before, now)| *before < now)
        };
        Self::until(address, moved)
    }

    fn is_counted(&self, sample: &str) -> bool {
        let name = sample.split('{').next().unwrap();
        let suffixes = ["_total", "_count", "_bucket", "_sum"];
        suffixes
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .any(|name| self.counted.contains(name))
    }

    /// Moments are on the time of a test of rules, on which this look is at `minute`.
    fn placed(&self, minute: usize) -> BTreeMap<String, f64> {
        let shift = minute as f64 * 60.0 - self.at;
        let place = |(name, value): (&String, &f64)| {
            let moved = is_moment(name) && *value > 0.0;
            (name.clone(), if moved { value + shift } else { *value })
        };
        self.samples.iter().map(place).collect()
    }
}

fn is_moment(sample: &str) -> bool {
    sample.split('{').next().unwrap().ends_with("_timestamp_seconds")
}

/// What is assumed to happen after two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// What it did between them: what counted goes on counting as fast, and moments that moved go on moving.
    GoesOn,
    /// Nothing any more.
    Stands,
}

/// What Prometheus has of a process: a scrape a minute.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recording(Vec<BTreeMap<String, f64>>);

impl Recording {
    /// The minute of the second of two looks.
    pub(crate) const SECOND: usize = 30;

    /// One more minute is over.
    pub(crate) fn scrape(&mut self, text: &str, now: SystemTime) {
        let minute = self.0.len();
        self.0.push(Look::of(text, now).placed(minute));
    }

    /// The last minute.
    pub(crate) const fn minute(&self) -> usize {
        self.0.len() - 1
    }

    /// Half an hour as in the first look, and one and a half from the second one on.
    pub(crate) fn between(first: &Look, second: &Look, then: Then) -> Self {
        let seconds = second.at - first.at;
        let mut scrapes = vec![first.placed(0); Self::SECOND];
        for minute in 0..=90 {
            let mut samples = second.placed(Self::SECOND);
            if then == Then::GoesOn {
                for (name, value) in &mut samples {
                    let before = first.samples.get(name).copied();
                    let since = f64::from(minute) * 60.0;
                    if second.is_counted(name) {
                        let grown = second.samples[name] - before.unwrap_or_default();
                        *value += grown / seconds * since;
                    } else if is_moment(name) && before.is_some_and(|it| it < second.samples[name])
                    {
                        *value += since;
                    }
                }
            }
            scrapes.push(samples);
        }
        Self(scrapes)
    }

    /// One sample alone, with one value for half an hour, and another one for one and a half.
    pub(crate) fn of(sample: &str, before: f64, after: f64) -> Self {
        let value = |minute| if minute < Self::SECOND { before } else { after };
        Self((0..4 * Self::SECOND).map(|at| BTreeMap::from([(sample.into(), value(at))])).collect())
    }

    /// Checks which alerts fire at each of these minutes: these, and no other one.
    pub(crate) fn fires(&self, minutes: &[(usize, &[&str])]) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("alerts.yml"), alerts()).unwrap();
        let mut test =
            "rule_files: [alerts.yml]\ntests:\n  - interval: 1m\n    input_series:\n".to_owned();
        let names: BTreeSet<_> = self.0.iter().flat_map(BTreeMap::keys).collect();
        for name in names {
            write!(test, "      - series: '{name}'\n        values: '").unwrap();
            for samples in &self.0 {
                match samples.get(name) {
                    Some(value) => write!(test, "{value} ").unwrap(),
                    None => test.push_str("_ "),
                }
            }
            test.push_str("'\n");
        }
        test.push_str("    promql_expr_test:\n");
        for (minute, alerts) in minutes {
            let firing = "ALERTS{alertstate=\"firing\"}";
            writeln!(
                test,
                "      - expr: 'sum by (alertname) ({firing}) > 0'\n        eval_time: {minute}m\n        exp_samples:"
            )
            .unwrap();
            for alert in *alerts {
                writeln!(
                    test,
                    "          - labels: '{{alertname=\"{alert}\"}}'\n            value: 1"
                )
                .unwrap();
            }
            if alerts.is_empty() {
                test.truncate(test.trim_end().len());
                test.push_str(" []\n");
            }
        }
        fs::write(directory.path().join("test.yml"), test).unwrap();
        let _ = promtool(directory.path(), &["test", "rules", "test.yml"]);
    }
}

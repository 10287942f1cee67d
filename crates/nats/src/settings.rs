//! How a stream and a bucket have to be, and what a server made of it.
//!
//! Servers ignore settings that they do not know, without a word. So whatever was asked for is read back, and the server's
//! version and API level are looked at before.

use crate::{Error, Names, elector::Timing, positions::CONSUMERS_MAX};
use serde_json::{Map, Value, json};
use std::{fmt, time::Duration};

/// The oldest server that is used: the oldest that the tests run against.
pub const FLOOR: Version = Version([2, 12, 8]);

/// [`FLOOR`] in words.
const FLOOR_TEXT: &str = "2.12.8";

/// The least level of JetStream's API. The meta leader says it, which may be another server than the one of the
/// connection.
pub const LEVEL: u64 = 2;

/// A server's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub [u64; 3]);

impl Version {
    /// Reads `text`, such as `2.12.8` or `2.14.0-RC.1`.
    pub fn read(text: &str) -> Option<Self> {
        let numbers = text.trim_start_matches('v').split(['-', '+']).next()?;
        let mut numbers = numbers.split('.').map(|number| number.parse().ok());
        let version = [numbers.next()??, numbers.next()??, numbers.next()??];
        numbers.next().is_none().then_some(Self(version))
    }
}

/// Whether a server of this `version`, whose JetStream has this API `level`, is used.
///
/// # Errors
///
/// It is older than what is relied on.
pub fn accept(version: &str, level: u64) -> Result<(), Error> {
    if Version::read(version).is_none_or(|found| found < FLOOR) {
        return Err(Error::TooOld {
            found: version.into(),
            floor: FLOOR_TEXT,
            why: "older ones ignore the settings that a leader's lease rests on, or were not tried",
        });
    }
    if level < LEVEL {
        return Err(Error::Level { found: level, wanted: LEVEL });
    }
    Ok(())
}

/// A setting that is another one than it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name in JetStream's API.
    pub setting: String,
    /// What it has to be.
    pub wanted: Value,
    /// What it is; `None` where the server does not speak of it.
    pub found: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, wanted, found } = self;
        match found {
            Some(found) => write!(f, "{setting} is {found} and has to be {wanted}"),
            None => write!(f, "{setting} is not known to the server and has to be {wanted}"),
        }
    }
}

/// The configuration of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The stream's name.
    pub name: String,
    /// All settings, as a new stream gets them.
    pub all: Map<String, Value>,
    /// Those of them that an operator may set otherwise: how much is kept, and where.
    pub free: &'static [&'static str],
}

/// Events are kept for so long.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Bytes of events that are kept.
const KEPT_BYTES: u64 = 1 << 30;
/// Largest message, in bytes.
const MESSAGE_MAX: u64 = 64 << 10;
/// Largest record of a consumer's position, in bytes.
const POSITION_MAX: u64 = 4 << 10;
/// Names of messages are remembered for so long.
const NAMES: Duration = Duration::from_secs(120);
/// How long the marker of a lease that ended stays.
const MARKER: Duration = Duration::from_secs(60);

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

impl Wanted {
    /// The stream of events, with so many copies.
    pub fn events(names: &Names, replicas: u32) -> Self {
        let all = json!({
            "name": names.stream,
            "subjects": [names.subjects()],
            "retention": "limits",
            "discard": "old",
            "storage": "file",
            "num_replicas": replicas,
            "max_age": nanos(KEPT),
            "max_bytes": KEPT_BYTES,
            "max_msg_size": MESSAGE_MAX,
            "max_msgs": -1,
            "max_msgs_per_subject": -1,
            "max_consumers": -1,
            "duplicate_window": nanos(NAMES),
            "allow_direct": true,
            "deny_delete": true,
            "deny_purge": true,
        });
        let free = &[
            "max_age",
            "max_bytes",
            "max_msg_size",
            "max_msgs",
            "max_consumers",
            "duplicate_window",
            "allow_direct",
            "storage",
            "num_replicas",
        ];
        Self { name: names.stream.clone(), all: map(all), free }
    }

    /// The bucket of the leader's lease, in the form that every client of NATS reads as a bucket.
    pub fn bucket(names: &Names, replicas: u32, timing: &Timing) -> Self {
        let name = format!("KV_{}", names.bucket);
        let all = json!({
            "name": name,
            "subjects": [format!("$KV.{}.>", names.bucket)],
            "retention": "limits",
            "discard": "new",
            "storage": "file",
            "num_replicas": replicas,
            "max_age": nanos(timing.ttl),
            "max_msgs_per_subject": 1,
            "duplicate_window": nanos(timing.ttl.min(NAMES)),
            "allow_direct": true,
            "allow_rollup_hdrs": true,
            "deny_delete": true,
            "allow_msg_ttl": true,
            "subject_delete_marker_ttl": nanos(MARKER),
        });
        Self {
            name,
            all: map(all),
            free: &["storage", "num_replicas", "duplicate_window", "allow_direct"],
        }
    }

    /// The bucket of consumers' positions, with so many copies.
    pub fn positions(names: &Names, replicas: u32) -> Self {
        let name = format!("KV_{}", names.positions);
        let all = json!({
            "name": name,
            "subjects": [format!("$KV.{}.>", names.positions)],
            "retention": "limits",
            "discard": "new",
            "storage": "file",
            "num_replicas": replicas,
            "max_age": 0,
            // A cluster that is full refuses to replace a record too: writers see to it that it never is.
            "max_msgs": 2 * CONSUMERS_MAX,
            "max_msgs_per_subject": 1,
            "max_msg_size": POSITION_MAX,
            "duplicate_window": nanos(NAMES),
            "allow_direct": true,
            "allow_rollup_hdrs": true,
            "deny_delete": true,
            "deny_purge": false,
        });
        Self {
            name,
            all: map(all),
            free: &["storage", "num_replicas", "duplicate_window", "allow_direct", "max_msg_size"],
        }
    }

    /// Where `found` is another configuration. Of a stream that was made just now (`new`) everything counts; of one that
    /// was there, what an operator may not set otherwise, and that nothing else writes to it.
    pub fn differences(&self, found: &Map<String, Value>, new: bool) -> Vec<Difference> {
        let own = self.all.iter().filter(|(setting, _)| new || !self.free.contains(&&***setting));
        let forbidden = ["mirror", "sources", "subject_transform", "sealed", "no_ack"];
        let none = forbidden.iter().map(|setting| ((*setting).to_owned(), Value::Null));
        let own = own.map(|(setting, wanted)| (setting.clone(), wanted.clone()));
        own.chain(none)
            .filter(|(setting, wanted)| !same(wanted, found.get(setting)))
            .map(|(setting, wanted)| {
                let found = found.get(&setting).cloned();
                Difference { setting, wanted, found }
            })
            .collect()
    }

    /// Checks `found`, which is of a stream that was made just now or was there.
    ///
    /// # Errors
    ///
    /// It is not as it has to be.
    pub fn check(&self, found: &Map<String, Value>, new: bool) -> Result<(), Error> {
        let differences = self.differences(found, new);
        match differences.is_empty() {
            true => Ok(()),
            false => Err(Error::Settings { stream: self.name.clone(), differences }),
        }
    }
}

/// Whether a setting is as wanted. One that is left out is empty, zero or false.
fn same(wanted: &Value, found: Option<&Value>) -> bool {
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Array(values) => values.is_empty(),
        _ => false,
    };
    match found {
        None => empty(wanted),
        Some(found) => found == wanted || (empty(found) && empty(wanted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::ChainId;

    fn names() -> Names {
        Names::of(&ChainId::new("c").unwrap())
    }

    #[test]
    fn what_is_older_than_the_floor_is_refused_with_both_versions() {
        for (version, level, accepted) in [
            ("2.12.8", 2, true),
            ("2.15.1", 5, true),
            ("2.14.0-RC.1", 4, true),
            ("3.0.0", 9, true),
            ("2.12.7", 2, false),
            ("2.11.11", 1, false),
            ("2.9.10", 0, false),
            ("2.15.1", 1, false),
            ("2.15.1", 0, false),
            ("nightly", 5, false),
            ("2.15", 5, false),
        ] {
            assert_eq!(accept(version, level).is_ok(), accepted, "{version} {level}");
        }
        let refused = accept("2.11.4", 1).unwrap_err().to_string();
        assert!(refused.contains("2.11.4") && refused.contains("2.12.8"), "{refused}");
    }

    #[test]
    fn a_setting_that_a_server_left_out_is_named() {
        let bucket = Wanted::bucket(&names(), 1, &Timing::SINGLE);
        assert_eq!(bucket.differences(&bucket.all, true), []);
        let mut ignored = bucket.all.clone();
        ignored.remove("subject_delete_marker_ttl");
        ignored.remove("allow_msg_ttl");
        let differences = bucket.differences(&ignored, true);
        let named: Vec<_> = differences.iter().map(|one| one.setting.as_str()).collect();
        assert_eq!(named, ["allow_msg_ttl", "subject_delete_marker_ttl"]);
        let words = bucket.check(&ignored, true).unwrap_err().to_string();
        assert!(words.contains("allow_msg_ttl is not known to the server"), "{words}");
    }

    #[test]
    fn an_operator_may_keep_more_and_may_not_change_what_the_fence_rests_on() {
        let events = Wanted::events(&names(), 3);
        let mut found = events.all.clone();
        for (setting, value) in [("max_age", json!(0)), ("num_replicas", json!(1))] {
            found.insert(setting.into(), value);
        }
        assert_eq!(events.differences(&found, false), []);
        assert_eq!(events.differences(&found, true).len(), 2, "of a new one everything counts");
        for (setting, value) in [
            ("retention", json!("workqueue")),
            ("discard", json!("new")),
            ("subjects", json!(["tidewatch.>"])),
            ("deny_delete", json!(false)),
            ("max_msgs_per_subject", json!(1)),
            ("sources", json!([{ "name": "other" }])),
            ("mirror", json!({ "name": "other" })),
            ("no_ack", json!(true)),
        ] {
            let mut changed = found.clone();
            changed.insert(setting.into(), value);
            let differences = events.differences(&changed, false);
            assert_eq!(differences.len(), 1, "{setting}: {differences:?}");
            assert_eq!(differences[0].setting, setting);
        }
    }
}

//! How the queue's streams and consumers have to be. What it is compared with, and how, is
//! [`settings`](crate::settings).

use super::values::{FILERS, JobNames, WORKERS};
use crate::settings::{Wanted, map, nanos};
use serde_json::{Value, json};
use std::time::Duration;

/// Inputs up to this size, in bytes, are in the message itself; larger ones are an object.
pub const INLINE_MAX: usize = 64 << 10;
/// One piece of an object, in bytes: what NATS's own tools use.
pub const PIECE: usize = 128 << 10;
/// Jobs that wait, and are worked on, at the most.
pub const JOBS_MAX: u64 = 10_000;
/// How long a worker has a job without a sign of life.
pub const LEASE: Duration = Duration::from_secs(30);
/// The shortest lease that a consumer may have been given: a third of it is the interval of its renewals.
pub const LEASE_MIN: Duration = Duration::from_secs(1);
/// How often a job is given to workers.
pub const DELIVERIES_MAX: u64 = 5;
/// Dead letters that are filed at once.
pub(super) const FILED_MAX: usize = 16;
/// Jobs that are worked on at once, by all workers.
const TAKEN_MAX: u64 = 1_024;
/// How long names of messages are remembered.
const NAMES: Duration = Duration::from_secs(120);
/// How long results and objects that nobody released are kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Bytes of objects that are kept.
const OBJECTS_BYTES: u64 = 1 << 30;
/// Bytes of dead letters.
const DEAD_BYTES: u64 = 16 << 20;

const SIZES: &[&str] = &[
    "max_age",
    "max_bytes",
    "max_msgs",
    "max_msg_size",
    "max_consumers",
    "duplicate_window",
    "allow_direct",
    "storage",
    "num_replicas",
];

/// The stream of jobs: a message ends when it is acknowledged, and a full stream refuses more.
pub fn jobs(names: &JobNames, replicas: u32) -> Wanted {
    let all = json!({
        "name": names.jobs(),
        "subjects": [names.subjects()],
        "retention": "workqueue",
        "discard": "new",
        "storage": "file",
        "num_replicas": replicas,
        "max_msgs": JOBS_MAX,
        "max_msg_size": INLINE_MAX + 4096,
        "max_age": 0,
        "max_bytes": -1,
        "max_msgs_per_subject": -1,
        "max_consumers": -1,
        "duplicate_window": nanos(NAMES),
        "allow_direct": true,
        "deny_delete": false,
        "deny_purge": false,
    });
    Wanted { name: names.jobs(), all: map(all), free: SIZES }
}

/// Its one consumer: each job for one worker at a time, for as long as that gives signs of life.
pub fn workers() -> Wanted {
    let all = json!({
        "durable_name": WORKERS,
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_policy": "explicit",
        "ack_wait": nanos(LEASE),
        "max_deliver": DELIVERIES_MAX,
        "max_ack_pending": TAKEN_MAX,
        // A back-off would be the lease in place of `ack_wait`.
        "backoff": Value::Null,
        "deliver_subject": Value::Null,
        "filter_subject": Value::Null,
        "filter_subjects": Value::Null,
        "priority_groups": Value::Null,
    });
    let free = &["ack_wait", "max_deliver", "max_ack_pending"];
    Wanted { name: WORKERS.into(), all: map(all), free }
}

/// What the server says of jobs that were given up: kept, so that none is lost while nobody listens.
pub fn dead(names: &JobNames, replicas: u32) -> Wanted {
    let advisory =
        |kind: &str| format!("$JS.EVENT.ADVISORY.CONSUMER.{kind}.{}.{WORKERS}", names.jobs());
    let all = json!({
        "name": names.dead(),
        "subjects": [advisory("MAX_DELIVERIES"), advisory("MSG_TERMINATED")],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "num_replicas": replicas,
        "max_age": nanos(KEPT),
        "max_bytes": DEAD_BYTES,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_consumers": -1,
        "allow_direct": true,
    });
    Wanted { name: names.dead(), all: map(all), free: SIZES }
}

/// The consumer of dead letters, for whoever files them.
pub fn filers() -> Wanted {
    let all = json!({
        "durable_name": FILERS,
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_policy": "explicit",
        "ack_wait": nanos(LEASE),
        "max_deliver": -1,
        "backoff": Value::Null,
        "deliver_subject": Value::Null,
        "filter_subject": Value::Null,
        "filter_subjects": Value::Null,
    });
    Wanted { name: FILERS.into(), all: map(all), free: &["ack_wait"] }
}

/// The bucket of results, as clients of NATS read it.
pub fn results(names: &JobNames, replicas: u32) -> Wanted {
    let name = format!("KV_{}", names.results());
    let all = json!({
        "name": name,
        "subjects": [format!("$KV.{}.>", names.results())],
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "num_replicas": replicas,
        "max_age": nanos(KEPT),
        "max_msgs_per_subject": 1,
        "duplicate_window": nanos(NAMES),
        "allow_direct": true,
        "allow_rollup_hdrs": true,
        "deny_purge": false,
    });
    Wanted { name, all: map(all), free: SIZES }
}

/// The bucket of objects, as clients of NATS read it.
pub fn objects(names: &JobNames, replicas: u32) -> Wanted {
    let (name, bucket) = (format!("OBJ_{}", names.objects()), names.objects());
    let all = json!({
        "name": name,
        "subjects": [format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "num_replicas": replicas,
        "max_age": nanos(KEPT),
        "max_bytes": OBJECTS_BYTES,
        "allow_direct": true,
        "allow_rollup_hdrs": true,
        "deny_purge": false,
    });
    Wanted { name, all: map(all), free: SIZES }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::Digest;

    #[test]
    fn what_a_lease_and_the_queue_rest_on_cannot_be_changed_and_sizes_can() {
        let names = JobNames::of(Digest([7; 32]));
        let (jobs, workers) = (jobs(&names, 3), workers());
        for (wanted, setting, value, refused) in [
            (&jobs, "retention", json!("limits"), true),
            (&jobs, "discard", json!("old"), true),
            (&jobs, "deny_delete", json!(true), true),
            (&jobs, "max_msgs_per_subject", json!(1), true),
            (&jobs, "max_msgs", json!(20_000), false),
            (&jobs, "num_replicas", json!(1), false),
            (&workers, "ack_policy", json!("none"), true),
            (&workers, "backoff", json!([1_000_000_000_u64]), true),
            (&workers, "filter_subject", json!("tidewatch.jobs.x"), true),
            (&workers, "deliver_subject", json!("push"), true),
            (&workers, "ack_wait", json!(60_000_000_000_u64), false),
            (&workers, "max_ack_pending", json!(1), false),
        ] {
            let mut found = wanted.all.clone();
            found.insert(setting.into(), value);
            assert_eq!(wanted.check(&found, false).is_err(), refused, "{setting}");
        }
    }
}

//! Alert rules for Prometheus. What each means, and what to do, is in `docs/operating.md`.

use std::fmt::Write as _;

/// Whether somebody has to get up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    /// Now: consumers get nothing, or what they got is in doubt.
    Page,
    /// In working hours.
    Ticket,
}

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
        }
    }
}

/// One rule.
#[derive(Clone, Copy, Debug)]
struct Alert {
    name: &'static str,
    expression: &'static str,
    /// How long it has to hold.
    lasts: &'static str,
    severity: Severity,
    /// What is so, with the labels and the value that Prometheus fills in.
    summary: &'static str,
}

const fn alert(
    name: &'static str,
    (severity, lasts): (Severity, &'static str),
    expression: &'static str,
    summary: &'static str,
) -> Alert {
    Alert { name, expression, lasts, severity, summary }
}

use Severity::{Page, Ticket};

/// The rules. They compare moments that were exported with the time of whoever asks: a process that stands still does
/// not freeze what would tell of it.
const ALERTS: &[Alert] = &[
    alert(
        "TidewatchDown",
        (Page, "5m"),
        r#"up{job=~"tidewatch.*"} == 0"#,
        "{{ $labels.instance }} does not answer Prometheus",
    ),
    alert(
        "TidewatchNoContact",
        (Page, "1m"),
        "time() - (tidewatch_follower_driver_contact_timestamp_seconds > 0) > 120",
        "the source of {{ $labels.instance }} has not answered for {{ $value | humanizeDuration }}",
    ),
    alert(
        "TidewatchNoBlocks",
        (Page, "5m"),
        r#"time() - (tidewatch_follower_driver_tip_timestamp_seconds{kind="proposed"} > 0) > 300"#,
        "no block came to {{ $labels.instance }} for {{ $value | humanizeDuration }}",
    ),
    alert(
        "TidewatchFinalityStalled",
        (Ticket, "5m"),
        r#"time() - (tidewatch_follower_driver_tip_timestamp_seconds{kind="finalized"} > 0) > 1800"#,
        "nothing became final at {{ $labels.instance }} for {{ $value | humanizeDuration }}",
    ),
    alert(
        "TidewatchConflicted",
        (Page, "0m"),
        r#"tidewatch_follower_driver_state{kind="conflicted"} == 1"#,
        "{{ $labels.instance }} is told to undo what is final, and does not",
    ),
    alert(
        "TidewatchDeepReorg",
        (Ticket, "0m"),
        r#"increase(tidewatch_follower_driver_prune_depth_blocks_count[10m]) - ignoring(le) increase(tidewatch_follower_driver_prune_depth_blocks_bucket{le="16.0"}[10m]) > 0"#,
        "a reorg at {{ $labels.instance }} took more than 16 blocks away",
    ),
    alert(
        "TidewatchFaults",
        (Ticket, "15m"),
        // A follower asks again after half a minute at the most: ten times in five.
        "sum by (job, instance, kind) (rate(tidewatch_follower_driver_faults_total[5m])) > 0.02",
        "{{ $labels.instance }} refuses what its source says, or gets none, again and again: {{ $labels.kind }}",
    ),
    alert(
        "TidewatchNotReady",
        (Page, "5m"),
        "tidewatch_serve_ready == 0",
        "{{ $labels.instance }} serves, and is not ready",
    ),
    alert(
        "TidewatchConsumerBehind",
        (Ticket, "10m"),
        // Half of the events that are kept by default.
        "tidewatch_store_retention_unacknowledged > 32768",
        "a consumer of {{ $labels.instance }} is {{ $value }} events behind",
    ),
    alert(
        "TidewatchConsumerFailing",
        (Ticket, "0m"),
        "increase(tidewatch_follower_delivery_failures_total[10m]) > 3",
        "a consumer of {{ $labels.instance }} fails again and again",
    ),
    alert(
        "TidewatchNatsNoPublisher",
        (Page, "2m"),
        "max by (job) (tidewatch_nats_elector_leader or tidewatch_nats_connected) == 0",
        "of the followers that publish to NATS none does",
    ),
    alert(
        "TidewatchNatsForgot",
        (Ticket, "0m"),
        "increase(tidewatch_nats_publisher_forgotten_total[10m]) > 0",
        "the NATS cluster of {{ $labels.instance }} forgot messages that it had acknowledged",
    ),
    alert(
        "TidewatchSinkFailing",
        (Ticket, "0m"),
        "sum by (job, instance) (increase(tidewatch_sink_postgres_failures_total[10m])) > 3",
        "the sink {{ $labels.instance }} loses its database, or is refused by it, again and again",
    ),
    alert(
        "TidewatchWebhookFailing",
        (Ticket, "15m"),
        "rate(tidewatch_sink_webhook_failed_total[10m]) > 0 unless rate(tidewatch_sink_webhook_delivered_total[10m]) > 0",
        "an endpoint of {{ $labels.instance }} has taken nothing for 10 minutes",
    ),
    alert(
        "TidewatchWebhookGaveUp",
        (Page, "0m"),
        "increase(tidewatch_sink_webhook_dead_total[10m]) > 0",
        "{{ $labels.instance }} gave events up that their endpoint did not take",
    ),
    alert(
        "TidewatchExecutionFailing",
        (Page, "5m"),
        // One that is away is called with the heartbeat alone: once a minute.
        "sum by (job, instance) (rate(tidewatch_execution_executor_faults_total[5m])) > 0.01",
        "the execution client of {{ $labels.instance }} fails or refuses",
    ),
    alert(
        "TidewatchProvingStalled",
        (Page, "5m"),
        "tidewatch_proving_scheduler_stalled == 1",
        "the lowest block of {{ $labels.instance }} that is not proven waits too long",
    ),
    alert(
        "TidewatchProofsPoisoned",
        (Page, "0m"),
        r#"tidewatch_proving_scheduler_jobs{kind="poisoned"} > 0"#,
        "{{ $value }} blocks of {{ $labels.instance }} were given up by its provers",
    ),
    alert(
        "TidewatchSequencerStalled",
        (Page, "1m"),
        "tidewatch_coordinator_stalled == 1",
        "the sequencer {{ $labels.instance }} has made no block for too long",
    ),
    alert(
        "TidewatchSentinelOutOfStep",
        (Ticket, "15m"),
        "tidewatch_sentinel_in_step == 0",
        "the sentinel {{ $labels.instance }} judges nothing: what it sees is not in step with the chain",
    ),
    alert(
        "TidewatchContradiction",
        (Page, "0m"),
        r#"increase(tidewatch_sentinel_events_total{kind="contradicted"}[1h]) > 0"#,
        "a validator contradicted itself: {{ $labels.instance }} has the evidence",
    ),
];

/// The file for Prometheus's `rule_files`.
pub(super) fn rules() -> String {
    let mut text = String::from("groups:\n  - name: tidewatch\n    rules:\n");
    for Alert { name, expression, lasts, severity, summary } in ALERTS {
        // In single quotes YAML reads everything as it stands, but them.
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        // Writing into a string does not fail.
        let _ = write!(
            text,
            "      - alert: {name}\n        expr: {}\n        for: {lasts}\n        labels:\n          severity: {}\n        \
             annotations:\n          summary: {}\n          runbook: {}\n",
            quoted(expression),
            severity.as_str(),
            quoted(summary),
            quoted(&format!("docs/operating.md#{}", name.to_lowercase())),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::monitoring::table::{TABLE, VARIABLES, served};
    use std::collections::BTreeSet;

    #[test]
    fn an_alert_is_about_metrics_of_the_table_and_the_documentation_says_what_to_do() {
        let documented = include_str!("../../../../../docs/operating.md");
        // The first value of a variable is the one that is shown unless somebody chooses.
        let first = |name: &&str| {
            VARIABLES.iter().fold((*name).to_owned(), |name, (variable, _, values)| {
                name.replace(&format!("${variable}_"), &format!("{}_", values[0]))
            })
        };
        let known: BTreeSet<_> =
            TABLE.iter().flat_map(|row| row.metrics).map(|name| served(&first(name))).collect();
        for Alert { name, expression, .. } in ALERTS {
            let words =
                expression.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
            for metric in words.filter(|word| word.starts_with("tidewatch_")) {
                let base = ["_total", "_bucket", "_count"]
                    .iter()
                    .find_map(|suffix| metric.strip_suffix(suffix))
                    .unwrap_or(metric);
                assert!(known.contains(base), "{name}: {metric}");
            }
            assert!(
                documented.contains(&format!("### {name}\n")),
                "{name} is not in docs/operating.md"
            );
        }
        let headings = documented.lines().filter_map(|line| line.strip_prefix("### Tidewatch"));
        for heading in headings {
            let there = ALERTS.iter().any(|alert| alert.name == format!("Tidewatch{heading}"));
            assert!(there, "there is no alert Tidewatch{heading}");
        }
    }
}

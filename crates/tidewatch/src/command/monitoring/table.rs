//! The table of metrics: what is served, and how it is drawn.

/// How a metric is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draw {
    /// As it is.
    Value,
    /// By how much a counter grows in a second.
    Rate,
    /// How long ago a moment was. Zero is no moment.
    Age,
    /// The value that 99 of a hundred observations are not above.
    P99,
    /// The same of a histogram of what there is now.
    P99Now,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Things.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// 1 while something holds, 0 while it does not.
    Switch,
}

/// Metrics that one panel shows, and how. Those that follow each other with the same group and panel share it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Its panels stand together.
    pub(super) group: &'static str,
    /// The title of the panel.
    pub(super) panel: &'static str,
    /// Names, without what all of Tidewatch's begin with. `$NAME` stands for one of [`VARIABLES`], whose value whoever
    /// looks chooses.
    pub(super) metrics: &'static [&'static str],
    /// How they are drawn.
    pub(super) draw: Draw,
    /// What they count.
    pub(super) unit: Unit,
}

const fn row(
    group: &'static str,
    panel: &'static str,
    (draw, unit): (Draw, Unit),
    metrics: &'static [&'static str],
) -> Row {
    Row { group, panel, metrics, draw, unit }
}

const VALUE: (Draw, Unit) = (Draw::Value, Unit::Count);
const RATE: (Draw, Unit) = (Draw::Rate, Unit::Count);
const AGE: (Draw, Unit) = (Draw::Age, Unit::Seconds);
const SECONDS: (Draw, Unit) = (Draw::Value, Unit::Seconds);
const SWITCH: (Draw, Unit) = (Draw::Value, Unit::Switch);
const BYTES: (Draw, Unit) = (Draw::Value, Unit::Bytes);
const BYTES_RATE: (Draw, Unit) = (Draw::Rate, Unit::Bytes);
const P99: (Draw, Unit) = (Draw::P99, Unit::Count);
const P99_SECONDS: (Draw, Unit) = (Draw::P99, Unit::Seconds);

const TIPS: &str = "Tips";
const PASSES: &str = "Passes and faults";
const SOURCE: &str = "Source";
const STORE: &str = "Store and consumers";
const SERVING: &str = "Serving";
const NATS: &str = "NATS";
const SINKS: &str = "Sinks";
const EXECUTION: &str = "Execution client";
const PROVING: &str = "Proving";
const SEQUENCER: &str = "Sequencer";
const HOLDERS: &str = "Key holders";
const SENTINEL: &str = "Sentinel";
const DISK: &str = "Disk, by journal";
const RUNTIME: &str = "Process";

/// The table, in the order in which it is shown.
#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    row(TIPS, "State", SWITCH, &["$follower_driver_state"]),
    row(TIPS, "Height", VALUE, &["$follower_driver_tip_height", "$follower_driver_delivered_height", "$follower_driver_verification_height"]),
    row(TIPS, "Blocks behind the source", VALUE, &["$follower_driver_lag_blocks"]),
    row(TIPS, "Since each tier moved", AGE, &["$follower_driver_tip_timestamp_seconds"]),
    row(TIPS, "Since the source answered", AGE, &["$follower_driver_contact_timestamp_seconds"]),
    row(TIPS, "Age of the source's newest block", AGE, &["$follower_driver_source_tip_timestamp_seconds"]),
    row(TIPS, "Reorgs", RATE, &["$follower_driver_prunes"]),
    row(TIPS, "Depth of a reorg", P99, &["$follower_driver_prune_depth_blocks"]),
    row(TIPS, "Epoch", VALUE, &["$follower_driver_epoch"]),
    row(TIPS, "Age of the newest end of an epoch", SECONDS, &["$follower_driver_epoch_age_seconds"]),
    row(PASSES, "Passes", RATE, &["$follower_driver_passes"]),
    row(PASSES, "Source calls", RATE, &["$follower_driver_source_calls"]),
    row(PASSES, "Faults", RATE, &["$follower_driver_faults"]),
    row(PASSES, "Mailboxes that were full", RATE, MAILBOXES),
    row(SOURCE, "Requests", RATE, &["source_requests", "source_calls", "source_rollup_requests", "source_rollup_calls", "source_execution_requests", "source_execution_calls", "source_beacon_requests", "source_beacon_calls", "source_levels_requests", "source_levels_calls"]),
    row(SOURCE, "Refused or failed", RATE, &["source_refusals", "source_rollup_refusals", "source_execution_refusals", "source_beacon_refusals", "source_levels_refusals"]),
    row(SOURCE, "Certificates checked", RATE, &["source_certificate_checks", "source_certificate_batches"]),
    row(SOURCE, "Push connection", SWITCH, &["source_connected"]),
    row(SOURCE, "Pushes", RATE, &["source_pushes", "source_stale", "source_connects", "source_push_silent"]),
    row(STORE, "Oldest that is kept", VALUE, &["store_retention_oldest_event", "store_retention_oldest_block", "store_retention_oldest_proof"]),
    row(STORE, "Pins", VALUE, &["store_retention_pins", "store_retention_lowest_pin"]),
    row(STORE, "Events that the slowest consumer did not acknowledge", VALUE, &["store_retention_unacknowledged", "store_retention_unacknowledged_max"]),
    row(STORE, "Events acknowledged", VALUE, &["follower_delivery_acknowledged"]),
    row(STORE, "Batches in flight", VALUE, &["follower_delivery_in_flight"]),
    row(STORE, "Events handled", RATE, &["follower_delivery_handled"]),
    row(STORE, "Failures and restarts of consumers", RATE, &["follower_delivery_failures", "follower_delivery_restarts"]),
    row(SERVING, "Ready", SWITCH, &["serve_ready"]),
    row(SERVING, "Streams", VALUE, &["serve_streams"]),
    row(SERVING, "Streams opened and ended", RATE, &["serve_streams_opened", "serve_streams_ended"]),
    row(SERVING, "Lines sent", RATE, &["serve_events_sent"]),
    row(SERVING, "Positions asked for", RATE, &["serve_resumes"]),
    row(SERVING, "Requests refused", RATE, &["serve_refused"]),
    row(SERVING, "From the log to the socket", P99_SECONDS, &["serve_delivery_seconds"]),
    row(SERVING, "Events of a bridge", P99, &["serve_bridge_events"]),
    row(SERVING, "Events that a stream is behind", (Draw::P99Now, Unit::Count), &["serve_behind_events"]),
    row(SERVING, "Seconds that a stream is behind", (Draw::P99Now, Unit::Seconds), &["serve_behind_seconds"]),
    row(NATS, "Publishes for the chain", SWITCH, &["nats_elector_leader", "nats_connected"]),
    row(NATS, "Fencing token", VALUE, &["nats_publisher_token"]),
    row(NATS, "Last sequence of the stream", VALUE, &["nats_publisher_sequence"]),
    row(NATS, "Since a message was acknowledged", AGE, &["nats_publisher_publish_timestamp_seconds"]),
    row(NATS, "Published", RATE, &["nats_publisher_published"]),
    row(NATS, "Refused, unanswered, forgotten", RATE, &["nats_publisher_refused", "nats_publisher_unanswered", "nats_publisher_forgotten"]),
    row(NATS, "Renewals of the lease", RATE, &["nats_elector_renewals", "nats_elector_renewals_failed"]),
    row(NATS, "Leaderships that ended", RATE, &["nats_elector_leaderships_ended"]),
    row(NATS, "Takes jobs, and has some", VALUE, &["nats_jobs_connected", "nats_jobs_working"]),
    row(NATS, "Jobs taken, and ended", RATE, &["nats_jobs_taken", "nats_jobs_ended"]),
    row(NATS, "Requests about jobs without an answer", RATE, &["nats_jobs_unanswered"]),
    row(NATS, "Dead letters of jobs", RATE, &["nats_jobs_dead_letters", "proving_queue_dead_letters"]),
    row(SINKS, "Events in the database", VALUE, &["sink_postgres_position"]),
    row(SINKS, "Events and transactions", RATE, &["sink_postgres_events", "sink_postgres_commits"]),
    row(SINKS, "Connections, and those given up", RATE, &["sink_postgres_connections", "sink_postgres_failures"]),
    row(SINKS, "Webhooks", RATE, &["sink_webhook_delivered", "sink_webhook_failed", "sink_webhook_dead"]),
    row(EXECUTION, "Height", VALUE, &["execution_executor_head_height", "execution_executor_floor_height", "execution_acknowledged_height"]),
    row(EXECUTION, "Calls", RATE, &["execution_executor_calls"]),
    row(EXECUTION, "Faults and retries", RATE, &["execution_executor_faults", "execution_executor_retries", "execution_failures", "execution_healed"]),
    row(PROVING, "Height", VALUE, &["proving_scheduler_height"]),
    row(PROVING, "Blocks not proven", VALUE, &["proving_scheduler_lag_blocks", "proving_scheduler_jobs"]),
    row(PROVING, "The lowest block waits too long", SWITCH, &["proving_scheduler_stalled"]),
    row(PROVING, "Age of the oldest block that is not proven", SECONDS, &["proving_scheduler_oldest_unproven_seconds", "proving_progress_lag_seconds"]),
    row(PROVING, "Slots", VALUE, &["proving_scheduler_prover_slots", "proving_scheduler_prover_slots_used"]),
    row(PROVING, "Blocks proven", RATE, &["proving_scheduler_commits"]),
    row(PROVING, "From committed to proven", P99_SECONDS, &["proving_scheduler_commit_latency_seconds"]),
    row(PROVING, "Attempts of a block", P99, &["proving_scheduler_attempts"]),
    row(PROVING, "Attempts without a proof", RATE, &["proving_scheduler_failures"]),
    row(PROVING, "What happened", RATE, &["proving_scheduler_events"]),
    row(PROVING, "Inputs and proofs that are kept", BYTES, &["proving_scheduler_inputs_bytes", "proving_scheduler_waiting_bytes"]),
    row(PROVING, "Calls of Miden's sequencers", VALUE, &["miden_calls"]),
    row(PROVING, "How they ended", RATE, &["miden_calls_ended"]),
    row(SEQUENCER, "No block for too long", SWITCH, &["coordinator_stalled"]),
    row(SEQUENCER, "Stage", SWITCH, &["coordinator_stage"]),
    row(SEQUENCER, "Height", VALUE, &["coordinator_head_height", "coordinator_published_height"]),
    row(SEQUENCER, "Attempt that is outstanding", VALUE, &["coordinator_attempt"]),
    row(SEQUENCER, "Transactions", RATE, &["intake_accepted", "intake_refused", "coordinator_transactions"]),
    row(SEQUENCER, "Proposals", RATE, &["coordinator_proposals"]),
    row(SEQUENCER, "What happened", RATE, &["coordinator_events"]),
    row(SEQUENCER, "From a preblock to the next proposal", P99_SECONDS, &["coordinator_turnaround_seconds"]),
    row(SEQUENCER, "Stream of preblocks", RATE, &["monitor_connections", "monitor_connections_ended", "monitor_dropped"]),
    row(HOLDERS, "Newest preblock", VALUE, &["network_ordering_newest"]),
    row(HOLDERS, "Streams", VALUE, &["network_ordering_streams"]),
    row(HOLDERS, "Connections that were cut or had to wait", RATE, &["network_ordering_connections"]),
    row(HOLDERS, "Proposals, orders, seeds, transactions", RATE, &["network_ordering_proposals", "network_ordering_orders", "network_ordering_shares", "network_ordering_transactions"]),
    row(SENTINEL, "What is seen is in step", SWITCH, &["sentinel_in_step"]),
    row(SENTINEL, "Slots", VALUE, &["sentinel_passed_slot", "sentinel_processed_slot"]),
    row(SENTINEL, "Slots that wait to be judged", VALUE, &["sentinel_waiting_slots"]),
    row(SENTINEL, "Epoch that was evaluated", VALUE, &["sentinel_evaluated_epoch"]),
    row(SENTINEL, "Slots, by how they were judged", RATE, &["sentinel_slots"]),
    row(SENTINEL, "Proposals that were due", RATE, &["sentinel_proposals"]),
    row(SENTINEL, "Attestations that were due", RATE, &["sentinel_attestations", "sentinel_attestations_missed"]),
    row(SENTINEL, "Observations", RATE, &["sentinel_observations"]),
    row(SENTINEL, "Verdicts, withdrawals, contradictions", RATE, &["sentinel_events"]),
    row(SENTINEL, "Failures", RATE, &["sentinel_faults"]),
    row(SENTINEL, "Reorgs below judged slots", RATE, &["sentinel_reorgs", "sentinel_slots_stale", "sentinel_deep_reorgs"]),
    row(SENTINEL, "Votes heard", RATE, &["listener_votes", "listener_invalid", "listener_dropped", "listener_missed"]),
    row(DISK, "Appends", RATE, &["$journal_append_calls", "$journal_append_many_calls", "$journal_append_prepared_calls"]),
    row(DISK, "Time of an append", P99_SECONDS, &["$journal_append_duration", "$journal_append_many_duration", "$journal_append_prepared_duration"]),
    row(DISK, "Commits and syncs", RATE, &["$journal_commit_calls", "$journal_sync_calls", "$journal_start_sync_calls"]),
    row(DISK, "Time of a commit and of a sync", P99_SECONDS, &["$journal_commit_duration", "$journal_sync_duration"]),
    row(DISK, "Reads", RATE, &["$journal_read_calls", "$journal_read_many_calls", "$journal_items_read"]),
    row(DISK, "Time of a read", P99_SECONDS, &["$journal_read_duration", "$journal_read_many_duration"]),
    row(DISK, "Cache", RATE, &["$journal_cache_hits", "$journal_cache_misses"]),
    row(DISK, "Items", VALUE, &["$journal_size", "$journal_retained", "$journal_pruning_boundary", "$journal_tail_items"]),
    row(DISK, "Files", VALUE, &["$journal_data_tracked", "$journal_blobs_tracked"]),
    row(DISK, "Files synced and pruned", RATE, &["$journal_data_synced", "$journal_data_pruned", "$journal_blobs_synced", "$journal_blobs_pruned"]),
    row(DISK, "Keys of a table", VALUE, &["$table_keys"]),
    row(DISK, "Writes of a table", RATE, &["$table_sync_overwrites", "$table_sync_rewrites"]),
    row(RUNTIME, "Memory", BYTES, &["runtime_process_rss", "runtime_process_virtual_memory"]),
    row(RUNTIME, "Tasks", VALUE, &["runtime_tasks_running"]),
    row(RUNTIME, "Tasks begun", RATE, &["runtime_tasks_spawned"]),
    row(RUNTIME, "Disk", BYTES_RATE, &["runtime_storage_read_bytes", "runtime_storage_write_bytes"]),
    row(RUNTIME, "Disk operations", RATE, &["runtime_storage_reads", "runtime_storage_writes", "runtime_storage_syncs", "runtime_storage_resizes"]),
    row(RUNTIME, "Open files", VALUE, &["runtime_open_blobs"]),
    row(RUNTIME, "Buffers", VALUE, &["runtime_storage_buffer_pool_buffer_pool_created"]),
    row(RUNTIME, "Buffers that were missing or too small", RATE, &["runtime_storage_buffer_pool_buffer_pool_exhausted", "runtime_storage_buffer_pool_buffer_pool_oversized", "runtime_network_buffer_pool_buffer_pool_oversized"]),
    row(RUNTIME, "Network of the runtime", BYTES_RATE, &["runtime_inbound_bandwidth", "runtime_outbound_bandwidth"]),
    row(RUNTIME, "Connections of the runtime", RATE, &["runtime_inbound_connections", "runtime_outbound_connections"]),
];

/// Of each actor that has one: how often a sender found it full.
const MAILBOXES: &[&str] = &[
    "$follower_driver_mailbox_backoff",
    "$follower_supervisor_mailbox_backoff",
    "follower_delivery_mailbox_backoff",
    "source_checker_mailbox_backoff",
    "source_upstream_mailbox_backoff",
    "source_epochs_mailbox_backoff",
    "execution_executor_mailbox_backoff",
    "proving_scheduler_mailbox_backoff",
    "coordinator_mailbox_backoff",
    "sentinel_mailbox_backoff",
    "listener_mailbox_backoff",
];

/// What may be chosen, as `$NAME`: its name, its title, and its values.
pub(super) const VARIABLES: [(&str, &str, &[&str]); 3] = [
    ("follower", "Follower", FOLLOWERS),
    ("journal", "Journal", JOURNALS),
    ("table", "Table", TABLES),
];

/// That of the chain, and the one that an execution client has.
const FOLLOWERS: &[&str] = &["follower", "execution_follower"];

/// Journals on disk.
const JOURNALS: &[&str] = &[
    "store_events",
    "store_events_offsets",
    "store_blocks",
    "store_blocks_offsets",
    "store_proofs",
    "store_proofs_offsets",
    "store_digests",
    "proving_scheduler_disk_table",
    "proving_scheduler_disk_table_offsets",
    "sentinel_history",
    "sentinel_history_offsets",
    "chain_chain",
    "chain_chain_offsets",
    "pool_pool",
    "pool_pool_offsets",
    "network_ordering_orders",
    "network_ordering_orders_offsets",
    "network_ordering_preblocks",
    "network_ordering_preblocks_offsets",
];

/// Tables on disk.
const TABLES: &[&str] = &[
    "store_meta",
    "store_consumers",
    "store_events_offsets_meta",
    "store_blocks_offsets_meta",
    "store_proofs_offsets_meta",
    "store_digests_meta",
    "source_epochs_disk",
    "proving_scheduler_disk_table_offsets_meta",
    "sentinel_history_offsets_meta",
    "published_published",
    "chain_chain_offsets_meta",
    "pool_pool_offsets_meta",
    "network_ordering_orders_offsets_meta",
    "network_ordering_preblocks_offsets_meta",
];

/// The name of a metric as it is served: what is Tidewatch's own begins with its name, and what comes from the runtime
/// has the name that it has in every program on it.
pub(super) fn served(metric: &str) -> String {
    if metric.starts_with("runtime_") { metric.into() } else { format!("tidewatch_{metric}") }
}

//! Options of `monitoring`.

use clap::Subcommand;

/// What can be printed.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Monitoring {
    /// Print a dashboard for Grafana, as JSON: every metric that any command serves.
    ///
    /// Import it (Dashboards, New, Import), or put it where Grafana provisions dashboards from. It asks for the
    /// Prometheus to read, for instances, and for the journal and the table on disk to look at.
    Dashboard,
    /// Print alert rules for Prometheus, as YAML, for a file of `rule_files`.
    ///
    /// Targets are expected in a job whose name begins with `tidewatch`. What each alert means, and what to do, is in
    /// `docs/operating.md`.
    Alerts,
}

//! What the end of a member means: a function of what it is and how it ended.

use super::member::Role;
use tidewatch_core::Severity;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Start it again, after a back-off.
    Restart,
    /// Report it; the others go on.
    Report,
    /// Stop everything else.
    EndNode,
}

/// The decision for a member of `role` that ended by itself, with a fault of `severity` if with any.
/// `restartable` if a factory made it, and may make another one by now.
pub(super) const fn decide(role: Role, severity: Option<Severity>, restartable: bool) -> Decision {
    match (severity, role) {
        (Some(Severity::Transient | Severity::Behind | Severity::Invalid), _) if restartable => {
            Decision::Restart
        }
        (_, Role::Critical) => Decision::EndNode,
        (_, Role::Optional) => Decision::Report,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decision::{EndNode, Report, Restart};
    use Role::{Critical, Optional};
    use Severity::{Behind, Bug, Config, Corrupt, Invalid, Transient};

    #[test]
    fn what_may_work_the_next_time_is_tried_again_and_what_is_critical_ends_the_node() {
        // Without a fault, and by severity: critical, restartable critical, optional, restartable optional.
        let table = [
            (None, [EndNode, EndNode, Report, Report]),
            (Some(Transient), [EndNode, Restart, Report, Restart]),
            (Some(Behind), [EndNode, Restart, Report, Restart]),
            (Some(Invalid), [EndNode, Restart, Report, Restart]),
            (Some(Corrupt), [EndNode, EndNode, Report, Report]),
            (Some(Config), [EndNode, EndNode, Report, Report]),
            (Some(Bug), [EndNode, EndNode, Report, Report]),
        ];
        let columns = [(Critical, false), (Critical, true), (Optional, false), (Optional, true)];
        for (severity, expected) in table {
            let decided = columns.map(|(role, restartable)| decide(role, severity, restartable));
            assert_eq!(decided, expected, "{severity:?}");
        }
    }
}

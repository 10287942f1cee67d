//! A monitor that remembers the faults that it is told.

use commonware_utils::sync::Mutex;
use std::sync::Arc;
use tidewatch_core::{Fault, FaultKind, Monitor};

/// What a follower, or a source, said that went wrong. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<Fault>>>);

impl Faults {
    /// Every fault so far.
    pub fn all(&self) -> Vec<Fault> {
        self.0.lock().clone()
    }

    /// Their kinds.
    pub fn kinds(&self) -> Vec<FaultKind> {
        self.0.lock().iter().map(|fault| fault.kind).collect()
    }
}

impl Monitor for Faults {
    fn fault(&self, fault: &Fault) {
        self.0.lock().push(fault.clone());
    }
}

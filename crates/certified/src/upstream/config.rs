//! Collaborators of an upstream.

use crate::{Epochs, Metrics, Verifier, known::Shared};
use commonware_codec::Read;
use std::sync::Arc;

/// What an upstream works with. All of it is shared with the source.
pub(crate) struct Config<T, X: Epochs, B: Read> {
    /// The endpoint to keep a push connection to.
    pub(crate) transport: Arc<T>,
    /// Checks what is pushed.
    pub(crate) verifier: Arc<Verifier<X, B>>,
    /// Takes in what verified. See [`Shared`] for who writes what.
    pub(crate) shared: Arc<Shared<B>>,
    /// Counts pushes, refusals and connections.
    pub(crate) metrics: Metrics,
    /// Deadlines and limits.
    pub(crate) limits: crate::Config,
}

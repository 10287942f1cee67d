use commonware_p2p::{Message, Receiver};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A p2p receiver that drops all messages while the devnet is paused, so that no quorum can form and
/// the chain does not grow.
#[derive(Debug)]
pub(super) struct Gate<R> {
    inner: R,
    paused: Arc<AtomicBool>,
}

impl<R> Gate<R> {
    pub(super) const fn new(inner: R, paused: Arc<AtomicBool>) -> Self {
        Self { inner, paused }
    }
}

impl<R: Receiver> Receiver for Gate<R> {
    type Error = R::Error;
    type PublicKey = R::PublicKey;

    async fn recv(&mut self) -> Result<Message<Self::PublicKey>, Self::Error> {
        loop {
            let message = self.inner.recv().await?;
            if !self.paused.load(Ordering::Acquire) {
                return Ok(message);
            }
        }
    }
}

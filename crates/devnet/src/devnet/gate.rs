use commonware_p2p::{Message, Receiver};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Lets messages of a p2p channel through, or drops them while the devnet is paused. No quorum can
/// form then, and the chain stands still.
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

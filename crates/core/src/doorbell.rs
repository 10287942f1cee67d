//! Rings that wake whoever follows a source.

use crate::watch::{Sender, watch};
use futures::stream::{BoxStream, Stream, StreamExt as _, unfold};
use std::{
    fmt,
    future::{Future, poll_fn},
    task::{Context, Poll},
};

/// Rings every [`Doorbell`] that listens to it.
#[derive(Debug)]
pub struct Bell(Sender<()>);

impl Default for Bell {
    fn default() -> Self {
        Self(watch(()).0)
    }
}

impl Bell {
    /// A bell that nobody listens to yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rings. Every doorbell hears it, also one whose driver is busy just now; several rings that a
    /// driver did not come to become one.
    pub fn ring(&self) {
        self.0.change(|()| true);
    }

    /// A doorbell of its own for one more driver. It hears every ring from now on.
    pub fn listen(&self) -> Doorbell {
        Doorbell::new(unfold(self.0.subscribe(), |mut rings| async move {
            rings.changed().await.ok()?;
            Some(((), rings))
        }))
    }
}

/// One driver's ear at a source: resolves when the source may have moved.
///
/// A ring carries nothing: it only makes the driver start a pass. Each doorbell remembers what it heard,
/// so drivers that share a source do not take rings from each other. A doorbell whose bells are gone
/// stays silent; its driver polls.
pub struct Doorbell {
    rings: Vec<BoxStream<'static, ()>>,
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell").field("bells", &self.rings.len()).finish()
    }
}

impl Doorbell {
    /// Never rings: for a source without pushes.
    pub const fn silent() -> Self {
        Self { rings: Vec::new() }
    }

    /// Rings for every item of `rings`, and never again once that has ended. It is polled only while its
    /// driver listens, and may open a subscription of its own then.
    pub fn new(rings: impl Stream<Item = ()> + Send + 'static) -> Self {
        Self { rings: vec![rings.boxed()] }
    }

    /// Rings when any of `doorbells` does.
    pub fn any(doorbells: impl IntoIterator<Item = Self>) -> Self {
        Self { rings: doorbells.into_iter().flat_map(|doorbell| doorbell.rings).collect() }
    }

    /// Resolves at the next ring, or at once if there was one since it resolved last.
    ///
    /// # Cancel safety
    ///
    /// Dropped, no ring is lost.
    pub fn rung(&mut self) -> impl Future<Output = ()> + Send {
        poll_fn(|context| self.poll(context))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut rung = false;
        // All of them are polled: rings of several bells at once are one ring.
        self.rings.retain_mut(|rings| match rings.poll_next_unpin(context) {
            Poll::Ready(Some(())) => {
                rung = true;
                true
            }
            Poll::Ready(None) => false,
            Poll::Pending => true,
        });
        if rung { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn heard(doorbell: &mut Doorbell) -> bool {
        doorbell.rung().now_or_never().is_some()
    }

    #[test]
    fn every_listener_hears_every_ring_once() {
        let bell = Bell::new();
        bell.ring();
        let (mut one, mut two) = (bell.listen(), bell.listen());
        assert!(!heard(&mut one), "that was before it listened");
        bell.ring();
        bell.ring();
        for doorbell in [&mut one, &mut two] {
            assert!(heard(doorbell), "the other one's ring is not taken");
            assert!(!heard(doorbell), "two rings became one");
        }
        bell.ring();
        assert!(heard(&mut two));
        assert!(heard(&mut one));
    }

    #[test]
    fn a_listener_that_left_loses_nothing() {
        let bell = Bell::new();
        let mut doorbell = bell.listen();
        for _ in 0..3 {
            assert!(!heard(&mut doorbell), "polled once, and dropped");
        }
        bell.ring();
        assert!(heard(&mut doorbell));
    }

    #[test]
    fn of_several_bells_each_rings() {
        let bells = [Bell::new(), Bell::new()];
        let mut doorbell = Doorbell::any(bells.iter().map(Bell::listen));
        for bell in &bells {
            bell.ring();
            assert!(heard(&mut doorbell));
        }
        bells.iter().for_each(Bell::ring);
        assert!(heard(&mut doorbell));
        assert!(!heard(&mut doorbell), "both at once were one ring");
        let [_, second] = bells;
        second.ring();
        assert!(heard(&mut doorbell), "the first one is gone");
        drop(second);
        assert!(!heard(&mut doorbell));
        assert!(!heard(&mut Doorbell::silent()));
    }
}

//! An endpoint whose answers somebody watches.

use crate::{Key, Transport};
use bytes::Bytes;
use commonware_runtime::Clock;
use futures::FutureExt as _;
use std::{fmt, sync::Arc};
use tidewatch_core::{Asked, Fault, Monitor};

/// A transport that tells a monitor of every request: whether it was answered, when, and how long it took.
#[derive(Clone)]
pub struct Watched<E, T> {
    clock: Arc<E>,
    endpoint: T,
    monitor: Arc<dyn Monitor>,
}

impl<E, T: Transport> Watched<E, T> {
    /// `endpoint`, as `monitor` watches it.
    pub fn new(clock: Arc<E>, endpoint: T, monitor: Arc<dyn Monitor>) -> Self {
        Self { clock, endpoint, monitor }
    }

    /// The endpoint itself, unwatched.
    pub const fn endpoint(&self) -> &T {
        &self.endpoint
    }
}

impl<E, T: fmt::Debug> fmt::Debug for Watched<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.endpoint).finish()
    }
}

impl<E: Clock, T: Transport> Watched<E, T> {
    async fn watch<A>(
        &self,
        answer: impl Future<Output = Result<A, Fault>> + Send,
    ) -> Result<A, Fault> {
        let asked = Asked::new(&*self.clock, &*self.monitor, self.endpoint.name());
        // An endpoint's future may be kilobytes, and it would be moved at each of the steps around it.
        let answer = answer.boxed().await;
        asked.over(answer.as_ref().err().map(|fault| fault.kind));
        answer
    }
}

impl<E: Clock, T: Transport> Transport for Watched<E, T> {
    type Feed = T::Feed;

    fn name(&self) -> &str {
        self.endpoint.name()
    }

    async fn fetch(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        self.watch(self.endpoint.fetch(key)).await
    }

    async fn listen(&self) -> Result<T::Feed, Fault> {
        self.watch(self.endpoint.listen()).await
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        self.endpoint.judged(verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mocks::{Answer, Scripted};
    use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
    use commonware_utils::sync::Mutex;
    use std::time::Duration;
    use tidewatch_core::{Contact, FaultKind, Height, within};

    #[derive(Default)]
    struct Contacts(Mutex<Vec<(String, u128, Option<FaultKind>)>>);

    impl Monitor for Contacts {
        fn contact(&self, contact: &Contact<'_>) {
            let took = contact.took.as_millis();
            self.0.lock().push((contact.upstream.into(), took, contact.failed));
        }
    }

    #[test]
    fn what_is_answered_refused_and_not_waited_for_is_told_with_how_long_it_took() {
        deterministic::Runner::default().start(|context| async move {
            let mut answers =
                [Answer::Missing, Answer::Fault(FaultKind::Unreachable), Answer::Silence]
                    .into_iter();
            let script = move |_| answers.next().unwrap();
            let (endpoint, contacts) =
                (Arc::new(Scripted::new(&context, script)), Arc::new(Contacts::default()));
            let clock = Arc::new(context.child("clock"));
            let watched = Watched::new(clock, endpoint, contacts.clone());
            let key = Key::Height(Height::zero());
            assert_eq!(watched.fetch(key).await, Ok(None));
            watched.fetch(key).await.unwrap_err();
            let limit = Duration::from_millis(70);
            assert_eq!(within(&context, limit, watched.fetch(key)).await, None);
            assert!(watched.listen().await.is_err());
            let told = [
                (10, None),
                (10, Some(FaultKind::Unreachable)),
                (70, Some(FaultKind::Timeout)),
                (0, Some(FaultKind::Unreachable)),
            ];
            assert_eq!(
                *contacts.0.lock(),
                told.map(|(took, failed)| ("test".into(), took, failed))
            );
        });
    }
}

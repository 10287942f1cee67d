use super::*;
use crate::{
    plan::tests::{PROGRAM, key},
    scheduler::tests::scripted::{Scripted, inputs, proof},
};
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic};
use commonware_utils::NZUsize;

/// A prover whose answers to polls are a second old when they arrive.
struct Late(Scripted, deterministic::Context);

impl Prover for Late {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn offer(&self) -> BoxFuture<'_, Result<Offer, Failure>> {
        self.0.offer()
    }

    fn submit(&self, key: Key, inputs: Bytes) -> BoxFuture<'_, Result<Handle, Failure>> {
        self.0.submit(key, inputs)
    }

    fn poll<'a>(
        &'a self,
        handle: &'a Handle,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Progress, Failure>> {
        Box::pin(async move {
            let answer = self.0.poll(handle, patience).await;
            self.1.sleep(Duration::from_secs(1)).await;
            answer
        })
    }

    fn release<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, ()> {
        self.0.release(handle)
    }
}

#[test]
fn a_job_that_is_wanted_again_while_its_release_is_heard_of_is_waited_for() {
    deterministic::Runner::timed(Duration::from_secs(60)).start(|context| async move {
        let (scripted, parent) = (Scripted::honest(&context, 1, 10), Digest([7; 32]));
        let late = Arc::new(Late(scripted.clone(), context.child("late")));
        let (keeps, config) = ((PROGRAM, NZUsize!(2)), Config::new("worker"));
        let kept = Kept::open(context.child("kept"), late, keeps, config, Arc::new(()));
        let (kept, key) = (kept.await.unwrap(), key(6, 0));
        let inputs = inputs(parent, key.block);
        let handle = kept.submit(key, inputs.clone()).await.unwrap();
        context.sleep(Duration::from_millis(500)).await;
        kept.release(&handle).await;
        context.sleep(Duration::from_millis(500)).await;
        kept.submit(key, inputs).await.unwrap();
        context.sleep(Duration::from_secs(20)).await;
        assert_eq!(scripted.submitted(), [6, 6]);
        assert_eq!(kept.count(), 1);
        let proof = proof(PROGRAM, parent, key.block);
        assert_eq!(kept.poll(&handle, Duration::ZERO).await, Ok(Progress::Proved(proof)));
    });
}

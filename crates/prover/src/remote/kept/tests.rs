use super::*;
use crate::{
    plan::tests::{PROGRAM, key},
    scheduler::tests::scripted::{Scripted, inputs, proof},
};
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic};
use commonware_utils::NZUsize;

#[test]
fn a_job_that_is_wanted_again_while_its_release_is_heard_of_is_waited_for() {
    deterministic::Runner::timed(Duration::from_secs(60)).start(|context| async move {
        let scripted = Scripted::honest(&context, 1, 10).answers_late(Duration::from_secs(1));
        let (late, parent) = (Arc::new(scripted.clone()), Digest([7; 32]));
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

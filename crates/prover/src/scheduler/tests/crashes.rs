//! What a restart finds.

use super::*;
use tidewatch_testkit::host::Host;

/// PS-37.
#[test]
fn a_restart_asks_by_handle_and_submits_nothing_again() {
    simulate(|context| async move {
        let prover = Scripted::honest(&context, 3, 30);
        let running = Running::start(&context, &[&prover], config()).await;
        running.add(1..=3).await;
        running.sleep(10).await;
        assert_eq!(prover.submitted().len(), 3);
        running.stop().await;
        let polled = prover.polled();
        let running = Running::start(&context, &[&prover], config()).await;
        assert_eq!(running.status().await.count(Stage::Running), 3);
        running.reaches(3).await;
        assert_eq!(prover.submitted().len(), 3, "nothing is proven twice");
        assert!(prover.polled() > polled);
        running.stop().await;
        let polled = prover.polled();
        let running = Running::start(&context, &[&prover], config()).await;
        running.sleep(60).await;
        assert_eq!(
            (running.tip(), prover.polled()),
            (3, polled),
            "and what is there is not asked for"
        );
        running.stop().await;
    });
}

/// PS-38, PS-08.
#[test]
fn a_job_that_was_claimed_and_never_submitted_is_claimed_again_at_once() {
    simulate(|context| async move {
        let prover = Scripted::honest(&context, 1, 1);
        let running = Running::start(&context, &[&prover], config()).await;
        running.sleep(1).await;
        prover.health(Health::Silent);
        running.add(1..=1).await;
        running.sleep(1).await;
        assert_eq!(running.status().await.count(Stage::Running), 1);
        running.handle.abort();
        let _ = running.handle.await;
        prover.health(Health::Up);
        let running = Running::start(&context, &[&prover], config()).await;
        running.sleep(3).await;
        assert_eq!(running.tip(), 1);
        running.stop().await;
    });
}

/// PS-61.
#[test]
fn a_stop_keeps_what_is_finished_and_hands_over_what_runs() {
    simulate(|context| async move {
        let prover = Scripted::new(&context, "prover", 8, |key, _| match key.height() {
            1 => Fate::Proves(secs(40)),
            2..=4 => Fate::Proves(secs(5)),
            5 | 6 => Fate::Proves(Duration::from_millis(20_500)),
            _ => Fate::Proves(secs(60)),
        });
        let running = Running::start(&context, &[&prover], config()).await;
        running.add(1..=8).await;
        running.sleep(20).await;
        let began = context.current();
        running.stop().await;
        let took = context.current().duration_since(began).unwrap();
        assert!(took <= Duration::from_millis(1_200), "{took:?}");
        let running = Running::start(&context, &[&prover], config()).await;
        let status = running.status().await;
        assert_eq!((status.count(Stage::Proved), status.count(Stage::Running)), (5, 3));
        running.reaches(8).await;
        assert_eq!(prover.submitted().len(), 8, "nothing is proven twice");
        running.stop().await;
    });
}

/// PS-35, PS-46, PS-28: a scheduler whose disk fails at any change ends with a fault, and one that is started on
/// what is left goes on; no block counts as committed without its inputs, and no finished proof is made again
/// that its prover still has.
#[test]
fn a_disk_that_fails_at_any_change_ends_the_scheduler_and_loses_nothing() {
    let mut completed = false;
    for n in 0.. {
        let done = simulate(|context| async move {
            let prover = Scripted::honest(&context, 2, 3);
            let (host, faults) = Host::late(context.child("host"), 0);
            faults.fail_disk_after(n);
            let parts = || Parts {
                program: Arc::new(Toy),
                provers: vec![Arc::new(prover.clone()) as Arc<dyn Prover>],
                subject: subject(),
            };
            let mut taken = 0;
            let mut published = 0;
            let mut done = true;
            if let Ok((scheduler, mailbox)) =
                Scheduler::open(host.child("scheduler"), parts(), config()).await
            {
                let handle = scheduler.start();
                for height in 1..=4 {
                    if mailbox.add(vec![block(height, 0, 0)]).await.is_err() {
                        done = false;
                        break;
                    }
                    taken = height;
                }
                let proven = mailbox.proven();
                let all = |proven: &Proven| proven.tip.height.get() == 4;
                done = proven.until(all).await.is_ok() && done;
                published = proven.current().tip.height.get();
                mailbox.stop();
                let ended = handle.await.unwrap();
                done = ended.is_ok() && done;
            } else {
                done = false;
            }
            let running = Running::start(&context, &[&prover], config()).await;
            let committed = running.status().await.committed.height.get();
            assert!(committed >= taken, "change {n}: {taken} were taken, {committed} are there");
            assert!(running.tip() >= published, "change {n}: never back");
            running.add(committed + 1..=4.max(committed)).await;
            running.reaches(4).await;
            let mut submitted = prover.submitted();
            submitted.sort_unstable();
            submitted.dedup();
            assert_eq!(submitted.len(), prover.submitted().len(), "change {n}: proven twice");
            for height in 1..=4 {
                let kept = running.mailbox.proof(key(height, 0).block).await.unwrap();
                assert_eq!(kept, Some(good_proof(height)), "change {n}");
            }
            running.stop().await;
            done
        });
        if done {
            assert!(n > 60, "{n} changes");
            completed = true;
            break;
        }
    }
    assert!(completed);
}

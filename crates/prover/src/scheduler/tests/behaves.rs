//! What follows from how provers behave.

use super::*;

/// PS-16, PS-19: whatever the order in which proofs come, the tip is published one by one, with its proof.
#[test]
fn proofs_come_in_any_order_and_the_tip_rises_by_one() {
    let script = |key: &Key, _| Fate::Proves(secs(1 + key.height() * 7_919 % 40));
    schedule(8, script, async |running, prover| {
        let mut proven = running.mailbox.proven();
        running.add(1..=40).await;
        let mut tips = Vec::new();
        while tips.last() != Some(&40) {
            let now = proven.changed().await.unwrap();
            let height = now.tip.height.get();
            if tips.last() != Some(&height) {
                tips.push(height);
            }
            if height > 0 {
                assert_eq!(now.proof.unwrap().bytes, good_proof(height));
            }
        }
        assert!(tips.is_sorted());
        for height in 1..=40 {
            let kept = running.mailbox.proof(key(height, 0).block).await.unwrap();
            assert_eq!(kept, Some(good_proof(height)));
        }
        assert!(prover.peak() > 1 && prover.peak() <= 8);
        running.sleep(10).await;
        assert_eq!(prover.held(), 0, "it may forget what is durable");
    });
}

/// PS-01.
#[test]
fn a_prover_that_is_absent_stops_nobody_and_is_reported_once() {
    schedule(8, proves_in(1), async |running, prover| {
        running.sleep(1).await;
        prover.health(Health::Refuses);
        for height in 1..=200 {
            running.add(height..=height).await;
            running.sleep(5).await;
        }
        let status = running.status().await;
        assert_eq!((status.committed.height.get(), running.tip()), (200, 0));
        assert!(status.stalled && status.provers[0].down);
        assert_eq!(status.count(Stage::Poisoned), 0);
        assert_eq!(prover.submitted(), [0_u64; 0]);
        // And it is forgotten once it is back.
        prover.health(Health::Up);
        running.reaches(200).await;
        assert!(!running.status().await.stalled);
    });
}

/// PS-02.
#[test]
fn a_prover_that_never_answers_costs_attempts_and_no_slots() {
    simulate(|context| async move {
        let prover = Scripted::new(&context, "sits", 4, |_, _| Fate::Sits);
        let config =
            Config { plan: plan::Config { attempt_max: secs(240), ..config().plan }, ..config() };
        let running = Running::start(&context, &[&prover], config).await;
        for height in 1..=720 {
            running.add(height..=height).await;
            running.sleep(5).await;
            let status = running.status().await;
            assert!(status.count(Stage::Running) <= 4);
            assert!(prover.peak() <= 4);
        }
        let status = running.status().await;
        assert_eq!((status.committed.height.get(), running.tip()), (720, 0));
        assert!(prover.submitted().len() >= 40, "attempts end: {}", prover.submitted().len());
        assert!(prover.held() <= 4, "what is given up is released");
        // The same with one that does not even return calls.
        prover.health(Health::Silent);
        running.sleep(600).await;
        prover.health(Health::Up);
        prover.restart();
        prover.script(|_, _| Fate::Proves(secs(1)));
        running.reaches(720).await;
        running.stop().await;
    });
}

/// PS-05.
#[test]
fn a_prover_that_claims_eight_slots_and_has_one_proves_all_the_same() {
    simulate(|context| async move {
        let prover = Scripted::honest(&context, 8, 3).has(1);
        let running = Running::start(&context, &[&prover], config()).await;
        running.add(1..=8).await;
        running.reaches(8).await;
        assert_eq!(prover.peak(), 1);
        let listed = running.status().await;
        assert_eq!(listed.provers[0].limit, 1);
        assert_eq!(listed.count(Stage::Poisoned), 0);
        running.stop().await;
    });
}

/// PS-08.
#[test]
fn a_prover_that_gives_up_before_an_attempt_does_is_named_with_both_values() {
    simulate(|context| async move {
        let gives_up = secs(60);
        let prover = Scripted::new(&context, "short", 1, move |_, _| {
            Fate::Fails(gives_up, Failure::TimedOut(gives_up))
        })
        .gives_up_after(gives_up);
        let running = Running::start(&context, &[&prover], config()).await;
        running.add(1..=1).await;
        running.sleep(100).await;
        let status = running.status().await;
        let warning = status.provers[0].warning.as_ref().unwrap().to_string();
        assert!(warning.contains("600s") && warning.contains("60s"), "{warning}");
        let jobs = running.mailbox.jobs(Height::new(1), 1).await.unwrap();
        assert_eq!((jobs[0].logical, jobs[0].failure.as_deref()), (0, Some("no proof within 60s")));
        running.stop().await;
        let call = secs(30);
        let refused = Running::try_start(&context, &[], Config { call, ..config() }).await;
        let refused = refused.err().unwrap().to_string();
        assert!(
            refused.contains("a call of 30s must be shorter than the lease of 30s"),
            "{refused}"
        );
    });
}

/// PS-20, PS-25.
#[test]
fn nothing_counts_but_a_proof_of_the_very_block_under_the_very_program() {
    simulate(|context| async move {
        let other_program = {
            let parent = key(0, 0).block.digest;
            scripted::proof(Digest([8; 32]), parent, key(1, 0).block)
        };
        let (other_block, large) = (good_proof(2), Bytes::from(vec![0; 1_000]));
        let wrong =
            vec![Bytes::from_static(b"garbage"), Bytes::new(), other_block, other_program, large];
        for bytes in wrong.into_iter().chain([Bytes::from_static(b"panic")]) {
            let context = context.child("world");
            let returned = bytes.clone();
            let prover = Scripted::new(&context, "liar", 1, move |_, _| {
                Fate::Returns(secs(1), returned.clone())
            });
            let mut config = config();
            config.disk.partition = format!("p{}-{}", bytes.len(), bytes.first().map_or(0, |b| *b));
            config.disk.proof_max = 100;
            let running = Running::start(&context, &[&prover], config).await;
            running.add(1..=1).await;
            running.sleep(400).await;
            assert_eq!(running.tip(), 0);
            let jobs = running.mailbox.jobs(Height::zero(), 9).await.unwrap();
            assert_eq!((jobs[0].stage, jobs[0].logical), (Stage::Poisoned, 3));
            assert!(running.mailbox.supply(Height::new(1), bytes).await.is_err());
            assert_eq!(running.tip(), 0);
            running.mailbox.supply(Height::new(1), good_proof(1)).await.unwrap();
            assert_eq!(running.tip(), 1);
            running.stop().await;
        }
    });
}

/// PS-23, PS-25.
#[test]
fn a_block_that_cannot_be_proven_is_poisoned_and_those_above_it_are_proven() {
    simulate(|context| async move {
        let prover = Scripted::new(&context, "prover", 8, |key, _| match key.height() {
            7 => Fate::Fails(secs(1), Failure::Unprovable("seven".into())),
            _ => Fate::Proves(secs(1)),
        });
        let config = Config {
            plan: plan::Config { ahead_max: commonware_utils::NZUsize!(10), ..config().plan },
            ..config()
        };
        let running = Running::start(&context, &[&prover], config.clone()).await;
        running.add(1..=30).await;
        running.sleep(600).await;
        let status = running.status().await;
        assert_eq!((running.tip(), status.stages), (6, [14, 0, 9, 1]));
        assert!(status.stalled && status.head_poisoned.unwrap().contains("seven"));
        running.stop().await;
        // Durably, with its reason; nothing is attempted again.
        let before = prover.submitted().len();
        let running = Running::start(&context, &[&prover], config).await;
        running.sleep(300).await;
        let jobs = running.mailbox.jobs(Height::new(7), 1).await.unwrap();
        assert_eq!(jobs[0].stage, Stage::Poisoned);
        assert!(jobs[0].failure.as_deref().unwrap().contains("seven"));
        assert_eq!(prover.submitted().len(), before);
        prover.script(|_, _| Fate::Proves(secs(1)));
        assert_eq!(running.mailbox.requeue(Height::new(7)).await, Ok(key(7, 0).block));
        running.reaches(30).await;
        let again = prover.submitted()[before..].to_vec();
        assert_eq!(again.iter().filter(|height| (8..=16).contains(*height)).count(), 0);
        running.stop().await;
    });
}

/// PS-34.
#[test]
fn inputs_of_another_block_reach_no_prover() {
    schedule(1, proves_in(1), async |running, prover| {
        let wrong = NewBlock { inputs: block(2, 0, 0).inputs, ..block(1, 0, 0) };
        running.mailbox.add(vec![wrong]).await.unwrap();
        running.sleep(300).await;
        assert_eq!(prover.submitted(), [0_u64; 0]);
        let jobs = running.mailbox.jobs(Height::zero(), 1).await.unwrap();
        assert_eq!(jobs[0].stage, Stage::Poisoned);
    });
}

/// PS-10.
#[test]
fn a_prover_that_is_started_anew_is_given_its_jobs_again() {
    schedule(2, proves_in(30), async |running, prover| {
        running.add(1..=4).await;
        for _ in 0..3 {
            running.sleep(20).await;
            prover.restart();
        }
        running.reaches(4).await;
        let jobs = running.status().await;
        assert_eq!(jobs.count(Stage::Poisoned), 0);
    });
}

/// PS-22.
#[test]
fn a_head_that_is_slow_is_hedged_at_another_prover() {
    simulate(|context| async move {
        let slow = Scripted::new(&context, "slow", 1, |key, _| match key.height() {
            8.. => Fate::Sits,
            _ => Fate::Proves(secs(10)),
        });
        let other = Scripted::new(&context, "other", 1, |_, _| Fate::Proves(secs(10)));
        let hedge = std::num::NonZeroU32::new(4);
        let config = Config { plan: plan::Config { hedge, ..plan::Config::default() }, ..config() };
        let running = Running::start(&context, &[&slow, &other], config).await;
        running.add(1..=7).await;
        running.reaches(7).await;
        running.add(8..=8).await;
        running.sleep(70).await;
        assert_eq!(running.tip(), 8);
        running.sleep(10).await;
        assert_eq!((slow.held(), other.held()), (0, 0), "the loser is released");
        assert_eq!(running.status().await.provers.iter().map(|p| p.used).sum::<usize>(), 0);
        running.stop().await;
    });
}

/// What is fresh takes a hedge's slot, and after a restart nobody asks for the job that was given up for it.
#[test]
fn a_hedge_is_given_up_for_a_fresh_block_durably() {
    simulate(|context| async move {
        let slow = Scripted::new(&context, "slow", 1, |key, _| match key.height() {
            8.. => Fate::Sits,
            _ => Fate::Proves(secs(10)),
        });
        let other = Scripted::new(&context, "other", 1, |key, _| match key.height() {
            8 => Fate::Sits,
            _ => Fate::Proves(secs(10)),
        });
        let hedge = std::num::NonZeroU32::new(4);
        let config = Config { plan: plan::Config { hedge, ..plan::Config::default() }, ..config() };
        let running = Running::start(&context, &[&slow, &other], config.clone()).await;
        running.add(1..=7).await;
        running.reaches(7).await;
        running.add(8..=8).await;
        running.sleep(70).await;
        assert_eq!((slow.held(), other.held()), (1, 1), "a hedge");
        running.add(9..=9).await;
        running.sleep(1).await;
        assert_eq!(other.submitted().last(), Some(&9));
        running.handle.abort();
        let _ = running.handle.await;
        let polled = other.polled();
        let running = Running::start(&context, &[&slow, &other], config).await;
        running.sleep(20).await;
        assert!(other.polled() > polled);
        assert_eq!(running.status().await.count(plan::Stage::Proved), 1, "the ninth");
        let head = running.mailbox.jobs(Height::new(8), 1).await.unwrap().remove(0);
        assert_eq!((head.failure, head.provers), (None, vec!["slow".into()]), "nor asked for");
        running.stop().await;
    });
}

/// PS-17, and the reorg cases.
#[test]
fn a_reorg_forgets_what_is_above_it_and_keeps_proofs_for_when_they_come_back() {
    schedule(4, proves_in(10), async |running, prover| {
        running.add(1..=6).await;
        running.reaches(4).await;
        let before = prover.submitted().len();
        running.mailbox.prune(key(3, 0).block).await.unwrap();
        assert_eq!((running.tip(), prover.submitted().len()), (3, before));
        running.sleep(5).await;
        assert_eq!(prover.held(), 0, "attempts at what is gone are cancelled");
        let fork = (4..=5).map(|height| block(height, 1, 4)).collect();
        running.mailbox.add(fork).await.unwrap();
        running.reaches(5).await;
        assert_eq!(running.mailbox.proven().current().tip, key(5, 1).block);
        running.mailbox.prune(key(3, 0).block).await.unwrap();
        running.add(4..=6).await;
        running.reaches(6).await;
    });
}

/// PS-59, PS-58.
#[test]
fn a_block_that_is_added_again_is_one_job_and_lists_page_without_a_gap() {
    schedule(8, sits, async |running, _| {
        running.add(1..=300).await;
        running.add(1..=300).await;
        running.add(200..=310).await;
        let (mut from, mut seen) = (Height::zero(), Vec::new());
        loop {
            let page = running.mailbox.jobs(from, 64).await.unwrap();
            let Some(last) = page.last() else { break };
            from = last.block.height.next();
            seen.extend(page.iter().map(|job| job.block.height.get()));
        }
        assert!(seen.into_iter().eq(1..=310));
        let gap = running.mailbox.add(vec![block(400, 0, 0)]).await.unwrap_err();
        assert!(gap.to_string().contains("does not follow"), "{gap}");
        let other = running.mailbox.add(vec![block(9, 3, 9)]).await.unwrap_err();
        assert!(other.to_string().contains("is not the block at its height"), "{other}");
        let beside = NewBlock { parent: Digest([5; 32]), ..block(311, 0, 0) };
        let beside = running.mailbox.add(vec![beside]).await.unwrap_err();
        assert!(beside.to_string().contains("does not stand on 310:"), "{beside}");
    });
}

/// PS-67.
#[test]
fn the_metrics_are_those_of_the_status() {
    let script = |key: &Key, _| match key.height() {
        2 => Fate::Sits,
        5 => Fate::Fails(secs(1), Failure::Unprovable("no".into())),
        _ => Fate::Proves(secs(2)),
    };
    schedule(3, script, async |running, _| {
        running.add(1..=9).await;
        let mut oldest = 0;
        for _ in 0..20 {
            running.sleep(20).await;
            let status = running.status().await;
            running.sleep(1).await;
            let text = commonware_runtime::Metrics::encode(&running.context);
            let value = |name: &str| -> u64 {
                let line = text.lines().find(|line| line.starts_with(name));
                let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
                line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
            };
            assert_eq!(value("scheduler_lag_blocks"), status.lag());
            assert_eq!(value("scheduler_height{kind=\"proven\"}"), status.proven.height.get());
            for stage in Stage::ALL {
                let name = format!("scheduler_jobs{{kind=\"{}\"}}", stage.as_str());
                assert_eq!(value(&name), status.count(stage) as u64, "{name}");
            }
            let age = value("scheduler_oldest_unproven_seconds");
            assert!(age > oldest, "it grows while the head is stuck");
            oldest = age;
        }
        assert_eq!(running.tip(), 1);
        let text = commonware_runtime::Metrics::encode(&running.context);
        assert!(text.contains("scheduler_stalled 1"));
    });
}

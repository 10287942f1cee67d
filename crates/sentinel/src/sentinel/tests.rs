//! The sentinel, in the deterministic runtime: four validators, eight slots an epoch, validator `slot % 4` proposes.

mod scripted;

use super::*;
use crate::{
    Act, Asked, AtSlot, Canonical, Committee, Committees, Detailed, Did, Epoch, Event, Judgement,
    Landed, NotJudged, Observation, Observer, Output, Position, Proposal, Signed, Slot, Standing,
    ValidatorId, What,
};
use commonware_runtime::{
    Clock as _, Handle, Metrics as _, Runner as _, Supervisor as _, deterministic,
};
use scripted::{Script, config, id};
use std::{future::Future, time::Duration};
use tidewatch_core::Fault;

/// Every validator.
const ALL: [u8; 4] = [0, 1, 2, 3];

fn simulate<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(Duration::from_secs(10_000)).start(test)
}

/// A sentinel that runs on a scripted chain.
struct Running {
    context: deterministic::Context,
    mailbox: Mailbox,
    handle: Handle<Result<(), Fault>>,
    script: Script,
}

impl Running {
    async fn start(context: &deterministic::Context, script: &Script, config: Config) -> Self {
        let parts = Parts {
            observer: script.clone(),
            canonical: script.clone(),
            committees: script.clone(),
            output: script.clone(),
        };
        let opened = Sentinel::open(context.child("sentinel"), parts, config).await;
        let (sentinel, mailbox) = opened.unwrap();
        let handle = sentinel.start();
        Self { context: context.child("test"), mailbox, handle, script: script.clone() }
    }

    /// A sentinel that watches from slot 8 on: epoch 1 and later are evaluated.
    async fn watching(context: &deterministic::Context, script: &Script, config: Config) -> Self {
        let running = Self::start(context, script, config).await;
        running.slots(5..8, &ALL).await;
        running
    }

    async fn pass(&self) {
        self.mailbox.ring();
        self.context.sleep(Duration::from_secs(2)).await;
    }

    /// Slot `slot` passes with a block, for which `voters` vote.
    async fn slot(&self, slot: u64, voters: &[u8]) {
        let payload = self.script.payload(slot);
        for voter in voters {
            self.mailbox.observe(scripted::signed(slot, *voter, Act::Attestation(payload)));
        }
        self.script.extend(slot);
        self.pass().await;
    }

    async fn slots(&self, range: std::ops::Range<u64>, voters: &[u8]) {
        for slot in range {
            self.slot(slot, voters).await;
        }
    }

    /// Slot `slot` passes without a block.
    async fn empty(&self, slot: u64) {
        self.script.pass(slot);
        self.pass().await;
    }

    async fn judged(&self, slot: u64) -> Option<Judgement> {
        let slots = self.mailbox.slots((Slot(slot)..=Slot(slot)).into()).await.ok()?;
        slots.into_iter().next().map(|found| found.judgement)
    }

    async fn missed(&self, slot: u64) -> Vec<ValidatorId> {
        match self.judged(slot).await {
            Some(Judgement::Judged { missed, .. }) => missed,
            other => panic!("slot {slot}: {other:?}"),
        }
    }

    async fn detailed(&self, n: u8) -> Detailed {
        self.mailbox.validator(id(n), Asked::default()).await.unwrap().unwrap()
    }

    async fn stop(self) {
        self.mailbox.stop();
        self.handle.await.unwrap().unwrap();
    }
}

/// A sentinel that is stopped once `test` is through with it and its chain.
fn watch(config: Config, test: impl AsyncFnOnce(&Running, &Script)) {
    simulate(|context| async move {
        let script = Script::new();
        let running = Running::watching(&context, &script, config).await;
        test(&running, &script).await;
        running.stop().await;
    });
}

/// Verdicts and withdrawals in short: the epoch with who is inactive, or with the verdict that is withdrawn.
fn short(events: &[Event]) -> Vec<(u64, Result<Vec<u8>, u64>)> {
    let each = |event: &Event| match &event.what {
        What::Inactive { epoch, validators } => {
            let who = validators.iter().map(|inactive| inactive.validator.as_bytes()[0]).collect();
            Some((epoch.get(), Ok(who)))
        }
        What::Withdrawn { epoch, verdict } => Some((epoch.get(), Err(*verdict))),
        What::Contradicted(_) => None,
    };
    events.iter().filter_map(each).collect()
}

#[test]
fn a_slot_is_judged_when_two_more_have_passed_and_not_again() {
    watch(config(), async |running, script| {
        running.slots(8..10, &ALL).await;
        running.slot(10, &[0, 1, 2]).await;
        assert_eq!(running.judged(9).await, None);
        running.slot(11, &ALL).await;
        running.slot(12, &ALL).await;
        assert_eq!(running.missed(10).await, [id(3)]);
        // A vote that comes now is too late, and is counted.
        running.mailbox.observe(scripted::signed(10, 3, Act::Attestation(script.payload(10))));
        running.slots(13..15, &ALL).await;
        assert_eq!(running.missed(10).await, [id(3)]);
        assert!(running.context.encode().contains("observations_total{kind=\"late\"} 1"));
    });
}

#[test]
fn nothing_that_was_under_way_when_watching_began_is_judged() {
    watch(config(), async |running, _| {
        running.slots(8..12, &ALL).await;
        let status = running.mailbox.status().await.unwrap();
        assert_eq!((status.initial, status.processed), (Some(Slot(7)), Some(Slot(9))));
        assert_eq!(status.kept, Some((Slot(8), Slot(9))));
    });
}

#[test]
fn what_is_seen_out_of_step_waits_and_is_recorded_as_not_judged_in_the_end() {
    watch(config(), async |running, script| {
        running.slots(8..12, &ALL).await;
        // The observer is on a fork: what it saw says nothing of the chain.
        script.observer_off(true);
        running.slots(12..15, &[0]).await;
        assert_eq!(running.mailbox.status().await.unwrap().processed, Some(Slot(9)));
        assert!(!running.mailbox.status().await.unwrap().in_step);
        running.slots(15..18, &ALL).await;
        let not_judged = Judgement::NotJudged { reason: NotJudged::OutOfStep };
        assert_eq!(running.judged(12).await, Some(not_judged));
        assert_eq!(running.detailed(1).await.report.attestations.missed, 0);
        script.observer_off(false);
        running.slots(18..21, &ALL).await;
        assert_eq!(running.missed(16).await, Vec::<ValidatorId>::new());
    });
}

#[test]
fn what_a_reorg_made_stale_waits_for_an_observer_that_is_behind_it() {
    watch(config(), async |running, script| {
        running.slots(8..24, &ALL).await;
        // The observer still stands on the chain that is gone when the source has left it.
        script.observer_off(true);
        script.cut(14);
        (14..24).for_each(|slot| script.extend_on(1, slot));
        running.pass().await;
        assert_eq!(running.judged(14).await, None);
        script.observer_off(false);
        running.slot(24, &ALL).await;
        assert_eq!(running.missed(14).await.len(), 3, "they voted for what is gone");
    });
}

#[test]
fn what_could_not_be_read_for_long_waits_for_an_observer_that_is_a_moment_behind() {
    watch(config(), async |running, script| {
        running.slots(8..12, &ALL).await;
        script.fail(true);
        running.slots(12..20, &ALL).await;
        script.fail(false);
        script.observer_off(true);
        running.pass().await;
        assert_eq!(running.judged(14).await, None);
        script.observer_off(false);
        running.slot(20, &ALL).await;
        assert_eq!(running.missed(14).await, Vec::<ValidatorId>::new());
    });
}

#[test]
fn st_58_and_st_70_an_epoch_ends_with_one_event_that_names_who_was_inactive() {
    watch(Config { penalty: 100, ..config() }, async |running, script| {
        running.slots(8..20, &[0, 1]).await;
        assert_eq!(short(&script.given()), [(1, Ok(vec![2, 3]))]);
        let What::Inactive { validators, .. } = &script.given()[0].what else { unreachable!() };
        // Two of eight slots were its own to propose, and landed: six attestations were missed.
        let found: Vec<_> = validators
            .iter()
            .map(|v| (v.penalty, v.performance.missed, v.performance.total))
            .collect();
        assert_eq!(found, [(100, 6, 8); 2]);
    });
}

#[test]
fn st_59_to_st_61_while_nobody_is_due_slots_are_processed_and_nothing_is_written_of_anybody() {
    watch(config(), async |running, script| {
        script.nobody(2);
        running.slots(8..30, &[0, 1]).await;
        assert_eq!(running.judged(18).await, Some(Judgement::NobodyDue));
        assert!(running.mailbox.epoch(Epoch(2)).await.unwrap().unwrap().validators.is_empty());
        assert_eq!(running.mailbox.epoch(Epoch(1)).await.unwrap().unwrap().validators.len(), 4);
        assert_eq!(short(&script.given()), [(1, Ok(vec![2, 3]))], "ST-61: nothing of epoch 2");
        assert_eq!(running.missed(9).await, [id(2), id(3)], "ST-60");
    });
}

#[test]
fn st_66_a_verdict_needs_recorded_epochs_in_a_row_and_gaps_between_them_do_not_matter() {
    let threshold = std::num::NonZeroUsize::new(2).unwrap();
    watch(Config { threshold, ..config() }, async |running, script| {
        script.nobody(2);
        running.slots(8..44, &[0, 1]).await;
        assert_eq!(short(&script.given()), [(3, Ok(vec![2, 3])), (4, Ok(vec![2, 3]))]);
    });
}

#[test]
fn st_49_to_st_52_answers_need_no_source() {
    watch(config(), async |running, script| {
        running.slots(8..14, &[0, 1, 2]).await;
        script.fail(true);
        running.pass().await;
        let asked: Vec<_> = (0..50).map(|n| id(n % 5)).chain([id(0)]).collect();
        let calls = script.calls();
        let found = running.mailbox.validators(asked.clone(), Asked::default()).await.unwrap();
        assert_eq!(found.len(), 51);
        for (validator, found) in asked.into_iter().zip(found) {
            let alone = running.mailbox.validator(validator, Asked::default()).await.unwrap();
            assert_eq!(found, alone.map(|alone| alone.report));
        }
        assert_eq!(script.calls(), calls, "no call of a port");
        assert!(running.mailbox.validators(vec![], Asked::default()).await.unwrap().is_empty());
    });
}

/// A reorg in slot 18 or earlier, `depth` slots below slot 34: on the chain that replaces it nobody but validators
/// 0 and 1 ever voted, on the one that is gone everybody did.
fn credits_the_gone_chain(from: u64, gone: u64, withdrawn: &[u64]) {
    watch(config(), async |running, script| {
        running.slots(8..from, &ALL).await;
        // Votes of 0 and 1 are for what will stay, those of 2 and 3 for what will be gone.
        for slot in from..gone {
            let (stays, goes) = (script.payload_on(1, slot), script.payload_on(2, slot));
            for (n, payload) in [(0, stays), (1, stays), (2, goes), (3, goes)] {
                running.mailbox.observe(scripted::signed(slot, n, Act::Attestation(payload)));
            }
            script.extend_on(2, slot);
            running.pass().await;
        }
        let accused = |withdrawn: &[u64]| -> Vec<_> {
            withdrawn.iter().map(|epoch| (*epoch, Ok(vec![0, 1]))).collect()
        };
        assert_eq!(short(&script.given()), accused(withdrawn));
        // The other fork wins, and was longer by a slot.
        script.cut(from);
        for slot in from..=gone {
            script.extend_on(1, slot);
        }
        running.pass().await;
        running.slots(gone + 1..48, &ALL).await;
        let events = short(&script.given());
        let taken_back: Vec<u64> =
            events.iter().filter(|(_, what)| what.is_err()).map(|(epoch, _)| *epoch).collect();
        assert_eq!(taken_back, withdrawn, "{events:?}");
        for slot in from..gone - 2 {
            let missed = running.missed(slot).await;
            assert!(missed.iter().all(|v| *v == id(2) || *v == id(3)), "slot {slot}: {missed:?}");
            let credited = missed.contains(&id(2)) || missed.contains(&id(3));
            assert!(credited, "slot {slot} credits a chain that is gone");
        }
        // What holds in the end: per epoch, the last verdict that was not withdrawn.
        let mut holds = std::collections::BTreeMap::new();
        for (epoch, what) in &events {
            match what {
                Ok(who) => drop(holds.insert(*epoch, who.clone())),
                Err(_) => drop(holds.remove(epoch)),
            }
        }
        let expected: Vec<_> = withdrawn.iter().map(|epoch| (*epoch, vec![2, 3])).collect();
        assert_eq!(holds.into_iter().collect::<Vec<_>>(), expected);
    });
}

#[test]
fn a_reorg_within_an_epoch_credits_nobody_on_the_chain_that_is_gone() {
    credits_the_gone_chain(17, 21, &[]);
}

#[test]
fn a_reorg_below_an_epoch_border_withdraws_what_was_said_on_the_chain_that_is_gone() {
    credits_the_gone_chain(16, 28, &[2]);
}

#[test]
fn a_reorg_below_three_epoch_borders_withdraws_every_verdict_on_the_chain_that_is_gone() {
    credits_the_gone_chain(8, 36, &[1, 2, 3]);
}

#[test]
fn a_verdict_is_withdrawn_at_once_where_the_chain_became_shorter_and_given_again_if_it_holds() {
    watch(config(), async |running, script| {
        running.slots(8..20, &[0, 1]).await;
        assert_eq!(short(&script.given()), [(1, Ok(vec![2, 3]))]);
        script.cut(12);
        running.pass().await;
        assert_eq!(short(&script.given())[1..], [(1, Err(1))]);
        assert_eq!(running.mailbox.epoch(Epoch(1)).await.unwrap(), None);
        for slot in 12..20 {
            script.extend(slot);
        }
        running.pass().await;
        assert_eq!(short(&script.given())[2..], [(1, Ok(vec![2, 3]))]);
    });
}

#[test]
fn a_reorg_that_changes_nothing_says_nothing() {
    watch(config(), async |running, script| {
        running.slots(8..20, &[0, 1]).await;
        // Another block in slot 18, which is not judged yet, and nothing else.
        script.cut(18);
        script.extend_on(3, 18);
        script.extend_on(3, 19);
        running.pass().await;
        running.slots(20..22, &[0, 1]).await;
        assert_eq!(short(&script.given()), [(1, Ok(vec![2, 3]))]);
    });
}

#[test]
fn an_empty_slot_after_a_final_block_is_not_final_and_may_be_filled() {
    watch(config(), async |running, script| {
        running.slots(8..11, &ALL).await;
        script.finalize(10);
        for slot in 11..15 {
            running.empty(slot).await;
        }
        let proposal = |judged| match judged {
            Some(Judgement::Judged { proposal, .. }) => proposal,
            other => panic!("{other:?}"),
        };
        assert_eq!(proposal(running.judged(11).await), Proposal::BlocksMissed);
        script.extend(11);
        running.empty(15).await;
        assert_eq!(proposal(running.judged(11).await), Proposal::Mined);
    });
}

#[test]
fn an_answer_beyond_the_tip_that_was_read_judges_nothing() {
    watch(config(), async |running, script| {
        running.slots(8..11, &ALL).await;
        running.empty(11).await;
        // Slot 12 fills between where the chain stands is read and what is in its slots.
        script.behind(true);
        script.extend(12);
        running.empty(13).await;
        assert_eq!(running.judged(11).await, None);
        script.behind(false);
        running.pass().await;
        assert!(matches!(running.judged(11).await, Some(Judgement::Judged { .. })));
    });
}

#[test]
fn what_is_final_is_not_asked_for_again() {
    watch(config(), async |running, script| {
        running.slots(8..20, &[0, 1]).await;
        script.finalize(19);
        running.pass().await;
        running.slot(20, &[0, 1]).await;
        assert!(script.asked_max() <= 3, "{} blocks in one question", script.asked_max());
    });
}

#[test]
fn a_restart_keeps_what_was_judged_and_accuses_nobody_of_what_it_did_not_watch() {
    simulate(|context| async move {
        let script = Script::new();
        let running = Running::watching(&context, &script, config()).await;
        running.slots(8..20, &[0, 1]).await;
        running.stop().await;
        // Everybody votes, and nobody hears it.
        (20..24).for_each(|slot| script.extend(slot));
        let running = Running::start(&context, &script, config()).await;
        assert_eq!(running.missed(12).await, [id(2), id(3)]);
        running.slots(24..30, &ALL).await;
        let not_watched = Some(Judgement::NotJudged { reason: NotJudged::NotWatched });
        for slot in [18, 20, 24] {
            assert_eq!(running.judged(slot).await, not_watched, "slot {slot}");
        }
        assert_eq!(running.missed(27).await, Vec::<ValidatorId>::new());
        // Epochs 2 and 3 had begun before this run watched.
        running.slots(30..46, &[0, 1]).await;
        assert_eq!(short(&script.given()), [(1, Ok(vec![2, 3])), (4, Ok(vec![2, 3]))]);
        running.stop().await;
    });
}

#[test]
fn an_event_that_was_not_taken_is_given_again_in_order_and_over_a_restart() {
    simulate(|context| async move {
        let script = Script::new();
        script.refuse(true);
        let running = Running::watching(&context, &script, config()).await;
        running.slots(8..28, &[0, 1]).await;
        assert!(script.given().is_empty());
        running.stop().await;
        script.refuse(false);
        let running = Running::start(&context, &script, config()).await;
        running.pass().await;
        let sequences: Vec<_> = script.given().iter().map(|event| event.sequence).collect();
        assert_eq!(sequences, [1, 2]);
        assert_eq!(running.mailbox.events(2, 10).await.unwrap(), script.given()[1..]);
        running.stop().await;
    });
}

#[test]
fn a_contradiction_is_an_event_with_both_messages_although_the_chain_cannot_be_read() {
    watch(config(), async |running, script| {
        script.fail(true);
        for payload in [script.payload_on(1, 9), script.payload_on(2, 9)] {
            running.mailbox.observe(scripted::signed(9, 3, Act::Attestation(payload)));
        }
        running.pass().await;
        let events = script.given();
        let What::Contradicted(conflict) = &events[0].what else { panic!("{events:?}") };
        assert!(conflict.first.bytes != conflict.second.bytes && events.len() == 1);
        assert!(
            serde_json::to_string(&events[0].line()).unwrap().contains("\"kind\":\"attestations\"")
        );
    });
}

#[test]
fn messages_that_may_be_missing_make_nobody_absent() {
    watch(config(), async |running, _| {
        running.mailbox.observe(crate::Observation::Missed(Slot(9)));
        running.slots(8..14, &[0]).await;
        let missed = Some(Judgement::NotJudged { reason: NotJudged::Missed });
        assert_eq!(running.judged(9).await, missed);
        assert_eq!(running.missed(10).await.len(), 2);
    });
}

#[test]
fn a_chain_that_stood_still_for_longer_than_messages_are_kept_makes_nobody_absent() {
    watch(config(), async |running, script| {
        running.slots(8..12, &ALL).await;
        // The source stands still; the validators do not.
        for slot in 12..60 {
            let payload = script.payload(slot);
            for n in 0..4 {
                running.mailbox.observe(scripted::signed(slot, n, Act::Attestation(payload)));
            }
            script.extend_unseen(slot);
            running.context.sleep(Duration::from_secs(1)).await;
        }
        script.unveil();
        running.pass().await;
        running.slots(60..70, &ALL).await;
        for n in 0..4 {
            assert_eq!(running.detailed(n).await.report.attestations.missed, 0);
        }
        assert_eq!(running.judged(66).await.map(|_| ()), Some(()));
    });
}

#[test]
fn one_whose_clock_is_ahead_keeps_nobody_from_being_judged() {
    watch(config(), async |running, script| {
        for slot in 8..20 {
            for ahead in [5, 100, 1_000_000, u64::MAX - slot] {
                let act = Act::Attestation(script.payload(slot));
                running.mailbox.observe(scripted::signed(slot + ahead, 3, act));
            }
            running.slot(slot, &[0, 1, 2]).await;
        }
        assert_eq!(running.missed(16).await, [id(3)]);
    });
}

#[test]
fn an_empty_slot_is_the_proposers_fault_alone_and_a_block_without_votes_everybody_elses() {
    watch(config(), async |running, _| {
        running.slots(8..10, &ALL).await;
        running.empty(10).await;
        running.slots(11..14, &ALL).await;
        let Some(Judgement::Judged { proposal, proposer, missed, .. }) = running.judged(10).await
        else {
            panic!("slot 10 is judged");
        };
        assert_eq!((proposal, proposer, missed), (Proposal::BlocksMissed, id(2), vec![]));
        let history = running.detailed(2).await.history;
        assert!(history.contains(&(Slot(10), Did::Proposed(Proposal::BlocksMissed))));
    });
}

#[test]
fn whoever_observes_never_waits_and_a_flood_merges_by_slot() {
    watch(config(), async |running, script| {
        // Nothing runs between these: the mailbox fills, and overflows.
        for round in 0..3 {
            for slot in 8..12 {
                for n in 0..4 {
                    let act = Act::Attestation(script.payload(slot));
                    let taken = running.mailbox.observe(scripted::signed(slot, n, act)).accepted();
                    assert!(taken, "round {round}");
                }
            }
            for far in 0..3_000 {
                running.mailbox.observe(scripted::signed(1_000 + far, 3, Act::Skip));
            }
        }
        (8..14).for_each(|slot| script.extend(slot));
        running.pass().await;
        running.pass().await;
        for slot in 8..12 {
            assert_eq!(running.missed(slot).await, Vec::<ValidatorId>::new(), "slot {slot}");
        }
    });
}

//! What becomes of proposals.

use super::*;
use commonware_codec::DecodeExt as _;
use tidewatch_core::FaultKind;
use tidewatch_sequencer::{
    NotSubmitted, Opened,
    timelock::{Evidence, Unopened},
};

fn clear(text: &'static [u8]) -> Opened {
    Opened::Clear(text.into())
}

fn evidence(preblock: &Preblock) -> Evidence {
    Evidence::decode(preblock.evidence.clone()).unwrap()
}

/// A sign of life every now and then, so that a test learns soon that there is nothing.
fn short() -> Limits {
    Limits { alive: Duration::from_millis(50), ..Limits::default() }
}

#[test]
fn nothing_is_open_before_its_round_is_certified_and_all_of_it_is_afterwards() {
    embed(|context| async move {
        let world = World::start(&context, short()).await;
        let unasked = world.remote.round().await.unwrap_err();
        assert_eq!(unasked.kind, FaultKind::Unavailable, "no round is certified yet");
        world.certify(10);
        world.sees(10).await;
        assert_eq!(world.remote.newest().await, Ok(None));
        let one = world.sealed(1, 0, 12, b"one");
        let two = world.sealed(2, 0, 13, b"two");
        world.remote.submit(proposal(1, vec![one, two])).await.unwrap();
        assert!(world.has_none(1).await);
        world.certify(11);
        world.certify(12);
        assert!(world.has_none(1).await, "round 13 is not certified");
        world.certify(13);
        let preblock = world.preblock(1).await;
        assert_eq!(preblock.opened, [clear(b"one"), clear(b"two")]);
        assert_eq!(evidence(&preblock).fixed, round(11), "before any round that it opens with");
        assert_eq!(world.remote.newest().await, Ok(Some(Height::new(1))));
        // The next one, with nothing to wait for.
        world.remote.submit(proposal(2, vec![])).await.unwrap();
        assert_eq!(world.preblock(2).await.opened, []);
    });
}

#[test]
fn a_proposal_is_answered_by_its_number_and_content() {
    embed(|context| async move {
        let world = World::start(&context, short()).await;
        let first = proposal(7, vec![world.sealed(1, 0, 12, b"one")]);
        let other = proposal(7, vec![world.sealed(1, 0, 12, b"two")]);
        let refused = |outcome: Result<(), NotSubmitted>, why: &str| match outcome {
            Err(NotSubmitted::Refused(said)) => assert!(said.contains(why), "{said}"),
            outcome => panic!("{outcome:?}"),
        };
        world.remote.submit(first.clone()).await.unwrap();
        // Before there is a preblock, and after it; in this attempt, and in a later one.
        for certified in [false, true] {
            if certified {
                (10..14).for_each(|view| world.certify(view));
                world.preblock(7).await;
            }
            world.remote.submit(first.clone()).await.unwrap();
            world.remote.submit(first.clone().again()).await.unwrap();
            assert_eq!(world.remote.submit(other.clone()).await, Err(NotSubmitted::Taken));
            let next = if certified { "number 8 is" } else { "number 7 is" };
            refused(world.remote.submit(proposal(9, vec![])).await, next);
            refused(world.remote.submit(proposal(6, vec![])).await, next);
        }
        // Whose identity does not name its content.
        let mut forged = proposal(8, vec![]);
        forged.identity.content = Digest([1; 32]);
        refused(world.remote.submit(forged).await, "content: the body is content");
        // The stream begins where the history does.
        let below = world.remote.preblocks(Height::new(6)).await;
        assert!(below.is_err_and(|fault| fault.to_string().contains("begins with number 7")));
    });
}

#[test]
fn a_round_without_a_block_is_opened_with_the_holders_shares() {
    embed(|context| async move {
        let world = World::start(&context, short()).await;
        world.certify(10);
        let one = world.sealed(1, 0, 12, b"one");
        world.remote.submit(proposal(1, vec![one])).await.unwrap();
        assert!(world.has_none(1).await);
        // Rounds 11 to 13 ended without a block.
        world.certify(14);
        let preblock = world.preblock(1).await;
        assert_eq!(preblock.opened, [clear(b"one")]);
        assert_eq!(evidence(&preblock).seeds, [(round(12), world.committee.seed_of(round(12)))]);
    });
}

#[test]
fn a_transaction_that_does_not_open_is_dropped_and_holds_up_nobody() {
    embed(|context| async move {
        let world = World::start(&context, short()).await;
        world.certify(10);
        let late = world.sealed(1, 0, 10, b"was open before");
        let far = world.sealed(2, 0, 10_000, b"would hold up the others");
        let good = world.sealed(3, 0, 11, b"good");
        let copied = Transaction { sender: Sender([4; 32]), ..good.clone() };
        let garbage = Transaction { payload: vec![7; 500].into(), ..good.clone() };
        let transactions = vec![late, far, good, copied, garbage];
        world.remote.submit(proposal(1, transactions)).await.unwrap();
        world.certify(11);
        let dropped = |why: Unopened| Opened::Dropped(why.to_string());
        let expected = [
            dropped(Unopened::TooEarly { round: 10, fixed: 11 }),
            dropped(Unopened::TooFar { round: 10_000, fixed: 11 }),
            clear(b"good"),
            dropped(Unopened::Body),
            dropped(Unopened::Malformed),
        ];
        assert_eq!(world.preblock(1).await.opened, expected);
    });
}

#[test]
fn a_transaction_of_a_mebibyte_passes() {
    embed(|context| async move {
        let world = World::start(&context, short()).await;
        world.certify(10);
        let clear = vec![5; 1024 * 1024 - tidewatch_sequencer::timelock::OVERHEAD_MAX];
        let large = world.sealed(1, 0, 11, &clear);
        world.remote.submit(proposal(1, vec![large])).await.unwrap();
        world.certify(11);
        assert_eq!(world.preblock(1).await.opened, [Opened::Clear(clear.into())]);
    });
}

#[test]
fn without_a_quorum_of_holders_nothing_is_ordered_until_there_is_one() {
    embed(|context| async move {
        let world = World::start(&context, short()).await;
        world.certify(10);
        world.holders.silence(0, true);
        assert_eq!(world.remote.health().await.unwrap().holders, 3);
        world.remote.submit(proposal(1, vec![])).await.unwrap();
        world.preblock(1).await;
        world.holders.silence(3, true);
        assert!(world.remote.health().await.is_err(), "too few attest");
        let late = world.sealed(1, 0, 12, b"one");
        world.remote.submit(proposal(2, vec![late])).await.unwrap();
        (11..14).for_each(|view| world.certify(view));
        assert!(world.has_none(2).await);
        world.holders.silence(0, false);
        // The next round has them try again; what was to be secret until the order is fixed is not.
        world.certify(14);
        let why = Unopened::TooEarly { round: 12, fixed: 15 }.to_string();
        assert_eq!(world.preblock(2).await.opened, [Opened::Dropped(why)]);
    });
}

/// PC-40.
#[test]
fn a_network_that_waits_for_a_round_to_open_stops_at_once() {
    embed(|context| async move {
        let world = World::start(&context, short()).await;
        world.certify(10);
        world.sees(10).await;
        let one = world.sealed(1, 0, 12, b"one");
        world.remote.submit(proposal(1, vec![one])).await.unwrap();
        let mut stream = world.remote.preblocks(Height::new(1)).await.unwrap();
        assert_eq!(stream.next().await, Ok(Item::Alive), "round 12 is not certified");
        let World { holders, .. } = world;
        let stopped = tokio::time::timeout(Duration::from_secs(1), holders.stop()).await;
        assert!(stopped.is_ok(), "it does not wait for the round");
        let ends = async { while stream.next().await.is_ok() {} };
        tokio::time::timeout(DEADLINE, ends).await.expect("its streams end");
    });
}

#[test]
fn what_was_acknowledged_survives_a_restart_at_every_step() {
    embed(|context| async move {
        let mut world = World::start(&context, short()).await;
        let one = proposal(1, vec![world.sealed(1, 0, 12, b"one")]);
        let other = proposal(1, vec![]);
        // Accepted, and no round was ever certified.
        world.remote.submit(one.clone()).await.unwrap();
        world = world.restart(&context).await;
        assert_eq!(world.remote.health().await.unwrap().pending, Some(1));
        assert_eq!(world.remote.submit(other.clone()).await, Err(NotSubmitted::Taken));
        // Its order is fixed: the second answer comes after that.
        world.certify(10);
        world.remote.submit(one.clone()).await.unwrap();
        world.remote.submit(one.clone()).await.unwrap();
        world = world.restart(&context).await;
        assert_eq!(world.remote.submit(other.clone()).await, Err(NotSubmitted::Taken));
        // It is open by now, and was fixed before it was.
        world.certify(20);
        let preblock = world.preblock(1).await;
        assert_eq!(evidence(&preblock).fixed, round(11));
        assert_eq!(preblock.opened, [clear(b"one")]);
        world = world.restart(&context).await;
        assert_eq!(world.preblock(1).await, preblock, "the same, to the byte");
        assert_eq!(world.remote.submit(other).await, Err(NotSubmitted::Taken));
        world.remote.submit(one.again()).await.unwrap();
        world.remote.submit(proposal(2, vec![])).await.unwrap();
        world.certify(30);
        world.preblock(2).await;
    });
}

#[test]
fn holders_that_start_again_attest_nothing_as_of_a_round_that_was_certified_before() {
    embed(|context| async move {
        let mut world = World::start(&context, short()).await;
        (10..31).for_each(|view| world.certify(view));
        world.sees(30).await;
        world = world.restart(&context).await;
        // Validators report what they certified before, from an old round on.
        world.certify(12);
        let read = world.sealed(1, 0, 20, b"read by whoever kept the seed of round 20");
        world.remote.submit(proposal(1, vec![read])).await.unwrap();
        assert!(world.remote.round().await.is_err(), "nobody may seal to round 13");
        (13..28).for_each(|view| world.certify(view));
        assert!(world.has_none(1).await);
        world.certify(40);
        let why = Unopened::TooEarly { round: 20, fixed: 41 }.to_string();
        assert_eq!(world.preblock(1).await.opened, [Opened::Dropped(why)]);
    });
}

use super::*;

/// PC-22, PC-24, B7: what becomes of a preblock, by where it differs from what is waited for.
#[test]
fn a_preblock_counts_only_for_an_identity_that_was_proposed() {
    let first = Proposal::new(genesis().block, content(vec![transaction(0)]));
    let block = Block::of(&preblock(&first));
    let head = standing(&block);
    let ours = Proposal::new(head.block, content(vec![transaction(1), transaction(2)])).again();
    let elsewhere = BlockRef::new(Height::new(1), Digest([9; 32]));
    let on = |parent, transactions| preblock(&Proposal::new(parent, content(transactions)));
    let both = || vec![transaction(1), transaction(2)];
    let third = preblock(&ours.clone().again());
    let torn = Preblock { opened: Vec::new(), ..preblock(&ours) };
    let past = Content { time_ms: 1_999, transactions: both() };
    let late = preblock(&Proposal::new(genesis().block, content(vec![transaction(5)])));
    let above = BlockRef::new(Height::new(2), Digest([9; 32]));
    let foreign = |mismatch| Judged::Foreign(mismatch);
    let cases = [
        ("the newest attempt", preblock(&ours), Judged::Accepted),
        ("an earlier attempt", on(head.block, both()), Judged::Accepted),
        ("an attempt that was not made", third, foreign(Mismatch::Attempt)),
        ("a missing transaction", on(head.block, vec![transaction(1)]), foreign(Mismatch::Content)),
        (
            "an extra one",
            on(head.block, [both(), vec![transaction(3)]].concat()),
            foreign(Mismatch::Content),
        ),
        (
            "another order",
            on(head.block, vec![transaction(2), transaction(1)]),
            foreign(Mismatch::Content),
        ),
        ("another parent", on(elsewhere, both()), foreign(Mismatch::Parent)),
        ("a torn one", torn, foreign(Mismatch::Broken)),
        (
            "one from before its parent",
            preblock(&Proposal::new(head.block, past)),
            foreign(Mismatch::Broken),
        ),
        ("the head again", preblock(&first), Judged::Doubled),
        ("the head again, in another attempt", preblock(&first.clone().again()), Judged::Doubled),
        ("another one of the head's number", late, Judged::Late),
        ("one above the next", on(above, both()), Judged::Future),
    ];
    let last = Some(&block.identity);
    for (name, preblock, expected) in cases {
        let judged = judge(&head, last, Expected::Proposed(&ours), &preblock);
        assert_eq!(judged, expected, "{name}");
        let applying = judge(&head, last, Expected::Applying(&ours.identity), &preblock);
        assert!(applying != Judged::Accepted, "{name}: while one is applied");
        let unsolicited = judge(&head, last, Expected::Nothing, &preblock);
        assert!(unsolicited != Judged::Accepted, "{name}: while nothing is proposed");
    }
    let nothing = judge(&head, last, Expected::Nothing, &preblock(&ours));
    assert_eq!(nothing, Judged::Unsolicited);
    // While it catches up, whatever the network fixed for the next number.
    let other = on(head.block, vec![transaction(8)]);
    assert_eq!(judge(&head, last, Expected::Any, &other), Judged::Accepted);
    let beside = on(elsewhere, vec![transaction(8)]);
    assert_eq!(judge(&head, last, Expected::Any, &beside), foreign(Mismatch::Parent));
}

/// PC-04, PC-06, PC-42, B5: what is built, by what waits, whether a block is due, and what the clock says.
#[test]
fn a_block_is_built_for_what_waits_or_because_it_is_due() {
    let head = genesis();
    let proposed = |build| match build {
        Build::Propose(Proposal { content, identity }) => {
            assert_eq!((identity.number.get(), identity.parent), (1, head.block.digest));
            Some((content.transactions.len(), content.time_ms))
        }
        Build::Early => None,
    };
    let cases = [
        (0, false, 5_000, None),
        (0, true, 5_000, Some((0, 5_000))),
        (2, false, 5_000, Some((2, 5_000))),
        // The clock was set back, or stands.
        (2, false, 400, Some((2, 1_000))),
        (2, false, 1_000, Some((2, 1_000))),
    ];
    for (waiting, due, now_ms, expected) in cases {
        let transactions = (0..waiting).map(transaction).collect();
        let built = proposed(build(&[], &head, transactions, due, now_ms));
        assert_eq!(built, expected, "{waiting} wait, due {due}, at {now_ms}");
    }
}

/// The block of an upgrade is empty, whatever waits, and however many blocks there were before it.
#[test]
fn the_block_of_an_upgrade_is_empty_and_no_other_is() {
    for before in 0..4_u64 {
        let number = [Upgrade::Number(Height::new(before + 1))];
        let time = [Upgrade::Time(1_000 + before * 10 + 1)];
        for upgrades in [&number[..], &time[..]] {
            let mut head = genesis();
            for n in 0..6 {
                let now_ms = head.time_ms + 10;
                let Build::Propose(proposal) =
                    build(upgrades, &head, vec![transaction(n)], false, now_ms)
                else {
                    panic!("a transaction waits");
                };
                let empty = proposal.content.transactions.is_empty();
                assert_eq!(empty, n == before, "block {} of {upgrades:?}", n + 1);
                head = standing(&Block::of(&preblock(&proposal)));
            }
        }
    }
    let due = build(&[Upgrade::Number(Height::new(1))], &genesis(), Vec::new(), false, 2_000);
    assert!(matches!(due, Build::Propose(_)), "it does not need to be forced");
}

/// PC-07: a plan that has caught up, with nothing outstanding, in timed mode.
fn fresh() -> Plan<u32> {
    let (mut plan, effects) = Plan::new(Config::every(SECOND), genesis(), None, None);
    assert!(matches!(effects[..], [Effect::Want { again: false }, Effect::Newest]));
    plan.newest(Ok(None));
    plan
}

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

/// PC-03, PC-04: each caller is told why there is no block.
#[test]
fn a_caller_is_told_why_nothing_is_done() {
    let mut plan = fresh();
    plan.produce(1, false);
    let effects = plan.selected(Err(Locked), 2_000);
    let locked = Answer::NothingToDo(Nothing::PoolLocked);
    assert!(matches!(&effects[0], Effect::Answer(1, answer) if *answer == locked));
    assert_eq!(plan.stage(), Stage::Idle);
    plan.produce(2, false);
    let effects = plan.selected(Ok(Vec::new()), 2_000);
    let early = Answer::NothingToDo(Nothing::Early);
    assert!(matches!(&effects[..], [Effect::Answer(2, answer)] if *answer == early));
    // With force an empty one will do.
    plan.produce(3, true);
    let effects = plan.selected(Ok(Vec::new()), 2_000);
    assert!(
        matches!(&effects[..], [Effect::Reserve(proposal)] if proposal.content.transactions.is_empty())
    );
    let busy = plan.produce(4, true);
    assert!(matches!(&busy[..], [Effect::Answer(4, Answer::Busy(number))] if number.get() == 1));
}

/// B5: what was due when the block was asked for may not be any more when it is built.
#[test]
fn whether_a_block_is_due_is_decided_when_it_is_built() {
    let mut plan = fresh();
    assert!(matches!(plan.due()[..], [Effect::Select]));
    let Effect::Reserve(proposal) = plan.selected(Ok(Vec::new()), 2_000).remove(0) else {
        panic!("a due block is forced");
    };
    plan.reserved(Ok(()));
    plan.submitted(Ok(()));
    plan.preblock(Box::new(preblock(&proposal)));
    plan.applied(Ok(Block::of(&preblock(&proposal))));
    plan.settled(Ok(()));
    // Applied meanwhile: the one after it is not due.
    plan.produce(1, false);
    let effects = plan.selected(Ok(Vec::new()), 2_500);
    let early = Answer::NothingToDo(Nothing::Early);
    assert!(matches!(&effects[..], [Effect::Answer(1, answer)] if *answer == early));
}

/// PC-15, Q7, B13: who does not answer has it, perhaps.
#[test]
fn an_unknown_submission_is_proposed_again_as_it_was() {
    let mut plan = fresh();
    plan.pooled(1);
    let Effect::Reserve(first) = plan.selected(Ok(vec![transaction(0)]), 2_000).remove(0) else {
        panic!("a transaction waits");
    };
    plan.reserved(Ok(()));
    plan.submitted(Err(NotSubmitted::Unknown(fault())));
    assert_eq!(plan.attempt(), Some(NonZeroU32::MIN));
    // More transactions came: they are not in the second attempt.
    assert!(plan.pooled(5).is_empty());
    let effects = plan.woken();
    let again = effects.iter().find_map(|effect| match effect {
        Effect::Reserve(proposal) => Some(proposal.clone()),
        _ => None,
    });
    assert_eq!(again, Some(first.clone().again()), "{effects:?}");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Want { again: true })));
    plan.reserved(Ok(()));
    // Now the network refuses: the first attempt may be there all the same.
    let effects = plan.submitted(Err(NotSubmitted::Refused("full".into())));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Release)), "{effects:?}");
    let (judged, _) = plan.preblock(Box::new(preblock(&first)));
    assert_eq!(judged, Judged::Accepted);
}

/// PC-25: a block that the chain refuses as a whole is applied without its transactions.
#[test]
fn a_block_that_the_chain_refuses_is_applied_with_everything_in_it_dropped() {
    let mut plan = fresh();
    plan.pooled(1);
    plan.selected(Ok(vec![transaction(0)]), 2_000);
    plan.reserved(Ok(()));
    plan.submitted(Ok(()));
    let proposal = Proposal::new(genesis().block, content(vec![transaction(0)]));
    plan.preblock(Box::new(preblock(&proposal)));
    let effects = plan.applied(Err(NotApplied::Rejected("it does not run".into())));
    let again = effects.into_iter().find_map(|effect| match effect {
        Effect::Apply(preblock) => Some(preblock),
        _ => None,
    });
    let again = again.expect("it is applied without them");
    assert_eq!(again.opened, vec![Opened::Dropped("it does not run".into())]);
    // Not even that: it is tried again after a pause, and nothing else is proposed.
    let effects = plan.applied(Err(NotApplied::Rejected("nor this".into())));
    assert!(matches!(effects[..], [Effect::Notice(_), Effect::Retry]), "{effects:?}");
    assert!(matches!(plan.woken()[..], [Effect::Apply(_)]));
}

/// PC-31: whoever waits is answered in time, and the block is still waited for.
#[test]
fn a_caller_who_waited_long_enough_is_refused_and_the_block_counts() {
    let mut plan = fresh();
    plan.produce(1, true);
    plan.selected(Ok(Vec::new()), 2_000);
    plan.reserved(Ok(()));
    plan.submitted(Err(NotSubmitted::Unknown(fault())));
    let effects = plan.impatient();
    let late = Answer::Refused(Refusal::Late);
    assert!(matches!(&effects[..], [_, Effect::Answer(1, answer)] if *answer == late));
    assert!(plan.impatient().is_empty(), "once");
    let proposal = Proposal::new(genesis().block, content(Vec::new()));
    assert_eq!(plan.preblock(Box::new(preblock(&proposal))).0, Judged::Accepted);
}

/// PC-37, Q9: nothing is proposed before what the network fixed is applied.
#[test]
fn what_the_network_fixed_is_applied_before_anything_is_proposed() {
    let (mut plan, _) = Plan::<u32>::new(Config::every(SECOND), genesis(), None, None);
    assert!(plan.due().is_empty() && plan.pooled(3).is_empty(), "it was not asked yet");
    assert!(matches!(plan.produce(1, true)[..], [Effect::Answer(1, Answer::Busy(_))]));
    plan.newest(Ok(Some(Height::new(2))));
    for _ in 0..2 {
        let proposal = Proposal::new(plan.head().block, content(vec![transaction(40)]));
        assert_eq!(plan.preblock(Box::new(preblock(&proposal))).0, Judged::Accepted);
        plan.applied(Ok(Block::of(&preblock(&proposal))));
        assert!(plan.pooled(3).is_empty());
        plan.settled(Ok(()));
    }
    let effects = plan.newest(Ok(Some(Height::new(2))));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Select)), "{effects:?}");
}

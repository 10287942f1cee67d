//! A start from a pinned block.

use super::world::Epoched;
use crate::{
    Error, Key,
    epochs::pin::{Found, Limits, boundary},
    mocks::{Answer, DATA_MAX, Scripted, TestBlock},
};
use commonware_codec::{Encode as _, RangeCfg};
use commonware_consensus::types::{Epoch, FixedEpocher};
use commonware_runtime::{Runner as _, deterministic};
use commonware_utils::NZU64;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{BlockRef, Fault, FaultKind, Height};

const LIMITS: Limits = Limits { request_timeout: Duration::from_secs(5), steps_max: NZU64!(100) };

fn chain() -> Epoched {
    Epoched::new(10, vec![0, 1, 2, 3], 35, false)
}

/// What is found from `pinned`, and the number of requests.
fn find(
    pinned: BlockRef,
    limits: Limits,
    script: impl FnMut(Key) -> Answer + Send + 'static,
) -> (Result<Found, Fault>, usize) {
    deterministic::Runner::timed(Duration::from_secs(600)).start(|context| async move {
        let transport = Arc::new(Scripted::new(&context, script));
        let (epocher, codec) = (FixedEpocher::new(NZU64!(10)), RangeCfg::from(..=DATA_MAX));
        let found =
            boundary::<_, TestBlock>(&context, &transport, &epocher, &codec, pinned, limits).await;
        (found, transport.calls().len())
    })
}

#[test]
fn a_pinned_block_leads_to_the_last_end_of_an_epoch_by_hashing_alone() {
    let chain = chain();
    for (pinned, ends, requests) in [(9, 9, 1), (10, 9, 2), (29, 29, 1), (35, 29, 7), (28, 19, 10)]
    {
        let (found, calls) = find(chain.reference(pinned), LIMITS, chain.answers());
        let found = found.unwrap();
        assert_eq!((found.record.block, calls), (chain.reference(ends), requests), "{pinned}");
        assert_eq!(found.record.epoch, Epoch::new(ends / 10 + 1));
        assert_eq!(found.record.bytes, chain.block(ends).encode());
        assert_eq!(found.time_ms, Some(chain.block(pinned).time_ms), "that of the pinned one");
    }
}

#[test]
fn whoever_answers_a_pin_with_something_else_is_refused() {
    let chain = chain();
    let (pinned, other) = (chain.reference(29), chain.with_key(2, 9));
    let wrong_height = BlockRef::new(Height::new(19), pinned.digest);
    let answer = |answer: Answer| move |_| answer.clone();
    let other = Answer::Bytes(other.block(29).encode());
    let table = [
        ("another block", find(pinned, LIMITS, answer(other)), FaultKind::WrongDigest),
        ("no block", find(pinned, LIMITS, answer(Answer::Missing)), FaultKind::Missing),
        ("silence", find(pinned, LIMITS, answer(Answer::Silence)), FaultKind::Timeout),
        (
            "bytes",
            find(pinned, LIMITS, answer(Answer::Bytes(vec![1; 9].into()))),
            FaultKind::Malformed,
        ),
        (
            "nothing",
            find(pinned, LIMITS, answer(Answer::Bytes(vec![].into()))),
            FaultKind::Malformed,
        ),
        // The operator is wrong, not whoever answers.
        ("a wrong height", find(wrong_height, LIMITS, chain.answers()), FaultKind::InvalidConfig),
        (
            "the first epoch",
            find(chain.reference(8), LIMITS, chain.answers()),
            FaultKind::InvalidConfig,
        ),
        (
            "too far from an end",
            find(chain.reference(35), Limits { steps_max: NZU64!(6), ..LIMITS }, chain.answers()),
            FaultKind::InvalidConfig,
        ),
    ];
    for (case, (found, _), kind) in table {
        assert_eq!(found.unwrap_err().kind, kind, "{case}");
    }
}

#[test]
fn a_pinned_block_is_as_old_as_its_own_time_says() {
    let chain = chain();
    let (found, _) = find(chain.reference(35), LIMITS, chain.answers());
    let found = found.unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    let made = SystemTime::UNIX_EPOCH + Duration::from_millis(chain.block(35).time_ms);
    for (now, fresh) in
        [(made, true), (made + day, true), (made + 2 * day, false), (made - day / 1_000_000, true)]
    {
        assert_eq!(found.fresh(now, day).is_ok(), fresh, "{now:?}");
    }
    let timeless = Found { time_ms: None, ..found };
    let refused = timeless.fresh(SystemTime::UNIX_EPOCH + 2 * day, day).unwrap_err();
    assert!(matches!(refused, Error::PinTooOld { .. }), "{refused}");
}

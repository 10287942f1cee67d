//! What a restart finds.

use super::world::{Epoched, TestSchemes, follow, height};
use crate::{
    Config, Epochs as _, Error, Known,
    epochs::keeper::{self, Keeper},
    mocks::Scripted,
};
use commonware_codec::Encode as _;
use commonware_consensus::types::Epoch;
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{ChainId, Fault, FaultKind, Running, Source as _, Tier};

fn config(chain: &str) -> keeper::Config {
    keeper::Config { chain: ChainId::new(chain).unwrap(), partition: "epochs".into() }
}

async fn keep(context: &deterministic::Context, schemes: &TestSchemes) -> Result<Running, Fault> {
    let keeper = Keeper::open(context.child("keeper"), config("test:epochs"), schemes).await?;
    Ok(Running::start(keeper))
}

#[test]
fn after_a_restart_known_epochs_are_known_and_cost_nothing() {
    let chain = Epoched::new(10, (0..10).collect(), 95, false);
    let again = chain.clone();
    let (_, disk) = deterministic::Runner::timed(Duration::from_secs(60)).start_and_recover(
        |context| async move {
            let schemes = chain.schemes(0);
            let _keeper = keep(&context, &schemes).await.unwrap();
            let transport = Arc::new(Scripted::new(&context, chain.answers()));
            let (source, _, _) = follow(&context, &schemes, &transport, Config::default());
            source.snapshot().await.unwrap();
            context.sleep(Duration::from_secs(1)).await;
            // No stop: the process is killed here.
        },
    );
    deterministic::Runner::from(disk).start(|context| async move {
        let schemes = again.schemes(0);
        let _keeper = keep(&context, &schemes).await.unwrap();
        for epoch in 1..10 {
            let boundary = again.reference(epoch * 10 - 1);
            assert_eq!(schemes.known(Epoch::new(epoch)), Some(Known::Boundary(boundary)));
        }
        let transport = Arc::new(Scripted::new(&context, again.answers()));
        let (source, _, _) = follow(&context, &schemes, &transport, Config::default());
        let tips = source.snapshot().await.unwrap().tips;
        assert_eq!(tips.block(Tier::Finalized), Some(again.reference(95)));
        assert_eq!(source.work().checks_total(), 1, "that of the tip");
        assert!(!transport.calls().contains(&height(9)));
    });
}

#[test]
fn a_stop_writes_what_was_handed_over_before_it() {
    let chain = Epoched::new(10, (0..10).collect(), 95, false);
    deterministic::Runner::timed(Duration::from_secs(60)).start(|context| async move {
        let schemes = chain.schemes(0);
        let keeper = keep(&context, &schemes).await.unwrap();
        let transport = Arc::new(Scripted::new(&context, chain.answers()));
        let (source, _, _) = follow(&context, &schemes, &transport, Config::default());
        source.snapshot().await.unwrap();
        keeper.stop();
        keeper.await.unwrap();
        let found = chain.schemes(0);
        let _keeper = keep(&context, &found).await.unwrap();
        assert_eq!(found.newest(), schemes.newest());
    });
}

#[test]
fn what_was_known_too_long_ago_is_refused_with_its_age() {
    let chain = Epoched::new(10, vec![0, 1, 2], 25, false);
    deterministic::Runner::timed(Duration::from_secs(60)).start(|context| async move {
        let day = Duration::from_secs(24 * 60 * 60);
        let at = |age| SystemTime::UNIX_EPOCH + age;
        let nowhere = chain.schemes(0);
        nowhere.fresh(at(1_000 * day), day).expect("what is kept nowhere was said just now");

        // The directory begins with the epoch of the clock, and the blocks are of some seconds later.
        let schemes = chain.schemes(0);
        let keeper = keep(&context, &schemes).await.unwrap();
        schemes.fresh(at(14 * day), 14 * day).expect("young enough");
        schemes.fresh(at(15 * day), 14 * day).expect_err("the key alone, said too long ago");
        let transport = Arc::new(Scripted::new(&context, chain.answers()));
        let (source, _, _) = follow(&context, &schemes, &transport, Config::default());
        source.snapshot().await.unwrap();
        let fault = schemes.fresh(at(15 * day), 14 * day).unwrap_err().to_string();
        assert!(fault.contains("epoch 2") && fault.contains("14 days"), "{fault}");
        schemes.fresh(at(Duration::ZERO), day).expect("a clock that was set back");
        keeper.stop();
        keeper.await.unwrap();

        // Somebody vouches for the same boundary ten days later.
        let newest = keeper::newest(&context, "epochs").await.unwrap();
        let (name, record) = newest.expect("a boundary");
        assert_eq!((name.as_str(), record.block), ("test:epochs", chain.reference(19)));
        let later = at(10 * day);
        keeper::import(&context, &config("test:epochs"), record, later).await.unwrap();
        let schemes = chain.schemes(0);
        let _keeper = keep(&context, &schemes).await.unwrap();
        schemes.fresh(at(15 * day), 14 * day).expect("it was said five days before");
        schemes.fresh(at(25 * day), 14 * day).expect_err("too long ago");
    });
}

#[test]
fn a_directory_of_another_chain_is_refused_in_words() {
    let chain = Epoched::new(10, vec![0, 1], 15, false);
    deterministic::Runner::timed(Duration::from_secs(60)).start(|context| async move {
        let schemes = chain.schemes(0);
        drop(Keeper::open(context.child("one"), config("test:one"), &schemes).await.unwrap());
        let other = Keeper::open(context.child("two"), config("test:two"), &schemes).await;
        let fault = other.unwrap_err();
        assert_eq!(fault.kind, FaultKind::WrongChain);
        assert!(fault.detail.contains("test:one") && fault.detail.contains("test:two"), "{fault}");
    });
}

#[test]
fn who_waits_for_a_boundary_is_answered_once_it_is_on_disk() {
    let chain = Epoched::new(10, vec![0, 1, 2], 25, false);
    let again = chain.clone();
    let (_, disk) = deterministic::Runner::timed(Duration::from_secs(60)).start_and_recover(
        |context| async move {
            let schemes = chain.schemes(0);
            let keeper = keep(&context, &schemes).await.unwrap();
            schemes.learn(chain.reference(9), chain.block(9).encode(), None).unwrap();
            schemes.kept(chain.reference(9)).await.unwrap();
            // The process is killed here.
            drop(keeper);
        },
    );
    deterministic::Runner::from(disk).start(|context| async move {
        let schemes = again.schemes(0);
        let keeper = keep(&context, &schemes).await.unwrap();
        assert_eq!(schemes.known(Epoch::new(1)), Some(Known::Boundary(again.reference(9))));
        schemes.kept(again.reference(9)).await.unwrap();
        keeper.stop();
        keeper.await.unwrap();
        schemes.learn(again.reference(19), again.block(19).encode(), None).unwrap();
        let kept = schemes.kept(again.reference(19)).await;
        assert!(matches!(kept, Err(Error::NotKept { .. })), "{kept:?}");
    });
}

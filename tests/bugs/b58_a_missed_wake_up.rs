//! B58. A manager with a bounded queue missed the one wake-up that signalled free space, and stalled
//! permanently.
//!
//! Here the waits that could miss a wake-up are those of readers for the next event, and of callers for
//! the next pass. Both run under a hundred schedules, in which every task is delayed at random: every
//! event is read, and every caller gets its result.

use crate::support::{Sink, grow, hand_over, millis, patient, secs};
use commonware_runtime::{Clock as _, Runner as _, Spawner as _, Supervisor as _, deterministic};
use commonware_utils::NZUsize;
use futures::future::join_all;
use std::sync::Arc;
use tidewatch_core::EventLog as _;
use tidewatch_store::Memory;
use tidewatch_stream::{Driver, delivery, driver};
use tidewatch_testkit::{
    chain::Chain,
    host::{Host, Odds},
    source::ScriptedSource,
};

/// Number of schedules.
const SEEDS: u64 = 100;

/// Half of the polls are delayed by up to 5 ms.
const LATE: Odds = Odds { rate: 0.5, longest: millis(5) };

/// Runs `test` on a host whose tasks are delayed at random, by `seed`.
fn scheduled<F: Future<Output = ()>>(
    test: impl Fn(deterministic::Context, Host<deterministic::Context>) -> F,
) {
    for seed in 0..SEEDS {
        let config = deterministic::Config::new().with_seed(seed).with_timeout(Some(secs(600)));
        deterministic::Runner::new(config).start(|context| async {
            let (host, trouble) = Host::new(context.child("host"), seed);
            trouble.starve(LATE);
            test(context, host).await;
        });
    }
}

#[test]
fn a_reader_that_drains_exactly_what_there_is_is_woken_by_the_next_event() {
    scheduled(|context, host| async move {
        let chain = Chain::new('a', 50);
        let (mut writer, log) = Memory::new(chain.chain_info());
        let config = delivery::Config { batch_max: NZUsize!(1), ..delivery::Config::default() };
        let (taken, _, _) = hand_over(&context, log.clone(), Sink::new("reader"), (), config);
        // Two readers in their own tasks, delayed like the writer.
        let waiters = [1, 2].map(|_| {
            let log = log.clone();
            host.child("waiter").spawn(move |_| async move {
                for sequence in 0..50 {
                    log.wait(sequence).await.unwrap();
                    assert!(!log.read(sequence, NZUsize!(1)).await.unwrap().is_empty());
                }
            })
        });
        host.child("writer").spawn(move |host| async move {
            for height in 1..=50 {
                grow(&mut writer, &chain, height..=height).await;
                host.sleep(millis(1)).await;
            }
        });
        for waiter in waiters {
            waiter.await.unwrap();
        }
        context.sleep(millis(100)).await;
        assert_eq!(taken.sequences(), (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn everybody_who_asks_a_driver_with_room_for_one_message_is_answered() {
    scheduled(|context, host| async move {
        let chain = Chain::new('a', 30);
        let source = ScriptedSource::new(&chain, [30, 0, 0, 0]);
        let config = driver::Config { mailbox_size: NZUsize!(1), ..patient() };
        let (driver, mailbox) = Driver::new(
            host.child("driver"),
            driver::Parts {
                source: Arc::new(source),
                view: Memory::new(chain.chain_info()).0,
                monitor: (),
            },
            config,
        );
        let driver = driver.start();
        for _ in 0..5 {
            let askers = (0..20).map(|_| {
                let mailbox = mailbox.clone();
                host.child("asker").spawn(move |_| async move {
                    mailbox.ring();
                    mailbox.sync().await.unwrap();
                })
            });
            for asked in join_all(askers).await {
                asked.unwrap();
            }
        }
        context.sleep(secs(1)).await;
        mailbox.stop();
        driver.await.unwrap().unwrap();
    });
}

use crate::{
    CertificateKind, Config, Push,
    mocks::{
        Answer, Chain, Scripted, Table, TestSource, TestUpstream, follow, follow_under, honest,
    },
};
use bytes::Bytes;
use commonware_runtime::{
    Clock as _, Metrics as _, Runner as _, Spawner as _, Supervisor as _, deterministic,
    telemetry::metrics::count_running_tasks,
};
use futures::FutureExt as _;
use std::{sync::Arc, time::Duration};
use tidewatch_core::{FaultKind, Running, Source as _, Tier};
use tidewatch_testkit::host::Host;
use tidewatch_testkit::monitor::Faults;

const SECOND: Duration = Duration::from_secs(1);

fn run<F: Future<Output = ()>>(test: impl FnOnce(deterministic::Context) -> F) {
    deterministic::Runner::timed(Duration::from_secs(600)).start(test);
}

fn world(
    context: &deterministic::Context,
    config: Config,
) -> (Chain, Arc<Scripted>, TestSource, TestUpstream, Faults) {
    let chain = Chain::new(60);
    let transport = Arc::new(Scripted::new(context, |_| Answer::Missing));
    let (source, upstream, recorder) = follow(context, &transport, config);
    (chain, transport, source, upstream, recorder)
}

fn finalization(chain: &Chain, height: u64) -> Push {
    Push::Finalization(chain.certified(CertificateKind::Finalized, height))
}

#[test]
fn a_pushed_certificate_that_verifies_counts_at_once() {
    run(|context| async move {
        let (chain, transport, source, upstream, _) = world(&context, Config::default());
        let mut bell = source.doorbell();
        let pushes = transport.accept();
        let _handle = upstream.start();
        bell.rung().await;
        source.snapshot().await.expect_err("nothing verified yet");
        for (push, finalized, proposed) in [
            (Push::Notarization(chain.certified(CertificateKind::Notarized, 1)), 0, 1),
            (finalization(&chain, 1), 1, 1),
            (Push::Notarization(chain.certified(CertificateKind::Notarized, 2)), 1, 2),
        ] {
            pushes.send(Ok(push)).await.unwrap();
            bell.rung().await;
            let tips = source.snapshot().await.unwrap().tips;
            assert_eq!(tips.block(Tier::Finalized), Some(chain.reference(finalized)));
            assert_eq!(tips.block(Tier::Proposed), Some(chain.reference(proposed)));
        }
        assert_eq!(transport.calls().len(), 2, "the tip was asked for once, after connecting");
        assert_eq!((source.work().pushes, source.work().checks["push"]), (3, 3));
    });
}

#[test]
fn a_quiet_endpoint_is_caught_up_with_after_every_reconnection() {
    run(|context| async move {
        let (chain, transport, source, upstream, _) = world(&context, Config::default());
        let mut bell = source.doorbell();
        let first = transport.accept();
        let _handle = upstream.start();
        bell.rung().await;
        source.snapshot().await.expect_err("nothing verified yet");
        // The endpoint goes on while nobody is connected, and never pushes again.
        let _second = transport.accept();
        transport.rescript(honest(&chain, 7));
        drop(first);
        bell.rung().await;
        let tips = source.snapshot().await.unwrap().tips;
        assert_eq!(tips.block(Tier::Finalized), Some(chain.reference(7)));
        assert_eq!(source.work().pushes, 0);
    });
}

#[test]
fn an_endpoint_that_is_down_for_an_hour_is_followed_when_it_comes_back() {
    deterministic::Runner::timed(Duration::from_secs(8_000)).start(|context| async move {
        let (chain, transport, source, upstream, _) = world(&context, Config::default());
        let mut bell = source.doorbell();
        let _handle = upstream.start();
        context.sleep(Duration::from_secs(3_600)).await;
        let listens = transport.listens();
        assert!((180..=370).contains(&listens.len()), "{} attempts in an hour", listens.len());
        let pushes = transport.accept();
        pushes.send(Ok(finalization(&chain, 4))).await.unwrap();
        bell.rung().await;
        context.sleep(SECOND).await;
        let tips = source.snapshot().await.unwrap().tips;
        assert_eq!(tips.block(Tier::Finalized), Some(chain.reference(4)));
    });
}

/// The ceilings of the waits between connection attempts, in milliseconds.
fn assert_waits(listens: &[Duration], ceilings: &[u64]) {
    let waits: Vec<_> = listens.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits.len(), ceilings.len(), "{waits:?}");
    for (wait, ceiling) in waits.iter().zip(ceilings) {
        let ceiling = Duration::from_millis(*ceiling);
        let slack = Duration::from_millis(50);
        assert!(*wait >= ceiling / 2 && *wait <= ceiling + slack, "{wait:?} of {ceiling:?}");
    }
}

#[test]
fn a_handshake_does_not_reset_the_back_off_and_a_verified_event_does() {
    run(|context| async move {
        let (chain, transport, _source, upstream, _) = world(&context, Config::default());
        // Six connections that are accepted and dropped, the last of them after an event.
        for _ in 0..5 {
            drop(transport.accept());
        }
        let sixth = transport.accept();
        sixth.send(Ok(finalization(&chain, 1))).await.unwrap();
        drop(sixth);
        let _handle = upstream.start();
        while transport.listens().len() < 7 {
            context.sleep(Duration::from_millis(10)).await;
        }
        assert_waits(&transport.listens(), &[500, 1_000, 2_000, 4_000, 8_000, 500]);
    });
}

#[test]
fn an_endpoint_that_repeats_a_known_certificate_and_hangs_up_is_retried_less_and_less_often() {
    run(|context| async move {
        let (chain, transport, _source, upstream, _) = world(&context, Config::default());
        for _ in 0..2_000 {
            let pushes = transport.accept();
            pushes.send(Ok(finalization(&chain, 1))).await.unwrap();
        }
        let _handle = upstream.start();
        context.sleep(Duration::from_secs(590)).await;
        let listens = transport.listens();
        // The first one moved a tip. From then on 0.5, 1, 2, 4, 8, 16 and 20 seconds at the most.
        assert!((30..=65).contains(&listens.len()), "{} attempts in ten minutes", listens.len());
        assert_waits(&listens[..8], &[500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000]);
    });
}

/// What an answer brought first shows that pushes arrive, once: repeated, it shows nothing.
#[test]
fn a_connection_that_repeats_one_certificate_is_silent() {
    run(|context| async move {
        let (chain, transport, source, upstream, recorder) = world(&context, Config::default());
        let pushes = transport.accept();
        let _second = transport.accept();
        let _handle = upstream.start();
        for _ in 0..15 {
            let _ = pushes.send(Ok(finalization(&chain, 1))).await;
            context.sleep(SECOND).await;
        }
        assert_eq!((transport.listens().len(), pushes.is_closed()), (2, true));
        assert_eq!((source.work().silences, source.work().checks_total()), (1, 1));
        assert_eq!(recorder.kinds(), [FaultKind::Timeout]);
    });
}

#[test]
fn a_silent_connection_is_replaced_whatever_else_it_brings() {
    run(|context| async move {
        let (_, transport, source, upstream, recorder) = world(&context, Config::default());
        let chatty = transport.accept();
        let _second = transport.accept();
        let _handle = upstream.start();
        for _ in 0..12 {
            let _ = chatty.send(Ok(Push::Irrelevant)).await;
            context.sleep(SECOND).await;
        }
        assert_eq!(transport.listens().len(), 2);
        assert_eq!((source.work().silences, source.work().refusals["timeout"]), (1, 1));
        assert_eq!(recorder.kinds(), [FaultKind::Timeout]);
        assert_eq!(transport.open().max, 1);
    });
}

#[test]
fn a_bad_frame_among_good_ones_costs_a_count_and_nothing_else() {
    run(|context| async move {
        let (chain, transport, source, upstream, recorder) = world(&context, Config::default());
        let pushes = transport.accept();
        let _handle = upstream.start();
        let bad = [
            Ok(Push::Finalization(Bytes::new())),
            Ok(Push::Notarization(Bytes::from_static(b"\x00\xff garbage"))),
            Ok(Push::Finalization(chain.forged(CertificateKind::Finalized, 50))),
            Ok(Push::Notarization(chain.forged(CertificateKind::Notarized, 50))),
            Err(FaultKind::Malformed.fault("test", "an empty frame")),
        ];
        for (height, bad) in (1..).zip(bad) {
            pushes.send(bad).await.unwrap();
            pushes.send(Ok(finalization(&chain, height))).await.unwrap();
        }
        context.sleep(SECOND).await;
        let tips = source.snapshot().await.unwrap().tips;
        assert_eq!(tips.block(Tier::Finalized), Some(chain.reference(5)));
        assert_eq!(tips.block(Tier::Proposed), Some(chain.reference(5)));
        let refusals = source.work().refusals;
        assert_eq!((refusals["malformed"], refusals["invalid_certificate"]), (3, 2));
        assert_eq!(recorder.kinds().len(), 5);
        assert_eq!(transport.listens().len(), 1, "the connection was kept");
    });
}

#[test]
fn an_hour_of_bad_frames_opens_one_socket_at_a_time_and_moves_nothing() {
    deterministic::Runner::timed(Duration::from_secs(8_000)).start(|context| async move {
        let (chain, transport, source, upstream, _) = world(&context, Config::default());
        let _handle = upstream.start();
        let frame = Push::Finalization(chain.certified(CertificateKind::Finalized, 9).slice(1..));
        let mut pushes = transport.accept();
        for _ in 0..3_600 {
            if pushes.send(Ok(frame.clone())).await.is_err() {
                pushes = transport.accept();
            }
            context.sleep(SECOND).await;
            assert!(transport.open().now <= 1);
            assert_eq!(count_running_tasks(&context, "certified_upstream"), 1);
        }
        assert_eq!(transport.open().max, 1);
        assert_eq!(source.work().checks_total(), 0);
        assert_eq!(source.snapshot().await.unwrap_err().kind, FaultKind::Unavailable);
    });
}

#[test]
fn a_flood_of_refused_frames_costs_the_connection() {
    run(|context| async move {
        let (chain, transport, source, upstream, _) = world(&context, Config::default());
        let flood = transport.accept();
        for _ in 0..1_000 {
            flood
                .try_send(Ok(Push::Finalization(chain.forged(CertificateKind::Finalized, 9))))
                .unwrap();
        }
        let _second = transport.accept();
        let _handle = upstream.start();
        context.sleep(2 * SECOND).await;
        assert_eq!(source.work().checks_total(), 16, "the limit of refused frames in a row");
        assert_eq!(transport.listens().len(), 2);
        assert!(flood.is_closed());
    });
}

#[test]
fn old_news_is_counted_and_costs_no_check() {
    run(|context| async move {
        let (chain, transport, source, upstream, _) = world(&context, Config::default());
        let pushes = transport.accept();
        let _handle = upstream.start();
        pushes.send(Ok(finalization(&chain, 9))).await.unwrap();
        for height in 1..9 {
            pushes.send(Ok(finalization(&chain, height))).await.unwrap();
            let notarization = chain.certified(CertificateKind::Notarized, height);
            pushes.send(Ok(Push::Notarization(notarization))).await.unwrap();
        }
        context.sleep(SECOND).await;
        assert_eq!((source.work().stale, source.work().checks_total()), (16, 1));
    });
}

/// Asserts that nothing is left of an upstream, once its end was awaited.
async fn assert_gone(context: &deterministic::Context, transport: &Scripted) {
    context.sleep(SECOND).await;
    assert_eq!(transport.open().now, 0);
    assert_eq!(count_running_tasks(context, "certified_upstream"), 0);
    assert!(context.encode().contains("certified_connected 0"));
}

#[test]
fn stopping_it_closes_the_connection_and_leaves_no_task() {
    run(|context| async move {
        let (_, transport, source, upstream, _) = world(&context, Config::default());
        let pushes = transport.accept();
        let handle = upstream.start();
        context.sleep(SECOND).await;
        assert_eq!(transport.open().now, 1);
        assert!(count_running_tasks(&context, "certified") > 0);
        source.upstream().stop();
        assert_eq!(handle.await.unwrap(), Ok(()));
        assert!(pushes.is_closed());
        assert_gone(&context, &transport).await;
        drop(source);
        context.sleep(SECOND).await;
        assert_eq!(count_running_tasks(&context, "certified"), 0, "nor the checker");
    });
}

/// What an upstream is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Midst {
    Connecting,
    Listening,
    BackingOff,
}

#[test]
fn a_stop_ends_it_at_once_whatever_it_waits_for() {
    use Midst::{BackingOff, Connecting, Listening};
    for midst in [Connecting, Listening, BackingOff] {
        for by_runtime in [false, true] {
            run(|context| async move {
                let (_, transport, _source, upstream, _) = world(&context, Config::default());
                let _pushes = match midst {
                    Connecting => {
                        transport.hang();
                        None
                    }
                    Listening => Some(transport.accept()),
                    BackingOff => None,
                };
                let mut running = Running::start(upstream);
                assert_eq!(running.name(), "upstream");
                context.sleep(Duration::from_millis(100)).await;
                assert!((&mut running).now_or_never().is_none(), "{midst:?}");
                assert_eq!(transport.listens().len(), 1, "{midst:?}");
                assert_eq!(transport.open().now, usize::from(midst == Listening), "{midst:?}");
                let began = context.current();
                if by_runtime {
                    context.child("stop").stop(0, Some(SECOND)).await.expect("it ends in time");
                } else {
                    running.stop();
                }
                assert_eq!(running.await, Ok(()), "{midst:?}");
                let took = context.current().duration_since(began).unwrap();
                assert!(took < Duration::from_millis(10), "{midst:?}: {took:?}");
                assert_gone(&context, &transport).await;
                assert_eq!(transport.listens().len(), 1, "{midst:?}");
            });
        }
    }
}

#[test]
fn asked_to_reconnect_it_replaces_the_connection_or_ends_the_back_off_at_once() {
    run(|context| async move {
        let (_, transport, source, upstream, _) = world(&context, Config::default());
        let first = transport.accept();
        let handle = upstream.start();
        context.sleep(SECOND).await;
        let second = transport.accept();
        assert!(source.upstream().reconnect().accepted());
        context.sleep(Duration::from_millis(10)).await;
        assert!(first.is_closed() && !second.is_closed());
        assert_eq!((transport.listens().len(), transport.open().max), (2, 1));
        // Lost three times in a row, the next wait is at least a second.
        drop(second);
        while transport.listens().len() < 4 {
            context.sleep(Duration::from_millis(10)).await;
        }
        let third = transport.accept();
        context.sleep(Duration::from_millis(100)).await;
        assert_eq!(transport.listens().len(), 4, "it backs off");
        source.upstream().reconnect();
        context.sleep(Duration::from_millis(10)).await;
        assert_eq!((transport.listens().len(), third.is_closed()), (5, false));
        source.upstream().stop();
        assert_eq!(handle.await.unwrap(), Ok(()));
        assert!(!source.upstream().reconnect().accepted(), "nobody is there");
    });
}

#[test]
fn one_seed_gives_one_history() {
    let history = |seed| {
        deterministic::Runner::seeded(seed).start(|context| async move {
            let (_, transport, _source, upstream, _) = world(&context, Config::default());
            let _handle = upstream.start();
            context.child("wait").sleep(Duration::from_secs(60)).await;
            transport.listens()
        })
    };
    assert_eq!(history(5), history(5));
    assert_ne!(history(5), history(6));
}

#[test]
fn a_clock_that_is_set_back_keeps_no_silent_connection() {
    run(|context| async move {
        let transport = Arc::new(Scripted::new(&context, |_| Answer::Missing));
        let pushes = transport.accept();
        let (host, trouble) = Host::new(context.child("host"), 0);
        let config = Config::default();
        let silence = config.silence;
        let (_source, upstream, recorder) = follow(&host, &transport, config);
        let _handle = upstream.start();
        context.sleep(SECOND).await;
        trouble.jump(-3_600_000);
        pushes.send(Ok(Push::Irrelevant)).await.unwrap();
        context.sleep(silence).await;
        assert_eq!(recorder.kinds().first(), Some(&FaultKind::Timeout));
    });
}

/// A follower of a chain whose table of epochs ends at height 5.
struct Boundary {
    chain: Chain,
    table: Table,
    transport: Arc<Scripted>,
    source: TestSource<deterministic::Context, Table>,
    upstream: TestUpstream<deterministic::Context, Table>,
    recorder: Faults,
}

fn at_a_boundary(context: &deterministic::Context) -> Boundary {
    let (chain, table) = (Chain::new(300), Table::up_to(5));
    let transport = Arc::new(Scripted::new(context, |_| Answer::Missing));
    let (source, upstream, recorder) =
        follow_under(context, table.clone(), &transport, Config::default());
    Boundary { chain, table, transport, source, upstream, recorder }
}

#[test]
fn a_hundred_pushes_of_an_unknown_epoch_cost_no_connection_and_the_table_may_be_filled_later() {
    run(|context| async move {
        let Boundary { chain, table, transport, source, upstream, recorder } =
            at_a_boundary(&context);
        transport.rescript(honest(&Chain::new(5), 5));
        let pushes = transport.accept();
        let _handle = upstream.start();
        pushes.send(Ok(finalization(&chain, 5))).await.unwrap();
        for height in 6..106 {
            pushes.send(Ok(finalization(&chain, height))).await.unwrap();
            context.sleep(SECOND).await;
            let tips = source.snapshot().await.unwrap().tips;
            assert_eq!(tips.block(Tier::Finalized), Some(chain.reference(5)), "what it can verify");
        }
        assert_eq!((transport.listens().len(), pushes.is_closed()), (1, false));
        assert_eq!(source.work().refusals["unknown_epoch"], 100);
        assert_eq!(recorder.kinds(), [FaultKind::UnknownEpoch], "reported once");

        table.fill(300);
        pushes.send(Ok(finalization(&chain, 106))).await.unwrap();
        context.sleep(SECOND).await;
        let tips = source.snapshot().await.unwrap().tips;
        assert_eq!(tips.block(Tier::Finalized), Some(chain.reference(106)));
        assert_eq!((transport.listens().len(), source.work().silences), (1, 0));
    });
}

#[test]
fn a_connection_that_claims_an_unknown_epoch_is_replaced_if_requests_bring_what_verifies() {
    run(|context| async move {
        let Boundary { chain, transport, source, upstream, recorder, .. } = at_a_boundary(&context);
        let pushes = transport.accept();
        let _handle = upstream.start();
        for height in 1..=5 {
            transport.rescript(honest(&chain, height));
            for _ in 0..6 {
                let _ = pushes.send(Ok(finalization(&chain, 200))).await;
                context.sleep(SECOND).await;
                let _ = source.snapshot().await;
            }
        }
        assert!(pushes.is_closed());
        assert_eq!(source.work().silences, 1);
        assert_eq!(recorder.kinds()[..2], [FaultKind::UnknownEpoch, FaultKind::Timeout]);
    });
}

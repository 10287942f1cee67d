use super::*;
use commonware_runtime::{Clock as _, Runner as _, Spawner as _, Supervisor as _, deterministic};
use commonware_utils::{NZU32, sync::Mutex};
use futures::FutureExt as _;
use std::{sync::Arc, time::Duration};
use tidewatch_core::{Fault, FaultKind, Running, Stopper};

const LIMIT: Duration = Duration::from_secs(2);

/// What the actors of a test did, in order.
#[derive(Clone, Default)]
struct Deeds(Arc<Mutex<Vec<String>>>);

impl Deeds {
    fn note(&self, deed: impl Into<String>) {
        self.0.lock().push(deed.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

/// An actor that ends so after a while, or takes so long to stop before that.
#[derive(Clone, Copy)]
struct Of {
    lives: Duration,
    ends: Result<(), FaultKind>,
    stops: Duration,
}

const FOREVER: Duration = Duration::from_secs(1_000_000);

impl Default for Of {
    fn default() -> Self {
        Self { lives: FOREVER, ends: Ok(()), stops: Duration::ZERO }
    }
}

fn spawn(context: &deterministic::Context, deeds: &Deeds, name: &str, of: Of) -> Running {
    let (stopper, stopping) = Stopper::new();
    let (deeds, about) = (deeds.clone(), name.to_owned());
    let handle = context.child("actor").spawn(move |context| async move {
        deeds.note(format!("{about} runs"));
        commonware_macros::select! {
            () = stopping.stopped() => {
                context.sleep(of.stops).await;
                deeds.note(format!("{about} stops"));
                Ok(())
            },
            () = context.sleep(of.lives) => of.ends.map_err(|kind| kind.fault(about, "as told")),
        }
    });
    Running::new(name, handle, stopper)
}

fn simulate<F: Future<Output = ()>>(test: impl FnOnce(deterministic::Context) -> F) {
    deterministic::Runner::timed(Duration::from_secs(100_000)).start(test);
}

fn start(context: &deterministic::Context) -> (Mailbox, commonware_runtime::Handle<Report>) {
    let config = Config { stop_limit: LIMIT, remove_limit: LIMIT, ..Config::default() };
    let (supervisor, mailbox) = Supervisor::new(context.child("supervisor"), config);
    (mailbox, supervisor.start())
}

async fn sleep(context: &deterministic::Context, seconds: u64) {
    context.sleep(Duration::from_secs(seconds)).await;
}

#[test]
fn members_are_stopped_one_after_the_other_in_the_reverse_order_of_their_start() {
    simulate(|context| async move {
        let (deeds, (mailbox, handle)) = (Deeds::default(), start(&context));
        for name in ["store", "driver", "consumer"] {
            let of = Of { stops: Duration::from_millis(100), ..Of::default() };
            mailbox.add(Member::critical(spawn(&context, &deeds, name, of)));
        }
        sleep(&context, 1).await;
        deeds.take();
        let begin = context.current();
        mailbox.stop(LIMIT);
        let report = handle.await.unwrap();
        assert_eq!(deeds.take(), ["consumer stops", "driver stops", "store stops"]);
        let took = context.current().duration_since(begin).unwrap();
        assert!(
            took >= Duration::from_millis(300) && took < Duration::from_millis(310),
            "{took:?}"
        );
        assert_eq!(report, Report { over: true, ..Report::default() });
        assert_eq!(report.to_string(), "stopped");
    });
}

#[test]
fn a_member_that_hangs_takes_its_share_of_the_limit_and_is_named() {
    simulate(|context| async move {
        let (deeds, (mailbox, handle)) = (Deeds::default(), start(&context));
        for (name, stops) in [("store", 0), ("stuck", 1_000), ("consumer", 0)] {
            let of = Of { stops: Duration::from_secs(stops), ..Of::default() };
            mailbox.add(Member::critical(spawn(&context, &deeds, name, of)));
        }
        sleep(&context, 1).await;
        deeds.take();
        let begin = context.current();
        mailbox.stop(LIMIT);
        let report = handle.await.unwrap();
        assert_eq!(deeds.take(), ["consumer stops", "store stops"]);
        let took = context.current().duration_since(begin).unwrap();
        assert!(took >= LIMIT && took < LIMIT * 2, "{took:?}");
        let late = StillRunning { actors: vec!["stuck".into()], after: LIMIT };
        assert_eq!(report.still_running, Some(late));
        assert_eq!(report.to_string(), "stopped; still running after 2s: stuck");
        sleep(&context, 2_000).await;
        assert!(deeds.take().is_empty(), "it was aborted");
    });
}

#[test]
fn the_first_cause_is_named_and_what_ends_with_it_follows() {
    simulate(|context| async move {
        let (deeds, (mailbox, handle)) = (Deeds::default(), start(&context));
        let of = |lives, ends| Of { lives: Duration::from_secs(lives), ends, ..Of::default() };
        let upstream = of(11, Err(FaultKind::Stopped));
        mailbox.add(Member::critical(spawn(&context, &deeds, "upstream", upstream)));
        let store = of(10, Err(FaultKind::Disk));
        mailbox.add(Member::critical(spawn(&context, &deeds, "store", store)));
        // Hangs until the upstream has ended too.
        let consumer = Of { stops: Duration::from_millis(1_500), ..Of::default() };
        mailbox.add(Member::optional(spawn(&context, &deeds, "consumer", consumer)));
        let rests = of(5, Err(FaultKind::TooOld));
        mailbox.add(Member::optional(spawn(&context, &deeds, "index", rests)));
        let mut reports = mailbox.report();
        let first = reports.until(|report| report.cause.is_some()).await.unwrap();
        let report = handle.await.unwrap();
        assert_eq!(report.cause.as_ref().unwrap().actor, "store");
        assert_eq!(first.cause, report.cause);
        let later: Vec<_> = report.later.iter().map(|ended| ended.actor.as_str()).collect();
        assert_eq!(later, ["upstream"]);
        assert_eq!(report.rested("index").unwrap().role, Role::Optional);
        let told =
            "store ended: store: as told (disk); then upstream ended: upstream: as told (stopped)";
        assert_eq!(report.to_string(), told);
        assert_eq!(reports.changed().await, Ok(report));
        assert!(reports.changed().await.is_err(), "nothing more will come");
    });
}

#[test]
fn a_factory_makes_its_actor_again_further_and_further_apart_up_to_a_limit() {
    simulate(|context| async move {
        let (deeds, (mailbox, handle)) = (Deeds::default(), start(&context));
        let restarts =
            Restarts { max: NZU32!(4), window: Duration::from_secs(600), ..Restarts::default() };
        let (maker, notes) = (context.child("maker"), deeds.clone());
        mailbox.add(Member::restarting(Role::Optional, restarts, move || {
            let of = Of {
                lives: Duration::from_secs(1),
                ends: Err(FaultKind::Unreachable),
                ..Of::default()
            };
            spawn(&maker, &notes, "feed", of)
        }));
        let reports = mailbox.report();
        let report = reports.until(|report| report.rested("feed").is_some()).await.unwrap();
        assert_eq!((report.restarts, deeds.take().len()), (4, 5));
        mailbox.stop(LIMIT);
        assert_eq!(handle.await.unwrap().cause, None);
    });
}

#[test]
fn restarts_long_ago_do_not_count_and_what_cannot_help_is_not_tried() {
    simulate(|context| async move {
        let (deeds, (mailbox, handle)) = (Deeds::default(), start(&context));
        let restarts =
            Restarts { max: NZU32!(1), window: Duration::from_secs(600), ..Restarts::default() };
        let (maker, notes, mut lives) = (context.child("maker"), deeds.clone(), 0);
        mailbox.add(Member::restarting(Role::Critical, restarts, move || {
            lives += 1;
            let ends = Err(if lives < 20 { FaultKind::Timeout } else { FaultKind::CorruptRecord });
            let of = Of { lives: Duration::from_secs(700), ends, ..Of::default() };
            spawn(&maker, &notes, "feed", of)
        }));
        let report = handle.await.unwrap();
        assert_eq!((report.restarts, deeds.take().len()), (19, 20));
        let fault: Fault = report.cause.unwrap().result.unwrap_err();
        assert_eq!(fault.kind, FaultKind::CorruptRecord);
    });
}

#[test]
fn a_member_is_removed_while_it_runs_while_it_waits_and_while_it_hangs() {
    simulate(|context| async move {
        let (deeds, (mailbox, handle)) = (Deeds::default(), start(&context));
        let runs = mailbox.add(Member::critical(spawn(&context, &deeds, "runs", Of::default())));
        let hangs = Of { stops: FOREVER, ..Of::default() };
        let hangs = mailbox.add(Member::critical(spawn(&context, &deeds, "hangs", hangs)));
        let (maker, notes) = (context.child("maker"), deeds.clone());
        let restarts = Restarts { backoff: FOREVER, backoff_max: FOREVER, ..Restarts::default() };
        let waits = mailbox.add(Member::restarting(Role::Critical, restarts, move || {
            let of = Of { lives: Duration::ZERO, ends: Err(FaultKind::Timeout), ..Of::default() };
            spawn(&maker, &notes, "waits", of)
        }));
        sleep(&context, 1).await;
        assert_eq!(mailbox.report().current().members.len(), 3);
        assert_eq!(mailbox.remove(runs).await, Ok(()));
        assert_eq!(mailbox.remove(waits).await, Ok(()));
        let begin = context.current();
        let late = StillRunning { actors: vec!["hangs".into()], after: LIMIT };
        assert_eq!(mailbox.remove(hangs).await, Err(late.into()));
        assert!(context.current().duration_since(begin).unwrap() >= LIMIT);
        assert_eq!(mailbox.remove(runs).await, Err(RemoveError::Unknown));
        assert!(
            (&mut Box::pin(mailbox.report().until(|report| report.over))).now_or_never().is_none()
        );
        mailbox.stop(LIMIT);
        let report = handle.await.unwrap();
        assert_eq!((report.cause, report.still_running), (None, None));
        assert_eq!(mailbox.remove(runs).await, Err(RemoveError::Stopped));
    });
}

#[test]
fn a_stop_in_the_middle_of_a_removal_answers_who_waits_for_it() {
    simulate(|context| async move {
        let (deeds, (mailbox, handle)) = (Deeds::default(), start(&context));
        let of = Of { stops: Duration::from_secs(1), ..Of::default() };
        let slow = mailbox.add(Member::critical(spawn(&context, &deeds, "slow", of)));
        let removing = mailbox.clone();
        let removed =
            context.child("remover").spawn(move |_| async move { removing.remove(slow).await });
        context.sleep(Duration::from_millis(500)).await;
        mailbox.stop(LIMIT);
        assert_eq!(removed.await.unwrap(), Ok(()));
        assert_eq!(handle.await.unwrap().still_running, None);
    });
}

#[test]
fn a_member_that_comes_too_late_is_aborted() {
    simulate(|context| async move {
        let (deeds, (mailbox, handle)) = (Deeds::default(), start(&context));
        mailbox.stop(LIMIT);
        handle.await.unwrap();
        let of = Of { lives: Duration::from_secs(5), ..Of::default() };
        let feed = context.child("feed").spawn({
            let (deeds, context) = (deeds.clone(), context.child("clock"));
            move |_| async move {
                context.sleep(of.lives).await;
                deeds.note("went on");
                Ok(())
            }
        });
        mailbox.add(Member::optional(Running::new("feed", feed, Stopper::new().0)));
        sleep(&context, 10).await;
        assert!(deeds.take().is_empty());
    });
}

#[test]
fn the_stop_of_the_runtime_stops_every_member_and_waits_for_it() {
    simulate(|context| async move {
        let (deeds, (mailbox, handle)) = (Deeds::default(), start(&context));
        let of = Of { stops: Duration::from_secs(1), ..Of::default() };
        mailbox.add(Member::critical(spawn(&context, &deeds, "slow", of)));
        let (stopper, stopping) = Stopper::new();
        let idle = context.child("idle").spawn(|_| async move {
            stopping.stopped().await;
            Ok(())
        });
        mailbox.add(Member::optional(Running::new("idle", idle, stopper)));
        sleep(&context, 1).await;
        context.child("stop").stop(0, None).await.unwrap();
        assert_eq!(deeds.take(), ["slow runs", "slow stops"]);
        assert_eq!(handle.await.unwrap().cause, None);
    });
}

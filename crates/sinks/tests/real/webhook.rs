//! An endpoint that refuses, hangs and redirects, and a real Tidewatch server of a history that the test writes.

use crate::{
    receiver::{Act, Fold, Got, Receiver},
    world::World,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use commonware_runtime::{Handle, Runner as _, Spawner as _, Supervisor as _, tokio};
use commonware_utils::sync::Mutex;
use hmac::{Hmac, KeyInit as _, Mac as _};
use std::{
    num::NonZeroU64,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_sinks::webhook::{
    Config, Endpoint, Error, Kept, Limits, Progress, Secrets, run, send_again,
};

const SECRET: [u8; 32] = [9; 32];

fn endpoint(receiver: &Receiver, limits: Limits) -> Endpoint {
    let secret = format!("whsec_{}", STANDARD.encode(SECRET));
    Endpoint::new(&receiver.url(), Secrets::parse(&secret).unwrap(), limits).unwrap()
}

fn limits() -> Limits {
    Limits { attempt: Duration::from_millis(400), ..Limits::default() }
}

/// A world with a server, an endpoint, and a directory.
struct Around {
    context: tokio::Context,
    world: World,
    from: String,
    receiver: Receiver,
    directory: tempfile::TempDir,
    said: Arc<Mutex<Vec<String>>>,
    _serving: tidewatch_core::Running,
}

impl Around {
    fn run(test: impl AsyncFnOnce(Self)) {
        tokio::Runner::default().start(|context| async move {
            let world = World::with_all_events(context.child("world"));
            let (address, serving) = world.serve("127.0.0.1:0").await;
            let around = Self {
                world,
                from: format!("http://{address}"),
                receiver: Receiver::start(&context).await,
                directory: tempfile::tempdir().unwrap(),
                said: Arc::default(),
                _serving: serving,
                context,
            };
            test(around).await;
        });
    }

    fn config(&self, limits: Limits) -> Config {
        Config {
            endpoint: endpoint(&self.receiver, limits),
            from: self.from.clone(),
            token: None,
            earliest: true,
            finalized: false,
            enable: false,
        }
    }

    fn start(&self, config: Config) -> Handle<Result<(), Error>> {
        let (path, said) = (self.directory.path().to_owned(), self.said.clone());
        self.context.child("sink").spawn(move |context| async move {
            let mut kept = Kept::open(&path)?;
            run(context, config, &mut kept, |progress| {
                if let Progress::Waiting { reason, wait, .. } = progress {
                    said.lock().push(format!("{reason}, {} s", wait.as_secs()));
                }
            })
            .await
        })
    }

    /// Waits until the endpoint has folded to where the world is.
    async fn arrived(&self) {
        let head = self.world.at(self.world.head);
        let wanted = Some((head.height.get(), head.digest.to_string()));
        self.until(|receiver| {
            let fold = Fold::of(&receiver.events());
            fold.head == wanted && fold.tips.get("proposed") == wanted.as_ref()
        })
        .await;
    }

    async fn until(&self, holds: impl Fn(&Receiver) -> bool) {
        for _ in 0..3_000 {
            if holds(&self.receiver) {
                return;
            }
            pause();
        }
        panic!("{:?}", self.receiver.got());
    }
}

/// Ends a sink: until it has ended, its directory is its own.
async fn stop(sink: Handle<Result<(), Error>>) {
    sink.abort();
    let _ = sink.await;
}

/// Between two looks.
#[allow(clippy::disallowed_methods, reason = "another task is waited for, with a deadline")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

#[test]
fn events_come_in_order_each_signed_and_each_once_however_the_endpoint_answers() {
    Around::run(async |mut around| {
        around.receiver.next([
            Act::Status(500),
            Act::Status(204),
            Act::With(429, "retry-after", "2".into()),
            Act::Status(200),
            Act::Hang,
            Act::Status(299),
            Act::With(307, "location", format!("{}&elsewhere", around.receiver.url())),
        ]);
        around.world.grow(1).await;
        let sink = around.start(around.config(limits()));
        around.arrived().await;
        around.world.grow(9).await;
        around.world.reorg(3).await;
        around.world.grow(4).await;
        around.arrived().await;
        stop(sink).await;
        assert_eq!(Fold::of(&around.receiver.events()).prunes, 1);
        let said = around.said.lock().clone();
        let wanted = [
            "status 500, ",
            "status 429, 2 s",
            "it does not answer in time, ",
            "status 307: redirects",
        ];
        assert_eq!(said.len(), wanted.len(), "{said:?}");
        assert!(said.iter().zip(wanted).all(|(said, wanted)| said.starts_with(wanted)), "{said:?}");
        for (got, _) in around.receiver.got() {
            let signed = format!("{}.{}.{}", got.id, got.timestamp, got.body);
            let mac = Hmac::<sha2::Sha256>::new_from_slice(&SECRET).unwrap();
            let code = mac.chain_update(signed.as_bytes()).finalize().into_bytes();
            assert_eq!(got.signature, format!("v1,{}", STANDARD.encode(code)));
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
            let timestamp: u64 = got.timestamp.parse().unwrap();
            assert!(now - timestamp < 120, "it is of the attempt");
        }
    });
}

#[test]
fn what_was_being_sent_comes_again_as_it_was_whatever_the_chain_did_meanwhile() {
    Around::run(async |mut around| {
        around.world.grow(5).await;
        let sink = around.start(around.config(limits()));
        around.arrived().await;
        // The endpoint takes it, and its answer is not heard of.
        around.receiver.next([Act::Hang]);
        let before = around.receiver.got().len();
        around.world.grow(1).await;
        around.until(|receiver| receiver.got().len() > before).await;
        stop(sink).await;
        let heard = around.receiver.got()[before].0.clone();
        around.world.reorg(2).await;
        around.world.grow(3).await;
        let sink = around.start(around.config(limits()));
        around.arrived().await;
        let again = around.receiver.got()[before + 1].0.clone();
        assert_eq!((&again.id, &again.body), (&heard.id, &heard.body));
        assert_eq!(Fold::of(&around.receiver.events()).prunes, 1);
        stop(sink).await;
    });
}

#[test]
fn what_is_given_up_is_kept_and_sent_again_and_the_next_one_goes_on() {
    Around::run(async |mut around| {
        let few = Limits { attempts: NonZeroU64::new(2), ..limits() };
        around.world.grow(1).await;
        around.receiver.next([500, 200, 404, 503].map(Act::Status));
        let sink = around.start(around.config(few.clone()));
        // Blocks at the second attempt; the proposed tier never.
        around.until(|receiver| receiver.got().len() >= 4).await;
        around.world.grow(1).await;
        around.until(|receiver| receiver.events().len() >= 3).await;
        stop(sink).await;
        let kept = Kept::open(around.directory.path()).unwrap();
        let dead = kept.dead().unwrap();
        assert_eq!(dead.len(), 1, "{dead:?}");
        let dead = &dead[0];
        let told = (dead.kind.as_str(), dead.attempts, dead.reason.as_str());
        assert_eq!(told, ("advanced", 2, "status 503"));
        // In the same words, once the endpoint takes it.
        let endpoint = endpoint(&around.receiver, few);
        let again =
            async || send_again(around.context.child("again"), &endpoint, &kept, |_| {}).await;
        around.receiver.next([Act::Status(500)]);
        let refused = again().await.unwrap_err();
        assert!(matches!(&refused, Error::StillDead { id, .. } if *id == dead.id), "{refused}");
        assert_eq!(again().await.unwrap(), 1);
        let last = around.receiver.got().last().unwrap().0.clone();
        assert_eq!((&last.id, &last.body), (&dead.id, &dead.body));
        assert_eq!(kept.dead().unwrap(), []);
        assert_eq!(again().await.unwrap(), 0);
    });
}

#[test]
fn an_endpoint_that_is_gone_is_sent_nothing_until_it_is_enabled() {
    Around::run(async |mut around| {
        around.world.grow(1).await;
        around.receiver.next([Act::Status(410)]);
        for _ in 0..2 {
            let ended = around.start(around.config(limits())).await.unwrap().unwrap_err();
            assert!(matches!(ended, Error::Disabled), "{ended}");
            assert_eq!(around.receiver.got().len(), 1);
        }
        let enabled = Config { enable: true, ..around.config(limits()) };
        let sink = around.start(enabled);
        around.arrived().await;
        stop(sink).await;
        let got = around.receiver.got();
        assert_eq!(got[0].0.id, got[1].0.id, "what it refused is not lost");
        let sink = around.start(around.config(limits()));
        around.world.grow(1).await;
        around.arrived().await;
        stop(sink).await;
    });
}

#[test]
fn only_what_became_final_is_sent_where_that_is_asked_for() {
    Around::run(async |mut around| {
        for _ in 0..20 {
            around.world.grow(1).await;
        }
        around.world.reorg(3).await;
        around.world.grow(5).await;
        let sink = around.start(Config { finalized: true, ..around.config(limits()) });
        let last = around.world.finalized().unwrap().height.get();
        let height = |got: &Got| got.data()["block"]["height"].as_u64();
        around.until(|receiver| receiver.events().last().and_then(height) == Some(last)).await;
        stop(sink).await;
        let events = around.receiver.events();
        for got in &events {
            let data = got.data();
            assert_eq!((&data["event"], &data["tier"]), (&"advanced".into(), &"finalized".into()));
        }
        let heights: Vec<_> = events.iter().map(height).collect();
        assert!(heights.len() > 10 && heights.is_sorted(), "{heights:?}");
    });
}

#[test]
fn a_position_is_of_one_chain_and_a_damaged_one_is_said() {
    Around::run(async |mut around| {
        around.world.grow(1).await;
        let sink = around.start(around.config(limits()));
        around.arrived().await;
        stop(sink).await;
        let other = World::new(around.context.child("other"), 'x', NonZeroU64::MAX);
        let (address, _serving) = other.serve("127.0.0.1:0").await;
        let elsewhere = Config { from: format!("http://{address}"), ..around.config(limits()) };
        let ended = around.start(elsewhere).await.unwrap().unwrap_err();
        assert!(matches!(ended, Error::OtherChain { .. }), "{ended}");
        // A cursor that leads nowhere is an event of its own: the endpoint learns of it.
        let path: &Path = around.directory.path();
        let file = path.join("position.json");
        let mut position: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        position["cursor"] = "nonsense".into();
        std::fs::write(&file, position.to_string()).unwrap();
        let before = around.receiver.got().len();
        let sink = around.start(around.config(limits()));
        around.until(|receiver| receiver.got().len() > before).await;
        let data = around.receiver.got()[before].0.data();
        assert_eq!((&data["event"], &data["code"]), (&"reset".into(), &"malformed_cursor".into()));
        stop(sink).await;
        std::fs::write(&file, "{").unwrap();
        let ended = around.start(around.config(limits())).await.unwrap().unwrap_err();
        assert!(matches!(ended, Error::Disk(_)), "{ended}");
    });
}

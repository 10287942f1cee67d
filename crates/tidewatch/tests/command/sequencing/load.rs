//! Senders that encrypt for real and submit over HTTP, at a rate, whatever becomes of the sequencer.

use bytes::Bytes;
use commonware_codec::{DecodeExt, Encode as _};
use commonware_consensus::types::{Epoch, Round, View};
use commonware_formatting::{from_hex, hex};
use commonware_runtime::{
    Clock as _, Runner as _, Spawner as _, Supervisor as _,
    tokio::{Config as RuntimeConfig, Context, Runner},
};
use futures::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};
use tidewatch_core::Digest;
use tidewatch_devnet::Committee;
use tidewatch_sequencer::{
    Sender, Transaction,
    timelock::{Keys, Seed},
};

/// Senders, each with one transaction at a time.
const SENDERS: u8 = 20;
/// How long one request may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often it is asked which round to seal to.
const ROUNDS: Duration = Duration::from_millis(100);
/// How long a sender waits after a request that failed.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the last ones may take until they are in a block.
const LIMIT: Duration = Duration::from_secs(120);

/// What was sent, with what it says.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The sequencer said that it has them.
    pub(crate) acknowledged: BTreeMap<Digest, Bytes>,
    /// The answer did not come: it may have them.
    pub(crate) unanswered: BTreeMap<Digest, Bytes>,
    /// Answers that were no, by status: each was sealed once more.
    pub(crate) refused: BTreeMap<u16, usize>,
}

/// Senders that go on until they are stopped.
pub(crate) struct Load {
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<Sent>,
}

/// What all senders share.
#[derive(Clone)]
struct Shared {
    keys: Keys,
    base: String,
    client: Client,
    stopped: Arc<AtomicBool>,
    /// The round to seal to, unless the sequencer cannot be asked.
    round: Arc<Mutex<Option<Round>>>,
    sent: Arc<Mutex<Sent>>,
}

impl Load {
    /// `rate` transactions in a second to the sequencer at `base`.
    pub(crate) fn start(base: &str, rate: u32) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let client = Client::builder().no_proxy().timeout(DEADLINE).tcp_nodelay(true);
        let shared = Shared {
            keys: Committee::deal(0, 4).unwrap().keys(),
            base: base.into(),
            client: client.build().unwrap(),
            stopped: stopped.clone(),
            round: Arc::default(),
            sent: Arc::default(),
        };
        let period = Duration::from_secs(1) * u32::from(SENDERS) / rate;
        let run = move |context| send(context, shared, period);
        let thread = thread::spawn(move || Runner::new(RuntimeConfig::default()).start(run));
        Self { stopped, thread }
    }

    /// Ends it once each transaction that was acknowledged is in a block.
    pub(crate) fn stop(self) -> Sent {
        self.stopped.store(true, Ordering::Release);
        self.thread.join().unwrap()
    }
}

async fn send(context: Context, shared: Shared, period: Duration) -> Sent {
    let (ticks, asks) = (context.child("rounds"), shared.clone());
    let rounds = context.child("rounds").spawn(move |_| async move {
        loop {
            let asked = asks.target(Sender([1; 32])).await;
            *asks.round.lock().unwrap() = asked.map(|(round, _)| round);
            ticks.sleep(ROUNDS).await;
        }
    });
    let began = context.current();
    let senders = (1..=SENDERS).map(|nth| {
        let (shared, after) = (shared.clone(), period * u32::from(nth) / u32::from(SENDERS));
        context.child("sender").spawn(move |context| async move {
            shared.sends(context, Sender([nth; 32]), (began + after, period)).await
        })
    });
    let last: Vec<_> = join_all(senders).await.into_iter().filter_map(Result::unwrap).collect();
    rounds.abort();
    let end = context.current() + LIMIT;
    for id in last {
        while !shared.is_settled(&id).await {
            assert!(context.current() < end, "{id} is in no block");
            context.sleep(PAUSE).await;
        }
    }
    std::mem::take(&mut shared.sent.lock().unwrap())
}

impl Shared {
    async fn ask(&self, path: &str) -> Option<(StatusCode, Value)> {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await.ok()?;
        let status = answer.status();
        Some((status, answer.json().await.unwrap_or_default()))
    }

    /// The round to seal to, and the next nonce of `sender`.
    async fn target(&self, sender: Sender) -> Option<(Round, u64)> {
        let (_, answer) = self.ask(&format!("/v1/target?sender={}", hex(&sender.0))).await?;
        let number = |name: &str| answer[name].as_u64();
        let round = |view| Some(Round::new(Epoch::new(number("epoch")?), View::new(view)));
        let seed = from_hex(answer["seed"].as_str()?)?;
        let signature = DecodeExt::decode(seed.as_slice()).ok()?;
        let seed = Seed::new(round(number("view")?)?, signature);
        assert!(self.keys.is_seed(&seed), "{answer}");
        assert!(number("target")? > number("view")?, "{answer}");
        Some((round(number("target")?)?, number("nonce")?))
    }

    /// Submits one transaction each `period`, in the order of its nonces. Returns the last one that was acknowledged.
    async fn sends(
        &self,
        mut context: Context,
        sender: Sender,
        (mut at, period): (SystemTime, Duration),
    ) -> Option<Digest> {
        let (mut nonce, mut count, mut last) = (0, 0_u64, None);
        while !self.stopped.load(Ordering::Acquire) {
            context.sleep_until(at).await;
            let Some(round) = *self.round.lock().unwrap() else {
                context.sleep(PAUSE).await;
                continue;
            };
            count += 1;
            let said = Bytes::from(format!("{} says {count} under {nonce}", sender.0[0]));
            let payload = self.keys.seal(&mut context, round, (sender, nonce), &said).unwrap();
            let transaction = Transaction { sender, nonce, payload };
            let id = transaction.id();
            let request = self.client.post(format!("{}/v1/transactions", self.base));
            match request.body(transaction.encode()).send().await.map(|answer| answer.status()) {
                Ok(StatusCode::ACCEPTED) => {
                    self.sent.lock().unwrap().acknowledged.insert(id, said);
                    (nonce, last) = (nonce + 1, Some(id));
                    at += period;
                }
                Ok(StatusCode::CONFLICT) => {
                    // One whose answer did not come was accepted.
                    match self.target(sender).await {
                        Some((_, next)) if next > nonce => nonce = next,
                        other => assert!(other.is_none(), "nonce {nonce} is used: {other:?}"),
                    }
                }
                Ok(status) => {
                    *self.sent.lock().unwrap().refused.entry(status.as_u16()).or_default() += 1;
                    context.sleep(PAUSE).await;
                }
                Err(_) => {
                    self.sent.lock().unwrap().unanswered.insert(id, said);
                    context.sleep(PAUSE).await;
                }
            }
        }
        last
    }

    /// Whether it is in a block, or was in one that is old.
    async fn is_settled(&self, id: &Digest) -> bool {
        match self.ask(&format!("/v1/transactions/{id}")).await {
            Some((StatusCode::NOT_FOUND, _)) => true,
            Some((StatusCode::OK, answer)) => {
                matches!(answer["place"].as_str(), Some("applied" | "dropped"))
            }
            _ => false,
        }
    }
}

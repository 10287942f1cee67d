//! An endpoint that answers as a test says, and keeps what it was sent.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use commonware_runtime::{Spawner as _, Supervisor as _, tokio::Context};
use commonware_utils::sync::Mutex;
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};
use tokio::net::TcpListener;

/// How one request is answered.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "not every test needs each")]
pub(crate) enum Act {
    Status(u16),
    With(u16, &'static str, String),
    /// Not at all.
    Hang,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signature: String,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn data(&self) -> Value {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["type"], format!("tidewatch.{}", body["data"]["event"].as_str().unwrap()));
        body["data"].clone()
    }
}

#[derive(Debug, Default)]
struct Inner {
    acts: VecDeque<Act>,
    got: Vec<(Got, bool)>,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Receiver {
    inner: Arc<Mutex<Inner>>,
    pub(crate) address: SocketAddr,
}

impl Receiver {
    pub(crate) async fn start(context: &Context) -> Self {
        let inner = Arc::<Mutex<Inner>>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().fallback(answer).with_state(inner.clone());
        context.child("receiver").spawn(move |_| async move {
            axum::serve(listener, routes).await.unwrap();
        });
        Self { inner, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?key=hunter2", self.address)
    }

    /// How the next requests are answered; others with 204.
    pub(crate) fn next(&self, acts: impl IntoIterator<Item = Act>) {
        self.inner.lock().acts.extend(acts);
    }

    /// Everything that came, with whether it was acknowledged.
    pub(crate) fn got(&self) -> Vec<(Got, bool)> {
        self.inner.lock().got.clone()
    }

    /// What was acknowledged, each id once, and of which every request was the same.
    pub(crate) fn events(&self) -> Vec<Got> {
        let (mut bodies, mut events) = (BTreeMap::new(), Vec::new());
        let mut seen = std::collections::BTreeSet::new();
        for (got, acknowledged) in self.got() {
            let body = bodies.entry(got.id.clone()).or_insert_with(|| got.body.clone());
            assert_eq!(*body, got.body, "one id is one body");
            if acknowledged && seen.insert(got.id.clone()) {
                events.push(got);
            }
        }
        events
    }
}

async fn answer(
    State(inner): State<Arc<Mutex<Inner>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "application/json");
    let got = Got {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let act = {
        let mut inner = inner.lock();
        let act = inner.acts.pop_front().unwrap_or(Act::Status(204));
        let acknowledged = matches!(act, Act::Status(200..=299));
        inner.got.push((got, acknowledged));
        act
    };
    let status = |status: u16| axum::http::StatusCode::from_u16(status).unwrap();
    match act {
        Act::Status(code) => status(code).into_response(),
        Act::With(code, name, value) => (status(code), [(name, value)]).into_response(),
        Act::Hang => std::future::pending().await,
    }
}

/// Folds events as an endpoint does: the highest block, and the tiers.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    pub(crate) head: Option<(u64, String)>,
    pub(crate) tips: BTreeMap<String, (u64, String)>,
    pub(crate) prunes: u64,
}

impl Fold {
    pub(crate) fn of(events: &[Got]) -> Self {
        let mut fold = Self::default();
        events.iter().for_each(|got| fold.take(&got.data()));
        fold
    }

    fn take(&mut self, event: &Value) {
        let block = |value: &Value| {
            (value["height"].as_u64().unwrap(), value["digest"].as_str().unwrap().to_owned())
        };
        match event["event"].as_str().unwrap() {
            "blocks" => {
                let next = self.head.as_ref().map_or(1, |head| head.0 + 1);
                assert_eq!(block(&event["from"]).0, next, "{event}");
                self.head = Some(block(&event["to"]));
            }
            "pruned" => {
                let to = block(&event["to"]);
                let depth = self.head.as_ref().unwrap().0 - to.0;
                assert_eq!(event["depth"].as_u64(), Some(depth), "{event}");
                let tips = event["tips"].as_object().unwrap();
                let tips = tips.iter().filter(|(_, tip)| !tip.is_null());
                self.tips = tips.map(|(tier, tip)| (tier.clone(), block(&tip["block"]))).collect();
                (self.head, self.prunes) = (Some(to), self.prunes + 1);
            }
            "advanced" | "regressed" => {
                let at = block(&event["block"]);
                assert!(at.0 <= self.head.as_ref().unwrap().0, "{event}");
                self.tips.insert(event["tier"].as_str().unwrap().into(), at);
            }
            other => panic!("{other} is not sent here"),
        }
    }
}

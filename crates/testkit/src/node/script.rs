//! A node at a real address, over HTTP and WebSocket alike, that answers as a test says.

#![allow(
    clippy::disallowed_methods,
    reason = "a server is not what runs here, and ends with the test"
)]

use super::{Answer, Refused};
use axum::{
    Router,
    body::Bytes,
    extract::{
        FromRequest as _, FromRequestParts as _, Request, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::{IntoResponse as _, Response},
    routing::any,
};
use commonware_utils::sync::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use std::{fmt, net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::broadcast};

/// What a node answers a call of a method with these parameters.
type Answers = dyn Fn(&str, &[Value]) -> Answer + Send + Sync;

/// What a node answers a whole request, where that is not an answer to each call of it.
type Whole = dyn Fn(&Value) -> Option<Value> + Send + Sync;

/// What a call that subscribes is pushed at once. `None`: it is a call like another.
type Subscribes = dyn Fn(&str, &[Value]) -> Option<Vec<Value>> + Send + Sync;

/// A node that is served. Clones are handles of one.
#[derive(Clone)]
pub struct Script {
    answers: Arc<Answers>,
    whole: Arc<Whole>,
    subscribes: Arc<Subscribes>,
    /// The only path that has WebSockets, where not all have.
    sockets: Option<&'static str>,
    seen: Arc<Mutex<Seen>>,
    tells: broadcast::Sender<Tell>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Value>,
    /// The address and the authorization of the last request or connection.
    last: (String, String),
}

/// What the open sockets are told.
#[derive(Clone)]
enum Tell {
    /// Push this, with the id of each subscription.
    Push(Value),
    /// Be gone.
    Close,
}

/// What sockets may be told before one of them looks.
const TELLS: usize = 1_024;

/// A notification of `method`, for [`Script::push`] and [`Script::with_subscriptions`].
pub fn notification(method: &str, result: &Value) -> Value {
    let params = json!({"subscription": null, "result": result});
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").finish_non_exhaustive()
    }
}

impl Script {
    /// A node that answers call by call.
    pub fn new<T: Serialize, E: Into<Refused>>(
        answers: impl Fn(&str, &[Value]) -> Result<T, E> + Send + Sync + 'static,
    ) -> Self {
        let answers = move |method: &str, params: &[Value]| {
            let answer = answers(method, params).map_err(Into::into)?;
            Ok(serde_json::to_value(answer).unwrap())
        };
        let subscribes = |method: &str, _: &[Value]| (method == "eth_subscribe").then(Vec::new);
        Self {
            answers: Arc::new(answers),
            whole: Arc::new(|_| None),
            subscribes: Arc::new(subscribes),
            sockets: None,
            seen: Arc::default(),
            tells: broadcast::channel(TELLS).0,
        }
    }

    /// A node that answers whole requests.
    pub fn whole(whole: impl Fn(&Value) -> Option<Value> + Send + Sync + 'static) -> Self {
        Self::new(|method, _| -> Answer { panic!("nobody answers {method}") }).with_whole(whole)
    }

    /// The same, where these calls subscribe, with what each is pushed at once. Without: those of `eth_subscribe`.
    pub fn with_subscriptions(
        self,
        subscribes: impl Fn(&str, &[Value]) -> Option<Vec<Value>> + Send + Sync + 'static,
    ) -> Self {
        Self { subscribes: Arc::new(subscribes), ..self }
    }

    /// The same, with WebSockets at this path alone.
    pub fn with_sockets_at(self, path: &'static str) -> Self {
        Self { sockets: Some(path), ..self }
    }

    /// The same, which answers some requests as a whole.
    pub fn with_whole(
        self,
        whole: impl Fn(&Value) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        Self { whole: Arc::new(whole), ..self }
    }

    /// Pushes `result` to whoever subscribed, as a notification of `method`.
    pub fn push(&self, method: &str, result: &Value) {
        // Nobody may be there.
        let _ = self.tells.send(Tell::Push(notification(method, result)));
    }

    /// Ends all connections.
    pub fn hang_up(&self) {
        let _ = self.tells.send(Tell::Close);
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.seen.lock().requests.len()
    }

    /// How many calls of `method` came.
    pub fn calls(&self, method: &str) -> usize {
        let seen = self.seen.lock();
        let calls = seen.requests.iter().flat_map(|request| match request {
            Value::Array(calls) => calls.clone(),
            call => vec![call.clone()],
        });
        calls.filter(|call| call["method"] == method).count()
    }

    /// The path and the authorization of the last request or connection.
    pub fn last(&self) -> (String, String) {
        self.seen.lock().last.clone()
    }

    /// Serves it on a port that the system chooses, in this runtime.
    pub async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(self.clone().accept(listener));
        address
    }

    /// The same, in a thread with a runtime of its own.
    pub fn serve_apart(&self) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, script) = (listener.local_addr().unwrap(), self.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                script.accept(TcpListener::from_std(listener).unwrap()).await;
            });
        });
        address
    }

    async fn accept(self, listener: TcpListener) {
        let handler = move |request: Request| self.clone().handle(request);
        axum::serve(listener, Router::new().fallback(any(handler))).await.unwrap();
    }

    async fn handle(self, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        let authorization = parts.headers.get("authorization");
        let authorization = authorization.map_or("", |value| value.to_str().unwrap()).to_owned();
        self.seen.lock().last = (parts.uri.to_string(), authorization);
        if self.sockets.is_none_or(|path| path == parts.uri.path())
            && let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await
        {
            return upgrade.on_upgrade(move |socket| self.converse(socket));
        }
        let body = Bytes::from_request(Request::from_parts(parts, body), &()).await.unwrap();
        let answer = self.answer(&serde_json::from_slice(&body).unwrap_or_default());
        ([("content-type", "application/json")], answer.to_string()).into_response()
    }

    async fn converse(self, mut socket: WebSocket) {
        let mut tells = self.tells.subscribe();
        let mut subscriptions = Vec::new();
        let to = |id: &Value, mut push: Value| {
            push["params"]["subscription"] = id.clone();
            push
        };
        loop {
            let texts = tokio::select! {
                message = socket.recv() => {
                    let Some(Ok(message)) = message else { return };
                    let Message::Text(text) = message else { continue };
                    let asked: Value = serde_json::from_str(&text).unwrap();
                    let mut texts = vec![self.answer(&asked)];
                    if let Some(first) = self.subscribed(&asked) {
                        let id = json!(format!("{:#x}", 7 + subscriptions.len()));
                        texts[0]["result"] = id.clone();
                        texts.extend(first.into_iter().map(|push| to(&id, push)));
                        subscriptions.push(id);
                    }
                    texts
                }
                tell = tells.recv() => match tell {
                    Ok(Tell::Push(push)) => {
                        subscriptions.iter().map(|id| to(id, push.clone())).collect()
                    }
                    Ok(Tell::Close) | Err(broadcast::error::RecvError::Closed) => return,
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                },
            };
            for text in texts {
                if socket.send(Message::text(text.to_string())).await.is_err() {
                    return;
                }
            }
        }
    }

    fn subscribed(&self, call: &Value) -> Option<Vec<Value>> {
        let params = call["params"].as_array().map_or(&[][..], Vec::as_slice);
        (self.subscribes)(call["method"].as_str().unwrap_or_default(), params)
    }

    fn answer(&self, asked: &Value) -> Value {
        self.seen.lock().requests.push(asked.clone());
        if let Some(whole) = (self.whole)(asked) {
            return whole;
        }
        let one = |call: &Value| {
            if self.subscribed(call).is_some() {
                return json!({"jsonrpc": "2.0", "id": call["id"], "result": "0x7"});
            }
            let params = call["params"].as_array().map_or(&[][..], Vec::as_slice);
            match (self.answers)(call["method"].as_str().unwrap_or_default(), params) {
                Ok(result) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}),
                Err(Refused { code, message }) => {
                    let error = json!({"code": code, "message": message});
                    json!({"jsonrpc": "2.0", "id": call["id"], "error": error})
                }
            }
        };
        asked.as_array().map_or_else(|| one(asked), |calls| calls.iter().map(one).collect())
    }
}

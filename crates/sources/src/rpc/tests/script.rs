//! A node at a real address, over HTTP and WebSocket alike, that answers as a test says.

use super::serve;
use crate::rpc::{Answer, RpcError};
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
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tokio::sync::broadcast;

/// What a node answers a call of a method with these parameters.
type Answers = dyn Fn(&str, &[Value]) -> Answer + Send + Sync;

/// What a node answers a whole request, where that is not an answer to each call of it.
type Whole = dyn Fn(&Value) -> Option<Value> + Send + Sync;

/// A node that is served.
#[derive(Clone)]
pub(crate) struct Script {
    answers: Arc<Answers>,
    whole: Arc<Whole>,
    requests: Arc<Mutex<Vec<Value>>>,
    /// The method that asks for pushes.
    subscription: &'static str,
    tells: broadcast::Sender<Tell>,
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

/// An error of a node.
pub(crate) fn error(code: i32, message: impl Into<String>) -> Answer {
    Err(RpcError { code, message: message.into() })
}

/// A result of a node.
pub(crate) fn result(value: &Value) -> Answer {
    Ok(serde_json::value::to_raw_value(value).unwrap())
}

impl Script {
    /// A node that answers call by call.
    pub(crate) fn new(answers: impl Fn(&str, &[Value]) -> Answer + Send + Sync + 'static) -> Self {
        let (answers, whole): (Arc<Answers>, Arc<Whole>) = (Arc::new(answers), Arc::new(|_| None));
        let tells = broadcast::channel(TELLS).0;
        Self { answers, whole, requests: Arc::default(), subscription: "eth_subscribe", tells }
    }

    /// The same, where `method` asks for pushes.
    #[cfg(feature = "tempo")]
    pub(crate) fn with_subscription(self, method: &'static str) -> Self {
        Self { subscription: method, ..self }
    }

    /// Pushes `result` to whoever subscribed, as a notification of `method`.
    #[cfg(any(feature = "etherlink", feature = "tempo"))]
    pub(crate) fn push(&self, method: &str, result: &Value) {
        let params = json!({"subscription": null, "result": result});
        // Nobody may be there.
        let _ = self.tells.send(Tell::Push(json!({
            "jsonrpc": "2.0", "method": method, "params": params,
        })));
    }

    /// Ends all connections.
    #[cfg(feature = "tempo")]
    pub(crate) fn hang_up(&self) {
        let _ = self.tells.send(Tell::Close);
    }

    /// The same, which answers some requests as a whole.
    pub(crate) fn with_whole(
        self,
        whole: impl Fn(&Value) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        Self { whole: Arc::new(whole), ..self }
    }

    /// How many requests came.
    pub(crate) fn requests(&self) -> usize {
        self.requests.lock().len()
    }

    /// How many calls of `method` came.
    pub(crate) fn calls(&self, method: &str) -> usize {
        let requests = self.requests.lock();
        let calls = requests.iter().flat_map(|request| match request {
            Value::Array(calls) => calls.clone(),
            call => vec![call.clone()],
        });
        calls.filter(|call| call["method"] == method).count()
    }

    /// Serves it on a port that the system chooses.
    pub(crate) async fn serve(&self) -> SocketAddr {
        let script = self.clone();
        let handler = move |request: Request| script.clone().handle(request);
        serve(Router::new().fallback(any(handler))).await
    }

    async fn handle(self, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        if let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            return upgrade.on_upgrade(move |socket| self.converse(socket));
        }
        let body = Bytes::from_request(Request::from_parts(parts, body), &()).await.unwrap();
        let answer = self.answer(&serde_json::from_slice(&body).unwrap());
        ([("content-type", "application/json")], answer.to_string()).into_response()
    }

    async fn converse(self, mut socket: WebSocket) {
        let mut tells = self.tells.subscribe();
        let mut subscriptions = Vec::new();
        loop {
            let texts = tokio::select! {
                message = socket.recv() => {
                    let Some(Ok(message)) = message else { return };
                    let Message::Text(text) = message else { continue };
                    let asked: Value = serde_json::from_str(&text).unwrap();
                    let mut answer = self.answer(&asked);
                    if asked["method"] == self.subscription {
                        let id = json!(format!("{:#x}", 7 + subscriptions.len()));
                        answer["result"] = id.clone();
                        subscriptions.push(id);
                    }
                    vec![answer]
                }
                tell = tells.recv() => match tell {
                    Ok(Tell::Push(push)) => {
                        let of = |id: &Value| {
                            let mut push = push.clone();
                            push["params"]["subscription"] = id.clone();
                            push
                        };
                        subscriptions.iter().map(of).collect()
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

    fn answer(&self, asked: &Value) -> Value {
        self.requests.lock().push(asked.clone());
        if let Some(whole) = (self.whole)(asked) {
            return whole;
        }
        let one = |call: &Value| {
            let params = call["params"].as_array().cloned().unwrap_or_default();
            let method = call["method"].as_str().unwrap();
            if method == self.subscription {
                return json!({"jsonrpc": "2.0", "id": call["id"], "result": "0x7"});
            }
            match (self.answers)(method, &params) {
                Ok(result) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}),
                Err(RpcError { code, message }) => {
                    let error = json!({"code": code, "message": message});
                    json!({"jsonrpc": "2.0", "id": call["id"], "error": error})
                }
            }
        };
        asked.as_array().map_or_else(|| one(asked), |calls| calls.iter().map(one).collect())
    }
}

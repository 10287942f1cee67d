//! One WebSocket.

use super::{
    message::{Call, Error, Message, answer, only, query},
    one,
};
use crate::{
    events::{Ask, Outcome, stream},
    frame::Transport,
    gate::Slot,
    problem::Problem,
    routes::{App, settled},
    served::Served,
    server::connection::Peer,
    socket::{Places, admitted},
};
use axum::{
    extract::{
        Extension, State,
        ws::{self, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
};
use bytes::Bytes;
use commonware_macros::select;
use commonware_runtime::Clock;
use futures::{FutureExt as _, StreamExt as _, future::poll_fn, stream::BoxStream};
use http::HeaderMap;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

/// Subscriptions of one socket.
const SUBSCRIPTIONS_MAX: usize = 8;

/// Longest message, in bytes.
const MESSAGE_MAX: usize = 64 * 1024;

/// Bytes that are read at once: calls are short, and there may be thousands of sockets.
const READ_BUFFER: usize = 4 * 1024;

/// Time between two pings.
const PING: Duration = Duration::from_secs(20);

/// A client that says nothing for longer, not even to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// How the last line of a stream begins.
const LAST: &str = r#"{"event":"goodbye""#;

type Lines = BoxStream<'static, Result<Bytes, std::convert::Infallible>>;

/// What a socket is subscribed to, by id.
#[derive(Default)]
struct Subscriptions {
    open: BTreeMap<u64, Lines>,
    made: u64,
}

impl Subscriptions {
    /// The next piece of any of them; `None` where one has ended. It is polled again from where it was left.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(u64, Option<Bytes>)> {
        for (id, lines) in &mut self.open {
            if let Poll::Ready(piece) = lines.poll_next_unpin(context) {
                return Poll::Ready((*id, piece.and_then(Result::ok)));
            }
        }
        Poll::Pending
    }
}

/// Takes a WebSocket.
pub(crate) async fn connect<E: Clock, L: Served>(
    State(app): State<App<E, L>>,
    Extension(peer): Extension<Peer>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let (upgrade, Places { room, slot }) = match admitted(&app, peer, upgrade) {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER)
        .max_message_size(MESSAGE_MAX)
        .max_frame_size(MESSAGE_MAX);
    let client = peer.0.ip();
    upgrade.on_upgrade(move |socket| async move {
        let subscriptions = Subscriptions::default();
        Socket { app, socket, client, subscriptions }.run(slot).await;
        drop(room);
    })
}

struct Socket<E, L> {
    app: App<E, L>,
    socket: WebSocket,
    client: IpAddr,
    subscriptions: Subscriptions,
}

impl<E: Clock, L: Served> Socket<E, L> {
    /// Until the client leaves, says nothing, or the server stops.
    async fn run(mut self, _slot: Slot) {
        let (context, mut beat) = (self.app.context.clone(), self.app.shared.tail.watch());
        let mut heard = context.current();
        let mut ping = heard + PING;
        loop {
            let draining = beat.borrow_and_update().draining;
            if draining && self.subscriptions.open.is_empty() {
                let _ = self.socket.send(ws::Message::Close(None)).await;
                return;
            }
            let due = context.sleep_until(ping).boxed();
            let subscriptions = &mut self.subscriptions;
            // Subscriptions end by themselves then, each with its last line.
            let drained = async {
                if draining {
                    std::future::pending::<()>().await;
                }
                drop(beat.wait_for(|beat| beat.draining).await);
            };
            let going = select! {
                said = self.socket.recv() => match said {
                    Some(Ok(message)) => {
                        heard = context.current();
                        self.hear(message).await
                    },
                    Some(Err(_)) | None => false,
                },
                (id, piece) = poll_fn(|context| subscriptions.poll(context)) => {
                    self.tell(id, piece).await
                },
                () = drained => true,
                () = due => {
                    let now: SystemTime = context.current();
                    ping = now + PING;
                    now.duration_since(heard).unwrap_or_default() < SILENCE
                        && self.socket.send(ws::Message::Ping(Bytes::new())).await.is_ok()
                },
            };
            if !going {
                return;
            }
        }
    }

    /// Answers a message; false once the socket is of no more use.
    async fn hear(&mut self, message: ws::Message) -> bool {
        let text = match &message {
            ws::Message::Text(text) => text.as_bytes(),
            ws::Message::Binary(bytes) => bytes,
            ws::Message::Close(_) => return false,
            ws::Message::Ping(_) | ws::Message::Pong(_) => return true,
        };
        let answer = match Message::parse(text) {
            Message::One(call) => self.call(call).await,
            Message::Batch(calls) => {
                let mut answers = Vec::new();
                for call in calls {
                    answers.extend(self.call(call).await);
                }
                (!answers.is_empty()).then_some(Value::Array(answers))
            }
        };
        match answer {
            Some(answer) => self.send(answer.to_string()).await,
            None => true,
        }
    }

    async fn send(&mut self, text: String) -> bool {
        self.socket.send(ws::Message::Text(text.into())).await.is_ok()
    }

    async fn call(&mut self, call: Result<Call, Value>) -> Option<Value> {
        let call = match call {
            Ok(call) => call,
            Err(answer) => return Some(answer),
        };
        let result = match call.method.as_str() {
            "tip_subscribe" => self.subscribe(&call.params).await.map(Value::from),
            "tip_unsubscribe" => only(&call.params, "subscription").map(|id| {
                let id = id.strip_prefix("0x").and_then(|id| u64::from_str_radix(id, 16).ok());
                Value::from(id.is_some_and(|id| self.subscriptions.open.remove(&id).is_some()))
            }),
            _ => return one(&self.app, Ok(call)).await,
        };
        call.id.map(|id| answer(&id, result))
    }

    /// Begins a subscription, whose first line is `hello`.
    async fn subscribe(&mut self, params: &Value) -> Result<String, Error> {
        let App { context, shared } = &self.app;
        if self.subscriptions.open.len() >= SUBSCRIPTIONS_MAX {
            return Err(Error::too_many("subscriptions of one connection"));
        }
        let ask = Ask::parse(&query(params)?, &HeaderMap::new())?;
        let full = |code| Error::from(Problem::new(code, "too many streams"));
        let slot = shared.gate.enter(self.client, context.current()).map_err(full)?;
        let opened = Outcome::Opened(Box::new(settled(&**context, shared, &ask).await?));
        shared.metrics.opened();
        let (context, shared) = (context.clone(), shared.clone());
        let lines = stream(context, shared, ask, Transport::Socket, opened, Some(slot));
        self.subscriptions.made += 1;
        let id = self.subscriptions.made;
        self.subscriptions.open.insert(id, lines.boxed());
        Ok(named(id))
    }

    /// Sends the lines of a subscription.
    async fn tell(&mut self, id: u64, piece: Option<Bytes>) -> bool {
        let Some(piece) = piece else {
            self.subscriptions.open.remove(&id);
            return true;
        };
        for line in piece.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            if !self.send(notification(id, line)).await {
                return false;
            }
            if line.starts_with(LAST) {
                self.subscriptions.open.remove(&id);
            }
        }
        true
    }
}

fn named(id: u64) -> String {
    format!("0x{id:x}")
}

/// `line`, an object already, as it comes to the subscription `id`.
fn notification(id: u64, line: &str) -> String {
    let id = json!(named(id));
    format!(
        r#"{{"jsonrpc":"2.0","method":"tip_subscription","params":{{"subscription":{id},"result":{line}}}}}"#
    )
}

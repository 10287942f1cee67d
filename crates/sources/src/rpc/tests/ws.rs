//! Over a WebSocket: requests, and heads that ring.

use super::{calls, echo, echoes, kind, node, run, serve};
use crate::rpc::Rpc as _;
use axum::{
    Router,
    extract::{
        WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    routing::any,
};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tidewatch_core::FaultKind;
use tokio::sync::{Mutex, mpsc};

/// What a test tells the socket that is open.
enum Tell {
    /// A head was made.
    Head,
    /// Say something that is no message of JSON-RPC.
    Noise,
    /// Be gone.
    Close,
}

/// A node whose sockets echo, and push what the test tells; and what it sees.
struct Pushing {
    address: SocketAddr,
    tell: mpsc::Sender<Tell>,
    /// One for each subscription.
    subscribed: mpsc::Receiver<()>,
}

async fn pushing() -> Pushing {
    let (tell, told) = mpsc::channel(64);
    let (subscribe, subscribed) = mpsc::channel(64);
    let told = Arc::new(Mutex::new(told));
    let open = move |upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(move |socket| converse(socket, told, subscribe))
    };
    let address = serve(Router::new().fallback(any(open))).await;
    Pushing { address, tell, subscribed }
}

async fn converse(
    mut socket: WebSocket,
    told: Arc<Mutex<mpsc::Receiver<Tell>>>,
    subscribed: mpsc::Sender<()>,
) {
    let mut told = told.lock().await;
    // A node gives every subscription of a connection an id of its own.
    let mut subscriptions = Vec::new();
    loop {
        tokio::select! {
            message = socket.recv() => {
                let Some(Ok(message)) = message else { return };
                let Message::Text(text) = message else { continue };
                let asked: Value = serde_json::from_str(&text).unwrap();
                let mut answer = echoes(&asked);
                if asked["method"] == "eth_subscribe" {
                    assert_eq!(asked["params"], json!(["newHeads"]));
                    let id = format!("{:#x}", 7 + subscriptions.len());
                    answer = echo(&json!({"id": asked["id"], "params": id}));
                    subscriptions.push(id);
                    subscribed.try_send(()).unwrap();
                }
                socket.send(Message::text(answer.to_string())).await.unwrap();
            }
            tell = told.recv() => {
                let head = |id| json!({
                    "jsonrpc": "2.0", "method": "eth_subscription",
                    "params": {"subscription": id, "result": {"number": "0x9"}},
                }).to_string();
                let texts: Vec<_> = match tell {
                    Some(Tell::Head) => subscriptions.iter().map(head).collect(),
                    Some(Tell::Noise) => vec!["<html>".into()],
                    Some(Tell::Close) | None => return,
                };
                for text in texts {
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

#[test]
fn requests_and_heads_share_a_connection() {
    run(|context| async move {
        let mut pushing = pushing().await;
        let node = node(context, "ws", pushing.address, "");
        let mut bell = node.doorbell();
        let answers = node.send(&calls(3)).await.unwrap();
        assert_eq!(answers[2].as_ref().unwrap().get(), "[2]");
        bell.rung().await;
        pushing.subscribed.recv().await.unwrap();
        for _ in 0..3 {
            pushing.tell.try_send(Tell::Head).unwrap();
            bell.rung().await;
            node.send(&calls(1)).await.unwrap();
        }
        assert!(pushing.subscribed.try_recv().is_err(), "it subscribed once");
    });
}

#[test]
fn a_connection_that_is_lost_is_made_again_and_rings_for_what_was_not_heard() {
    run(|context| async move {
        let mut pushing = pushing().await;
        let node = node(context, "ws", pushing.address, "");
        let mut bell = node.doorbell();
        for loss in [Tell::Close, Tell::Noise, Tell::Close] {
            bell.rung().await;
            pushing.subscribed.recv().await.unwrap();
            let noise = matches!(loss, Tell::Noise);
            pushing.tell.try_send(loss).unwrap();
            if noise {
                // Whether noise ends a connection is for the client; a head rings in any case.
                pushing.tell.try_send(Tell::Head).unwrap();
                bell.rung().await;
                if pushing.subscribed.try_recv().is_err() {
                    pushing.tell.try_send(Tell::Close).unwrap();
                    bell.rung().await;
                    pushing.subscribed.recv().await.unwrap();
                }
                pushing.tell.try_send(Tell::Close).unwrap();
            }
        }
        bell.rung().await;
        node.send(&calls(2)).await.unwrap();
    });
}

#[test]
fn a_doorbell_that_is_dropped_is_heard_when_it_is_listened_to_again() {
    run(|context| async move {
        let pushing = pushing().await;
        let node = node(context, "ws", pushing.address, "");
        let mut bell = node.doorbell();
        bell.rung().await;
        assert!(futures::FutureExt::now_or_never(bell.rung()).is_none());
        pushing.tell.try_send(Tell::Head).unwrap();
        bell.rung().await;
    });
}

#[test]
fn each_listener_has_a_subscription_of_its_own_on_the_one_connection() {
    run(|context| async move {
        let mut pushing = pushing().await;
        let node = node(context, "ws", pushing.address, "");
        let (mut one, mut two) = (node.doorbell(), node.doorbell());
        for bell in [&mut one, &mut two] {
            bell.rung().await;
            pushing.subscribed.recv().await.unwrap();
        }
        pushing.tell.try_send(Tell::Close).unwrap();
        for bell in [&mut one, &mut two] {
            bell.rung().await;
            pushing.subscribed.recv().await.unwrap();
        }
    });
}

#[test]
fn a_server_that_speaks_no_websocket_is_unreachable() {
    run(|context| async move {
        let address = serve(Router::new()).await;
        let node = node(context, "ws", address, "/key-4711");
        let refused = node.send(&calls(1)).await.unwrap_err();
        assert_eq!(kind(&refused), (FaultKind::Unreachable, false), "{refused:?}");
        assert!(!format!("{refused:?}").contains("4711"));
    });
}

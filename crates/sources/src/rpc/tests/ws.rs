//! Over a WebSocket: requests, and heads that ring.

use super::{calls, echo, echoes, free, kind, node, run, serve};
use crate::rpc::{Config, Endpoint, Node, Rpc as _};
use axum::{
    Router,
    extract::{
        WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    routing::any,
};
use commonware_runtime::Supervisor as _;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tidewatch_core::{FaultKind, within};
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
        let mut bell = node.doorbell(free());
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
        let mut bell = node.doorbell(free());
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
        let mut bell = node.doorbell(free());
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
        let (mut one, mut two) = (node.doorbell(free()), node.doorbell(free()));
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
fn a_server_that_speaks_no_websocket_cannot_serve_the_request() {
    run(|context| async move {
        let address = serve(Router::new()).await;
        let node = node(context, "ws", address, "/key-4711");
        let refused = node.send(&calls(1)).await.unwrap_err();
        assert_eq!(kind(&refused), (FaultKind::Unavailable, false), "{refused:?}");
        assert!(!format!("{refused:?}").contains("4711"));
    });
}

/// A node that takes subscriptions, and for each of them pushes `heads` and hangs up.
async fn hanging_up(heads: &'static [&'static str]) -> (SocketAddr, Arc<AtomicUsize>) {
    let subscribed = Arc::new(AtomicUsize::new(0));
    let counted = subscribed.clone();
    let converse = move |mut socket: WebSocket| async move {
        while let Some(Ok(Message::Text(text))) = socket.recv().await {
            let asked: Value = serde_json::from_str(&text).unwrap();
            let answer = echo(&json!({"id": asked["id"], "params": "0x7"}));
            let mut texts = vec![answer.to_string()];
            let subscribes = asked["method"] == "eth_subscribe";
            if subscribes {
                counted.fetch_add(1, Ordering::SeqCst);
                texts.extend(heads.iter().map(|number| {
                    let params = json!({"subscription": "0x7", "result": {"number": number}});
                    json!({"method": "eth_subscription", "params": params}).to_string()
                }));
            }
            for text in texts {
                let _ = socket.send(Message::text(text)).await;
            }
            if subscribes {
                return;
            }
        }
    };
    let open = move |upgrade: WebSocketUpgrade| async move { upgrade.on_upgrade(converse) };
    (serve(Router::new().fallback(any(open))).await, subscribed)
}

/// One that repeats the same head each time was asked over a thousand times in ten minutes.
#[test]
fn a_node_that_hangs_up_on_each_subscription_is_asked_less_and_less_often() {
    for heads in [&[][..], &["0x9"]] {
        run(|context| async move {
            let (address, subscribed) = hanging_up(heads).await;
            let clock = context.child("clock");
            let node = node(context, "ws", address, "");
            let mut bell = node.doorbell(free());
            let _ = within(&clock, Duration::from_secs(4), async {
                loop {
                    bell.rung().await;
                    // A chain that moves, by what another endpoint says.
                    node.moved();
                }
            })
            .await;
            // Waits of 0.5, 1 and 2 seconds at the most, twice that often for what was new at first.
            let subscribed = subscribed.load(Ordering::SeqCst);
            assert!((3..=7).contains(&subscribed), "{subscribed} in four seconds: {heads:?}");
        });
    }
}

#[test]
fn a_subscription_is_a_request_and_waits_for_the_budget() {
    run(|context| async move {
        let (address, subscribed) = hanging_up(&[]).await;
        let node = node(context, "ws", address, "");
        let tolls = Arc::new(AtomicUsize::new(0));
        let counted = tolls.clone();
        let mut bell = node.doorbell(Arc::new(move || {
            let toll = counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                if toll == 2 {
                    std::future::pending::<()>().await;
                }
            })
        }));
        bell.rung().await;
        bell.rung().await;
        assert_eq!(subscribed.load(Ordering::SeqCst), 2);
        assert!(futures::FutureExt::now_or_never(bell.rung()).is_none());
        assert_eq!(subscribed.load(Ordering::SeqCst), 2, "the third waits");
    });
}

/// paritytech/jsonrpsee#1639
#[test]
fn user_and_password_are_sent_as_they_stand_for() {
    run(|context| async move {
        let (seen, mut headers) = mpsc::channel(1);
        let open = move |headers: axum::http::HeaderMap, upgrade: WebSocketUpgrade| async move {
            seen.try_send((headers["authorization"].clone(), headers["host"].clone())).unwrap();
            upgrade.on_upgrade(|_| async {})
        };
        let address = serve(Router::new().fallback(any(open))).await;
        let text = format!("eth+ws://us%40er:p%3Aw%2F1@{address}");
        let endpoint = Endpoint::parse("eth", &["ws"], &text).unwrap();
        let node = Node::new(context, &endpoint, &Config::default()).unwrap();
        let _ = node.send(&calls(1)).await;
        let (authorization, host) = headers.recv().await.unwrap();
        assert_eq!(authorization, "Basic dXNAZXI6cDp3LzE=");
        assert_eq!(host, address.to_string());
    });
}

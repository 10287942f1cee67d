use super::{Served, config, serve};
use commonware_utils::NZU64;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// A client of `/rpc`.
struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn connect(served: &Served) -> Self {
        let (socket, _) = connect_async(format!("ws://{}/rpc", served.address)).await.unwrap();
        Self(socket)
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.0.send(Message::text(call.to_string())).await.unwrap();
        loop {
            let said = self.next().await.unwrap();
            if said.get("id").is_some() {
                return said;
            }
        }
    }

    /// The next message; `None` once the server closes.
    async fn next(&mut self) -> Option<Value> {
        let read = async {
            loop {
                match self.0.next().await?.ok()? {
                    Message::Text(text) => return serde_json::from_str(&text).ok(),
                    Message::Close(_) => return None,
                    _ => {}
                }
            }
        };
        timeout(Duration::from_secs(30), read).await.unwrap()
    }

    /// The next line of the subscription `id` but bookmarks.
    async fn line(&mut self, id: &Value) -> Value {
        loop {
            let said = self.next().await.unwrap();
            assert_eq!(said["method"], "tip_subscription", "{said}");
            let params = &said["params"];
            if params["subscription"] == *id && params["result"]["event"] != "bookmark" {
                return params["result"].clone();
            }
        }
    }
}

#[test]
fn a_subscription_has_the_lines_of_a_stream_and_ends_with_its_last_one() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        served.grow(1, 3, 1).await;
        let mut socket = Socket::connect(&served).await;
        let all = socket.call("tip_subscribe", json!({"from": "earliest"})).await["result"].clone();
        let mut lines = Vec::new();
        for _ in 0..9 {
            lines.push(socket.line(&all).await);
        }
        assert_eq!((&lines[0]["event"], &lines[0]["resume"]), (&json!("hello"), &json!("start")));
        let page = crate::tests::client::get(served.address, "/v1/events?from=earliest", "").await;
        assert_eq!(page.json().await["events"], json!(lines[1..]));

        let cursor = &lines[5]["cursor"];
        let some = json!({"cursor": cursor, "tiers": ["finalized"], "limit": 1});
        let some = socket.call("tip_subscribe", json!([some])).await["result"].clone();
        let said = [socket.line(&some).await, socket.line(&some).await, socket.line(&some).await];
        assert_eq!((&said[0]["resume"], &said[1]["tier"]), (&json!("exact"), &json!("finalized")));
        assert_eq!(said[2]["reason"], "limit");

        let malformed = socket.call("tip_subscribe", json!({"cursor": "x"})).await;
        assert_eq!(malformed["error"]["code"], -32010);
        for (id, had) in [(&all, true), (&all, false), (&some, false)] {
            assert_eq!(socket.call("tip_unsubscribe", json!([id])).await["result"], had);
        }
        for _ in 0..8 {
            assert!(socket.call("tip_subscribe", json!([])).await["result"].is_string());
        }
        assert_eq!(socket.call("tip_subscribe", json!([])).await["error"]["code"], -32005);
        assert_eq!(socket.call("tip_tips", json!([])).await["result"]["state"], "live");

        served.running.stop();
        served.running.await.unwrap();
        let mut goodbyes = 0;
        while let Some(said) = socket.next().await {
            goodbyes += u64::from(said["params"]["result"]["reason"] == "shutdown");
        }
        assert_eq!(goodbyes, 8);
    });
}

#[test]
fn a_page_of_another_origin_gets_no_socket() {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
    serve(config(), NZU64!(65_536), |served| async move {
        let mut request = format!("ws://{}/rpc", served.address).into_client_request().unwrap();
        request.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
        assert!(connect_async(request).await.is_err());
    });
}

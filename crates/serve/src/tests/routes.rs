use super::{
    Served,
    client::{get, send},
    config, serve,
};
use crate::{Config, Token};
use commonware_codec::Encode as _;
use commonware_runtime::{Clock as _, Metrics as _, Supervisor as _};
use commonware_utils::{NZU64, NZUsize};
use serde_json::{Value, json};
use std::time::Duration;
use tidewatch_core::{
    Change, EventLog as _, FaultKind, LocalView as _, Monitor as _, Positions as _, State, Tier,
    TierProof, json::Block,
};

async fn json_of(served: &Served, path: &str) -> Value {
    let answer = get(served.address, path, "").await;
    assert_eq!(answer.status, 200, "{path}");
    answer.json().await
}

/// The status and the code of a refusal.
async fn refused(served: &Served, path: &str) -> (u16, String) {
    let answer = get(served.address, path, "").await;
    let (status, problem) = (answer.status, answer.json().await);
    (status, problem["code"].as_str().unwrap().to_owned())
}

#[test]
fn the_tips_are_of_one_moment_and_their_cursor_goes_on_from_there() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        served.grow(1, 9, 3).await;
        let answer = get(served.address, "/v1/tips", "").await;
        let tag =
            answer.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
        let tips = answer.json().await;
        assert_eq!(tips["tips"]["finalized"]["block"], json!(Block::from(served.chain.at(6))));
        assert_eq!((&tips["tips"]["proven"], &tips["state"]), (&json!(null), &json!("live")));
        let known = format!("if-none-match: {tag}\n");
        assert_eq!(get(served.address, "/v1/tips", &known).await.status, 304);
        served.grow(10, 10, 3).await;
        let path = format!("/v1/events?cursor={}", tips["cursor"].as_str().unwrap());
        let page = json_of(&served, &path).await;
        assert_eq!(page["events"].as_array().unwrap().len(), 3);
        assert_eq!(get(served.address, "/v1/tips", &known).await.status, 200);
        let one = json_of(&served, "/v1/tips/finalized").await;
        assert_eq!(one["tip"]["block"], json!(Block::from(served.chain.at(7))));
        assert_eq!(refused(&served, "/v1/tips/final").await, (404, "not_found".into()));
    });
}

#[test]
fn why_a_tier_stands_is_its_proof_or_somebodys_word() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        served.grow(1, 2, 5).await;
        let block = served.chain.at(2);
        let proof = Some(TierProof { block, bytes: vec![7, 8, 9].into() });
        let tip = block.into();
        let change = Change::Advanced { tier: Tier::Finalized, tip, proof };
        served.view.commit(vec![change]).await.unwrap();
        let why = json_of(&served, "/v1/tips/finalized/proof").await;
        assert_eq!((&why["on"], &why["proof"]), (&json!("proof"), &json!("070809")));
        assert_eq!(
            (&why["proves"], &why["source"]),
            (&json!(Block::from(block)), &json!("scripted"))
        );
        let bytes = "accept: application/octet-stream\n";
        let answer = get(served.address, "/v1/tips/finalized/proof", bytes).await;
        assert_eq!(answer.text().await.as_bytes(), [7, 8, 9]);
        assert_eq!(json_of(&served, "/v1/tips/proposed/proof").await["on"], "word");
        assert_eq!(json_of(&served, "/v1/tips/proven/proof").await["on"], "unknown");
        assert_eq!(get(served.address, "/v1/tips/proposed/proof", bytes).await.status, 404);
    });
}

#[test]
fn a_block_is_found_by_its_height_and_by_its_digest() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        served.grow(1, 600, 5).await;
        let wanted = served.chain.blocks()[300].clone();
        let digest = served.chain.at(300).digest;
        for name in ["300".to_owned(), digest.to_string()] {
            let block = json_of(&served, &format!("/v1/blocks/{name}")).await;
            assert_eq!(
                (&block["height"], &block["digest"]),
                (&json!(300), &json!(digest.to_string()))
            );
            assert_eq!(block["tiers"], json!(["proposed", "finalized"]));
            assert_eq!(block["bytes"], commonware_formatting::hex(&wanted.encode()));
        }
        assert_eq!(json_of(&served, "/v1/blocks/600").await["tiers"], json!(["proposed"]));
        assert_eq!(refused(&served, "/v1/blocks/601").await, (404, "above_tip".into()));
        assert_eq!(refused(&served, "/v1/blocks/0").await.0, 410);
        assert_eq!(refused(&served, "/v1/blocks/x").await, (400, "invalid_parameter".into()));
        let other = format!("/v1/blocks/{}", "00".repeat(32));
        assert_eq!(refused(&served, &other).await, (404, "not_found".into()));
    });
}

#[test]
fn the_status_resumes_and_faults_are_shown() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        assert_eq!(refused_code(&served, "/ready").await, (503, "starting".into()));
        served.grow(1, 5, 1).await;
        let newest = served.log.newest().await.unwrap().0;
        served.log.store("index", &newest).await.unwrap();
        served.grow(6, 6, 1).await;
        for _ in 0..300 {
            served.observer.fault(&FaultKind::Timeout.fault("scripted", "no answer"));
        }
        let status = json_of(&served, "/v1/status").await;
        assert_eq!((&status["chain"], &status["ready"]), (&json!("test:1"), &json!(true)));
        assert_eq!(status["consumers"][0]["behind_events"], 3);
        assert_eq!((&status["source"]["faults"], &status["streams"]), (&json!(300), &json!(0)));
        assert_eq!(status["retention"]["next_event"], 17);
        let faults = json_of(&served, "/v1/faults").await;
        assert_eq!((&faults["total"], &faults["counts"][0]["count"]), (&json!(300), &json!(300)));
        assert_eq!(faults["newest"].as_array().unwrap().len(), 256);
        let dry = json_of(&served, &format!("/v1/resume?cursor={newest}")).await;
        assert_eq!((&dry["resume"], &dry["events"]), (&json!("exact"), &json!(3)));
        let dry = json_of(&served, "/v1/resume?cursor=nonsense").await;
        assert_eq!((&dry["resume"], &dry["code"]), (&json!("reset"), &json!("malformed_cursor")));
        assert_eq!(json_of(&served, "/ready").await["code"], "ok");
        served.moved(State::Blind);
        assert_eq!(refused_code(&served, "/ready").await, (503, "blind".into()));
        assert_eq!(json_of(&served, "/live").await["code"], "ok");
        assert_eq!(refused_code(&served, "/health").await, (503, "blind".into()));
        served.moved(State::CatchingUp);
        assert_eq!(get(served.address, "/health", "").await.status, 206);
        assert_eq!(get(served.address, "/health?syncing_status=200", "").await.status, 200);
        for nonsense in ["", "null", "42", "600", "-1"] {
            let path = format!("/health?syncing_status={nonsense}");
            assert_eq!(refused_code(&served, &path).await, (400, "invalid_parameter".into()));
        }
        for sockets in ["/rpc", "/consensus/ws"] {
            assert_eq!(refused_code(&served, sockets).await, (426, "upgrade_required".into()));
        }
        json_of(&served, &format!("/v1/events?cursor={newest}")).await;
        let metrics = get(served.address, "/metrics", "").await.text().await;
        for shown in ["serve_ready 0", "serve_streams 0", "serve_resumes_total{why=\"exact\"} 1"] {
            assert!(metrics.contains(shown), "no {shown}: {metrics}");
        }
    });
}

#[test]
fn what_holds_is_shown_wherever_the_process_serves_its_metrics() {
    let config = Config { live: Duration::from_millis(120), ..config() };
    serve(config, NZU64!(65_536), |served| async move {
        let mut tip = get(served.address, "/v1/events", "accept: text/event-stream\n").await;
        assert_eq!(tip.said().await.unwrap().event, "hello");
        // Nobody asks this server for them.
        while !served.context.encode().contains("serve_streams 1\n") {
            served.context.sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn what_streams_are_behind_and_how_long_an_event_took_is_shown_as_of_now() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        let sse = "accept: text/event-stream\n";
        let mut tip = get(served.address, "/v1/events", sse).await;
        assert_eq!(tip.said().await.unwrap().event, "hello");
        served.grow(1, 20, 30).await;
        tip.words(40).await;
        let shown = async |wanted: &[&str]| {
            for _ in 0..10_000 {
                let metrics = get(served.address, "/metrics", "").await.text().await;
                if wanted.iter().all(|wanted| metrics.contains(wanted)) {
                    return;
                }
            }
            let metrics = get(served.address, "/metrics", "").await.text().await;
            panic!("no {wanted:?}: {metrics}");
        };
        let at_the_tip =
            ["serve_behind_events_bucket{le=\"0.0\"} 1", "serve_behind_seconds_count 1"];
        shown(&at_the_tip).await;
        shown(&["serve_delivery_seconds_count 40"]).await;
        drop(tip);
        let left = "serve_streams_ended_total{transport=\"sse\",end=\"left\"} 1";
        shown(&["serve_behind_events_count 0", left]).await;
        let cursor = served.log.read(30, NZUsize!(1)).await.unwrap()[0].cursor.to_string();
        served.reorg(10, 'b').await;
        let (chain, context) = (served.chain.clone(), served.context.child("other"));
        let retention = NZU64!(65_536).into();
        let mut other = Served::start(context, config(), retention, chain).await;
        other.grow(1, 30, 40).await;
        let mut led = get(other.address, &format!("/v1/events?cursor={cursor}"), sse).await;
        assert_eq!(led.said().await.unwrap().object["resume"], "forked");
        let metrics = get(other.address, "/metrics", "").await.text().await;
        assert!(metrics.contains("other_serve_bridge_events_count 1"), "{metrics}");
    });
}

#[test]
fn a_process_is_live_as_long_as_its_driver_makes_progress_whatever_the_source_does() {
    let live = std::time::Duration::from_millis(600);
    serve(Config { live, ..config() }, NZU64!(65_536), |mut served| async move {
        served.grow(1, 5, 1).await;
        served.moved(State::Blind);
        let answered = async |wanted: u16, progress: bool| {
            for _ in 0..100_000 {
                if progress {
                    served.observer.progressed();
                }
                let answer = get(served.address, "/live", "").await;
                if answer.status == wanted {
                    return answer.json().await;
                }
            }
            panic!("it never answers {wanted}");
        };
        let stalled = answered(503, false).await;
        assert_eq!((&stalled["code"], &stalled["actor"]), (&json!("stalled"), &json!("driver")));
        assert_eq!(answered(200, true).await["code"], "ok");
    });
}

/// The status and the code of a probe.
async fn refused_code(served: &Served, path: &str) -> (u16, String) {
    refused(served, path).await
}

#[test]
fn a_position_is_kept_for_those_who_show_the_token() {
    let token = Some(Token::new("0123456789abcdef").unwrap());
    serve(Config { token, ..config() }, NZU64!(65_536), |mut served| async move {
        served.grow(1, 3, 1).await;
        let cursor = served.log.read(3, NZUsize!(1)).await.unwrap()[0].cursor.to_string();
        let request = async |method: &str, body: &str, token: &str| {
            let head = format!(
                "{method} /v1/consumers/index HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
                served.address,
                body.len()
            );
            send(served.address, head + body).await
        };
        let (body, token) = (json!({ "cursor": cursor }).to_string(), "0123456789abcdef");
        assert_eq!(request("PUT", &body, "0123456789abcdee").await.status, 401);
        assert_eq!(request("GET", "", token).await.status, 404);
        assert_eq!(request("PUT", &body, token).await.status, 204);
        let kept = request("GET", "", token).await.json().await;
        assert_eq!((&kept["cursor"], &kept["behind_events"]), (&json!(cursor), &json!(4)));
        assert_eq!(request("PUT", "{}", token).await.json().await["code"], "invalid_parameter");
        let nonsense = request("PUT", r#"{"cursor":"x"}"#, token).await;
        assert_eq!(nonsense.json().await["code"], "malformed_cursor");
        assert_eq!(request("DELETE", "", token).await.status, 204);
        assert_eq!(request("DELETE", "", token).await.status, 404);
        assert_eq!(refused(&served, "/v1/status").await, (401, "unauthorized".into()));
        assert_eq!(get(served.address, "/live", "").await.status, 200);
    });
}

#[test]
fn a_request_that_goes_quiet_or_never_ends_is_refused() {
    let ask = std::time::Duration::from_millis(100);
    serve(Config { ask, ..config() }, NZU64!(65_536), |served| async move {
        let post = |length: usize, body: &str| {
            let address = served.address;
            let head =
                format!("POST /rpc HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n");
            send(address, format!("{head}\r\n{body}"))
        };
        let answer = post(100, "{").await;
        assert_eq!((answer.status, &answer.json().await["code"]), (408, &json!("timed_out")));
        let answer = post(70_000, "").await;
        assert_eq!((answer.status, &answer.json().await["code"]), (413, &json!("oversized")));
    });
}

#[test]
fn nobody_writes_where_there_is_no_token_and_no_page_of_another_name_reads() {
    serve(config(), NZU64!(65_536), |served| async move {
        let request =
            |host: &str, more: &str| format!("GET /v1/tips HTTP/1.1\r\nhost: {host}\r\n{more}\r\n");
        let address = served.address;
        let host = address.to_string();
        assert_eq!(send(address, request("rebound.example", "")).await.status, 421);
        let foreign = request(&host, "origin: https://evil.example\r\n");
        assert_eq!(send(address, foreign).await.status, 403);
        let answer = send(address, request(&host, "x-request-id: 7\r\n")).await;
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("x-request-id: 7"), "{}", answer.head);
        assert!(!answer.head.contains("access-control"), "{}", answer.head);
        let put = format!(
            "PUT /v1/consumers/a HTTP/1.1\r\nhost: {host}\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        let answer = send(address, put).await;
        assert_eq!((answer.status, &answer.json().await["code"]), (403, &json!("no_token")));
        assert_eq!(refused(&served, "/v2").await, (404, "not_found".into()));
    });
}

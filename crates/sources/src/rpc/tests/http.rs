//! Over HTTP: what is an answer, what is none, and why.

use super::{Call, answering, calls, echo, echoes, kind, node, response, run, sent, serve};
use crate::rpc::{Answer, HttpRpc, Rpc, RpcError, Unanswered};
use axum::response::Response;
use commonware_runtime::Supervisor as _;
use serde_json::{Value, json};
use tidewatch_core::FaultKind;
use tokio::net::TcpListener;

fn values(answers: &[Answer]) -> Vec<Value> {
    let value = |answer: &Answer| serde_json::from_str(answer.as_ref().unwrap().get()).unwrap();
    answers.iter().map(value).collect()
}

#[test]
fn a_request_is_answered_call_by_call_in_its_order() {
    run(|context| async move {
        // Answers may come in any order.
        let (address, seen) = answering(|asked| {
            let mut answers = echoes(asked);
            if let Some(answers) = answers.as_array_mut() {
                answers.reverse();
            }
            sent(&answers)
        })
        .await;
        let node = node(context, "http", address, "");
        for count in [1, 2, 100] {
            let answers = node.send(&calls(count)).await.unwrap();
            let want: Vec<_> = (0..count).map(|i| json!([i])).collect();
            assert_eq!(values(&answers), want);
        }
        assert_eq!(seen.lock().len(), 3, "a batch is one request");
    });
}

#[test]
fn errors_and_nothing_are_answers_of_one_call() {
    run(|context| async move {
        let (address, _) = answering(|asked| {
            let answer = |call: &Value| match call["params"][0].as_u64() {
                Some(0) => json!({"jsonrpc": "2.0", "id": call["id"]}),
                Some(1) => json!({"jsonrpc": "2.0", "id": call["id"], "result": null}),
                Some(2) => {
                    let message = format!("\u{1b}[2J{}", "x".repeat(9_000));
                    let error = json!({"code": -32601, "message": message});
                    json!({"jsonrpc": "2.0", "id": call["id"], "error": error})
                }
                _ => echo(call),
            };
            let one = || answer(asked);
            let answers = asked.as_array().map_or_else(one, |c| c.iter().map(answer).collect());
            // Nodes that answer an error by one call with a status of its own.
            let status = if asked.is_array() { 200 } else { 400 };
            response(status, "application/json", answers.to_string())
        })
        .await;
        let node = node(context, "http", address, "");
        let batch = node.send(&calls(4)).await.unwrap();
        for (index, call) in calls(4).into_iter().enumerate() {
            let alone = node.send(&[call]).await.unwrap().remove(0);
            match (&batch[index], alone) {
                (Ok(a), Ok(b)) => assert_eq!(a.get(), b.get()),
                (Err(a), Err(b)) => assert_eq!(a, &b),
                other => panic!("{index}: {other:?}"),
            }
        }
        assert_eq!(values(&batch[..2]), [Value::Null, Value::Null]);
        let Err(RpcError { code: -32601, message }) = &batch[2] else { panic!("{:?}", batch[2]) };
        assert!(message.len() < 100 && message.is_ascii() && !message.contains('\u{1b}'));
    });
}

#[test]
fn what_is_no_answer_is_refused_by_its_kind() {
    type Answering = fn(&Value) -> Response;
    fn refusal(code: i32) -> Value {
        json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": "batch too large"}})
    }
    use FaultKind::{Malformed, Oversized, Unavailable, UnexpectedContent};
    let table: [(&str, Answering, FaultKind, bool); 13] = [
        ("a page", |_| response(200, "text/html", "<html>"), UnexpectedContent, false),
        ("a page of an error", |_| response(502, "text/html", "<html>"), Unavailable, false),
        ("nothing", |_| response(200, "application/json", ""), UnexpectedContent, false),
        (
            "cut JSON",
            |a| {
                let whole = echoes(a).to_string();
                response(200, "application/json", whole[..whole.len() - 3].to_owned())
            },
            Malformed,
            false,
        ),
        (
            "too large",
            |_| response(200, "application/json", vec![b' '; 40 * 1024 * 1024]),
            Oversized,
            true,
        ),
        ("no more requests", |_| response(429, "text/plain", "slow down"), Unavailable, false),
        ("no access", |_| response(401, "text/plain", "who?"), Unavailable, false),
        ("elsewhere", |_| response(307, "text/plain", "go on"), Unavailable, false),
        ("too long a batch", |_| response(413, "text/plain", "too long"), Unavailable, true),
        ("a refusal", |_| sent(&refusal(-32010)), Unavailable, true),
        (
            "a refusal in an array",
            |asked| {
                let mut error = refusal(-32600);
                error["id"] = asked[0]["id"].clone();
                sent(&json!([error]))
            },
            Unavailable,
            true,
        ),
        ("one for all", |asked| sent(&echo(&asked[0])), Malformed, true),
        (
            "answers to other calls",
            |asked| {
                let mut answers = echoes(asked);
                answers[2]["id"] = json!(99_999);
                sent(&answers)
            },
            Malformed,
            false,
        ),
    ];
    for (case, answer, want, too_many) in table {
        run(|context| async move {
            let (address, _) = answering(answer).await;
            let node = node(context, "http", address, "");
            let refused = node.send(&calls(3)).await.unwrap_err();
            assert_eq!(kind(&refused), (want, too_many), "{case}: {refused:?}");
            let fault = refused.into_fault();
            assert_eq!(fault.about, format!("eth+http://{address}"));
            assert!(fault.detail.len() < 300, "{case}: {fault}");
        });
    }
}

#[test]
fn of_fewer_answers_than_calls_those_that_came_are_kept() {
    run(|context| async move {
        let (address, _) = answering(|asked| {
            let answers = echoes(asked);
            sent(&json!([answers[2], answers[0]]))
        })
        .await;
        let node = node(context, "http", address, "");
        let refused = node.send(&calls(3)).await.unwrap_err();
        let Unanswered::Part { answers, fault } = refused else { panic!("{refused:?}") };
        assert_eq!(fault.kind, FaultKind::Malformed, "{fault}");
        assert!(matches!(&answers[..], [Some(Ok(_)), None, Some(Ok(_))]), "{answers:?}");
    });
}

#[test]
fn nobody_there_and_a_connection_that_is_cut_are_unreachable() {
    run(|context| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        let cut = node(context.child("cut"), "http", address, "");
        let refused = cut.send(&calls(1)).await.unwrap_err();
        assert_eq!(kind(&refused).0, FaultKind::Unreachable, "{refused:?}");

        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let nobody = node(context, "http", gone, "");
        let Unanswered::Fault(fault) = nobody.send(&calls(1)).await.unwrap_err() else { panic!() };
        assert_eq!(fault.kind, FaultKind::Unreachable, "{fault}");
        assert!(fault.detail.contains("refused"), "it says why: {fault}");
    });
}

#[test]
fn connections_are_kept_and_used_again() {
    run(|context| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, mut count) = tokio::sync::mpsc::channel(64);
        let (inner, _) = answering(|asked| sent(&echoes(asked))).await;
        tokio::spawn(async move {
            loop {
                let (mut outer, _) = listener.accept().await.unwrap();
                accepted.try_send(()).unwrap();
                tokio::spawn(async move {
                    let mut inner = tokio::net::TcpStream::connect(inner).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
                });
            }
        });
        let node = node(context, "http", address, "");
        for _ in 0..50 {
            node.send(&calls(2)).await.unwrap();
        }
        let mut connections = 0;
        while count.try_recv().is_ok() {
            connections += 1;
        }
        // Now and then the next request comes before the connection is back from the last one.
        assert!(connections < 10, "{connections} connections for 50 requests");
    });
}

#[test]
fn user_password_path_and_query_reach_the_node() {
    run(|context| async move {
        let (address, seen) = answering(|asked| sent(&echoes(asked))).await;
        let text = format!("eth+http://ali%63e:hunter2@{address}/v3/key?x=1&rate=9&y=2");
        let endpoint = crate::rpc::Endpoint::parse("eth", &["http"], &text).unwrap();
        let node = HttpRpc::new(&endpoint, &crate::rpc::Config::default()).unwrap();
        node.send(&[Call::new("echo", vec![])]).await.unwrap();
        drop(context);
        let seen = seen.lock();
        let (parts, asked) = &seen[0];
        assert_eq!(asked["params"], json!([]), "said, although there are none");
        assert_eq!(parts.uri, "/v3/key?x=1&y=2");
        assert_eq!(parts.headers["authorization"], "Basic YWxpY2U6aHVudGVyMg==");
    });
}

#[test]
fn a_server_that_says_too_much_is_not_read_to_the_end() {
    run(|context| async move {
        let endless = || async {
            let zeros = futures::stream::repeat_with(|| {
                Ok::<_, std::convert::Infallible>(bytes::Bytes::from_static(&[b' '; 65_536]))
            });
            response(200, "application/json", axum::body::Body::from_stream(zeros))
        };
        let address = serve(axum::Router::new().fallback(endless)).await;
        let node = node(context, "http", address, "");
        let refused = node.send(&calls(1)).await.unwrap_err();
        assert_eq!(kind(&refused).0, FaultKind::Oversized, "{refused:?}");
    });
}

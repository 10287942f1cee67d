//! What the documents say is what a server answers.

use super::{
    Served,
    client::{get, send},
    config, serve,
};
use crate::describe;
use commonware_runtime::Clock as _;
use commonware_utils::NZU64;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use tidewatch_core::{
    Change, Contact, FaultKind, LocalView as _, Monitor as _, Positions as _, Tier, TierProof,
    json::Proving,
};

/// Whether `value` is what `schema` says, of a document with `schemas`. Knows the words that the documents use.
fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{why}: {value} is not {schema}"));
    for (word, says) in schema.as_object().ok_or("a schema is an object")? {
        let text = || value.as_str().unwrap_or_default();
        match word.as_str() {
            "$ref" => {
                let pointer = says.as_str().unwrap().trim_start_matches('#');
                let named = document.pointer(pointer).ok_or_else(|| format!("no {says}"))?;
                check(document, named, value)?;
            }
            "type" => {
                let kinds = says.as_array().cloned().unwrap_or_else(|| vec![says.clone()]);
                let fits = kinds.iter().any(|kind| match kind.as_str().unwrap() {
                    "null" => value.is_null(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "string" => value.is_string(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("type {other}"),
                });
                if !fits {
                    return wrong("type");
                }
            }
            "enum" if !says.as_array().unwrap().contains(value) => return wrong("enum"),
            "const" if says != value => return wrong("const"),
            "minimum" if value.as_i64().is_some_and(|n| n < says.as_i64().unwrap()) => {
                return wrong("minimum");
            }
            "maxLength" if text().len() as u64 > says.as_u64().unwrap() => return wrong("long"),
            "pattern" => {
                let hex = text().bytes().all(|byte| byte.is_ascii_hexdigit());
                if !hex || (says.as_str().unwrap().contains("{64}") && text().len() != 64) {
                    return wrong("pattern");
                }
            }
            "properties" => {
                for (name, schema) in says.as_object().unwrap() {
                    value.get(name).map_or(Ok(()), |value| check(document, schema, value))?;
                }
            }
            "required" => {
                for name in says.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        return wrong("required");
                    }
                }
            }
            "additionalProperties" if *says == json!(false) => {
                let known = schema["properties"].as_object().unwrap();
                if let Some(name) =
                    value.as_object().and_then(|o| o.keys().find(|k| !known.contains_key(*k)))
                {
                    return Err(format!("{name} is not documented: {value}"));
                }
            }
            "items" => {
                for item in value.as_array().unwrap() {
                    check(document, says, item)?;
                }
            }
            "oneOf" | "anyOf" => {
                let found = says.as_array().unwrap().iter().map(|one| check(document, one, value));
                let fits = found.clone().filter(Result::is_ok).count();
                if fits == 0 || (word == "oneOf" && fits > 1) {
                    let why: Vec<_> = found.filter_map(Result::err).collect();
                    return Err(format!("{fits} of {word}: {why:?}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

async fn filled(served: &mut Served) {
    served.grow(1, 9, 2).await;
    let block = served.chain.at(8);
    let proof = Some(TierProof { block, bytes: vec![7].into() });
    let change = Change::Advanced { tier: Tier::Finalized, tip: block.into(), proof };
    served.view.commit(vec![change]).await.unwrap();
    served.reorg(8, 'b').await;
    served.grow(9, 12, 5).await;
    served.log.store("index", &served.log.newest().await.unwrap().0).await.unwrap();
    served.observer.fault(&FaultKind::Timeout.fault("scripted", "no answer"));
    let (at, took) = (served.context.current(), Duration::from_millis(4));
    for (upstream, failed) in [("a", None), ("b", Some(FaultKind::Timeout))] {
        served.observer.contact(&Contact { upstream, at, took, failed });
    }
    let (proven, committed) = (served.chain.at(8).into(), served.chain.at(12).into());
    served.observer.proving(&Proving {
        proven,
        committed,
        lag: 4,
        lag_ms: 4_000,
        pending: 2,
        running: 1,
        waiting: 0,
        poisoned: 1,
        per_minute: 9,
        stalled: true,
        cause: Some("the lowest block is poisoned".into()),
    });
}

#[test]
fn every_answer_is_as_the_openapi_document_says() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        filled(&mut served).await;
        let document = get(served.address, "/openapi.json", "").await.json().await;
        assert_eq!(&document, describe::openapi());
        let newest = served.log.newest().await.unwrap().0;
        let foreign = "/v1/events?cursor=x";
        let tip = served.chain.at(12);
        let tip = format!("{}:{}", tip.height, tip.digest);
        let asked = [
            ("/v1/events", "/v1/events?from=earliest"),
            ("/v1/events", foreign),
            ("/v1/events", "/v1/events?limit=0"),
            ("/v1/tips", "/v1/tips"),
            ("/v1/tips/{tier}", "/v1/tips/finalized"),
            ("/v1/tips/{tier}", "/v1/tips/proven"),
            ("/v1/tips/{tier}", "/v1/tips/final"),
            ("/v1/tips/{tier}/proof", "/v1/tips/finalized/proof"),
            ("/v1/tips/{tier}/proof", "/v1/tips/proposed/proof"),
            ("/v1/tips/{tier}/proof", "/v1/tips/proven/proof"),
            ("/v1/status", "/v1/status"),
            ("/v1/resume", &format!("/v1/resume?cursor={newest}")),
            ("/v1/resume", "/v1/resume?cursor=x"),
            ("/v1/resume", "/v1/resume"),
            ("/v1/faults", "/v1/faults"),
            ("/v1/blocks/{name}", "/v1/blocks/3"),
            ("/v1/blocks/{name}", "/v1/blocks/99"),
            ("/v1/digests", &format!("/v1/digests?tip={tip}&heights=3,9,99")),
            ("/v1/digests", &format!("/v1/digests?tip=3:{}&heights=3", "07".repeat(32))),
            ("/v1/digests", "/v1/digests?heights=3"),
            ("/v1/range", &format!("/v1/range?tip={tip}&from=3")),
            ("/v1/range", &format!("/v1/range?tip={tip}&from=x")),
            ("/finalization/{query}", "/finalization/latest"),
            ("/notarization/{query}", "/notarization/latest"),
            ("/v1/certificate", "/v1/certificate?from=3&to=8"),
            ("/v1/certificate", "/v1/certificate?from=9&to=8"),
            ("/block/{query}", "/block/latest"),
            ("/block/{query}", "/block/8"),
            ("/v1/consumers", "/v1/consumers"),
            ("/v1/consumers/{name}", "/v1/consumers/index"),
            ("/v1/consumers/{name}", "/v1/consumers/nobody"),
            ("/live", "/live"),
            ("/ready", "/ready"),
            ("/health", "/health"),
            ("/health", "/health?syncing_status=x"),
            ("/rpc", "/rpc"),
            ("/metrics", "/metrics"),
            ("/openrpc.json", "/openrpc.json"),
        ];
        for (path, asked) in asked {
            let answer = get(served.address, asked, "").await;
            let method = &document["paths"][path]["get"];
            let mut said = method["responses"][answer.status.to_string()].clone();
            if let Some(named) = said["$ref"].as_str() {
                said = document.pointer(named.trim_start_matches('#')).unwrap().clone();
            }
            let media = answer.head.lines().find_map(|line| line.strip_prefix("content-type: "));
            let media = media.unwrap().split(';').next().unwrap().to_owned();
            let content = said["content"].get(&media);
            let content = content.unwrap_or_else(|| panic!("{asked}: {} {media}", answer.status));
            if let Some(schema) = content.get("schema") {
                let answer = answer.json().await;
                check(&document, schema, &answer).unwrap_or_else(|why| panic!("{asked}: {why}"));
            }
        }
        let covered: BTreeSet<_> = asked.iter().map(|(path, _)| *path).collect();
        for (path, methods) in document["paths"].as_object().unwrap() {
            let known = ["/v1/session", "/openapi.json", "/consensus/ws"].contains(&path.as_str());
            assert!(
                known || covered.contains(path.as_str()) && methods.get("get").is_some(),
                "{path}"
            );
        }
    });
}

#[test]
fn every_line_of_a_stream_is_as_the_openapi_document_says() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        filled(&mut served).await;
        let document = describe::openapi();
        let content = &document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"];
        let schema = &content["application/jsonl"]["itemSchema"];
        let mut seen = BTreeSet::new();
        for query in ["from=earliest&until=8", "from=earliest&limit=30", "cursor=x", "limit=1"] {
            let headers =
                if query == "cursor=x" { "text/event-stream" } else { "application/jsonl" };
            let path = format!("/v1/events?{query}");
            let mut answer = get(served.address, &path, &format!("accept: {headers}\n")).await;
            if query == "limit=1" {
                served.moved(tidewatch_core::State::Stale);
                seen.insert(answer.said().await.unwrap().event);
                seen.insert(answer.said().await.unwrap().event);
                served.grow(13, 13, 5).await;
            }
            while let Some(said) = answer.said().await {
                check(document, schema, &said.object)
                    .unwrap_or_else(|why| panic!("{query}: {why}"));
                seen.insert(said.event);
            }
        }
        let wanted = ["advanced", "blocks", "bookmark", "goodbye", "hello", "pruned", "reset"];
        assert_eq!(seen, wanted.map(str::to_owned).into());
    });
}

/// The answer to a call over HTTP.
async fn call(served: &Served, call: &Value) -> Value {
    let (body, address) = (call.to_string(), served.address);
    let head =
        format!("POST /rpc HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n", body.len());
    let answer = send(address, head + &body).await;
    assert_eq!(answer.status, 200);
    answer.json().await
}

#[test]
fn every_method_answers_as_the_openrpc_document_says() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        filled(&mut served).await;
        let ask = |method: &str, params: Value| json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let document = call(&served, &ask("rpc.discover", json!([]))).await["result"].clone();
        assert_eq!(&document, describe::openrpc());
        let newest = served.log.newest().await.unwrap().0.to_string();
        let socket = ["tip_subscribe", "tip_unsubscribe"];
        for method in document["methods"].as_array().unwrap() {
            let name = method["name"].as_str().unwrap();
            let params = match name {
                "tip_events" => json!({"from": "earliest", "tiers": ["finalized"]}),
                "tip_resume" => json!([newest]),
                "tip_proof" => json!({"tier": "finalized"}),
                _ => json!([]),
            };
            let answer = call(&served, &ask(name, params)).await;
            if socket.contains(&name) {
                assert_eq!(answer["error"]["code"], -32004, "{answer}");
                continue;
            }
            let schema = &method["result"]["schema"];
            check(&document, schema, &answer["result"])
                .unwrap_or_else(|why| panic!("{name}: {why}"));
        }
        let errors = [
            ("tip_events", json!({"cursor": "x"}), "malformed_cursor"),
            ("tip_proof", json!(["final"]), "not_found"),
        ];
        for (method, params, error) in errors {
            let answer = call(&served, &ask(method, params)).await;
            assert_eq!(answer["error"]["code"], document["components"]["errors"][error]["code"]);
            assert_eq!(answer["error"]["data"]["code"], error);
        }
        assert_eq!(call(&served, &ask("tip_tipz", json!([]))).await["error"]["code"], -32601);
        let batch =
            json!([ask("tip_tips", json!([])), {"jsonrpc": "2.0", "method": "tip_tips"}, 7]);
        let answers = call(&served, &batch).await;
        assert_eq!(answers.as_array().unwrap().len(), 2);
        assert_eq!(answers[1]["error"]["code"], -32600);
    });
}

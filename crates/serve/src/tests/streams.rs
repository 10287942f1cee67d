use super::{
    Served,
    client::{Answer, Said, get},
    config, serve,
};
use crate::Config;
use commonware_runtime::{Clock as _, Supervisor as _};
use commonware_utils::{NZU64, NZUsize};
use serde_json::json;
use std::time::Duration;
use tidewatch_core::{
    ChainId, Cursor, EventLog as _, State, Watermarks,
    json::{Block, Tips},
};
use tidewatch_store::{Keep, Retention};

const SSE: &str = "accept: text/event-stream\n";
const LINES: &str = "accept: application/jsonl\n";

async fn stream(served: &Served, query: &str, headers: &str) -> Answer {
    let answer = get(served.address, &format!("/v1/events?{query}"), headers).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    answer
}

/// Neither events nor blocks are kept for long.
fn few() -> Retention {
    let keep = |count| Keep { count: Some(count), ..Keep::default() };
    Retention { events: keep(NZU64!(16)), blocks: keep(NZU64!(16)), ..Retention::default() }
}

/// What a consumer of `said` holds: the highest block, and all tiers.
fn folded(said: &[Said]) -> (serde_json::Value, serde_json::Value) {
    let (mut block, mut tips) = (json!(null), json!(null));
    for Said { event, object, .. } in said {
        match event.as_str() {
            "hello" if object["resume"] == "start" => {
                (block, tips) = (object["block"].clone(), object["tips"].clone());
            }
            "blocks" => block = object["to"].clone(),
            "pruned" => {
                (block, tips) = (object["to"].clone(), object["tips"].clone());
            }
            "advanced" | "regressed" => {
                let tier = object["tier"].as_str().unwrap();
                tips[tier] = json!({"block": object["block"], "checkpoint": object["checkpoint"]});
            }
            _ => {}
        }
    }
    (block, tips)
}

fn stands(watermarks: &Watermarks) -> (serde_json::Value, serde_json::Value) {
    let block = serde_json::to_value(watermarks.delivered.map(Block::from)).unwrap();
    (block, serde_json::to_value(Tips::from(&watermarks.tips)).unwrap())
}

#[test]
fn server_sent_events_lines_and_pages_say_the_same_and_each_position_can_be_gone_on_from() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        served.grow(1, 3, 1).await;
        let log = served.log.read(0, NZUsize!(100)).await.unwrap();
        let mut seen = Vec::new();
        for headers in [SSE, LINES] {
            let mut answer = stream(&served, "from=earliest", headers).await;
            assert!(answer.head.contains("x-accel-buffering: no"), "{}", answer.head);
            assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
            let hello = answer.said().await.unwrap();
            assert_eq!((hello.event.as_str(), &hello.object["resume"]), ("hello", &json!("start")));
            let mut said = Vec::new();
            for _ in 0..log.len() {
                said.push(answer.event().await.unwrap());
            }
            seen.push(said);
        }
        assert_eq!(seen[0], seen[1]);
        let page = get(served.address, "/v1/events?from=earliest", "").await.json().await;
        let objects: Vec<_> = seen[0].iter().map(|said| said.object.clone()).collect();
        assert_eq!(page["events"], json!(objects));
        assert_eq!(page["cursor"], json!(log.last().unwrap().cursor.to_string()));
        assert_eq!((&page["more"], &page["resume"]), (&json!(false), &json!("start")));
        for (index, record) in log.iter().enumerate() {
            assert_eq!(seen[0][index].cursor, record.cursor.to_string());
            let query = format!("/v1/events?cursor={}", record.cursor);
            let page = get(served.address, &query, "").await.json().await;
            assert_eq!(page["resume"], "exact");
            assert_eq!(page["events"], json!(objects[index + 1..]));
        }
    });
}

#[test]
fn a_stream_goes_on_as_events_come_and_ends_with_what_was_asked_for() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        served.grow(1, 1, 0).await;
        let mut tip = stream(&served, "", SSE).await;
        let mut until = stream(&served, "until=3&tiers=finalized", LINES).await;
        let mut limit = stream(&served, "limit=2", SSE).await;
        for answer in [&mut tip, &mut until, &mut limit] {
            let hello = answer.said().await.unwrap();
            assert_eq!(hello.object["tips"], stands(&served.watermarks()).1);
        }
        served.grow(2, 4, 0).await;
        let words = ["blocks", "advanced", "advanced"].repeat(3);
        assert_eq!(tip.words(9).await, words);
        assert_eq!(until.words(3).await, ["advanced", "advanced", "goodbye"]);
        assert!(until.said().await.is_none());
        assert_eq!(limit.words(2).await, ["blocks", "advanced"]);
        let goodbye = limit.event().await.unwrap();
        assert_eq!(goodbye.object["reason"], "limit");
        assert!(limit.said().await.is_none());
        let mut rest =
            stream(&served, "", &format!("{SSE}last-event-id: {}\n", goodbye.cursor)).await;
        assert_eq!(rest.said().await.unwrap().object["resume"], "exact");
        assert_eq!(rest.words(1).await, ["advanced"]);
    });
}

#[test]
fn a_cursor_of_a_fork_that_is_gone_is_led_over_by_ordinary_events() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        served.grow(1, 20, 10).await;
        let mut answer = stream(&served, "from=earliest", LINES).await;
        let mut said = vec![answer.said().await.unwrap()];
        while said.last().unwrap().cursor != served.log.newest().await.unwrap().0.to_string() {
            said.push(answer.event().await.unwrap());
        }
        drop(answer);
        // A history that never saw that fork.
        served.reorg(15, 'b').await;
        served.grow(16, 30, 10).await;
        let (chain, cursor) = (served.chain.clone(), said.last().unwrap().cursor.clone());
        let context = served.context.child("other");
        let mut other = Served::start(context, config(), NZU64!(65_536).into(), chain).await;
        other.grow(1, 30, 10).await;
        let mut answer = stream(&other, "", &format!("{SSE}last-event-id: {cursor}\n")).await;
        let hello = answer.said().await.unwrap();
        assert_eq!(hello.object["resume"], "forked");
        assert_eq!(hello.object["ancestor"], json!(Block::from(other.chain.at(12))));
        assert_eq!((hello.object["depth"].as_u64(), &hello.cursor), (Some(8), &cursor));
        let newest = other.log.newest().await.unwrap().0.to_string();
        while said.last().unwrap().cursor != newest {
            said.push(answer.event().await.unwrap());
        }
        assert!(said.iter().any(|said| said.event == "pruned"));
        assert_eq!(folded(&said), stands(&other.watermarks()));
    });
}

#[test]
fn every_position_that_cannot_be_gone_on_from_has_an_answer_of_its_own() {
    let config = Config {
        ahead: Duration::from_millis(50),
        ahead_request: Duration::from_millis(50),
        ..config()
    };
    serve(config, few(), |mut served| async move {
        served.grow(1, 100, 2).await;
        let foreign = Cursor::start(&ChainId::new("other:1").unwrap()).to_string();
        let ahead = {
            let mut watermarks = served.watermarks();
            watermarks.delivered = served.chain.get(200);
            Cursor::new(&ChainId::new("test:1").unwrap(), 900, &watermarks, &[]).to_string()
        };
        let old = Cursor::start(&ChainId::new("test:1").unwrap()).to_string();
        let table = [
            ("nonsense", 400, "malformed_cursor"),
            (&*foreign, 409, "wrong_chain"),
            (&*ahead, 503, "ahead"),
            (&*old, 410, "too_old"),
        ];
        for (cursor, status, code) in table {
            for headers in ["", LINES] {
                let path = format!("/v1/events?cursor={cursor}");
                let answer = get(served.address, &path, headers).await;
                assert_eq!(answer.status, status, "{code}");
                assert!(answer.head.contains("application/problem+json"), "{}", answer.head);
                assert_eq!(answer.head.contains("retry-after: 1"), code == "ahead");
                let problem = answer.json().await;
                assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)));
                if code != "ahead" {
                    let restart =
                        format!("/v1/events?cursor={}", problem["restart"].as_str().unwrap());
                    assert_eq!(get(served.address, &restart, "").await.status, 200);
                }
            }
            // A browser never comes again after anything but 200.
            let mut answer = stream(&served, "", &format!("{SSE}last-event-id: {cursor}\n")).await;
            let hello = answer.said().await.unwrap();
            if code == "ahead" {
                assert_eq!((&hello.object["resume"], &*hello.cursor), (&json!("ahead"), cursor));
                let goodbye = answer.event().await.unwrap();
                assert_eq!(goodbye.object["reason"], "ahead");
                assert_eq!(goodbye.cursor, cursor);
            } else {
                assert_eq!(hello.object["resume"], "reset");
                let reset = answer.event().await.unwrap();
                assert_eq!((&*reset.event, &reset.object["code"]), ("reset", &json!(code)));
                let goodbye = answer.event().await.unwrap();
                assert_eq!(
                    (goodbye.object["reason"].as_str(), &goodbye.cursor),
                    (Some("reset"), &reset.cursor)
                );
                let headers = format!("{SSE}last-event-id: {}\n", goodbye.cursor);
                let mut again = stream(&served, "", &headers).await;
                assert_eq!(again.said().await.unwrap().object["resume"], "exact");
                let mut on = stream(&served, &format!("restart=1&cursor={cursor}"), SSE).await;
                assert_eq!(on.words(2).await, ["hello", "reset"]);
                assert_eq!(on.event().await, again.event().await);
            }
            assert!(answer.said().await.is_none());
        }
        // It is waited for, and goes on if this server catches up., and goes on if this server catches up.
        let mut answer = stream(&served, &format!("cursor={ahead}"), SSE).await;
        assert_eq!(answer.said().await.unwrap().object["resume"], "ahead");
        served.grow(101, 210, 2).await;
        assert_ne!(answer.event().await.unwrap().event, "goodbye");
    });
}

#[test]
fn a_consumer_of_a_tier_that_does_not_move_outlives_the_events_that_are_kept() {
    let config = Config { heartbeat: Duration::from_millis(20), ..config() };
    serve(config, few(), |mut served| async move {
        served.grow(1, 20, 5).await;
        let mut answer = stream(&served, "tiers=proven", SSE).await;
        let first = answer.said().await.unwrap().cursor;
        let mut newest = String::new();
        for height in 21..=60 {
            served.grow(height, height, 5).await;
            newest = served.log.newest().await.unwrap().0.to_string();
            let mut said = answer.said().await.unwrap();
            while said.cursor != newest {
                assert_eq!(said.event, "bookmark");
                said = answer.said().await.unwrap();
            }
        }
        drop(answer);
        let goes_on = async |cursor: &str| {
            let headers = format!("{SSE}last-event-id: {cursor}\n");
            let mut answer = stream(&served, "tiers=proven", &headers).await;
            answer.said().await.unwrap().object["resume"].clone()
        };
        assert_eq!(goes_on(&newest).await, "exact");
        assert_eq!(goes_on(&first).await, "reset", "without bookmarks it would be too old");
    });
}

#[test]
fn a_reader_of_the_newest_is_notified_of_what_it_does_not_get_and_gets_every_prune() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        served.grow(1, 30, 10).await;
        let start = served.log.newest().await.unwrap();
        served.reorg(25, 'b').await;
        served.grow(26, 1_000, 10).await;
        served.reorg(995, 'c').await;
        served.grow(996, 1_700, 10).await;
        let headers = format!("{LINES}last-event-id: {}\n", start.0);
        let mut answer = stream(&served, "mode=latest", &headers).await;
        let hello = answer.said().await.unwrap();
        assert_eq!(hello.object["resume"], "exact");
        let lagged = answer.event().await.unwrap();
        assert_eq!(lagged.event, "lagged");
        assert_eq!(lagged.object["from"], start.0.handled());
        assert_eq!(lagged.object["to"], served.log.newest().await.unwrap().0.handled());
        let (mut said, newest) = (Vec::new(), served.log.newest().await.unwrap().0.to_string());
        while said.last().map(|said: &Said| &*said.cursor) != Some(&*newest) {
            said.push(answer.event().await.unwrap());
        }
        let count = |word: &str| said.iter().filter(|said| said.event == word).count() as u64;
        let skipped = lagged.object["skipped"].as_object().unwrap();
        let skipped: u64 = skipped.values().map(|count| count.as_u64().unwrap()).sum();
        let all = lagged.object["to"].as_u64().unwrap() - start.0.handled();
        assert_eq!(said.len() as u64 + skipped, all);
        assert_eq!((count("pruned"), count("blocks")), (2, 2));
        let (block, tips) = stands(&start.1);
        let hello = json!({"resume": "start", "block": block, "tips": tips});
        let hello = Said { event: "hello".into(), cursor: String::new(), object: hello };
        let all: Vec<_> = std::iter::once(hello).chain(said.iter().cloned()).collect();
        assert_eq!(folded(&all), stands(&served.watermarks()));
        // A position inside of it can be gone on from, here by every event.
        for (index, from) in said.iter().enumerate().step_by(3) {
            let path = format!("/v1/events?cursor={}", from.cursor);
            let page = get(served.address, &path, "").await.json().await;
            let mut all = all[..index + 2].to_vec();
            all.extend(page["events"].as_array().unwrap().iter().map(|object| Said {
                event: object["event"].as_str().unwrap().into(),
                cursor: String::new(),
                object: object.clone(),
            }));
            if page["more"] == false {
                assert_eq!(folded(&all), stands(&served.watermarks()), "{index}");
            }
        }
    });
}

#[test]
fn a_reader_of_the_newest_that_is_late_is_notified_however_few_events_it_missed() {
    let late = Config { lagged: Duration::ZERO, ..config() };
    for (config, first) in [(late, "lagged"), (config(), "blocks")] {
        serve(config, NZU64!(65_536), |mut served| async move {
            // Not before the server has seen it: what it has not seen has no age.
            let mut tip = stream(&served, "", LINES).await;
            assert_eq!(tip.said().await.unwrap().event, "hello");
            served.grow(1, 5, 1).await;
            let newest = served.log.newest().await.unwrap().0;
            while tip.said().await.unwrap().cursor != newest.to_string() {}
            let start = Cursor::start(&served.log.chain_info().id);
            let query = format!("mode=latest&cursor={start}");
            let mut answer = stream(&served, &query, LINES).await;
            assert_eq!(answer.said().await.unwrap().event, "hello");
            let said = answer.event().await.unwrap();
            assert_eq!(said.event, first);
            if first == "lagged" {
                let skipped = json!({"blocks": 4, "advanced": 7, "regressed": 0});
                assert_eq!(said.object["skipped"], skipped, "{}", said.object);
                assert_eq!(answer.words(3).await, ["blocks", "advanced", "advanced"]);
            }
        });
    }
}

#[test]
fn a_reader_that_falls_behind_the_events_that_are_kept_is_notified_and_led_on() {
    serve(config(), NZU64!(16), |mut served| async move {
        served.grow(1, 5, 1).await;
        let cursor = served.log.newest().await.unwrap().0;
        served.grow(6, 50, 1).await;
        let page = get(served.address, &format!("/v1/events?cursor={cursor}"), "").await;
        let page = page.json().await;
        assert_eq!(page["resume"], "forked");
        assert_eq!(page["events"][0]["from"]["height"], 6);
        assert_eq!(page["events"][0]["to"]["height"], 50);
        assert_eq!(page["tips"], stands(&served.watermarks()).1);
    });
}

#[test]
fn a_page_waits_for_its_first_event_and_no_longer() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        served.grow(1, 1, 0).await;
        let page = get(served.address, "/v1/events?wait=0", "").await.json().await;
        assert_eq!((&page["events"], &page["state"]), (&json!([]), &json!("live")));
        let cursor = served.log.newest().await.unwrap().0;
        let path = format!("/v1/events?wait=30&tiers=finalized&cursor={cursor}");
        let waits = get(served.address, &path, "");
        let grows = async {
            served.grow(2, 2, 5).await;
            served.grow(3, 3, 0).await;
        };
        let (answer, ()) = futures::join!(waits, grows);
        let page = answer.json().await;
        assert_eq!(page["events"][0]["tier"], "finalized", "{page}");
    });
}

#[test]
fn a_stream_that_has_caught_up_says_so_and_a_change_of_state_is_a_bookmark_at_once() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        served.grow(1, 1, 0).await;
        let mut answer = stream(&served, "", SSE).await;
        let hello = answer.said().await.unwrap();
        for state in [State::Live, State::Blind, State::Live] {
            served.moved(state);
            let mut said = answer.said().await.unwrap();
            while said.object["state"] != state.as_str() {
                assert_eq!(said.event, "bookmark");
                said = answer.said().await.unwrap();
            }
            assert_eq!(said.cursor, hello.cursor);
        }
    });
}

#[test]
fn a_stop_ends_every_stream_with_a_position_within_a_second() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        served.grow(1, 2, 0).await;
        let mut streams = Vec::new();
        for query in ["", "from=earliest", "tiers=finalized"] {
            let mut answer = stream(&served, query, SSE).await;
            let hello = answer.said().await.unwrap();
            streams.push((answer, hello));
        }
        // One that does not read, and one that has not asked yet.
        let _stalled = stream(&served, "from=earliest", LINES).await;
        let _silent = tokio::net::TcpStream::connect(served.address).await.unwrap();
        let address = served.address;
        let began = served.context.current();
        served.running.stop();
        served.running.await.unwrap();
        let took = served.context.current().duration_since(began).unwrap();
        assert!(took < Duration::from_secs(1), "{took:?}");
        for (mut answer, mut last) in streams {
            let goodbye = loop {
                match answer.event().await.unwrap() {
                    said if said.event == "goodbye" => break said,
                    said => last = said,
                }
            };
            assert_eq!(
                (&goodbye.object["reason"], goodbye.cursor),
                (&json!("shutdown"), last.cursor)
            );
            assert!(answer.said().await.is_none());
        }
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_client_that_takes_nothing_is_cut_and_its_place_is_free() {
    let config = Config { stall: Duration::from_millis(200), ..config() };
    serve(config, NZU64!(65_536), |mut served| async move {
        served.grow(1, 600, 5).await;
        let head = format!(
            "GET /v1/events?from=earliest HTTP/1.1\r\nhost: {}\r\naccept: application/jsonl\r\n\r\n",
            served.address
        );
        let stalled = super::client::connect(served.address, &head, 1_024).await;
        let streams =
            async || get(served.address, "/v1/status", "").await.json().await["streams"].as_u64();
        let began = served.context.current();
        while streams().await != Some(0) {
            let took = served.context.current().duration_since(began).unwrap();
            assert!(took < Duration::from_secs(30), "it holds its socket still");
            tokio::task::yield_now().await;
        }
        drop(stalled);
    });
}

#[test]
fn one_client_too_many_is_told_so_in_words_that_it_hears() {
    let config = Config { streams_per_client_max: NZUsize!(2), ..config() };
    serve(config, NZU64!(65_536), |served| async move {
        let held = [stream(&served, "", SSE).await, stream(&served, "", LINES).await];
        let mut told = stream(&served, "", SSE).await;
        let goodbye = told.event().await.unwrap();
        assert_eq!(goodbye.object["reason"], "limit");
        assert!(told.said().await.is_none());
        let answer = get(served.address, "/v1/events", LINES).await;
        assert_eq!(answer.status, 429);
        assert!(answer.head.contains("retry-after"), "{}", answer.head);
        assert_eq!(answer.json().await["code"], "too_many_streams");
        drop(held);
    });
}

/// A browser comes again with the last id that it got, whatever its address says.
#[test]
fn who_is_sent_away_comes_again_where_it_wanted_to_begin() {
    let config = Config { streams_per_client_max: NZUsize!(1), ..config() };
    serve(config, NZU64!(65_536), |mut served| async move {
        served.grow(1, 3, 1).await;
        let held = stream(&served, "", SSE).await;
        let start = Cursor::start(&served.log.chain_info().id).to_string();
        let newest = served.log.newest().await.unwrap().0.to_string();
        let table = [
            ("from=earliest", &start),
            ("cursor=nonsense", &start),
            ("", &newest),
            (&*format!("cursor={newest}"), &newest),
        ];
        for (query, wanted) in table {
            let goodbye = stream(&served, query, SSE).await.event().await.unwrap();
            assert_eq!((&goodbye.object["reason"], &goodbye.cursor), (&json!("limit"), wanted));
        }
        drop(held);
    });
}

//! Processes of the command.

use crate::support::{
    nats::Server,
    node::Node,
    rules::{Look, Recording, Then, alerts, skipped},
    run::{Command, END, Run, signal},
    scraped::{get, metrics_address},
};
use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    path::Path,
    process,
    time::{Duration, Instant},
};

/// Metrics, at a free port.
pub(super) fn start(args: &[&str]) -> Run {
    Command::new(args).with(["--metrics", "127.0.0.1:0"]).start()
}

#[test]
fn a_follower_stands_still_and_what_it_exported_before_tells_of_it() {
    let run = start(&["follow", "--serve", "127.0.0.1:0"]);
    let address = metrics_address(&run);
    run.line_with("finalized 3");
    let first = Look::until(&address, |text| text.contains("tidewatch_serve_ready 1\n"));
    let second = first.moved(&address);
    Recording::between(&first, &second, Then::GoesOn).fires(&[(30, &[]), (119, &[])]);
    let still = ["TidewatchFinalityStalled", "TidewatchNoBlocks", "TidewatchNoContact"];
    Recording::between(&first, &second, Then::Stands).fires(&[(30, &[]), (119, &still)]);
}

#[test]
fn a_follower_whose_node_has_no_new_blocks_is_not_ready() {
    let node = Node::serve(31_337, 10);
    let source = format!("eth+http://{}", node.address);
    // The blocks were recorded long ago.
    let run = start(&["follow", "--source", &source, "--serve", "127.0.0.1:0"]);
    let address = metrics_address(&run);
    run.line_with("stale");
    let first = Look::at(&address);
    let second = first.later(&address, 3.0);
    let all = ["TidewatchFinalityStalled", "TidewatchNoBlocks", "TidewatchNotReady"];
    Recording::between(&first, &second, Then::GoesOn)
        .fires(&[(30, &["TidewatchNotReady"]), (119, &all)]);
}

/// As `docs/operating.md` has Prometheus scrape.
#[test]
fn a_process_has_ended_and_prometheus_gets_no_answer() {
    if process::Command::new("prometheus").arg("--version").output().is_err() {
        return skipped("prometheus is missing: apt-get install prometheus");
    }
    let documented = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating.md");
    let documented = fs::read_to_string(documented).unwrap();
    let begin = documented.find("scrape_configs:").unwrap();
    let configuration = documented[begin..].split("```").next().unwrap();
    let run = start(&["follow"]);
    let watched = metrics_address(&run);
    assert!(configuration.contains("127.0.0.1:9100"));
    let configuration = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n{}",
        configuration.replace("127.0.0.1:9100", &watched)
    );
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("prometheus.yml"), configuration).unwrap();
    fs::write(directory.path().join("tidewatch-alerts.yml"), alerts()).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let arguments = vec![
        format!("--config.file={}", path("prometheus.yml")),
        format!("--storage.tsdb.path={}", path("data")),
        format!("--web.listen-address={address}"),
    ];
    let _prometheus = Server::with(Path::new("prometheus"), arguments, address, directory);
    let address = address.to_string();
    let ask = |path: &str| -> Option<Value> {
        let answer = get(&address, path).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    };
    let up = |wanted: &str| -> String {
        let began = Instant::now();
        loop {
            let answer = ask("/api/v1/query?query=up").unwrap_or_default();
            let found = &answer["data"]["result"][0];
            if found["value"][1] == wanted {
                let of = |label: &str| found["metric"][label].as_str().unwrap().to_owned();
                return format!("up{{job=\"{}\",instance=\"{}\"}}", of("job"), of("instance"));
            }
            assert!(began.elapsed() < END, "never {wanted}: {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    up("1");
    signal(&run, "KILL");
    let sample = up("0");
    let rules = get(&address, "/api/v1/rules").unwrap();
    assert!(rules.contains("\"health\":\"ok\"") && !rules.contains("\"err\""), "{rules}");
    Recording::of(&sample, 1.0, 0.0).fires(&[(29, &[]), (40, &["TidewatchDown"])]);
}

#[test]
fn a_sequencer_whose_network_of_key_holders_has_ended() {
    let network = start(&["sequence", "network", "--port", "0", "--data-dir", "network"]);
    metrics_address(&network);
    let line = network.line_with("http://");
    let url = line.split_whitespace().find(|word| word.starts_with("http://"));
    let url = url.unwrap().trim_end_matches(';');
    let args = ["sequence", "--listen", "127.0.0.1:0", "--data-dir", "data", "--interval", "1"];
    let run = Command::new(&args).with(["--ordering", url, "--metrics", "127.0.0.1:0"]).start();
    let address = metrics_address(&run);
    let first =
        Look::until(&address, |text| !text.contains("tidewatch_coordinator_head_height 0\n"));
    let second = first.later(&address, 1.0);
    Recording::between(&first, &second, Then::GoesOn).fires(&[(119, &[])]);
    signal(&network, "KILL");
    let third = Look::until(&address, |text| text.contains("tidewatch_coordinator_stalled 1\n"));
    Recording::between(&second, &third, Then::GoesOn)
        .fires(&[(30, &[]), (40, &["TidewatchSequencerStalled"])]);
}

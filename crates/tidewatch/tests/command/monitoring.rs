//! `tidewatch monitoring`: everything that is served has a panel, every panel shows something that is served, and Prometheus
//! takes all of it. What each alert is fired by is in `alerts.rs`.

use crate::support::{
    client::Client,
    node::Node,
    rules::{alerts, promtool},
    run::{Command, END, Run},
    scraped::{metrics, metrics_address},
};
use serde_json::Value;
use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};
use tidewatch_execution::engine::Secret;

/// Metrics, at a free port.
const SERVED: [&str; 2] = ["--metrics", "127.0.0.1:0"];

fn dashboard() -> Value {
    let output = Command::new(&["monitoring", "dashboard"]).start().ends_well(END);
    serde_json::from_str(&output.text()).unwrap()
}

/// The expressions of all panels, with every value of every variable.
fn expressions(dashboard: &Value) -> BTreeSet<String> {
    let targets = dashboard["panels"].as_array().unwrap().iter();
    let targets = targets.filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut all: Vec<_> =
        targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let (name, Some(options)) = (&variable["name"], variable["options"].as_array()) else {
            continue;
        };
        let place = format!("${{{}}}", name.as_str().unwrap());
        let each = |expression: String| -> Vec<String> {
            if !expression.contains(&place) {
                return vec![expression];
            }
            let values = options.iter().map(|option| option["value"].as_str().unwrap());
            values.map(|value| expression.replace(&place, value)).collect()
        };
        all = all.into_iter().flat_map(each).collect();
    }
    all.into_iter().collect()
}

/// The metric that an expression is about, as its type is served: without what Prometheus adds for a kind of it.
fn metric(expression: &str) -> String {
    let words = expression.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
    let mut words =
        words.filter(|word| word.starts_with("tidewatch_") || word.starts_with("runtime_"));
    let word = words.next().unwrap();
    let suffix = if expression.starts_with("rate(") {
        "_total"
    } else if expression.starts_with("histogram_quantile(") {
        "_bucket"
    } else {
        ""
    };
    word.strip_suffix(suffix).unwrap().to_owned()
}

/// What is served, by the lines that say of what type it is.
fn names(answer: &str) -> BTreeSet<String> {
    let types = answer.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

fn start(args: &[&str]) -> Run {
    Command::new(args).with(SERVED).start()
}

#[test]
fn everything_that_is_served_has_a_panel_and_every_panel_shows_something() {
    let node = Node::serve(31_337, 10);
    let network = start(&["sequence", "network", "--port", "0", "--data-dir", "network"]);
    let sequencer = start(&[
        "sequence",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        "sequencer",
        "--serve",
        "127.0.0.1:0",
    ]);
    let sentinel = start(&["sentinel"]);
    let ethereum = format!("eth+http://{}", node.address);
    let optimism = format!("op+http://{0}?el=http://{0}", node.address);
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("jwt.hex");
    fs::write(&secret, "07".repeat(32)).unwrap();
    let (mined, client) = (Client::serve(), Client::serve());
    mined.mine(12);
    mined.settle(10, 8);
    client.change(|world| world.secret = Some(Secret::new([7; 32])));
    let source = format!("eth+http://{}", mined.address);
    let engine = format!("http://{}", client.address);
    let driving = ["--execution", &engine, "--jwt-secret", secret.to_str().unwrap()];
    let driving = Command::new(&["follow", "--source", &source]).with(driving).with(SERVED);
    let runs = [
        (start(&["follow", "--source", "devnet:epochs", "--serve", "127.0.0.1:0"]), "finalized 2"),
        (start(&["follow", "--source", &ethereum]), "proposed 10"),
        (start(&["follow", "--source", &optimism]), "proposed 10"),
        (driving.start(), "finalized 8"),
        (start(&["prover-worker", "--miden", "--listen", "127.0.0.1:0"]), ""),
        (network, ""),
        (sequencer, "sequencing at"),
        (sentinel, "watching"),
        #[cfg(feature = "prove")]
        (start(&["prove"]), "proposed 1"),
        #[cfg(feature = "prove")]
        (start(&["prover-worker", "--nats", "nats://127.0.0.1:1"]), ""),
    ];
    let mut served = BTreeSet::new();
    for (run, there) in &runs {
        let address = metrics_address(run);
        if !there.is_empty() {
            run.line_with(there);
        }
        served.append(&mut names(&metrics(&address)));
    }
    let expressions = expressions(&dashboard());
    let drawn: BTreeSet<_> = expressions.iter().map(|expression| metric(expression)).collect();
    let missing: Vec<_> = served.difference(&drawn).collect();
    assert!(missing.is_empty(), "no panel shows {missing:#?}");

    // What is counted by kind is served once there is something to count, and some of it by other commands. An actor's
    // mailbox and a file of a journal have the same names everywhere.
    let sources = sources();
    let is_known = |name: &str, end: &str| {
        let elsewhere = || served.iter().any(|name| name.ends_with(&format!("_{end}")));
        // The journal of `prove`, which not every build has.
        let whole = end.contains('_') || name.starts_with("tidewatch_proving_scheduler_disk_");
        sources.contains(&format!("\"{end}\"")) || (whole && elsewhere())
    };
    let unknown = drawn.difference(&served).filter(|name| {
        let ends = name.match_indices('_').map(|(at, _)| &name[at + 1..]);
        !ends.into_iter().any(|end| is_known(name, end))
    });
    let unknown: Vec<_> = unknown.collect();
    assert!(unknown.is_empty(), "nothing serves {unknown:#?}");
}

/// The whole product, as text.
fn sources() -> String {
    fn read(directory: &Path, text: &mut String) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("monitoring/table.rs")
            {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut text = String::new();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for entry in fs::read_dir(crates).unwrap() {
        read(&entry.unwrap().path().join("src"), &mut text);
    }
    text
}

#[test]
fn prometheus_takes_the_rules_and_every_expression_of_the_dashboard() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("alerts.yml"), alerts()).unwrap();
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (at, expression) in expressions(&dashboard()).iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "5m").replace("$instance", ".*");
        writeln!(rules, "      - record: panel:{at}\n        expr: '{expression}'").unwrap();
    }
    fs::write(directory.path().join("dashboard.yml"), rules).unwrap();
    let _ = promtool(directory.path(), &["check", "rules", "alerts.yml", "dashboard.yml"]);
}

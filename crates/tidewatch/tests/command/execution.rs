//! The command with an execution client that follows too: the scripted one of `tidewatch-execution`.

use crate::support::{
    client::{Client, Does, status},
    run::{Command, END, signal},
};
use std::path::Path;
use tidewatch_execution::engine::Secret;

/// A node with a chain, and a client that has none and wants a secret.
fn both(directory: &Path) -> (Client, Client) {
    let (node, client) = (Client::serve(), Client::serve());
    node.mine(12);
    node.settle(10, 8);
    client.change(|world| world.secret = Some(Secret::new([7; 32])));
    std::fs::write(directory.join("jwt.hex"), "07".repeat(32)).unwrap();
    std::fs::write(directory.join("wrong.hex"), "08".repeat(32)).unwrap();
    (node, client)
}

fn following(node: &Client, client: &Client, directory: &Path, secret: &str) -> Command {
    let (source, engine) =
        (format!("eth+http://{}", node.address), format!("http://{}", client.address));
    let [secret, data] = [secret, "data"].map(|name| directory.join(name).display().to_string());
    Command::follow().with([
        "--source",
        &source,
        "--execution",
        &engine,
        "--jwt-secret",
        &secret,
        "--data-dir",
        &data,
        "--format",
        "json",
    ])
}

#[test]
fn a_client_follows_with_the_store_and_until_waits_for_both() {
    let directory = tempfile::tempdir().unwrap();
    let (node, client) = both(directory.path());
    let follow = || following(&node, &client, directory.path(), "jwt.hex");
    let output = follow().with(["--until", "8"]).start().end(END);
    assert_eq!((output.code, output.errors.as_str()), (Some(0), ""), "{output:?}");
    assert_eq!(client.tips(), node.tips());
    // After a restart, over a reorg that nobody saw.
    node.reorg(3, 5);
    node.settle(11, 10);
    follow().with(["--until", "10"]).start().ends_well(END);
    assert_eq!(client.tips(), node.tips());
}

#[test]
fn a_client_that_lets_nobody_in_or_is_of_another_chain_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let (node, client) = both(directory.path());
    let refused = |secret| following(&node, &client, directory.path(), secret).start().end(END);
    let output = refused("wrong.hex");
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.errors.contains("--jwt-secret"), "{output:?}");
    client.change(|world| world.id = 5);
    let output = refused("jwt.hex");
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.errors.contains("eth:5") && output.errors.contains("genesis"), "{output:?}");
    assert_eq!(client.methods(), Vec::<String>::new());
}

#[test]
fn a_block_that_the_client_says_is_invalid_ends_its_part_and_not_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let (node, client) = both(directory.path());
    client.does(|method, params| {
        let fifth = params.first().is_some_and(|payload| payload["blockNumber"] == "0x5");
        match method.contains("newPayload") && fifth {
            true => Does::Says(status("INVALID", None, Some("gas used is wrong"))),
            false => Does::Truth,
        }
    });
    let run = following(&node, &client, directory.path(), "jwt.hex").start();
    let fault = run.line_with("\"rejected\"");
    assert!(fault.contains("gas used is wrong"), "{fault}");
    let tip = node.mine(3).last().unwrap().reference();
    run.line_with(&tip.digest.to_string());
    signal(&run, "INT");
    let output = run.ends_well(END);
    assert!(output.errors.contains("is given no more blocks"), "{output:?}");
    let kept = std::fs::read_dir(directory.path().join("data/evidence")).unwrap();
    assert_eq!(kept.count(), 1);
}

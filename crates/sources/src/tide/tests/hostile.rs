//! A middle one that lies about a chain without certificates.

use super::{Root, Stage as _, attempt, follow, pass};
use ::tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use commonware_formatting::hex;
use commonware_runtime::{Runner as _, Spawner as _, Supervisor as _, tokio};
use commonware_utils::sync::Mutex;
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tidewatch_core::{FaultKind, Height, LocalView as _, Source as _, Tier};
use tidewatch_store::Memory;

/// What is sent for a path in place of a body; `None` for what is behind it.
type Lie = Arc<dyn Fn(&str, &[u8]) -> Option<Sent> + Send + Sync>;

enum Sent {
    Body(Vec<u8>),
    Endless,
}

fn body(bytes: impl Into<Vec<u8>>) -> Option<Sent> {
    Some(Sent::Body(bytes.into()))
}

/// Stands before a server.
struct Middle {
    address: String,
    lie: Arc<Mutex<Lie>>,
}

impl Middle {
    async fn before(context: &tokio::Context, address: &str) -> Self {
        let behind: SocketAddr = address.trim_start_matches("tide+http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tide+http://{}", listener.local_addr().unwrap());
        let honest: Lie = Arc::new(|_, _| None);
        let lie = Arc::new(Mutex::new(honest));
        let told = lie.clone();
        context.child("middle").spawn(move |context| async move {
            while let Ok((client, _)) = listener.accept().await {
                let lie = told.lock().clone();
                context.child("client").spawn(move |_| answer(client, behind, lie));
            }
        });
        Self { address, lie }
    }

    fn says(&self, lie: impl Fn(&str, &[u8]) -> Option<Sent> + Send + Sync + 'static) {
        *self.lie.lock() = Arc::new(lie);
    }
}

async fn answer(mut client: TcpStream, behind: SocketAddr, lie: Lie) -> std::io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).await?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let mut server = TcpStream::connect(behind).await?;
    let asked = format!("GET {path} HTTP/1.1\r\nhost: {behind}\r\nconnection: close\r\n\r\n");
    server.write_all(asked.as_bytes()).await?;
    let mut honest = Vec::new();
    server.read_to_end(&mut honest).await?;
    let at = honest.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nconnection: close\r\n";
    match lie(path, &honest[at..]) {
        None => client.write_all(&honest).await,
        Some(Sent::Body(bytes)) => {
            let head = format!("{ok}content-length: {}\r\n\r\n", bytes.len());
            client.write_all(head.as_bytes()).await?;
            client.write_all(&bytes).await
        }
        Some(Sent::Endless) => {
            client.write_all(format!("{ok}\r\n").as_bytes()).await?;
            loop {
                client.write_all(&[7; 65_536]).await?;
            }
        }
    }
}

/// The blocks of an answer, each with its length.
fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut blocks = Vec::new();
    while let Some(length) = bytes.first_chunk::<4>() {
        let (block, left) = bytes.split_at(4 + u32::from_be_bytes(*length) as usize);
        blocks.push(block);
        bytes = left;
    }
    blocks
}

fn tips(body: &[u8], change: impl Fn(&mut Value)) -> Option<Sent> {
    let mut said: Value = serde_json::from_slice(body).unwrap();
    change(&mut said["tips"]);
    self::body(said.to_string())
}

#[test]
fn what_a_middle_one_makes_up_is_refused_by_type_and_moves_no_tip() {
    tokio::Runner::default().start(|context| async move {
        let mut root = Root::start(&context, 300).await;
        root.finalize(100).await;
        // Of another chain, as well formed.
        let mut other = Root::start(&context, 300).await;
        other.reorg(290, 290).await;
        let other = other.served.follow(&context).await;
        let snapshot = other.snapshot().await.unwrap();
        let tip = snapshot.tips.block(Tier::Proposed).unwrap();
        let forked = other.blocks(tip, Height::new(1)).await.unwrap();
        let forked: Vec<Vec<u8>> = forked
            .iter()
            .map(|block| {
                [&(block.bytes().len() as u32).to_be_bytes()[..], &block.bytes()[..]].concat()
            })
            .collect();
        let middle = Middle::before(&context, &root.served.address).await;
        let source = follow(&middle.address, &context).await;
        let chain_info = source.chain_info().await.unwrap();
        let (mut view, _) = Memory::new(chain_info);
        let range = |path: &str| path.starts_with("/v1/range?");
        let digest = hex(&[9; 32]);
        let lies: Vec<(&str, Lie, FaultKind)> = vec![
            (
                "a block with another parent",
                Arc::new(move |path, body| {
                    range(path).then(|| {
                        let mut blocks = split(body);
                        blocks[100] = &forked[100];
                        Sent::Body(blocks.concat())
                    })
                }),
                FaultKind::Malformed,
            ),
            (
                "a block of another height",
                Arc::new(move |path, body| {
                    range(path).then(|| Sent::Body(split(body)[1..].concat()))
                }),
                FaultKind::Malformed,
            ),
            (
                "more blocks than are asked for",
                Arc::new(move |path, body| {
                    range(path).then(|| Sent::Body([body, split(body)[0]].concat()))
                }),
                FaultKind::Malformed,
            ),
            (
                "bytes that are no block",
                Arc::new(move |path, _| range(path).then(|| Sent::Body(vec![0, 0, 0, 2, 1, 1]))),
                FaultKind::Malformed,
            ),
            (
                "a block that is cut off",
                Arc::new(move |path, body| {
                    range(path).then(|| Sent::Body(body[..body.len() - 1].to_vec()))
                }),
                FaultKind::Malformed,
            ),
            (
                "a body without an end",
                Arc::new(move |path, _| range(path).then_some(Sent::Endless)),
                FaultKind::Oversized,
            ),
            (
                "no blocks",
                Arc::new(move |path, _| range(path).then(|| Sent::Body(Vec::new()))),
                FaultKind::Missing,
            ),
            (
                "a tip that is not there",
                Arc::new(move |path, body| match path {
                    "/v1/tips" => {
                        tips(body, |tips| tips["proposed"]["block"]["digest"] = json!(digest))
                    }
                    _ => None,
                }),
                FaultKind::Missing,
            ),
            (
                "a finalized tip above the proposed one",
                Arc::new(|path, body| match path {
                    "/v1/tips" => {
                        tips(body, |tips| tips["finalized"]["block"]["height"] = json!(900))
                    }
                    _ => None,
                }),
                FaultKind::LadderBroken,
            ),
            (
                "another chain",
                Arc::new(|path, body| match path {
                    "/v1/tips" => {
                        let mut said: Value = serde_json::from_slice(body).unwrap();
                        said["chain"] = json!("eth:1");
                        self::body(said.to_string())
                    }
                    _ => None,
                }),
                FaultKind::WrongChain,
            ),
            (
                "no tips",
                Arc::new(|path, _| (path == "/v1/tips").then(|| Sent::Body(b"{}".to_vec()))),
                FaultKind::Malformed,
            ),
        ];
        for (case, lie, kind) in lies {
            middle.says(move |path, body| lie(path, body));
            let before = view.watermarks().await.unwrap();
            let fault = attempt(&source, &mut view).await.unwrap_err();
            assert_eq!(fault.kind, kind, "{case}: {fault}");
            assert_eq!(view.watermarks().await.unwrap(), before, "{case}");
        }
        middle.says(|_, _| None);
        pass(&source, &mut view).await;
        let ours = view.watermarks().await.unwrap().delivered;
        assert_eq!(ours, Some(root.at(300)), "once it is honest");
    });
}

#[test]
fn a_finalized_tip_that_a_middle_one_takes_back_or_replaces_stays() {
    tokio::Runner::default().start(|context| async move {
        let mut root = Root::start(&context, 30).await;
        root.finalize(10).await;
        let middle = Middle::before(&context, &root.served.address).await;
        let source = follow(&middle.address, &context).await;
        let (mut view, log) = Memory::new(source.chain_info().await.unwrap());
        pass(&source, &mut view).await;
        let before = view.watermarks().await.unwrap();
        let finalized = before.tips.block(Tier::Finalized).unwrap();
        let lower = root.at(finalized.height.get() - 3);
        middle.says(move |path, body| match path {
            "/v1/tips" => tips(body, |tips| {
                tips["finalized"]["block"] =
                    json!({"height": lower.height.get(), "digest": lower.digest.to_string()});
            }),
            _ => None,
        });
        attempt(&source, &mut view).await.unwrap();
        assert_eq!(view.watermarks().await.unwrap(), before, "an old answer");
        let digest = hex(&[9; 32]);
        middle.says(move |path, body| match path {
            "/v1/tips" => tips(body, |tips| {
                tips["checkpointed"] = json!(null);
                tips["finalized"]["block"]["digest"] = json!(digest);
            }),
            _ => None,
        });
        let report = attempt(&source, &mut view).await.unwrap();
        let conflicts = report.faults.iter().filter(|it| it.kind == FaultKind::FinalityConflict);
        assert!(conflicts.count() > 0 || !log.evidence().unwrap().is_empty(), "{report:?}");
        let after = view.watermarks().await.unwrap();
        assert_eq!(after, before, "it stays where it was");
    });
}

use super::{chain::World, *};
use bytes::Bytes;
use commonware_codec::Encode as _;
use futures::{SinkExt as _, StreamExt as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use tidewatch_core::{Doorbell, Height, Source, Tier};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};

/// What a server does with each push connection in turn, starting over after the last.
type Script = Vec<Vec<Message>>;

/// Connections that are open, that were open at most, and that were accepted.
#[derive(Debug, Default)]
struct Sockets {
    open: AtomicUsize,
    most: AtomicUsize,
    accepted: AtomicUsize,
}

/// Answers 404 to questions, and plays `script` to push connections. Hangs up after a part, except
/// after the last one, which it keeps open.
async fn playing(context: &tokio::Context, script: Script) -> (SocketAddr, Arc<Sockets>) {
    let sockets = Arc::new(Sockets::default());
    let address = server(context, {
        let sockets = sockets.clone();
        move |mut stream| {
            let (script, sockets) = (script.clone(), sockets.clone());
            async move {
                let mut head = [0; 16];
                let peeked = stream.peek(&mut head).await.unwrap_or_default();
                if !head[..peeked].starts_with(b"GET /consensus") {
                    while !request(&mut stream).await.is_empty() {
                        let missing = answer("404 Not Found", "text/plain", b"");
                        let _ = stream.write_all(&missing).await;
                    }
                    return;
                }
                let turn = sockets.accepted.fetch_add(1, Ordering::SeqCst);
                let open = sockets.open.fetch_add(1, Ordering::SeqCst) + 1;
                sockets.most.fetch_max(open, Ordering::SeqCst);
                if let Ok(socket) = accept_async(stream).await {
                    play(socket, &script, turn).await;
                }
                sockets.open.fetch_sub(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    (address, sockets)
}

async fn play(mut socket: WebSocketStream<TcpStream>, script: &Script, turn: usize) {
    let last = turn + 1 >= script.len();
    for message in &script[turn.min(script.len() - 1)] {
        if socket.send(message.clone()).await.is_err() {
            return;
        }
    }
    while last && socket.next().await.is_some_and(|message| message.is_ok()) {}
}

fn frame(kind: u8, body: &[u8]) -> Message {
    Message::Binary([&[kind], body].concat().into())
}

/// Waits until a push has finalized `height`; before, nothing is verified.
async fn until_final(source: &impl Source, bell: &mut Doorbell, height: u64) {
    loop {
        match source.snapshot().await.map(|snapshot| snapshot.tips.block(Tier::Finalized)) {
            Ok(Some(block)) if block.height == Height::new(height) => return,
            Ok(other) => panic!("finalized {other:?}"),
            Err(fault) => assert_eq!(fault.kind, FaultKind::Unavailable),
        }
        bell.rung().await;
    }
}

#[test]
fn bad_frames_are_refused_each_by_its_reason_and_the_connection_goes_on() {
    run(|context| async move {
        let world = World::<StandardScheme>::new().grow(3);
        let good = world.finalized(2).encode();
        let mut forged = world.finalized(3).encode().to_vec();
        forged[40] ^= 1;
        let (address, sockets) = playing(
            &context,
            vec![vec![
                Message::Binary(Bytes::new()),
                frame(9, &good),
                frame(2, &good[1..]),
                frame(1, &good),
                frame(2, &forged),
                Message::text("<html>"),
                frame(0, b"a seed"),
                Message::Ping(Bytes::from_static(b"still there")),
                frame(2, &good),
            ]],
        )
        .await;
        let (source, upstream, recorder) = standard(&context, address);
        let mut bell = source.doorbell();
        let _handle = upstream.start();
        until_final(&source, &mut bell, 2).await;
        let refusals = source.work().refusals;
        assert_eq!(refusals["malformed"], 3, "empty, of no kind, cut off");
        let invalid = refusals.get("invalid_certificate").copied().unwrap_or_default();
        let wrong = refusals.get("wrong_digest").copied().unwrap_or_default();
        assert_eq!(invalid + wrong, 2, "a finalization as a notarization, and a changed one");
        assert_eq!(refusals["unexpected_content"], 1);
        assert_eq!(recorder.kinds().len(), 6);
        assert_eq!(sockets.accepted.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_dropped_or_oversized_push_connection_is_replaced_one_at_a_time() {
    run(|context| async move {
        let world = World::<StandardScheme>::new().grow(1);
        let huge = Message::Binary(vec![2; 4_096 + 1024 * 1024 + 2].into());
        let good = frame(2, &world.finalized(1).encode());
        let script = vec![vec![], vec![huge], vec![Message::Close(None)], vec![good]];
        let (address, sockets) = playing(&context, script).await;
        let (source, upstream, recorder) = standard(&context, address);
        let mut bell = source.doorbell();
        let handle = upstream.start();
        until_final(&source, &mut bell, 1).await;
        assert_eq!(sockets.accepted.load(Ordering::SeqCst), 4);
        assert_eq!(sockets.open.load(Ordering::SeqCst), 1);
        use FaultKind::{Oversized, Unreachable};
        assert_eq!(recorder.kinds(), [Unreachable, Oversized, Unreachable, Unreachable]);
        handle.abort();
        let _ = handle.await;
        while sockets.open.load(Ordering::SeqCst) > 0 {
            ::tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_server_that_answers_404_to_everything_is_not_a_chain() {
    run(|context| async move {
        let address = answering(&context, answer("404 Not Found", "text/plain", b"")).await;
        let (source, upstream, recorder) = standard(&context, address);
        let _handle = upstream.start();
        while recorder.kinds().len() < 3 {
            ::tokio::task::yield_now().await;
        }
        assert!(recorder.kinds().iter().all(|kind| *kind == FaultKind::Unavailable));
        let fault = source.snapshot().await.expect_err("it has nothing");
        assert_eq!(fault.kind, FaultKind::Unavailable);
        assert!(fault.detail.contains("indexer of this network"), "{fault}");
    });
}

use super::{chain::World, *};
use crate::alto::transport::{HttpTransport, unframe};
use alto_types::VrfScheme;
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_consensus::types::{Epoch, Height, Round, View};
use commonware_cryptography::{Hasher as _, Sha256};
use futures::channel::oneshot;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use tidewatch_certified::{
    CertificateKind, Check, Checker, Key, Metrics, OneEpoch, Push, Transport as _, Verifier,
    checker,
};
use tidewatch_core::Source as _;

const OCTETS: &str = "application/octet-stream";

/// Turns of a runtime in which a client has taken a connection back.
const TURNS: usize = 64;

fn transport(address: SocketAddr) -> HttpTransport {
    HttpTransport::new(&endpoint(address, CertificateMode::Standard), &patient()).expect("sets up")
}

/// What fetching a height gives.
async fn fetch(address: SocketAddr) -> Result<Option<Bytes>, Fault> {
    transport(address).fetch(Key::Height(Height::new(1))).await
}

/// The same, from somebody who does not wait long.
async fn fetch_hastily(address: SocketAddr) -> Result<Option<Bytes>, Fault> {
    let endpoint = endpoint(address, CertificateMode::Standard);
    let transport = HttpTransport::new(&endpoint, &hasty()).expect("sets up");
    transport.fetch(Key::Height(Height::new(1))).await
}

#[test]
fn answers_that_are_none_are_refused_with_a_typed_reason() {
    use FaultKind::{Oversized, Unavailable, UnexpectedContent, Unreachable};
    let page = b"<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>";
    let huge = vec![7; 4_096 + 1024 * 1024 + 1];
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let stream = [
        chunked.as_bytes(),
        &[b"10000\r\n", &[7; 0x10000][..], b"\r\n"].concat().repeat(17),
        b"0\r\n\r\n",
    ];
    let table = [
        ("an error page", answer("200 OK", "text/html; charset=utf-8", page), UnexpectedContent),
        ("an error page by another name", answer("200 OK", OCTETS, page), UnexpectedContent),
        ("an error page with an error", answer("502 Bad Gateway", "text/html", page), Unavailable),
        ("too many requests", answer("429 Too Many Requests", OCTETS, b""), Unavailable),
        ("a redirect", answer("302 Found\r\nlocation: /other", OCTETS, b""), Unavailable),
        ("no access", answer("401 Unauthorized", OCTETS, b""), Unavailable),
        ("more than the limit, announced", answer("200 OK", OCTETS, &huge), Oversized),
        ("more than the limit, streamed", stream.concat(), Oversized),
        ("no HTTP", b"220 smtp.example ESMTP\r\n".to_vec(), Unreachable),
    ];
    run(|context| async move {
        for (case, answer, kind) in table {
            let address = answering(&context, answer).await;
            let fault = fetch(address).await.expect_err(case);
            assert_eq!(fault.kind, kind, "{case}: {fault}");
            assert!(fault.detail.len() < 600, "{case}: {fault}");
        }
    });
}

#[test]
fn what_begins_as_a_page_does_is_a_certificate_of_the_sixtieth_epoch() {
    run(|context| async move {
        for view in [1, 33, 104] {
            let round = Round::new(Epoch::new(60), View::new(view)).encode();
            let digests = [view; 4].map(|seed| Sha256::hash(&[&seed.to_be_bytes()]).encode());
            let body = [&round[..], &digests.concat()].concat();
            assert_eq!(body[0], b'<');
            let address = answering(&context, answer("200 OK", OCTETS, &body)).await;
            assert_eq!(fetch(address).await.expect("no page"), Some(body.into()));
        }
    });
}

#[test]
fn an_error_page_is_named_by_its_content_type_and_its_first_bytes() {
    run(|context| async move {
        let page = format!("<html>\n\x1b[2J{}</html>", "x".repeat(500));
        let address =
            answering(&context, answer("200 OK", "text/html; charset=utf-8", page.as_bytes()))
                .await;
        let fault = fetch(address).await.expect_err("refused");
        let shown = format!(
            "text/html; charset=utf-8 instead of a block: <html>\\n\\x1b[2J{}",
            "x".repeat(69)
        );
        assert_eq!(fault.detail, shown, "80 bytes of it, printable");
    });
}

#[test]
fn a_connection_that_is_dropped_or_silent_ends_the_request() {
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
    run(|context| async move {
        let dropped = server(&context, |stream| async move { drop(stream) }).await;
        assert_eq!(fetch(dropped).await.expect_err("refused").kind, FaultKind::Unreachable);
        let cut = server(&context, |mut stream| async move {
            request(&mut stream).await;
            let _ = stream.write_all(HALF).await;
        });
        assert_eq!(fetch(cut.await).await.expect_err("refused").kind, FaultKind::Unreachable);
        let silent = server(&context, |mut stream| async move {
            while !request(&mut stream).await.is_empty() {}
        });
        let stalled = answering(&context, HALF);
        for address in [silent.await, stalled.await] {
            let fault = fetch_hastily(address).await.expect_err("refused");
            assert_eq!(fault.kind, FaultKind::Timeout, "{fault}");
        }
    });
}

#[test]
fn an_answer_that_the_indexer_does_not_have_is_none() {
    run(|context| async move {
        let address = answering(&context, answer("404 Not Found", "text/html", b"<html>")).await;
        assert_eq!(fetch(address).await, Ok(None));
        let bytes = Bytes::from_static(b"\x00bytes");
        let address = answering(&context, answer("200 OK", OCTETS, &bytes)).await;
        assert_eq!(fetch(address).await, Ok(Some(bytes)));
    });
}

#[test]
fn every_key_is_asked_for_at_its_own_path_over_a_few_connections() {
    run(|context| async move {
        let seen = Arc::new(Mutex::new((0, Vec::new())));
        let address = server(&context, {
            let seen = seen.clone();
            move |mut stream| {
                let seen = seen.clone();
                seen.lock().0 += 1;
                async move {
                    loop {
                        let request = request(&mut stream).await;
                        let Some(path) = request.split(' ').nth(1) else { return };
                        seen.lock().1.push(path.to_owned());
                        let _ = stream.write_all(&answer("200 OK", OCTETS, b"\0")).await;
                    }
                }
            }
        })
        .await;
        // A client takes a connection back after the answer, in a task of its own: on one thread, that is
        // over once everything that can run has run.
        let (done, fetched) = oneshot::channel();
        thread::spawn(move || {
            let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let transport = transport(address);
                for key in [
                    Key::LatestFinalization,
                    Key::LatestNotarization,
                    Key::Height(Height::new(255)),
                    Key::Digest(tidewatch_core::Digest([0xab; 32])),
                ] {
                    transport.fetch(key).await.expect("answers");
                    for _ in 0..TURNS {
                        ::tokio::task::yield_now().await;
                    }
                }
            });
            let _ = done.send(());
        });
        fetched.await.expect("every key is answered");
        let by_digest = format!("/block/{}", "ab".repeat(32));
        let paths =
            ["/finalization/latest", "/notarization/latest", "/block/00000000000000ff", &by_digest];
        assert_eq!(seen.lock().1, paths);
        assert_eq!(seen.lock().0, 1, "one connection for requests one after the other");
    });
}

#[test]
fn nobody_there_is_told_from_no_indexer_there() {
    run(|context| async move {
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = closed.local_addr().expect("bound");
        drop(closed);
        let fault = transport(address).probe().await.expect_err("nobody");
        assert_eq!(fault.kind, FaultKind::Unreachable);
        let other = answering(&context, answer("404 Not Found", OCTETS, b"")).await;
        let fault = transport(other).probe().await.expect_err("no indexer");
        assert_eq!(fault.kind, FaultKind::UnexpectedContent);
        let healthy = answering(&context, answer("200 OK", "text/plain", b"ok")).await;
        transport(healthy).probe().await.expect("healthy");
    });
}

#[test]
fn secrets_of_an_address_go_into_the_header_and_nowhere_else() {
    run(|context| async move {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let address = server(&context, {
            let seen = seen.clone();
            move |mut stream| {
                let seen = seen.clone();
                async move {
                    let request = request(&mut stream).await;
                    seen.lock().push(request);
                    let _ = stream.write_all(&answer("401 Unauthorized", OCTETS, b"")).await;
                }
            }
        })
        .await;
        let text = format!("alto+http://alice:hunter%32@{address}/key-4711?mode=standard");
        let endpoint: Endpoint = text.parse().expect("valid");
        let transport = HttpTransport::new(&endpoint, &patient()).expect("sets up");
        let fault = transport.fetch(Key::LatestFinalization).await.expect_err("refused");
        let push = transport.listen().await.expect_err("refused");
        let closed = text.replace(&address.to_string(), "127.0.0.1:1");
        let closed =
            HttpTransport::new(&closed.parse().expect("valid"), &patient()).expect("sets up");
        let lost = closed.fetch(Key::LatestFinalization).await.expect_err("refused");
        let unheard = closed.listen().await.expect_err("refused");
        let probed = closed.probe().await.expect_err("refused");
        let requests = seen.lock().clone();
        assert_eq!(requests.len(), 2);
        assert!(requests[0].starts_with("GET /key-4711/finalization/latest "), "{requests:?}");
        assert!(requests[1].starts_with("GET /key-4711/consensus/ws "), "{requests:?}");
        for request in &requests {
            let basic = "authorization: basic ywxpy2u6ahvudgvymg==";
            assert!(request.to_lowercase().contains(basic), "{request}");
        }
        for shown in [fault, push, lost, unheard, probed].map(|fault| format!("{fault} {fault:?}"))
        {
            for secret in ["alice", "hunter", "4711", "YWxpY2U6"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
        assert!(!format!("{transport:?}").contains("4711"));
    });
}

#[test]
fn a_source_over_a_hostile_endpoint_gives_faults_and_no_tip() {
    run(|context| async move {
        let page = answer("200 OK", "text/html", b"<html>down for maintenance</html>");
        let garbage = answer("200 OK", OCTETS, &[0xff; 500]);
        let empty = answer("200 OK", OCTETS, b"");
        for (answer, kind) in [
            (page, FaultKind::UnexpectedContent),
            (garbage, FaultKind::Malformed),
            (empty, FaultKind::Malformed),
        ] {
            let (source, _, _) = standard(&context, answering(&context, answer).await);
            assert_eq!(source.snapshot().await.expect_err("refused").kind, kind);
            assert_eq!(source.work().refusals[kind.as_str()], 2);
            assert_eq!(source.work().checks_total(), 0);
        }
    });
}

#[test]
fn a_hundred_thousand_random_and_damaged_frames_are_refused_without_a_panic() {
    run(|context| async move {
        let world = World::<VrfScheme>::new().grow(1);
        let key = commonware_codec::DecodeExt::decode(world.identity.as_slice()).expect("a key");
        let scheme = <VrfScheme as alto_types::Scheme>::certificate_verifier(b"_ALTO", key);
        let metrics = Metrics::new(&context, "fuzz", Arc::new(()));
        let codec = alto_types::Block::codec_config(4_096);
        let epochs = OneEpoch::new(alto_types::EPOCH, scheme);
        let genesis = crate::alto::AltoBlock::genesis();
        let (checker, mailbox) = Checker::new(context.child("checker"), checker::Config::default());
        checker.start();
        let verifier = Verifier::new(epochs, genesis, codec, metrics, mailbox);
        let good = [&[2][..], &world.finalized(1).encode()].concat();
        let accept = |frame: Vec<u8>| {
            let (kind, body) = match unframe(frame.into()).ok()? {
                Push::Finalization(body) => (CertificateKind::Finalized, body),
                Push::Notarization(body) => (CertificateKind::Notarized, body),
                Push::Irrelevant => return None,
            };
            Some((verifier.claim(kind, body).ok()?, kind))
        };
        let (claim, _) = accept(good.clone()).expect("decodes");
        assert!(verifier.check(claim, Check::Push).await.is_ok());
        let mut rng = StdRng::seed_from_u64(4);
        let mut checked = 0;
        for round in 0..100_000_u32 {
            let mut frame = good.clone();
            match round % 3 {
                0 => {
                    frame = vec![0; rng.random_range(0..400)];
                    rng.fill_bytes(&mut frame);
                    if let Some(kind) = frame.first_mut() {
                        *kind %= 4;
                    }
                }
                1 => frame.truncate(rng.random_range(0..good.len())),
                _ => {
                    let at = rng.random_range(0..frame.len());
                    frame[at] ^= rng.random_range(1..=255_u8);
                }
            }
            let Some((claim, _)) = accept(frame) else { continue };
            // A signature check takes a millisecond: some of what decodes is enough.
            if checked < 500 {
                checked += 1;
                assert!(verifier.check(claim, Check::Push).await.is_err(), "round {round}");
            }
        }
        assert_eq!(checked, 500);
    });
}

#[test]
fn every_request_and_every_connection_waits_for_the_budget_of_its_address() {
    run(|context| async move {
        let address = answering(&context, answer("200 OK", OCTETS, b"\x01")).await;
        let paid = Arc::new(AtomicUsize::new(0));
        let counted = paid.clone();
        let transport = transport(address).paying(Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async {})
        }));
        transport.probe().await.expect("is there");
        transport.fetch(Key::LatestFinalization).await.expect("answers");
        transport.listen().await.expect_err("no WebSocket");
        assert_eq!(paid.load(Ordering::SeqCst), 3);
    });
}

//! Calls of Miden's sequencers, made by the client that they make them with.

use super::*;
use commonware_runtime::Metrics as _;
use prost::Message;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

const PROVE: &str = "/remote_prover.Api/Prove";
const TRANSACTION: i32 = 0;
const BLOCK: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(int32, tag = "1")]
    proof_type: i32,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(bytes = "vec", tag = "1")]
    payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(int32, tag = "2")]
    number: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(int32, tag = "1")]
    number: i32,
}

/// A payload is a height, in one byte.
fn reads(payload: &[u8]) -> Result<Key, String> {
    match payload {
        [height] => Ok(block(u64::from(*height))),
        _ => Err("no block: 100%\n".into()),
    }
}

/// Serves `prover` to schedulers and to sequencers.
async fn served(
    context: &tokio::Context,
    prover: Arc<dyn Prover>,
    calls: Calls,
    token: Option<Token>,
) -> (String, Stopper, commonware_runtime::Handle<()>) {
    let (listener, address) = listen().await;
    let (stopper, stopping) = Stopper::new();
    let miden = Miden::new(&context.child("miden"), prover.clone(), reads, "1.2.3", calls);
    let worker = Worker { miden: Some(miden), ..worker(prover, Limits::default(), token) };
    let server = context
        .child("server")
        .spawn(move |_| async move { serve(listener, worker, stopping).await });
    (format!("http://{address}"), stopper, server)
}

/// A sequencer, connected.
async fn sequencer(address: &str) -> Channel {
    Endpoint::try_from(address.to_owned()).unwrap().connect().await.unwrap()
}

async fn call<A, B>(channel: &Channel, path: &'static str, asked: A) -> Result<B, Status>
where
    A: Message + 'static,
    B: Message + Default + 'static,
{
    call_with(channel, path, Request::new(asked)).await
}

async fn call_with<A, B>(
    channel: &Channel,
    path: &'static str,
    request: Request<A>,
) -> Result<B, Status>
where
    A: Message + 'static,
    B: Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<A, B>::default();
    let answer = grpc.unary(request, http::uri::PathAndQuery::from_static(path), codec).await;
    answer.map(tonic::Response::into_inner)
}

async fn prove(channel: &Channel, height: u8) -> Result<Vec<u8>, Status> {
    let asked = Asked { proof_type: BLOCK, payload: vec![height] };
    call::<_, Payload>(channel, PROVE, asked).await.map(|answer| answer.payload)
}

fn gated(context: &tokio::Context, slots: usize) -> (Sender<Result<(), String>>, Arc<dyn Prover>) {
    let (gate, gated) = channel();
    let slots = NonZeroUsize::new(slots).unwrap();
    (gate, Arc::new(Pool::new(context.child("pool"), "pool", Gated(gated.into()), slots)))
}

/// The value of a metric.
fn metric(context: &tokio::Context, name: &str) -> Option<u64> {
    let text = context.encode();
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until a metric has a value.
async fn metric_is(context: &tokio::Context, name: &str, value: u64) {
    let began = context.current();
    while metric(context, name) != Some(value) {
        assert!(context.current().duration_since(began).unwrap() < LONG, "{}", context.encode());
        commonware_runtime::reschedule().await;
    }
}

#[test]
fn a_sequencer_gets_the_proof_of_its_block_where_schedulers_get_theirs() {
    tokio::Runner::default().start(|context| async move {
        let (gate, prover) = gated(&context, 1);
        let (address, _stopper, _server) = served(&context, prover, Calls::default(), None).await;
        let sequencer = sequencer(&address).await;
        gate.send(Ok(())).unwrap();
        let proof = prove(&sequencer, 7).await.unwrap();
        assert_eq!(proof, [&[7][..], &block(7).block.digest.0].concat());
        // The same job is not proven twice: nothing opens the gate once more.
        assert_eq!(prove(&sequencer, 7).await.unwrap(), proof);
        let remote = remote(&address);
        assert_eq!(remote.offer().await.unwrap().slots, 1);
        let polled = remote.poll(&Handle::of(&block(7)), LONG).await;
        assert_eq!(polled, Ok(Progress::Proved(proof.into())));
        metric_is(&context, "miden_calls_ended_total{kind=\"ok\"}", 2).await;
    });
}

#[test]
fn what_is_no_request_for_a_block_is_refused_with_its_reason() {
    tokio::Runner::default().start(|context| async move {
        let (gate, prover) = gated(&context, 1);
        let calls = Calls { message_max: 100, ..Calls::default() };
        let (address, _stopper, _server) = served(&context, prover, calls, None).await;
        let sequencer = sequencer(&address).await;
        let block = |payload: &[u8]| Asked { proof_type: BLOCK, payload: payload.to_vec() };
        let other = |proof_type| Asked { proof_type, payload: vec![1] };
        for (asked, code, words) in [
            (other(TRANSACTION), Code::InvalidArgument, "Transaction"),
            (other(1), Code::InvalidArgument, "Batch"),
            (other(9), Code::InvalidArgument, "no proof type: 9"),
            (block(&[]), Code::InvalidArgument, "no block: 100%"),
            (block(&[0; 2]), Code::InvalidArgument, "no block"),
            (block(&[0; 200]), Code::ResourceExhausted, "of 100 at the most"),
        ] {
            let refused = call::<_, Payload>(&sequencer, PROVE, asked.clone()).await.unwrap_err();
            assert_eq!(refused.code(), code, "{asked:?}: {refused}");
            assert!(refused.message().contains(words), "{asked:?}: {refused}");
        }
        gate.send(Err("no proof exists".into())).unwrap();
        let refused = prove(&sequencer, 1).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("no proof exists"), "{refused}");
        let nowhere = call::<_, Payload>(&sequencer, "/remote_prover.Api/Guess", block(&[1])).await;
        assert_eq!(nowhere.unwrap_err().code(), Code::Unimplemented);
        // A field of another type is no message.
        let torn =
            call::<_, Payload>(&sequencer, PROVE, Text { text: "x".into(), number: 2 }).await;
        assert_eq!(torn.unwrap_err().code(), Code::InvalidArgument);
    });
}

#[test]
fn calls_wait_for_their_turn_and_beyond_so_many_are_refused() {
    tokio::Runner::default().start(|context| async move {
        let (gate, prover) = gated(&context, 1);
        let calls = Calls { calls_max: NZUsize!(3), ..Calls::default() };
        let (address, _stopper, _server) = served(&context, prover, calls, None).await;
        let sequencer = sequencer(&address).await;
        let waiting: Vec<_> = (1..=3)
            .map(|height| {
                let sequencer = sequencer.clone();
                context.child("call").spawn(move |_| async move { prove(&sequencer, height).await })
            })
            .collect();
        metric_is(&context, "miden_calls ", 3).await;
        let refused = prove(&sequencer, 4).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        for _ in 0..3 {
            gate.send(Ok(())).unwrap();
        }
        for (waited, height) in waiting.into_iter().zip(1..) {
            assert_eq!(waited.await.unwrap().unwrap()[0], height);
        }
        metric_is(&context, "miden_calls ", 0).await;
    });
}

/// Computes until it is released, or until it may end.
#[derive(Clone, Default)]
struct Patient {
    begun: Arc<AtomicUsize>,
    released: Arc<AtomicUsize>,
    may_end: Arc<AtomicUsize>,
}

impl Prove for Patient {
    fn prove(&self, _: &Key, _: &[u8], released: &Released) -> Result<Bytes, String> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        while !released.is_set() {
            if self.may_end.load(Ordering::SeqCst) > 0 {
                return Ok(Bytes::from_static(b"proof"));
            }
            std::thread::yield_now();
        }
        self.released.fetch_add(1, Ordering::SeqCst);
        Err("released".into())
    }
}

async fn counted(context: &tokio::Context, counter: &AtomicUsize, value: usize) {
    let began = context.current();
    while counter.load(Ordering::SeqCst) < value {
        assert!(context.current().duration_since(began).unwrap() < LONG, "{value}");
        commonware_runtime::reschedule().await;
    }
}

#[test]
fn a_caller_that_goes_away_or_waits_too_long_frees_its_slot() {
    tokio::Runner::default().start(|context| async move {
        let patient = Patient::default();
        let pool = Pool::new(context.child("pool"), "pool", patient.clone(), NZUsize!(1));
        let wait_max = Duration::from_millis(500);
        let calls = Calls { wait_max, ..Calls::default() };
        let (address, _stopper, _server) = served(&context, Arc::new(pool), calls, None).await;
        let sequencer = sequencer(&address).await;
        // Beyond what a call may take here.
        let late = prove(&sequencer, 1).await.unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
        counted(&context, &patient.released, 1).await;
        // The caller gives up: its stream is reset.
        let gone = {
            let sequencer = sequencer.clone();
            context.child("gone").spawn(move |_| async move { prove(&sequencer, 2).await })
        };
        counted(&context, &patient.begun, 2).await;
        gone.abort();
        counted(&context, &patient.released, 2).await;
        metric_is(&context, "miden_calls_ended_total{kind=\"gone\"}", 1).await;
        // Its connection is lost.
        let lost = Endpoint::try_from(address.clone()).unwrap().connect().await.unwrap();
        let lost =
            context.child("lost").spawn(move |_| async move { prove(&lost, 3).await.map(drop) });
        counted(&context, &patient.begun, 3).await;
        lost.abort();
        counted(&context, &patient.released, 3).await;
        // Whoever comes next is served.
        patient.may_end.fetch_add(1, Ordering::SeqCst);
        assert_eq!(prove(&sequencer, 1).await.unwrap(), b"proof");
    });
}

#[test]
fn a_stop_ends_calls_as_unavailable_at_once() {
    tokio::Runner::default().start(|context| async move {
        let (_gate, prover) = gated(&context, 1);
        let (address, stopper, server) = served(&context, prover, Calls::default(), None).await;
        let sequencer = sequencer(&address).await;
        let call = {
            let sequencer = sequencer.clone();
            context.child("call").spawn(move |_| async move { prove(&sequencer, 1).await })
        };
        metric_is(&context, "miden_calls ", 1).await;
        let began = context.current();
        stopper.stop();
        let stopped = call.await.unwrap().unwrap_err();
        assert_eq!(stopped.code(), Code::Unavailable, "{stopped}");
        assert!(stopped.message().contains("stopping"), "{stopped}");
        server.await.unwrap();
        assert!(context.current().duration_since(began).unwrap() < LONG / 2);
        // Anew: over the old connection, which is closing, a call may be given up by its own client.
        let anew = Endpoint::try_from(address).unwrap().connect_lazy();
        assert_eq!(prove(&anew, 2).await.unwrap_err().code(), Code::Unavailable);
    });
}

#[test]
fn a_sequencer_shows_the_token_too_and_anybody_else_learns_nothing() {
    tokio::Runner::default().start(|context| async move {
        let (gate, prover) = gated(&context, 1);
        let text = "1".repeat(Token::MIN);
        let token = Some(Token::new(&text).unwrap());
        let (address, _stopper, _server) = served(&context, prover, Calls::default(), token).await;
        let sequencer = sequencer(&address).await;
        for path in [PROVE, "/grpc.health.v1.Health/Check", "/remote_prover.Api/Guess"] {
            let refused = call::<_, Payload>(&sequencer, path, Number { number: 1 }).await;
            assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated, "{path}");
        }
        gate.send(Ok(())).unwrap();
        let mut request = Request::new(Asked { proof_type: BLOCK, payload: vec![1] });
        let shown = format!("Bearer {text}").parse().unwrap();
        request.metadata_mut().insert("authorization", shown);
        let answered: Payload = call_with(&sequencer, PROVE, request).await.unwrap();
        assert_eq!(answered.payload[0], 1);
    });
}

#[test]
fn it_says_what_it_proves_and_that_it_serves() {
    tokio::Runner::default().start(|context| async move {
        let (_gate, prover) = gated(&context, 1);
        let (address, _stopper, _server) = served(&context, prover, Calls::default(), None).await;
        let sequencer = sequencer(&address).await;
        let status: Text =
            call(&sequencer, "/remote_prover.WorkerStatusApi/Status", ()).await.unwrap();
        assert_eq!(status, Text { text: "1.2.3".into(), number: BLOCK });
        let health = async |service: &str| {
            let asked = Text { text: service.into(), number: 0 };
            call::<_, Number>(&sequencer, "/grpc.health.v1.Health/Check", asked).await
        };
        for service in ["", "remote_prover.Api", "remote_prover.WorkerStatusApi"] {
            assert_eq!(health(service).await.unwrap(), Number { number: 1 }, "{service}");
        }
        assert_eq!(health("rpc.Api").await.unwrap_err().code(), Code::NotFound);
    });
}

#[test]
fn what_is_no_grpc_over_http_2_is_answered_in_words_of_http() {
    tokio::Runner::default().start(|context| async move {
        let (_gate, prover) = gated(&context, 1);
        let (address, _stopper, _server) = served(&context, prover, Calls::default(), None).await;
        let post = |content: &str| {
            format!("POST {PROVE} HTTP/1.1\r\nhost: a\r\ncontent-type: {content}\r\ncontent-length: 0\r\n\r\n")
        };
        for (request, status) in [
            (post("application/grpc"), "505"),
            (post("application/json"), "415"),
            (post("application/grpc-web+proto"), "415"),
            (format!("GET {PROVE} HTTP/1.1\r\nhost: a\r\n\r\n"), "405"),
        ] {
            let line = raw(&address, request.as_bytes()).await;
            assert!(line.contains(status), "{request:?}: {line}");
        }
        // A preface, and then no frames: the connection ends.
        raw(&address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\n\r\n").await;
        let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff";
        stream.write_all(preface).await.unwrap();
        let mut rest = Vec::new();
        ::tokio::time::timeout(LONG, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
        // Others are served on.
        assert_eq!(remote(&address).offer().await.unwrap().slots, 1);
    });
}

//! A node in memory: answers in the messages of a real one, of a chain that moves as it is told.

use super::{recorded, run};
use crate::{
    miden::{
        Header, MidenBlock, Word,
        block::Signature,
        calls::{self, Level},
        wire,
    },
    rpc::{
        Answer, Call, Messages, Rpc, RpcError, Streams, Unanswered,
        grpc::{self, answer, answers},
    },
};
use alloy_primitives::keccak256;
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_runtime::reschedule;
use commonware_utils::sync::Mutex;
use futures::{StreamExt as _, channel::mpsc};
use k256::ecdsa::{SigningKey, signature::hazmat::PrehashSigner as _};
use prost::Message as _;
use std::sync::{Arc, LazyLock};
use tidewatch_conformance::Stage;
use tidewatch_core::{Block as _, BlockRef, Fault};

/// The key that Miden's own development networks are made with.
pub(super) static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_slice(&[1; 32]).unwrap());

/// Messages that wait for a listener; one that takes none for longer is cut off.
const LISTENER_MAX: usize = 1_024;

/// `header`, signed by `key`.
pub(super) fn sign(header: Header, key: &SigningKey) -> MidenBlock {
    let hash = keccak256(header.commitment().to_bytes());
    let signature: k256::ecdsa::Signature = key.sign_prehash(&hash.0).unwrap();
    let mut bytes = [0; 65];
    bytes[..64].copy_from_slice(&signature.to_bytes());
    MidenBlock::new(header, Signature::from_bytes(&bytes).unwrap())
}

/// A block as a node keeps it, with something in it.
pub(super) fn stored(block: &MidenBlock) -> Vec<u8> {
    let encoded = block.encode();
    let (header, signature) = encoded.split_at(encoded.len() - 65);
    [header, &[1; 4], signature].concat()
}

fn digest(word: Word) -> wire::Digest {
    let bytes = word.to_bytes();
    let [d0, d1, d2, d3] =
        [0, 8, 16, 24].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()));
    wire::Digest { d0, d1, d2, d3 }
}

fn octets(bytes: &[u8]) -> wire::Octets {
    wire::Octets { octets: bytes.to_vec() }
}

pub(super) fn header_message(header: &Header) -> wire::BlockHeader {
    wire::BlockHeader {
        version: header.version,
        parent: Some(digest(header.parent)),
        number: header.number,
        chain: Some(digest(header.chain)),
        accounts: Some(digest(header.accounts)),
        nullifiers: Some(digest(header.nullifiers)),
        notes: Some(digest(header.notes)),
        transactions: Some(digest(header.transactions)),
        validator: Some(octets(&header.validator)),
        kernels: Some(digest(header.kernels)),
        fees: Some(wire::Fees {
            faucet: Some(octets(&header.fee_faucet.to_bytes())),
            base_fee: header.base_fee,
        }),
        timestamp: header.timestamp,
    }
}

fn pushed(block: &MidenBlock) -> Bytes {
    wire::Pushed { block: stored(block) }.encode_to_vec().into()
}

type Tamper = Arc<dyn Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync>;

pub(super) struct World {
    pub(super) chain: Vec<MidenBlock>,
    pub(super) proven: usize,
    /// Whether what is proven is taken for final.
    pub(super) proves_to_finalize: bool,
    /// Whether it streams.
    pub(super) streams: bool,
    /// How many blocks of a range it gives, where that is fewer than were asked for.
    pub(super) few: usize,
    /// Ranges that are longer are too large an answer.
    pub(super) oversized_above: usize,
    pub(super) tamper: Option<Tamper>,
    /// Is answered in place of everything.
    pub(super) fault: Option<Fault>,
    /// Every call.
    pub(super) requests: Vec<Call>,
    listeners: Vec<mpsc::Sender<Bytes>>,
}

/// The node; clones are the same one.
#[derive(Clone)]
pub(super) struct Node(pub(super) Arc<Mutex<World>>);

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Node")
    }
}

fn error(code: i32, message: &str) -> RpcError {
    RpcError { code, message: message.into() }
}

impl Node {
    /// A node whose chain is `length` blocks above the recorded genesis. Nothing but genesis is proven.
    pub(super) fn new(length: u64) -> Self {
        let node = Self(Arc::new(Mutex::new(World {
            chain: vec![recorded::genesis()],
            proven: 0,
            proves_to_finalize: true,
            streams: true,
            few: usize::MAX,
            oversized_above: usize::MAX,
            tamper: None,
            fault: None,
            requests: Vec::new(),
            listeners: Vec::new(),
        })));
        node.grow_by(length);
        node
    }

    pub(super) fn grow_by(&self, blocks: u64) {
        let mut world = self.0.lock();
        for _ in 0..blocks {
            let below = world.chain.last().unwrap();
            let header = Header {
                version: 0,
                parent: below.commitment(),
                number: below.number + 1,
                timestamp: below.timestamp + 3,
                ..(**below).clone()
            };
            let block = sign(header, &KEY);
            let message = pushed(&block);
            world.chain.push(block);
            world.listeners.retain_mut(|listener| listener.try_send(message.clone()).is_ok());
        }
    }

    pub(super) fn prove(&self, height: u64) {
        self.0.lock().proven = height as usize;
    }

    pub(super) fn at(&self, height: u64) -> BlockRef {
        self.0.lock().chain[height as usize].reference()
    }

    pub(super) fn tip(&self) -> BlockRef {
        self.0.lock().chain.last().unwrap().reference()
    }

    /// The calls since the last time.
    pub(super) fn take_requests(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().requests)
    }

    /// Changes every answer of `method` from now on.
    pub(super) fn tamper(
        &self,
        method: &'static str,
        change: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
    ) {
        self.0.lock().tamper =
            Some(Arc::new(move |of, answer| if of == method { change(answer) } else { answer }));
    }

    /// The messages that a call of `method` is answered with, and how it ends.
    pub(super) fn respond(&self, method: &str, message: &[u8]) -> Result<Vec<Bytes>, RpcError> {
        let world = self.0.lock();
        let messages = world.respond(method, message)?;
        let tamper = world.tamper.clone().unwrap_or_else(|| Arc::new(|_, answer| answer));
        Ok(messages.into_iter().map(|message| tamper(method, message).into()).collect())
    }

    /// Pushes a message that is none of its chain.
    pub(super) fn push(&self, message: &Bytes) {
        let mut world = self.0.lock();
        world.listeners.retain_mut(|listener| listener.try_send(message.clone()).is_ok());
    }

    /// Ends every stream.
    pub(super) fn cut(&self) {
        self.0.lock().listeners.clear();
    }

    /// Blocks from `from` on that are there, and those that come.
    pub(super) fn subscribe(&self, from: u32) -> (Vec<Bytes>, mpsc::Receiver<Bytes>) {
        let mut world = self.0.lock();
        let (listener, live) = mpsc::channel(LISTENER_MAX);
        world.listeners.push(listener);
        (world.chain.iter().skip(from as usize).map(pushed).collect(), live)
    }
}

impl World {
    fn respond(&self, method: &str, message: &[u8]) -> Result<Vec<Vec<u8>>, RpcError> {
        let at = |number: u32| self.chain.get(number as usize);
        let one = |message: Vec<u8>| Ok(vec![message]);
        match method {
            "SyncChainMmr" => {
                let request = wire::TipRequest::decode(message).unwrap();
                let proven = request.level == Level::Proven as i32;
                let top = if proven { self.proven } else { self.chain.len() - 1 };
                if request.from as usize > top {
                    return Err(error(3, "INVALID_ARGUMENT: start block is not known"));
                }
                let block = &self.chain[top];
                let header = Some(header_message(block));
                let signature = Some(octets(block.signature().as_bytes()));
                one(wire::Tip { header, signature }.encode_to_vec())
            }
            "GetBlockHeaderByNumber" => {
                let number = wire::HeaderRequest::decode(message).unwrap().number.unwrap();
                let header = at(number).map(|block| header_message(block));
                one(wire::HeaderAnswer { header }.encode_to_vec())
            }
            "GetBlockByNumber" => {
                let number = wire::BlockRequest::decode(message).unwrap().number;
                one(wire::MaybeBlock { block: at(number).map(stored) }.encode_to_vec())
            }
            "BlockSubscription" => {
                let from = wire::SubscriptionRequest::decode(message).unwrap().from as usize;
                if !self.streams {
                    return Err(error(8, "RESOURCE_EXHAUSTED: maximum subscriptions reached"));
                }
                if from > self.chain.len() + 100 {
                    return Err(error(11, "OUT_OF_RANGE: too far ahead of chain tip"));
                }
                Ok(self.chain.iter().skip(from).map(|block| pushed(block).to_vec()).collect())
            }
            method => panic!("nobody asks {method}"),
        }
    }
}

impl Rpc for Node {
    fn name(&self) -> &str {
        "node"
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        let [call] = calls else { panic!("a batch: {calls:?}") };
        self.0.lock().requests.push(call.clone());
        reschedule().await;
        if let Some(fault) = &self.0.lock().fault {
            return Err(Unanswered::Fault(fault.clone()));
        }
        let count = grpc::count(call);
        let messages = self.respond(call.method, &grpc::message(call).unwrap());
        let answer = match (messages, count) {
            (Err(error), _) => Err(error),
            (Ok(messages), None) => answer(&messages[0]),
            (Ok(mut messages), Some(count)) => {
                let world = self.0.lock();
                if count > world.oversized_above {
                    let kind = tidewatch_core::FaultKind::Oversized;
                    return Err(Unanswered::Fault(kind.fault("node", "too large an answer")));
                }
                messages.truncate(count.min(world.few));
                answers(&messages)
            }
        };
        Ok(vec![answer])
    }
}

impl Streams for Node {
    async fn stream(&self, call: &Call) -> Result<Messages, Fault> {
        if !self.0.lock().streams {
            return Err(tidewatch_core::FaultKind::Unavailable.fault("node", "no streams"));
        }
        let message = grpc::message(call).unwrap();
        let from = wire::SubscriptionRequest::decode(&message[..]).unwrap().from;
        let (there, live) = self.subscribe(from);
        Ok(futures::stream::iter(there).chain(live).map(Ok).boxed())
    }
}

impl Stage for Node {
    fn is_still(&self) -> bool {
        true
    }

    async fn grow(&mut self, blocks: u64) -> bool {
        self.grow_by(blocks);
        true
    }

    async fn finalize(&mut self, blocks: u64) -> bool {
        let (proven, finalizes) = {
            let world = self.0.lock();
            (world.proven as u64, world.proves_to_finalize)
        };
        self.prove((proven + blocks).min(self.tip().height.get()));
        finalizes
    }
}

#[test]
fn the_node_gives_what_it_is_asked_for() {
    run(|_| async move {
        let node = Node::new(3);
        let answer = node.send(&[calls::block(2)]).await.unwrap().pop().unwrap();
        let message = grpc::answered("node", &"it", &answer).unwrap();
        let block = wire::MaybeBlock::decode(&message[..]).unwrap().block.unwrap();
        assert_eq!(MidenBlock::of_node(&block).unwrap().reference(), node.at(2));
    });
}

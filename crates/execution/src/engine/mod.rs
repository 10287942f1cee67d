//! An Ethereum execution client behind its Engine API, over HTTP.
//!
//! # Overview
//!
//! ```text
//!  EthBlock (a verified header) ─┐
//!  Bodies (the node's body,      ├─▶ EnginePayload ──▶ engine_newPayloadV1..V4
//!   with the header's roots)   ──┘     hashed again    engine_forkchoiceUpdatedV1..V3
//! ```
//!
//! Headers come from the source, which hashed them. Bodies come from [`Bodies`], the nodes of that source, by
//! digest; their roots are computed again and compared with the header. The payload that is made of both is hashed
//! once more, as the client will do it. Whatever does not match is refused and never given.
//!
//! # What is asked
//!
//! | call of the port | request |
//! |---|---|
//! | `give` | `engine_newPayload`, in the version that the header demands |
//! | `point` | `engine_forkchoiceUpdated`, in the version of the newest payload that was given |
//! | `standing`, `durable` | one batch of `eth_getBlockByNumber`: `latest`, `safe`, `finalized` |
//! | `at` | batches of `eth_getBlockByNumber` |
//!
//! The Engine API's port answers the `eth_` calls too. Each request has a token of its own, signed with the secret
//! that both were started with.
//!
//! # Limits
//!
//! Requests of the execution layer to the consensus layer (EIP-7685) are in no answer of a node: from Prague on, a
//! block that has any is refused. Where a chain needs them, whoever makes payloads has to be a consensus client.
//!
//! Clients do not say what they would have after a crash. They write their state behind their head:
//! [`Config::durable_depth`] is how far at the most.

mod error;
mod jwt;
mod payload;
pub use error::EngineError;
pub use jwt::{SKEW_MAX, Secret, SecretError};
pub use payload::EnginePayload;

use crate::{Aside, Execution, Forkchoice, Order, Standing, Verdict};
use alloy_primitives::B256;
use alloy_rpc_types_engine::{
    ForkchoiceState, INVALID_FORK_CHOICE_STATE_ERROR, TOO_DEEP_REORG_ERROR,
};
use commonware_runtime::{Clock, Spawner};
use http::HeaderValue;
use payload::Version;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, SystemTime},
};
use tidewatch_core::{Block as _, BlockRef, ChainInfo, Digest, Fault, Height};
use tidewatch_sources::{
    Error as SourceError,
    ethereum::{By, EthBlock, EthBody, EthereumSource, chain_of},
    rpc::{Answer, Call, Config as RpcConfig, Endpoint, HttpRpc, NodeError, Rpc, Unanswered},
};

/// Blocks that are asked for in one request.
const BATCH: usize = 64;

/// The longest answer to a call of the Engine API, in bytes: a status, two hashes and words.
const STATUS_MAX: usize = 64 * 1024;

/// The longest words of a client that are kept.
const WORDS_MAX: usize = 300;

/// Where the bodies of blocks come from, each with the roots of its header.
pub trait Bodies: Send + Sync + 'static {
    /// The bodies of `blocks`, in their order.
    fn bodies(
        &self,
        blocks: &[EthBlock],
    ) -> impl Future<Output = Result<Vec<EthBody>, Fault>> + Send;
}

impl<E: Clock + Spawner, R: Rpc> Bodies for EthereumSource<E, R> {
    async fn bodies(&self, blocks: &[EthBlock]) -> Result<Vec<EthBody>, Fault> {
        Self::bodies(self, blocks).await
    }
}

/// Limits of an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How many blocks below its head the client may lose in a crash.
    pub durable_depth: u64,
    /// Where a block stands among targets, on chains whose headers say in which round they were finalized.
    pub order: fn(&EthBlock) -> Option<Order>,
}

impl Default for Config {
    /// 8 s, as the specification allows the client; 128 blocks, for which clients keep states in memory; no order.
    fn default() -> Self {
        Self { request_timeout: Duration::from_secs(8), durable_depth: 128, order: |_| None }
    }
}

type Now = dyn Fn() -> SystemTime + Send + Sync;

/// An execution client behind its Engine API: see the [module](self).
pub struct Engine<B> {
    rpc: HttpRpc,
    now: Arc<Now>,
    bodies: Arc<B>,
    config: Config,
    /// The version of the newest payload that was given.
    version: AtomicU8,
}

impl<B> std::fmt::Debug for Engine<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("client", &self.rpc.name()).finish_non_exhaustive()
    }
}

impl<B: Bodies> Engine<B> {
    /// Sets up for the client at `endpoint`, for which `bodies` are fetched. Does not connect yet.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`: no client can be made for such an address, or no TLS can be set up.
    pub fn new<E: Clock>(
        context: E,
        endpoint: &Endpoint,
        secret: Secret,
        bodies: Arc<B>,
        config: Config,
    ) -> Result<Self, Fault> {
        let rpc = RpcConfig { request_timeout: config.request_timeout, ..RpcConfig::default() };
        let now: Arc<Now> = Arc::new(move || context.current());
        let clock = now.clone();
        let bearer = move || {
            let token = HeaderValue::try_from(format!("Bearer {}", secret.token(clock())));
            // Three times base64, and two dots: any header can hold that.
            let mut token = token.unwrap_or(HeaderValue::from_static(""));
            token.set_sensitive(true);
            token
        };
        let rpc = HttpRpc::new(endpoint, &rpc)?.signed(bearer);
        Ok(Self { rpc, now, bodies, config, version: AtomicU8::default() })
    }

    /// Which chain the client is of.
    ///
    /// # Errors
    ///
    /// It does not answer, does not let us in, or names no chain.
    pub async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        chain_of(&self.rpc).await.map_err(|fault| self.explained(fault))
    }

    async fn ask(&self, calls: &[Call]) -> Result<Vec<Answer>, Fault> {
        let answers = self.rpc.send(calls).await;
        answers.map_err(|unanswered| self.explained(Unanswered::into_fault(unanswered)))
    }

    /// One call of the Engine API.
    async fn call<T: DeserializeOwned>(
        &self,
        call: Call,
        refusals: &[i32],
    ) -> Result<Result<T, String>, Fault> {
        let method = call.method;
        let answer = self.ask(&[call.answered_by(STATUS_MAX)]).await?.pop();
        let answer = answer.ok_or_else(|| self.fault(EngineError::NoHead))?;
        if let Err(error) = &answer
            && refusals.contains(&error.code)
        {
            return Ok(Err(error.to_string()));
        }
        tidewatch_sources::rpc::read(self.rpc.name(), &method, &answer).map(Ok)
    }

    fn fault(&self, error: EngineError) -> Fault {
        Fault::new(self.rpc.name(), error)
    }

    /// A refusal to let us in, in terms of a secret and of clocks.
    fn explained(&self, fault: Fault) -> Fault {
        let Some(SourceError::Node(NodeError::Denied { status, at })) = fault.reason() else {
            return fault;
        };
        self.fault(denied(status, *at, (self.now)()))
    }

    fn version(&self) -> Version {
        match self.version.load(Ordering::Relaxed) {
            0 | 1 => Version::V1,
            2 => Version::V2,
            3 => Version::V3,
            _ => Version::V4,
        }
    }

    async fn blocks(&self, wanted: &[By]) -> Result<Vec<Option<EthBlock>>, Fault> {
        let mut blocks = Vec::with_capacity(wanted.len());
        for wanted in wanted.chunks(BATCH) {
            let calls: Vec<_> = wanted.iter().map(|by| by.call()).collect();
            let answers = self.ask(&calls).await?;
            for (by, answer) in wanted.iter().zip(&answers) {
                blocks.push(by.read(self.rpc.name(), answer)?);
            }
        }
        Ok(blocks)
    }
}

/// Why a client that says `said`, with its clock at `at`, does not let us in, whose clock is at `now`.
fn denied(said: &str, at: Option<SystemTime>, now: SystemTime) -> EngineError {
    let said = said.to_owned();
    let apart = at.map(|at| match at.duration_since(now) {
        Ok(ahead) => (ahead, true),
        Err(behind) => (behind.duration(), false),
    });
    match apart {
        Some((apart, ahead)) if apart >= SKEW_MAX / 2 => {
            EngineError::Clock { said, seconds: apart.as_secs(), ahead }
        }
        _ => EngineError::Denied { said },
    }
}

/// The status of a payload as clients write it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    status: Said,
    latest_valid_hash: Option<B256>,
    /// Some leave it out where they should not.
    validation_error: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Said {
    Valid,
    Invalid,
    InvalidBlockHash,
    Syncing,
    Accepted,
}

/// What `engine_forkchoiceUpdated` is answered.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Updated {
    payload_status: Status,
}

fn verdict(status: Status, asked: BlockRef) -> Verdict {
    let valid = status.latest_valid_hash.map(|hash| Digest(hash.0));
    match status.status {
        // A client that names no block speaks of the one that it was asked about.
        Said::Valid => Verdict::Valid(valid.unwrap_or(asked.digest)),
        Said::Syncing => Verdict::NotYet(Aside::Syncing),
        Said::Accepted => Verdict::NotYet(Aside::Accepted),
        Said::Invalid | Said::InvalidBlockHash => {
            let why = status.validation_error.unwrap_or_else(|| "it says nothing more".into());
            Verdict::Invalid { valid, why: words(&why) }
        }
    }
}

/// What a client said, cut to a bound and printable.
fn words(said: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    said.chars().take(WORDS_MAX).map(printable).collect()
}

impl<B: Bodies> Execution for Engine<B> {
    type Block = EthBlock;
    type Payload = EnginePayload;

    fn name(&self) -> &str {
        self.rpc.name()
    }

    async fn prepare(&self, blocks: &[EthBlock]) -> Result<Vec<EnginePayload>, Fault> {
        let bodies = self.bodies.bodies(blocks).await?;
        let payload = |(block, body)| EnginePayload::new(block, body);
        let payloads = blocks.iter().zip(bodies).map(payload);
        payloads.collect::<Result<_, _>>().map_err(|error| self.fault(error))
    }

    async fn give(&self, payload: &EnginePayload) -> Result<Verdict, Fault> {
        use crate::Payload as _;
        let call = Call::new(payload.version.new_payload(), payload.params.to_vec());
        let status = self.call::<Status>(call, &[]).await?;
        self.version.store(payload.version as u8 + 1, Ordering::Relaxed);
        Ok(match status {
            Ok(status) => verdict(status, payload.reference()),
            Err(why) => Verdict::Invalid { valid: None, why },
        })
    }

    async fn point(&self, to: &Forkchoice) -> Result<Verdict, Fault> {
        let hash = |block: Option<BlockRef>| block.map_or(B256::ZERO, |it| B256::from(it.digest.0));
        let state = ForkchoiceState {
            head_block_hash: hash(Some(to.head)),
            // What is final is safe: clients refuse the one without the other.
            safe_block_hash: hash(to.safe.or(to.finalized)),
            finalized_block_hash: hash(to.finalized),
        };
        let params = vec![json!(state), json!(null)];
        let call = Call::new(self.version().forkchoice_updated(), params);
        let refusals = [INVALID_FORK_CHOICE_STATE_ERROR, TOO_DEEP_REORG_ERROR];
        let updated = self.call::<Updated>(call, &refusals).await?;
        Ok(match updated {
            Ok(updated) => verdict(updated.payload_status, to.head),
            Err(why) => Verdict::Invalid { valid: None, why },
        })
    }

    async fn standing(&self) -> Result<Standing, Fault> {
        let tags = ["latest", "safe", "finalized"].map(By::Tag);
        let mut blocks = self.blocks(&tags).await?.into_iter();
        let mut next = || blocks.next().flatten();
        let head = next().ok_or_else(|| self.fault(EngineError::NoHead))?;
        let [safe, finalized] = [next(), next()].map(|block| block.map(|block| block.reference()));
        let forkchoice = Forkchoice { head: head.reference(), safe, finalized };
        Ok(Standing { forkchoice, order: (self.config.order)(&head) })
    }

    async fn at(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        let wanted: Vec<_> = heights.iter().copied().map(By::Height).collect();
        let blocks = self.blocks(&wanted).await?;
        Ok(blocks.into_iter().map(|block| block.map(|block| block.reference())).collect())
    }

    async fn durable(&self) -> Result<Option<Height>, Fault> {
        let head = self.standing().await?.forkchoice.head.height.get();
        Ok(head.checked_sub(self.config.durable_depth).map(Height::new))
    }
}

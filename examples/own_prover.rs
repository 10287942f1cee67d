//! Proofs of your own: a statement, a proof system, and the proven tier that comes of it.
//!
//! It follows a chain in the same process and has each finalized block proven by a pool of two threads. The
//! statement is one that any chain allows, and of no use: that 1,024 steps of `x -> x³ + 42` lead from an element
//! that the block's and its parent's digests give to one that the proof names, as a STARK by winterfell. What it
//! does not say is anything about the content of the block. A statement of yours says that, and the rest stays:
//! `Program` checks, `Prove` proves, and no proof counts that does not verify.
#![allow(clippy::print_stdout, reason = "it is what the program does")]

use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use commonware_utils::NZUsize;
use std::{sync::Arc, time::Duration};
use tidewatch_core::{
    Block as _, BlockRef, Digest, Fault, FaultKind, Height, Running, Source as _, Tier,
};
use tidewatch_devnet::{Config as DevnetConfig, Devnet};
use tidewatch_node::{Attachment, Config, Follower, Member};
use tidewatch_prover::{
    Key, Pool, Program, Prove, Released, Scheduler, disk,
    proven::{Feed, ProvenOverlay},
    scheduler::{self, Parts},
};
use tidewatch_sources::alto::{self, AltoBlock, Endpoint, StandardScheme};
use tidewatch_store::{self as store, Store};

/// The statement as winterfell wants it: little of it is not from its own documentation.
mod stark {
    use winterfell::{
        AcceptableOptions, Air, AirContext, Assertion, AuxRandElements, BatchingMethod,
        CompositionPoly, CompositionPolyTrace, ConstraintCompositionCoefficients,
        DefaultConstraintCommitment, DefaultConstraintEvaluator, DefaultTraceLde, EvaluationFrame,
        FieldExtension, PartitionOptions, Proof, ProofOptions, Prover, StarkDomain, TraceInfo,
        TracePolyTable, TraceTable, TransitionConstraintDegree,
        crypto::{DefaultRandomCoin, MerkleTree, hashers::Blake3_256},
        math::{FieldElement, StarkField as _, ToElements, fields::f128::BaseElement as Element},
        matrix::ColMatrix,
    };

    const STEPS: usize = 1_024;

    type Hash = Blake3_256<Element>;
    type Coin = DefaultRandomCoin<Hash>;
    type Tree = MerkleTree<Hash>;

    #[derive(Clone, Copy)]
    struct Ends {
        start: Element,
        result: Element,
    }

    impl ToElements<Element> for Ends {
        fn to_elements(&self) -> Vec<Element> {
            vec![self.start, self.result]
        }
    }

    struct Steps {
        context: AirContext<Element>,
        ends: Ends,
    }

    impl Air for Steps {
        type BaseField = Element;
        type PublicInputs = Ends;

        fn new(trace: TraceInfo, ends: Ends, options: ProofOptions) -> Self {
            let degrees = vec![TransitionConstraintDegree::new(3)];
            Self { context: AirContext::new(trace, degrees, 2, options), ends }
        }

        fn evaluate_transition<E: FieldElement<BaseField = Element>>(
            &self,
            frame: &EvaluationFrame<E>,
            _: &[E],
            result: &mut [E],
        ) {
            let stepped = frame.current()[0].exp(3_u32.into()) + E::from(42_u32);
            result[0] = frame.next()[0] - stepped;
        }

        fn get_assertions(&self) -> Vec<Assertion<Element>> {
            let Ends { start, result } = self.ends;
            vec![Assertion::single(0, 0, start), Assertion::single(0, STEPS - 1, result)]
        }

        fn context(&self) -> &AirContext<Element> {
            &self.context
        }
    }

    struct Maker(ProofOptions);

    impl Prover for Maker {
        type BaseField = Element;
        type Air = Steps;
        type Trace = TraceTable<Element>;
        type HashFn = Hash;
        type VC = Tree;
        type RandomCoin = Coin;
        type TraceLde<E: FieldElement<BaseField = Element>> = DefaultTraceLde<E, Hash, Tree>;
        type ConstraintCommitment<E: FieldElement<BaseField = Element>> =
            DefaultConstraintCommitment<E, Hash, Tree>;
        type ConstraintEvaluator<'a, E: FieldElement<BaseField = Element>> =
            DefaultConstraintEvaluator<'a, Steps, E>;

        fn get_pub_inputs(&self, trace: &TraceTable<Element>) -> Ends {
            Ends { start: trace.get(0, 0), result: trace.get(0, STEPS - 1) }
        }

        fn options(&self) -> &ProofOptions {
            &self.0
        }

        fn new_trace_lde<E: FieldElement<BaseField = Element>>(
            &self,
            info: &TraceInfo,
            main: &ColMatrix<Element>,
            domain: &StarkDomain<Element>,
            partition: PartitionOptions,
        ) -> (Self::TraceLde<E>, TracePolyTable<E>) {
            DefaultTraceLde::new(info, main, domain, partition)
        }

        fn build_constraint_commitment<E: FieldElement<BaseField = Element>>(
            &self,
            trace: CompositionPolyTrace<E>,
            columns: usize,
            domain: &StarkDomain<Element>,
            partition: PartitionOptions,
        ) -> (Self::ConstraintCommitment<E>, CompositionPoly<E>) {
            DefaultConstraintCommitment::new(trace, columns, domain, partition)
        }

        fn new_evaluator<'a, E: FieldElement<BaseField = Element>>(
            &self,
            air: &'a Steps,
            random: Option<AuxRandElements<E>>,
            coefficients: ConstraintCompositionCoefficients<E>,
        ) -> Self::ConstraintEvaluator<'a, E> {
            DefaultConstraintEvaluator::new(air, random, coefficients)
        }
    }

    /// Where the steps from `start` lead, and a proof of it.
    pub(crate) fn prove(start: u128) -> Result<(u128, Vec<u8>), String> {
        let mut trace = TraceTable::new(1, STEPS);
        trace.fill(
            |state| state[0] = Element::new(start),
            |_, state| state[0] = state[0].exp(3) + Element::new(42),
        );
        let result = trace.get(0, STEPS - 1);
        let linear = BatchingMethod::Linear;
        let options = ProofOptions::new(32, 8, 0, FieldExtension::None, 8, 31, linear, linear);
        let proof = Maker(options).prove(trace).map_err(|error| error.to_string())?;
        Ok((result.as_int(), proof.to_bytes()))
    }

    /// Whether `proof` proves that the steps from `start` lead to `result`.
    pub(crate) fn verify(start: u128, result: u128, proof: &[u8]) -> Result<(), String> {
        let proof = Proof::from_bytes(proof).map_err(|error| error.to_string())?;
        // The proof itself says how many steps it is about: another number is another statement.
        let (width, length) = (proof.trace_info().width(), proof.trace_info().length());
        if (width, length) != (1, STEPS) {
            return Err(format!("{length} steps of {width} columns"));
        }
        let ends = Ends { start: Element::new(start), result: Element::new(result) };
        let secure = AcceptableOptions::MinConjecturedSecurity(90);
        winterfell::verify::<Steps, Hash, Coin, Tree>(proof, ends, &secure)
            .map_err(|error| error.to_string())
    }
}

/// The element that a block and its parent give.
fn start(parent: Digest, block: BlockRef) -> u128 {
    let seed = Sha256::hash(&[&parent.0, &block.digest.0]);
    let mut bytes = [0; 16];
    bytes[1..].copy_from_slice(&seed.0[..15]);
    u128::from_be_bytes(bytes)
}

/// The statement. A proof is where the steps lead, and the STARK; the inputs are the parent's digest.
struct Cubes;

impl Program for Cubes {
    fn id(&self) -> Digest {
        Sha256::hash(&[b"1024 steps of x^3 + 42, winterfell 0.13, 32 queries"])
    }

    fn check(&self, _: BlockRef, inputs: &[u8]) -> Result<(), String> {
        if inputs.len() == 32 { Ok(()) } else { Err("no digest".into()) }
    }

    fn verify(&self, parent: Digest, block: BlockRef, proof: &[u8]) -> Result<(), String> {
        let (result, proof) = proof.split_first_chunk::<16>().ok_or("no result")?;
        stark::verify(start(parent, block), u128::from_be_bytes(*result), proof)
    }
}

impl Prove for Cubes {
    fn prove(&self, key: &Key, inputs: &[u8], _: &Released) -> Result<Bytes, String> {
        let parent = Digest(inputs.try_into().map_err(|_| "no digest")?);
        let (result, proof) = stark::prove(start(parent, key.block))?;
        Ok([&result.to_be_bytes()[..], &proof].concat().into())
    }
}

const GOAL: Height = Height::new(10);

fn main() -> eyre::Result<()> {
    let directory = tempfile::tempdir()?;
    let runtime = tokio::Config::new().with_storage_directory(directory.path().join("store"));
    tokio::Runner::new(runtime).start(|context| async move {
        let devnet = Devnet::start(context.child("devnet"), DevnetConfig::default()).await?;
        let endpoint: Endpoint = format!("alto+{}?mode=standard", devnet.url()).parse()?;
        let config = alto::Config::default();
        let codec = AltoBlock::codec(config.block_size_max);
        let (source, upstream) = alto::open::<_, StandardScheme>(
            context.child("source"),
            &[endpoint],
            &devnet.public().encode(),
            Arc::new(()),
            config,
        )?;
        let chain = source.chain_info().await?;

        // Two threads prove; the scheduler keeps what it has in the directory.
        let pool = Pool::new(context.child("pool"), "pool", Cubes, NZUsize!(2));
        let parts = Parts {
            program: Arc::new(Cubes),
            provers: vec![Arc::new(pool)],
            subject: disk::Subject {
                chain: chain.id.clone(),
                program: Cubes.id(),
                start: chain.genesis,
            },
        };
        let config = scheduler::Config::new(disk::Config::new("proving"));
        let (scheduling, prover) = Scheduler::open(context.child("prover"), parts, config).await?;

        // The proven tier lies over the source, and a consumer feeds the scheduler.
        let source = ProvenOverlay::new(source, prover.proven());
        let config = store::Config::new(chain.clone(), codec);
        let (view, log) = Store::open(context.child("store"), config).await?;
        let config = Config {
            source: Arc::new(source),
            view,
            log: log.clone(),
            monitor: (),
            driver: Default::default(),
            supervisor: Default::default(),
        };
        let follower = Follower::start(context.child("follower"), config);
        follower.supervise(Member::critical(Running::start(upstream)));
        follower.supervise(Member::critical(Running::start(scheduling)));
        let inputs = |block: &AltoBlock| -> Result<Bytes, Fault> {
            Ok(Bytes::copy_from_slice(&block.parent().0))
        };
        follower.attach(Attachment::new(Feed::new(log.clone(), prover.clone(), inputs)));

        let head = follower.heads().reached(Tier::Proven, GOAL).await?;
        let proven = head.block(Tier::Proven).ok_or_else(|| eyre::eyre!("nothing is proven"))?;
        println!("finalized {:?}", head.block(Tier::Finalized).map(|block| block.height));
        println!("proven    {proven}");

        // Whoever has the chain checks every proof.
        let mut parent = chain.genesis;
        for height in 1..=GOAL.get() {
            let block = log.locate(&[Height::new(height)]).await?.pop().flatten();
            let block = block.ok_or_else(|| eyre::eyre!("no block at {height}"))?;
            let proof = prover.proof(block).await?;
            let proof = proof.ok_or_else(|| eyre::eyre!("no proof of {block}"))?;
            Cubes
                .verify(parent.digest, block, &proof)
                .map_err(|reason| FaultKind::InvalidCertificate.fault("the proof", reason))?;
            parent = block;
        }
        println!("verified  {GOAL} proofs");
        follower.stop(Duration::from_secs(2)).await?;
        devnet.stop().await;
        Ok(())
    })
}

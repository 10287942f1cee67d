//! A real proof, built in: a block's digest is the SHA-256 of a header that holds its parent's digest.
//!
//! # Statement
//!
//! Public are the digests of the block and of its parent, the number of bytes that are hashed, and where in them
//! the parent's digest stands. Proven is that whoever made the proof knows so many bytes that hash to the block's
//! digest and hold the parent's at that place. From the block that proving began above on, the proofs so link every
//! block to the one before it, and who holds the digests alone can check that.
//!
//! # What it does not prove
//!
//! That the bytes are a block which anybody made or would accept: not its height, its time, its payload, nor a
//! signature. Which places of the parent's digest are taken for the parent field is not in the proof either: that is
//! what [`Layout`] says, from outside. A digest that a header repeats elsewhere at an accepted place counts as its
//! parent field.
//!
//! # The proof system
//!
//! Spartan (crate `spartan2`), with the bit-by-bit circuit of SHA-256 of `bellpepper`: about 27,000 constraints for
//! each 64 bytes. It needs no trusted setup; the keys follow from the circuit, which follows from the two numbers,
//! and are made where they are needed and kept for a few of them.
//!
//! # Cost
//!
//! A proof of a header of 120 bytes has 87 KB. Making the keys twice, one proof and a dozen checks take 6 s together
//! on two shared cores, in the test below. Keys of another shape of header are made once more: a varint that grows by
//! a byte is one.

use crate::{Key, Program, Prove, Released};
use bellpepper::gadgets::sha256::sha256 as circuit;
use bellpepper_core::{
    ConstraintSystem, SynthesisError,
    boolean::{AllocatedBit, Boolean},
    num::AllocatedNum,
};
use bincode::Options as _;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_utils::sync::Mutex;
use ff::Field as _;
use spartan2::{
    provider::T256HyraxEngine,
    spartan::SpartanSNARK,
    traits::{Engine, circuit::SpartanCircuit, snark::R1CSSNARKTrait as _},
};
use std::{fmt, ops::RangeInclusive, sync::Arc};
use tidewatch_core::{BlockRef, Digest};

type Scalar = <T256HyraxEngine as Engine>::Scalar;
type Snark = SpartanSNARK<T256HyraxEngine>;
type ProverKey = <Snark as spartan2::traits::snark::R1CSSNARKTrait<T256HyraxEngine>>::ProverKey;
type VerifierKey = <Snark as spartan2::traits::snark::R1CSSNARKTrait<T256HyraxEngine>>::VerifierKey;

/// Keys of so many circuits are kept.
const KEYS_MAX: usize = 4;
const DIGEST: usize = 32;

/// Which bytes are a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where the parent's digest may stand, in bytes from the start.
    pub parent_at: RangeInclusive<u16>,
    /// Bytes that are hashed, at the most. Proving takes as much longer as there are more.
    pub length_max: u16,
}

/// How many bytes are hashed, and where in them the parent's digest stands: what a circuit depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    length: u16,
    parent_at: u16,
}

impl Layout {
    fn accepts(&self, shape: Shape) -> Result<(), String> {
        let end = usize::from(shape.parent_at) + DIGEST;
        let fits = end <= usize::from(shape.length) && shape.length <= self.length_max;
        let ok = fits && self.parent_at.contains(&shape.parent_at);
        ok.then_some(()).ok_or_else(|| format!("a header of {shape:?} is none of this chain"))
    }
}

/// The inputs of a block: what is hashed to its digest, and where its parent's digest stands in that.
pub fn inputs(header: &[u8], parent_at: u16) -> Bytes {
    let mut inputs = BytesMut::with_capacity(2 + header.len());
    inputs.put_u16(parent_at);
    inputs.put_slice(header);
    inputs.freeze()
}

fn bits(bytes: &[u8]) -> impl Iterator<Item = bool> + '_ {
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
}

fn scalar(bit: bool) -> Scalar {
    if bit { Scalar::ONE } else { Scalar::ZERO }
}

fn public(parent: &Digest, digest: &Digest) -> Vec<Scalar> {
    bits(&parent.0).chain(bits(&digest.0)).map(scalar).collect()
}

/// The circuit, with a header in it.
#[derive(Clone)]
struct Link {
    header: Vec<u8>,
    parent_at: usize,
}

impl SpartanCircuit<T256HyraxEngine> for Link {
    fn public_values(&self) -> Result<Vec<Scalar>, SynthesisError> {
        let parent = self.header.get(self.parent_at..).and_then(|rest| rest.first_chunk());
        let parent = Digest(*parent.ok_or(SynthesisError::AssignmentMissing)?);
        Ok(public(&parent, &Sha256::hash(&[&self.header])))
    }

    fn shared<CS: ConstraintSystem<Scalar>>(
        &self,
        _: &mut CS,
    ) -> Result<Vec<AllocatedNum<Scalar>>, SynthesisError> {
        Ok(Vec::new())
    }

    fn precommitted<CS: ConstraintSystem<Scalar>>(
        &self,
        cs: &mut CS,
        _: &[AllocatedNum<Scalar>],
    ) -> Result<Vec<AllocatedNum<Scalar>>, SynthesisError> {
        let mut header = Vec::with_capacity(8 * self.header.len());
        for (nth, bit) in bits(&self.header).enumerate() {
            let bit = AllocatedBit::alloc(cs.namespace(|| format!("header {nth}")), Some(bit))?;
            header.push(Boolean::from(bit));
        }
        let digest = circuit(cs.namespace(|| "sha256"), &header)?;
        let parent = header.iter().skip(8 * self.parent_at).take(8 * DIGEST);
        for (nth, bit) in parent.chain(&digest).enumerate() {
            let value = bit.get_value().ok_or(SynthesisError::AssignmentMissing);
            let number =
                AllocatedNum::alloc_input(cs.namespace(|| format!("public {nth}")), || {
                    Ok(scalar(value?))
                })?;
            cs.enforce(
                || format!("public {nth} is that bit"),
                |_| bit.lc(CS::one(), Scalar::ONE),
                |lc| lc + CS::one(),
                |lc| lc + number.get_variable(),
            );
        }
        Ok(Vec::new())
    }

    fn num_challenges(&self) -> usize {
        0
    }

    fn synthesize<CS: ConstraintSystem<Scalar>>(
        &self,
        _: &mut CS,
        _: &[AllocatedNum<Scalar>],
        _: &[AllocatedNum<Scalar>],
        _: Option<&[Scalar]>,
    ) -> Result<(), SynthesisError> {
        Ok(())
    }
}

struct Keys {
    prover: ProverKey,
    verifier: VerifierKey,
}

/// Keys of a few circuits, the newest last.
type Known = Vec<(Shape, Arc<Keys>)>;

/// The statement, with its prover: see the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct ChainLink {
    layout: Layout,
    keys: Arc<Mutex<Known>>,
}

impl fmt::Debug for ChainLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainLink").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl ChainLink {
    /// Of a chain whose headers are as `layout` says.
    pub fn new(layout: Layout) -> Self {
        Self { layout, keys: Arc::default() }
    }

    fn keys(&self, shape: Shape) -> Result<Arc<Keys>, String> {
        let mut known = self.keys.lock();
        if let Some(at) = known.iter().position(|(ours, _)| *ours == shape) {
            let entry = known.remove(at);
            let keys = entry.1.clone();
            known.push(entry);
            return Ok(keys);
        }
        let header = vec![0; usize::from(shape.length)];
        let link = Link { header, parent_at: usize::from(shape.parent_at) };
        let (prover, verifier) = Snark::setup(link).map_err(|error| error.to_string())?;
        let keys = Arc::new(Keys { prover, verifier });
        if known.len() >= KEYS_MAX {
            known.remove(0);
        }
        known.push((shape, keys.clone()));
        Ok(keys)
    }

    fn parse<'a>(&self, inputs: &'a [u8]) -> Result<(Shape, &'a [u8]), String> {
        let (parent_at, header) = inputs.split_first_chunk::<2>().ok_or("no header")?;
        let length = u16::try_from(header.len()).map_err(|_| "a header that is too long")?;
        let shape = Shape { length, parent_at: u16::from_be_bytes(*parent_at) };
        self.layout.accepts(shape)?;
        Ok((shape, header))
    }
}

impl Program for ChainLink {
    fn id(&self) -> Digest {
        let (from, to) = (*self.layout.parent_at.start(), *self.layout.parent_at.end());
        let layout = [from, to, self.layout.length_max].map(u16::to_be_bytes).concat();
        Sha256::hash(&[b"tidewatch chain link, spartan2 0.9, T256 Hyrax", &layout])
    }

    fn check(&self, block: BlockRef, inputs: &[u8]) -> Result<(), String> {
        let (_, header) = self.parse(inputs)?;
        let digest = Sha256::hash(&[header]);
        (digest == block.digest).then_some(()).ok_or_else(|| format!("the header is of {digest}"))
    }

    fn verify(&self, parent: Digest, block: BlockRef, mut proof: &[u8]) -> Result<(), String> {
        if proof.len() < 4 {
            return Err("no proof".into());
        }
        let shape = Shape { length: proof.get_u16(), parent_at: proof.get_u16() };
        self.layout.accepts(shape)?;
        let options =
            bincode::DefaultOptions::new().with_fixint_encoding().with_limit(proof.len() as u64);
        let snark: Snark = options.deserialize(proof).map_err(|error| error.to_string())?;
        let keys = self.keys(shape)?;
        let public_values = snark.verify(&keys.verifier).map_err(|error| error.to_string())?;
        let ours = public_values == public(&parent, &block.digest);
        ours.then_some(()).ok_or_else(|| "it is about other blocks".into())
    }
}

impl Prove for ChainLink {
    fn prove(&self, key: &Key, inputs: &[u8], released: &Released) -> Result<Bytes, String> {
        if key.blocks() > 1 {
            return Err(format!("one block is proven at a time, not {key}"));
        }
        let (shape, header) = self.parse(inputs)?;
        let keys = self.keys(shape)?;
        if released.is_set() {
            return Err("nobody waits for it".into());
        }
        let link = Link { header: header.to_vec(), parent_at: usize::from(shape.parent_at) };
        let text = |error: spartan2::errors::SpartanError| error.to_string();
        let prepared = Snark::prep_prove(&keys.prover, link.clone(), true).map_err(text)?;
        let (snark, _) = Snark::prove(&keys.prover, link, prepared, true).map_err(text)?;
        let options = bincode::DefaultOptions::new().with_fixint_encoding();
        let snark = options.serialize(&snark).map_err(|error| error.to_string())?;
        let mut proof = BytesMut::with_capacity(4 + snark.len());
        proof.put_u16(shape.length);
        proof.put_u16(shape.parent_at);
        proof.put_slice(&snark);
        Ok(proof.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use tidewatch_core::Height;

    fn header(parent: Digest) -> Vec<u8> {
        [&[7; 69][..], &parent.0, &[1; 19]].concat()
    }

    fn key(digest: Digest, program: &ChainLink) -> Key {
        Key::one(BlockRef::new(Height::new(1), digest), program.id())
    }

    #[test]
    fn a_proof_links_a_block_to_its_parent_and_nothing_else_does() {
        let program = ChainLink::new(Layout { parent_at: 67..=91, length_max: 300 });
        let parent = Sha256::hash(&[b"parent"]);
        let header = header(parent);
        let digest = Sha256::hash(&[&header]);
        let (block, inputs) = (BlockRef::new(Height::new(1), digest), inputs(&header, 69));
        assert_eq!(program.check(block, &inputs), Ok(()));
        let other = BlockRef::new(Height::new(1), parent);
        assert!(program.check(other, &inputs).is_err());
        let proof = program.prove(&key(digest, &program), &inputs, &Released::default()).unwrap();
        println!("{} bytes", proof.len());
        // Somebody else, who has the digests and makes the keys himself.
        let follower = ChainLink::new(program.layout);
        assert_eq!(follower.verify(parent, block, &proof), Ok(()));
        assert!(follower.verify(digest, block, &proof).is_err(), "another parent");
        assert!(follower.verify(parent, other, &proof).is_err(), "another block");
        let mut elsewhere = proof.to_vec();
        elsewhere[3] += 1;
        for wrong in [&elsewhere[..], &proof[..proof.len() - 1], &proof[..40], b"", b"abcd"] {
            let refused = AssertUnwindSafe(|| follower.verify(parent, block, wrong));
            assert!(!matches!(catch_unwind(refused), Ok(Ok(()))));
        }
        for at in (4..proof.len()).step_by(proof.len() / 7) {
            let mut wrong = proof.to_vec();
            wrong[at] ^= 1;
            let refused = AssertUnwindSafe(|| follower.verify(parent, block, &wrong));
            assert!(!matches!(catch_unwind(refused), Ok(Ok(()))), "bit {at}");
        }
    }

    #[test]
    fn a_header_that_is_none_of_the_chain_is_refused_before_anything_is_computed() {
        let program = ChainLink::new(Layout { parent_at: 67..=91, length_max: 100 });
        let header = header(Digest([1; 32]));
        let block = BlockRef::new(Height::new(1), Sha256::hash(&[&header]));
        assert!(program.check(block, &inputs(&header, 69)).is_err(), "too long");
        assert!(program.check(block, &inputs(&header[..99], 68)).is_err(), "it ends in the parent");
        assert!(program.check(block, &inputs(&header[..99], 3)).is_err(), "another place");
        assert!(program.check(block, &[1]).is_err());
    }
}

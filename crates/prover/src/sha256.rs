//! A real proof, built in: a block's digest is the SHA-256 of a header that holds its parent's digest.
//!
//! # Statement
//!
//! Public are the digests of the block and of its parent, the number of bytes that are hashed, and where in them
//! the parent's digest stands. Proven is that whoever made the proof knows so many bytes that hash to the block's
//! digest and hold the parent's at that place. From the block that proving began above on, the proofs so link every
//! block to the one before it, and who holds the digests alone can check that.
//!
//! SHA-256 takes its bytes in parts of 64. What is hashed after the part in which the parent's digest ends is not put
//! into the circuit: it stands in the proof as it is, and who verifies hashes it himself, on from the state that the
//! circuit shows for the parts before. So a block may carry any payload, and is as cheap to prove as one without.
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
//! a byte is one. Two headers with payloads have one shape where their parent's digest stands at one place.

use crate::{Key, Program, Prove, Released};
use bellpepper::gadgets::{
    sha256::{sha256 as circuit, sha256_compression_function as compress},
    uint32::UInt32,
};
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
use sha2::block_api::compress256;
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
/// SHA-256 takes so many bytes at a time.
const PART: usize = 64;
/// The state that it begins with.
const BEGIN: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Which bytes are a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where the parent's digest may stand, in bytes from the start.
    pub parent_at: RangeInclusive<u16>,
    /// Bytes that are hashed, at the most: so large do inputs and proofs become.
    pub length_max: u32,
}

/// How many bytes are hashed, and where in them the parent's digest stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    length: u32,
    parent_at: u16,
}

impl Shape {
    /// What is in the circuit, and how many bytes after that are in the proof as they are.
    fn split(self) -> (Circuit, usize) {
        let Self { length, parent_at } = self;
        let parts = (usize::from(parent_at) + DIGEST).div_ceil(PART);
        match (length as usize).checked_sub(parts * PART) {
            Some(rest) => (Circuit { bytes: parts * PART, whole: false, parent_at }, rest),
            None => (Circuit { bytes: length as usize, whole: true, parent_at }, 0),
        }
    }
}

/// What keys depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Circuit {
    /// How many bytes are in it.
    bytes: usize,
    /// Whether those are all: then it shows their digest, and otherwise the state after them.
    whole: bool,
    parent_at: u16,
}

impl Layout {
    fn accepts(&self, shape: Shape) -> Result<(), String> {
        let end = u32::from(shape.parent_at) + DIGEST as u32;
        let fits = end <= shape.length && shape.length <= self.length_max;
        let ok = fits && self.parent_at.contains(&shape.parent_at);
        ok.then_some(()).ok_or_else(|| format!("a header of {shape:?} is none of this chain"))
    }
}

fn bytes(state: [u32; 8]) -> [u8; DIGEST] {
    let mut bytes = [0; DIGEST];
    bytes
        .chunks_exact_mut(4)
        .zip(state)
        .for_each(|(to, word)| to.copy_from_slice(&word.to_be_bytes()));
    bytes
}

fn state(bytes: [u8; DIGEST]) -> [u32; 8] {
    std::array::from_fn(|nth| {
        bytes[4 * nth..].first_chunk().map_or(0, |word| u32::from_be_bytes(*word))
    })
}

/// The state after `message`, a number of whole parts, from `from` on.
fn absorb(mut from: [u32; 8], message: &[u8]) -> [u32; 8] {
    compress256(&mut from, message.as_chunks().0);
    from
}

/// The digest of a message of which `before` bytes lead to the state `from`, and `rest` is what comes after.
fn finish(from: [u32; 8], before: usize, rest: &[u8]) -> Digest {
    let whole = rest.len() - rest.len() % PART;
    let mut last = rest[whole..].to_vec();
    last.push(0x80);
    last.resize((last.len() + 8).next_multiple_of(PART) - 8, 0);
    last.put_u64(8 * (before + rest.len()) as u64);
    Digest(bytes(absorb(absorb(from, &rest[..whole]), &last)))
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

/// What a circuit shows: the parent's digest, and that of the block or the state on the way to it.
fn public(parent: &Digest, shown: &[u8; DIGEST]) -> Vec<Scalar> {
    bits(&parent.0).chain(bits(shown)).map(scalar).collect()
}

/// The circuit, with bytes in it.
#[derive(Clone)]
struct Link {
    header: Vec<u8>,
    parent_at: usize,
    whole: bool,
}

impl Link {
    fn new(Circuit { whole, parent_at, .. }: Circuit, header: &[u8]) -> Self {
        Self { header: header.to_vec(), parent_at: usize::from(parent_at), whole }
    }

    fn shown(&self) -> [u8; DIGEST] {
        match self.whole {
            true => Sha256::hash(&[&self.header]).0,
            false => bytes(absorb(BEGIN, &self.header)),
        }
    }
}

impl SpartanCircuit<T256HyraxEngine> for Link {
    fn public_values(&self) -> Result<Vec<Scalar>, SynthesisError> {
        let parent = self.header.get(self.parent_at..).and_then(|rest| rest.first_chunk());
        let parent = Digest(*parent.ok_or(SynthesisError::AssignmentMissing)?);
        Ok(public(&parent, &self.shown()))
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
        let shown = if self.whole {
            circuit(cs.namespace(|| "sha256"), &header)?
        } else {
            let mut state: Vec<UInt32> = BEGIN.into_iter().map(UInt32::constant).collect();
            for (nth, part) in header.chunks(8 * PART).enumerate() {
                state = compress(cs.namespace(|| format!("part {nth}")), part, &state)?;
            }
            state.into_iter().flat_map(UInt32::into_bits_be).collect()
        };
        let parent = header.iter().skip(8 * self.parent_at).take(8 * DIGEST);
        for (nth, bit) in parent.chain(&shown).enumerate() {
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
type Known = Vec<(Circuit, Arc<Keys>)>;

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

    fn keys(&self, circuit: Circuit) -> Result<Arc<Keys>, String> {
        let mut known = self.keys.lock();
        if let Some(at) = known.iter().position(|(ours, _)| *ours == circuit) {
            let entry = known.remove(at);
            let keys = entry.1.clone();
            known.push(entry);
            return Ok(keys);
        }
        let link = Link::new(circuit, &vec![0; circuit.bytes]);
        let (prover, verifier) = Snark::setup(link).map_err(|error| error.to_string())?;
        let keys = Arc::new(Keys { prover, verifier });
        if known.len() >= KEYS_MAX {
            known.remove(0);
        }
        known.push((circuit, keys.clone()));
        Ok(keys)
    }

    fn parse<'a>(&self, inputs: &'a [u8]) -> Result<(Shape, &'a [u8]), String> {
        let (parent_at, header) = inputs.split_first_chunk::<2>().ok_or("no header")?;
        let length = u32::try_from(header.len()).map_err(|_| "a header that is too long")?;
        let shape = Shape { length, parent_at: u16::from_be_bytes(*parent_at) };
        self.layout.accepts(shape)?;
        Ok((shape, header))
    }
}

impl Program for ChainLink {
    fn id(&self) -> Digest {
        let Layout { parent_at, length_max } = &self.layout;
        let places = [parent_at.start(), parent_at.end()].map(|at| at.to_be_bytes()).concat();
        let name = b"tidewatch chain link, spartan2 0.9, T256 Hyrax, payloads in the clear";
        Sha256::hash(&[name, &places, &length_max.to_be_bytes()])
    }

    fn check(&self, block: BlockRef, inputs: &[u8]) -> Result<(), String> {
        let (_, header) = self.parse(inputs)?;
        let digest = Sha256::hash(&[header]);
        (digest == block.digest).then_some(()).ok_or_else(|| format!("the header is of {digest}"))
    }

    fn verify(&self, parent: Digest, block: BlockRef, mut proof: &[u8]) -> Result<(), String> {
        const SHORT: &str = "no proof";
        let length = proof.try_get_u32().map_err(|_| SHORT)?;
        let shape = Shape { length, parent_at: proof.try_get_u16().map_err(|_| SHORT)? };
        self.layout.accepts(shape)?;
        let (circuit, rest) = shape.split();
        let mut shown = block.digest.0;
        if !circuit.whole {
            proof.try_copy_to_slice(&mut shown).map_err(|_| SHORT)?;
            let (payload, snark) = proof.split_at_checked(rest).ok_or(SHORT)?;
            let digest = finish(state(shown), circuit.bytes, payload);
            if digest != block.digest {
                return Err(format!("it is about a block {digest}"));
            }
            proof = snark;
        }
        let options =
            bincode::DefaultOptions::new().with_fixint_encoding().with_limit(proof.len() as u64);
        let snark: Snark = options.deserialize(proof).map_err(|error| error.to_string())?;
        let keys = self.keys(circuit)?;
        let public_values = snark.verify(&keys.verifier).map_err(|error| error.to_string())?;
        let ours = public_values == public(&parent, &shown);
        ours.then_some(()).ok_or_else(|| "it is about other blocks".into())
    }
}

impl Prove for ChainLink {
    fn prove(&self, key: &Key, inputs: &[u8], released: &Released) -> Result<Bytes, String> {
        if key.blocks() > 1 {
            return Err(format!("one block is proven at a time, not {key}"));
        }
        let (shape, header) = self.parse(inputs)?;
        let (circuit, _) = shape.split();
        let (first, rest) = header.split_at_checked(circuit.bytes).ok_or("no header")?;
        let keys = self.keys(circuit)?;
        if released.is_set() {
            return Err("nobody waits for it".into());
        }
        let link = Link::new(circuit, first);
        let shown = link.shown();
        let text = |error: spartan2::errors::SpartanError| error.to_string();
        let prepared = Snark::prep_prove(&keys.prover, link.clone(), true).map_err(text)?;
        let (snark, _) = Snark::prove(&keys.prover, link, prepared, true).map_err(text)?;
        let options = bincode::DefaultOptions::new().with_fixint_encoding();
        let snark = options.serialize(&snark).map_err(|error| error.to_string())?;
        let mut proof = BytesMut::with_capacity(6 + DIGEST + rest.len() + snark.len());
        proof.put_u32(shape.length);
        proof.put_u16(shape.parent_at);
        if !circuit.whole {
            proof.put_slice(&shown);
            proof.put_slice(rest);
        }
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
        elsewhere[5] += 1;
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
    fn a_block_with_a_payload_is_proven_by_what_stands_before_it() {
        let program = ChainLink::new(Layout { parent_at: 67..=91, length_max: 5_000 });
        let parent = Sha256::hash(&[b"parent"]);
        for (payload, seed) in [(4_000, 1), (8, 2)] {
            let header = [&header(parent)[..], &vec![seed; payload]].concat();
            let digest = Sha256::hash(&[&header]);
            let (block, inputs) = (BlockRef::new(Height::new(1), digest), inputs(&header, 69));
            assert_eq!(program.check(block, &inputs), Ok(()));
            let proof =
                program.prove(&key(digest, &program), &inputs, &Released::default()).unwrap();
            println!("a payload of {payload} bytes: a proof of {}", proof.len());
            assert_eq!(program.verify(parent, block, &proof), Ok(()));
            assert_eq!(program.keys.lock().len(), 1, "one circuit for all of them");
            let follower = ChainLink::new(program.layout.clone());
            assert!(follower.verify(digest, block, &proof).is_err(), "another parent");
            let other = BlockRef::new(Height::new(1), parent);
            assert!(follower.verify(parent, other, &proof).is_err(), "another block");
            // The length, the place, the state, the payload, and the proof of the state.
            for at in [3, 5, 6, 37, 38, 38 + payload, proof.len() - 1] {
                let mut wrong = proof.to_vec();
                wrong[at] ^= 1;
                let refused = AssertUnwindSafe(|| follower.verify(parent, block, &wrong));
                assert!(!matches!(catch_unwind(refused), Ok(Ok(()))), "byte {at}");
            }
            for short in [0, 5, 37, 38, 38 + payload / 2] {
                assert!(follower.verify(parent, block, &proof[..short]).is_err(), "{short} bytes");
            }
        }
    }

    #[test]
    fn hashed_on_from_a_state_a_message_has_its_digest() {
        for length in 128..=330 {
            let message: Vec<u8> = (0..length).map(|nth| nth as u8).collect();
            for before in [64, 128] {
                let (first, rest) = message.split_at(before);
                let digest = finish(absorb(BEGIN, first), before, rest);
                assert_eq!(digest, Sha256::hash(&[&message]), "{length} after {before}");
                assert_eq!(state(bytes(absorb(BEGIN, first))), absorb(BEGIN, first));
            }
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

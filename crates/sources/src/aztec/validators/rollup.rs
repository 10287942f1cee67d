//! What layer 1 says: which checkpoints there are, who is in a committee, and what time it is.

use super::{
    ValidatorsError,
    abi::{self, Address, Word, call, word},
    checkpoint::{OnL1, validator},
};
use crate::{
    error::fault,
    rpc::{self, Answer, Call, Handshake, NodeError, Rpc, Upstreams},
};
use alloy_primitives::keccak256;
use commonware_formatting::from_hex;
use commonware_runtime::Clock;
use commonware_utils::sync::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt, ops::RangeInclusive, sync::Arc, time::Duration};
use tidewatch_core::{BlockRef, ChainId, ChainInfo, Digest, Fault, Height};
use tidewatch_sentinel::{Committee, Epoch, Position, Slot, Standing, ValidatorId};

/// Epochs whose committees are remembered. One is settled before its epoch begins.
const EPOCHS_MAX: usize = 64;

/// Slots of an epoch, and seconds of a slot, at the most.
const DURATION_MAX: u64 = 100_000;

/// What the rollup's contract says once and for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constants {
    /// When slot 0 began, in seconds since the Unix epoch.
    pub genesis: u64,
    /// Seconds of a slot.
    pub slot_seconds: u64,
    /// Slots of an epoch.
    pub epoch_slots: u64,
    /// Members that a committee has; 0 on a network where anybody may propose.
    pub committee_size: u64,
}

impl Constants {
    /// The slot of a time of layer 1; `None` before slot 0.
    pub fn slot(&self, time: u64) -> Option<Slot> {
        Some(Slot(time.checked_sub(self.genesis)? / self.slot_seconds))
    }

    /// The epoch of a slot.
    pub const fn epoch(&self, slot: Slot) -> Epoch {
        Epoch(slot.get() / self.epoch_slots)
    }

    /// The slots of an epoch.
    pub const fn slots(&self, epoch: Epoch) -> RangeInclusive<Slot> {
        let first = epoch.get().saturating_mul(self.epoch_slots);
        Slot(first)..=Slot(first.saturating_add(self.epoch_slots - 1))
    }

    /// How long a slot is.
    pub const fn slot_time(&self) -> Duration {
        Duration::from_secs(self.slot_seconds)
    }

    /// When an epoch began.
    const fn began(&self, epoch: Epoch) -> u64 {
        let first = epoch.get().saturating_mul(self.epoch_slots);
        self.genesis.saturating_add(first.saturating_mul(self.slot_seconds))
    }
}

/// A committee in the chain's own order, and what draws its proposers.
#[derive(Debug)]
pub(super) struct Elected {
    pub(super) members: Committee,
    seed: Word,
}

impl Elected {
    /// Who proposes in `slot` of `epoch`: the place that the hash of both and the seed falls on.
    pub(super) fn proposer(&self, epoch: Epoch, slot: Slot) -> Option<&ValidatorId> {
        let drawn = keccak256([word(epoch.get()), word(slot.get()), self.seed].concat());
        let size = self.members.len() as u64;
        let at = drawn
            .iter()
            .try_fold(0_u64, |rest, byte| ((rest << 8) | u64::from(*byte)).checked_rem(size))?;
        self.members.get(usize::try_from(at).ok()?)
    }
}

/// Layer 1 at one of its blocks.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// Names the block in calls.
    at: Value,
    /// The newest checkpoint; of genesis where there is none. The last slot that has passed for good.
    pub(super) standing: Standing,
    /// What it has of the newest checkpoint.
    pub(super) newest: OnL1,
}

/// Checkpoints as layer 1 has them.
#[derive(Debug)]
pub(super) struct Past {
    /// In ascending order.
    pub(super) checkpoints: Vec<OnL1>,
    /// Of slots below this one the contract keeps nothing.
    pub(super) told_from: Slot,
}

impl Past {
    /// The checkpoint of a slot.
    pub(super) fn at(&self, slot: Slot) -> Option<&OnL1> {
        let at = self.checkpoints.binary_search_by_key(&slot.get(), |on_l1| on_l1.slot).ok()?;
        self.checkpoints.get(at)
    }
}

/// The rollup's contract on layer 1.
pub(super) struct Rollup<E: Clock, R> {
    l1: Upstreams<E, R>,
    contract: Address,
    constants: Constants,
    elected: Mutex<BTreeMap<Epoch, Arc<Elected>>>,
}

impl<E: Clock, R> fmt::Debug for Rollup<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rollup").field("constants", &self.constants).finish_non_exhaustive()
    }
}

/// What is read of a block of layer 1.
#[derive(Deserialize)]
struct Block {
    hash: String,
    timestamp: String,
}

impl Block {
    /// What names it in a call, and its time.
    fn read(
        name: &str,
        what: &'static str,
        answer: &Answer,
    ) -> Result<Option<(Value, u64)>, Fault> {
        let Some(Self { hash, timestamp }) = rpc::read(name, &what, answer)? else {
            return Ok(None);
        };
        let time =
            timestamp.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let whole = hash.strip_prefix("0x").and_then(from_hex).filter(|hash| hash.len() == 32);
        let (Some(time), Some(_)) = (time, whole) else {
            let error = ValidatorsError::Words { what, got: hash.len() / 2, want: 1 };
            return Err(fault(name, error));
        };
        // Not by number: all answers are of this very block, or none.
        Ok(Some((json!({ "blockHash": hash }), time)))
    }
}

fn block(at: &str) -> Call {
    Call::new("eth_getBlockByNumber", vec![json!(at), json!(false)])
}

/// Asks an execution node which chain it is of.
pub(super) fn handshake() -> Handshake {
    let calls = vec![Call::new("eth_chainId", Vec::new())];
    Handshake { calls, read: identity, same: ChainInfo::eq }
}

fn identity(name: &str, answers: &[Answer]) -> Result<ChainInfo, Fault> {
    let id = chain_id(name, first(name, answers)?)?;
    #[allow(clippy::expect_used)]
    let id = ChainId::new(format!("l1:{id}")).expect("at most 23 printable characters");
    Ok(ChainInfo { id, genesis: BlockRef::new(Height::zero(), Digest([0; 32])) })
}

fn chain_id(name: &str, answer: &Answer) -> Result<u64, Fault> {
    let text: String = rpc::read(name, &"the chain id", answer)?;
    let id = text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let wrong = || ValidatorsError::Words { what: "the chain id", got: text.len() / 2, want: 1 };
    id.ok_or_else(|| fault(name, wrong()))
}

fn first<'a>(name: &str, answers: &'a [Answer]) -> Result<&'a Answer, Fault> {
    let short = || fault(name, NodeError::ShortAnswers { got: answers.len(), want: 1 });
    answers.first().ok_or_else(short)
}

/// As many answers as calls.
fn all<const N: usize>(name: &str, answers: Vec<Answer>) -> Result<[Answer; N], Fault> {
    let got = answers.len();
    answers.try_into().map_err(|_| fault(name, NodeError::ShortAnswers { got, want: N }))
}

impl<E: Clock, R: Rpc> Rollup<E, R> {
    /// The rollup of `version` at `contract`, as an Aztec node of layer 1's chain `chain` names it.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`: layer 1 is of another chain, has no contract there, or that of another rollup.
    pub(super) async fn open(
        l1: Upstreams<E, R>,
        contract: Address,
        chain: u64,
        version: u64,
    ) -> Result<Self, Fault> {
        let latest = json!("latest");
        let get = |function| call(&contract, function, &[], &latest);
        let calls = [
            Call::new("eth_chainId", Vec::new()),
            Call::new(
                "eth_getCode",
                vec![json!(format!("0x{}", commonware_formatting::hex(&contract))), latest.clone()],
            ),
            get("getVersion()"),
            get("getGenesisTime()"),
            get("getSlotDuration()"),
            get("getEpochDuration()"),
            get("getTargetCommitteeSize()"),
        ];
        let name = l1.name().to_owned();
        let [id, code, ours, genesis, slot, epoch, size] = all(&name, l1.ask(&calls).await?)?;
        let id = chain_id(&name, &id)?;
        if id != chain {
            return Err(fault(&name, ValidatorsError::OtherChain { l1: id, node: chain }));
        }
        let code: String = rpc::read(&name, &"the contract's code", &code)?;
        if code.len() <= 2 {
            let address = format!("0x{}", commonware_formatting::hex(&contract));
            return Err(fault(&name, ValidatorsError::NoContract { address }));
        }
        let number = |what: &'static str, answer: &Answer| {
            let [word] = abi::words(&name, what, answer)?;
            abi::number(&name, what, &word)
        };
        let duration = |what: &'static str, answer: &Answer| {
            let duration = number(what, answer)?;
            let strange = || abi::strange(&name, what, &word(duration));
            (1..=DURATION_MAX).contains(&duration).then_some(duration).ok_or_else(strange)
        };
        let ours = number("the rollup's version", &ours)?;
        if ours != version {
            return Err(fault(
                &name,
                ValidatorsError::OtherRollup { contract: ours, node: version },
            ));
        }
        let constants = Constants {
            genesis: number("the time of genesis", &genesis)?,
            slot_seconds: duration("the duration of a slot", &slot)?,
            epoch_slots: duration("the duration of an epoch", &epoch)?,
            committee_size: number("the size of a committee", &size)?,
        };
        Ok(Self { l1, contract, constants, elected: Mutex::default() })
    }

    pub(super) fn name(&self) -> &str {
        self.l1.name()
    }

    pub(super) const fn constants(&self) -> &Constants {
        &self.constants
    }

    /// Counts a fault in an answer.
    pub(super) fn believe<T>(&self, read: Result<T, Fault>) -> Result<T, Fault> {
        read.map_err(|fault| self.l1.refuse(fault))
    }

    fn get(&self, function: &str, arguments: &[Word], at: &Value) -> Call {
        call(&self.contract, function, arguments, at)
    }

    /// Where layer 1 stands: three requests. `None` before slot 0.
    pub(super) async fn now(&self) -> Result<Option<Moment>, Fault> {
        let name = self.name();
        let answers = self.l1.ask(&[block("latest"), block("finalized")]).await?;
        let [latest, finalized] = all(name, answers)?;
        let latest = self.believe(Block::read(name, "the latest block", &latest))?;
        let Some((at, time)) = latest else { return Ok(None) };
        // A node without finality has no such block, and says so in many ways.
        let finalized = Block::read(name, "the finalized block", &finalized).ok().flatten();
        let mut calls = vec![self.get("getTips()", &[], &at)];
        calls.extend(finalized.map(|(at, _)| self.get("getTips()", &[], &at)));
        let answers = self.l1.ask(&calls).await?;
        let tips = |answer| {
            let [pending, proven] = abi::words(name, "the tips", answer)?;
            Ok((abi::number(name, "a tip", &pending)?, abi::number(name, "a tip", &proven)?))
        };
        let (number, _) = self.believe(tips(first(name, &answers)?))?;
        // What was proven in a final block can be taken back by nobody. There may have been no contract then.
        let proven = answers.get(1).and_then(|answer| tips(answer).ok()).map(|(_, proven)| proven);
        let proven = proven.filter(|proven| *proven <= number);
        let mut calls = vec![self.get("getCheckpoint(uint256)", &[word(number)], &at)];
        calls.extend(proven.map(|proven| self.get("archiveAt(uint256)", &[word(proven)], &at)));
        let answers = self.l1.ask(&calls).await?;
        let newest = self.believe(on_l1(name, number, first(name, &answers)?))?;
        let archive = |answer| {
            let [archive] = abi::words(name, "an archive", answer)?;
            Ok(archive)
        };
        let archive = answers.get(1).map(archive).transpose();
        let finalized = proven.zip(self.believe(archive)?);
        let finalized =
            finalized.map(|(number, archive)| BlockRef::new(Height::new(number), Digest(archive)));
        let Some(current) = self.constants.slot(time) else { return Ok(None) };
        // A checkpoint lands in a block of its own slot: nothing can land in one before the current one.
        let passed = current.minus(1).unwrap_or_default().max(Slot(newest.slot));
        let tip = Position { block: newest.reference(), slot: passed };
        Ok(Some(Moment { at, standing: Standing { tip, finalized }, newest }))
    }

    /// The checkpoints of slots from `from` on.
    pub(super) async fn past(&self, moment: &Moment, from: Slot) -> Result<Past, Fault> {
        let name = self.name();
        let newest = moment.newest;
        let mut past = Past { checkpoints: Vec::new(), told_from: from };
        if newest.number == 0 || newest.slot < from.get() {
            return Ok(past);
        }
        // One in a slot at the most, and of those one is known.
        let below = (newest.slot - from.get()).min(newest.number - 1);
        let numbers = ((newest.number - below)..newest.number).rev();
        // With them, whether the block is still there: without it every one of them is refused.
        let mut calls = vec![self.get("getTips()", &[], &moment.at)];
        calls.extend(
            numbers
                .clone()
                .map(|number| self.get("getCheckpoint(uint256)", &[word(number)], &moment.at)),
        );
        let answers = if below == 0 { Vec::new() } else { self.l1.ask(&calls).await? };
        if answers.first().is_some_and(Result::is_err) {
            return self.believe(Err(fault(name, ValidatorsError::Moved)));
        }
        past.checkpoints.push(newest);
        let mut above = newest.slot;
        for (number, answer) in numbers.zip(answers.iter().skip(1)) {
            if answer.is_err() {
                // The contract keeps as many as can still be proven.
                past.told_from = Slot(above);
                break;
            }
            let at = self.believe(on_l1(name, number, answer))?;
            if at.slot >= above {
                let error = ValidatorsError::Order { number, slot: at.slot, above };
                return self.believe(Err(fault(name, error)));
            }
            if at.slot < from.get() {
                break;
            }
            above = at.slot;
            past.checkpoints.push(at);
        }
        past.checkpoints.reverse();
        Ok(past)
    }

    /// Which of `blocks` are checkpoints of the chain at `moment`.
    pub(super) async fn on_chain(
        &self,
        moment: &Moment,
        blocks: &[BlockRef],
    ) -> Result<Vec<bool>, Fault> {
        let name = self.name();
        let highest = moment.newest.number;
        // What is above the tip is not on the chain, whatever stood there before.
        let known = |block: &&BlockRef| block.height.get() <= highest;
        let calls = blocks
            .iter()
            .filter(known)
            .map(|block| self.get("archiveAt(uint256)", &[word(block.height.get())], &moment.at));
        let calls: Vec<Call> = calls.collect();
        let answers = if calls.is_empty() { Vec::new() } else { self.l1.ask(&calls).await? };
        let mut archives = answers.iter();
        let mut found = Vec::with_capacity(blocks.len());
        for block in blocks {
            if !known(&block) {
                found.push(false);
                continue;
            }
            let short =
                || fault(name, NodeError::ShortAnswers { got: answers.len(), want: calls.len() });
            let archive = abi::words(name, "an archive", archives.next().ok_or_else(short)?);
            let [archive] = self.believe(archive)?;
            found.push(archive == block.digest.0);
        }
        Ok(found)
    }

    /// The committee of `epoch`; `None` where nobody is due.
    pub(super) async fn elected(&self, epoch: Epoch) -> Result<Option<Arc<Elected>>, Fault> {
        if self.constants.committee_size == 0 {
            return Ok(None);
        }
        if let Some(known) = self.elected.lock().get(&epoch) {
            return Ok(Some(known.clone()));
        }
        let name = self.name();
        let (latest, began) = (json!("latest"), word(self.constants.began(epoch)));
        let calls = [
            self.get("getSamplingSizeAt(uint256)", &[began], &latest),
            self.get("getEscapeHatchForEpoch(uint256)", &[word(epoch.get())], &latest),
            self.get("getSampleSeedAt(uint256)", &[began], &latest),
            self.get("getCommitteeAt(uint256)", &[began], &latest),
        ];
        let [sampled, hatch, seed, members] = all(name, self.l1.ask(&calls).await?)?;
        let read = abi::words(name, "how many validators there were", &sampled)
            .and_then(|[sampled]| abi::number(name, "how many validators there were", &sampled));
        // The contract refuses to name a committee of fewer.
        if self.believe(read)? < self.constants.committee_size {
            return Ok(None);
        }
        let hatch = abi::words(name, "the escape hatch", &hatch)
            .and_then(|[hatch]| abi::address(name, "the escape hatch", &hatch));
        let hatch = self.believe(hatch)?;
        if hatch != [0; 20] {
            let open = call(&hatch, "isHatchOpen(uint256)", &[word(epoch.get())], &latest);
            let answers = self.l1.ask(&[open]).await?;
            let open = abi::words(name, "whether the escape hatch is open", first(name, &answers)?);
            let [open] = self.believe(open)?;
            if open != [0; 32] {
                return Ok(None);
            }
        }
        let [seed] = self.believe(abi::words(name, "the seed", &seed))?;
        let members = self.believe(abi::addresses(name, "a committee", &members))?;
        let members: Committee = members.iter().filter_map(validator).collect();
        if members.is_empty() {
            return Ok(None);
        }
        let elected = Arc::new(Elected { members, seed });
        let mut known = self.elected.lock();
        known.insert(epoch, elected.clone());
        while known.len() > EPOCHS_MAX {
            known.pop_first();
        }
        drop(known);
        Ok(Some(elected))
    }
}

impl OnL1 {
    /// The checkpoint as the block that it is to layer 1: its number, and the archive that it leaves.
    pub(super) const fn reference(&self) -> BlockRef {
        BlockRef::new(Height::new(self.number), Digest(self.archive))
    }
}

fn on_l1(name: &str, checkpoint: u64, answer: &Answer) -> Result<OnL1, Fault> {
    let what = "a checkpoint";
    // Behind these stand the fees.
    let [archive, header, _blobs, _out, attestations, payload, slot] =
        abi::words(name, what, answer)?;
    let slot = abi::number(name, "the slot of a checkpoint", &slot)?;
    Ok(OnL1 { number: checkpoint, archive, header, attestations, payload, slot })
}

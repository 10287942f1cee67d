//! What an Aztec node says of its validators.

use super::{
    ValidatorsError,
    abi::Address,
    checkpoint::{Data, Heard, Pool},
};
use crate::{
    aztec::{
        calls,
        header::{address, number},
        names::{Renamed, is_unknown},
    },
    error::fault,
    rpc::{self, Answer, Call, NodeError, Rpc, Upstreams},
};
use commonware_runtime::Clock;
use serde::Deserialize;
use serde_json::json;
use std::fmt;
use tidewatch_core::{ChainInfo, Fault};
use tidewatch_sentinel::{Epoch, Slot};

/// The longest answer about one epoch, or one slot, in bytes: 48 checkpoints with 48 signatures each are half a
/// megabyte.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// An Aztec node, or several of one chain.
pub(super) struct Node<E: Clock, R> {
    upstreams: Upstreams<E, Renamed<R>>,
}

impl<E: Clock, R> fmt::Debug for Node<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("upstreams", &self.upstreams).finish()
    }
}

/// Which rollup a node is of.
pub(super) struct Identity {
    /// The chain, as a source of it names it.
    pub(super) chain_info: ChainInfo,
    /// The chain id of layer 1.
    pub(super) l1: u64,
    /// The version of the rollup.
    pub(super) version: u64,
    /// Its contract on layer 1.
    pub(super) contract: Address,
}

/// What a node says of some epochs and slots.
pub(super) struct Said {
    /// The checkpoints of those epochs.
    pub(super) checkpoints: Vec<Data>,
    /// For each of the slots, what was heard of it; `None` where the node does not say that.
    pub(super) heard: Vec<Option<Vec<Heard>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Contracts {
    #[serde(deserialize_with = "address")]
    rollup_address: Address,
}

#[derive(Deserialize)]
struct Number(#[serde(deserialize_with = "number")] u64);

#[derive(Deserialize)]
struct Tips {
    checkpointed: Tip,
}

#[derive(Deserialize)]
struct Tip {
    checkpoint: Named,
}

#[derive(Deserialize)]
struct Named {
    #[serde(deserialize_with = "number")]
    number: u64,
}

impl<E: Clock, R: Rpc> Node<E, R> {
    pub(super) const fn new(upstreams: Upstreams<E, Renamed<R>>) -> Self {
        Self { upstreams }
    }

    pub(super) fn name(&self) -> &str {
        self.upstreams.name()
    }

    /// Counts a fault in an answer.
    pub(super) fn believe<T>(&self, read: Result<T, Fault>) -> Result<T, Fault> {
        read.map_err(|fault| self.upstreams.refuse(fault))
    }

    /// Asks `N` calls.
    async fn ask<const N: usize>(&self, calls: [Call; N]) -> Result<[Answer; N], Fault> {
        let answers = self.upstreams.ask(&calls).await?;
        let got = answers.len();
        let short = |_| fault(self.name(), NodeError::ShortAnswers { got, want: N });
        answers.try_into().map_err(short)
    }

    /// Which rollup it is of.
    pub(super) async fn identity(&self) -> Result<Identity, Fault> {
        let chain_info = self.upstreams.chain_info().await?;
        let call = |method| Call::new(method, Vec::new());
        let calls = ["node_getChainId", "node_getVersion", "node_getL1ContractAddresses"].map(call);
        let [l1, version, contracts] = self.ask(calls).await?;
        let name = self.name();
        let Number(l1) = self.believe(rpc::read(name, &"the chain id", &l1))?;
        let Number(version) = self.believe(rpc::read(name, &"the version", &version))?;
        let contracts = rpc::read(name, &"the addresses of contracts", &contracts);
        let Contracts { rollup_address: contract } = self.believe(contracts)?;
        Ok(Identity { chain_info, l1, version, contract })
    }

    /// The number of its newest checkpoint on layer 1, 0 where there is none.
    pub(super) async fn newest(&self) -> Result<u64, Fault> {
        let [tips] = self.ask([calls::tips()]).await?;
        let tips: Tips = self.believe(rpc::read(self.name(), &"what it calls its tips", &tips))?;
        Ok(tips.checkpointed.checkpoint.number)
    }

    /// What it says of the checkpoints of `epochs`, and what it heard of `slots`, each of them ascending.
    pub(super) async fn say(&self, epochs: &[Epoch], slots: &[Slot]) -> Result<Said, Fault> {
        let name = self.name();
        let of_epochs = epochs
            .iter()
            .map(|epoch| Call::new("node_getCheckpointsDataForEpoch", vec![json!(epoch.get())]));
        let of_slots = slots
            .iter()
            .map(|slot| Call::new("p2p_getCheckpointAttestationsForSlot", vec![json!(slot.get())]));
        let calls: Vec<Call> =
            of_epochs.chain(of_slots).map(|call| call.answered_by(ANSWER_MAX)).collect();
        let mut said = Said { checkpoints: Vec::new(), heard: Vec::new() };
        if calls.is_empty() {
            return Ok(said);
        }
        let answers = self.upstreams.ask(&calls).await?;
        let short =
            || fault(name, NodeError::ShortAnswers { got: answers.len(), want: calls.len() });
        let (of_epochs, of_slots) = answers.split_at_checked(epochs.len()).ok_or_else(short)?;
        for answer in of_epochs {
            let data: Vec<Data> =
                self.believe(rpc::read(name, &"the checkpoints of an epoch", answer))?;
            said.checkpoints.extend(data);
        }
        for (slot, answer) in slots.iter().zip(of_slots) {
            // A node tells nobody of messages where that part of it is not served.
            if answer.as_ref().is_err_and(is_unknown) {
                said.heard.push(None);
                continue;
            }
            let pool: Result<Pool, Fault> = rpc::read(name, &"the attestations of a slot", answer);
            said.heard
                .push(Some(self.believe(pool.and_then(|pool| pool.check(name, slot.get())))?));
        }
        if said.heard.len() != slots.len() {
            return Err(short());
        }
        Ok(said)
    }
}

impl Said {
    /// The data of a checkpoint.
    pub(super) fn checkpoint(&self, number: u64) -> Option<&Data> {
        self.checkpoints.iter().find(|data| data.checkpoint_number == number)
    }

    /// The data of a checkpoint that the node names.
    pub(super) fn named(&self, name: &str, number: u64) -> Result<&Data, Fault> {
        let missing = || fault(name, ValidatorsError::NoCheckpoint { number });
        self.checkpoint(number).ok_or_else(missing)
    }
}

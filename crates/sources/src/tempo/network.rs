//! A network, by its genesis: where the chain begins, how long an epoch is, and the first key.
//!
//! The header of genesis follows from the genesis file as Tempo's nodes make it: the state root of the accounts, and the
//! fields of the forks that are active at its time. `mainnet` and `testnet` are known here, with their state roots, which the
//! accounts in their genesis files were hashed to.

use super::{TempoBlock, TempoError, header::TempoHeader, outcome::Outcome};
use crate::{error::fault, words::shortened};
use alloy_consensus::{Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B64, B256, Bytes, U64, U256, keccak256};
use alloy_trie::{TrieAccount, root};
use commonware_consensus::types::Epoch;
use commonware_formatting::hex;
use serde::{Deserialize, Deserializer, de};
use std::{collections::BTreeMap, fmt, num::NonZeroU64};
use tidewatch_core::{Block as _, ChainId, Fault};

/// The largest genesis file, in bytes. That of the testnet has 2.4 MB.
pub(super) const GENESIS_MAX: u64 = 64 * 1_024 * 1_024;

/// Base fee of a genesis with London that names none.
const INITIAL_BASE_FEE: u64 = 1_000_000_000;

/// A network of Tempo.
#[derive(Clone, PartialEq, Eq)]
pub struct Network {
    chain: u64,
    epoch_length: NonZeroU64,
    genesis: TempoBlock,
    outcome: Outcome,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("chain", &self.chain)
            .field("epoch_length", &self.epoch_length)
            .field("genesis", &self.genesis.reference())
            .finish_non_exhaustive()
    }
}

/// Networks that need no genesis file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Tempo's mainnet, chain 4217.
    Mainnet,
    /// Tempo's testnet (Moderato), chain 42431.
    Testnet,
}

impl Name {
    /// The network.
    ///
    /// # Errors
    ///
    /// None: what is compiled in was read by a test.
    pub fn network(self) -> Result<Network, Fault> {
        Network::from_genesis(match self {
            Self::Mainnet => include_str!("networks/mainnet.json"),
            Self::Testnet => include_str!("networks/testnet.json"),
        })
    }

    /// As it is written in an address.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Testnet => "testnet",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Mainnet, Self::Testnet].into_iter().find(|name| name.as_str() == text)
    }
}

/// What is read of a genesis file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    config: Config,
    #[serde(default)]
    nonce: U64,
    #[serde(default)]
    timestamp: U64,
    extra_data: Bytes,
    gas_limit: U64,
    #[serde(default)]
    difficulty: U256,
    #[serde(default)]
    mix_hash: B256,
    #[serde(default)]
    coinbase: Address,
    base_fee_per_gas: Option<U64>,
    excess_blob_gas: Option<U64>,
    blob_gas_used: Option<U64>,
    #[serde(default)]
    number: U64,
    #[serde(default)]
    parent_hash: B256,
    /// Of the accounts, in place of them: for networks that are known here.
    state_root: Option<B256>,
    alloc: Option<BTreeMap<Address, Account>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    chain_id: u64,
    epoch_length: NonZeroU64,
    london_block: Option<u64>,
    shanghai_time: Option<u64>,
    cancun_time: Option<u64>,
    prague_time: Option<u64>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    nonce: U64,
    #[serde(default)]
    balance: U256,
    #[serde(default)]
    code: Bytes,
    #[serde(default)]
    storage: BTreeMap<B256, Word>,
}

/// A word of storage, with or without the zeros in front.
struct Word(U256);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").unwrap_or(&text);
        U256::from_str_radix(digits, 16).map(Self).map_err(de::Error::custom)
    }
}

impl Account {
    fn hashed(&self) -> TrieAccount {
        // What is zero is not in the trie.
        let storage = self.storage.iter().filter(|(_, Word(value))| !value.is_zero());
        let storage =
            root::storage_root_unhashed(storage.map(|(slot, Word(value))| (*slot, *value)));
        TrieAccount::new(self.nonce.to(), self.balance, storage, keccak256(&self.code))
    }
}

impl File {
    fn state_root(&self) -> Result<B256, TempoError> {
        match (self.state_root, &self.alloc) {
            (Some(root), None) => Ok(root),
            (None, Some(accounts)) => {
                let accounts =
                    accounts.iter().map(|(address, account)| (*address, account.hashed()));
                Ok(root::state_root_unhashed(accounts))
            }
            _ => Err(TempoError::Genesis("it has no accounts (alloc)".into())),
        }
    }

    fn header(&self) -> Result<TempoHeader, TempoError> {
        let (config, timestamp): (_, u64) = (&self.config, self.timestamp.to());
        let active = |time: Option<u64>| time.is_some_and(|time| time <= timestamp);
        let cancun = active(config.cancun_time);
        let or_zero = |field: Option<U64>| field.map_or(0, |field| field.to());
        let inner = Header {
            number: self.number.to(),
            parent_hash: self.parent_hash,
            gas_limit: self.gas_limit.to(),
            difficulty: self.difficulty,
            nonce: B64::from(self.nonce.to::<u64>()),
            extra_data: self.extra_data.clone(),
            state_root: self.state_root()?,
            timestamp,
            mix_hash: self.mix_hash,
            beneficiary: self.coinbase,
            base_fee_per_gas: (config.london_block == Some(0))
                .then(|| self.base_fee_per_gas.map_or(INITIAL_BASE_FEE, |fee| fee.to())),
            withdrawals_root: active(config.shanghai_time).then_some(EMPTY_WITHDRAWALS),
            parent_beacon_block_root: cancun.then_some(B256::ZERO),
            blob_gas_used: cancun.then(|| or_zero(self.blob_gas_used)),
            excess_blob_gas: cancun.then(|| or_zero(self.excess_blob_gas)),
            requests_hash: active(config.prague_time).then_some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        };
        Ok(TempoHeader {
            general_gas_limit: 0,
            shared_gas_limit: 0,
            // Tempo takes it so from the seconds.
            timestamp_millis_part: timestamp % 1_000,
            inner,
            consensus: None,
        })
    }
}

impl Network {
    /// Reads a genesis file.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`: it is none of Tempo's; its extra data holds no outcome for epoch 0; an epoch has fewer than two
    /// blocks.
    pub fn from_genesis(text: &str) -> Result<Self, Fault> {
        Self::read(text).map_err(|error| fault("tempo", error))
    }

    fn read(text: &str) -> Result<Self, TempoError> {
        let wrong = |error: &dyn fmt::Display| TempoError::Genesis(shortened(error));
        let file: File = serde_json::from_str(text).map_err(|error| wrong(&error))?;
        let genesis = TempoBlock::seal(file.header()?).map_err(|error| wrong(&error))?;
        let outcome = Outcome::read(&file.extra_data)
            .map_err(|error| wrong(&format!("its extra data holds no committee: {error}")))?;
        if !outcome.epoch.is_zero() {
            return Err(wrong(&format!("its committee is that of epoch {}", outcome.epoch)));
        }
        if genesis.inner.number != 0 {
            return Err(wrong(&format!("it is at height {}", genesis.inner.number)));
        }
        let (chain, epoch_length) = (file.config.chain_id, file.config.epoch_length);
        if epoch_length.get() < 2 {
            return Err(wrong(&"an epoch has at least 2 blocks"));
        }
        Ok(Self { chain, epoch_length, genesis, outcome })
    }

    /// Its number (EIP-155).
    pub const fn chain(&self) -> u64 {
        self.chain
    }

    /// Blocks of an epoch.
    pub const fn epoch_length(&self) -> NonZeroU64 {
        self.epoch_length
    }

    /// The block at height 0.
    pub const fn genesis(&self) -> &TempoBlock {
        &self.genesis
    }

    /// The outcome that genesis carries: the key of epoch 0.
    pub const fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Names the chain, by its number and the first 8 bytes of its genesis: that holds the first key, from which
    /// everything is verified.
    pub fn id(&self) -> ChainId {
        let digest = self.genesis.reference().digest;
        #[allow(clippy::expect_used)]
        ChainId::new(format!("tempo:{}:{}", self.chain, hex(&digest.0[..8])))
            .expect("a few printable characters")
    }

    /// The epoch of a height.
    pub fn epoch(&self, height: u64) -> Epoch {
        Epoch::new(height / self.epoch_length)
    }
}

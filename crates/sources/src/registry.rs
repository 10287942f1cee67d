//! The chain families by their addresses: parses what an operator configured, and opens it.
//!
//! # Overview
//!
//! ```text
//!  addresses, identity ──parse──▶ Target ──open──▶ Opened { source, decoder, upstream, ... }
//!        │                            ▲
//!        └─ the part before the `+` ──┘ names the Family
//! ```
//!
//! A family is one folder of this crate and one line in [`FAMILIES`]; the command takes its help, its
//! errors and its sources from here, and the README's table is compared with it by a test. Sources are
//! opened with their types erased ([`AnySource`]) and with default limits. A program that follows one
//! known chain uses that family's own `open` instead, which names the types and takes limits.

use commonware_formatting::from_hex;
use commonware_runtime::tokio::Context;
use futures::future::BoxFuture;
use std::{any::Any, fmt, sync::Arc, time::Duration};
use tidewatch_core::{
    AnySource, BlockDecoder, BlockRef, ChainInfo, Fault, Monitor, Running, Source as _,
};

/// Every family that this build has, in the order of the README.
pub const FAMILIES: &[Family] = &[
    #[cfg(feature = "ethereum")]
    crate::ethereum::FAMILY,
    #[cfg(feature = "optimism")]
    crate::optimism::FAMILY,
    #[cfg(feature = "etherlink")]
    crate::etherlink::FAMILY,
    #[cfg(feature = "aztec")]
    crate::aztec::FAMILY,
    #[cfg(feature = "miden")]
    crate::miden::FAMILY,
    #[cfg(feature = "alto")]
    crate::alto::FAMILY,
    #[cfg(feature = "tempo")]
    crate::tempo::FAMILY,
    #[cfg(feature = "tide")]
    crate::tide::FAMILY,
];

/// Parses addresses of one family, with the identity where one was given.
type Parse = fn(&[&str], Option<&str>) -> Result<Target, Refused>;

/// A kind of chain and how it is addressed.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// What its addresses begin with, before the `+`.
    pub prefix: &'static str,
    /// What its addresses look like.
    pub forms: &'static [&'static str],
    /// What is followed, for a list of choices: "an Ethereum chain, by an execution node".
    pub chain: &'static str,
    /// Parameters of an address beyond its form; empty where there are none.
    pub parameters: &'static str,
    /// What is asked, for the README.
    pub asks: &'static str,
    /// Where each tier comes from, for the README.
    pub tiers: &'static str,
    /// What is verified here, for the README.
    pub verified: &'static str,
    /// What is taken on somebody's word, for the README.
    pub word: &'static str,
    /// What it was tried against, and how, with versions, for the README.
    pub tried: &'static str,
    pub(crate) parse: Parse,
}

/// Addresses that were parsed, of one chain.
pub struct Target {
    pub(crate) name: String,
    /// Whether its validators change, so that it can be begun from an anchor.
    pub(crate) epochs: bool,
    pub(crate) open: Box<Open>,
}

type Open = dyn FnOnce(Context, Arc<dyn Monitor>, Settings) -> Opening + Send;

/// A source that is being opened.
pub(crate) type Opening = BoxFuture<'static, Result<Opened, Fault>>;

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.name)
    }
}

impl Target {
    /// Whether its validators change, so that [`Settings`] mean something for it.
    pub const fn has_epochs(&self) -> bool {
        self.epochs
    }

    /// Opens the source. It is not connected yet; [`Opened::chain_info`] is the first request. Responses
    /// that are rejected without failing a call are reported to `monitor`.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`: the addresses do not go together, or no TLS can be set up for one. Where a source
    /// keeps something on disk (the epochs of a certified chain): the disk fails, or belongs to another
    /// chain; `TooOld`: what is on it may not be trusted any more, or an anchor is too old. Where an anchor has
    /// to be fetched, also why no endpoint gave it.
    pub async fn open(
        self,
        context: Context,
        monitor: Arc<dyn Monitor>,
        settings: Settings,
    ) -> Result<Opened, Fault> {
        (self.open)(context, monitor, settings).await
    }
}

/// What else is up to the operator.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How old the newest epoch that is known may be, for a chain whose validators change: the keys of old
    /// validators are worth less from year to year, and can sign another chain.
    pub trust_period: Duration,
    /// A block that the operator vouches for: a chain whose validators change is begun from the epoch that
    /// it is in, or that it ends, unless what is known on disk is as new and fresh.
    pub anchor: Option<BlockRef>,
    /// Whether others follow what is followed here: then certificates are kept that they need and we do not.
    pub serves: bool,
}

impl Default for Settings {
    /// Two weeks: less than the three that it takes to withdraw a stake on most chains.
    fn default() -> Self {
        Self { trust_period: Duration::from_secs(14 * 24 * 60 * 60), anchor: None, serves: false }
    }
}

/// A source that is open, and what goes with it.
pub struct Opened {
    /// The source.
    pub source: AnySource,
    /// Names the source for people, without credentials.
    pub name: String,
    /// Decodes its blocks.
    pub decoder: BlockDecoder,
    /// Starts the source's own actors, in the order in which they are to be started: the one that keeps
    /// its epochs on disk, the one that receives pushes. Without the latter the source works, and is polled.
    pub actors: Vec<Start>,
    /// What the source did so far, for people: "12 requests".
    pub work: Box<dyn Fn() -> String + Send + Sync>,
    /// The program that answers at the addresses, for people: "node".
    pub server: &'static str,
    /// Whether the chain is also determined by an identity, so that a wrong one leads to another chain.
    pub has_identity: bool,
    /// Checks that an endpoint answers, where [`Source::chain_info`](tidewatch_core::Source::chain_info)
    /// does not ask one.
    pub(crate) probe: Option<Probe>,
    /// The source with its types.
    pub(crate) typed: Arc<dyn Any + Send + Sync>,
}

/// Starts an actor.
pub type Start = Box<dyn FnOnce() -> Running + Send>;

/// Returns the fault of every endpoint if none answers.
pub(crate) type Probe = Box<dyn Fn() -> BoxFuture<'static, Result<(), Vec<Fault>>> + Send + Sync>;

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Opened {
    /// The same source with its types, if it is an `S`: for whoever needs more of one family than a source
    /// has.
    pub fn typed<S: Send + Sync + 'static>(&self) -> Option<Arc<S>> {
        Arc::clone(&self.typed).downcast().ok()
    }

    /// Which chain is followed, after an endpoint was seen to answer.
    ///
    /// # Errors
    ///
    /// The faults of the endpoints, where none of them answers.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any await and called again.
    pub async fn chain_info(&self) -> Result<ChainInfo, Vec<Fault>> {
        if let Some(probe) = &self.probe {
            probe().await?;
        }
        self.source.chain_info().await.map_err(|fault| vec![fault])
    }
}

/// Why addresses, or the identity with them, cannot be used. No message repeats what may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no address.
    #[error("there is nothing to follow")]
    Nothing,
    /// No family has such addresses. [`forms`] lists what may be written instead.
    #[error("there is no such kind of address")]
    Family,
    /// One of the addresses is wrong, with what to write instead.
    #[error("{0}")]
    Address(String),
    /// The addresses cannot be of one chain.
    #[error("{0}")]
    Mixed(&'static str),
    /// This family verifies everything against an identity, and there is none.
    #[error("the network's identity is missing")]
    NoIdentity,
    /// The identity is not hex.
    #[error("the identity is not hex")]
    NotHex,
    /// The identity is hex, but no public key.
    #[error("{0}")]
    Identity(String),
    /// This family has no use for an identity.
    #[error("an identity means nothing for this kind of source")]
    UnusedIdentity,
}

/// Parses `addresses`, which are endpoints of one chain, and its `identity` in hex where the family needs
/// one. The first address decides the family.
///
/// # Errors
///
/// Why they cannot be used.
pub fn parse(addresses: &[&str], identity: Option<&str>) -> Result<Target, Refused> {
    let first = addresses.first().ok_or(Refused::Nothing)?;
    let prefix = first.split_once('+').map_or("", |(prefix, _)| prefix);
    let family = FAMILIES.iter().find(|family| family.prefix == prefix).ok_or(Refused::Family)?;
    (family.parse)(addresses, identity)
}

/// What addresses look like, of every family.
pub fn forms() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.forms).copied()
}

/// All `addresses`, each parsed by `parse`.
pub(crate) fn all<T, E: fmt::Display>(
    addresses: &[&str],
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, Refused> {
    let parse =
        |address: &&str| parse(address).map_err(|error| Refused::Address(error.to_string()));
    addresses.iter().map(parse).collect()
}

/// The bytes of the `identity` that a family requires.
#[cfg_attr(not(feature = "alto"), allow(dead_code, reason = "no other family has one"))]
pub(crate) fn required(identity: Option<&str>) -> Result<Vec<u8>, Refused> {
    from_hex(identity.ok_or(Refused::NoIdentity)?).ok_or(Refused::NotHex)
}

#[cfg(feature = "rpc")]
pub(crate) use nodes::{Nodes, nodes};

/// What the families that are followed by nodes have in common.
#[cfg(feature = "rpc")]
mod nodes {
    use super::{Opened, Opening, Refused, Target, all};
    use crate::rpc::{Config, Work};
    use commonware_codec::Codec;
    use commonware_runtime::tokio::Context;
    use std::{fmt, sync::Arc};
    use tidewatch_core::{AnySource, BlockDecoder, Fault, Monitor, Source};

    type Open<A, S> = fn(Context, &[A], Arc<dyn Monitor>, &Config) -> Result<S, Fault>;

    /// How a family of nodes parses its addresses and opens its source.
    pub(crate) struct Nodes<A, E, S> {
        pub(crate) parse: fn(&str) -> Result<A, E>,
        pub(crate) open: Open<A, S>,
        pub(crate) work: fn(&S) -> Vec<Work>,
    }

    /// Parses `addresses` of nodes. There are no certificates, so there is no identity to verify against.
    pub(crate) fn nodes<A, E, S>(
        addresses: &[&str],
        identity: Option<&str>,
        family: &Nodes<A, E, S>,
    ) -> Result<Target, Refused>
    where
        A: fmt::Display + Send + 'static,
        E: fmt::Display + 'static,
        S: Source<Block: Codec<Cfg = ()>>,
    {
        let endpoints = all(addresses, family.parse)?;
        if identity.is_some() {
            return Err(Refused::UnusedIdentity);
        }
        let names: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
        let Nodes { open, work, .. } = *family;
        let opened = move |context, monitor| {
            let source = Arc::new(open(context, &endpoints, monitor, &Config::default())?);
            Ok(Opened {
                name: source.name().to_owned(),
                source: AnySource::new(source.clone()),
                typed: source.clone(),
                decoder: BlockDecoder::new::<S::Block>(()),
                actors: Vec::new(),
                work: Box::new(move || {
                    let requests: u64 = work(&source).iter().map(|work| work.requests).sum();
                    format!("{requests} requests")
                }),
                server: "node",
                has_identity: false,
                probe: None,
            })
        };
        let open = move |context, monitor, _| -> Opening {
            Box::pin(std::future::ready(opened(context, monitor)))
        };
        Ok(Target { name: names.join(", "), epochs: false, open: Box::new(open) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_found_by_the_forms_of_its_addresses() {
        for family in FAMILIES {
            for form in family.forms {
                let prefix = form.split_once('+').map(|(prefix, _)| prefix);
                assert_eq!(prefix, Some(family.prefix), "{form}");
                let address = form.replace("HOST:PORT", "127.0.0.1:1");
                let address = address.split('|').next().unwrap();
                // Families with an identity ask for it once the address is right.
                match parse(&[address], None) {
                    Ok(target) => assert!(format!("{target:?}").contains("127.0.0.1:1")),
                    Err(refused) => assert_eq!(refused, Refused::NoIdentity, "{address}"),
                }
            }
        }
        let mut prefixes: Vec<_> = FAMILIES.iter().map(|family| family.prefix).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        assert_eq!(prefixes.len(), FAMILIES.len(), "one prefix, one family");
    }

    #[test]
    fn no_family_is_no_address() {
        assert_eq!(parse(&[], None).unwrap_err(), Refused::Nothing);
        for address in ["", "http://host", "host:8545", "ftp+http://host", "+http://host"] {
            assert_eq!(parse(&[address], None).unwrap_err(), Refused::Family, "{address}");
        }
    }

    /// The README's table of addresses: those of the registry, then the command's own.
    #[cfg(all(
        feature = "aztec",
        feature = "etherlink",
        feature = "optimism",
        feature = "tempo",
        feature = "tide"
    ))]
    #[test]
    fn the_readme_has_the_families_of_the_registry() {
        let readme = include_str!("../../../README.md");
        let table = |head: &str| -> Vec<&str> {
            let (_, table) = readme.split_once(head).expect("the table is there");
            // The embedded networks are the command's own, and stand behind the families.
            let family = |line: &&str| line.starts_with('|') && !line.starts_with("| `devnet:");
            table.lines().take_while(family).collect()
        };
        let row = |family: &Family| {
            let forms: Vec<_> = family.forms.iter().map(|form| format!("`{form}`")).collect();
            let forms = forms.join(", ").replace('|', "\\|");
            format!("| {forms} | {} | {} |", family.asks, family.tiers)
        };
        let want: Vec<_> = FAMILIES.iter().map(row).collect();
        assert_eq!(table("| `--source` | what it asks | tiers |\n|---|---|---|\n"), want);
        let row = |family: &Family| {
            let Family { prefix, verified, word, tried, .. } = family;
            format!("| `{prefix}+` | {verified} | {word} | {tried} |")
        };
        let want: Vec<_> = FAMILIES.iter().map(row).collect();
        let head =
            "| family | verified here | somebody's word | tried against |\n|---|---|---|---|\n";
        assert_eq!(table(head), want);
    }
}

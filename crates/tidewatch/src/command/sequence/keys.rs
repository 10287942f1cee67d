//! What a network of key holders is believed by.

use super::args::Ordering;
use crate::{Outcome, command::Problem};
use commonware_codec::DecodeExt;
use commonware_formatting::{from_hex, hex};
use commonware_runtime::{Clock, tokio::Context};
use commonware_utils::ordered::Set;
use std::time::Duration;
use tidewatch_core::FaultKind;
use tidewatch_devnet::{Committee, NAMESPACE};
use tidewatch_sequencer::{
    remote::Remote,
    timelock::{HOLDERS_MAX, Keys},
};

/// Wait between two looks at a network that cannot be asked.
const LOOK: Duration = Duration::from_millis(250);

/// The keys that were named, or those of the development network.
pub(super) fn keys(options: &Ordering) -> Outcome<Keys> {
    let Some(identity) = &options.identity else {
        let committee = Committee::deal(0, 4);
        return Ok(committee.map_err(|error| Problem::failure(error.to_string()))?.keys());
    };
    let identity = decoded(identity)
        .ok_or_else(|| Problem::usage("--identity is no public key of validators in hex"))?;
    let holders: Option<Vec<_>> = options.holder.iter().map(|holder| decoded(holder)).collect();
    let wrong = || Problem::usage("--holder is no public key of a key holder in hex");
    let holders = Set::from_iter_dedup(holders.ok_or_else(wrong)?);
    if holders.len() != options.holder.len() || holders.len() > HOLDERS_MAX {
        return Err(Problem::usage("the key holders are not each another one")
            .hint(format!("name each of them once with --holder, {HOLDERS_MAX} at the most")));
    }
    Ok(Keys { namespace: NAMESPACE.to_vec(), identity, holders })
}

fn decoded<T: DecodeExt<()>>(text: &str) -> Option<T> {
    T::decode(from_hex(text)?.as_slice()).ok()
}

/// Resolves if the rounds of the network are not signed by the validators that were named. One that cannot be asked
/// yet is asked again; the monitor tells everything else.
pub(super) async fn foreign(context: &Context, network: &Remote) -> Problem {
    loop {
        match network.round().await {
            Err(fault) if fault.kind == FaultKind::InvalidCertificate => {
                return Problem::usage(format!("another network answers: {fault}"))
                    .hint("check --ordering, and name its keys with --identity and --holder");
            }
            Ok(_) => return std::future::pending().await,
            Err(_) => context.sleep(LOOK).await,
        }
    }
}

/// What the chain of a network with these keys is called.
pub(super) fn chain(options: &Ordering, keys: &Keys) -> String {
    match options.identity {
        None => "sequenced:devnet".into(),
        Some(_) => {
            let identity = hex(&commonware_codec::Encode::encode(&keys.identity));
            format!("sequenced:{}", identity.get(..16).unwrap_or(&identity))
        }
    }
}

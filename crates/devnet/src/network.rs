//! The p2p network of validators that share a process.

use alto_types::{NAMESPACE, PublicKey};
use commonware_cryptography::ed25519::PrivateKey;
use commonware_p2p::{Ingress, authenticated::discovery};
use commonware_runtime::Quota;
use commonware_utils::{NZU32, NZUsize, union_unique};
use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

/// Messages per second and peer on each channel: many times what a block time of 10 ms needs.
pub(crate) const QUOTA: Quota = Quota::per_second(NZU32!(1_000));
/// Capacity of each part's mailbox.
pub(crate) const MAILBOX_SIZE: NonZeroUsize = NZUsize!(256);
/// Allowance for everything in a message except a block's payload.
const MESSAGE_OVERHEAD: u32 = 64 * 1024;

/// Configuration of the validator with `key`, which listens on `address`. All of `peers` are dialled,
/// and a message carries at most one block with a payload of `block_size` bytes.
pub(crate) fn config(
    key: &PrivateKey,
    address: SocketAddr,
    peers: Vec<(PublicKey, SocketAddr)>,
    block_size: u32,
) -> discovery::Config<PrivateKey> {
    let members = NonZeroUsize::new(peers.len()).unwrap_or(NonZeroUsize::MIN);
    let bootstrappers = peers
        .into_iter()
        .filter(|(_, other)| *other != address)
        .map(|(peer, other)| (peer, Ingress::Socket(other)))
        .collect();
    let mut network = discovery::Config::local(
        key.clone(),
        &union_unique(NAMESPACE, b"_P2P"),
        address,
        address,
        bootstrappers,
        members,
        MESSAGE_OVERHEAD + block_size,
    );
    network.mailbox_size = MAILBOX_SIZE;
    network.tracked_peer_sets = NZUsize!(1);
    // All peers are on this machine: connect at once, and reconnect at once after a restart.
    network.dial_frequency = Duration::from_millis(25);
    network.peer_connection_cooldown = Duration::from_millis(200);
    network.allowed_handshake_rate_per_ip = Quota::per_second(NZU32!(256));
    network.allowed_handshake_rate_per_subnet = Quota::per_second(NZU32!(256));
    network
}

use alto_types::PublicKey;
use commonware_consensus::types::Epoch;
use commonware_glue::dkg::network;
use commonware_p2p::{
    Manager, PeerSetSubscription, Provider, TrackedPeers, authenticated::discovery::Oracle,
};
use commonware_utils::{ordered::Set, sequence::Unit};
use std::convert::Infallible;

/// The peers of an epoch. Validators whose turn is far off stay connected beside it, so that they follow
/// the chain and are ready when they are dealt a share.
///
/// The network's peer sets are numbered from the first epoch as 1: set 0 is everybody, so that the
/// connections are there before the first leader proposes.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    oracle: Oracle<PublicKey>,
    everybody: Set<PublicKey>,
}

impl Peers {
    pub(super) fn connect(mut oracle: Oracle<PublicKey>, everybody: Set<PublicKey>) -> Self {
        let _ = Manager::track(&mut oracle, 0, everybody.clone());
        Self { oracle, everybody }
    }
}

impl Provider for Peers {
    type PublicKey = PublicKey;

    async fn peer_set(&mut self, id: u64) -> Option<TrackedPeers<PublicKey>> {
        self.oracle.peer_set(id.saturating_add(1)).await
    }

    async fn subscribe(&mut self) -> PeerSetSubscription<PublicKey> {
        self.oracle.subscribe().await
    }
}

impl network::Manager for Peers {
    type Directory = Unit;
    type Error = Infallible;

    fn track(
        &mut self,
        epoch: Epoch,
        peers: TrackedPeers<PublicKey>,
        _: &Unit,
    ) -> Result<(), Infallible> {
        let peers = TrackedPeers::new(peers.primary, self.everybody.clone());
        let _ = Manager::track(&mut self.oracle, epoch.next().get(), peers);
        Ok(())
    }
}

//! A real alto chain, signed here and served by a real indexer.

use crate::alto::Scheme;
use alto_indexer::{Api, Indexer};
use alto_types::{
    Block, Context, EPOCH, Finalized, NAMESPACE, Notarized, StandardScheme, VrfScheme,
};
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_consensus::{
    simplex::{
        scheme::bls12381_threshold::{standard, vrf},
        types::{Finalization, Finalize, Notarization, Notarize, Proposal},
    },
    types::{Height, Round, View},
};
use commonware_cryptography::{
    Digestible as _, Signer as _, bls12381::primitives::variant::MinSig, ed25519,
};
use commonware_parallel::Sequential;
use commonware_runtime::{Spawner as _, Supervisor as _, tokio};
use commonware_utils::non_empty;
use rand::{SeedableRng as _, rngs::StdRng};
use std::{net::SocketAddr, sync::Arc};

/// Keys of four validators for a mode.
pub(super) trait Keys: Scheme {
    fn keys() -> (Vec<Self>, Vec<u8>);
}

impl Keys for StandardScheme {
    fn keys() -> (Vec<Self>, Vec<u8>) {
        let mut rng = StdRng::seed_from_u64(1);
        let schemes = standard::fixture::<MinSig, _>(&mut rng, NAMESPACE, 4).schemes;
        let identity = schemes[0].identity().encode().to_vec();
        (schemes, identity)
    }
}

impl Keys for VrfScheme {
    fn keys() -> (Vec<Self>, Vec<u8>) {
        let mut rng = StdRng::seed_from_u64(2);
        let schemes = vrf::fixture::<MinSig, _>(&mut rng, NAMESPACE, 4).schemes;
        let identity = schemes[0].identity().encode().to_vec();
        (schemes, identity)
    }
}

pub(super) struct World<S> {
    schemes: Vec<S>,
    pub(super) identity: Vec<u8>,
    pub(super) blocks: Vec<Block>,
}

impl<S: Keys> World<S> {
    pub(super) fn new() -> Self {
        let (schemes, identity) = S::keys();
        Self { schemes, identity, blocks: vec![Block::genesis()] }
    }

    /// The same validators' chain, `len` blocks above genesis. Views run ahead of heights.
    pub(super) fn grow(mut self, len: u64) -> Self {
        for height in 1..=len {
            let parent = &self.blocks[height as usize - 1];
            let context = Context {
                round: Round::new(EPOCH, View::new(height * 2)),
                leader: ed25519::PrivateKey::from_seed(height % 4).public_key(),
                parent: (parent.context.round.view(), parent.digest()),
            };
            let data = Bytes::from(vec![height as u8; 100]);
            let block =
                Block::new(context, parent.digest(), Height::new(height), height * 1_000, data);
            self.blocks.push(block);
        }
        self
    }

    fn proposal(&self, height: u64) -> (Proposal<commonware_cryptography::sha256::Digest>, Block) {
        let block = self.blocks[height as usize].clone();
        let Context { round, parent: (view, _), .. } = block.context;
        (Proposal::new(round, view, block.digest()), block)
    }

    pub(super) fn finalized(&self, height: u64) -> Finalized<S> {
        let (proposal, block) = self.proposal(height);
        let sign = |scheme| Finalize::sign(scheme, proposal.clone()).expect("signs");
        let votes: Vec<_> = self.schemes.iter().map(sign).collect();
        let votes = non_empty![@&votes];
        let proof = Finalization::from_finalizes(&self.schemes[0], votes, &Sequential);
        Finalized::new(proof.expect("a quorum"), block)
    }

    pub(super) fn notarized(&self, height: u64) -> Notarized<S> {
        let (proposal, block) = self.proposal(height);
        let sign = |scheme| Notarize::sign(scheme, proposal.clone()).expect("signs");
        let votes: Vec<_> = self.schemes.iter().map(sign).collect();
        let votes = non_empty![@&votes];
        let proof = Notarization::from_notarizes(&self.schemes[0], votes, &Sequential);
        Notarized::new(proof.expect("a quorum"), block)
    }

    /// An indexer of this chain that has nothing yet, and where it listens.
    pub(super) async fn indexer(
        &self,
        context: &tokio::Context,
    ) -> (Arc<Indexer<S, Sequential>>, SocketAddr) {
        let indexer = Arc::new(Indexer::new(self.schemes[0].clone(), Sequential));
        let listener = ::tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let router = Api::new(indexer.clone()).router();
        context.child("indexer").spawn(|_| async move {
            axum::serve(listener, router).await.expect("serves");
        });
        (indexer, address)
    }
}

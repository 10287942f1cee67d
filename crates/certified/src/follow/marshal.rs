//! Commonware's marshal as the port of a driver.

use super::Marshal;
use crate::{CertifiedBlock, Finalized, Scheme};
use commonware_consensus::{
    Reporter as _,
    marshal::{
        Identifier,
        core::{Mailbox, Variant},
    },
    simplex::types::{Activity, Finalization},
};
use commonware_cryptography::{Digestible, certificate::Verifier};
use commonware_utils::{channel::oneshot, vec::NonEmptyVec};
use std::fmt;
use tidewatch_core::{Digest, Height};

/// The public key of a peer of a scheme's network.
type Peer<S> = <S as Verifier>::PublicKey;

/// The mailbox of a marshal whose blocks are made of `B`s, and into them.
pub struct MarshalMailbox<S: Scheme, V: Variant<Commitment = Digest>, B> {
    /// The marshal's own mailbox.
    pub mailbox: Mailbox<S, V>,
    /// Stands for the upstream where the marshal wants to know a peer. [`Resolver`](super::Resolver) has one
    /// upstream, so any key will do.
    pub upstream: Peer<S>,
    /// Makes a marshal's block of one that was followed: with the same digest, height and parent.
    pub into: fn(B) -> V::ApplicationBlock,
    /// The other way.
    pub from: fn(V::ApplicationBlock) -> B,
}

impl<S: Scheme, V: Variant<Commitment = Digest>, B> fmt::Debug for MarshalMailbox<S, V, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MarshalMailbox").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

impl<S, V, B> Marshal for MarshalMailbox<S, V, B>
where
    S: Scheme,
    V: Variant<Commitment = Digest>,
    V::ApplicationBlock: Digestible<Digest = Digest>,
    B: CertifiedBlock,
{
    type Scheme = S;
    type Block = B;

    fn finalized(&self, finalized: Finalized<S, B>) {
        let Finalized { finalization, block } = finalized;
        let block = V::from_application_block((self.into)(block), finalization.proposal.payload);
        // Nobody waits for it to be durable: the marshal does, before it delivers it.
        let (durable, _) = oneshot::channel();
        self.mailbox.verified_deferred(finalization.round(), block, durable);
        let _ = self.mailbox.clone().report(Activity::Finalization(finalization));
    }

    fn hint(&self, height: Height) {
        self.mailbox.hint_finalized(height, NonEmptyVec::new(self.upstream.clone()));
    }

    fn floor(&self, finalization: Finalization<S, Digest>) {
        self.mailbox.set_floor(finalization);
    }

    async fn processed(&self) -> Option<Height> {
        self.mailbox.get_processed_height().await
    }

    async fn finalization(&self, height: Height) -> Option<Finalization<S, Digest>> {
        self.mailbox.get_finalization(height).await
    }

    async fn block(&self, height: Height) -> Option<B> {
        let block = self.mailbox.get_block(Identifier::Height(height)).await?;
        Some((self.from)(V::into_inner(block)))
    }
}

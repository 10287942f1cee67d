//! One validator's secrets: its shares, the seeds of its dealings, and the dealings it received.

use commonware_codec::{DecodeExt as _, Encode as _, RangeCfg};
use commonware_consensus::types::Epoch;
use commonware_cryptography::{
    PublicKey as AnyPublicKey,
    bls12381::{dkg::feldman_desmedt::DealerPrivMsg, primitives::group::Share},
    transcript::Summary,
};
use commonware_glue::dkg::SecretStore;
use commonware_runtime::tokio::Context;
use commonware_storage::metadata::{self, Metadata};
use commonware_utils::sequence::FixedBytes;

const KEY: usize = 1 + 8 + 32;
/// Maximum number of bytes of a secret.
const SECRET_MAX: usize = 1024;

type Key = FixedBytes<KEY>;

#[derive(Clone, Copy)]
enum Kind {
    Share,
    Seed,
    Dealing,
}

/// Durable on the validators' own storage, as everything else of theirs; a write has returned once it is
/// synced. It is not encrypted: see the limits of the crate.
pub(super) struct Secrets {
    /// Share of epoch 0, which the configuration determines and no disk has to hold.
    dealt: Option<Share>,
    /// `None` only while a write is under way, and after one that failed.
    stored: Option<Metadata<Context, Key, Vec<u8>>>,
}

impl Secrets {
    pub(super) async fn open(
        context: Context,
        partition: String,
        dealt: Option<Share>,
    ) -> Result<Self, metadata::Error> {
        let codec_config = (RangeCfg::from(..=SECRET_MAX), ());
        let config = metadata::Config { partition, codec_config };
        let stored = Some(Metadata::init(context, config).await?);
        Ok(Self { dealt, stored })
    }

    fn get(&self, key: &Key) -> Option<&Vec<u8>> {
        self.stored.as_ref().and_then(|stored| stored.get(key))
    }

    #[expect(
        clippy::expect_used,
        reason = "the resharing may not go on with a secret that is lost"
    )]
    async fn put(&mut self, key: Key, secret: Vec<u8>) {
        let stored = self.stored.take().expect("an earlier write failed");
        self.stored = Some(stored.put_sync(key, secret).await.expect("a secret was not written"));
    }
}

/// The epoch comes first, so that a validator's secrets are ordered by their age.
fn key(epoch: Epoch, kind: Kind, dealer: [u8; 32]) -> Key {
    let mut bytes = [0; KEY];
    bytes[..8].copy_from_slice(&epoch.get().to_be_bytes());
    bytes[8] = kind as u8;
    bytes[9..].copy_from_slice(&dealer);
    Key::new(bytes)
}

fn own(epoch: Epoch, kind: Kind) -> Key {
    key(epoch, kind, [0; 32])
}

fn of<P: AnyPublicKey>(epoch: Epoch, dealer: &P) -> Key {
    let mut bytes = [0; 32];
    let encoded = dealer.encode();
    bytes[..encoded.len()].copy_from_slice(&encoded);
    key(epoch, Kind::Dealing, bytes)
}

impl SecretStore for Secrets {
    async fn put_share(&mut self, epoch: Epoch, share: Share) {
        self.put(own(epoch, Kind::Share), share.encode().to_vec()).await;
    }

    async fn get_share(&mut self, epoch: Epoch) -> Option<Share> {
        if epoch == Epoch::zero() {
            return self.dealt.clone();
        }
        Share::decode(self.get(&own(epoch, Kind::Share))?.as_slice()).ok()
    }

    async fn put_seed(&mut self, epoch: Epoch, seed: Summary) {
        self.put(own(epoch, Kind::Seed), seed.encode().to_vec()).await;
    }

    async fn get_seed(&mut self, epoch: Epoch) -> Option<Summary> {
        Summary::decode(self.get(&own(epoch, Kind::Seed))?.as_slice()).ok()
    }

    async fn put_dealing<P: AnyPublicKey>(
        &mut self,
        epoch: Epoch,
        dealer: P,
        private: DealerPrivMsg,
    ) {
        self.put(of(epoch, &dealer), private.encode().to_vec()).await;
    }

    async fn get_dealing<P: AnyPublicKey>(
        &mut self,
        epoch: Epoch,
        dealer: &P,
    ) -> Option<DealerPrivMsg> {
        DealerPrivMsg::decode(self.get(&of(epoch, dealer))?.as_slice()).ok()
    }

    #[expect(clippy::expect_used, reason = "a disk that fails ends the validator, as everywhere")]
    async fn prune(&mut self, min: Epoch) {
        let mut stored = self.stored.take().expect("an earlier write failed");
        let oldest = min.get().to_be_bytes();
        stored.retain(|key, _| key[..8] >= oldest[..]);
        self.stored = Some(stored.sync().await.expect("secrets were not pruned"));
    }
}

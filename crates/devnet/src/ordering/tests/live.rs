//! Over validators that run.

use super::*;
use crate::{CertificateMode, Certify as _, ordering::Network};
use alto_client::{ClientBuilder, Query, consensus::Payload};
use alto_types::{NAMESPACE, Scheme as _, VrfScheme};
use commonware_codec::DecodeExt as _;
use commonware_consensus::types::Epoch;
use commonware_parallel::Sequential;
use commonware_runtime::Clock as _;
use tidewatch_sequencer::{
    Opened,
    timelock::{Evidence, Keys},
};

async fn started(context: &Context, chain: &TempDir) -> (Network, Remote) {
    let mut config = Config::default();
    config.devnet.directory = Some(chain.path().to_owned());
    let network = Network::start(context.child("network"), config).await.unwrap();
    let remote =
        Remote::new(&network.url(), network.keys().clone(), ClientLimits::default()).unwrap();
    (network, remote)
}

/// The newest round, once there is one.
async fn newest(context: &Context, remote: &Remote) -> u64 {
    let end = context.current() + DEADLINE;
    loop {
        if let Ok(seed) = remote.round().await {
            return seed.round.view().get();
        }
        assert!(context.current() < end, "a round is certified");
        context.sleep(Duration::from_millis(20)).await;
    }
}

fn sealed(keys: &Keys, by: u8, view: u64, clear: &[u8]) -> Transaction {
    let (sender, rng) = (Sender([by; 32]), &mut StdRng::seed_from_u64(1));
    let payload = keys.seal(rng, round(view), (sender, 0), clear).unwrap();
    Transaction { sender, nonce: 0, payload }
}

#[test]
fn the_seed_in_a_certificate_of_the_chain_opens_what_was_sealed_to_its_round() {
    embed(|context| async move {
        let chain = TempDir::new().unwrap();
        let (network, remote) = started(&context, &chain).await;
        let view = newest(&context, &remote).await;
        let ahead: Vec<_> = (view + 2..view + 30)
            .map(|view| (view, sealed(network.keys(), 1, view, b"secret")))
            .collect();
        // A follower of the chain, which knows nothing of key holders.
        let verifier = VrfScheme::certificate_verifier(NAMESPACE, network.devnet().public());
        let client = ClientBuilder::new(&network.devnet().url(), verifier, Sequential).build();
        let end = context.current() + DEADLINE;
        let (finalized, transaction) = loop {
            assert!(context.current() < end, "a block of one of these rounds is finalized");
            context.sleep(Duration::from_millis(50)).await;
            let Ok(Payload::<VrfScheme>::Finalized(finalized)) =
                client.block_get(Query::Latest).await
            else {
                continue;
            };
            let view = finalized.proof.proposal.round.view().get();
            if let Some((_, transaction)) = ahead.iter().find(|(ahead, _)| *ahead == view) {
                break (finalized, transaction.clone());
            }
        };
        let certified = finalized.proof.proposal.round;
        assert_eq!(certified.epoch(), Epoch::zero());
        let seed = VrfScheme::seed_signature(&finalized.proof.certificate).unwrap();
        let evidence =
            Evidence { fixed: certified, attestations: vec![], seeds: vec![(certified, seed)] };
        let preblock = Keys::open(proposal(1, vec![transaction]), &evidence).unwrap();
        assert_eq!(preblock.opened, [Opened::Clear(b"secret"[..].into())]);
        assert_eq!(VrfScheme::MODE, CertificateMode::Vrf);
        network.stop().await;
    });
}

#[test]
fn proposals_come_back_open_over_a_live_chain_and_across_restarts() {
    embed(|context| async move {
        let chain = TempDir::new().unwrap();
        let mut fixed = round(0);
        for number in 1..=4 {
            let (network, remote) = started(&context, &chain).await;
            let view = newest(&context, &remote).await + 12;
            let transactions = (1..=3).map(|by| sealed(network.keys(), by, view, &[by])).collect();
            let proposal = proposal(number, transactions);
            remote.submit(proposal.clone()).await.unwrap();
            if number % 2 == 0 {
                // Stopped at once: the order may be fixed, or not; the round is not open.
                network.stop().await;
                let (network, remote) = started(&context, &chain).await;
                remote.submit(proposal.again()).await.unwrap();
                let preblock = first(&remote, number).await;
                assert_eq!(preblock.opened.len(), 3);
                network.stop().await;
                continue;
            }
            let preblock = first(&remote, number).await;
            let said = [1, 2, 3].map(|by: u8| Opened::Clear(vec![by].into()));
            assert_eq!(preblock.opened, said);
            let evidence = Evidence::decode(preblock.evidence.clone()).unwrap();
            assert!(evidence.fixed > fixed && evidence.fixed <= round(view));
            fixed = evidence.fixed;
            for earlier in 1..number {
                first(&remote, earlier).await;
            }
            network.stop().await;
        }
    });
}

#[test]
fn a_chain_without_seeds_orders_nothing() {
    embed(|context| async move {
        let mut config = Config::default();
        config.devnet.mode = CertificateMode::Standard;
        let refused = Network::start(context.child("network"), config).await.unwrap_err();
        assert!(refused.to_string().contains("mode is standard, but must be vrf"), "{refused}");
    });
}

use super::*;
use crate::{Certify, Error};
use alto_client::{
    Client, ClientBuilder, Error as ClientError, IndexQuery, Query,
    consensus::{Message, Payload},
};
use alto_types::{Block, CertificateMode, Finalized, NAMESPACE, StandardScheme, VrfScheme};
use commonware_cryptography::Digestible as _;
use commonware_parallel::Sequential;
use futures::StreamExt as _;
use reqwest::StatusCode;
use std::{future::Future, time::Duration};
use tidewatch_core::Height;

const DEADLINE: Duration = Duration::from_secs(20);

fn sign(blocks: u64, mode: CertificateMode) -> Chain {
    Chain::sign(blocks, mode, ChainConfig::default()).unwrap()
}

fn serve(chain: &Chain) -> Server {
    Server::start(chain, ServerConfig::default()).unwrap()
}

fn verifier<S: Certify>(chain: &Chain) -> S {
    S::certificate_verifier(NAMESPACE, chain.public())
}

fn client<S: Certify>(chain: &Chain, server: &Server) -> Client<Sequential, S> {
    ClientBuilder::new(&server.url(), verifier::<S>(chain), Sequential).build()
}

async fn at<S: Certify>(
    client: &Client<Sequential, S>,
    query: Query,
) -> Result<Finalized<S>, ClientError> {
    match client.block_get(query).await? {
        Payload::Finalized(finalized) => Ok(*finalized),
        Payload::Block(_) => panic!("asked for a finalized block"),
    }
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

fn a_chain_verifies<S: Certify>() {
    let chain = sign(50, S::MODE);
    assert_eq!(chain.tip(), Height::new(50));
    let verifier = verifier::<S>(&chain);
    let genesis = Block::genesis();
    let mut parent = &genesis;
    for height in (1..=50).map(Height::new) {
        let finalized = chain.finalized::<S>(height).unwrap();
        assert!(finalized.verify(&verifier, &Sequential), "finalization at {height}");
        let notarized = chain.notarized::<S>(height).unwrap();
        assert!(notarized.verify(&verifier, &Sequential), "notarization at {height}");

        let block = chain.block(height).unwrap();
        assert_eq!(block.height, height);
        assert_eq!(block.parent, parent.digest());
        assert_eq!(block.context.parent, (parent.context.round.view(), parent.digest()));
        assert!(block.context.round.view() > parent.context.round.view());
        assert!(block.timestamp > parent.timestamp);
        parent = block;
    }
    assert_eq!(parent.context.round.view().get(), 53, "three views were skipped");
    assert!(chain.block(Height::zero()).is_none());
    assert!(chain.block(Height::new(51)).is_none());
}

#[test]
fn a_standard_chain_links_and_verifies() {
    a_chain_verifies::<StandardScheme>();
}

#[test]
fn a_vrf_chain_links_and_verifies() {
    a_chain_verifies::<VrfScheme>();
}

#[test]
fn a_chain_has_certificates_of_its_own_mode_only() {
    let chain = sign(1, CertificateMode::Vrf);
    assert!(chain.finalized::<StandardScheme>(Height::new(1)).is_none());
    assert!(chain.notarized::<StandardScheme>(Height::new(1)).is_none());
    assert!(chain.finalized::<VrfScheme>(Height::new(1)).is_some());
}

#[test]
fn equal_settings_make_equal_chains_however_they_are_grown() {
    let whole = sign(300, CertificateMode::Standard);
    let mut grown = sign(7, CertificateMode::Standard);
    grown.extend(293).unwrap();
    for height in (1..=300).map(Height::new) {
        assert_eq!(whole.encoded(height), grown.encoded(height), "{height}");
    }
    let other = ChainConfig { seed: 1, ..ChainConfig::default() };
    let other = Chain::sign(1, CertificateMode::Standard, other).unwrap();
    assert_ne!(other.identity(), whole.identity());
}

#[test]
fn a_branch_shares_the_past_and_contradicts_the_rest_under_the_same_identity() {
    let chain = sign(20, CertificateMode::Standard);
    let branch = chain.branch(Height::new(12), 5).unwrap();
    assert_eq!(branch.tip(), Height::new(17));
    assert_eq!(branch.identity(), chain.identity());
    for height in (1..=12).map(Height::new) {
        assert_eq!(branch.encoded(height), chain.encoded(height));
    }
    let last = chain.block(chain.tip()).unwrap().context.round.view();
    let verifier = verifier::<StandardScheme>(&chain);
    for height in (13..=17).map(Height::new) {
        let finalized = branch.finalized::<StandardScheme>(height).unwrap();
        assert_ne!(finalized.block.digest(), chain.block(height).unwrap().digest());
        assert!(finalized.verify(&verifier, &Sequential));
        assert!(finalized.block.context.round.view() > last);
    }
    assert!(matches!(chain.branch(Height::new(21), 1), Err(Error::UnknownHeight { .. })));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let sign = |blocks, config| Chain::sign(blocks, CertificateMode::Standard, config);
    let huge = ChainConfig { data_bytes: usize::MAX, ..ChainConfig::default() };
    assert!(matches!(sign(1, huge), Err(Error::Setting { setting: "data_bytes", .. })));
    let alone = ChainConfig { validators: 1, ..ChainConfig::default() };
    assert!(matches!(sign(1, alone), Err(Error::Setting { setting: "validators", .. })));
    let endless = sign(u64::MAX, ChainConfig::default());
    assert!(matches!(endless, Err(Error::Setting { setting: "blocks", .. })));
}

async fn a_chain_is_served<S: Certify>() {
    let chain = sign(50, S::MODE);
    let server = serve(&chain);
    assert_eq!(server.identity(), chain.identity());
    assert_eq!(server.mode(), S::MODE);
    let client = client::<S>(&chain, &server);
    for height in 1..=50 {
        let block = at(&client, Query::Index(height)).await.unwrap().block;
        assert_eq!(Some(&block), chain.block(Height::new(height)));
    }
    let tip = chain.block(chain.tip()).unwrap();
    assert_eq!(at(&client, Query::Latest).await.unwrap().block, *tip);
    let Payload::Block(named) = client.block_get(Query::Digest(tip.digest())).await.unwrap() else {
        panic!("asked by digest");
    };
    assert_eq!(*named, *tip);
    assert_eq!(server.requests(Kind::BlockAt), 50);
    assert_eq!(server.requests(Kind::BlockLatest), 1);
    assert_eq!(server.requests(Kind::BlockNamed), 1);
    assert_eq!(server.requests_total(), 52);
}

#[tokio::test]
async fn a_standard_chain_is_served_by_the_real_indexer() {
    a_chain_is_served::<StandardScheme>().await;
}

#[tokio::test]
async fn a_vrf_chain_is_served_by_the_real_indexer() {
    a_chain_is_served::<VrfScheme>().await;
}

fn notarized_height(push: Option<Result<Message<VrfScheme>, ClientError>>) -> Height {
    match push.unwrap().unwrap() {
        Message::Notarization(notarized) => notarized.block.height,
        _ => panic!("a notarization was handed out"),
    }
}

/// Publishes notarized blocks from `from` on until a push arrives, and returns the last height pushed.
///
/// The indexer subscribes a connection only after it has completed the handshake: a block published
/// between the two is not pushed.
async fn subscribed<P>(chain: &Chain, server: &Server, pushes: &mut P, from: u64) -> Height
where
    P: futures::Stream<Item = Result<Message<VrfScheme>, ClientError>> + Unpin,
{
    for height in (from..=chain.tip().get()).map(Height::new) {
        server.notarize(chain, height).unwrap();
        let pushed = tokio::time::timeout(Duration::from_millis(100), pushes.next()).await;
        let Ok(mut pushed) = pushed.map(notarized_height) else { continue };
        while pushed < height {
            pushed = notarized_height(within("a push", pushes.next()).await);
        }
        return height;
    }
    panic!("nothing was pushed up to {}", chain.tip());
}

#[tokio::test]
async fn a_chain_grows_when_the_test_says_so_and_is_pushed() {
    let chain = sign(200, CertificateMode::Vrf);
    let config = ServerConfig { upto: Some(Height::new(5)), ..ServerConfig::default() };
    let server = Server::start(&chain, config).unwrap();
    let client = client::<VrfScheme>(&chain, &server);
    assert!(matches!(at(&client, Query::Index(6)).await, Err(ClientError::Failed(_))));
    let mut pushes = client.listen().await.unwrap();

    let tip = subscribed(&chain, &server, &mut pushes, 7).await;
    assert_eq!(at(&client, Query::Latest).await.unwrap().block.height, Height::new(5));
    let notarized = client.notarized_get(IndexQuery::Latest).await.unwrap();
    assert_eq!(notarized.block.height, tip);

    server.finalize(&chain, Height::new(6)).unwrap();
    match within("a push", pushes.next()).await.unwrap().unwrap() {
        Message::Finalization(finalized) => assert_eq!(finalized.block.height, Height::new(6)),
        _ => panic!("a finalization was handed out"),
    }
    assert_eq!(at(&client, Query::Index(6)).await.unwrap().block.height, Height::new(6));

    server.finalize_forged(&chain, Height::new(8)).unwrap();
    let forged = within("a push", pushes.next()).await.unwrap();
    assert!(matches!(forged, Err(ClientError::InvalidSignature)));
    assert_eq!(server.requests(Kind::Stream), 1);
}

#[tokio::test]
async fn a_chain_of_another_mode_or_above_its_tip_is_not_handed_out() {
    let chain = sign(2, CertificateMode::Standard);
    let server = serve(&chain);
    let other = sign(3, CertificateMode::Vrf);
    let three = Height::new(3);
    assert!(matches!(server.finalize(&other, three), Err(Error::WrongMode { .. })));
    assert!(matches!(server.notarize(&other, three), Err(Error::WrongMode { .. })));
    assert!(matches!(server.finalize(&chain, three), Err(Error::UnknownHeight { .. })));
    let config = ServerConfig { upto: Some(three), ..ServerConfig::default() };
    assert!(matches!(Server::start(&chain, config), Err(Error::UnknownHeight { .. })));
}

async fn forgeries_are_caught<S: Certify>() {
    let chain = sign(10, S::MODE);
    let server = serve(&chain);
    let client = client::<S>(&chain, &server);
    let five = Target::Height(Height::new(5));

    server.tamper(five, Tamper::WrongCertificate);
    let forged = at(&client, Query::Index(5)).await;
    assert!(matches!(forged, Err(ClientError::InvalidSignature)));
    at(&client, Query::Index(6)).await.unwrap();

    // The chain's own committee certifies the forgery: only a check of the parent detects it.
    server.tamper(five, Tamper::WrongParent);
    let forged = at(&client, Query::Index(5)).await.unwrap().block;
    let real = chain.block(Height::new(5)).unwrap();
    assert_eq!((forged.height, forged.timestamp), (real.height, real.timestamp));
    assert_ne!(forged.parent, real.parent);

    server.tamper(five, Tamper::OtherBlock);
    let url = format!("{}/block/{:016x}", server.url(), 5);
    let other = reqwest::get(url).await.unwrap().bytes().await.unwrap();
    assert_eq!(Some(other), chain.encoded(Height::new(4)));

    let named = || client.block_get(Query::Digest(real.digest()));
    for tamper in [Tamper::OtherBlock, Tamper::WrongParent] {
        server.heal();
        named().await.unwrap();
        server.tamper(Target::Kind(Kind::BlockNamed), tamper);
        assert!(matches!(named().await, Err(ClientError::UnexpectedResponse)), "{tamper:?}");
    }
    server.heal();
    at(&client, Query::Index(5)).await.unwrap();
}

#[tokio::test]
async fn a_standard_forgery_is_caught_by_who_verifies() {
    forgeries_are_caught::<StandardScheme>().await;
}

#[tokio::test]
async fn a_vrf_forgery_is_caught_by_who_verifies() {
    forgeries_are_caught::<VrfScheme>().await;
}

#[tokio::test]
async fn a_notarization_can_be_forged_too() {
    let chain = sign(2, CertificateMode::Standard);
    let server = serve(&chain);
    server.notarize(&chain, Height::new(2)).unwrap();
    let client = client::<StandardScheme>(&chain, &server);
    client.notarized_get(IndexQuery::Latest).await.unwrap();
    server.tamper(Target::Kind(Kind::Notarization), Tamper::WrongCertificate);
    let forged = client.notarized_get(IndexQuery::Latest).await;
    assert!(matches!(forged, Err(ClientError::InvalidSignature)));
}

#[tokio::test]
async fn answers_that_are_no_blocks_look_as_they_do_in_the_world() {
    let chain = sign(3, CertificateMode::Standard);
    let server = serve(&chain);
    let url = format!("{}/block/{:016x}", server.url(), 2);
    let get = || async { reqwest::get(&url).await.unwrap() };
    let real = get().await.bytes().await.unwrap();
    assert_eq!(Some(&real), chain.encoded(Height::new(2)).as_ref());
    let set = |tamper| {
        server.heal();
        server.tamper(Target::Any, tamper);
    };

    set(Tamper::Missing);
    assert_eq!(get().await.status(), StatusCode::NOT_FOUND);
    set(Tamper::Unavailable);
    assert_eq!(get().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    set(Tamper::Html);
    let page = get().await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(page.text().await.unwrap().starts_with("<!DOCTYPE html>"));
    set(Tamper::Garbage);
    assert!(get().await.bytes().await.unwrap().iter().all(|byte| *byte == 0xff));
    set(Tamper::Truncated);
    assert_eq!(get().await.bytes().await.unwrap(), real.slice(..real.len() / 2));
    set(Tamper::Oversized(1_000_001));
    assert_eq!(get().await.bytes().await.unwrap().len(), 1_000_001);
    set(Tamper::Cut);
    let whole = async { reqwest::get(&url).await?.bytes().await };
    assert!(whole.await.is_err(), "a cut answer was whole");
    set(Tamper::Delay(Duration::from_secs(3_600)));
    let client = reqwest::Client::builder().timeout(Duration::from_millis(200)).build().unwrap();
    assert!(client.get(&url).send().await.unwrap_err().is_timeout());
    set(Tamper::Delay(Duration::from_millis(1)));
    assert_eq!(get().await.bytes().await.unwrap(), real);
}

#[tokio::test]
async fn a_rule_with_a_count_ends_and_the_newest_rule_wins() {
    let chain = sign(3, CertificateMode::Standard);
    let config = ServerConfig {
        tampers: vec![(Target::Kind(Kind::BlockAt), Tamper::Unavailable)],
        ..ServerConfig::default()
    };
    let server = Server::start(&chain, config).unwrap();
    server.tamper_times(Target::Height(Height::new(2)), Tamper::Missing, 2);
    server.tamper_times(Target::Any, Tamper::Garbage, 0);
    let status = |height: u64| {
        let url = format!("{}/block/{height:016x}", server.url());
        async move { reqwest::get(url).await.unwrap().status() }
    };
    assert_eq!(status(1).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(2).await, StatusCode::NOT_FOUND);
    assert_eq!(status(2).await, StatusCode::NOT_FOUND);
    assert_eq!(status(2).await, StatusCode::SERVICE_UNAVAILABLE);
    server.heal();
    assert_eq!(status(2).await, StatusCode::OK);
    assert_eq!(server.requests(Kind::BlockAt), 5);
}

#[tokio::test]
async fn a_closed_server_cuts_its_subscribers_and_opens_again_where_it_was() {
    let chain = sign(3, CertificateMode::Standard);
    let config = ServerConfig { upto: Some(Height::new(2)), ..ServerConfig::default() };
    let mut server = Server::start(&chain, config).unwrap();
    let url = server.url();
    let client = client::<StandardScheme>(&chain, &server);
    let mut pushes = client.listen().await.unwrap();

    server.close().await;
    let cut = async { while !matches!(pushes.next().await, None | Some(Err(_))) {} };
    within("the end of the stream", cut).await;
    client.health().await.unwrap_err();
    server.finalize(&chain, Height::new(3)).unwrap();

    server.open().unwrap();
    server.open().unwrap();
    assert_eq!(server.url(), url);
    client.health().await.unwrap();
    assert_eq!(at(&client, Query::Latest).await.unwrap().block.height, Height::new(3));
}

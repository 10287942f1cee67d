use super::*;
use crate::Certify;
use alto_client::{Client, ClientBuilder, Error as ClientError, Query, consensus::Payload};
use alto_types::{Block, Finalized, Scheme};
use commonware_cryptography::Digestible as _;
use commonware_parallel::Sequential;
use commonware_runtime::{
    Clock as _, Runner as _, Supervisor as _,
    tokio::{Config as RuntimeConfig, Runner},
};
use futures::StreamExt as _;
use std::{future::Future, net::TcpListener, path::Path, time::SystemTime};
use tempfile::TempDir;

/// Far longer than any step takes, even on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Runs a test as an embedder would, in its own commonware runtime.
fn embed<F: Future<Output = ()>>(test: impl FnOnce(Context) -> F) {
    let directory = TempDir::new().unwrap();
    Runner::new(RuntimeConfig::default().with_storage_directory(directory.path())).start(test);
}

fn config(mode: CertificateMode) -> Config {
    Config { mode, block_time: Duration::from_millis(100), ..Config::default() }
}

fn client<S: Certify>(devnet: &Devnet) -> Client<Sequential, S> {
    let verifier = <S as Scheme>::certificate_verifier(NAMESPACE, devnet.public());
    ClientBuilder::new(&devnet.url(), verifier, Sequential).build()
}

/// The block that the indexer serves at `height`; the client verifies its certificate.
async fn finalized<S: Certify>(
    client: &Client<Sequential, S>,
    height: u64,
) -> Result<Finalized<S>, ClientError> {
    match client.block_get(Query::Index(height)).await? {
        Payload::Finalized(finalized) => Ok(*finalized),
        Payload::Block(_) => panic!("asked by height, answered without certificate"),
    }
}

/// The newest finalized block, once it is at or above `height`.
async fn latest(
    context: &Context,
    client: &Client<Sequential, StandardScheme>,
    height: u64,
) -> Block {
    until(context, "a finalized block", || async {
        match client.block_get(Query::Latest).await {
            Ok(Payload::Finalized(finalized)) => Some(finalized.block),
            _ => None,
        }
        .filter(|block| block.height.get() >= height)
    })
    .await
}

/// Calls `ask` until it returns a value.
async fn until<T, F: Future<Output = Option<T>>>(
    context: &Context,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let end = context.current() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(context.current() < end, "{what} did not happen within {DEADLINE:?}");
        context.sleep(POLL).await;
    }
}

fn elapsed(context: &Context, since: SystemTime) -> Duration {
    context.current().duration_since(since).unwrap()
}

async fn reaches_height_three<S: Certify>(context: Context) {
    let begin = context.current();
    let devnet = Devnet::start(context.child("devnet"), config(S::MODE)).await.unwrap();
    let started = elapsed(&context, begin);
    devnet.reach(Height::new(1), DEADLINE).await.unwrap();
    println!("{:?}: started {started:?}, block 1 {:?}", S::MODE, elapsed(&context, begin));
    devnet.reach(Height::new(3), DEADLINE).await.unwrap();
    assert_eq!(devnet.mode(), S::MODE);

    let client = client::<S>(&devnet);
    let mut parent = Block::genesis().digest();
    for height in 1..=3 {
        // A height that was finalized through a descendant has no certificate of its own.
        let Ok(finalized) = finalized(&client, height).await else { continue };
        assert_eq!(finalized.block.height, Height::new(height));
        assert_eq!(finalized.block.data.len(), 64);
        if finalized.block.height == Height::new(1) {
            assert_eq!(finalized.block.parent, parent);
        }
        parent = finalized.block.digest();
    }
    assert_ne!(parent, Block::genesis().digest(), "no height was served");
    devnet.stop().await;
}

#[test]
fn a_standard_devnet_finalizes_and_serves_verifiable_blocks() {
    embed(reaches_height_three::<StandardScheme>);
}

#[test]
fn a_vrf_devnet_finalizes_and_serves_verifiable_blocks() {
    embed(reaches_height_three::<VrfScheme>);
}

#[test]
fn stopping_frees_every_port() {
    embed(|context| async move {
        let devnet =
            Devnet::start(context.child("devnet"), config(CertificateMode::Standard)).await;
        let devnet = devnet.unwrap();
        devnet.reach(Height::new(1), DEADLINE).await.unwrap();
        let mut addresses = devnet.validators.addresses().to_vec();
        addresses.push(devnet.host.address());
        assert_eq!(addresses.len(), 5);
        for address in &addresses {
            assert!(TcpListener::bind(address).is_err(), "{address} should be in use");
        }

        let begin = context.current();
        devnet.stop().await;
        println!("stop took {:?}", elapsed(&context, begin));
        for address in addresses {
            TcpListener::bind(address).unwrap();
        }
    });
}

#[test]
fn a_restart_on_the_same_directory_continues_the_chain() {
    let directory = TempDir::new().unwrap();
    let at = |path: &Path| Config {
        directory: Some(path.to_owned()),
        ..config(CertificateMode::Standard)
    };
    let config = at(directory.path());
    embed(|context| async move {
        let devnet = Devnet::start(context.child("first"), config.clone()).await.unwrap();
        let identity = devnet.identity();
        devnet.reach(Height::new(4), DEADLINE).await.unwrap();
        let before = latest(&context, &client(&devnet), 4).await;
        devnet.stop().await;

        let devnet = Devnet::start(context.child("second"), config).await.unwrap();
        assert_eq!(devnet.identity(), identity);
        let client = client(&devnet);
        let mut block = latest(&context, &client, before.height.get() + 2).await;
        while block.height > before.height.next() {
            let parent = client.block_get(Query::Digest(block.parent)).await.unwrap();
            let Payload::Block(parent) = parent else { panic!("asked by digest") };
            block = *parent;
        }
        assert_eq!(block.parent, before.digest(), "the restart left the chain");
        devnet.stop().await;
    });
}

#[test]
fn another_seed_on_the_same_directory_is_another_chain() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    embed(|context| async move {
        let mut identities = Vec::new();
        for seed in [1, 2] {
            let config =
                Config { directory: Some(path.clone()), seed, ..config(CertificateMode::Standard) };
            let devnet = Devnet::start(context.child("devnet"), config).await.unwrap();
            devnet.reach(Height::new(1), DEADLINE).await.unwrap();
            assert!(devnet.tip() < Height::new(20), "the other chain's height was taken over");
            identities.push(devnet.identity());
            devnet.stop().await;
        }
        assert_ne!(identities[0], identities[1]);
    });
}

#[test]
fn a_restarted_indexer_has_cut_its_connections_and_forgotten_the_past() {
    embed(|context| async move {
        let devnet = Devnet::start(context.child("devnet"), config(CertificateMode::Standard));
        let mut devnet = devnet.await.unwrap();
        let url = devnet.url();
        devnet.reach(Height::new(2), DEADLINE).await.unwrap();
        let client = client::<StandardScheme>(&devnet);
        let mut stream = client.listen().await.unwrap();
        stream.next().await.unwrap().unwrap();

        devnet.stop_indexer().await;
        assert!(client.health().await.is_err(), "a stopped indexer answered");
        let cut = async { while !matches!(stream.next().await, None | Some(Err(_))) {} };
        tokio::select! {
            () = cut => {}
            () = context.sleep(DEADLINE) => panic!("the websocket outlived its indexer"),
        }
        let tip = devnet.tip();
        devnet.reach(tip.next(), DEADLINE).await.unwrap();

        devnet.start_indexer().unwrap();
        assert_eq!(devnet.url(), url);
        // A validator that connected late may still upload old blocks, once.
        for attempt in 1.. {
            let past = finalized(&client, 1).await;
            match past {
                Err(ClientError::Failed(_)) => break,
                past => assert!(attempt < 5, "remembers {:?}", past.map(|past| past.block)),
            }
            devnet.restart_indexer().await.unwrap();
        }
        until(&context, "a block on the new indexer", || async {
            client.block_get(Query::Latest).await.ok()
        })
        .await;
        devnet.stop().await;
    });
}

#[test]
fn a_paused_chain_stands_still_and_goes_on_when_resumed() {
    for mode in CertificateMode::ALL {
        embed(|context| async move {
            let devnet = Devnet::start(context.child("devnet"), config(mode)).await.unwrap();
            devnet.reach(Height::new(2), DEADLINE).await.unwrap();
            devnet.pause();
            // One block may be in flight at the pause. Without the pause, there would be fifteen more.
            let beyond = Height::new(devnet.tip().get() + 2);
            let still = devnet.reach(beyond, Duration::from_millis(1_500)).await;
            assert!(matches!(still, Err(Error::Timeout { .. })), "{still:?}");
            devnet.resume();
            let begin = context.current();
            devnet.reach(beyond, DEADLINE).await.unwrap();
            println!("{mode:?}: resumed within {:?}", elapsed(&context, begin));
            devnet.stop().await;
        });
    }
}

#[test]
fn a_devnet_and_its_futures_can_move_between_threads() {
    fn moves<T: Send>(_: T) {}
    fn shared<T: Send + Sync>() {}
    shared::<Devnet>();
    shared::<crate::readymade::Server>();
    let _ = |context: Context| moves(Devnet::start(context, Config::default()));
    let _ = |devnet: Devnet| moves(devnet.stop());
    let _ = |devnet: &mut Devnet| moves(devnet.restart_indexer());
    let _ = |devnet: &Devnet| moves(devnet.reach(Height::zero(), DEADLINE));
    let _ = |devnet: &Devnet| moves(devnet.ended());
}

#[test]
fn settings_that_cannot_work_are_refused_before_anything_starts() {
    embed(|context| async move {
        let good = Config::default();
        for (bad, name) in [
            (Config { validators: 3, ..good.clone() }, "validators"),
            (Config { validators: 17, ..good.clone() }, "validators"),
            (Config { block_time: Duration::ZERO, ..good.clone() }, "block_time"),
            (Config { block_time: Duration::from_secs(3_600), ..good.clone() }, "block_time"),
            (Config { block_size: u32::MAX, ..good.clone() }, "block_size"),
        ] {
            let error = Devnet::start(context.child("devnet"), bad).await.unwrap_err();
            assert!(
                matches!(&error, Error::Setting { setting, .. } if *setting == name),
                "{name}: {error}"
            );
        }
    });
}

#[test]
fn a_directory_that_cannot_be_made_and_a_port_in_use_are_told_apart() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    embed(|context| async move {
        let config = Config { directory: Some(path), ..Config::default() };
        let error = Devnet::start(context.child("devnet"), config).await.unwrap_err();
        assert!(matches!(error, Error::Directory { .. }), "{error}");

        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let config = Config { port, ..Config::default() };
        let error = Devnet::start(context.child("devnet"), config).await.unwrap_err();
        assert!(matches!(error, Error::Bind { .. }), "{error}");
    });
}

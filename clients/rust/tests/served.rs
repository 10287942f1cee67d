//! The client over a real socket, against a real server of a history that the test writes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use std::net::SocketAddr;
use tidewatch_client::{Error, Follow, Hello, Message, Options, Pruned, Reset, Resume};
use tidewatch_core::{Change, HeadSender, Heads, Ladder, LocalView as _, Running, Tier};
use tidewatch_serve::{Config, Listening, Observer, Parts, Server, Token};
use tidewatch_store::{Memory, MemoryReader, MemoryWriter, Retention};
use tidewatch_testkit::chain::{Chain, TestBlock};

/// A history, and whoever serves it.
struct World {
    context: tokio::Context,
    view: MemoryWriter<TestBlock>,
    log: MemoryReader<TestBlock>,
    heads: (HeadSender, Heads),
    chain: Chain,
}

impl World {
    fn new(context: tokio::Context) -> Self {
        let chain = Chain::new('a', 200);
        let (view, log) = Memory::with_retention(chain.chain_info(), Retention::default());
        Self { context, view, log, heads: HeadSender::new(), chain }
    }

    async fn serve(&self, address: &str, config: Config) -> (SocketAddr, Running) {
        let parts = Parts {
            served: self.log.clone(),
            heads: self.heads.1.clone(),
            ladder: Ladder::Certified,
            observer: Observer::default(),
            source: "scripted".into(),
        };
        let address = address.parse().unwrap();
        let listening = Listening::bind(address, config).await.unwrap();
        let address = listening.address();
        let server = Server::new(self.context.child("serve"), listening, parts).await.unwrap();
        (address, Running::start(server))
    }

    /// Delivers blocks, the last of which is proposed, and the one 3 below it final.
    async fn grow(&mut self, from: u64, to: u64) {
        let tip = |tier, height| Change::Advanced {
            tier,
            tip: self.chain.at(height).into(),
            proof: None,
        };
        let blocks = Change::Blocks(self.chain.range(from, to));
        let mut changes = vec![blocks, tip(Tier::Proposed, to)];
        let finalized = self.log.watermarks().unwrap().tips.block(Tier::Finalized);
        if to > 3 + finalized.map_or(0, |block| block.height.get()) {
            changes.push(tip(Tier::Finalized, to - 3));
        }
        self.view.commit(changes).await.unwrap();
    }

    async fn reorg(&mut self, to: u64, fork: char) {
        let tips = self.log.watermarks().unwrap().tips.with(Tier::Proposed, self.chain.at(to));
        self.view.commit(vec![Change::Pruned { to: self.chain.at(to), tips }]).await.unwrap();
        self.chain = self.chain.fork(to + 1, fork, 200);
    }
}

/// Takes messages until the proposed tip is at `height`; gives them.
async fn until(follow: &mut Follow, height: u64) -> Vec<Message> {
    let mut messages = Vec::new();
    let at = |follow: &Follow| follow.state().tips.proposed.as_ref().map(|tip| tip.block.height);
    while at(follow) != Some(height) || messages.is_empty() {
        messages.push(follow.next().await.unwrap());
    }
    messages
}

fn earliest(cursor: Option<String>) -> Options {
    Options { cursor, earliest: true, ..Options::default() }
}

#[test]
fn a_stream_goes_on_over_reorgs_and_restarts_of_both_sides() {
    tokio::Runner::default().start(|context| async move {
        let mut world = World::new(context);
        let (address, server) = world.serve("127.0.0.1:0", Config::default()).await;
        let url = format!("http://{address}/");
        world.grow(1, 10).await;
        let mut follow = Follow::new(&url, earliest(None)).unwrap();
        until(&mut follow, 10).await;
        world.reorg(8, 'b').await;
        world.grow(9, 12).await;
        let seen = until(&mut follow, 12).await;
        let pruned =
            |message: &Message| matches!(message, Message::Pruned(Pruned { depth: 2, .. }));
        assert!(seen.iter().any(pruned), "{seen:?}");

        // The server ends and comes again: it says so, and nothing is missed.
        server.stop();
        server.await.unwrap();
        world.grow(13, 14).await;
        let (_, server) = world.serve(&address.to_string(), Config::default()).await;
        let seen = until(&mut follow, 14).await;
        assert!(seen.iter().any(|message| matches!(message, Message::Goodbye(_))), "{seen:?}");
        let exact = |message: &Message| {
            matches!(message, Message::Hello(Hello { resume: Resume::Exact, .. }))
        };
        assert!(seen.iter().any(exact), "{seen:?}");
        assert!(follow.line().contains("\"event\""));

        // The client does, over a reorg that it does not see.
        let kept = follow.cursor().map(Into::into);
        drop(follow);
        world.reorg(13, 'c').await;
        world.grow(14, 15).await;
        let mut follow = Follow::new(&url, earliest(kept)).unwrap();
        until(&mut follow, 15).await;
        while follow.state().tips.finalized.as_ref().unwrap().block.height < 12 {
            follow.next().await.unwrap();
        }
        server.abort();
    });
}

#[test]
fn digests_are_of_the_chain_through_a_block_or_are_none() {
    tokio::Runner::default().start(|context| async move {
        let mut world = World::new(context);
        world.grow(1, 150).await;
        let (address, _server) = world.serve("127.0.0.1:0", Config::default()).await;
        let mut follow = Follow::new(&format!("http://{address}"), earliest(None)).unwrap();
        until(&mut follow, 150).await;
        let block = |chain: &Chain, height| {
            let digest = chain.at(height).digest.to_string();
            tidewatch_client::Block { height, digest }
        };
        // More than one request may name, and one above the tip that they are asked of.
        let (heights, tip): (Vec<_>, _) = ((1..=141).collect(), block(&world.chain, 140));
        let found = follow.digests(&tip, &heights).await.unwrap().unwrap();
        for (height, digest) in (1..=140).zip(&found) {
            assert_eq!(*digest, Some(block(&world.chain, height).digest));
        }
        assert_eq!(found[140], None);
        world.reorg(148, 'b').await;
        world.grow(149, 150).await;
        let gone = block(&Chain::new('a', 200), 150);
        assert_eq!(follow.digests(&gone, &[149]).await.unwrap(), None);
        let wrong = tidewatch_client::Block { height: 1, digest: "zz".into() };
        let refused = follow.digests(&wrong, &[1]).await.unwrap_err();
        assert!(matches!(refused, Error::Refused { status: 400, .. }), "{refused}");
    });
}

#[test]
fn what_cannot_be_gone_on_from_is_a_reset_or_an_error() {
    tokio::Runner::default().start(|context| async move {
        let mut world = World::new(context);
        world.grow(1, 5).await;
        let (address, _server) = world.serve("127.0.0.1:0", Config::default()).await;
        let url = format!("http://{address}");
        let mut follow = Follow::new(&url, earliest(Some("nonsense".into()))).unwrap();
        let seen = until(&mut follow, 5).await;
        let reset = |message: &Message| {
            matches!(message, Message::Reset(Reset { code, .. }) if code == "malformed_cursor")
        };
        assert!(seen.iter().any(reset), "{seen:?}");

        let token = "0123456789abcdef";
        let config = Config { token: Some(Token::new(token).unwrap()), ..Config::default() };
        let (address, _server) = world.serve("127.0.0.1:0", config).await;
        let url = format!("http://{address}");
        let refused = Follow::new(&url, earliest(None)).unwrap().next().await.unwrap_err();
        assert!(matches!(&refused, Error::Refused { status: 401, code, .. } if code == "unauthorized"));
        let shown = Options { token: Some(token.into()), ..earliest(None) };
        until(&mut Follow::new(&url, shown).unwrap(), 5).await;

        let tiers = vec![("tiers".into(), "finalized".into())];
        let mut follow = Follow::new(&url, Options { query: tiers, token: Some(token.into()), ..earliest(None) }).unwrap();
        while follow.state().tips.finalized.is_none() {
            follow.next().await.unwrap();
        }
        assert!(matches!(Follow::new("here", Options::default()), Err(Error::Address(_))));
        assert!(matches!(Follow::new("mailto:x", Options::default()), Err(Error::Address(_))));
    });
}

//! An execution client that is driven as the command drives one, and goes away.

use super::{minutes, simulate};
use crate::support::rules::Recording;
use commonware_runtime::{Supervisor as _, deterministic::Context};
use commonware_utils::sync::Mutex;
use std::sync::Arc;
use tidewatch_core::{Block as _, BlockRef, Fault, FaultKind, Height, Running};
use tidewatch_execution::{
    Durably, Execution, Executor, Forkchoice, Payload, Standing, Verdict, View, executor,
};
use tidewatch_node::{Config, Follower, Member};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    source::ScriptedSource,
};

#[derive(Clone)]
struct Given(TestBlock);

impl Payload for Given {
    fn reference(&self) -> BlockRef {
        self.0.reference()
    }

    fn evidence(&self) -> String {
        String::new()
    }
}

/// A client that takes every block of a chain, unless it is away.
struct Client {
    chain: Chain,
    stands: Mutex<Forkchoice>,
    away: Mutex<bool>,
}

impl Client {
    fn answers(&self) -> Result<(), Fault> {
        if *self.away.lock() {
            return Err(FaultKind::Unreachable.fault("client", "connection refused"));
        }
        Ok(())
    }
}

impl Execution for Client {
    type Block = TestBlock;
    type Payload = Given;

    fn name(&self) -> &str {
        "client"
    }

    async fn prepare(&self, blocks: &[TestBlock]) -> Result<Vec<Given>, Fault> {
        Ok(blocks.iter().cloned().map(Given).collect())
    }

    async fn give(&self, payload: &Given) -> Result<Verdict, Fault> {
        self.answers()?;
        Ok(Verdict::Valid(payload.reference().digest))
    }

    async fn point(&self, to: &Forkchoice) -> Result<Verdict, Fault> {
        self.answers()?;
        *self.stands.lock() = *to;
        Ok(Verdict::Valid(to.head.digest))
    }

    async fn standing(&self) -> Result<Standing, Fault> {
        self.answers()?;
        Ok(Standing { forkchoice: *self.stands.lock(), order: None })
    }

    async fn at(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        self.answers()?;
        let head = self.stands.lock().head.height;
        let at = |height: &Height| (*height <= head).then(|| self.chain.at(height.get()));
        Ok(heights.iter().map(at).collect())
    }

    async fn durable(&self) -> Result<Option<Height>, Fault> {
        self.answers()?;
        Ok(Some(self.stands.lock().head.height))
    }
}

#[test]
fn an_execution_client_goes_away() {
    simulate(|context: Context| async move {
        let chain = Chain::new('a', 2_000);
        let info = chain.chain_info();
        let genesis = Forkchoice { head: info.genesis, safe: None, finalized: None };
        let (stands, away) = (Mutex::new(genesis), Mutex::new(false));
        let client = Arc::new(Client { chain: chain.clone(), stands, away });
        let named = context.child("tidewatch").child("execution");
        let config = executor::Config::default();
        let (executor, mailbox) = Executor::new(named.child("executor"), client.clone(), config);
        let source = ScriptedSource::new(&chain, [1, 0, 0, 1]);
        let config = Config {
            source: Arc::new(Durably::new(Arc::new(source.clone()), mailbox.floor())),
            view: View::new(client.clone(), mailbox, info, None),
            log: (),
            monitor: (),
            driver: Default::default(),
            supervisor: Default::default(),
        };
        let follower = Follower::start(named.child("follower"), config);
        follower.supervise(Member::critical(Running::start(executor)));

        let (mut height, mut recording) = (1, Recording::default());
        let mut grows = || {
            height += 1;
            source.stand(&chain, [height, 0, 0, height]);
        };
        minutes(&context, &mut recording, 30, &mut grows).await;
        assert!(client.stands.lock().head.height > Height::new(200), "it follows");
        let began = recording.minute();
        recording.fires(&[(began, &[])]);
        *client.away.lock() = true;
        minutes(&context, &mut recording, 60, &mut grows).await;
        recording.fires(&[
            (began + 4, &[]),
            (began + 15, &["TidewatchExecutionFailing"]),
            (began + 59, &["TidewatchExecutionFailing"]),
        ]);
        *client.away.lock() = false;
        minutes(&context, &mut recording, 20, &mut grows).await;
        recording.fires(&[(recording.minute(), &[])]);
    });
}

//! A rollup node that lives in the test, beside a scripted execution node.

use crate::{
    ethereum::tests::node::Node as Execution,
    rpc::{
        Answer, Call, Rpc, Toll, Unanswered,
        tests::node::{Backend, Node},
    },
};
use commonware_runtime::Supervisor as _;
use serde_json::Value;
use tidewatch_core::Doorbell;
use tidewatch_testkit::node::{self, optimism, unknown};

/// What is changed about a sync status before it is sent.
type Edit = Box<dyn FnMut(&mut Value) + Send>;

/// What a rollup node derives.
pub(super) struct Derived {
    chain: Execution,
    chain_id: u64,
    edit: Option<Edit>,
}

/// A rollup node over the chain of an execution node. Clones are handles of one.
#[derive(Clone)]
pub(super) struct Rollup {
    /// The execution node whose chain it derives.
    pub(super) chain: Execution,
    node: Node<Derived>,
}

/// Either node of a pair.
#[derive(Clone)]
pub(super) enum Either {
    Rollup(Node<Derived>),
    Execution(Execution),
}

impl Rollup {
    pub(super) fn new(chain: Execution, chain_id: u64) -> Self {
        let context = chain.context().child("rollup");
        let derived = Derived { chain: chain.clone(), chain_id, edit: None };
        Self { chain, node: Node::of(context, "rollup", derived) }
    }

    pub(super) fn node(&self) -> Either {
        Either::Rollup(self.node.clone())
    }

    pub(super) fn edit(&self, edit: impl FnMut(&mut Value) + Send + 'static) {
        self.node.change(|derived| derived.edit = Some(Box::new(edit)));
    }

    /// Its sync status if nobody edits it.
    pub(super) fn status(&self) -> Value {
        optimism::status(&**self.chain.world.lock())
    }
}

impl Backend for Derived {
    fn answer(&mut self, method: &str, _: &[Value]) -> node::Answer {
        let answer = optimism::answer(&**self.chain.world.lock(), method);
        let mut value = answer.unwrap_or_else(|| unknown(method))?;
        if method == "optimism_rollupConfig" {
            value["l2_chain_id"] = self.chain_id.into();
        } else if let Some(edit) = &mut self.edit {
            edit(&mut value);
        }
        Ok(value)
    }

    fn extend(&mut self, blocks: u64) {
        self.chain.change(|world| world.extend(blocks));
    }
}

impl Rpc for Either {
    fn name(&self) -> &str {
        match self {
            Self::Rollup(node) => node.name(),
            Self::Execution(node) => node.name(),
        }
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        match self {
            Self::Rollup(node) => node.send(calls).await,
            Self::Execution(node) => node.send(calls).await,
        }
    }

    fn doorbell(&self, toll: Toll) -> Doorbell {
        match self {
            Self::Rollup(_) => Doorbell::silent(),
            Self::Execution(node) => node.doorbell(toll),
        }
    }
}

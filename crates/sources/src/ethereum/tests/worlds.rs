//! Worlds drawn from seeds, around the source as it is and a driver: nodes that refuse amounts, in whole and in
//! part and in every way that nodes do, and nodes whose history begins late.

use super::{ID, node::Node, simulate};
use crate::{
    ethereum::EthereumSource,
    rpc::{Answer, Call, Config, Rpc, RpcError, Unanswered},
};
use commonware_runtime::{Clock as _, Supervisor as _, deterministic::Context};
use commonware_utils::sync::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::value::RawValue;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tidewatch_core::{FaultKind, Height, Source as _};
use tidewatch_store::Memory;
use tidewatch_stream::{Driver, Mailbox, Mode, Start, driver};
use tidewatch_testkit::monitor::Faults;

/// Worlds.
const SEEDS: u64 = 40;

/// Worlds that show what never asking for less comes to.
const MISREAD: u64 = 12;

/// How far below the tip blocks are final.
const FINAL: u64 = 10;

/// How long a world may take to converge once its chain stands still.
const PATIENCE: u64 = 120;

/// How a node says that it was asked for too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Refusal {
    /// The whole request, before it is read.
    Request,
    /// Every call of it, by an error.
    Calls,
    /// The first calls are answered, and the others refused by an error.
    Rest,
    /// The first calls are answered, and the others left out.
    LeftOut,
}

const REFUSALS: [Refusal; 4] = [Refusal::Request, Refusal::Calls, Refusal::Rest, Refusal::LeftOut];

/// How one node is.
#[derive(Clone, Copy, Debug)]
struct Nature {
    /// Calls that it takes at once.
    calls_max: usize,
    refusal: Refusal,
    /// The oldest block that it has, beside genesis.
    begins: u64,
}

/// A world.
#[derive(Clone, Debug)]
struct Mix {
    blocks: u64,
    natures: Vec<Nature>,
    start: Start,
    lanes: usize,
}

impl Mix {
    fn of(rng: &mut StdRng) -> Self {
        let blocks = rng.random_range(30..300);
        let begins = if rng.random_bool(0.5) { 1 } else { rng.random_range(2..blocks) };
        let mut natures: Vec<_> = (0..rng.random_range(1..=3))
            .map(|_| Nature {
                calls_max: *[1, 2, 3, 5, 10, 20].choose(rng).unwrap(),
                refusal: *REFUSALS.choose(rng).unwrap(),
                begins,
            })
            .collect();
        // One of several may have everything.
        if natures.len() > 1 && rng.random_bool(0.5) {
            natures[0].begins = 1;
        }
        let start = match rng.random_range(0..3) {
            0 => Start::Genesis,
            1 => Start::Tip,
            _ => Start::Height(Height::new(rng.random_range(1..=blocks))),
        };
        Self { blocks, natures, start, lanes: rng.random_range(1..=4) }
    }

    /// The first block that is asked for.
    const fn first(&self) -> u64 {
        match self.start {
            Start::Genesis => 1,
            Start::Tip => self.blocks - FINAL,
            Start::Height(start) => start.get(),
        }
    }

    /// Whether some node has all that is asked for. What a reorg asks for is far above any beginning.
    fn is_whole(&self) -> bool {
        self.natures.iter().any(|nature| nature.begins <= self.first())
    }
}

/// What the node says of `calls`, and how often it refused.
fn answer(
    nature: Nature,
    refused: &Mutex<u64>,
    calls: &[Call],
    mut answers: Vec<Answer>,
) -> Result<Vec<Answer>, Unanswered> {
    for (call, answer) in calls.iter().zip(&mut answers) {
        let height = call.params.first().and_then(|height| height.as_str()?.strip_prefix("0x"));
        let height = height.and_then(|height| u64::from_str_radix(height, 16).ok());
        if height.is_some_and(|height| (1..nature.begins).contains(&height)) {
            *answer = Ok(RawValue::NULL.to_owned());
        }
    }
    let most = nature.calls_max;
    if calls.len() <= most {
        return Ok(answers);
    }
    *refused.lock() += 1;
    let words = format!("batch of {} calls, the limit is {most}", calls.len());
    let fault = FaultKind::Unavailable.fault("node", &words);
    let error = || Err(RpcError { code: -32_600, message: words.clone() });
    match nature.refusal {
        Refusal::Request => Err(Unanswered::TooMany(fault)),
        Refusal::Calls => Ok(calls.iter().map(|_| error()).collect()),
        Refusal::Rest => {
            answers[most..].fill_with(error);
            Ok(answers)
        }
        Refusal::LeftOut => {
            let mut answers: Vec<_> = answers.into_iter().map(Some).collect();
            answers[most..].fill_with(|| None);
            Err(Unanswered::Part { answers, fault: Box::new(fault) })
        }
    }
}

/// A node whose refusals read as if they were about something else than the amount: whoever is in front of it
/// never asks for less.
struct Misread(Node);

impl Rpc for Misread {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        let answers = match self.0.send(calls).await {
            Ok(answers) => answers,
            Err(unanswered) => return Err(Unanswered::Fault(unanswered.into_fault())),
        };
        let misread =
            |answer: Answer| answer.map_err(|error| RpcError { message: "no".into(), ..error });
        Ok(answers.into_iter().map(misread).collect())
    }
}

/// Why a world is not as it should be, where it is not.
async fn live<R: Rpc>(
    context: &Context,
    rng: &mut StdRng,
    mix: &Mix,
    seen_by: impl Fn(Node) -> R,
) -> Result<(), String> {
    let first = Node::new(context.child("node"), "0", ID, mix.blocks);
    let settled = Some(mix.blocks - FINAL);
    first.change(|world| (world.safe, world.finalized) = (settled, settled));
    let mut nodes = vec![first.clone()];
    nodes.extend((1..mix.natures.len()).map(|nth| first.twin(&nth.to_string())));
    let refused = Arc::new(Mutex::new(0));
    for (node, nature) in nodes.iter().zip(&mix.natures) {
        let (nature, refused) = (*nature, refused.clone());
        node.tamper(move |calls, answers| answer(nature, &refused, calls, answers));
    }
    let told = Faults::default();
    let config = Config {
        lanes: mix.lanes.try_into().unwrap(),
        requests_per_second: 1_000.try_into().unwrap(),
        requests_burst: 1_000.try_into().unwrap(),
        ..Config::default()
    };
    let endpoints = nodes.iter().cloned().map(seen_by).collect();
    let source = EthereumSource::new(context.child("source"), endpoints, Arc::new(()), &config);
    let source = Arc::new(source.unwrap());
    let chain_info = source.chain_info().await.map_err(|fault| format!("no chain: {fault}"))?;
    let (view, _) = Memory::new(chain_info);
    let parts = driver::Parts { source, view, monitor: told.clone() };
    let mode = Mode::Blocks { start: mix.start, skip_finalized: false };
    let config = driver::Config { mode, ..driver::Config::default() };
    let (driver, mailbox) = Driver::new(context.child("driver"), parts, config);
    driver.start();
    for _ in 0..10 {
        context.sleep(Duration::from_secs(rng.random_range(1..8))).await;
        let (depth, blocks) = (rng.random_range(1..4), rng.random_range(4..40));
        let reorg = rng.random_bool(0.3);
        for node in &nodes {
            node.change(
                |world| if reorg { world.reorg(depth, blocks) } else { world.extend(blocks) },
            );
        }
    }
    converged(context, &mailbox, &nodes, mix, &told).await?;
    // What was refused is not asked for again and again.
    let (refused, requests) = (*refused.lock(), nodes.iter().map(Node::requests).sum::<usize>());
    if refused as usize > 60 + requests / 8 {
        return Err(format!("{refused} of {requests} requests were refused"));
    }
    Ok(())
}

/// With a node that has all that is needed, the view comes to where the chain is. Without one, it says once where
/// the history begins, and asks for little more.
async fn converged(
    context: &Context,
    mailbox: &Mailbox,
    nodes: &[Node],
    mix: &Mix,
    told: &Faults,
) -> Result<(), String> {
    if !mix.is_whole() {
        let asked = nodes.iter().map(Node::requests).sum::<usize>();
        context.sleep(Duration::from_secs(PATIENCE)).await;
        let asked = nodes.iter().map(Node::requests).sum::<usize>() - asked;
        let told = told.all();
        let begins = format!("--start {}", mix.natures[0].begins);
        let said: BTreeSet<_> = told
            .iter()
            .filter(|fault| fault.kind == FaultKind::Missing)
            .filter(|fault| fault.detail.contains(&begins))
            .map(|fault| &fault.detail)
            .collect();
        if said.len() != 1 {
            return Err(format!("{begins:?} is not said once, but {said:?}"));
        }
        // Three tags one by one, twice a second, and hardly anything else.
        if asked > 4 * 2 * PATIENCE as usize {
            return Err(format!("{asked} requests while nothing can be had"));
        }
        return Ok(());
    }
    for _ in 0..PATIENCE {
        context.sleep(Duration::from_secs(1)).await;
        if mailbox.heads().current().delivered() == Some(nodes[0].tip()) {
            return Ok(());
        }
    }
    let stands = mailbox.heads().current().delivered();
    let last = told.all().pop();
    Err(format!("at {stands:?}, not {}: {last:?}", nodes[0].tip()))
}

fn run<R: Rpc>(seed: u64, seen_by: impl Fn(Node) -> R) -> (Mix, Result<(), String>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mix = Mix::of(&mut rng);
    let world = mix.clone();
    let result =
        simulate(seed, |context| async move { live(&context, &mut rng, &world, seen_by).await });
    (mix, result)
}

#[test]
fn whoever_is_refused_for_the_amount_asks_for_less_and_gets_on() {
    let (mut refusals, mut late, mut short) = (BTreeSet::new(), 0, 0);
    for seed in 0..SEEDS {
        let (mix, result) = run(seed, |node| node);
        assert_eq!(result, Ok(()), "seed {seed}: {mix:?}");
        refusals.extend(mix.natures.iter().map(|nature| nature.refusal));
        let begins_late = mix.natures.iter().any(|nature| nature.begins > 1);
        late += u32::from(mix.is_whole() && begins_late);
        short += u32::from(!mix.is_whole());
    }
    assert_eq!(refusals.len(), REFUSALS.len());
    assert!(late > 5 && short > 5, "{late} histories begin late, {short} too late");
}

#[test]
fn whoever_never_asks_for_less_is_seen_not_to_get_on() {
    let mut stuck = BTreeSet::new();
    for seed in 0..MISREAD {
        let (mix, result) = run(seed, Misread);
        if result.is_err() {
            stuck.extend(mix.natures.iter().map(|nature| nature.refusal));
        }
    }
    assert_eq!(stuck, REFUSALS.into_iter().collect());
}

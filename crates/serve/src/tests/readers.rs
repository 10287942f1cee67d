//! Readers of every kind at one server, while its chain reorgs and its events are trimmed: none loses an event or
//! has one twice, and every gap has a name.

use super::{
    Served,
    client::{Said, connect},
    config, serve,
};
use crate::{Config, events::Select};
use commonware_utils::{NZU64, NZUsize};
use futures::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    time::Duration,
};
use tidewatch_core::{
    Cursor, EventLog as _, Record, Tier, Watermarks,
    json::{Block, Line, Tips},
};
use tokio::sync::Notify;

/// How a reader reads.
#[derive(Clone, Copy, Debug)]
struct Kind {
    query: &'static str,
    headers: &'static str,
    version: &'static str,
    /// Lines after which it cuts the connection, at the most.
    lives: Option<u64>,
    /// Bytes that are read at once.
    bytes: usize,
    /// It reads nothing while the first part of the history happens.
    stalls: bool,
}

const PLAIN: Kind = Kind {
    query: "",
    headers: "accept: text/event-stream\n",
    version: "1.1",
    lives: None,
    bytes: 8 * 1024,
    stalls: false,
};

const LINES: &str = "accept: application/jsonl\n";

/// Commits of the history.
const STEPS: usize = 400;

const KINDS: [Kind; 14] = [
    PLAIN,
    Kind { headers: LINES, ..PLAIN },
    Kind { version: "1.0", ..PLAIN },
    Kind { lives: Some(20), ..PLAIN },
    Kind { lives: Some(5), headers: LINES, version: "1.0", ..PLAIN },
    Kind { bytes: 1, ..PLAIN },
    Kind { stalls: true, ..PLAIN },
    Kind { stalls: true, headers: LINES, lives: Some(300), ..PLAIN },
    Kind { query: "&tiers=finalized", ..PLAIN },
    Kind { query: "&mode=latest", ..PLAIN },
    Kind { query: "&mode=latest", lives: Some(7), ..PLAIN },
    Kind { query: "&tiers=proposed", lives: Some(10), ..PLAIN },
    Kind { query: "&kinds=blocks", stalls: true, ..PLAIN },
    Kind { query: "&kinds=pruned", lives: Some(3), ..PLAIN },
];

/// What happened, and how far it is.
#[derive(Default)]
struct Truth {
    records: RefCell<Vec<Record>>,
    /// How far the first reader is.
    first: Cell<u64>,
    /// Readers that have begun to stall.
    stalled: Cell<usize>,
    /// Nothing more happens.
    over: Cell<bool>,
    /// The first part has happened.
    half: Cell<bool>,
    news: Notify,
}

impl Truth {
    /// Where the history stands after its first `handled` events.
    fn after(&self, handled: u64) -> Watermarks {
        let at = (handled as usize).checked_sub(1);
        at.map_or_else(Watermarks::none, |at| self.records.borrow()[at].watermarks)
    }
}

impl Kind {
    fn select(&self) -> Select {
        let word = |name: &str| {
            self.query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        Select::parse(word("tiers"), word("kinds")).unwrap()
    }
}

/// One reader, and what it holds.
struct Reader<'a> {
    truth: &'a Truth,
    kind: &'a Kind,
    select: Select,
    handled: u64,
    cursor: String,
    block: Value,
    tips: Value,
    /// Events come that are in no log, up to the event with this number.
    bridge: Option<u64>,
    gaps: u64,
}

impl Reader<'_> {
    /// Reads until it stands where nothing more happens. Gives how many gaps there were.
    async fn run(mut self, address: SocketAddr, mut dice: StdRng, first: bool) -> u64 {
        let (kind, truth) = (self.kind, self.truth);
        loop {
            let head = format!(
                "GET /v1/events?cursor={}{} HTTP/{}\r\nhost: {address}\r\n{}\r\n",
                self.cursor,
                kind.query,
                kind.version,
                kind.headers.replace('\n', "\r\n")
            );
            let mut answer = connect(address, &head, kind.bytes).await;
            if answer.status == 503 {
                assert!(self.bridge.is_some(), "{}", answer.head);
                continue;
            }
            assert_eq!(answer.status, 200, "{}", answer.head);
            let lives = kind.lives.map_or(u64::MAX, |lives| dice.random_range(1..=lives));
            for line in 0..lives {
                if kind.stalls && line == 3 && !truth.half.get() {
                    truth.stalled.set(truth.stalled.get() + 1);
                    truth.news.notified().await;
                }
                let Some(said) = answer.said().await else { break };
                self.take(&said);
                if first {
                    truth.first.set(self.handled);
                }
                let all = truth.records.borrow().len() as u64;
                if truth.over.get() && self.handled == all && said.event == "bookmark" {
                    self.check();
                    return self.gaps;
                }
            }
        }
    }

    fn take(&mut self, said: &Said) {
        let cursor: Cursor = said.cursor.parse().unwrap();
        match said.event.as_str() {
            "hello" => match said.object["resume"].as_str().unwrap() {
                "exact" => self.bridge = None,
                "forked" => self.gap(),
                // A position inside of a bridge, of a chain that became shorter since: the log does not tell yet.
                "ahead" if self.bridge.is_some() || self.kind.query.contains("latest") => {
                    self.gap();
                }
                other => panic!("{other}: {said:?}"),
            },
            "lagged" => {
                self.reach(said.object["from"].as_u64().unwrap());
                self.gap();
            }
            "bookmark" if said.cursor == self.cursor => {}
            "bookmark" => self.reach(cursor.handled()),
            "goodbye" => assert_eq!(said.cursor, self.cursor),
            _ => self.event(said, cursor.handled()),
        }
        self.cursor.clone_from(&said.cursor);
    }

    /// What comes next is in no log.
    fn gap(&mut self) {
        self.gaps += 1;
        self.bridge = Some(0);
    }

    /// Nothing that was asked for happened up to `handled`.
    fn reach(&mut self, handled: u64) {
        let records = self.truth.records.borrow();
        if self.bridge.take().is_none() {
            for at in self.handled..handled {
                let before = self.truth.after(at);
                let event = &records[at as usize].event;
                assert!(!self.select.passes(event, &before), "{at} was lost: {event:?}");
            }
        }
        self.handled = handled;
    }

    fn event(&mut self, said: &Said, handled: u64) {
        // All events of a bridge count as many, and lead to where the log has come.
        let bridged = self.bridge.is_some_and(|to| to == 0 || to == handled);
        if !bridged && self.bridge.take().is_some() {
            self.check();
        }
        match said.event.as_str() {
            "blocks" => self.block = said.object["to"].clone(),
            "pruned" => {
                (self.block, self.tips) = (said.object["to"].clone(), said.object["tips"].clone());
            }
            _ => {
                let object = &said.object;
                let tier = object["tier"].as_str().unwrap();
                self.tips[tier] =
                    json!({"block": object["block"], "checkpoint": object["checkpoint"]});
            }
        }
        if bridged {
            self.bridge = Some(handled);
            self.handled = handled;
            return;
        }
        if self.kind.query.contains("latest") {
            assert!(handled >= self.handled, "{handled} came after {}", self.handled);
            self.handled = handled;
            return;
        }
        assert!(handled > self.handled, "{handled} came twice: {said:?}");
        self.reach(handled - 1);
        self.handled = handled;
        let records = self.truth.records.borrow();
        let record = &records[handled as usize - 1];
        let line = Line::event(&record.event, &record.cursor);
        let mut wanted = serde_json::to_value(line).unwrap();
        let mut object = said.object.clone();
        // A cursor locates less once what it located was pruned.
        (wanted["cursor"], object["cursor"]) = (json!(null), json!(null));
        assert_eq!(object, wanted);
    }

    /// What it holds is what the history says.
    fn check(&self) {
        let kind = self.kind;
        let watermarks = self.truth.after(self.handled);
        let tips = serde_json::to_value(Tips::from(&watermarks.tips)).unwrap();
        for tier in Tier::ALL.into_iter().filter(|tier| self.select.tiers[tier.index()]) {
            let (ours, theirs) = (&self.tips[tier.as_str()], &tips[tier.as_str()]);
            assert_eq!(ours["block"], theirs["block"], "{kind:?} {tier}");
        }
        if self.select.blocks {
            let block = serde_json::to_value(watermarks.delivered.map(Block::from)).unwrap();
            assert_eq!(self.block, block, "{kind:?}");
        }
    }
}

/// Blocks come and go, no faster than the first reader reads.
async fn happen(served: &mut Served, mut dice: StdRng, truth: &Truth) {
    let (mut height, forks) = (0, ['b', 'c', 'd', 'e']);
    for step in 0..=STEPS {
        let finalized = served.watermarks().tips.block(Tier::Finalized);
        let finalized = finalized.map_or(0, |block| block.height.get());
        if step == STEPS {
            // Higher than ever before, so that no position stays ahead.
            served.grow(height + 1, height + 20, 6).await;
        } else if height > finalized && dice.random_ratio(1, 8) {
            height = dice.random_range(finalized.max(1)..=height);
            served.reorg(height, forks[step % forks.len()]).await;
        } else {
            let up = dice.random_range(1..=3);
            served.grow(height + 1, height + up, 6).await;
            height += up;
        }
        let seen = truth.records.borrow().len() as u64;
        let records = served.log.read(seen, NZUsize!(1_000)).await.unwrap();
        truth.records.borrow_mut().extend(records);
        if step == STEPS * 2 / 3 {
            truth.half.set(true);
            truth.news.notify_waiters();
        }
        let stall = if step == 20 { KINDS.iter().filter(|kind| kind.stalls).count() } else { 0 };
        while truth.stalled.get() < stall
            || truth.first.get() + 100 < truth.records.borrow().len() as u64
        {
            tokio::task::yield_now().await;
        }
    }
    truth.over.set(true);
}

#[test]
fn no_reader_loses_an_event_or_has_one_twice_and_every_gap_has_a_name() {
    let config = Config { heartbeat: Duration::from_millis(50), ..config() };
    serve(config, NZU64!(256), |mut served| async move {
        let (address, truth) = (served.address, Truth::default());
        let start = Cursor::start(&served.log.chain_info().id).to_string();
        let seed = |number| StdRng::seed_from_u64(number);
        let readers = (0..).zip(&KINDS).map(|(number, kind)| {
            let reader = Reader {
                truth: &truth,
                kind,
                select: kind.select(),
                handled: 0,
                cursor: start.clone(),
                block: json!(null),
                tips: json!({}),
                bridge: None,
                gaps: 0,
            };
            reader.run(address, seed(number), number == 0)
        });
        let (gaps, ()) =
            futures::join!(join_all(readers), happen(&mut served, seed(1_000), &truth));
        for (kind, gaps) in KINDS.iter().zip(gaps) {
            assert!(
                !kind.stalls || gaps > 0 || !kind.query.is_empty(),
                "{kind:?} lost nothing by standing still"
            );
        }
        served.running.stop();
    });
}

//! Every interleaving of passes with a source, a view and a process.
//!
//! # Overview
//!
//! The world can act before a source call is answered, at a commit, and where evidence is kept (see
//! [`fate::Act`]): the source moves, the call fails, the commit fails after so many of its changes, or the
//! process dies there and a new one goes on with what the view has. As long as the path has points, one
//! pass follows another.
//!
//! Not among the acts: a source that lies (but for an old snapshot, and ranges of another chain than the
//! tip that they were asked under), calls that are answered late, and commits of which anything but a
//! beginning is made.
//!
//! # What holds
//!
//! - On the way, of every commit: what [`Watched`] asserts, which are the invariants of the stream.
//! - No fault is fatal, and none says that an honest source lied. A source that goes back to a fork that
//!   it left, within one pass, may be said to: what it answers before and after belongs together, and
//!   what it answers in between does not.
//! - At the end of the path, [`PASSES_MAX`] passes bring the view to where the source stands, and then
//!   a pass costs one call.

mod fate;

use super::choices::{Budget, Choices};
use crate::{
    Ended, Mode, Pass, Report, Start,
    tests::{
        Watched,
        chain::Chain,
        follower::{SKIP, from},
        source::ScriptedSource,
        words::{tips_words, watermarks_words},
    },
};
use commonware_utils::sync::Mutex;
use fate::{Fate, Lifetime, Menu, Shared, Survivor, TOP, height};
use futures::FutureExt as _;
use std::sync::Arc;
use tidewatch_core::{
    Block as _, BlockRef, ChainInfo, Event, Fault, Ladder, Severity, Tier, TipSet,
};
use tidewatch_store::Memory;

/// Passes that make up for everything, once nothing happens any more.
const PASSES_MAX: usize = 1;

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// The source has one block and no tier, the view nothing.
    Anew,
    /// The source has three blocks and every tier, the view nothing.
    Behind,
    /// The view has taken in all of that.
    Level,
}

/// What is the same on all paths.
#[derive(Clone, Copy, Debug)]
struct Setting {
    mode: Mode,
    ladder: Ladder,
    begins: Begins,
    /// Blocks, and digests, in one answer.
    batch: usize,
    /// Ranges are of whatever chain the source is on, not of the tip that they are asked under.
    careless: bool,
    menu: Menu,
}

/// What happened on all paths of a test.
#[derive(Debug, Default, PartialEq, Eq)]
struct Happened {
    paths: usize,
    prunes: usize,
    regressions: usize,
    deaths: usize,
    faults: usize,
}

/// One path.
struct Walk<'a> {
    setting: Setting,
    chain_info: ChainInfo,
    source: ScriptedSource,
    view: Survivor,
    fate: Shared,
    happened: &'a mut Happened,
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let fate = self.fate.lock();
        eprintln!("{:?}, along {:?}:", self.setting, fate.choices.picks());
        for act in fate.choices.acts() {
            eprintln!("  {act}");
        }
        drop(fate);
        eprintln!("  the source stands at {}", tips_words(&self.stands().0));
        let view = &self.view.inner;
        eprintln!("  the view at {}, after {:?}", watermarks_words(&view.stands()), view.words());
    }
}

impl<'a> Walk<'a> {
    fn new(setting: Setting, choices: Choices, happened: &'a mut Happened) -> Self {
        let (chain, heights) = match (setting.begins, setting.ladder) {
            (Begins::Anew, _) => (Chain::new('a', 1), [1, 0, 0, 0]),
            (_, Ladder::Rollup) => (Chain::new('a', 3), [3, 2, 1, 1]),
            (_, Ladder::Certified) => (Chain::new('a', 3), [3, 1, 1, 2]),
        };
        let source = ScriptedSource::new(&chain, heights);
        source.change(|world| {
            world.ladder = setting.ladder;
            (world.blocks_max, world.digests_max) = (setting.batch, setting.batch);
            world.careless = setting.careless;
        });
        let fate = Arc::new(Mutex::new(Fate::new(choices, setting.menu, chain.tips(heights))));
        let inner = Watched::new(Memory::new(chain.chain_info()), setting.ladder);
        let (call, commit) = (fate.clone(), fate.clone());
        source.chaos(Some(Box::new(move |world, asked| call.lock().call(world, asked))));
        inner.chaos(Some(Box::new(move |changes| commit.lock().commit(changes))));
        let view = Survivor { inner, fate: fate.clone() };
        Self { setting, chain_info: chain.chain_info(), source, view, fate, happened }
    }

    /// Goes the whole path.
    fn go(&mut self) {
        if self.setting.begins == Begins::Level {
            self.pass();
        }
        self.fate.lock().peace = false;
        while !self.fate.lock().choices.spent() {
            self.pass();
        }
        self.fate.lock().peace = true;
        let mut passes = 0;
        while let Some(about) = self.unsettled() {
            assert!(passes < PASSES_MAX, "after {passes} passes in peace: {about}");
            self.pass();
            passes += 1;
        }
        let calls = self.source.calls().len();
        let quiet = self.pass().expect("the process lives").expect("the source is sound");
        assert_eq!(quiet.ended, Ended::Quiet);
        assert_eq!(self.source.calls().len(), calls + 1, "a quiet pass asks once");
        self.happened.paths += 1;
        for event in self.view.inner.events() {
            self.happened.prunes += usize::from(matches!(event, Event::Pruned { .. }));
            self.happened.regressions += usize::from(matches!(event, Event::Regressed { .. }));
        }
    }

    /// One pass of a new process; `None` if it died.
    fn pass(&mut self) -> Option<Result<Report, Fault>> {
        self.fate.lock().dead = false;
        let guard = Lifetime(self.fate.clone());
        let (view, mode) = (&mut self.view, self.setting.mode);
        let mut pass = Pass::new(&self.source, view, &self.chain_info, mode, guard, &());
        let result = pass.run().now_or_never();
        let mut faults = pass.faults().to_vec();
        match &result {
            None => assert!(self.fate.lock().dead, "nothing but death keeps a pass waiting"),
            Some(Ok(report)) => faults.extend_from_slice(&report.faults),
            Some(Err(fault)) => faults.push(fault.clone()),
        }
        self.happened.deaths += usize::from(result.is_none());
        self.happened.faults += faults.len();
        self.judge(&faults);
        result
    }

    /// What a pass may say of the source.
    fn judge(&self, faults: &[Fault]) {
        let honest = !self.setting.careless && !self.fate.lock().old_answer;
        for fault in faults {
            assert!(!fault.severity().is_fatal(), "{fault}");
            assert!(!honest || fault.severity() != Severity::Invalid, "it is honest: {fault}");
        }
        assert!(!honest || self.view.inner.evidence().is_empty(), "it is honest");
    }

    /// Where the source stands.
    fn stands(&self) -> (TipSet, Chain) {
        let (mut tips, mut chain) = (TipSet::unknown(), Chain::new('a', 0));
        self.source.change(|world| (tips, chain) = (world.tips, world.chain.clone()));
        (tips, chain)
    }

    /// What the view lacks to stand where the source does.
    fn unsettled(&self) -> Option<String> {
        let (tips, chain) = self.stands();
        let watermarks = self.view.inner.stands();
        for tier in Tier::ALL {
            let theirs = tips.block(tier);
            if theirs.is_some() && theirs != watermarks.tips.block(tier) {
                return Some(format!("{tier} is not theirs"));
            }
        }
        let proposed = chain.tip();
        let start = match self.setting.mode {
            Mode::TipsOnly => u64::MAX,
            Mode::Blocks { start: Start::Genesis, .. } => 1,
            Mode::Blocks { start: Start::Height(height), .. } => height.get(),
            Mode::Blocks { start: Start::Tip, .. } => {
                height(&tips, Tier::Finalized).unwrap_or(proposed).max(1)
            }
        };
        if watermarks.delivered.is_none() && proposed < start {
            return None;
        }
        if watermarks.delivered != chain.get(proposed) {
            return Some("not everything was delivered".into());
        }
        let first = (0..=TOP).find(|height| self.block(*height).is_some()).unwrap_or(proposed + 1);
        let wrong = (first..=proposed).find(|height| self.block(*height) != chain.get(*height));
        wrong.map(|height| format!("block {height} is not theirs"))
    }

    /// The block that the view has at `height`.
    fn block(&self, height: u64) -> Option<BlockRef> {
        self.view.inner.block(height).map(|block| block.reference())
    }
}

/// Goes every path of `setting` within `budget`.
fn explore(setting: Setting, budget: Budget, happened: &mut Happened) {
    let mut choices = Choices::new(budget);
    loop {
        let mut walk = Walk::new(setting, choices, happened);
        walk.go();
        choices = std::mem::replace(&mut walk.fate.lock().choices, Choices::new(budget));
        if !choices.turn() {
            return;
        }
    }
}

const LADDERS: [Ladder; 2] = [Ladder::Rollup, Ladder::Certified];

const START_AT_TIP: Mode = Mode::Blocks { start: Start::Tip, skip_finalized: false };

/// A view that takes in all of an honest source's answers at once.
const fn level(mode: Mode, ladder: Ladder) -> Setting {
    Setting { mode, ladder, begins: Begins::Level, batch: 64, careless: false, menu: Menu::Long }
}

#[test]
fn whatever_three_things_happen_a_view_of_blocks_comes_to_stand_where_its_source_does() {
    let mut happened = Happened::default();
    for ladder in LADDERS {
        explore(level(Mode::GENESIS, ladder), Budget { points: 6, acts: 3 }, &mut happened);
    }
    let (paths, prunes, regressions) = (34_807, 24_058, 8611);
    let (deaths, faults) = (13_317, 28_953);
    assert_eq!(happened, Happened { paths, prunes, regressions, deaths, faults });
}

#[test]
fn whatever_three_things_happen_a_view_of_tips_comes_to_stand_where_its_source_does() {
    let mut happened = Happened::default();
    for ladder in LADDERS {
        explore(level(Mode::TipsOnly, ladder), Budget { points: 6, acts: 3 }, &mut happened);
    }
    let (paths, prunes, regressions) = (33_545, 23_282, 8355);
    let (deaths, faults) = (13_202, 27_239);
    assert_eq!(happened, Happened { paths, prunes, regressions, deaths, faults });
}

#[test]
fn whatever_two_things_happen_a_new_view_in_any_mode_comes_to_stand_where_its_source_does() {
    let mut happened = Happened::default();
    for mode in [Mode::GENESIS, Mode::TipsOnly, from(2), from(3), SKIP, START_AT_TIP] {
        for ladder in LADDERS {
            for begins in [Begins::Anew, Begins::Behind] {
                let setting = Setting { begins, ..level(mode, ladder) };
                explore(setting, Budget { points: 8, acts: 2 }, &mut happened);
            }
        }
    }
    let (paths, prunes, regressions) = (71_330, 25_911, 7929);
    let (deaths, faults) = (21_257, 31_639);
    assert_eq!(happened, Happened { paths, prunes, regressions, deaths, faults });
}

#[test]
fn whatever_two_things_happen_a_source_that_answers_little_or_carelessly_is_followed() {
    let mut happened = Happened::default();
    for (batch, careless) in [(1, false), (1, true), (64, true)] {
        for begins in [Begins::Behind, Begins::Level] {
            let setting = Setting { begins, batch, careless, ..level(SKIP, Ladder::Certified) };
            explore(setting, Budget { points: 10, acts: 2 }, &mut happened);
            let setting = Setting { mode: Mode::GENESIS, ladder: Ladder::Rollup, ..setting };
            explore(setting, Budget { points: 8, acts: 2 }, &mut happened);
        }
    }
    let (paths, prunes, regressions) = (36_775, 17_427, 5336);
    let (deaths, faults) = (11_216, 18_695);
    assert_eq!(happened, Happened { paths, prunes, regressions, deaths, faults });
}

#[test]
fn whatever_happens_at_each_of_six_points_a_view_comes_to_stand_where_its_source_does() {
    let mut happened = Happened::default();
    for mode in [Mode::GENESIS, Mode::TipsOnly] {
        for ladder in LADDERS {
            let setting = Setting { menu: Menu::Short, ..level(mode, ladder) };
            explore(setting, Budget { points: 6, acts: 6 }, &mut happened);
        }
    }
    let (paths, prunes, regressions) = (16_482, 6580, 0);
    let (deaths, faults) = (29_216, 6988);
    assert_eq!(happened, Happened { paths, prunes, regressions, deaths, faults });
}

/// How a path that failed is looked at again: with the numbers that it printed.
#[test]
fn a_path_goes_the_same_way_again() {
    let replay = |picks: &[usize]| {
        let (budget, mut happened) = (Budget { points: 6, acts: 3 }, Happened::default());
        let setting = level(Mode::GENESIS, Ladder::Rollup);
        let mut walk = Walk::new(setting, Choices::along(budget, picks), &mut happened);
        walk.go();
        let acts = walk.fate.lock().choices.acts().to_vec();
        (acts, walk.view.inner.words())
    };
    let (acts, events) = replay(&[0, 4, 0, 1]);
    assert_eq!(
        acts,
        [
            "2. before Snapshot: the source changes forks at 2, up to 4",
            "4. before Digests([3, 2, 1]): the source changes forks at 2, up to 2",
        ]
    );
    assert_eq!(replay(&[0, 4, 0, 1]).1, events);
    assert_ne!(replay(&[0, 4, 0, 2]).1, events);
}

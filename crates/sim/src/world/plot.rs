//! What the endpoints of a certified chain do about the ends of epochs, whatever else they do.

use commonware_utils::sync::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use std::sync::Arc;
use tidewatch_testkit::chain::TestBlock;

/// How long the ends of epochs are withheld, and served then.
const WINDOW_MS: u64 = 8_000;

/// What every endpoint withholds of the last blocks of epochs, now and then, while faults last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Withholds {
    /// Nothing.
    #[default]
    Nothing,
    /// Their certificates.
    Certificates,
    /// The blocks too.
    Blocks,
}

/// A world's plot, as it is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plot {
    /// What is withheld.
    pub withholds: Withholds,
    /// Whether at the end of the world the validators finalize another block where an epoch ended.
    pub contradicts: bool,
}

impl Plot {
    /// Drawn by itself, so that the other worlds stay as they are. Ends of epochs come in some chains only.
    pub(super) fn of(seed: u64, epoch: u64, hostility: f64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x0065_706f_6368);
        if epoch > 20 {
            return Self::default();
        }
        let all = [Withholds::Nothing, Withholds::Certificates, Withholds::Blocks];
        let withholds = all.choose(&mut rng).copied().unwrap_or_default();
        let withholds = if hostility > 0.0 { withholds } else { Withholds::Nothing };
        Self { withholds, contradicts: rng.random_bool(0.5) }
    }
}

/// The plot as it goes: what the endpoints look at.
#[derive(Clone, Debug, Default)]
pub struct Scene(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    withholds: Withholds,
    /// A second block at the end of an epoch.
    contradiction: Option<TestBlock>,
}

impl Scene {
    pub(super) fn new(plot: Plot) -> Self {
        Self(Arc::new(Mutex::new(State { withholds: plot.withholds, contradiction: None })))
    }

    /// Faults end.
    pub(super) fn heal(&self) {
        self.0.lock().withholds = Withholds::Nothing;
    }

    /// The validators finalize `block` too.
    pub(super) fn contradict(&self, block: TestBlock) {
        self.0.lock().contradiction = Some(block);
    }

    /// The second block at the end of an epoch, if the validators finalized one.
    pub(super) fn contradiction(&self) -> Option<TestBlock> {
        self.0.lock().contradiction.clone()
    }

    /// Whether the end of an epoch is withheld at `now_ms`: its block, or only its certificate.
    pub(super) fn withholds(&self, block: bool, now_ms: u64) -> bool {
        let withheld = match self.0.lock().withholds {
            Withholds::Nothing => false,
            Withholds::Certificates => !block,
            Withholds::Blocks => true,
        };
        withheld && (now_ms / WINDOW_MS).is_multiple_of(2)
    }
}

//! Proofs whose inputs say what becomes of them.

use bytes::Bytes;
use std::{
    collections::BTreeSet,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};
use tidewatch_prover::{Key, Prove, Released};

#[derive(Debug, Default)]
struct State {
    begun: Vec<u64>,
    /// Blocks whose proof may end.
    open: BTreeSet<u64>,
    released: Vec<u64>,
}

/// Proves as the inputs say: `wait` until it may end, `fail WHY`, `panic`, and everything else at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripted(Arc<(Mutex<State>, Condvar)>);

impl Scripted {
    /// How often a proof of the block was begun.
    pub(crate) fn begun(&self, height: u64) -> usize {
        self.0.0.lock().unwrap().begun.iter().filter(|begun| **begun == height).count()
    }

    /// Whether a proof of the block was given up because nobody waits for it.
    pub(crate) fn is_released(&self, height: u64) -> bool {
        self.0.0.lock().unwrap().released.contains(&height)
    }

    /// Lets the proofs of the block end.
    pub(crate) fn open(&self, height: u64) {
        self.0.0.lock().unwrap().open.insert(height);
        self.0.1.notify_all();
    }
}

/// The proof of a block from its inputs.
pub(crate) fn proof(key: &Key, inputs: &[u8]) -> Bytes {
    [inputs, b" of ", &key.block.digest.0].concat().into()
}

impl Prove for Scripted {
    fn prove(&self, key: &Key, inputs: &[u8], released: &Released) -> Result<Bytes, String> {
        let height = key.height();
        let mut state = self.0.0.lock().unwrap();
        state.begun.push(height);
        if let Some(why) = inputs.strip_prefix(b"fail ") {
            return Err(String::from_utf8_lossy(why).into_owned());
        }
        if inputs.starts_with(b"panic") {
            drop(state);
            panic!("as it was asked to");
        }
        if inputs.starts_with(b"wait") {
            while !state.open.contains(&height) {
                if released.is_set() {
                    state.released.push(height);
                    return Err("nobody waits for it".into());
                }
                state = self.0.1.wait_timeout(state, Duration::from_millis(10)).unwrap().0;
            }
        }
        Ok(proof(key, inputs))
    }
}

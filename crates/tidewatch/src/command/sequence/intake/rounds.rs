//! The newest round.

use commonware_consensus::types::Round;
use commonware_runtime::{Clock as _, tokio::Context};
use commonware_utils::sync::AsyncMutex;
use std::time::{Duration, SystemTime};
use tidewatch_core::{
    Fault,
    watch::{Receiver, Sender, watch},
};
use tidewatch_sequencer::{remote::Remote, timelock::Seed};

/// For how long an answer of the network counts as the newest. However many senders ask, the network is asked once in
/// this time; what is accepted in the meantime has a margin of more rounds than that.
const FRESH: Duration = Duration::from_millis(50);

/// Asks for the newest round, for all requests together.
pub(super) struct Rounds {
    context: Context,
    remote: Remote,
    newest: Sender<Option<Round>>,
    /// The newest seed, and when it was asked for.
    asked: AsyncMutex<Option<(SystemTime, Seed)>>,
}

impl Rounds {
    /// Of the network at `remote`. The other part says what is known at any moment.
    pub(super) fn new(context: Context, remote: Remote) -> (Self, Receiver<Option<Round>>) {
        let (newest, certified) = watch(None);
        (Self { context, remote, newest, asked: AsyncMutex::new(None) }, certified)
    }

    /// The newest round, with its seed, which was verified.
    pub(super) async fn newest(&self) -> Result<Seed, Fault> {
        let mut asked = self.asked.lock().await;
        let now = self.context.current();
        if let Some((at, seed)) = &*asked
            // A clock that was set back has it asked for again.
            && now.duration_since(*at).is_ok_and(|age| age < FRESH)
        {
            return Ok(seed.clone());
        }
        let mut seed = self.remote.round().await?;
        if let Some((_, newest)) = asked.take()
            && newest.round > seed.round
        {
            // A network that starts again knows less for a while.
            seed = newest;
        }
        *asked = Some((now, seed.clone()));
        self.newest.change(|newest| newest.replace(seed.round) != Some(seed.round));
        Ok(seed)
    }
}

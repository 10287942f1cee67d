use commonware_consensus::types::{Epocher as _, FixedEpocher};
use commonware_runtime::{Storage as _, tokio::Context};
use tidewatch_core::Height;
use tokio::sync::watch;

/// Epochs whose journals a start still looks for, if the one before it ended too early to remove them.
const MISSED: u64 = 8;

/// Removes the consensus journals of past epochs, which the orchestrator leaves behind, as `delivered`
/// rises. The one of the epoch before stays: how far a validator has come may not be on disk yet, and
/// after a crash it may have to vote there again, where it must not contradict itself.
pub(super) async fn remove_old(
    context: Context,
    prefix: String,
    epocher: FixedEpocher,
    mut delivered: watch::Receiver<Height>,
) {
    let mut removed = None;
    while delivered.changed().await.is_ok() {
        let height = *delivered.borrow_and_update();
        let Some(epoch) = epocher.containing(height).map(|bounds| bounds.epoch().get()) else {
            continue;
        };
        let end = epoch.saturating_sub(1);
        let begin = removed.unwrap_or_else(|| end.saturating_sub(MISSED));
        for old in begin..end {
            let partition = format!("{prefix}_consensus_{old}");
            if let Err(error) = context.remove(&partition, None).await {
                tracing::debug!(%error, partition, "an old journal was not removed");
            }
        }
        removed = Some(end);
    }
}

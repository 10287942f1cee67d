//! A block that the operator vouches for: a chain whose validators change is begun from the epoch that it leads to.

use commonware_consensus::types::FixedEpocher;
use commonware_runtime::{Clock, Supervisor as _, tokio::Context};
use std::{
    num::NonZeroU64,
    time::{Duration, SystemTime},
};
use tidewatch_certified::{
    Boundary, CertifiedBlock, Epochs as _, Error, Schemes, Transport,
    epochs::{keeper, pin},
};
use tidewatch_core::{BlockRef, Fault, Severity};

/// A block that the operator vouches for.
pub(crate) struct Pin<'a, B: CertifiedBlock> {
    pub(crate) pinned: BlockRef,
    /// Blocks of an epoch.
    pub(crate) length: NonZeroU64,
    /// How old what is trusted may be.
    pub(crate) period: Duration,
    pub(crate) kept: &'a keeper::Config,
    /// Bounds what is decoded of a block.
    pub(crate) codec: B::Cfg,
    pub(crate) limits: pin::Limits,
}

impl<B: CertifiedBlock> Pin<'_, B> {
    /// Has the directory begin from it, unless what is `known` from there is as new and fresh. The endpoints are asked in
    /// turn; `refused` is the fault where there are none.
    pub(crate) async fn begin<P: Boundary<B>, T: Transport>(
        &self,
        context: &Context,
        endpoints: impl Iterator<Item = Result<T, Fault>>,
        known: &Schemes<FixedEpocher, P, B>,
        mut refused: Fault,
    ) -> Result<(), Fault> {
        let Self { pinned, length, period, kept, codec, limits } = self;
        let epoch = known.epoch(pinned.height.next()).unwrap_or_default();
        let ours = known.ended_by(epoch);
        if let Some(ours) = ours.filter(|ours| ours.height == pinned.height && ours != pinned) {
            let error = Error::OtherBoundary { epoch, ours, theirs: *pinned };
            return Err(Fault::new(kept.chain.as_str(), error));
        }
        let now: SystemTime = context.current();
        let newest = known.newest().map(|(newest, _)| newest);
        if ours.is_some() && newest >= Some(epoch) && known.fresh(now, *period).is_ok() {
            return Ok(());
        }
        let epocher = FixedEpocher::new(*length);
        for transport in endpoints {
            let transport = transport?;
            let found =
                pin::boundary::<_, B>(context, &transport, &epocher, codec, *pinned, *limits);
            match found.await {
                Ok(found) => {
                    let fresh = found.fresh(now, *period);
                    fresh.map_err(|error| Fault::new(transport.name(), error))?;
                    return keeper::import(&context.child("pin"), kept, found.record, now).await;
                }
                Err(fault) if fault.severity() == Severity::Config => return Err(fault),
                Err(fault) => refused = fault,
            }
        }
        Err(refused)
    }
}

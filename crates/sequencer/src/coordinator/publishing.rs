//! Publishes what was applied, one block at a time, beside whatever else happens.

use super::{actor::due, config::Config, metrics::Metrics};
use crate::{Applier, Publisher};
use commonware_macros::select;
use commonware_runtime::Clock;
use futures::{FutureExt as _, future::BoxFuture};
use rand::Rng;
use std::{sync::Arc, time::Duration};
use tidewatch_core::{Backoff, Fault};
use tracing::warn;

/// The block that is being published, and the pause after one that was not.
pub(super) struct Publishing<A, U> {
    applier: Arc<A>,
    publisher: Arc<U>,
    call: Option<BoxFuture<'static, Result<(), Fault>>>,
    rest: Option<BoxFuture<'static, ()>>,
    backoff: Backoff,
}

/// What has ended.
pub(super) enum Step {
    Published(Result<(), Fault>),
    Rested,
}

impl<A: Applier, U: Publisher> Publishing<A, U> {
    pub(super) const fn new(
        applier: Arc<A>,
        publisher: Arc<U>,
        &Config { retry, retry_max, .. }: &Config,
    ) -> Self {
        let backoff = Backoff::new(retry, retry_max);
        Self { applier, publisher, call: None, rest: None, backoff }
    }

    /// Publishes the next block that is not published, unless one is being published or a pause is made.
    pub(super) fn begin(&mut self) {
        let (applier, publisher) = (self.applier.clone(), self.publisher.clone());
        let next = publisher.published().next();
        let there = next <= applier.head().block.height;
        if self.call.is_none() && self.rest.is_none() && there {
            let publishing = async move {
                let block = applier.block(next).await?;
                publisher.publish(&block).await
            };
            self.call = Some(publishing.boxed());
        }
    }

    /// What ends next; for ever nothing where there is nothing. May be dropped and called again.
    pub(super) async fn step(&mut self) -> Step {
        let Self { call, rest, .. } = self;
        select! {
            published = due(call) => Step::Published(published),
            () = due(rest) => Step::Rested,
        }
    }

    /// Takes in what has ended.
    pub(super) fn ended<E: Clock + Rng>(&mut self, context: &mut E, metrics: &Metrics, step: Step) {
        match step {
            Step::Published(published) => {
                self.call = None;
                match published {
                    Ok(()) => {
                        metrics.event("published");
                        self.backoff.succeed();
                    }
                    Err(fault) => {
                        warn!(%fault, "not published");
                        metrics.event("not_published");
                        let pause = self.backoff.fail(context);
                        self.rest = Some(context.sleep(pause).boxed());
                    }
                }
            }
            Step::Rested => self.rest = None,
        }
    }

    /// Publishes all that there is, within `grace`.
    pub(super) async fn finish<E: Clock + Rng>(
        &mut self,
        context: &mut E,
        metrics: &Metrics,
        grace: Duration,
    ) {
        let grace = context.sleep(grace).boxed().shared();
        loop {
            self.begin();
            if self.call.is_none() && self.rest.is_none() {
                return;
            }
            let step = select! {
                step = self.step() => step,
                () = grace.clone() => {
                    warn!("stopped with blocks that are not published: the next start does");
                    return;
                },
            };
            self.ended(context, metrics, step);
        }
    }
}

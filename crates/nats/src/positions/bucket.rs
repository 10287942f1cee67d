//! The bucket, over a connection.

use super::{CONSUMERS_MAX, Judged, Kept, NAME_MAX, Record, Written, consumer, judge, key};
use crate::{
    Error,
    client::{JetStream, Put, Stored},
    settings::Wanted,
    tail::Place,
};
use commonware_utils::sync::Mutex;
use rand::{Rng, RngExt as _};
use std::{collections::BTreeMap, fmt, sync::Arc};
use tidewatch_core::{ChainId, Cursor, Fault, FaultKind, Positions as Port};

/// Names this in faults.
const NATS: &str = "nats";
/// How often a write is made over what was found in its place.
const ATTEMPTS: usize = 4;

/// Positions of consumers at a cluster: see the [module](super). Clones are the same writer.
#[derive(Clone)]
pub struct Positions {
    jetstream: JetStream,
    chain: ChainId,
    /// Tells this writer from others.
    writer: String,
    /// Of each consumer the revision that the next write goes over.
    revisions: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl fmt::Debug for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Positions").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl Positions {
    /// Makes the bucket where it is not there, with as many copies as the stream has, and checks it.
    ///
    /// # Errors
    ///
    /// Nobody answered in time, or what is there is not as it has to be.
    pub async fn open(
        jetstream: JetStream,
        chain: ChainId,
        rng: &mut impl Rng,
    ) -> Result<Self, Fault> {
        made(&jetstream).await?;
        let writer = format!("{:016x}", rng.random::<u64>());
        Ok(Self { jetstream, chain, writer, revisions: Arc::default() })
    }

    /// What is kept of `consumer`.
    ///
    /// # Errors
    ///
    /// As [`load`](Port::load).
    pub async fn kept(&self, consumer: &str) -> Result<Option<Kept>, Fault> {
        let Some((_, kept)) = self.read(consumer).await? else { return Ok(None) };
        kept.map(Some)
    }

    /// Makes `place` the durable place of `consumer`: its position, and where in the stream that is.
    ///
    /// # Errors
    ///
    /// As [`store`](Port::store).
    pub async fn keep(&self, consumer: &str, place: &Place) -> Result<(), Fault> {
        let Place { sequence, id, cursor } = place.clone();
        self.write(consumer, &Kept { cursor, message: Some((sequence, id)) }).await
    }

    /// The record of `consumer`, and what it keeps.
    async fn read(&self, consumer: &str) -> Result<Option<(Record, Result<Kept, Fault>)>, Fault> {
        let found = self.jetstream.record(&key(consumer)).await?;
        Ok(found.map(|Stored { revision, value }| {
            let written: Option<Written> = serde_json::from_slice(&value).ok();
            let writer = written.as_ref().map(|written| written.writer.clone());
            let kept = written.and_then(Written::kept).ok_or_else(|| {
                let (what, why) = (format!("the position of {consumer:?}"), "it is none".into());
                Fault::new(NATS, Error::Answer { what, why })
            });
            let kept = kept.and_then(|kept| self.ours(consumer, &kept.cursor).map(|()| kept));
            (Record { revision, writer }, kept)
        }))
    }

    fn ours(&self, consumer: &str, cursor: &Cursor) -> Result<(), Fault> {
        match cursor.is_of(&self.chain) {
            true => Ok(()),
            false => {
                let chain = &self.chain;
                let why = format!("the position of {consumer:?} is of another chain than {chain}");
                Err(FaultKind::WrongChain.fault(NATS, why))
            }
        }
    }

    /// Writes; where that fails, the bucket is made again if it is gone. The next write finds it.
    async fn write(&self, consumer: &str, kept: &Kept) -> Result<(), Fault> {
        let written = self.try_write(consumer, kept).await;
        if let Err(fault) = &written
            && !fault.severity().is_fatal()
        {
            made(&self.jetstream).await?;
        }
        written
    }

    async fn try_write(&self, consumer: &str, kept: &Kept) -> Result<(), Fault> {
        if consumer.is_empty() || consumer.len() > NAME_MAX {
            return Err(Fault::new(NATS, Error::ConsumerName { max: NAME_MAX }));
        }
        self.ours(consumer, &kept.cursor)?;
        let value = serde_json::to_vec(&Written::new(kept, &self.writer)).unwrap_or_default();
        let known = self.revisions.lock().get(consumer).copied();
        let mut revision = match known {
            Some(revision) => revision,
            None => {
                let found = self.jetstream.record(&key(consumer)).await?;
                found.map_or(0, |found| found.revision)
            }
        };
        for _ in 0..ATTEMPTS {
            if revision == 0 && self.jetstream.keys().await?.len() >= CONSUMERS_MAX {
                return Err(Fault::new(NATS, Error::TooManyConsumers { max: CONSUMERS_MAX }));
            }
            match self.jetstream.put(&key(consumer), revision, value.clone().into()).await? {
                Put::Stored(now) => {
                    self.revisions.lock().insert(consumer.into(), now);
                    return Ok(());
                }
                Put::Full => {
                    return Err(Fault::new(NATS, Error::TooManyConsumers { max: CONSUMERS_MAX }));
                }
                Put::Elsewhere => {
                    let found = self.read(consumer).await?.map(|(record, _)| record);
                    match judge(&self.writer, revision, found.as_ref()) {
                        Judged::Over(now) => revision = now,
                        Judged::Taken => {
                            // Another one from here on, whatever becomes of it.
                            self.revisions.lock().insert(consumer.into(), revision);
                            return Err(Fault::new(NATS, Error::Taken(consumer.into())));
                        }
                    }
                }
            }
        }
        let (what, why) =
            (format!("the position of {consumer:?}"), "it changes all the time".into());
        Err(Fault::new(NATS, Error::NoAnswer { what, why }))
    }
}

async fn made(jetstream: &JetStream) -> Result<(), Fault> {
    jetstream.bucket_made(&Wanted::positions(jetstream.names(), jetstream.replicas())).await
}

impl Port for Positions {
    async fn load(&self, consumer: &str) -> Result<Option<Cursor>, Fault> {
        Ok(self.kept(consumer).await?.map(|kept| kept.cursor))
    }

    async fn store(&self, consumer: &str, cursor: &Cursor) -> Result<(), Fault> {
        self.write(consumer, &Kept { cursor: cursor.clone(), message: None }).await
    }

    async fn list(&self) -> Result<Vec<(String, Cursor)>, Fault> {
        let mut list = Vec::new();
        for key in self.jetstream.keys().await?.into_iter().take(CONSUMERS_MAX) {
            let Some(name) = consumer(&key) else { continue };
            // It may be forgotten meanwhile.
            if let Some(cursor) = self.load(&name).await? {
                list.push((name, cursor));
            }
        }
        list.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(list)
    }

    async fn forget(&self, consumer: &str) -> Result<bool, Fault> {
        self.revisions.lock().remove(consumer);
        self.jetstream.forget(&key(consumer)).await
    }
}

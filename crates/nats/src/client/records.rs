//! The records of a bucket.

use super::{JetStream, api, refused};
use crate::{patience::silent, settings::Wanted};
use async_nats::{HeaderMap, Request};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};
use tidewatch_core::Fault;

/// How long an answer is waited for: these requests are made for a port that knows no deadline.
const ANSWER: Duration = Duration::from_secs(5);

/// A record.
#[derive(Debug)]
pub(crate) struct Stored {
    /// What the next write has to expect.
    pub(crate) revision: u64,
    /// What it holds.
    pub(crate) value: Bytes,
}

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Put {
    /// It is made, as this revision.
    Stored(u64),
    /// The record has another revision.
    Elsewhere,
    /// There is no room for one more.
    Full,
}

#[derive(Debug, Deserialize)]
struct Info {
    state: Keys,
}

#[derive(Debug, Deserialize)]
struct Keys {
    #[serde(default)]
    subjects: Option<BTreeMap<String, u64>>,
}

#[derive(Debug, Deserialize)]
struct Purged {
    purged: u64,
}

impl JetStream {
    fn prefix(&self) -> String {
        format!("$KV.{}.", self.names.positions)
    }

    /// Makes the bucket of positions where it is not there, and checks it.
    pub(crate) async fn bucket_made(&self, wanted: &Wanted) -> Result<(), Fault> {
        self.in_time("a bucket", self.requests.made(wanted, Some(self.replicas))).await.map(drop)
    }

    /// The record of `key`.
    pub(crate) async fn record(&self, key: &str) -> Result<Option<Stored>, Fault> {
        let stream = format!("KV_{}", self.names.positions);
        let which = json!({ "last_by_subj": format!("{}{key}", self.prefix()) });
        let Some(stored) = self.in_time("a record", self.requests.get(&stream, &which)).await?
        else {
            return Ok(None);
        };
        let value = stored.payload().unwrap_or_default();
        Ok(Some(Stored { revision: stored.seq, value }))
    }

    /// Writes the record of `key` over the revision `expected`; 0 where there is none.
    pub(crate) async fn put(&self, key: &str, expected: u64, value: Bytes) -> Result<Put, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", &*expected.to_string());
        let request = Request::new().payload(value).headers(headers);
        let subject = format!("{}{key}", self.prefix());
        let put = self.requests.request::<api::Published>(&subject, request);
        match self.in_time("a write of a record", put).await? {
            Ok(api::Published { seq, .. }) => Ok(Put::Stored(seq)),
            Err(error) if api::ELSEWHERE.contains(&error.err_code) => Ok(Put::Elsewhere),
            Err(error) if error.err_code == api::FULL => Ok(Put::Full),
            Err(error) => Err(refused(subject, error)),
        }
    }

    /// The keys of all records.
    pub(crate) async fn keys(&self) -> Result<Vec<String>, Fault> {
        let subject = format!("$JS.API.STREAM.INFO.KV_{}", self.names.positions);
        let filter = json!({ "subjects_filter": format!("{}>", self.prefix()) }).to_string();
        let info =
            self.in_time("the records", self.requests.ask::<Info>(&subject, filter.as_bytes()));
        let Info { state } = info.await?.map_err(|error| refused(subject, error))?;
        let subjects = state.subjects.unwrap_or_default().into_keys();
        let keys = subjects.filter_map(|key| key.strip_prefix(&self.prefix()).map(str::to_owned));
        Ok(keys.collect())
    }

    /// Removes the record of `key`, and says whether there was one.
    pub(crate) async fn forget(&self, key: &str) -> Result<bool, Fault> {
        let subject = format!("$JS.API.STREAM.PURGE.KV_{}", self.names.positions);
        let filter = json!({ "filter": format!("{}{key}", self.prefix()) }).to_string();
        let purge =
            self.in_time("a purge", self.requests.ask::<Purged>(&subject, filter.as_bytes()));
        let Purged { purged } = purge.await?.map_err(|error| refused(subject, error))?;
        Ok(purged > 0)
    }

    async fn in_time<T>(
        &self,
        what: &str,
        asked: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let answered = tokio::time::timeout(ANSWER, asked).await;
        answered.unwrap_or_else(|_| Err(silent(what, ANSWER)))
    }
}

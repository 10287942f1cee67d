//! Inputs and proofs that are more than a message may have, in the form of object stores that NATS's tools read.

use super::{
    cluster::Queued,
    settings::PIECE,
    values::{JobId, Reference},
};
use crate::client::{
    api::{ApiError, Published},
    refused,
};
use async_nats::{HeaderMap, Request};
use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use bytes::{Bytes, BytesMut};
use commonware_cryptography::{Hasher as _, Sha256};
use serde_json::{Value, json};
use tidewatch_core::Fault;
use tidewatch_prover::Handle;

/// A request to which nothing that is of interest is answered.
type Done = Result<Result<Value, ApiError>, Fault>;

impl Queued {
    pub(super) fn objects(&self) -> String {
        format!("OBJ_{}", self.names.objects())
    }

    pub(super) fn pieces(&self, object: &str) -> String {
        format!("$O.{}.C.{object}", self.names.objects())
    }

    pub(super) fn meta(&self, object: &str) -> String {
        format!("$O.{}.M.{}", self.names.objects(), URL_SAFE.encode(object))
    }

    /// Stores `bytes` as `object`, a name that nothing else has, in the form that NATS's tools read.
    pub(super) async fn put(&self, object: &str, bytes: &Bytes) -> Result<(), Fault> {
        let pieces = self.pieces(object);
        // Of an attempt that was cut off.
        self.purge(&self.objects(), &pieces).await?;
        let mut count = 0;
        for piece in bytes.chunks(PIECE) {
            let request = Request::new().payload(bytes.slice_ref(piece));
            self.stored(&pieces, request).await?;
            count += 1;
        }
        let digest = format!("SHA-256={}", URL_SAFE.encode(Sha256::hash(&[bytes]).0));
        let meta = json!({
            "name": object,
            "bucket": self.names.objects(),
            "nuid": object,
            "size": bytes.len(),
            "chunks": count,
            "digest": digest,
            "options": { "max_chunk_size": PIECE },
        });
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Rollup", "sub");
        let request = Request::new().payload(meta.to_string().into()).headers(headers);
        self.stored(&self.meta(object), request).await
    }

    async fn stored(&self, subject: &str, request: Request) -> Result<(), Fault> {
        let stored: Result<Published, ApiError> = self.requests.request(subject, request).await?;
        stored.map(drop).map_err(|error| refused(subject.into(), error))
    }

    /// Removes `object`.
    pub(super) async fn remove(&self, object: &str) -> Result<(), Fault> {
        self.purge(&self.objects(), &self.meta(object)).await?;
        self.purge(&self.objects(), &self.pieces(object)).await
    }

    /// The bytes that `reference` names; `None` where there are none, or others.
    pub(super) async fn get(&self, reference: &Reference) -> Result<Option<Bytes>, Fault> {
        let Some(object) = &reference.object else { return Ok(None) };
        if !plain(object) {
            return Ok(None);
        }
        let (pieces, stream) = (self.pieces(object), self.objects());
        let (mut bytes, mut next) = (BytesMut::new(), 1);
        while (bytes.len() as u64) < reference.bytes {
            let which = json!({ "seq": next, "next_by_subj": pieces });
            let Some(stored) = self.requests.get(&stream, &which).await? else { return Ok(None) };
            let piece = stored.payload().filter(|piece| !piece.is_empty());
            let Some(piece) = piece else { return Ok(None) };
            if stored.seq < next || (bytes.len() + piece.len()) as u64 > reference.bytes {
                return Ok(None);
            }
            bytes.extend_from_slice(&piece);
            next = stored.seq + 1;
        }
        Ok(reference.is_of(&bytes).then(|| bytes.freeze()))
    }

    pub(super) async fn purge(&self, stream: &str, filter: &str) -> Result<(), Fault> {
        let subject = format!("$JS.API.STREAM.PURGE.{stream}");
        let body = json!({ "filter": filter }).to_string();
        let done: Done = self.requests.ask(&subject, body.as_bytes()).await;
        done?.map(drop).map_err(|error| refused(subject, error))
    }
}

/// The object with the inputs of a job, where they are one.
pub(super) fn inputs_of(id: &JobId) -> String {
    format!("{}.inputs", id.handle())
}

/// Whether `object` is a name that cannot be a pattern.
fn plain(object: &str) -> bool {
    !object.is_empty()
        && object.len() <= 2 * Handle::MAX
        && object.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

//! Requests to JetStream, each with an answer.

use super::{
    NATS,
    api::{self, ApiError, Found},
};
use crate::{
    Error,
    settings::{self, Wanted},
};
use async_nats::{Message as Answered, Request, client::RequestErrorKind};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidewatch_core::Fault;

/// Whether a stream was made just now.
enum Made {
    New,
    There,
}

/// Asks JetStream over a connection. No request has a deadline of its own: the caller's counts.
#[derive(Clone, Debug)]
pub(crate) struct Requests(async_nats::Client);

impl Requests {
    pub(crate) const fn new(client: async_nats::Client) -> Self {
        Self(client)
    }

    /// The connection.
    pub(crate) const fn client(&self) -> &async_nats::Client {
        &self.0
    }

    /// Refuses servers that are older than what is relied on.
    pub(crate) async fn accepted(&self) -> Result<(), Fault> {
        let fault = |error| Fault::new(NATS, error);
        let account: Result<api::Account, ApiError> = self.ask("$JS.API.INFO", &[]).await?;
        let account = account.map_err(|error| fault(Error::NoJetStream(error.description)))?;
        let version = self.0.server_info().version;
        settings::accept(&version, account.api.level).map_err(fault)
    }

    /// Makes the stream `wanted` if it is not there, and checks it. Gives how many copies it has.
    pub(crate) async fn made(&self, wanted: &Wanted, replicas: Option<u32>) -> Result<u32, Fault> {
        let name = &wanted.name;
        let create = format!("$JS.API.STREAM.CREATE.{name}");
        let body = Value::Object(wanted.all.clone()).to_string();
        let mut made = Made::There;
        let mut stream = self.info(wanted).await?;
        if matches!(&stream, Err(error) if error.err_code == api::NO_STREAM) {
            stream = self.ask(&create, body.as_bytes()).await?;
            made = Made::New;
            if matches!(&stream, Err(error) if error.err_code == api::NAME_IN_USE) {
                // Another one was faster.
                stream = self.info(wanted).await?;
                made = Made::There;
            }
        }
        Self::checked(wanted, stream, &made, replicas)
    }

    /// Checks the stream `wanted`, which has to be there. Gives how many copies it has.
    pub(crate) async fn there(&self, wanted: &Wanted) -> Result<u32, Fault> {
        Self::checked(wanted, self.info(wanted).await?, &Made::There, None)
    }

    async fn info(&self, wanted: &Wanted) -> Result<Result<api::Stream, ApiError>, Fault> {
        self.ask(&format!("$JS.API.STREAM.INFO.{}", wanted.name), &[]).await
    }

    fn checked(
        wanted: &Wanted,
        stream: Result<api::Stream, ApiError>,
        made: &Made,
        replicas: Option<u32>,
    ) -> Result<u32, Fault> {
        let fault = |error| Fault::new(NATS, error);
        let name = &wanted.name;
        let stream = stream.map_err(|error| refused(format!("the stream {name}"), error))?;
        wanted.check(&stream.config, matches!(made, Made::New)).map_err(fault)?;
        let found = stream.replicas();
        match replicas {
            Some(asked) if asked != found => {
                let differences = vec![settings::Difference {
                    setting: "num_replicas".into(),
                    wanted: asked.into(),
                    found: Some(found.into()),
                }];
                Err(fault(Error::Settings { stream: name.clone(), differences }))
            }
            _ => Ok(found),
        }
    }

    /// Asks, and reads what is answered.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        subject: &str,
        body: &[u8],
    ) -> Result<Result<T, ApiError>, Fault> {
        let request = Request::new().payload(Bytes::copy_from_slice(body));
        self.request(subject, request).await
    }

    pub(crate) async fn request<T: DeserializeOwned>(
        &self,
        subject: &str,
        request: Request,
    ) -> Result<Result<T, ApiError>, Fault> {
        let answer = self.raw(subject, request).await?;
        api::read(subject, &answer.payload).map_err(|error| Fault::new(NATS, error))
    }

    /// Sends `request`, and gives what is answered as it is.
    pub(crate) async fn raw(&self, subject: &str, request: Request) -> Result<Answered, Fault> {
        // The caller's deadline counts.
        let answer = self.0.send_request(subject.to_owned(), request.timeout(None)).await;
        answer.map_err(|error| {
            let why = match error.kind() {
                RequestErrorKind::NoResponders => {
                    "no server has it: it is about to elect a leader, or JetStream is off".into()
                }
                _ => error.to_string(),
            };
            Fault::new(NATS, Error::NoAnswer { what: subject.into(), why })
        })
    }

    /// A request whose answer may be a message of a stream: that keeps its own subject, so it needs an inbox of its own.
    #[cfg(feature = "jobs")]
    pub(crate) fn inbox(&self) -> Request {
        Request::new().inbox(self.0.new_inbox())
    }

    /// Hears of what is published on `subject` from now on.
    #[cfg(feature = "jobs")]
    pub(crate) async fn bell(&self, subject: String) -> Result<async_nats::Subscriber, Fault> {
        self.0.subscribe(subject.clone()).await.map_err(|error| {
            Fault::new(NATS, Error::NoAnswer { what: subject, why: error.to_string() })
        })
    }

    /// Sends `payload`, to which nothing is answered.
    #[cfg(feature = "jobs")]
    pub(crate) async fn tell(&self, subject: &str, payload: &'static str) -> Result<(), Fault> {
        self.0.publish(subject.to_owned(), payload.into()).await.map_err(|error| {
            Fault::new(NATS, Error::NoAnswer { what: subject.into(), why: error.to_string() })
        })
    }

    /// The message of `stream` that `which` names.
    pub(crate) async fn get(
        &self,
        stream: &str,
        which: &Value,
    ) -> Result<Option<api::Stored>, Fault> {
        let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
        match self.ask::<Found>(&subject, which.to_string().as_bytes()).await? {
            Ok(found) => Ok(Some(found.message)),
            Err(error) if error.err_code == api::NO_MESSAGE => Ok(None),
            Err(error) => Err(refused(subject, error)),
        }
    }
}

/// JetStream refused `what`.
pub(crate) fn refused(what: String, ApiError { err_code: code, description }: ApiError) -> Fault {
    Fault::new(NATS, Error::Refused { what, code, description })
}

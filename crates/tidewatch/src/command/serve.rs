//! Serving over HTTP what is followed (`--serve`).

use super::{Problem, args::Follow};
use crate::Outcome;
use commonware_runtime::{Supervisor as _, tokio::Context};
use std::{net::SocketAddr, time::Duration};
use tidewatch_core::{AnyBlock, Fault, Heads, Ladder, Running};
use tidewatch_serve::{Config, ListenError, Listening, Observer, Parts, Server, Token};
use tidewatch_store::Reader;

/// How long clients may take to hear that it ends: less than a member's share of the time for the stop.
const STOP: Duration = Duration::from_millis(150);

/// What the options ask to serve.
pub(super) struct Serving {
    address: SocketAddr,
    config: Config,
    listening: Option<Listening>,
    /// What the driver and the source report to.
    pub(super) observer: Observer,
}

impl Serving {
    /// Nothing where `--serve` was not said.
    pub(super) fn parse(options: &Follow) -> Outcome<Option<Self>> {
        let Some(address) = options.serve else {
            let more = options.serve_token_file.is_some()
                || options.serve_open
                || !options.serve_host.is_empty();
            return match more {
                true => Err(Problem::usage("there is nothing to serve")
                    .hint("name an address with --serve, such as 127.0.0.1:9200")),
                false => Ok(None),
            };
        };
        let token = options.serve_token_file.as_deref().map(Token::read).transpose();
        let token = token.map_err(|error| {
            Problem::usage(format!("--serve-token-file: {error}"))
                .hint("`openssl rand -hex 32 > FILE` makes one")
        })?;
        let (open, hosts) = (options.serve_open, options.serve_host.clone());
        let config = Config { token, open, hosts, stop: STOP, ..Config::default() };
        Ok(Some(Self { address, config, listening: None, observer: Observer::default() }))
    }

    /// Listens. Who connects waits for [`Serving::start`].
    pub(super) async fn listen(&mut self) -> Outcome<SocketAddr> {
        let listening = Listening::bind(self.address, self.config.clone()).await;
        let listening = listening.map_err(|error| match error {
            ListenError::Bind { .. } => Problem::usage(error.to_string())
                .hint("name a free address with --serve, such as 127.0.0.1:9200"),
            ListenError::Open(_) => Problem::usage(error.to_string())
                .hint("name a token with --serve-token-file FILE, or say --serve-open"),
        })?;
        let address = listening.address();
        self.listening = Some(listening);
        Ok(address)
    }

    /// Serves `served` at the port that listens.
    pub(super) async fn start(
        self,
        context: &Context,
        served: Reader<Context, AnyBlock>,
        heads: Heads,
        ladder: Ladder,
        source: String,
    ) -> Result<Option<Running>, Fault> {
        let Self { listening: Some(listening), observer, .. } = self else { return Ok(None) };
        let parts = Parts { served, heads, ladder, observer, source };
        let server = Server::new(context.child("serve"), listening, parts).await?;
        Ok(Some(Running::start(server)))
    }
}

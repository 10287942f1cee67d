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
            return match more(options) {
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
        let config = config(options, token)?;
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

/// Whether anything is said of a server.
fn more(options: &Follow) -> bool {
    let Follow { serve_host, serve_origin, serve_open, .. } = options;
    let numbers = [options.serve_streams, options.serve_streams_per_client];
    let bounds = [options.serve_ready_lag, options.serve_ready_age];
    *serve_open
        || !(serve_host.is_empty() && serve_origin.is_empty())
        || options.serve_token_file.is_some()
        || numbers.iter().any(Option::is_some)
        || bounds.iter().any(Option::is_some)
}

/// What `options` say, and the default of whatever they do not.
fn config(options: &Follow, token: Option<Token>) -> Outcome<Config> {
    let default = Config::default();
    let mut origins = Vec::new();
    for origin in &options.serve_origin {
        match Config::origin(origin) {
            Some(origin) => origins.push(origin),
            None => {
                return Err(Problem::usage("--serve-origin names no origin").hint(
                    "write the scheme and the host, and a port that is not the scheme's, such as https://dash.example",
                ));
            }
        }
    }
    let age = options.serve_ready_age.map(Duration::from_secs);
    Ok(Config {
        token,
        open: options.serve_open,
        hosts: options.serve_host.clone(),
        origins,
        streams_max: options.serve_streams.unwrap_or(default.streams_max),
        streams_per_client_max: options
            .serve_streams_per_client
            .unwrap_or(default.streams_per_client_max),
        ready_max_lag: options.serve_ready_lag.unwrap_or(default.ready_max_lag),
        ready_max_age: age.unwrap_or(default.ready_max_age),
        stop: STOP,
        ..default
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::args::{Cli, Command};
    use clap::Parser as _;

    fn options(words: &str) -> Follow {
        let line = ["tidewatch", "follow"].into_iter().chain(words.split_whitespace());
        let Some(Command::Follow(options)) = Cli::try_parse_from(line).unwrap().command else {
            panic!("not follow: {words}")
        };
        *options
    }

    #[test]
    fn what_is_said_of_a_server_is_what_it_grants_and_the_rest_is_as_ever() {
        let said = "--serve-streams 7 --serve-streams-per-client 3 --serve-ready-lag 2 --serve-ready-age 90 \
                    --serve-origin https://dash.example --serve-origin http://[::1]:8080/ --serve-host a";
        let config = config(&options(said), None).unwrap();
        assert_eq!((config.streams_max.get(), config.streams_per_client_max.get()), (7, 3));
        assert_eq!((config.ready_max_lag, config.ready_max_age), (2, Duration::from_secs(90)));
        assert_eq!(config.origins, ["https://dash.example", "http://[::1]:8080"]);
        assert_eq!(
            (config.hosts, config.heartbeat),
            (vec!["a".into()], Config::default().heartbeat)
        );
        let plain = super::config(&options(""), None).unwrap();
        assert_eq!(plain.streams_max, Config::default().streams_max);
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused() {
        let wrong = [
            "dash.example",
            "https://dash.example/page",
            "https://dash.example:443",
            "ftp://a",
            "null",
        ];
        for origin in wrong {
            let options = options(&format!("--serve-origin {origin}"));
            assert!(config(&options, None).is_err(), "{origin}");
        }
    }

    #[test]
    fn whatever_is_said_of_a_server_that_nobody_asked_for_is_a_slip() {
        let slips = [
            "--serve-open",
            "--serve-host a",
            "--serve-origin https://a",
            "--serve-token-file a",
            "--serve-streams 1",
            "--serve-streams-per-client 1",
            "--serve-ready-lag 1",
            "--serve-ready-age 1",
        ];
        for slip in slips {
            let refused = Serving::parse(&options(slip)).err().expect("a slip");
            assert!(refused.to_string().contains("nothing to serve"), "{slip}: {refused}");
        }
        assert!(Serving::parse(&options("")).unwrap().is_none());
    }
}

//! A connection.

use crate::Error;
use async_nats::{
    ConnectOptions, Event, ServerAddr,
    rustls::{ClientConfig, RootCertStore, crypto::ring},
};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tidewatch_core::Fault;
use tracing::{debug, info, warn};

/// Which servers, and as whom.
#[derive(Clone, Debug)]
pub struct Options {
    servers: Vec<ServerAddr>,
    credentials: Option<String>,
}

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// The longest pause before a new connection.
const RECONNECT_MAX: Duration = Duration::from_secs(2);
/// Requests that wait for the connection.
const WAITING: usize = 64;

impl Options {
    /// Reads addresses, such as `nats://127.0.0.1:4222` or `tls://user:password@nats.example`, and the file with
    /// credentials, where one is named.
    ///
    /// # Errors
    ///
    /// An address is none, or the file cannot be read.
    pub fn read(servers: &[String], credentials: Option<&PathBuf>) -> Result<Self, Error> {
        let address = |text: &String| {
            let shown = text.rsplit('@').next().unwrap_or_default().to_owned();
            let refused = || Error::Address(shown.clone());
            let server: ServerAddr = text.parse().map_err(|_| refused())?;
            let known = matches!(server.scheme(), "nats" | "tls");
            let named = text.parse::<url::Url>().map_or(true, |url| url.has_host());
            if known && named && !server.host().is_empty() { Ok(server) } else { Err(refused()) }
        };
        let servers = servers.iter().map(address).collect::<Result<_, _>>()?;
        let credentials = credentials.map(|path| -> Result<_, Error> {
            let unreadable =
                |why: String| Error::Credentials { path: path.display().to_string(), why };
            let text =
                std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
            // Read once to see whether they can be.
            ConnectOptions::with_credentials(&text)
                .map_err(|error| unreadable(error.to_string()))?;
            Ok(text)
        });
        Ok(Self { servers, credentials: credentials.transpose()? })
    }

    /// The servers, without user and password.
    pub fn shown(&self) -> String {
        let shown = |server: &ServerAddr| {
            format!("{}://{}:{}", server.scheme(), server.host(), server.port())
        };
        self.servers.iter().map(shown).collect::<Vec<_>>().join(", ")
    }
}

/// Connects. The connection is made again by itself, for as long as a clone of the client is there.
///
/// # Errors
///
/// No server took it.
pub async fn connect(options: &Options) -> Result<async_nats::Client, Fault> {
    let mut connect = ConnectOptions::new();
    if let Some(credentials) = &options.credentials {
        connect = connect
            .credentials(credentials)
            .map_err(|error| Fault::new("nats", Error::Connect(error.to_string())))?;
    }
    let connect = connect
        .tls_client_config(trusting()?)
        .name("tidewatch")
        .connection_timeout(CONNECT)
        .client_capacity(WAITING)
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(|attempt| {
            let step = Duration::from_millis(50).saturating_mul(1 << attempt.min(6));
            step.min(RECONNECT_MAX)
        })
        .event_callback(|event| async move {
            match event {
                Event::Connected => info!("connected to NATS"),
                Event::Disconnected => warn!("the connection to NATS is lost: connecting again"),
                other => debug!(%other, "nats"),
            }
        });
    connect
        .connect(&options.servers[..])
        .await
        .map_err(|error| Fault::new("nats", Error::Connect(error.to_string())))
}

/// How often `client` was connected. A connection that was made anew has forgotten, without a word, what was asked for over
/// the one before.
pub(crate) fn connects(client: &async_nats::Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}

/// Trusts what this machine trusts, or what `SSL_CERT_FILE` names. The provider is named: without one the connection
/// panics where more than one is linked into the process, as soon as a server asks for TLS.
fn trusting() -> Result<ClientConfig, Fault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::new("nats", Error::Connect(error.to_string())))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(address: &str) -> Result<Options, Error> {
        Options::read(&[address.to_owned()], None)
    }

    #[test]
    fn an_address_is_shown_without_its_password_whether_it_is_one_or_not() {
        for address in ["nats://127.0.0.1:4222", "tls://me:secret@nats.example", "127.0.0.1:4222"] {
            let shown = read(address).unwrap().shown();
            assert!(shown.contains("://") && !shown.contains("secret"), "{shown}");
        }
        for address in ["http://me:secret@a", "ws://a", "nats://me:secret@:x", ""] {
            let refused = read(address).unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn credentials_that_cannot_be_read_are_named_by_their_file() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing.creds");
        let broken = directory.path().join("broken.creds");
        std::fs::write(&broken, "not credentials").unwrap();
        for path in [missing, broken] {
            let refused = Options::read(&["nats://a".into()], Some(&path)).unwrap_err();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(refused.to_string().contains(name), "{refused}");
        }
    }
}

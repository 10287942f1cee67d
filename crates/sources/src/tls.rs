//! One TLS configuration for every kind of connection, and one HTTP client for every chain.

use reqwest::{Client, redirect};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::{sync::Arc, time::Duration};

/// Idle connections are dropped before most servers do.
const IDLE: Duration = Duration::from_secs(30);

/// A client of one host, which keeps `lanes` connections, and speaks TLS if a configuration is there.
pub(crate) fn client(
    timeout: Duration,
    lanes: usize,
    tls: Option<ClientConfig>,
) -> reqwest::Result<Client> {
    let builder = Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .redirect(redirect::Policy::none())
        .connect_timeout(timeout)
        .timeout(timeout)
        .pool_max_idle_per_host(lanes)
        .pool_idle_timeout(IDLE);
    match tls {
        Some(tls) => builder.use_preconfigured_tls(tls),
        // Reading all of the system's certificates takes ten milliseconds, for nothing.
        None => builder.tls_built_in_root_certs(false),
    }
    .build()
}

/// Trusts what this machine trusts. The provider is named: which one is the default of the process
/// depends on what else is linked into it, and may be none.
pub(crate) fn config() -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        return Err("this machine has no trusted root certificates: install them \
                    (ca-certificates), or use an address without TLS on a network that you trust"
            .into());
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder =
        builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

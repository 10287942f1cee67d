//! One TLS configuration for every kind of connection.

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::sync::Arc;

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

//! TLS in front of a server, with a certificate that this machine does not trust.

use futures::stream::{FuturesUnordered, StreamExt as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{io::Write as _, net::SocketAddr, sync::Arc, thread};
use tempfile::NamedTempFile;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

/// Takes connections for `localhost`, and passes what they hold on to a server without TLS.
#[derive(Debug)]
pub(crate) struct Terminator {
    /// The port on this machine.
    pub(crate) port: u16,
    authority: NamedTempFile,
}

impl Terminator {
    /// Starts one before `server`, with an authority of its own.
    pub(crate) fn before(server: SocketAddr) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &ca).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            );
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let mut connections = FuturesUnordered::new();
                loop {
                    tokio::select! {
                        accepted = listener.accept() => {
                            connections.push(pass_on(&acceptor, accepted.unwrap().0, server));
                        }
                        Some(()) = connections.next() => {}
                    }
                }
            });
        });
        let mut authority = NamedTempFile::new().unwrap();
        authority.write_all(ca.pem().as_bytes()).unwrap();
        Self { port, authority }
    }

    /// The certificate of its authority, as a file.
    pub(crate) fn authority(&self) -> &str {
        self.authority.path().to_str().unwrap()
    }
}

async fn pass_on(acceptor: &TlsAcceptor, outer: TcpStream, server: SocketAddr) {
    // Who does not trust the certificate hangs up.
    let Ok(mut outer) = acceptor.accept(outer).await else { return };
    let mut inner = TcpStream::connect(server).await.unwrap();
    let _ = copy_bidirectional(&mut outer, &mut inner).await;
}

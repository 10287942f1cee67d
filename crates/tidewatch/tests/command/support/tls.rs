//! Certificates for `localhost` that this machine does not trust, and TLS in front of a server that has none.

use futures::stream::{FuturesUnordered, StreamExt as _};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{
    fs::{self, Permissions},
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};
use tempfile::NamedTempFile;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

/// An authority of its own, and a certificate of it.
#[derive(Debug)]
pub(crate) struct Certified {
    authority: NamedTempFile,
    certificate: Certificate,
    key: KeyPair,
}

impl Certified {
    /// One for `localhost`.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &ca).unwrap();
        let mut authority = NamedTempFile::new().unwrap();
        authority.write_all(ca.pem().as_bytes()).unwrap();
        Self { authority, certificate, key }
    }

    /// The certificate of its authority, as a file.
    pub(crate) fn authority(&self) -> &str {
        self.authority.path().to_str().unwrap()
    }

    /// Writes certificate and key into `directory`, and says where they are.
    pub(crate) fn write(&self, directory: &Path) -> [PathBuf; 2] {
        let files =
            [("certificate.pem", self.certificate.pem()), ("key.pem", self.key.serialize_pem())];
        files.map(|(name, pem)| {
            let path = directory.join(name);
            fs::write(&path, pem).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            path
        })
    }
}

/// Takes connections for `localhost`, and passes what they hold on to a server without TLS.
#[derive(Debug)]
pub(crate) struct Terminator {
    /// The port on this machine.
    pub(crate) port: u16,
    certified: Certified,
}

impl Terminator {
    /// Starts one before `server`, with an authority of its own.
    pub(crate) fn before(server: SocketAddr) -> Self {
        let certified = Certified::new();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certified.certificate.der().clone()],
                PrivateKeyDer::Pkcs8(certified.key.serialize_der().into()),
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
        Self { port, certified }
    }

    /// The certificate of its authority, as a file.
    pub(crate) fn authority(&self) -> &str {
        self.certified.authority()
    }
}

async fn pass_on(acceptor: &TlsAcceptor, outer: TcpStream, server: SocketAddr) {
    // Who does not trust the certificate hangs up.
    let Ok(mut outer) = acceptor.accept(outer).await else { return };
    let mut inner = TcpStream::connect(server).await.unwrap();
    let _ = copy_bidirectional(&mut outer, &mut inner).await;
}

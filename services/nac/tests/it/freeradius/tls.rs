//! The service behind TLS, on a line that can be cut.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::certs::{Authority, Says};
use crate::proxy::Proxy;
use crate::world::Process;

/// The router of a process on a port of its own, over TLS, behind a proxy.
pub async fn serve_tls(process: &Process, folder: &Path, authority: &Authority) -> Proxy {
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = http.local_addr().unwrap();
    let (router, stop) = (process.router.clone(), CancellationToken::new());
    tokio::spawn(httpkit::serve(http, router, stop, Duration::from_secs(1)));
    in_tls(address.to_string(), folder, authority).await
}

/// TLS before a plain server, and a proxy before that.
pub async fn in_tls(plain: String, folder: &Path, authority: &Authority) -> Proxy {
    let files =
        authority.issue(folder, "api", &Says { cn: "nac.example", dns: &["localhost"], ..Says::default() });
    let chain = CertificateDer::pem_file_iter(&files.cert).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, plain) = (acceptor.clone(), plain.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let Ok(mut server) = TcpStream::connect(plain).await else { return };
                let _ = server.set_nodelay(true);
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    Proxy::to(address.to_string()).await
}

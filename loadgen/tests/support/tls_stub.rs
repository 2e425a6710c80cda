//! TLS in front of the stub's HTTP, of either version: whatever is decrypted goes to it, in records of odd sizes back.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Serves `plain` over TLS; its threads end with the test's process.
pub fn start(plain: SocketAddr, versions: &[&'static SupportedProtocolVersion]) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(config(versions)));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(relay(acceptor.clone(), socket, plain));
            }
        });
    });
    address
}

async fn relay(acceptor: TlsAcceptor, socket: TcpStream, plain: SocketAddr) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut client, mut to_client) = tokio::io::split(acceptor.accept(socket).await?);
    let server = TcpStream::connect(plain).await?;
    server.set_nodelay(true)?;
    let (mut server, mut to_server) = server.into_split();
    let up = async {
        let copied = tokio::io::copy(&mut client, &mut to_server).await;
        let _ = to_server.shutdown().await;
        copied
    };
    let down = async {
        let mut buffer = vec![0; 4096];
        loop {
            let length = server.read(&mut buffer).await?;
            if length == 0 {
                return to_client.shutdown().await;
            }
            // A record ends anywhere.
            for piece in buffer[..length].chunks(333) {
                to_client.write_all(piece).await?;
                to_client.flush().await?;
            }
        }
    };
    tokio::select! {
        _ = up => Ok(()),
        outcome = down => outcome,
    }
}

fn config(versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

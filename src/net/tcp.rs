//! Plain TCP.

use std::io;

use async_trait::async_trait;
use tokio::net::{TcpListener, TcpStream};

use super::transport::{Acceptor, Connection, Transport};

/// Plain TCP, unencrypted: for networks which are trusted, or encrypted below.
///
/// Addresses are `host:port`; a name is looked up anew at each attempt to connect.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpTransport;

#[async_trait]
impl Transport for TcpTransport {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Acceptor>> {
        // tokio sets SO_REUSEADDR, so that a restart need not wait for old connections to expire.
        Ok(Box::new(Tcp(TcpListener::bind(address).await?)))
    }

    async fn dial(&self, address: &str) -> io::Result<Connection> {
        connection(TcpStream::connect(address).await?)
    }
}

struct Tcp(TcpListener);

#[async_trait]
impl Acceptor for Tcp {
    async fn accept(&mut self) -> io::Result<Connection> {
        let (stream, _) = self.0.accept().await?;
        connection(stream)
    }

    fn local_address(&self) -> String {
        self.0.local_addr().map_or_else(|_| "an unknown address".to_owned(), |at| at.to_string())
    }
}

fn connection(stream: TcpStream) -> io::Result<Connection> {
    // A round's messages are written at once: to wait for more would only delay them.
    stream.set_nodelay(true)?;
    let remote = stream.peer_addr()?.to_string();
    let (reader, writer) = stream.into_split();
    Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), remote })
}

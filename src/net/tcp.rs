//! Plain TCP.

use std::io;
use std::net::SocketAddr;

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
        let stream = TcpStream::connect(address).await?;
        let remote = stream.peer_addr()?;
        connection(stream, remote)
    }
}

struct Tcp(TcpListener);

#[async_trait]
impl Acceptor for Tcp {
    async fn accept(&mut self) -> io::Result<Connection> {
        loop {
            // Who has hung up while waiting in line is no reason to keep the others waiting.
            let gone = match self.0.accept().await {
                Ok((stream, remote)) => match connection(stream, remote) {
                    Ok(connection) => return Ok(connection),
                    Err(error) => error,
                },
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => error,
                Err(error) => return Err(error),
            };
            tracing::debug!(error = %gone, "a connection that was reset before it was accepted");
        }
    }

    fn local_address(&self) -> String {
        self.0.local_addr().map_or_else(|_| "an unknown address".to_owned(), |at| at.to_string())
    }
}

fn connection(stream: TcpStream, remote: SocketAddr) -> io::Result<Connection> {
    // A round's messages are written at once: to wait for more would only delay them.
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let (reader, writer) = (Box::new(reader), Box::new(writer));
    Ok(Connection { reader, writer, remote: remote.to_string() })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn connections_that_are_reset_before_they_are_accepted_are_no_errors() {
        let mut acceptor = TcpTransport.bind("127.0.0.1:0").await.unwrap();
        let address = acceptor.local_address();
        for _ in 0..10 {
            let stream = TcpStream::connect(&address).await.unwrap();
            stream.set_zero_linger().unwrap();
        }
        let mut stays = TcpStream::connect(&address).await.unwrap();
        stays.write_all(b"x").await.unwrap();
        loop {
            let mut accepted = acceptor.accept().await.unwrap();
            let mut read = [0];
            if accepted.reader.read_exact(&mut read).await.is_ok() {
                assert_eq!(accepted.remote, stays.local_addr().unwrap().to_string());
                return;
            }
        }
    }
}

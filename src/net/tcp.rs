//! Plain TCP.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::timeout;

use super::transport::{Acceptor, Connection, Transport};

/// How long all addresses of a name but the last may take together, and each of them at most. The
/// last has what is left of the caller's time, from which the name was looked up, too.
const BEFORE_LAST: Duration = Duration::from_millis(1500);
const EACH: Duration = Duration::from_millis(500);

/// Plain TCP, unencrypted: for networks which are trusted, or encrypted below.
///
/// Addresses are `host:port`; a name is looked up anew at each attempt to connect. If it has several
/// addresses, they are tried in turn: one that does not answer leaves time for the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpTransport;

#[async_trait]
impl Transport for TcpTransport {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Acceptor>> {
        // tokio sets SO_REUSEADDR, so that a restart need not wait for old connections to expire.
        Ok(Box::new(Tcp(TcpListener::bind(address).await?)))
    }

    async fn dial(&self, address: &str) -> io::Result<Connection> {
        let addresses: Vec<SocketAddr> = lookup_host(address).await?.collect();
        let stream = first_reached(&addresses, TcpStream::connect::<SocketAddr>).await?;
        let remote = stream.peer_addr()?;
        connection(stream, remote)
    }
}

/// The first of the addresses that can be reached, or what is wrong with each of them.
async fn first_reached<T, F: Future<Output = io::Result<T>>>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let Some((last, others)) = addresses.split_last() else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    };
    let share = EACH.min(BEFORE_LAST / u32::try_from(others.len()).unwrap_or(u32::MAX).max(1));
    let mut failed = String::new();
    for address in others {
        match timeout(share, connect(*address)).await {
            Ok(Ok(reached)) => return Ok(reached),
            Ok(Err(error)) => _ = write!(failed, "{address}: {error}; "),
            Err(_) => _ = write!(failed, "{address}: no answer within {share:?}; "),
        }
    }
    connect(*last).await.map_err(|error| match others {
        [] => error,
        _ => io::Error::new(error.kind(), format!("{failed}{last}: {error}")),
    })
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
    use crate::net::peer::DIAL_TIMEOUT;

    /// The first address does not answer, the second refuses.
    async fn reach(address: SocketAddr) -> io::Result<SocketAddr> {
        match address.ip().to_string().as_str() {
            "192.0.2.1" => std::future::pending().await,
            "192.0.2.2" => Err(io::ErrorKind::ConnectionRefused.into()),
            _ => Ok(address),
        }
    }

    fn addresses(ends: &[u8]) -> Vec<SocketAddr> {
        ends.iter().map(|end| SocketAddr::from(([192, 0, 2, *end], 9))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_leaves_time_for_the_others() {
        for ends in [&[3][..], &[1, 3], &[2, 1, 3], &[1, 1, 1, 1, 2, 1, 1, 1, 3]] {
            let addresses = addresses(ends);
            let dialled = timeout(DIAL_TIMEOUT, first_reached(&addresses, reach)).await;
            assert_eq!(dialled.unwrap().unwrap(), addresses[ends.len() - 1], "{ends:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_be_reached_is_told_of_each_address() {
        let error = first_reached(&addresses(&[1, 2]), reach).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let text = "192.0.2.1:9: no answer within 500ms; 192.0.2.2:9: connection refused";
        assert_eq!(error.to_string(), text);
        let error = first_reached(&addresses(&[2]), reach).await.unwrap_err();
        assert_eq!(error.to_string(), "connection refused");
        let error = first_reached(&[], reach).await.unwrap_err();
        assert_eq!(error.to_string(), "the name has no address");
    }

    #[tokio::test]
    async fn what_is_written_is_sent_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        // Another handle on the same socket.
        let socket = stream.try_clone().unwrap();
        let _connection = connection(TcpStream::from_std(stream).unwrap(), address).unwrap();
        assert!(socket.nodelay().unwrap());
    }

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

//! A small client: enough for the demo and the tests.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};

use crate::resp::{Value, ValueError};

/// A connection to a server that speaks RESP. Requests may be pipelined: replies come in the order
/// of their requests.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    input: BytesMut,
}

/// Why a request was not answered. What became of it is unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The connection broke.
    #[error("connection lost")]
    Io(#[from] io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// What answered is no such server.
    #[error(transparent)]
    Value(#[from] ValueError),
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens there.
    pub async fn connect(address: impl ToSocketAddrs) -> io::Result<Client> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, input: BytesMut::new() })
    }

    /// Sends a command and waits for its reply, which may be [`Value::Error`].
    ///
    /// # Errors
    /// If there is no reply; give up the connection then.
    pub async fn call(&mut self, command: &[&str]) -> Result<Value, ClientError> {
        let mut request = Vec::new();
        encode_request(command, &mut request);
        self.send(&request).await?;
        self.receive().await
    }

    /// Sends requests as they are.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn send(&mut self, requests: &[u8]) -> io::Result<()> {
        self.stream.write_all(requests).await
    }

    /// Waits for the next reply.
    ///
    /// # Errors
    /// If there is none; give up the connection then.
    pub async fn receive(&mut self) -> Result<Value, ClientError> {
        loop {
            if let Some((value, consumed)) = Value::decode(&self.input)? {
                self.input.advance(consumed);
                return Ok(value);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(ClientError::Closed);
            }
        }
    }

    /// Says that no more requests will come.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

/// Appends a command as a client sends it.
pub fn encode_request(command: &[&str], out: &mut Vec<u8>) {
    let mut encoder = crate::resp::Encoder::new(crate::resp::Version::V2, out);
    encoder.array(command.len());
    command.iter().for_each(|word| encoder.bulk(word.as_bytes()));
}

//! How bytes get from one node to another.

use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// Carries connections between nodes, and between clients and nodes.
///
/// Everything above (frames, checksums, the handshake, who may speak) is the same under every
/// transport. A node is told from another by its handshake, never by its address, so proxies and
/// address translation in between do no harm. [`TcpTransport`](crate::TcpTransport) is the default;
/// another one might encrypt.
///
/// Methods are called on the node's own single-threaded tokio runtime, or on the runtime of a
/// [`Client`](crate::Client): they must not block.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Takes connections at `address`.
    ///
    /// # Errors
    /// If the address cannot be understood or taken, say because another process has it.
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Acceptor>>;

    /// Connects to `address`. Dropping the future gives up; the caller has its own time limit.
    ///
    /// # Errors
    /// If nobody answers there.
    async fn dial(&self, address: &str) -> io::Result<Connection>;
}

/// Takes connections at one address until it is dropped.
#[async_trait]
pub trait Acceptor: Send + 'static {
    /// Waits for the next connection. Cancel-safe.
    ///
    /// # Errors
    /// Those of the operating system. The caller waits a moment and tries again.
    async fn accept(&mut self) -> io::Result<Connection>;

    /// The address that was taken, with the port that was chosen if none was asked for.
    fn local_address(&self) -> String;
}

/// A two-way stream of bytes, reliable and in order until it breaks.
pub struct Connection {
    /// What the other end sends.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What the other end is sent. Dropping it closes this direction.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// The other end's address, for people to read.
    pub remote: String,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("remote", &self.remote).finish_non_exhaustive()
    }
}

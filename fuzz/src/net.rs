//! The files of the facade's network layer, which is private there, as they are. What they take
//! from the rest of the facade stands in `crate::error` and `crate::requests`.
#![allow(dead_code, unused_imports)]

#[path = "../../src/net/client_wire.rs"]
pub mod client_wire;
#[path = "../../src/net/frame.rs"]
pub mod frame;
#[path = "../../src/net/frame_reader.rs"]
pub mod frame_reader;
#[path = "../../src/net/handshake.rs"]
pub mod handshake;
#[path = "../../src/net/transport.rs"]
pub mod transport;

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that arrive in pieces of so many, none of them late.
pub struct Pieces<B> {
    bytes: B,
    at: usize,
    piece: usize,
}

impl<B: AsRef<[u8]>> Pieces<B> {
    pub fn new(bytes: B, piece: usize) -> Pieces<B> {
        Pieces { bytes, at: 0, piece: piece.max(1) }
    }
}

impl<B: AsRef<[u8]> + Unpin> AsyncRead for Pieces<B> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let rest = &self.bytes.as_ref()[self.at..];
        let length = self.piece.min(rest.len()).min(out.remaining());
        out.put_slice(&rest[..length]);
        self.at += length;
        Poll::Ready(Ok(()))
    }
}

/// What a future comes to that has nothing to wait for.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing was to be waited for"),
    }
}

/// Keeps what is written.
#[derive(Clone, Default)]
pub struct Written(pub std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl AsyncWrite for Written {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.0.lock().expect("one thread").extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

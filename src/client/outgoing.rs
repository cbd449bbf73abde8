//! What a client is sending.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::net::frame::{self, Kind};

/// Bytes on their way over a connection, while answers are read from it: whoever only writes, to a
/// node that waits for its answers to be read, waits for ever.
#[derive(Default)]
pub(super) struct Outgoing {
    bytes: Bytes,
    is_ping: bool,
    /// The other end's side has taken some of it.
    is_begun: bool,
    is_flushed: bool,
}

impl Outgoing {
    /// True once everything was written; more can be put here.
    pub(super) fn is_written(&self) -> bool {
        self.bytes.is_empty()
    }

    /// True once everything was written and flushed.
    pub(super) fn is_done(&self) -> bool {
        self.bytes.is_empty() && self.is_flushed
    }

    pub(super) fn put_requests(&mut self, bytes: Bytes) {
        self.put(bytes, false);
    }

    pub(super) fn put_ping(&mut self) {
        let mut ping = BytesMut::new();
        frame::encode(Kind::Ping, &(), &mut ping);
        self.put(ping.freeze(), true);
    }

    fn put(&mut self, bytes: Bytes, is_ping: bool) {
        assert!(self.is_written(), "one thing is sent after the other");
        if !bytes.is_empty() {
            *self = Outgoing { bytes, is_ping, is_begun: false, is_flushed: false };
        }
    }

    /// Writes what the other end takes now. True if it took more of a request than there was room
    /// for at first: it lives. That it takes a ping or a small request says nothing: there is
    /// always room for one.
    ///
    /// Cancel-safe, as far as the writer is.
    pub(super) async fn go_on(
        &mut self,
        writer: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> io::Result<bool> {
        if self.bytes.is_empty() {
            writer.flush().await?;
            self.is_flushed = true;
            return Ok(false);
        }
        let written = writer.write(&self.bytes).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes.advance(written);
        let goes_on = std::mem::replace(&mut self.is_begun, true);
        Ok(goes_on && !self.is_ping)
    }
}

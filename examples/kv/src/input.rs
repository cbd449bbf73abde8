//! What a client has sent, as far as it is not taken apart yet.
//!
//! A request is taken apart where all of it lies in one piece, so what comes next does. What is
//! read ahead of that lies in many, each of which is given back once it is taken apart: one large
//! buffer would cost all of its memory until its last byte is.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, BytesMut};
use tokio::net::TcpStream;

/// What is read at once, and kept of buffers while a client is idle.
pub const IDLE_BYTES: usize = 4 << 10;
/// The size of a piece that is read ahead, where much is.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes in the order in which they came.
#[derive(Debug, Default)]
pub struct Input {
    next: BytesMut,
    /// What was read ahead, behind `next`.
    ahead: VecDeque<BytesMut>,
    /// What `ahead` costs in memory.
    ahead_bytes: usize,
    has_ended: bool,
}

impl Input {
    /// What it costs in memory.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.next.capacity() + self.ahead_bytes
    }

    /// True if nothing more is read than what is here.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// What comes next, in one piece.
    #[must_use]
    pub fn next(&self) -> &[u8] {
        &self.next
    }

    /// So many bytes of what comes next are done with.
    pub fn advance(&mut self, bytes: usize) {
        self.next.advance(bytes);
    }

    /// Nothing of what is here is wanted any more.
    pub fn clear(&mut self) {
        *self = Input { has_ended: self.has_ended, ..Input::default() };
    }

    /// Adds what was read ahead to what comes next, a piece of it; false if there is none.
    pub fn take_ahead(&mut self) -> bool {
        let Some(piece) = self.ahead.pop_front() else { return false };
        self.ahead_bytes -= piece.capacity();
        if self.next.is_empty() {
            self.next = piece;
        } else {
            self.next.extend_from_slice(&piece);
        }
        true
    }

    /// Reads what comes next, as far as it has arrived.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn read(&mut self, stream: &TcpStream) -> io::Result<()> {
        assert!(self.ahead.is_empty(), "what was read ahead comes first");
        self.next.reserve(IDLE_BYTES.max(self.next.len()));
        let read = stream.try_read_buf(&mut self.next);
        self.has_read(read).map(drop)
    }

    /// Reads what has arrived, up to `max_bytes` of all that is here, and nothing after that.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn read_the_last(&mut self, stream: &TcpStream, max_bytes: usize) -> io::Result<()> {
        while !self.has_ended && self.held_bytes() < max_bytes && self.read_ahead(stream)? {}
        self.has_ended = true;
        Ok(())
    }

    /// Reads a piece ahead of what comes next, as far as it has arrived; false if nothing has.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn read_ahead(&mut self, stream: &TcpStream) -> io::Result<bool> {
        let room = self.ahead.back().map_or(0, |piece| piece.capacity() - piece.len());
        if room == 0 {
            let piece = BytesMut::with_capacity(self.held_bytes().clamp(IDLE_BYTES, PIECE_BYTES));
            self.ahead_bytes += piece.capacity();
            self.ahead.push_back(piece);
        }
        let piece = self.ahead.back_mut().expect("there is one with room");
        let read = stream.try_read_buf(piece);
        self.has_read(read)
    }

    fn has_read(&mut self, read: io::Result<usize>) -> io::Result<bool> {
        match read {
            Ok(0) => self.has_ended = true,
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    /// Gives back what an idle client does not need.
    pub fn shrink(&mut self) {
        if self.next.is_empty() && self.next.capacity() > IDLE_BYTES {
            self.next = BytesMut::new();
        }
    }
}

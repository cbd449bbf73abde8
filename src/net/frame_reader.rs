//! Reads frames from one direction of a connection, in no more memory than is allowed.
//!
//! A small frame is read together with what follows it. A large one gets a buffer of its own,
//! which grows with the bytes that arrive: a length alone makes no room.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::frame::{self, Frame, FrameError, Header, Kind};

/// How much is read at once of small frames, in bytes: what an idle connection costs.
const READ_BYTES: usize = 16 << 10;

/// How much is kept of a body that is passed over, in bytes.
const BEGINNING_BYTES: usize = 32;

/// Told how many bytes a large frame needs to go on: whether it may.
pub(crate) type MayHold<'a> = &'a mut (dyn FnMut(usize) -> bool + Send);

pub(crate) struct FrameReader<R> {
    from: R,
    buffer: BytesMut,
    max: usize,
    received_bytes: u64,
    skipping: Option<Skipping>,
}

/// What has arrived of a request.
#[derive(Debug)]
pub(crate) enum Arrived {
    Frame(Frame),
    /// It was passed over, to its end. What follows can be read.
    Skipped {
        /// The body's first bytes.
        beginning: Bytes,
        why: Skipped,
    },
}

/// Why a request was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skipped {
    TooLong,
    /// It was not allowed to take more memory.
    NoRoom,
}

struct Skipping {
    why: Skipped,
    left_bytes: usize,
    beginning: BytesMut,
    checksum: crc32fast::Hasher,
    expected_checksum: u32,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Bodies of more than `max` bytes are refused.
    pub(crate) fn new(from: R, max: usize) -> FrameReader<R> {
        FrameReader { from, buffer: BytesMut::new(), max, received_bytes: 0, skipping: None }
    }

    pub(crate) fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// How much has arrived in all, be it in whole frames or not.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// The next frame; `None` once the other end has closed the connection between two frames.
    ///
    /// Cancel-safe: what was read of a frame is kept.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            let header = Header::peek(&self.buffer)?;
            if let Some(header) = &header {
                if header.length > self.max {
                    return Err(FrameError::TooLong { length: header.length, max: self.max });
                }
                if let Some(frame) = self.take(header)? {
                    return Ok(Some(frame));
                }
            }
            self.make_room(header.as_ref(), &mut |_| true);
            if !self.receive().await? {
                return Ok(None);
            }
        }
    }

    /// The next request. One which is too long, or may not be held, is passed over.
    ///
    /// Cancel-safe.
    pub(crate) async fn next_request(
        &mut self,
        may_hold: MayHold<'_>,
    ) -> Result<Option<Arrived>, FrameError> {
        loop {
            if let Some(arrived) = self.take_request(may_hold)? {
                return Ok(Some(arrived));
            }
            if !self.receive().await? {
                return Ok(None);
            }
        }
    }

    fn take_request(&mut self, may_hold: MayHold<'_>) -> Result<Option<Arrived>, FrameError> {
        if self.skipping.is_none() {
            let header = Header::peek(&self.buffer)?;
            if let Some(header) = &header {
                if header.length > self.max {
                    self.skip(header, Skipped::TooLong)?;
                } else if let Some(frame) = self.take(header)? {
                    return Ok(Some(Arrived::Frame(frame)));
                }
            }
            if self.skipping.is_none() && !self.make_room(header.as_ref(), may_hold) {
                let header = header.expect("only a frame of some length is refused room");
                self.skip(&header, Skipped::NoRoom)?;
            }
        }
        let Some(skipping) = &mut self.skipping else { return Ok(None) };
        let arrived = skipping.pass_over(&mut self.buffer)?;
        match arrived {
            Some(_) => self.skipping = None,
            None => _ = self.make_room(None, may_hold),
        }
        Ok(arrived)
    }

    /// The frame of this header, if all of it is there.
    fn take(&mut self, header: &Header) -> Result<Option<Frame>, FrameError> {
        let length = header.frame_bytes();
        if self.buffer.len() < length {
            return Ok(None);
        }
        if length <= READ_BYTES {
            return frame::take(header, &mut self.buffer).map(Some);
        }
        // What follows must not keep a large buffer alive.
        let rest = BytesMut::from(&self.buffer[length..]);
        let mut large = std::mem::replace(&mut self.buffer, rest);
        frame::take(header, &mut large).map(Some)
    }

    /// Sees to it that there is room for what arrives next, of the frame of this header if one has
    /// begun. False if that frame may not be held.
    fn make_room(&mut self, header: Option<&Header>, may_hold: MayHold<'_>) -> bool {
        let (here, capacity) = (self.buffer.len(), self.buffer.capacity());
        let large = header.map(Header::frame_bytes).filter(|length| *length > READ_BYTES);
        let enough = match large {
            Some(_) if here < capacity => return true,
            Some(length) => (2 * here).min(length),
            None if capacity - here >= READ_BYTES / 2 => return true,
            None => here + READ_BYTES,
        };
        if large.is_some() && !may_hold(enough) {
            return false;
        }
        let mut larger = BytesMut::with_capacity(enough);
        larger.extend_from_slice(&self.buffer);
        self.buffer = larger;
        true
    }

    /// Only a request can be answered unread.
    fn skip(&mut self, header: &Header, why: Skipped) -> Result<(), FrameError> {
        if header.kind != Kind::Request {
            return Err(FrameError::TooLong { length: header.length, max: self.max });
        }
        self.buffer.advance(frame::HEADER_BYTES);
        self.skipping = Some(Skipping {
            why,
            left_bytes: header.length,
            beginning: BytesMut::new(),
            checksum: crc32fast::Hasher::new(),
            expected_checksum: header.body_checksum,
        });
        Ok(())
    }

    /// Waits for more bytes. False if the other end has closed the connection between two frames.
    async fn receive(&mut self) -> Result<bool, FrameError> {
        let received = self.from.read_buf(&mut self.buffer).await?;
        self.received_bytes += received as u64;
        let clean = self.buffer.is_empty() && self.skipping.is_none();
        if received == 0 && !clean { Err(FrameError::Truncated) } else { Ok(received > 0) }
    }
}

impl Skipping {
    /// Drops what is there of the body. What is known of it once that was all.
    fn pass_over(&mut self, buffer: &mut BytesMut) -> Result<Option<Arrived>, FrameError> {
        let passed = buffer.len().min(self.left_bytes);
        let wanted = (BEGINNING_BYTES - self.beginning.len()).min(passed);
        self.beginning.extend_from_slice(&buffer[..wanted]);
        self.checksum.update(&buffer[..passed]);
        self.left_bytes -= passed;
        buffer.advance(passed);
        if buffer.capacity() > 2 * READ_BYTES {
            *buffer = BytesMut::from(&buffer[..]);
        }
        if self.left_bytes > 0 {
            return Ok(None);
        }
        if self.checksum.clone().finalize() != self.expected_checksum {
            return Err(FrameError::BodyChecksum);
        }
        let beginning = self.beginning.split().freeze();
        Ok(Some(Arrived::Skipped { beginning, why: self.why }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        frame::encode(kind, body, &mut out);
        out
    }

    /// Everything that these bytes say, each with the number of bytes that it may hold.
    async fn requests(bytes: &[u8], max: usize, may_hold: usize) -> Vec<Arrived> {
        let mut reader = FrameReader::new(bytes, max);
        let mut all = Vec::new();
        while let Some(one) = reader.next_request(&mut |held| held <= may_hold).await.unwrap() {
            all.push(one);
            assert!(reader.buffer.capacity() <= 2 * READ_BYTES, "a large buffer is kept");
        }
        all
    }

    fn skipped(arrived: &Arrived) -> Option<(&[u8], Skipped)> {
        match arrived {
            Arrived::Frame(_) => None,
            Arrived::Skipped { beginning, why } => Some((beginning, *why)),
        }
    }

    #[tokio::test]
    async fn frames_are_read_back_however_they_are_cut() {
        let mut sent = frame(Kind::Message, b"seven");
        sent.unsplit(frame(Kind::Message, &[7; 50]));
        for cut in 0..sent.len() {
            let parts = AsyncReadExt::chain(&sent[..cut], &sent[cut..]);
            let mut reader = FrameReader::new(parts, 100);
            let mut bodies = Vec::new();
            while let Some(frame) = reader.next().await.unwrap() {
                bodies.push(frame.decode::<Vec<u8>>().unwrap());
            }
            assert_eq!(bodies, [b"seven".to_vec(), vec![7; 50]]);
        }
    }

    #[tokio::test]
    async fn a_flip_of_any_bit_is_noticed() {
        for at in 0..frame(Kind::Message, b"seven").len() {
            for bit in 0..8 {
                let mut bytes = frame(Kind::Message, b"seven");
                bytes[at] ^= 1 << bit;
                let read = FrameReader::new(&bytes[..], 100).next().await;
                assert!(read.is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_is_refused_from_the_header_alone() {
        let head = &frame(Kind::Message, b"seven")[..frame::HEADER_BYTES];
        let error = FrameReader::new(head, 5).next().await.unwrap_err();
        assert!(matches!(error, FrameError::TooLong { length: 6, max: 5 }));
        let not_a_request = FrameReader::new(head, 5).next_request(&mut |_| true).await;
        assert!(matches!(not_a_request, Err(FrameError::TooLong { length: 6, max: 5 })));
    }

    #[tokio::test]
    async fn an_end_within_a_frame_is_not_a_clean_one() {
        let bytes = frame(Kind::Message, b"seven");
        let mut whole = FrameReader::new(&bytes[..], 100);
        assert!(whole.next().await.unwrap().is_some());
        assert!(whole.next().await.unwrap().is_none());
        let mut cut = FrameReader::new(&bytes[..30], 100);
        assert!(matches!(cut.next().await, Err(FrameError::Truncated)));
        let long = frame(Kind::Request, &[1; 1000]);
        let mut cut = FrameReader::new(&long[..30], 100);
        let cut = cut.next_request(&mut |_| true).await;
        assert!(matches!(cut, Err(FrameError::Truncated)));
    }

    #[tokio::test]
    async fn a_request_that_is_too_long_is_passed_over_and_the_next_one_is_read() {
        for length in [101, 1000, READ_BYTES, 10 * READ_BYTES + 7] {
            let body: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let mut sent = frame(Kind::Request, &body);
            sent.unsplit(frame(Kind::Request, b"next"));
            let read = requests(&sent, 100, 0).await;
            let (beginning, why) = skipped(&read[0]).unwrap();
            assert_eq!(why, Skipped::TooLong);
            assert_eq!(beginning, &sent[frame::HEADER_BYTES..][..BEGINNING_BYTES]);
            assert!(matches!(&read[1..], [Arrived::Frame(next)] if next.body[1..] == *b"next"));
        }
    }

    #[tokio::test]
    async fn a_large_request_holds_what_it_is_allowed_and_is_passed_over_beyond() {
        let mut sent = frame(Kind::Request, &[1; 10 * READ_BYTES]);
        let length = sent.len();
        sent.unsplit(frame(Kind::Request, b"next"));
        for (may_hold, whole) in [(length, true), (length - 1, false), (0, false)] {
            let read = requests(&sent, 1 << 20, may_hold).await;
            assert_eq!(read.len(), 2);
            assert_eq!(skipped(&read[0]).is_none(), whole, "{may_hold}");
            assert!(skipped(&read[1]).is_none());
        }
    }

    #[tokio::test]
    async fn a_length_alone_makes_no_room() {
        let sent = frame(Kind::Request, &[1; 100 * READ_BYTES]);
        for arrived in [frame::HEADER_BYTES, READ_BYTES, 3 * READ_BYTES, 10 * READ_BYTES] {
            let mut reader = FrameReader::new(&sent[..arrived], 1 << 30);
            let mut held = 0;
            let mut may_hold = |bytes| {
                held = bytes;
                true
            };
            assert!(reader.next_request(&mut may_hold).await.is_err());
            let room = reader.buffer.capacity();
            assert!(room.max(held) <= 2 * arrived.max(READ_BYTES), "{room} of {arrived}");
        }
    }

    #[tokio::test]
    async fn damage_is_noticed_in_what_is_passed_over() {
        let mut sent = frame(Kind::Request, &[1; 1000]);
        sent[500] ^= 1;
        let read = FrameReader::new(&sent[..], 100).next_request(&mut |_| true).await;
        assert!(matches!(read, Err(FrameError::BodyChecksum)));
    }
}

//! Frames: what goes over a connection, one behind the other.
//!
//! ```text
//!  0       4         5      6      8       16       20         24           28
//!  ┌───────┬─────────┬──────┬──────┬───────┬────────┬──────────┬────────────┬──────────────┐
//!  │ magic │ version │ kind │ zero │ group │ length │ CRC-32   │ CRC-32     │ body         │
//!  │ QRM1  │ u8 = 1  │ u8   │ u16  │ u64   │ u32    │ of body  │ of [0, 24) │ length bytes │
//!  └───────┴─────────┴──────┴──────┴───────┴────────┴──────────┴────────────┴──────────────┘
//! ```
//!
//! Numbers are little-endian. The header has a checksum of its own, so that a length is believed
//! only where it was meant. Even a believed length makes no room in memory: a buffer grows with
//! the bytes that arrive.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The version of this format which is written; the only one which is read.
pub(crate) const FORMAT_VERSION: u8 = 1;

const MAGIC: [u8; 4] = *b"QRM1";
const HEADER_BYTES: usize = 28;

/// How much is read from a connection at once, at least.
const READ_BYTES: usize = 64 << 10;

/// The group whose messages these are, as long as a process has one group.
const GROUP: u64 = 0;

/// What a frame's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Who speaks: the first frame in each direction.
    Hello = 1,
    /// Why a Hello was not accepted; nothing follows.
    Refusal = 2,
    /// An envelope from one replica to another.
    Message = 3,
    /// Asks whether the other end is alive.
    Ping = 4,
    /// It is, and this is how far it has come.
    Pong = 5,
    /// A client's request.
    Request = 6,
    /// The answer to one.
    Reply = 7,
}

impl Kind {
    fn from_u8(number: u8) -> Option<Kind> {
        Some(match number {
            1 => Kind::Hello,
            2 => Kind::Refusal,
            3 => Kind::Message,
            4 => Kind::Ping,
            5 => Kind::Pong,
            6 => Kind::Request,
            7 => Kind::Reply,
            _ => return None,
        })
    }
}

/// One frame, its checksums verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) body: Bytes,
}

/// Why bytes are not frames. The connection is of no further use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FrameError {
    #[error("the bytes are not quorate's: something else connected to this port")]
    Magic,
    #[error("frames of format version {0}, this program reads {FORMAT_VERSION}")]
    Version(u8),
    #[error("a frame of unknown kind {0}, sent by a later version")]
    Kind(u8),
    #[error("a frame of group {0}, which this node does not have")]
    Group(u64),
    #[error("a frame of {length} bytes, where at most {max} are allowed")]
    TooLong { length: usize, max: usize },
    #[error("a frame's header was damaged on the way")]
    HeaderChecksum,
    #[error("a frame's body was damaged on the way")]
    BodyChecksum,
    #[error("the connection ended in the middle of a frame")]
    Truncated,
    #[error("the other end closed the connection")]
    Closed,
    #[error("nothing was received for {0:?}")]
    Silence(std::time::Duration),
    #[error("a frame's body is not what its kind says")]
    Body,
    #[error("a frame which cannot be sent at this point")]
    Unexpected,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Frame {
    /// What the body says.
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        match postcard::take_from_bytes(&self.body) {
            Ok((value, [])) => Ok(value),
            Ok(_) | Err(_) => Err(FrameError::Body),
        }
    }
}

/// Appends one frame to `out`.
pub(crate) fn encode<T: Serialize + ?Sized>(kind: Kind, body: &T, out: &mut BytesMut) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    postcard::serialize_with_flavor(body, Appending(out)).expect("messages are plain data");
    let (head, written) = out[start..].split_at_mut(HEADER_BYTES);
    let length = u32::try_from(written.len()).expect("messages are bounded far below 4 GiB");
    head[0..4].copy_from_slice(&MAGIC);
    head[4] = FORMAT_VERSION;
    head[5] = kind as u8;
    head[8..16].copy_from_slice(&GROUP.to_le_bytes());
    head[16..20].copy_from_slice(&length.to_le_bytes());
    head[20..24].copy_from_slice(&crc32fast::hash(written).to_le_bytes());
    let checksum = crc32fast::hash(&head[0..24]);
    head[24..28].copy_from_slice(&checksum.to_le_bytes());
}

/// Takes one frame from the front of `buffer`; `None` if it is not complete yet.
pub(crate) fn decode(buffer: &mut BytesMut, max: usize) -> Result<Option<Frame>, FrameError> {
    let known = buffer.len().min(MAGIC.len());
    if buffer[..known] != MAGIC[..known] {
        return Err(FrameError::Magic);
    }
    let Some((head, rest)) = buffer.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let header = Header::read(head)?;
    if header.length > max {
        return Err(FrameError::TooLong { length: header.length, max });
    }
    if rest.len() < header.length {
        return Ok(None);
    }
    buffer.advance(HEADER_BYTES);
    let body = buffer.split_to(header.length).freeze();
    if crc32fast::hash(&body) != header.body_checksum {
        return Err(FrameError::BodyChecksum);
    }
    Ok(Some(Frame { kind: header.kind, body }))
}

/// Reads frames from one direction of a connection.
pub(crate) struct FrameReader<R> {
    from: R,
    buffer: BytesMut,
    max: usize,
    received_bytes: u64,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Bodies of more than `max` bytes are refused.
    pub(crate) fn new(from: R, max: usize) -> FrameReader<R> {
        FrameReader { from, buffer: BytesMut::new(), max, received_bytes: 0 }
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
            if let Some(frame) = decode(&mut self.buffer, self.max)? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(READ_BYTES);
            let received = self.from.read_buf(&mut self.buffer).await?;
            if received == 0 {
                let clean = self.buffer.is_empty();
                return if clean { Ok(None) } else { Err(FrameError::Truncated) };
            }
            self.received_bytes += received as u64;
        }
    }
}

struct Header {
    kind: Kind,
    length: usize,
    body_checksum: u32,
}

impl Header {
    fn read(head: &[u8; HEADER_BYTES]) -> Result<Header, FrameError> {
        let u32_at = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| head[at + i]));
        if head[4] != FORMAT_VERSION {
            return Err(FrameError::Version(head[4]));
        }
        if crc32fast::hash(&head[0..24]) != u32_at(24) {
            return Err(FrameError::HeaderChecksum);
        }
        let group = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| head[8 + i]));
        if group != GROUP {
            return Err(FrameError::Group(group));
        }
        let kind = Kind::from_u8(head[5]).ok_or(FrameError::Kind(head[5]))?;
        Ok(Header { kind, length: u32_at(16) as usize, body_checksum: u32_at(20) })
    }
}

/// Has postcard write where the frame is being built.
struct Appending<'a>(&'a mut BytesMut);

impl Flavor for Appending<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.extend_from_slice(&[data]);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> BytesMut {
        let mut out = BytesMut::new();
        encode(Kind::Message, &(7u8, "seven"), &mut out);
        out
    }

    #[test]
    fn a_frame_keeps_its_bytes() {
        let golden = [
            b'Q', b'R', b'M', b'1', 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 50, 42, 112,
            88, 109, 199, 140, 0, 7, 5, b's', b'e', b'v', b'e', b'n',
        ];
        assert_eq!(frame()[..], golden);
    }

    #[test]
    fn frames_are_read_back_however_they_are_cut() {
        let mut sent = frame();
        sent.unsplit(frame());
        for cut in 0..sent.len() {
            let mut buffer = BytesMut::new();
            let mut frames = Vec::new();
            for part in [&sent[..cut], &sent[cut..]] {
                buffer.extend_from_slice(part);
                while let Some(frame) = decode(&mut buffer, 100).unwrap() {
                    frames.push(frame.decode::<(u8, String)>().unwrap());
                }
            }
            assert_eq!(frames, vec![(7, "seven".to_owned()); 2]);
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_flip_of_any_bit_is_noticed() {
        for at in 0..frame().len() {
            for bit in 0..8 {
                let mut bytes = frame();
                bytes[at] ^= 1 << bit;
                assert!(decode(&mut bytes, 100).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_from_the_header_alone() {
        let mut head = frame();
        head.truncate(HEADER_BYTES);
        let error = decode(&mut head, 6).unwrap_err();
        assert!(matches!(error, FrameError::TooLong { length: 7, max: 6 }));
    }

    #[test]
    fn what_is_not_ours_is_told_from_its_first_byte() {
        let mut http = BytesMut::from(&b"GET / HTTP/1.1"[..]);
        assert!(matches!(decode(&mut http, 100), Err(FrameError::Magic)));
        let mut one = BytesMut::from(&b"G"[..]);
        assert!(matches!(decode(&mut one, 100), Err(FrameError::Magic)));
    }

    #[test]
    fn bytes_behind_the_end_of_a_body_are_refused() {
        let frame = decode(&mut frame(), 100).unwrap().unwrap();
        assert!(matches!(frame.decode::<u8>(), Err(FrameError::Body)));
    }

    #[tokio::test]
    async fn an_end_within_a_frame_is_not_a_clean_one() {
        let bytes = frame();
        let mut whole = FrameReader::new(&bytes[..], 100);
        assert!(whole.next().await.unwrap().is_some());
        assert!(whole.next().await.unwrap().is_none());
        let mut cut = FrameReader::new(&bytes[..30], 100);
        assert!(matches!(cut.next().await, Err(FrameError::Truncated)));
    }
}

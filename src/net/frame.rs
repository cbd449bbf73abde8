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
use quorate_core::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of this format which is written; the only one which is read.
pub(crate) const FORMAT_VERSION: u8 = 1;

const MAGIC: [u8; 4] = *b"QRM1";
pub(crate) const HEADER_BYTES: usize = 28;

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
    #[error("node {is} sent a message which says that it is from node {said}")]
    Sender { said: NodeId, is: NodeId },
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

/// Takes the frame of this header, which is there in full, from the front of `buffer`.
pub(crate) fn take(header: &Header, buffer: &mut BytesMut) -> Result<Frame, FrameError> {
    buffer.advance(HEADER_BYTES);
    let body = buffer.split_to(header.length).freeze();
    if crc32fast::hash(&body) != header.body_checksum {
        return Err(FrameError::BodyChecksum);
    }
    Ok(Frame { kind: header.kind, body })
}

/// What stands before a body, its checksum verified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Of the body, in bytes.
    pub(crate) length: usize,
    pub(crate) body_checksum: u32,
}

impl Header {
    /// The header at the front of `buffer`; `None` if it is not complete yet.
    pub(crate) fn peek(buffer: &[u8]) -> Result<Option<Header>, FrameError> {
        let known = buffer.len().min(MAGIC.len());
        if buffer[..known] != MAGIC[..known] {
            return Err(FrameError::Magic);
        }
        buffer.first_chunk::<HEADER_BYTES>().map(Header::read).transpose()
    }

    /// The length of the whole frame, in bytes.
    pub(crate) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.length
    }

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
    fn what_is_not_ours_is_told_from_its_first_byte() {
        assert!(matches!(Header::peek(b"GET / HTTP/1.1"), Err(FrameError::Magic)));
        assert!(matches!(Header::peek(b"G"), Err(FrameError::Magic)));
    }

    #[test]
    fn bytes_behind_the_end_of_a_body_are_refused() {
        let mut bytes = frame();
        let header = Header::peek(&bytes).unwrap().unwrap();
        let frame = take(&header, &mut bytes).unwrap();
        assert_eq!(frame.decode::<(u8, String)>().unwrap(), (7, "seven".to_owned()));
        assert!(matches!(frame.decode::<u8>(), Err(FrameError::Body)));
    }
}

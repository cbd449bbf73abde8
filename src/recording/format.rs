//! The bytes of a recording.
//!
//! ```text
//! file:    0          8            12           16
//!          ┌──────────┬────────────┬────────────┬─────────┬─────────┬───
//!          │ magic    │ version    │ CRC-32     │ record  │ record  │ …
//!          │ QRRECORD │ u32 = 2    │ of [0, 12) │         │         │
//!          └──────────┴────────────┴────────────┴─────────┴─────────┴───
//!
//! record:  0      1      4          8        16           20
//!          ┌──────┬──────┬──────────┬────────┬────────────┬──────────────┐
//!          │ kind │ zero │ CRC-32   │ length │ CRC-32     │ body         │
//!          │ u8   │ u24  │ of body  │ u64    │ of [0, 16) │ length bytes │
//!          └──────┴──────┴──────────┴────────┴────────────┴──────────────┘
//! ```
//!
//! Numbers are little-endian. The first record says who wrote it, the second is the start, then there
//! is one for each batch of events, and one at the end. A record's header has a checksum of its own: so
//! a length that is believed, and reaches beyond the end of the file, is that of a record which was
//! not written to its end, and nothing is taken for such a one because a bit has flipped.

use std::io::{self, Write};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The version of this format which is written; the only one which is read. Another one is due
/// with every change of what is in the bodies: of an event, of a message of a protocol, of an effect.
pub(super) const FORMAT_VERSION: u32 = 2;

pub(super) const MAGIC: [u8; 8] = *b"QRRECORD";
pub(super) const FILE_HEADER_BYTES: usize = 16;
pub(super) const HEADER_BYTES: usize = 20;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// [`About`]: the first one.
    About = 1,
    /// [`RecordedStart`](quorate_core::RecordedStart).
    Start = 2,
    /// [`RecordedCall`](quorate_core::RecordedCall)s, one behind the other.
    Batch = 3,
    /// [`Last`]: nothing follows.
    End = 4,
}

/// Whose replica is recorded, and by which program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    /// The name of its protocol.
    pub(super) protocol: String,
    /// The version of quorate.
    pub(super) package: String,
}

/// Why the recording ends, if there was time to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Last {
    /// The node stopped, or did not start.
    Stopped,
    /// The thread of the replica panicked.
    Panicked,
    /// More waited to be written than may.
    FellBehind,
    /// What was next did not fit.
    Full,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) body: Bytes,
}

/// What stands before a record's body, its checksum verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// `None` if it is none that is known here.
    pub(super) kind: Option<Kind>,
    pub(super) length: u64,
    body_checksum: u32,
}

impl Kind {
    fn from_u8(number: u8) -> Option<Kind> {
        Some(match number {
            1 => Kind::About,
            2 => Kind::Start,
            3 => Kind::Batch,
            4 => Kind::End,
            _ => return None,
        })
    }
}

impl Record {
    pub(super) fn about(about: &About) -> Record {
        Record { kind: Kind::About, body: encoded(about) }
    }

    pub(super) fn end(last: Last) -> Record {
        Record { kind: Kind::End, body: encoded(&last) }
    }

    /// How much of the file it takes.
    pub(super) fn size_bytes(&self) -> u64 {
        (HEADER_BYTES + self.body.len()) as u64
    }

    pub(super) fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let mut header = [0; HEADER_BYTES];
        header[0] = self.kind as u8;
        header[4..8].copy_from_slice(&crc32fast::hash(&self.body).to_le_bytes());
        header[8..16].copy_from_slice(&(self.body.len() as u64).to_le_bytes());
        let checksum = crc32fast::hash(&header[..16]);
        header[16..].copy_from_slice(&checksum.to_le_bytes());
        out.write_all(&header)?;
        out.write_all(&self.body)
    }
}

impl Header {
    /// `None` if it is damaged.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        if crc32fast::hash(&bytes[..16]) != u32_at(bytes, 16) {
            return None;
        }
        let length = u64::from(u32_at(bytes, 8)) | u64::from(u32_at(bytes, 12)) << 32;
        let kind = Kind::from_u8(bytes[0]);
        Some(Header { kind, length, body_checksum: u32_at(bytes, 4) })
    }

    /// Whether this is the body that was written.
    pub(super) fn is_of(&self, body: &[u8]) -> bool {
        crc32fast::hash(body) == self.body_checksum
    }
}

pub(super) fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    let checksum = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// The version that a file's header names; `None` if the header is damaged.
pub(super) fn version_of(header: &[u8; FILE_HEADER_BYTES]) -> Option<u32> {
    (crc32fast::hash(&header[..12]) == u32_at(header, 12)).then(|| u32_at(header, 8))
}

fn encoded<T: Serialize>(value: &T) -> Bytes {
    postcard::to_allocvec(value).expect("plain data encodes").into()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_keeps_its_bytes() {
        let mut bytes = file_header().to_vec();
        Record::end(Last::Full).write_to(&mut bytes).unwrap();
        let golden = [
            b'Q', b'R', b'R', b'E', b'C', b'O', b'R', b'D', 2, 0, 0, 0, 180, 251, 80, 134, 4, 0, 0,
            0, 55, 190, 11, 75, 1, 0, 0, 0, 0, 0, 0, 0, 111, 235, 75, 61, 3,
        ];
        assert_eq!(bytes, golden);
    }

    #[test]
    fn a_bit_that_flips_anywhere_is_noticed() {
        let record = Record { kind: Kind::Batch, body: Bytes::from_static(b"body") };
        let mut whole = Vec::new();
        record.write_to(&mut whole).unwrap();
        let decoded = |bytes: &[u8]| {
            let (header, body) = bytes.split_at(HEADER_BYTES);
            let header = Header::decode(header.try_into().unwrap())?;
            let body = Bytes::copy_from_slice(body);
            header.is_of(&body).then(|| Record { kind: header.kind.unwrap(), body })
        };
        assert_eq!(decoded(&whole), Some(record));
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decoded(&damaged), None, "bit {bit}");
        }
        for bit in 64..FILE_HEADER_BYTES * 8 {
            let mut damaged = file_header();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(version_of(&damaged), None, "bit {bit}");
        }
    }
}

//! The decoders of what is on disk, for this project's fuzz targets. No part of the interface.
//!
//! What is made up fails at the checksum, so nothing that stands behind it in a decoder would ever
//! be tried. Here bytes are given the checksum that fits them.

use bytes::Bytes;

use crate::codec::{Take, as_usize};
use crate::frame::{self, Claim, Header};
use crate::{meta, segment};

/// Decodes bytes as the header of a group; true if they are one.
///
/// # Panics
/// If what was decoded is encoded to something else.
pub fn group_header(bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    if bytes.len() < 20 {
        return false;
    }
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[..8].copy_from_slice(&frame::MAGIC);
    bytes[16..20].copy_from_slice(&len.to_le_bytes());
    seal(&mut bytes);
    let Ok(header) = Header::decode(&bytes) else { return false };
    let entries = || header.runs.iter().flat_map(|run| &run.entries);
    let payload_bytes: usize = entries().map(|entry| as_usize(entry.len)).sum();
    if payload_bytes <= 1 << 16 {
        let payloads = entries().map(|entry| vec![0; as_usize(entry.len)].into());
        let payloads: Vec<Bytes> = payloads.collect();
        let encoded = header.encode(payloads.iter());
        assert_eq!(encoded.bytes.len() as u64, header.encoded_len());
        let claim = Claim::read(&encoded.bytes).expect("it is a group");
        assert_eq!((claim.place, claim.len()), (header.place, header.encoded_len()));
        let (again, _) = encoded.bytes.split_at(claim.header_len as usize);
        assert_eq!(Header::decode(again).as_ref(), Ok(&header));
    }
    true
}

/// Decodes bytes as a copy of the meta file, the first one, behind its version; true if they are
/// one.
///
/// # Panics
/// If what was decoded is encoded to something else.
pub fn meta_copy(body: &[u8]) -> bool {
    let mut bytes = vec![0; meta::BODY_FROM];
    bytes[..8].copy_from_slice(&meta::MAGIC);
    bytes[12] = frame::FORMAT as u8;
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    bytes[16..20].copy_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes.resize(meta::COPY_LEN, 0);
    seal(&mut bytes);
    let Ok(Some(found)) = meta::decode(0, &bytes) else { return false };
    let again = found.encode(0).expect("it is no longer than it was");
    assert_eq!(meta::decode(0, &again).ok().flatten().as_ref(), Some(&found));
    true
}

/// Decodes bytes as the header of a segment; true if they are one.
pub fn segment_header(bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    bytes.resize(segment::HEADER_LEN, 0);
    bytes[..8].copy_from_slice(&segment::MAGIC);
    seal(&mut bytes);
    let mut named = Take(&bytes[16..]);
    let (Some(store), Some(number)) = (named.digest(), named.u64()) else { return false };
    segment::check(&bytes, store, number).is_ok()
}

/// Makes the checksum of a header fit: all of them begin with a magic of 8 bytes and the CRC of
/// what stands behind the two.
///
/// # Panics
/// If it is shorter than that.
pub fn seal(header: &mut [u8]) {
    let crc = crc32fast::hash(&header[12..]);
    header[8..12].copy_from_slice(&crc.to_le_bytes());
}

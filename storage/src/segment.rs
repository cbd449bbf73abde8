//! The files of the log: their names and their first block.
//!
//! ```text
//!    0  magic "QRM-SEG\0"                8
//!    8  CRC-32 of bytes 12 to 64         4
//!   12  format version                   2
//!   14  reserved, 0                      2
//!   16  store id                        16
//!   32  segment id                       8
//!   40  length of the file in bytes      8
//!   48  reserved, 0                     16
//!   64  zeros, never looked at
//! 4096  the first group
//! ```
//!
//! The block is written when the segment is prepared: before anything is acknowledged in it. In a
//! segment that is used a second time, groups of its former life follow; they name another
//! segment and are never taken for its own.

use quorate_core::Digest;

use crate::codec::{Put, Take};
use crate::error::{Damage, StorageError};
use crate::frame::{BLOCK, FORMAT};

pub(crate) const MAGIC: [u8; 8] = *b"QRM-SEG\0";
const CRC_FROM: usize = 12;
/// How much of the first block means something.
pub(crate) const HEADER_LEN: usize = 64;

/// The file of a segment.
pub(crate) fn name(segment: u64) -> String {
    format!("wal-{segment:016x}")
}

/// The file of a segment while it is prepared.
pub(crate) fn name_in_preparation(segment: u64) -> String {
    format!("tmp-wal-{segment:016x}")
}

/// The segment whose file this is.
pub(crate) fn parse_name(file: &str) -> Option<u64> {
    let digits = file.strip_prefix("wal-")?;
    let segment = u64::from_str_radix(digits, 16).ok()?;
    (name(segment) == file).then_some(segment)
}

/// True of a file which a crash left in preparation.
pub(crate) fn is_in_preparation(file: &str) -> bool {
    file.strip_prefix("tmp-").is_some_and(|rest| parse_name(rest).is_some())
}

/// The first block of a segment.
pub(crate) fn encode(store: Digest, segment: u64, len: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK as usize);
    bytes.put(&MAGIC);
    bytes.put_u32(0);
    bytes.put_u16(FORMAT);
    bytes.put_u16(0);
    bytes.put(&store.0);
    bytes.put_u64(segment);
    bytes.put_u64(len);
    bytes.resize(HEADER_LEN, 0);
    let crc = crc32fast::hash(&bytes[CRC_FROM..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes.resize(BLOCK as usize, 0);
    bytes
}

/// Checks the first bytes of the file of `segment`; its length as it was made.
///
/// # Errors
/// If they are damaged, or those of another segment.
pub(crate) fn check(bytes: &[u8], store: Digest, segment: u64) -> Result<u64, StorageError> {
    let file = name(segment);
    let damaged = || StorageError::Damaged {
        file: name(segment),
        offset: 0,
        indexes: Default::default(),
        damage: Damage::SegmentHeader,
    };
    let bytes = bytes.get(..HEADER_LEN).ok_or_else(damaged)?;
    let mut take = Take(bytes);
    let mut fixed = || Some((take.array::<8>()?, take.u32()?, take.u16()?, take.u16()?));
    let (magic, crc, version, _) = fixed().ok_or_else(damaged)?;
    if magic != MAGIC || crc != crc32fast::hash(&bytes[CRC_FROM..]) {
        return Err(damaged());
    }
    if version > FORMAT {
        return Err(StorageError::NewerFormat { file, found: version, supported: FORMAT });
    }
    let mut rest = || Some((take.digest()?, take.u64()?, take.u64()?));
    let (found_store, found_segment, len) = rest().ok_or_else(damaged)?;
    if found_store != store {
        let found = format!("a segment of another directory (store {found_store}, not {store})");
        return Err(StorageError::ForeignSegment { file, found });
    }
    if found_segment != segment {
        let found = format!("a copy of {}", name(found_segment));
        return Err(StorageError::ForeignSegment { file, found });
    }
    if len < 2 * BLOCK || len % BLOCK != 0 {
        return Err(damaged());
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: Digest = Digest([7; 16]);

    #[test]
    fn names_are_read_as_they_are_written() {
        assert_eq!(name(0x1f), "wal-000000000000001f");
        assert_eq!(parse_name(&name(u64::MAX)), Some(u64::MAX));
        for other in ["wal-1f", "wal-000000000000001F", "wal-+00000000000001f", "wal-", "x"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
        assert!(is_in_preparation(&name_in_preparation(3)));
        assert!(!is_in_preparation("tmp-other"));
    }

    #[test]
    fn the_first_block_has_the_same_bytes_forever() {
        let bytes = encode(STORE, 3, 65536);
        let golden: u128 = 264_344_299_967_818_052_297_069_387_513_602_512_844;
        assert_eq!(u128::from_le_bytes(Digest::of(&bytes).0), golden);
        assert_eq!(bytes.len() as u64, BLOCK);
    }

    #[test]
    fn a_flip_in_any_byte_of_the_header_is_found() {
        let bytes = encode(STORE, 3, 65536);
        assert_eq!(check(&bytes, STORE, 3).unwrap(), 65536);
        for place in 0..HEADER_LEN {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << (place % 8);
            let error = check(&flipped, STORE, 3).unwrap_err();
            assert!(matches!(error, StorageError::Damaged { offset: 0, .. }), "{place}: {error}");
        }
    }

    #[test]
    fn a_segment_has_at_least_one_block_for_groups_and_no_half_ones() {
        for (len, is_right) in
            [(8192, true), (12288, true), (0, false), (4096, false), (8193, false)]
        {
            assert_eq!(
                check(&encode(STORE, 3, len), STORE, 3).ok(),
                is_right.then_some(len),
                "{len}"
            );
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut bytes = encode(STORE, 3, 65536);
        bytes[CRC_FROM] += 1;
        let crc = crc32fast::hash(&bytes[CRC_FROM..HEADER_LEN]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        let error = check(&bytes, STORE, 3).unwrap_err();
        assert!(matches!(error, StorageError::NewerFormat { found, .. } if found == FORMAT + 1));
    }

    #[test]
    fn a_segment_of_another_directory_or_number_is_named_with_both() {
        let bytes = encode(STORE, 3, 65536);
        let error = check(&bytes, Digest([8; 16]), 3).unwrap_err().to_string();
        assert!(error.contains("wal-0000000000000003") && error.contains("07070707"), "{error}");
        let error = check(&bytes, STORE, 4).unwrap_err().to_string();
        assert!(error.contains(&name(3)) && error.contains(&name(4)), "{error}");
    }
}

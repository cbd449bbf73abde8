//! What stands behind the content of a snapshot, and vouches for it.
//!
//! ```text
//! ┌─────────────────────────────────────────┬────────────────┬─────────────┬────────┐
//! │ content                                 │ chunk digests  │ description │ footer │
//! │ 1 MiB per chunk, the last may be shorter│ 16 per chunk   │             │ 56     │
//! └─────────────────────────────────────────┴────────────────┴─────────────┴────────┘
//!                                           ╰──────────────── manifest ─────────────╯
//!  description   SnapshotMeta (postcard)
//!
//!  footer, the last 56 bytes of the file, numbers little-endian:
//!    magic "QRM-SNP\0"                                        8
//!    format version, 1                                        2
//!    zero                                                     2
//!    length of the description                                4
//!    length of the content                                    8
//!    digest of the chunk digests and the description         16
//!    digest of the footer up to here                         16
//! ```
//!
//! Every byte is covered: the content by the chunk digests, those and the description by a digest
//! in the footer, the footer by its own. The footer stands at the end because a snapshot's length
//! is known only once it is written, and nothing that was written is written again. Its magic,
//! version and own digest are where they are in every version, so that a newer format is told
//! from damage.

use quorate_core::{Digest, SnapshotMeta};
use xxhash_rust::xxh3::Xxh3;

use super::error::{SnapshotDamage, SnapshotError};
use crate::codec::{Put, Take};

/// The newest format of snapshots.
pub(super) const FORMAT: u16 = 1;

/// The length of the footer, in bytes.
pub(super) const FOOTER_BYTES: u64 = 56;

/// The largest content, in bytes. Keeps all offsets far from overflowing.
pub(super) const MAX_CONTENT_BYTES: u64 = 1 << 60;

/// The largest description, in bytes. Most of it are the members.
const MAX_DESCRIPTION_BYTES: u64 = 1 << 20;

const MAGIC: [u8; 8] = *b"QRM-SNP\0";
const DIGEST_BYTES: u64 = 16;

/// What the content of a snapshot must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) meta: SnapshotMeta,
    /// A digest per chunk.
    pub(super) chunks: Vec<Digest>,
}

/// The end of a snapshot's file, intact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    description_bytes: u64,
    content_bytes: u64,
    digest: Digest,
}

/// Why bytes are not the end of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Damaged, or never were.
    Damaged,
    /// Intact, and of this format version.
    Newer(u16),
}

impl Manifest {
    /// The manifest as it stands in the file, footer included.
    pub(super) fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        assert_eq!(self.chunks.len() as u64, self.meta.chunks(), "every chunk has its digest");
        let description = encode_description(&self.meta)?;
        let mut bytes = Vec::with_capacity(16 * self.chunks.len() + description.len() + 56);
        self.chunks.iter().for_each(|digest| bytes.put(&digest.0));
        bytes.put(&description);
        let digest = Digest::of(&bytes);
        let start = bytes.len();
        bytes.put(&MAGIC);
        bytes.put_u16(FORMAT);
        bytes.put_u16(0);
        bytes.put_u32(crate::codec::as_u32(description.len()));
        bytes.put_u64(self.meta.size_bytes);
        bytes.put(&digest.0);
        let own = Digest::of(&bytes[start..]);
        bytes.put(&own.0);
        Ok(bytes)
    }

    /// The length of a snapshot's file, manifest included.
    ///
    /// # Errors
    /// If the snapshot exceeds a limit of the format.
    pub(super) fn file_bytes(meta: &SnapshotMeta) -> Result<u64, SnapshotError> {
        if meta.size_bytes > MAX_CONTENT_BYTES {
            return Err(SnapshotError::TooLarge {
                what: "content",
                bytes: meta.size_bytes,
                max_bytes: MAX_CONTENT_BYTES,
            });
        }
        let description = encode_description(meta)?.len() as u64;
        Ok(meta.size_bytes + DIGEST_BYTES * meta.chunks() + description + FOOTER_BYTES)
    }
}

impl Footer {
    /// Decodes the last bytes of a file.
    pub(super) fn decode(bytes: &[u8]) -> Result<Footer, Unfit> {
        let (covered, own) = bytes.split_last_chunk().ok_or(Unfit::Damaged)?;
        let mut take = Take(covered);
        let magic = take.array().ok_or(Unfit::Damaged)?;
        if magic != MAGIC || Digest::of(covered) != Digest(*own) {
            return Err(Unfit::Damaged);
        }
        let version = take.u16().ok_or(Unfit::Damaged)?;
        if version > FORMAT {
            return Err(Unfit::Newer(version));
        }
        let mut fields = || {
            take.u16()?;
            Some(Footer {
                description_bytes: u64::from(take.u32()?),
                content_bytes: take.u64()?,
                digest: take.digest()?,
            })
        };
        let footer = fields().filter(|_| version == FORMAT).ok_or(Unfit::Damaged)?;
        take.0.is_empty().then_some(footer).ok_or(Unfit::Damaged)
    }

    /// Where the manifest begins, and how long it is without the footer, both in bytes, in a
    /// file of `file_bytes`; `None` if the footer is that of a file of another length.
    pub(super) fn manifest(&self, file_bytes: u64) -> Option<(u64, usize)> {
        let is_bounded = self.content_bytes <= MAX_CONTENT_BYTES
            && self.description_bytes <= MAX_DESCRIPTION_BYTES;
        let chunks = self.content_bytes.div_ceil(SnapshotMeta::CHUNK_BYTES);
        let len = DIGEST_BYTES * chunks + self.description_bytes;
        let fits = is_bounded && self.content_bytes + len + FOOTER_BYTES == file_bytes;
        fits.then_some((self.content_bytes, usize::try_from(len).ok()?))
    }

    /// Decodes what stands between content and footer.
    pub(super) fn decode_manifest(&self, bytes: &[u8]) -> Result<Manifest, SnapshotDamage> {
        if Digest::of(bytes) != self.digest {
            return Err(SnapshotDamage::Manifest);
        }
        let mut take = Take(bytes);
        let count = self.content_bytes.div_ceil(SnapshotMeta::CHUNK_BYTES);
        let chunks: Option<Vec<Digest>> = (0..count).map(|_| take.digest()).collect();
        let chunks = chunks.ok_or(SnapshotDamage::Manifest)?;
        let meta: SnapshotMeta = match postcard::take_from_bytes(take.0) {
            Ok((meta, [])) => meta,
            Ok(_) | Err(_) => return Err(SnapshotDamage::Manifest),
        };
        let is_consistent = meta.size_bytes == self.content_bytes;
        is_consistent.then_some(Manifest { meta, chunks }).ok_or(SnapshotDamage::Manifest)
    }
}

/// The digest of a content that comes in pieces: equal to [`Digest::of`] of the whole.
#[derive(Clone)]
pub(super) struct ContentDigest(Xxh3);

impl ContentDigest {
    pub(super) fn new() -> ContentDigest {
        ContentDigest(Xxh3::new())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn digest(&self) -> Digest {
        Digest(self.0.digest128().to_le_bytes())
    }
}

fn encode_description(meta: &SnapshotMeta) -> Result<Vec<u8>, SnapshotError> {
    let bytes = postcard::to_stdvec(meta).expect("plain data encodes into memory");
    if bytes.len() as u64 > MAX_DESCRIPTION_BYTES {
        return Err(SnapshotError::TooLarge {
            what: "description",
            bytes: bytes.len() as u64,
            max_bytes: MAX_DESCRIPTION_BYTES,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use quorate_core::{Ballot, Incarnation, Index, LogId, LogTime, Membership, NodeId};

    use super::*;

    fn manifest() -> Manifest {
        let members = [(NodeId(1), Incarnation(300)), (NodeId(2), Incarnation(5))];
        let meta = SnapshotMeta {
            last: LogId::new(Index(300), Ballot(2)),
            digest: Digest([0xd1; 16]),
            membership: Membership::new(members),
            time: LogTime(7),
            size_bytes: SnapshotMeta::CHUNK_BYTES + 3,
            content: Digest([0xc0; 16]),
        };
        Manifest { meta, chunks: vec![Digest([0xa1; 16]), Digest([0xa2; 16])] }
    }

    fn decode(bytes: &[u8]) -> Result<Manifest, SnapshotDamage> {
        let (rest, footer) = bytes.split_at(bytes.len() - 56);
        let footer = Footer::decode(footer).map_err(|_| SnapshotDamage::Footer)?;
        footer.decode_manifest(rest)
    }

    /// Data directories hold these bytes: a change of them needs a new format version.
    #[test]
    fn the_bytes_of_a_manifest_are_these() {
        let bytes = manifest().encode().unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN.concat());
        assert_eq!(decode(&bytes), Ok(manifest()));
    }

    const GOLDEN: [&str; 15] = [
        "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1", // digest of chunk 0
        "a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2", // digest of chunk 1
        "02ac02",                           // last: ballot, index
        "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1", // its digest
        "0201ac020205",                     // members
        "07",                               // time
        "838040",                           // length of the content
        "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0", // digest of the content
        "51524d2d534e5000",                 // magic
        "0100",                             // version
        "0000",                             // zero
        "2d000000",                         // length of the description
        "0300100000000000",                 // length of the content
        "c1f0b9eea0f544213dd599c99e927845", // digest of all before the magic
        "81b2d0f4f55ac85f5cd6158d193e0bd4", // digest of the footer before it
    ];

    #[test]
    fn the_place_of_the_manifest_follows_from_the_footer() {
        let bytes = manifest().encode().unwrap();
        let footer = Footer::decode(&bytes[bytes.len() - 56..]).unwrap();
        let file_bytes = Manifest::file_bytes(&manifest().meta).unwrap();
        assert_eq!(file_bytes, SnapshotMeta::CHUNK_BYTES + 3 + bytes.len() as u64);
        let place = (SnapshotMeta::CHUNK_BYTES + 3, bytes.len() - 56);
        assert_eq!(footer.manifest(file_bytes), Some(place));
        assert_eq!(footer.manifest(file_bytes + 1), None);
        assert_eq!(footer.manifest(0), None);
        let absurd = Footer { content_bytes: u64::MAX, ..footer };
        assert_eq!(absurd.manifest(55), None);
        let absurd = Footer { description_bytes: 1 << 31, ..footer };
        assert_eq!(absurd.manifest(file_bytes - footer.description_bytes + (1 << 31)), None);
    }

    #[test]
    fn a_description_of_content_of_another_length_is_refused() {
        let bytes = manifest().encode().unwrap();
        let (rest, footer) = bytes.split_at(bytes.len() - 56);
        let footer = Footer::decode(footer).unwrap();
        let longer = Footer { content_bytes: footer.content_bytes + 1, ..footer };
        assert_eq!(longer.decode_manifest(rest), Err(SnapshotDamage::Manifest));
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = manifest().encode().unwrap();
        let start = bytes.len() - 56;
        bytes[start + 8] = 2;
        assert_eq!(Footer::decode(&bytes[start..]), Err(Unfit::Damaged));
        let own = Digest::of(&bytes[start..start + 40]);
        bytes[start + 40..].copy_from_slice(&own.0);
        assert_eq!(Footer::decode(&bytes[start..]), Err(Unfit::Newer(2)));
        bytes[start + 8] = 0;
        let own = Digest::of(&bytes[start..start + 40]);
        bytes[start + 40..].copy_from_slice(&own.0);
        assert_eq!(Footer::decode(&bytes[start..]), Err(Unfit::Damaged));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = manifest().encode().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_digest_in_pieces_is_that_of_the_whole() {
        let bytes: Vec<u8> = (0..5000u32).map(|i| ((i * 31) >> 3) as u8).collect();
        for len in [0, 1, 16, 17, 128, 129, 240, 241, 256, 257, 1024, 1025, 4999] {
            for piece in [1, 7, 64, 255, 256, 1024, 5000] {
                let mut digest = ContentDigest::new();
                bytes[..len].chunks(piece).for_each(|piece| digest.update(piece));
                assert_eq!(digest.digest(), Digest::of(&bytes[..len]), "{len} in {piece}");
            }
        }
    }

    #[test]
    fn what_exceeds_the_format_is_refused() {
        let absurd = SnapshotMeta { size_bytes: u64::MAX, ..manifest().meta };
        assert!(matches!(Manifest::file_bytes(&absurd), Err(SnapshotError::TooLarge { .. })));
        let members = (0..200_000).map(|id| (NodeId(id), Incarnation(u64::MAX)));
        let crowded = SnapshotMeta { membership: Membership::new(members), ..manifest().meta };
        assert!(matches!(Manifest::file_bytes(&crowded), Err(SnapshotError::TooLarge { .. })));
    }
}

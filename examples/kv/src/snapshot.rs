//! The state machine as a stream of bytes.
//!
//! ```text
//! ┌──────────┬───────┬─────────────────────────────────────────────────┬─────┬──────────┐
//! │ magic    │ count │ key_len │ value_len │ expires_ms │ key │ value   │ ... │ checksum │
//! │ 8 bytes  │ u64   │ u32     │ u32       │ u64, 0: no │     │         │     │ u64      │
//! └──────────┴───────┴─────────────────────────────────────────────────┴─────┴──────────┘
//! ```
//!
//! Numbers are little-endian; entries come in the store's order; the checksum (XXH3) covers all
//! before it. Both directions hold one entry at a time beside the store itself.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::num::NonZeroU64;

use xxhash_rust::xxh3::Xxh3;

use crate::blob::Blob;
use crate::machine::MAX_VALUE_BYTES;
use crate::store::{Entries, Entry, Slot, Store};

const MAGIC: &[u8; 8] = b"qkvsnap\x01";
const BUFFER_BYTES: usize = 64 << 10;

/// Writes all of `entries`.
///
/// # Errors
/// Those of `out`.
pub fn write(entries: &Entries, out: &mut dyn Write) -> io::Result<()> {
    let mut out = Hashing::new(BufWriter::with_capacity(BUFFER_BYTES, out));
    out.put(MAGIC)?;
    out.put(&(entries.len() as u64).to_le_bytes())?;
    for (slot, entry) in entries {
        let (key, value) = (slot.key(), &entry.value);
        out.put(&length(key)?.to_le_bytes())?;
        out.put(&length(value)?.to_le_bytes())?;
        out.put(&entry.expires_ms.map_or(0, NonZeroU64::get).to_le_bytes())?;
        out.put(key)?;
        out.put(value)?;
    }
    let checksum = out.hash.digest();
    out.put(&checksum.to_le_bytes())?;
    out.inner.flush()
}

/// Rebuilds the store which [`write()`] wrote.
///
/// # Errors
/// `UnexpectedEof` if bytes are missing, `InvalidData` if they are not what [`write()`] wrote, and
/// the errors of `input`.
pub fn restore(input: &mut dyn Read) -> io::Result<Store> {
    let mut input = Hashing::new(BufReader::with_capacity(BUFFER_BYTES, input));
    if input.array::<8>()? != *MAGIC {
        return Err(invalid("not a snapshot of a key-value store, or one of another version"));
    }
    let count = u64::from_le_bytes(input.array()?);
    let mut store = Store::default();
    let mut previous: Option<Slot> = None;
    let mut bytes = Vec::new();
    for _ in 0..count {
        let key_bytes = u32::from_le_bytes(input.array()?);
        let value_bytes = u32::from_le_bytes(input.array()?);
        let expires_ms = NonZeroU64::new(u64::from_le_bytes(input.array()?));
        let key = input.blob(key_bytes, &mut bytes)?;
        let value = input.blob(value_bytes, &mut bytes)?;
        let slot = Slot::of(&key);
        if previous.is_some_and(|previous| previous >= slot) {
            return Err(invalid("entries out of order"));
        }
        store.insert(&key, Entry { value, expires_ms });
        previous = Some(slot);
    }
    let expected = input.hash.digest();
    if u64::from_le_bytes(input.array()?) != expected {
        return Err(invalid("checksum mismatch"));
    }
    if input.inner.read(&mut [0])? != 0 {
        return Err(invalid("bytes after the end"));
    }
    Ok(store)
}

struct Hashing<T> {
    inner: T,
    hash: Xxh3,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Hashing<T> {
        Hashing { inner, hash: Xxh3::new() }
    }
}

impl<W: Write> Hashing<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.inner.write_all(bytes)
    }
}

impl<R: Read> Hashing<R> {
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes)?;
        self.hash.update(&bytes);
        Ok(bytes)
    }

    fn blob(&mut self, length: u32, bytes: &mut Vec<u8>) -> io::Result<Blob> {
        let length = length as usize;
        if length > MAX_VALUE_BYTES {
            return Err(invalid("a key or value of impossible length"));
        }
        bytes.resize(length, 0);
        self.inner.read_exact(bytes)?;
        self.hash.update(bytes);
        Ok(Blob::from(bytes.as_slice()))
    }
}

fn length(blob: &Blob) -> io::Result<u32> {
    u32::try_from(blob.len()).map_err(io::Error::other)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Store {
        let mut store = Store::default();
        for number in 0..5_u64 {
            let key = Blob::from(format!("key:{number}").as_str());
            let value = Blob::from(&[number as u8; 9][..number as usize]);
            store.insert(&key, Entry { value, expires_ms: NonZeroU64::new(number % 3) });
        }
        store
    }

    fn bytes_of(store: &Store) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&store.entries(), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_longest_value_is_restored() {
        let mut store = Store::default();
        let value = Blob::from(vec![7; crate::machine::MAX_VALUE_BYTES].as_slice());
        store.insert(&Blob::from("k"), Entry { value, expires_ms: None });
        let restored = restore(&mut bytes_of(&store).as_slice()).unwrap();
        assert!(restored.entries() == store.entries());
    }

    #[test]
    fn what_is_written_is_restored_with_its_expiries() {
        let store = restore(&mut bytes_of(&sample()).as_slice()).unwrap();
        assert_eq!(store.entries(), sample().entries());
        assert_eq!(store.next_expiry_ms(), sample().next_expiry_ms());
        assert_eq!(restore(&mut bytes_of(&Store::default()).as_slice()).unwrap().len(0), 0);
    }

    #[test]
    fn the_format_is_the_one_on_disks_already() {
        let mut store = Store::default();
        let entry = Entry { value: Blob::from("v"), expires_ms: NonZeroU64::new(7) };
        store.insert(&Blob::from("k"), entry);
        let golden = b"qkvsnap\x01\x01\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x07\0\0\0\0\0\0\0kv";
        let bytes = bytes_of(&store);
        assert_eq!(&bytes[..golden.len()], golden);
        assert_eq!(bytes.len(), golden.len() + 8);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = bytes_of(&sample());
        for end in 0..bytes.len() {
            assert!(restore(&mut &bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_extra_byte_is_an_error() {
        let bytes = bytes_of(&sample());
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(restore(&mut bytes.as_slice()).is_err(), "{bit}");
        }
        assert!(restore(&mut [&bytes[..], b"x"].concat().as_slice()).is_err());
    }

    #[test]
    fn a_full_disk_is_passed_on() {
        let mut room = [0; 20];
        let error = write(&sample().entries(), &mut room.as_mut_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tail: Vec<u8>) {
            let bytes = [&MAGIC[..], &tail].concat();
            let _ = restore(&mut bytes.as_slice());
        }
    }
}

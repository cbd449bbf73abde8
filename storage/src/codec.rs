//! Little-endian numbers in and out of byte strings.

use quorate_core::{Ballot, Digest, Index, LogId};

/// Appends to bytes.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn put_log_id(&mut self, id: LogId) {
        self.put_u64(id.index.0);
        self.put_u64(id.ballot.0);
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// No count on disk gets there. One that says so is damage, and counting on from it would overflow.
pub(crate) const HIGHEST: u64 = Index::MAX.0;

/// Takes bytes off the front. `None` once there are too few.
#[derive(Clone, Debug)]
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl<'a> Take<'a> {
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn digest(&mut self) -> Option<Digest> {
        self.array().map(Digest)
    }

    /// A number that is counted on from; `None` if it is absurd, too.
    pub(crate) fn count(&mut self) -> Option<u64> {
        self.u64().filter(|count| *count <= HIGHEST)
    }

    pub(crate) fn log_id(&mut self) -> Option<LogId> {
        let index = Index(self.count()?);
        Some(LogId::new(index, Ballot(self.count()?)))
    }
}

/// A length as it is stored. Whoever stores it has bounded it.
pub(crate) fn as_u32(len: usize) -> u32 {
    u32::try_from(len).expect("lengths are bounded to far below 4 GiB before they are stored")
}

/// A stored length or count.
pub(crate) fn as_usize(value: u32) -> usize {
    usize::try_from(value).expect("32 bits fit into a usize")
}

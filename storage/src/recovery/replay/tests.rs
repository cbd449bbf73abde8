//! Groups which no store would write.

use quorate_core::{Ballot, Entry, EntryKind, Proposal};

use super::*;
use crate::disk::{Disk, MemDisk};
use crate::frame::{BLOCK, Cuts, EntryHeader};
use crate::group::At;
use crate::store::tests::fixture::identity;

/// Groups of one entry each, as somebody writes them who knows no rules.
struct Author {
    disk: MemDisk,
    meta: Meta,
    sequence: u64,
    previous: Digest,
}

impl Author {
    fn new() -> Author {
        let disk = MemDisk::new();
        disk.create(&segment::name(1)).unwrap();
        Author { disk, meta: Meta::founded(identity()), sequence: 0, previous: Digest::ZERO }
    }

    /// A group which appends an entry behind `previous`; and that entry.
    fn append(&mut self, previous: LogId, previous_digest: Digest) -> (Group, Entry) {
        self.sequence += 1;
        let id = LogId::new(previous.index.next(), Ballot(1));
        let proposal = Proposal::new(EntryKind::Command, LogTime(1), Bytes::new());
        let entry = Entry::new(id, previous_digest, proposal);
        let entries = vec![EntryHeader::of(&entry)];
        let place =
            Place { store: self.meta.store_id(), segment: 1, offset: self.sequence * BLOCK };
        let header = Header {
            place,
            sequence: self.sequence,
            durable_through: self.sequence - 1,
            previous: self.previous,
            pledge: [0; 64],
            start: 1,
            found: 0,
            last: id,
            last_digest: entry.digest(),
            cuts: Cuts::default(),
            snapshot: None,
            older: None,
            runs: vec![RunHeader { kind: RunKind::Append, previous, previous_digest, entries }],
        };
        let encoded = header.encode([Bytes::new()].iter());
        self.previous = encoded.digest;
        self.disk.write_at(&segment::name(1), place.offset, &encoded.bytes).unwrap();
        let end = place.offset + encoded.bytes.len() as u64;
        let At::Group(group) = group::header_at(&self.disk, place, end).unwrap() else { panic!() };
        (*group, entry)
    }
}

#[test]
fn an_entry_behind_one_that_the_log_does_not_hold_is_a_stop() {
    let other = Digest::of(b"another");
    for (index, ballot, digest, fits) in [
        (3, 1, None, true),
        (2, 1, None, true),
        // Behind the end; of another ballot; with another digest at the end.
        (4, 1, Some(other), false),
        (2, 2, None, false),
        (3, 2, None, false),
        (3, 1, Some(other), false),
    ] {
        let mut author = Author::new();
        let (mut last, mut last_digest) = (LogId::ZERO, Digest([9; 16]));
        let mut log = Vec::new();
        for _ in 0..3 {
            let (group, entry) = author.append(last, last_digest);
            (last, last_digest) = (entry.id, entry.digest());
            log.push((group, entry));
        }
        let digest = digest.unwrap_or_else(|| log[index - 1].1.digest());
        let previous = LogId::new(Index(index as u64), Ballot(ballot));
        let (next, entry) = author.append(previous, digest);
        let mut replay = Replay::new(&author.disk, &author.meta, 1 << 20);
        for (group, _) in &log {
            replay.add(group, vec![Some(Bytes::new())]).unwrap();
        }
        let added = replay.add(&next, vec![Some(Bytes::new())]);
        if fits {
            added.unwrap();
            assert_eq!(replay.head.last, entry.id);
        } else {
            let damage = Damage::Contradiction;
            let is_named = matches!(&added, Err(StorageError::Damaged { offset, damage: found, .. })
                if *offset == next.header.place.offset && *found == damage);
            assert!(is_named, "{previous}: {added:?}");
        }
    }
}

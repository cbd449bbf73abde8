//! Damage that is found while the log is in use: it is named, so that peers can make it good.

use std::io;

use quorate_core::{Entry, Gap, Index};

use super::fixture::*;
use crate::disk::{MemDisk, Operation};
use crate::error::StorageError;
use crate::frame::{BLOCK, Claim};
use crate::reader::{LogReader, Scrubbed};
use crate::segment;

fn log_of_a_few_groups() -> Author {
    let mut author = Author::new();
    author.append(1, &[b"one", b"two"]);
    author.append(1, &[&[3; 5000]]);
    author.append(2, &[b"four", b"five", b"six"]);
    let write = author.cutting(5, 3, &[b"another six", b"seven"]);
    author.save(write);
    author.append(3, &[b"eight"]);
    author
}

/// Searches the whole log, a little at a time.
fn search(reader: &LogReader<MemDisk>, last: Index) -> Vec<Gap> {
    let (mut next, mut gaps) = (Index(1), Vec::new());
    while next <= last {
        let scrubbed: Scrubbed = reader.scrub(next, 1).unwrap();
        assert!(scrubbed.next > next, "it goes on");
        next = scrubbed.next;
        for gap in scrubbed.gaps {
            if !gaps.contains(&gap) {
                gaps.push(gap);
            }
        }
    }
    gaps
}

fn names_what_is_missing(gap: &Gap, entries: &[Entry]) {
    let at = |index: Index| &entries[usize::try_from(index.0).unwrap() - 1];
    assert!(gap.first <= gap.last && gap.ids_known);
    assert_eq!(gap.digest, at(gap.last).digest());
    assert_eq!(gap.before, at(gap.first).parent);
}

#[test]
fn a_flip_in_any_byte_that_means_something_is_found_and_named() {
    let author = log_of_a_few_groups();
    let last = author.last().0.index;
    let reader = author.store.reader();
    assert_eq!(search(&reader, last), []);
    let file = segment::name(1);
    let content = author.disk.content(&file).unwrap();
    let mut found = 0;
    for offset in BLOCK as usize..content.len() {
        let blocks = (BLOCK as usize..=offset).step_by(BLOCK as usize);
        let claims = blocks.filter_map(|at| Some((at, Claim::read(&content[at..])?)));
        let Some((at, claim)) = claims.last() else { continue };
        let meaningful = at + usize::try_from(claim.header_len + claim.payload_len).unwrap();
        author.disk.flip(&file, offset, 1 << (offset % 8));
        let gaps = search(&reader, last);
        author.disk.flip(&file, offset, 1 << (offset % 8));
        gaps.iter().for_each(|gap| names_what_is_missing(gap, &author.entries));
        let in_payloads = offset >= at + usize::try_from(claim.header_len).unwrap();
        if offset >= meaningful {
            assert_eq!(gaps, [], "nothing of meaning at {offset}");
        } else if in_payloads {
            // What was cut off later on is of no meaning any more either.
            assert!(gaps.len() <= 1 && gaps.iter().all(|gap| gap.first == gap.last));
            found += gaps.len();
        } else {
            assert_eq!(gaps.len(), 1, "a header at {offset}");
            found += 1;
        }
    }
    assert!(found > 5000);
}

#[test]
fn of_a_sector_that_cannot_be_read_exactly_the_entries_in_it_are_named() {
    let mut author = Author::new();
    author.append(1, &[&[1; 300], &[2; 900], &[3; 10], &[4; 2000], &[5; 512], &[6; 700]]);
    let file = segment::name(1);
    let content = author.disk.content(&file).unwrap();
    let claim = Claim::read(&content[BLOCK as usize..]).unwrap();
    let mut starts = vec![BLOCK + claim.header_len];
    for entry in &author.entries {
        starts.push(starts[starts.len() - 1] + entry.payload.len() as u64);
    }
    let reader = author.store.reader();
    let payloads = starts[0]..starts[starts.len() - 1];
    for sector in payloads.start / 512 + 1..payloads.end.div_ceil(512) {
        let bytes = sector * 512..sector * 512 + 512;
        let is_hit = |at: usize| starts[at] < bytes.end && bytes.start < starts[at + 1];
        let hit: Vec<u64> = (0..6).filter(|at| is_hit(*at)).map(|at| at as u64 + 1).collect();
        author.disk.set_unreadable(&file, bytes.clone());
        let gaps = search(&reader, Index(6));
        gaps.iter().for_each(|gap| names_what_is_missing(gap, &author.entries));
        let found: Vec<(u64, u64)> = gaps.iter().map(|gap| (gap.first.0, gap.last.0)).collect();
        assert_eq!(found, hit.iter().map(|at| (*at, *at)).collect::<Vec<_>>(), "{bytes:?}");
        assert!(!hit.is_empty() && hit.len() < 6);
        author.disk.heal();
    }
}

#[test]
fn a_read_that_fails_for_another_reason_than_the_medium_is_no_damage() {
    let author = log_of_a_few_groups();
    let reader = author.store.reader();
    for kind in [io::ErrorKind::OutOfMemory, io::ErrorKind::PermissionDenied] {
        author.disk.fail(Operation::Read, "wal-", kind, 1);
        assert!(matches!(reader.scrub(Index(1), 1), Err(StorageError::Unreadable { .. })));
        // Nor is it tried again: whoever reads is told.
        author.disk.fail(Operation::Read, "wal-", kind, 1);
        let read = reader.read_entries(Index(1), usize::MAX);
        assert!(matches!(read, Err(StorageError::Unreadable { .. })));
    }
    assert_eq!(search(&reader, author.last().0.index), []);
}

#[test]
fn damage_of_groups_that_follow_one_another_is_one_gap() {
    let author = log_of_a_few_groups();
    let last = author.last().0.index;
    let file = segment::name(1);
    let content = author.disk.content(&file).unwrap();
    let blocks = (BLOCK as usize..content.len()).step_by(BLOCK as usize);
    for at in blocks.filter(|at| Claim::read(&content[*at..]).is_some()) {
        author.disk.flip(&file, at + 30, 1);
    }
    let reader = author.store.reader();
    let gaps = search(&reader, last);
    assert_eq!(gaps.len(), 1);
    names_what_is_missing(&gaps[0], &author.entries);
    assert_eq!((gaps[0].first, gaps[0].last), (Index(1), last));
}

#[test]
fn a_search_a_little_at_a_time_gets_past_damage_and_names_it() {
    let author = log_of_a_few_groups();
    let last = author.last().0.index;
    let reader = author.store.reader();
    for index in 1..=last.0 {
        let (file, offset) = author.place_of(index);
        let content = author.disk.content(&file).unwrap();
        let header_len = Claim::read(&content[offset..]).unwrap().header_len;
        let payload = offset + usize::try_from(header_len).unwrap();
        for at in [offset + 70, payload] {
            author.disk.flip(&file, at, 1);
            let gaps = search(&reader, last);
            // Also where the damage came up behind it.
            for from in (1..=last.0).map(Index) {
                assert!(reader.scrub(from, 1).unwrap().next > from, "from {from}");
            }
            author.disk.flip(&file, at, 1);
            assert_eq!(gaps.len(), 1, "entry {index}, byte {at}");
            names_what_is_missing(&gaps[0], &author.entries);
        }
    }
}

#[test]
fn a_search_stops_at_the_end_of_the_group_with_which_it_has_read_enough() {
    let mut author = Author::new();
    (0..5).for_each(|_| author.append(1, &[b""]));
    let reader = author.store.reader();
    assert_eq!(reader.scrub(Index(1), 2).unwrap().next, Index(2));
    assert_eq!(reader.scrub(Index(4), 2).unwrap().next, Index(5));
    author.append(1, &[&[1; 5000], &[2; 5000]]);
    author.append(1, &[b""]);
    assert_eq!(reader.scrub(Index(6), 10_000).unwrap().next, Index(8));
}

/// Flips a bit in the header of the group that holds an entry.
fn damage_header(author: &Author, disk: &MemDisk, index: u64) {
    let (file, offset) = author.place_of(index);
    disk.flip(&file, offset + 70, 1);
}

#[test]
fn wherever_a_search_begins_what_it_finds_is_named_right() {
    let author = log_of_a_few_groups();
    let last = author.last().0.index;
    // The entries of the groups. What was cut off was in the third of them.
    let held: [&[u64]; 5] = [&[1, 2], &[3], &[4, 5], &[6, 7], &[8]];
    let reader = author.store.reader();
    let places = [1, 3, 4, 7, 8].map(|index| author.place_of(index));
    for subset in 1..1 << held.len() {
        let hit = (0..held.len()).filter(|at| subset >> at & 1 == 1);
        let flip = |at: usize| author.disk.flip(&places[at].0, places[at].1 + 70, 1);
        hit.clone().for_each(flip);
        let damaged: Vec<u64> = hit.clone().flat_map(|at| held[at]).copied().collect();
        for from in 1..=last.0 {
            let scrubbed = reader.scrub(Index(from), usize::MAX).unwrap();
            assert_eq!(scrubbed.next, last.next());
            scrubbed.gaps.iter().for_each(|gap| names_what_is_missing(gap, &author.entries));
            let named = scrubbed.gaps.iter().flat_map(|gap| gap.first.0..=gap.last.0);
            let named: Vec<u64> = named.collect();
            // It begins where the damage begins that it stands in.
            let first = named.first().map_or(from, |first| from.min(*first));
            let expected = damaged.iter().copied().filter(|index| *index >= first);
            let expected: Vec<u64> = expected.collect();
            assert_eq!(named, expected, "{subset:b} from {from}");
        }
        hit.for_each(flip);
    }
}

#[test]
fn a_search_goes_on_behind_what_is_known_to_be_lost() {
    let author = log_of_a_few_groups();
    let last = author.last().0.index;
    let disk = author.disk.crash_keeping_all();
    damage_header(&author, &disk, 3);
    let (store, found) = open(&disk).unwrap();
    let lost: Vec<_> = found.log.gaps.iter().map(|gap| (gap.first.0, gap.last.0)).collect();
    assert_eq!(lost, [(3, 3)]);
    let reader = store.reader();
    for from in 1..=last.0 {
        let scrubbed = reader.scrub(Index(from), usize::MAX).unwrap();
        assert_eq!((scrubbed.next, scrubbed.gaps), (last.next(), Vec::new()), "from {from}");
    }
    // On either side of it, and on both.
    for damaged in [&[1][..], &[4], &[8], &[1, 4], &[4, 8]] {
        damaged.iter().for_each(|index| damage_header(&author, &disk, *index));
        for from in 1..=last.0 {
            let scrubbed = reader.scrub(Index(from), usize::MAX).unwrap();
            assert_eq!(scrubbed.next, last.next());
            scrubbed.gaps.iter().for_each(|gap| names_what_is_missing(gap, &author.entries));
            let is_named = |index: &u64| {
                let mut gaps = scrubbed.gaps.iter();
                gaps.any(|gap| gap.first <= Index(*index) && Index(*index) <= gap.last)
            };
            let behind = damaged.iter().filter(|index| **index >= from);
            assert!(behind.into_iter().all(is_named), "{damaged:?} from {from}: {scrubbed:?}");
            assert!(!is_named(&3));
        }
        damaged.iter().for_each(|index| damage_header(&author, &disk, *index));
    }
}

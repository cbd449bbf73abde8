//! Fault table, rows 3 to 6 and 9: whatever was acknowledged and is damaged is named, or the
//! replica is mute. It is never taken for a torn tail.

use std::collections::BTreeMap;
use std::io;

use quorate_core::*;

use super::fixture::*;
use super::healing::{Seen, heal, see};
use crate::disk::{Disk, MemDisk, Operation};
use crate::error::StorageError;
use crate::frame::{BLOCK, Claim};
use crate::meta::META;
use crate::segment;
use crate::store::{Store, StoreOptions};

const SEGMENT: usize = 64 << 10;

/// Of the bytes that were never written, which are alike, one in so many is flipped.
const UNWRITTEN_STEP: usize = 31;

const THREADS: usize = 4;

fn small() -> StoreOptions {
    StoreOptions { segment_bytes: Some(SEGMENT as u64), group_bytes: 8 << 10, tail_bytes: 1 << 20 }
}

/// A log in two segments, the first of which is full, with an unattested last group.
fn small_log() -> Author {
    let mut author = Author::with(&MemDisk::new(), small());
    author.append(1, &[b"one", b"two"]);
    let write = author.swearing(1);
    author.save(write);
    author.append(1, &[&[3; 47_000]]);
    author.append(2, &[b"four"]);
    author.append(2, &[b"five", b"six"]);
    author.append(2, &[b"seven"]);
    author
}

/// The groups in a segment: offset, and how many of their bytes mean something.
fn groups(disk: &MemDisk, id: u64) -> Vec<(usize, usize)> {
    let bytes = disk.content(&segment::name(id)).unwrap();
    let at = |offset: &usize| Claim::read(&bytes[*offset..]);
    let claims = (BLOCK as usize..bytes.len()).step_by(BLOCK as usize);
    let claims = claims.filter_map(|offset| Some((offset, at(&offset)?)));
    claims.map(|(offset, c)| (offset, (c.header_len + c.payload_len) as usize)).collect()
}

/// What the loss of entries `first..=last` leads to.
fn gap(author: &Author, first: u64, last: u64) -> Seen {
    let gaps = vec![(first, last)];
    Seen { last: author.last().0.index, gaps, mute: false, pledge: Some(author.pledge) }
}

#[test]
fn a_flip_in_any_byte_of_the_log_leads_to_what_its_place_demands() {
    let author = small_log();
    let files = author.disk.list().unwrap().into_iter();
    let ids: Vec<u64> = files.filter_map(|file| segment::parse_name(&file.name)).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    assert_eq!(written_bytes(&author.disk, 1), SEGMENT);
    let flips: Vec<(u64, usize)> =
        ids.into_iter().flat_map(|id| places_to_flip(&author.disk, id)).collect();
    let seen = std::thread::scope(|scope| {
        let parts = flips.chunks(flips.len().div_ceil(THREADS));
        let checks = parts.map(|flips| {
            let author = &author;
            scope.spawn(move || check_flips(author, flips))
        });
        let checks: Vec<_> = checks.collect();
        let seen = checks.into_iter().map(|check| check.join().unwrap());
        seen.fold([0; 4], |sum, seen| std::array::from_fn(|i| sum[i] + seen[i]))
    });
    assert_eq!(seen.iter().sum::<usize>(), flips.len());
    assert!(seen.iter().all(|n| *n > 100), "{seen:?}");
}

/// How much of a segment was ever written: its header and its groups, with what fills their blocks.
fn written_bytes(disk: &MemDisk, id: u64) -> usize {
    let last = groups(disk, id).last().copied();
    last.map_or(BLOCK as usize, |(at, len)| (at + len).next_multiple_of(BLOCK as usize))
}

/// Every byte of a segment that was ever written, and some of the others.
fn places_to_flip(disk: &MemDisk, id: u64) -> impl Iterator<Item = (u64, usize)> {
    let written = written_bytes(disk, id);
    let unwritten = (written..SEGMENT).step_by(UNWRITTEN_STEP);
    (0..written).chain(unwritten).map(move |offset| (id, offset))
}

/// The entries in each group of a segment; two of the segments are empty.
fn held(id: u64) -> &'static [(u64, u64)] {
    match id {
        1 => &[(1, 2), (0, 0), (3, 3), (4, 4)],
        2 => &[(5, 6), (7, 7)],
        _ => &[],
    }
}

/// Flips a bit in each of these bytes: segment, and offset. Gives how often that hit nothing of
/// meaning, the last group, a group without entries, and one with entries.
fn check_flips(author: &Author, flips: &[(u64, usize)]) -> [usize; 4] {
    let (disk, entries) = (author.disk.crash_keeping_all(), &author.entries);
    let last = author.last().0.index;
    let whole = Seen { last, gaps: Vec::new(), mute: false, pledge: Some(author.pledge) };
    let torn = Seen { last: Index(6), ..whole.clone() };
    let groups: BTreeMap<u64, Vec<(usize, usize)>> =
        (1..=4).map(|id| (id, groups(&disk, id))).collect();
    assert!(groups.iter().all(|(id, groups)| groups.len() == held(*id).len()));
    let mut seen = [0; 4];
    for (id, offset) in flips.iter().copied() {
        let (file, groups) = (segment::name(id), &groups[&id]);
        let hit = groups.iter().position(|(at, len)| (*at..at + len).contains(&offset));
        disk.flip(&file, offset, 1 << (offset % 8));
        let found = see(&disk, small(), entries);
        match hit.map(|hit| held(id)[hit]) {
            None => {
                assert_eq!(found, whole, "{file} {offset}: nothing is lost");
                seen[0] += 1;
            }
            Some((7, 7)) => {
                assert_eq!(found, torn, "{file} {offset}: taken for torn");
                seen[1] += 1;
            }
            Some((0, 0)) => {
                assert_eq!(found, whole, "{file} {offset}: it held no entries");
                seen[2] += 1;
            }
            Some((first, end)) => {
                // A payload is one entry's, what precedes the payloads is everybody's.
                let len = |index: u64| entries[index as usize - 1].payload.len();
                let payloads: usize = (first..=end).map(len).sum();
                let (at, total) = groups[hit.unwrap()];
                let expected = match offset.checked_sub(at + total - payloads) {
                    None => gap(author, first, end),
                    Some(into) => {
                        let until = |index: u64| (first..=index).map(len).sum::<usize>();
                        let one = (first..=end).find(|index| into < until(*index)).unwrap();
                        gap(author, one, one)
                    }
                };
                assert_eq!(found, expected, "{file} {offset}");
                seen[3] += 1;
            }
        }
        disk.flip(&file, offset, 1 << (offset % 8));
    }
    seen
}

#[test]
fn a_flip_in_any_byte_of_meta_changes_nothing_that_is_found() {
    let mut author = Author::with(&MemDisk::new(), small());
    author.append(1, &[b"x"]);
    let write = author.swearing(3);
    author.save(write);
    let found = |disk: &MemDisk| {
        let disk = std::sync::Arc::new(disk.crash_keeping_all());
        Store::open(disk, &owner(), small(), Incarnation(77), 1).unwrap().1
    };
    let expected = found(&author.disk);
    // A byte of any one copy, and the same byte of two: of the newer pair, the older one, or both.
    let copies: [&[usize]; 8] = [&[0], &[1], &[2], &[3], &[0, 1], &[2, 3], &[0, 2], &[1, 3]];
    for offset in 0..4096 {
        for bad in copies {
            let flip =
                |copy: &usize| author.disk.flip(META, copy * 4096 + offset, 1 << (offset % 8));
            bad.iter().for_each(flip);
            assert_eq!(found(&author.disk), expected, "{offset} of {bad:?}");
            bad.iter().for_each(flip);
        }
    }
}

#[test]
fn a_flip_in_any_byte_of_the_last_group_is_found_once_it_is_attested() {
    let mut author = small_log();
    author.attest();
    let (file, offset) = author.place_of(7);
    let id = segment::parse_name(&file).unwrap();
    let attested = *groups(&author.disk, id).iter().find(|(at, _)| *at == offset).unwrap();
    for offset in attested.0..attested.0 + attested.1 {
        author.disk.flip(&file, offset, 1 << (offset % 8));
        let found = see(&author.disk, small(), &author.entries);
        assert_eq!(found, gap(&author, 7, 7), "{offset}");
        author.disk.flip(&file, offset, 1 << (offset % 8));
    }
}

#[test]
fn a_clean_stop_and_a_start_attest_the_last_group_too() {
    let mut author = small_log();
    let started = author.disk.crash_keeping_all();
    drop(Store::open(std::sync::Arc::new(started.clone()), &owner(), small(), Incarnation(7), 1));
    let job = author.store.close().unwrap().unwrap();
    author.run(job).unwrap();
    let (file, offset) = author.place_of(7);
    for disk in [author.disk, started] {
        disk.flip(&file, offset + 100, 1);
        let found = see(&disk, small(), &author.entries);
        assert_eq!((found.last, found.mute), (Index(6), true));
    }
}

#[test]
fn an_attest_of_what_is_attested_writes_nothing() {
    let mut author = small_log();
    author.attest();
    let before = author.disk.changes();
    author.attest();
    assert_eq!(author.disk.changes(), before);
    assert!(author.store.attest().unwrap().is_none());
}

fn overwrite(disk: &MemDisk, file: &str, offset: usize, bytes: &[u8]) {
    let mut content = disk.content(file).unwrap();
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
    disk.set_content(file, &content);
}

#[test]
fn a_zeroed_page_in_the_middle_is_never_taken_for_the_end() {
    let author = small_log();
    for index in 1..=6 {
        let (file, offset) = author.place_of(index);
        let disk = author.disk.crash_keeping_all();
        overwrite(&disk, &file, offset, &[0; 4096]);
        let found = see(&disk, small(), &author.entries);
        assert_eq!((found.last, found.gaps.len(), found.mute), (Index(7), 1, false), "{index}");
        heal(&disk, small(), &author.entries, &mut Random(index));
    }
}

#[test]
fn an_attested_tail_block_that_is_zeroed_or_stale_is_a_gap() {
    let mut author = author_in_a_used_segment();
    let stale = author.disk.contents();
    author.append(1, &[b"acknowledged"]);
    let written = author.disk.contents();
    author.attest();
    let (file, _) =
        written.iter().find(|(n, b)| n.starts_with("wal-") && stale[*n] != **b).unwrap();
    let offset = stale[file].iter().zip(&written[file]).position(|(a, b)| a != b).unwrap();
    let offset = offset / 4096 * 4096;
    let last = author.last().0.index.0;
    for block in [&[0; 4096][..], &stale[file][offset..offset + 4096]] {
        let disk = author.disk.crash_keeping_all();
        overwrite(&disk, file, offset, block);
        assert_eq!(see(&disk, options(), &author.entries), gap(&author, last, last));
    }
}

#[test]
fn a_group_of_a_history_that_was_cut_off_is_not_taken_for_its_successor() {
    for with_entries in [true, false] {
        let mut author = Author::new();
        author.append(1, &[b"one"]);
        let mut other = Author::on(&author.disk.crash_keeping_all());
        other.append(1, &[b"lost"]);
        // Another start, which does not find it.
        let between = author.disk.crash_keeping_all();
        drop(Author::on(&between));
        let mut author = Author::on(&between.crash_keeping_all());
        author.append(2, &[b"two"]);
        if with_entries {
            author.append(2, &[b"three"]);
        } else {
            author.pledge = pledge(7);
            let write = author.write(Vec::new());
            author.save(write);
        }
        // The disk forgets the second write of this place and shows the first again.
        let file = segment::name(1);
        let (offset, _) = groups(&author.disk, 1)[1];
        let stale = other.disk.content(&file).unwrap();
        overwrite(&author.disk, &file, offset, &stale[offset..offset + 4096]);
        if with_entries {
            // While it runs, too, the old entry is not given back for the one that was written.
            let read = author.store.reader().read_entries(Index(2), 1);
            assert!(matches!(read, Err(StorageError::Damaged { .. })), "{read:?}");
        }
        assert_eq!(see(&author.disk, options(), &author.entries), gap(&author, 2, 2));
        heal(&author.disk, options(), &author.entries, &mut Random(5));
    }
}

#[test]
fn a_damaged_header_further_out_than_a_torn_group_reaches_is_a_lost_end() {
    let options = StoreOptions { group_bytes: 8 << 10, ..options() };
    let mut author = Author::new();
    (0..12).for_each(|_| author.append(1, &[b"x"]));
    let groups = groups(&author.disk, 1);
    let file = segment::name(1);
    for (offset, _) in &groups[1..11] {
        overwrite(&author.disk, &file, *offset, &[0; 4096]);
    }
    author.disk.flip(&file, groups[11].0 + 70, 1);
    let found = see(&author.disk, options, &author.entries);
    assert_eq!((found.last, found.mute), (Index(1), true));
    // As far as a torn group reaches it proves nothing.
    overwrite(&author.disk, &file, groups[11].0, &[0; 4096]);
    let found = see(&author.disk, options, &author.entries);
    assert_eq!((found.last, found.mute), (Index(1), false));
}

/// One group is on its way at a time: the header of a second one tells that the first was saved.
#[test]
fn damaged_headers_of_the_last_two_groups_are_no_torn_group() {
    let mut author = Author::new();
    (0..3).for_each(|_| author.append(1, &[b"x"]));
    // Longer than a block, so that the last one does not stand right behind.
    author.append(1, &[&[7; 6000]]);
    author.append(1, &[b"last"]);
    let (file, groups) = (segment::name(1), groups(&author.disk, 1));
    let [.., (before, _), (last, _)] = groups[..] else { panic!("{groups:?}") };
    author.disk.flip(&file, last + 70, 1);
    let found = see(&author.disk, options(), &author.entries);
    assert_eq!((found.last, found.mute), (Index(4), false), "the last one may be torn");
    author.disk.flip(&file, before + 70, 1);
    let found = see(&author.disk, options(), &author.entries);
    assert_eq!((found.last, found.mute), (Index(3), true));
    heal(&author.disk, options(), &author.entries, &mut Random(5));
}

#[test]
fn a_misdirected_write_is_found_where_it_went_and_where_it_should_have_gone() {
    let author = small_log();
    let file = segment::name(1);
    let content = author.disk.content(&file).unwrap();
    let groups = groups(&author.disk, 1);
    let (from, to) = (groups[2].0, groups[0].0);
    // It hit another group: both are gone.
    let disk = author.disk.crash_keeping_all();
    overwrite(&disk, &file, to, &content[from..from + 4096]);
    overwrite(&disk, &file, from, &[0; 4096]);
    let found = see(&disk, small(), &author.entries);
    assert_eq!(found.gaps, [(1, 3)]);
    heal(&disk, small(), &author.entries, &mut Random(5));
    // In a segment that is empty it is nobody's.
    let disk = author.disk.crash_keeping_all();
    overwrite(&disk, &segment::name(3), 4096, &content[from..from + 4096]);
    assert_eq!(see(&disk, small(), &author.entries).gaps, []);
}

#[test]
fn a_meta_file_that_may_not_be_read_is_not_called_lost() {
    let author = Author::new();
    for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::OutOfMemory] {
        let disk = author.disk.crash_keeping_all();
        disk.fail(Operation::Read, META, kind, 100);
        let error = open(&disk).unwrap_err();
        assert!(matches!(error, StorageError::Unreadable { .. }), "{error}");
        disk.heal();
        assert!(open(&disk.crash_keeping_all()).is_ok());
    }
}

#[test]
fn a_flipped_length_of_a_group_that_was_written_makes_no_reader_read_more() {
    let mut author = Author::new();
    (0..10u8).for_each(|i| author.append(1, &[&[i; 100]]));
    let (file, offset) = author.place_of(3);
    // The highest bits of the lengths of its header and of its payloads.
    for byte in [19, 23] {
        author.disk.flip(&file, offset + byte, 0x20);
        let (_, before) = author.disk.reads();
        let read = author.store.reader().read_entries(Index(3), 1);
        assert!(matches!(read, Err(StorageError::Damaged { .. })), "{read:?}");
        let (_, after) = author.disk.reads();
        assert!(after - before < 100_000, "{} bytes", after - before);
        author.disk.flip(&file, offset + byte, 0x20);
    }
}

#[test]
fn a_disk_that_cannot_be_read_at_all_is_a_stop() {
    let author = small_log();
    let disk = author.disk.crash_keeping_all();
    disk.fail(Operation::Read, "wal-", io::ErrorKind::Other, u64::MAX);
    let before = disk.contents();
    let handle = std::sync::Arc::new(disk.clone());
    let error = Store::open(handle, &owner(), small(), Incarnation(7), 1).unwrap_err();
    assert!(matches!(error, StorageError::Unreadable { .. }), "{error}");
    assert!(disk.contents() == before);
}

#[test]
fn a_read_that_fails_once_for_another_reason_than_the_medium_is_a_stop_and_no_damage() {
    let author = small_log();
    for file in ["wal-", &segment::name(2)] {
        let disk = author.disk.crash_keeping_all();
        disk.fail(Operation::Read, file, io::ErrorKind::Other, 1);
        let handle = std::sync::Arc::new(disk.clone());
        let error = Store::open(handle, &owner(), small(), Incarnation(7), 1).unwrap_err();
        assert!(matches!(error, StorageError::Unreadable { .. }), "{error}");
        assert_eq!(see(&disk, small(), &author.entries).gaps, []);
    }
}

#[test]
fn whichever_read_fails_for_another_reason_than_the_medium_nothing_is_taken_for_damaged() {
    let mut author = small_log();
    let damaged = author.disk.crash_keeping_all();
    damaged.flip(&segment::name(1), groups(&author.disk, 1)[2].0 + 70, 1);
    // A header that is longer than a block, and a payload of which the medium keeps a part to itself.
    author.append(2, &[&[8; 40][..]; 200]);
    let long = author.disk.crash_keeping_all();
    let (file, header) = author.place_of(100);
    let payloads = header + 2 * BLOCK as usize;
    long.set_unreadable(&file, payloads as u64..payloads as u64 + 512);
    for (disk, entries) in [
        (&author.disk, &author.entries[..]),
        (&damaged, &author.entries[..7]),
        (&long, &author.entries),
    ] {
        let whole = see(disk, small(), entries);
        let opened = |after| {
            let disk = disk.crash_keeping_all();
            disk.fail_later(Operation::Read, "wal-", io::ErrorKind::Other, after);
            let handle = std::sync::Arc::new(disk.clone());
            let opened = Store::open(handle, &owner(), small(), Incarnation(77), 1);
            assert_eq!(see(&disk, small(), entries), whole, "{after}");
            opened.map(|_| ())
        };
        let mut stops = 0;
        while let Err(error) = opened(stops) {
            assert!(matches!(error, StorageError::Unreadable { .. }), "{stops}: {error}");
            stops += 1;
            assert!(stops < 1000, "it comes to an end");
        }
        assert!(stops > 10, "{stops}");
        // No later read than these fails: none is tried once more, or passed over.
        (1..300).for_each(|more| assert!(opened(stops + more).is_ok(), "{more} after {stops}"));
    }
}

#[test]
fn a_damaged_entry_is_never_handed_to_a_reader() {
    let author = small_log();
    let (offset, len) = groups(&author.disk, 1)[2];
    let file = segment::name(1);
    for at in offset..offset + len {
        author.disk.flip(&file, at, 1 << (at % 8));
        let read = author.store.reader().read_entries(Index(3), 1);
        assert!(matches!(read, Err(StorageError::Damaged { .. })), "{at}: {read:?}");
        author.disk.flip(&file, at, 1 << (at % 8));
    }
    let read = author.store.reader().read_entries(Index(3), usize::MAX).unwrap();
    assert_eq!(read, author.entries[2..]);
}

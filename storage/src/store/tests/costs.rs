//! What is done no more often than it has to be.

use std::sync::Arc;

use quorate_core::*;

use super::fixture::*;
use crate::disk::MemDisk;
use crate::frame::Claim;
use crate::store::{Store, StoreOptions};

#[test]
fn a_log_that_is_whole_is_read_once_when_it_is_opened() {
    let large = StoreOptions { segment_bytes: Some(1 << 20), ..options() };
    for (mut author, options) in [
        (author_in_a_used_segment(), options()),
        // Almost all of it is empty.
        (Author::with(&MemDisk::new(), large), large),
    ] {
        (0..20u8).for_each(|i| author.append(1, &[&[i; 3000], &[i; 9000]]));
        let disk = author.disk.crash_keeping_all();
        let segments = author.segments();
        let bytes: usize = segments.values().map(Vec::len).sum();
        let inspection = crate::inspect(&Arc::new(disk.crash_keeping_all())).unwrap();
        let groups: usize = inspection.segments.iter().map(|segment| segment.groups.len()).sum();
        let (reads_before, bytes_before) = disk.reads();
        let handle = Arc::new(disk.clone());
        let (_, found) = Store::open(handle, &owner(), options, Incarnation(77), 1).unwrap();
        assert_eq!(found.log.last, author.last().0);
        let (reads, read) = disk.reads();
        let (reads, read) = (reads - reads_before, read - bytes_before);
        // Of each group its first block, which has the header, and its payloads; of what is behind
        // the end as much as possible at once.
        let most = 2 * groups + 4 * segments.len() + 20;
        assert!(reads < most as u64, "{reads} for {groups} groups in {} segments", segments.len());
        assert!(read < (bytes + bytes / 2) as u64, "{read} of {bytes}");
    }
}

#[test]
fn what_waits_shares_a_group_as_far_as_that_fits_into_a_new_segment() {
    let options = StoreOptions { segment_bytes: Some(32 << 10), group_bytes: 1 << 20, ..options() };
    let mut author = Author::with(&MemDisk::new(), options);
    author.append(1, &[&[1; 20_000]]);
    let before = author.disk.syncs();
    for i in 0..16u8 {
        let write = author.appending(1, &[&[i; 3000]]);
        author.enqueue(write);
    }
    // A segment has 28 KiB for groups, of which 8 KiB are left for headers.
    let job = author.store.prepare().unwrap().unwrap();
    assert_eq!(author.run(job).unwrap(), Some(WriteSeq(7)));
    assert_eq!(author.disk.syncs(), before + 1);
}

#[test]
fn a_group_that_cuts_nothing_off_says_nothing_of_what_was_cut_off() {
    let mut author = Author::new();
    (0..10).for_each(|_| author.append(1, &[b"x"]));
    let block = |index| {
        let (file, offset) = author.place_of(index);
        author.disk.content(&file).unwrap()[offset..].to_vec()
    };
    let lens = [1, 10].map(|index| Claim::read(&block(index)).unwrap().header_len);
    assert_eq!(lens[0], lens[1]);
}

#[test]
fn a_group_of_which_nothing_is_taken_is_not_read() {
    let mut author = Author::new();
    author.append(1, &[b"one", b"two"]);
    author.append(1, &[b"three"]);
    let reader = author.store.reader();
    let read = |max_bytes| {
        let before = author.disk.reads().0;
        let entries = reader.read_entries(Index(1), max_bytes).unwrap();
        (entries.len(), author.disk.reads().0 - before)
    };
    let group: usize = author.entries[..2].iter().map(Entry::size_bytes).sum();
    let (_, once) = read(1);
    assert_eq!([read(group - 1), read(group)], [(1, once), (2, once)]);
    assert_eq!(read(usize::MAX), (3, 2 * once));
}

#[test]
fn each_last_group_is_attested_and_not_only_the_first() {
    let mut author = Author::new();
    for _ in 0..3 {
        (0..2).for_each(|_| author.append(1, &[b"x"]));
        let job = author.store.attest().unwrap().unwrap();
        author.run(job).unwrap();
        assert!(author.store.attest().unwrap().is_none());
    }
}

#[test]
fn nothing_is_attested_while_a_write_waits_that_will_do_so() {
    let mut author = Author::new();
    (0..2).for_each(|_| author.append(1, &[b"x"]));
    let write = author.appending(1, &[b"y"]);
    author.enqueue(write);
    assert!(author.store.attest().unwrap().is_none());
    author.flush().unwrap();
    assert!(author.store.attest().unwrap().is_some());
}

#[test]
fn segments_out_of_use_are_known_and_used_again_after_a_restart() {
    let mut author = Author::new();
    let mut most = 0;
    for round in 1..=12u64 {
        for i in 0..20u8 {
            author.append(1, &[&[i; 3000]]);
        }
        author.take_snapshot(round * 20);
        let snapshot = author.snapshot.clone();
        let entries = author.entries.clone();
        author = Author::on(&author.disk.crash_losing_all());
        assert_eq!(author.snapshot, snapshot);
        author.entries = entries;
        most = most.max(author.segments().len());
    }
    assert!(most < 12, "{most} files");
}

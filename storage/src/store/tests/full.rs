//! Fault table, row 20: a disk that is full takes no entries and loses none. It keeps whatever a
//! replica has to swear, and goes on once there is room.

use std::io::ErrorKind;
use std::sync::Arc;

use quorate_core::*;

use super::fixture::*;
use crate::disk::{Keep, MemDisk, Operation};
use crate::error::StorageError;
use crate::job::{Job, Step};
use crate::meta::META;
use crate::store::StoreOptions;

#[test]
fn a_full_disk_holds_up_entries_and_not_pledges_and_serves_again_once_there_is_room() {
    let mut author = Author::new();
    author.append(1, &[&[1; 3000]]);
    let used: usize = author.disk.contents().values().map(Vec::len).sum();
    author.disk.set_capacity(Some(used as u64 + 20_000));
    let mut admitted = 0;
    while author.store.has_room() {
        author.append(1, &[&[1; 3000]]);
        admitted += 1;
        assert!(admitted < 100);
    }
    assert!(matches!(author.store.room_error(), Some(StorageError::NoRoom { .. })));
    assert!(author.disk.content("tmp-wal-0000000000000004").is_none(), "what failed is removed");
    let segments = crate::inspect(&Arc::new(author.disk.clone())).unwrap().segments;
    let empty = segments.iter().filter(|segment| segment.groups.is_empty());
    assert_eq!(empty.count(), 1, "a segment is left for what was admitted before");
    // What was admitted before still fits, and so do pledges.
    author.append(1, &[&[2; 20_000]]);
    for number in 1..8 {
        let write = author.swearing(number);
        author.save(write);
    }
    author.store.retry_room();
    author.flush().unwrap();
    assert!(!author.store.has_room());
    author.disk.set_capacity(None);
    author.store.retry_room();
    author.flush().unwrap();
    assert!(author.store.has_room());
    author.append(1, &[&[1; 3000]]);
    let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!(recovered.log.last, author.last().0);
}

#[test]
fn a_segment_for_whose_name_there_is_no_room_is_prepared_again_later() {
    let mut author = Author::new();
    let job = job_that_names_a_segment(&mut author);
    author.disk.fail(Operation::Name, "tmp-wal-", ErrorKind::StorageFull, 1);
    author.run(job).unwrap();
    assert!(matches!(author.store.room_error(), Some(StorageError::NoRoom { .. })));
    author.disk.heal();
    author.store.retry_room();
    author.flush().unwrap();
    assert!(author.store.has_room());
    author.append(1, &[&[2; 20_000]]);
    let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!(recovered.log.last, author.last().0);
}

/// Carries out writes, then what prepares the next segment, up to the job that gives it its name.
fn job_that_names_a_segment(author: &mut Author) -> Job {
    for _ in 0..1000 {
        let write = author.appending(1, &[&[1; 3000]]);
        author.enqueue(write);
        while let Some(job) = author.store.prepare().unwrap() {
            author.run(job).unwrap();
        }
        while let Some(job) = author.store.maintenance().unwrap() {
            if job.steps().iter().any(|step| matches!(step, Step::Rename { .. })) {
                return job;
            }
            author.run(job).unwrap();
        }
    }
    panic!("no segment is prepared");
}

fn old_name(step: &Step) -> Option<String> {
    match step {
        Step::Rename { from, .. } => Some(from.clone()),
        _ => None,
    }
}

#[test]
fn only_for_want_of_room_a_segment_is_prepared_again_later() {
    let (full, other) = (ErrorKind::StorageFull, ErrorKind::Other);
    // So says a volume on which each has no more than a part.
    let quota = ErrorKind::QuotaExceeded;
    for (operation, file, kind, is_final) in [
        (Operation::Name, "tmp-wal-", full, false),
        (Operation::Name, "wal-", full, false),
        (Operation::Write, "tmp-wal-", full, false),
        (Operation::Write, "tmp-wal-", quota, false),
        (Operation::Name, "wal-", other, true),
        (Operation::Write, "tmp-wal-", other, true),
        (Operation::Sync, "tmp-wal-", other, true),
        (Operation::Write, META, full, true),
    ] {
        // A segment that is used again is renamed twice.
        let mut author = author_in_a_used_segment();
        let job = job_that_names_a_segment(&mut author);
        let renamed: Vec<String> = job.steps().iter().filter_map(old_name).collect();
        assert_eq!(renamed.len(), 2);
        author.disk.fail(operation, file, kind, 1);
        let outcome = author.run(job);
        let case = format!("{operation:?} {file} {kind}: {outcome:?}");
        assert_eq!(outcome.is_err(), is_final, "{case}");
        assert_eq!(author.store.prepare().is_err(), is_final, "{case}");
        author.disk.heal();
        if !is_final {
            assert!(author.store.room_error().is_some(), "{case}");
            author.flush().unwrap();
            // What was to be used again takes no room now.
            let files = author.disk.contents();
            let is_there = |file: &String| files.contains_key(file);
            assert!(!renamed.iter().any(is_there), "{case}: {renamed:?} in {:?}", files.keys());
            author.store.retry_room();
            author.flush().unwrap();
            assert!(author.store.has_room(), "{case}");
        }
        let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
        assert_eq!(recovered.log.last, author.last().0, "{case}");
    }
}

#[test]
fn writes_for_which_there_is_no_room_wait_and_are_saved_in_order() {
    let mut author = Author::new();
    let used: usize = author.disk.contents().values().map(Vec::len).sum();
    author.disk.set_capacity(Some(used as u64));
    let mut saved = WriteSeq(0);
    for i in 0..80u8 {
        let write = author.appending(1, &[&[i; 3000]]);
        author.enqueue(write);
        saved = author.flush().unwrap().unwrap_or(saved);
    }
    assert!(saved < author.seq && author.store.has_queued());
    author.disk.set_capacity(None);
    author.store.retry_room();
    assert_eq!(author.flush().unwrap(), Some(author.seq));
    let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!(recovered.log.last.index, Index(80));
}

#[test]
fn a_directory_that_does_not_fit_on_the_disk_is_founded_once_there_is_room() {
    let disk = MemDisk::new();
    disk.set_capacity(Some(1000));
    assert!(matches!(open(&disk), Err(StorageError::NoRoom { .. })));
    let disk = disk.crash_keeping_all();
    disk.set_capacity(None);
    disk.fail(Operation::Write, "tmp-meta", ErrorKind::Other, 1);
    assert!(matches!(open(&disk), Err(StorageError::WriteFailed { .. })));
    let (_, found) = open(&disk.crash_keeping_all()).unwrap();
    assert_eq!(found.lineage.latest().count, 1);
}

/// How much is on the disk.
fn used(disk: &MemDisk) -> u64 {
    disk.contents().values().map(|bytes| bytes.len() as u64).sum()
}

/// An author who wrote more than fits on the disk: the last writes wait for room.
fn stuck_author() -> Author {
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    author.disk.set_capacity(Some(used(&author.disk)));
    for i in 0..3u8 {
        // Each more than a segment holds that is ready.
        let write = author.appending(1, &[&[i; 100_000]]);
        author.enqueue(write);
    }
    assert_eq!(author.flush().unwrap(), None);
    assert!(!author.store.has_room());
    author
}

/// How many groups of a block have room in the segments that are there.
fn blocks_left(author: &Author) -> u64 {
    let segments = crate::inspect(&Arc::new(author.disk.clone())).unwrap().segments;
    let taken = segments.iter().flat_map(|segment| &segment.groups).map(|group| group.len);
    let len: u64 = segments.iter().map(|segment| segment.len - 4096).sum();
    (len - taken.sum::<u64>()) / 4096
}

/// An author on a full disk, who has so many blocks left for groups.
fn author_with_blocks_left(blocks: u64) -> Author {
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    author.disk.set_capacity(Some(0));
    (blocks..blocks_left(&author)).for_each(|_| author.append(1, &[b"x"]));
    assert_eq!(blocks_left(&author), blocks);
    author
}

fn make_room(author: &mut Author) {
    author.disk.set_capacity(None);
    author.store.retry_room();
}

/// Swears, and gives the number of the write.
fn swear(author: &mut Author, number: u8) -> WriteSeq {
    let write = author.swearing(number);
    let seq = author.enqueue(write);
    author.flush().unwrap();
    seq
}

#[test]
fn a_promise_behind_entries_for_which_there_is_no_room_is_sworn_and_not_saved() {
    let mut author = stuck_author();
    for number in 1..=20 {
        let seq = swear(&mut author, number);
        assert_eq!((author.sworn, author.saved), (Some(seq), Some(WriteSeq(1))));
        let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
        assert_eq!(recovered.sworn, Some(pledge(number)));
        assert_eq!((recovered.pledge, recovered.log.last.index), (Some(pledge(0)), Index(1)));
    }
    let changes = author.disk.changes();
    assert!(author.store.prepare().unwrap().is_none(), "it is sworn once");
    assert_eq!(author.disk.changes(), changes);

    make_room(&mut author);
    assert_eq!(author.flush().unwrap(), Some(author.seq));
    assert!(author.store.has_room());
    let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!((recovered.pledge, recovered.sworn), (Some(pledge(20)), None));
    assert_eq!(recovered.log.tail, author.entries);
}

#[test]
fn a_repair_for_which_there_is_no_room_waits_for_it() {
    let mut author = author_with_blocks_left(0);
    let (file, offset) = author.place_of(1);
    author.disk.flip(&file, offset + 70, 1);
    let write = author.repairing(&[(1, 1)]);
    let repair = author.enqueue(write);
    assert_eq!(author.flush().unwrap(), None);
    let promise = swear(&mut author, 3);
    assert_eq!(author.sworn, Some(promise));
    assert!(author.saved < Some(repair));
    make_room(&mut author);
    assert_eq!(author.flush().unwrap(), Some(promise));
    let read = author.store.reader().read_entries(Index(1), 1).unwrap();
    assert_eq!(read, author.entries[..1]);
}

#[test]
fn votes_without_end_fit_on_a_disk_without_room_for_a_block() {
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    let files = author.disk.contents();
    author.disk.set_capacity(Some(0));
    // Many more than there are blocks in what is ready.
    let blocks = files.values().map(Vec::len).sum::<usize>() / 4096;
    for number in 0..3 * blocks {
        let number = number as u8;
        let write = author.swearing(number);
        author.save(write);
        if number.is_multiple_of(16) {
            let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
            assert_eq!((recovered.pledge, recovered.sworn), (Some(pledge(number)), None));
        }
    }
    let write = author.appending(1, &[b"two"]);
    let entries = author.enqueue(write);
    let promise = swear(&mut author, 77);
    assert_eq!((author.sworn, author.saved), (Some(promise), Some(WriteSeq(entries.0 - 1))));
    make_room(&mut author);
    assert_eq!(author.flush().unwrap(), Some(promise));
    let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!((recovered.pledge, recovered.log.last.index), (Some(pledge(77)), Index(2)));
}

#[test]
fn what_is_kept_beside_the_log_survives_two_bad_copies_of_meta() {
    let mut sworn = stuck_author();
    swear(&mut sworn, 5);
    let mut saved = Author::new();
    saved.append(1, &[b"one"]);
    saved.disk.set_capacity(Some(0));
    for number in 1..=60 {
        let write = saved.swearing(number);
        saved.save(write);
    }
    for bad in [[0, 1], [2, 3], [0, 2], [1, 3]] {
        for (author, expected) in
            [(&sworn, (pledge(0), Some(pledge(5)))), (&saved, (pledge(60), None))]
        {
            let disk = author.disk.crash_losing_all();
            bad.iter().for_each(|copy| disk.flip(META, copy * 4096 + 50, 1));
            let (_, recovered) = open(&disk).unwrap();
            assert_eq!((recovered.pledge.unwrap(), recovered.sworn), expected, "{bad:?}");
        }
    }
}

#[test]
fn muteness_for_which_no_group_has_room_survives_two_bad_copies_of_meta() {
    let mut author = author_with_blocks_left(0);
    author.mute = true;
    let write = author.write(Vec::new());
    author.save(write);
    for bad in [[0, 1], [2, 3], [0, 2], [1, 3]] {
        let disk = author.disk.crash_losing_all();
        bad.iter().for_each(|copy| disk.flip(META, copy * 4096 + 50, 1));
        assert!(open(&disk).unwrap().1.mute, "{bad:?}");
    }
}

#[test]
fn a_small_write_is_saved_though_there_is_no_room_for_the_large_one_behind_it() {
    let mut author = author_with_blocks_left(2);
    let write = author.appending(1, &[b"small"]);
    let small = author.enqueue(write);
    let write = author.appending(1, &[&[7; 40_000]]);
    let large = author.enqueue(write);
    assert_eq!(author.flush().unwrap(), Some(small));
    make_room(&mut author);
    assert_eq!(author.flush().unwrap(), Some(large));
}

#[test]
fn what_is_kept_for_what_was_admitted_is_not_spent_on_vouching_for_the_last_group() {
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    author.disk.set_capacity(Some(used(&author.disk)));
    while author.store.has_room() {
        author.append(1, &[&[1; 3000]]);
    }
    author.append(1, &[b"admitted before"]);
    let left = blocks_left(&author);
    author.attest();
    assert_eq!(blocks_left(&author), left);
    make_room(&mut author);
    author.flush().unwrap();
    author.append(1, &[b"admitted since"]);
    assert!(author.store.attest().unwrap().is_some());
}

#[test]
fn damage_to_the_last_group_is_not_taken_for_a_tear_though_the_disk_was_full_when_it_was_saved() {
    for more_waits in [false, true] {
        let mut author = author_with_blocks_left(0);
        let last = author.last().0.index;
        if more_waits {
            let write = author.appending(1, &[b"y"]);
            author.enqueue(write);
            assert_eq!(author.flush().unwrap(), None);
        }
        author.attest();
        assert!(author.store.attest().unwrap().is_none(), "that is not said again and again");
        let (file, offset) = author.place_of(last.0);
        let disk = author.disk.crash_losing_all();
        disk.flip(&file, offset + 100, 1);
        let (_, found) = open(&disk).unwrap();
        assert_eq!((found.log.last.index, found.mute), (last.previous(), true), "{more_waits}");
    }
}

#[test]
fn a_crash_at_any_step_of_swearing_loses_no_promise() {
    let author = || {
        let mut author = stuck_author();
        swear(&mut author, 4);
        author
    };
    let is_possible = |disk: &MemDisk, at_least: u8| {
        for names in [0, usize::MAX] {
            for keep in [Keep::Old, Keep::New, Keep::Torn(100)] {
                let (_, found) = open(&disk.crash(names, |_, _| keep)).unwrap();
                assert_eq!((found.pledge, found.log.last.index), (Some(pledge(0)), Index(1)));
                let sworn = found.sworn.unwrap()[0];
                assert!((at_least..=5).contains(&sworn), "{sworn}");
            }
        }
    };
    for steps in 0..=4 {
        let mut author = author();
        let write = author.swearing(5);
        author.enqueue(write);
        let job = author.store.prepare().unwrap().unwrap();
        assert_eq!(job.steps().len(), 4);
        for step in &job.steps()[..steps] {
            author.store.run_step(step).unwrap();
        }
        is_possible(&author.disk, if steps < 2 { 4 } else { 5 });
    }
}

#[test]
fn entries_that_were_queued_before_a_promise_do_not_take_it_back_when_they_are_saved() {
    let mut author = stuck_author();
    swear(&mut author, 6);
    // Room for the first of the three, and for no more.
    author.disk.set_capacity(Some(used(&author.disk) + 110_000));
    author.store.retry_room();
    assert_eq!(author.flush().unwrap(), Some(WriteSeq(2)));
    let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!((recovered.pledge, recovered.sworn), (Some(pledge(0)), Some(pledge(6))));
    assert_eq!(recovered.log.last.index, Index(2));
    // As found, it goes on: a replica swears once more what it finds beside the log.
    let mut again = Author::on(&author.disk.crash_losing_all());
    let write = again.swearing(6);
    again.save(write);
    let (_, recovered) = open(&again.disk.crash_losing_all()).unwrap();
    assert_eq!((recovered.pledge, recovered.sworn), (Some(pledge(6)), None));
}

#[test]
fn a_replica_that_is_to_speak_again_is_mute_until_all_before_that_is_saved() {
    let mut author = Author::new();
    author.mute = true;
    author.append(1, &[b"one"]);
    author.disk.set_capacity(Some(used(&author.disk)));
    let write = author.appending(1, &[&[1; 100_000]]);
    author.enqueue(write);
    author.mute = false;
    swear(&mut author, 3);
    assert_eq!(author.sworn, Some(author.seq));
    let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert!(recovered.mute);
    make_room(&mut author);
    author.flush().unwrap();
    assert!(!open(&author.disk.crash_losing_all()).unwrap().1.mute);
}

#[test]
fn a_replica_that_has_fallen_mute_behind_entries_without_room_stays_so_when_those_are_saved() {
    let mut author = stuck_author();
    author.mute = true;
    swear(&mut author, 3);
    assert!(open(&author.disk.crash_losing_all()).unwrap().1.mute);
    // Room for the first of the three, which was written before.
    author.disk.set_capacity(Some(used(&author.disk) + 110_000));
    author.store.retry_room();
    assert_eq!(author.flush().unwrap(), Some(WriteSeq(2)));
    assert!(open(&author.disk.crash_losing_all()).unwrap().1.mute);
}

#[test]
fn a_replica_falls_mute_on_a_disk_without_room_and_speaks_again_only_once_there_is_some() {
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    author.disk.set_capacity(Some(0));
    // Until what is ready is used up.
    for number in 0..used(&author.disk) / 4096 {
        let write = author.swearing(number as u8);
        author.save(write);
    }
    author.mute = true;
    let write = author.write(Vec::new());
    author.save(write);
    let is_mute = |author: &Author| open(&author.disk.crash_losing_all()).unwrap().1.mute;
    assert!(is_mute(&author));
    author.mute = false;
    let write = author.write(Vec::new());
    let speaks = author.enqueue(write);
    assert_eq!(author.flush().unwrap(), None);
    assert!(is_mute(&author));
    make_room(&mut author);
    assert_eq!(author.flush().unwrap(), Some(speaks));
    assert!(!is_mute(&author));
}

#[test]
fn segments_grow_with_the_log_and_a_disk_that_was_full_is_asked_for_little() {
    const MIB: usize = 1 << 20;
    let mut author = Author::with(&MemDisk::new(), StoreOptions::default());
    for i in 0..40u8 {
        author.append(1, &[&[i; MIB / 2]]);
    }
    let used: usize = author.disk.contents().values().map(Vec::len).sum();
    let lens: Vec<usize> = author.segments().values().map(Vec::len).collect();
    assert!(lens.is_sorted() && lens[0] == MIB, "{lens:?}");
    assert!(lens[lens.len() - 1] > 4 * MIB, "{lens:?}");
    author.disk.set_capacity(Some(used as u64));
    let is_out_of_room = (0..100).any(|_| {
        let write = author.appending(1, &[&[7; MIB / 2]]);
        let seq = author.enqueue(write);
        author.flush().unwrap() != Some(seq)
    });
    assert!(is_out_of_room && !author.store.has_room());
    author.disk.set_capacity(Some((used + 2 * MIB) as u64));
    author.store.retry_room();
    assert_eq!(author.flush().unwrap(), Some(author.seq));
}

#[test]
fn what_was_sworn_beside_the_log_is_found_by_the_second_start_too() {
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    author.disk.set_capacity(Some(0));
    // Until no group has room.
    for number in 1..=60 {
        let write = author.swearing(number);
        author.save(write);
    }
    let mut disk = author.disk.crash_losing_all();
    for start in 1..=3 {
        let (_, recovered) = open(&disk).unwrap();
        assert_eq!(recovered.pledge, Some(pledge(60)), "start {start}");
        disk = disk.crash_losing_all();
    }
}

#[test]
fn what_was_sworn_beside_the_log_is_found_after_a_stop_in_order() {
    let mut author = author_with_blocks_left(0);
    let write = author.swearing(60);
    author.save(write);
    let job = author.store.close().unwrap().unwrap();
    author.run(job).unwrap();
    let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!(recovered.pledge, Some(pledge(60)));
}

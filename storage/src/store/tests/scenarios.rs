//! What a store keeps across restarts.

use std::sync::Arc;

use quorate_core::*;

use super::fixture::*;
use crate::disk::{Disk as _, Keep, MemDisk, Operation};
use crate::error::StorageError;
use crate::job::Step;
use crate::store::{Store, StoreOptions};

#[test]
fn an_empty_directory_becomes_the_owners() {
    let disk = MemDisk::new();
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.identity.incarnation, Incarnation(77));
    assert_eq!(recovered.lineage.latest().count, 1);
    assert_eq!((recovered.pledge, recovered.snapshot), (None, None));
    assert_eq!(recovered.log, RecoveredLog::default());
    let (_, recovered) = open(&disk.crash_losing_all()).unwrap();
    assert_eq!(recovered.lineage.latest().count, 2);
}

#[test]
fn sizes_which_could_not_be_read_back_are_refused_before_anything_is_touched() {
    let disk = MemDisk::new();
    let most = StoreOptions::MAX_BYTES;
    let group_bytes = usize::try_from(most + 1).unwrap();
    for refused in [
        StoreOptions { segment_bytes: Some(most + 4096), ..options() },
        StoreOptions { segment_bytes: Some(u64::MAX), ..options() },
        StoreOptions { group_bytes, ..options() },
    ] {
        let opened = Store::open(Arc::new(disk.clone()), &owner(), refused, Incarnation(77), 1);
        let error = opened.unwrap_err();
        assert!(matches!(error, StorageError::OptionsTooLarge { .. }), "{error}");
        assert_eq!(disk.changes(), 0);
    }
}

#[test]
#[should_panic(expected = "a group of")]
fn a_write_that_could_not_be_read_back_is_never_written() {
    let mut author = Author::new();
    // All of them share one buffer.
    let payload = bytes::Bytes::from(vec![0; 64 << 20]);
    let (mut previous, mut parent) = author.last();
    let mut run = Run { previous, previous_digest: parent, entries: Vec::new() };
    for _ in 0..16 {
        let proposal = Proposal::new(EntryKind::Command, LogTime(1), payload.clone());
        let entry = Entry::new(LogId::new(previous.index.next(), Ballot(1)), parent, proposal);
        (previous, parent) = (entry.id, entry.digest());
        run.entries.push(entry);
    }
    let write = author.write(vec![run]);
    author.enqueue(write);
    let _ = author.flush();
}

#[test]
fn what_was_saved_is_there_after_a_power_cut() {
    let mut author = Author::new();
    author.append(1, &[b"one", b"two"]);
    author.append(2, &[b"three"]);
    let write = author.swearing(5);
    author.save(write);
    let (store, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!(recovered.log.tail, author.entries);
    assert_eq!(recovered.log.ballots, [(Index(1), Ballot(1)), (Index(3), Ballot(2))]);
    assert_eq!((recovered.log.last, recovered.log.last_digest), author.last());
    assert_eq!((recovered.log.base, recovered.log.base_digest), (LogId::ZERO, Digest([9; 16])));
    assert_eq!(recovered.pledge, Some(pledge(5)));
    assert_eq!(store.reader().read_entries(Index(1), usize::MAX).unwrap(), author.entries);
}

#[test]
fn a_cut_lasts_across_restarts() {
    let mut author = Author::new();
    author.append(1, &[b"one", b"two", b"three"]);
    let write = author.cutting(1, 2, &[b"other"]);
    author.save(write);
    let mut author = Author::on(&author.disk.crash_losing_all());
    let payloads: Vec<_> = author.entries.iter().map(|entry| entry.payload.clone()).collect();
    assert_eq!(payloads, ["one", "other"]);
    let write = author.cutting(1, 3, &[]);
    author.save(write);
    let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!(recovered.log.last, LogId::new(Index(1), Ballot(1)));
    assert_eq!(recovered.log.tail, author.entries);
}

/// Carries out what an author is about to do, with a power cut after each change of the disk in turn;
/// of what was not synced, all, nothing or a part arrives.
fn with_a_power_cut_anywhere(
    author: impl Fn() -> Author,
    act: impl Fn(&mut Author) -> Result<(), StorageError>,
    mut check: impl FnMut(&Author, &Store<MemDisk>, &Recovered),
) {
    for changes in 0.. {
        let mut author = author();
        author.disk.stop_after(changes);
        let acted = act(&mut author);
        let first_of_block = |sector| if sector % 8 == 0 { Keep::New } else { Keep::Old };
        let keeps: [fn(u64) -> Keep; 4] =
            [|_| Keep::Old, |_| Keep::New, |_| Keep::Torn(100), first_of_block];
        for keep in keeps {
            let disk = author.disk.crash(usize::MAX, |_, sector| keep(sector));
            let (store, found) = open(&disk).unwrap();
            check(&author, &store, &found);
        }
        if acted.is_ok() {
            assert!(changes > 3);
            return;
        }
    }
}

#[test]
fn a_power_cut_while_the_end_of_the_log_is_cut_off_leaves_no_hole() {
    let before = || {
        let mut author = Author::new();
        for i in 0..60u8 {
            author.append(1, &[&[i; 3000]]);
        }
        author
    };
    let old = before().entries;
    let (mut whole, mut cut_off) = (0, 0);
    with_a_power_cut_anywhere(
        before,
        |author| {
            // So long that it can be torn behind its header, which says what is cut off.
            let write = author.cutting(5, 2, &[&[7; 3000], b"ones"]);
            author.enqueue(write);
            author.flush().map(drop)
        },
        |author, store, found| {
            assert!(found.log.gaps.is_empty(), "{:?}", found.log.gaps);
            let read = store.reader().read_entries(Index(1), usize::MAX).unwrap();
            assert!(read == old || read == author.entries, "ends with {}", found.log.last);
            assert_eq!(found.log.tail, read);
            *if read == old { &mut whole } else { &mut cut_off } += 1;
        },
    );
    assert!(whole > 0 && cut_off > 0);
}

#[test]
fn no_part_of_the_log_is_used_again_before_the_snapshot_that_covers_it_is_pointed_to_durably() {
    let before = || {
        let mut author = Author::new();
        for round in 1..=3u64 {
            for i in 0..20u8 {
                author.append(1, &[&[i; 3000]]);
            }
            if round < 3 {
                author.take_snapshot(round * 20);
            }
        }
        // The next write points to it.
        author.snapshot = Some(author.build_snapshot(60));
        author
    };
    let first = |disk: &MemDisk| disk.contents().into_keys().find(|name| name.starts_with("wal-"));
    let oldest = first(&before().disk);
    let mut used_again = 0;
    with_a_power_cut_anywhere(
        before,
        |author| {
            for i in 0..60u8 {
                let write = author.appending(1, &[&[i; 3000]]);
                author.enqueue(write);
                author.flush()?;
            }
            Ok(())
        },
        |author, store, found| {
            let base = found.snapshot.as_ref().expect("one was pointed to before").last.index;
            assert!([Index(40), Index(60)].contains(&base), "{base}");
            let read = store.reader().read_entries(base.next(), usize::MAX).unwrap();
            let held = &author.entries[base.0 as usize..];
            assert!(read.len() >= 60 - base.0 as usize && held.starts_with(&read));
            used_again += u32::from(first(&author.disk) != oldest);
        },
    );
    assert!(used_again > 0);
}

#[test]
fn a_crash_while_a_replica_gives_up_the_end_of_its_log_leaves_the_end_or_a_mute_replica() {
    let mut cut_off = 0;
    for steps in 0.. {
        let mut author = Author::new();
        author.append(1, &[b"acknowledged", b"lost"]);
        author.mute = true;
        let write = author.cutting(1, 2, &[]);
        author.enqueue(write);
        let job = author.store.prepare().unwrap().unwrap();
        if steps > job.steps().len() {
            break;
        }
        for step in &job.steps()[..steps] {
            author.store.run_step(step).unwrap();
        }
        for keep in [Keep::Old, Keep::New, Keep::Torn(100)] {
            let (_, found) = open(&author.disk.crash(usize::MAX, |_, _| keep)).unwrap();
            let is_cut_off = found.log.last.index == Index(1);
            assert!(found.mute || !is_cut_off, "{steps} steps, {keep:?}");
            cut_off += u32::from(is_cut_off);
        }
    }
    assert!(cut_off > 0);
}

#[test]
fn everything_that_is_queued_shares_one_sync() {
    let mut author = Author::new();
    author.append(1, &[b"x"]);
    let before = author.disk.syncs();
    for _ in 0..10 {
        let write = author.appending(1, &[b"x"]);
        author.enqueue(write);
    }
    assert_eq!(author.flush().unwrap(), Some(WriteSeq(11)));
    assert_eq!(author.disk.syncs(), before + 1);
}

#[test]
fn a_write_that_changes_nothing_costs_no_io_and_completes_in_order() {
    let mut author = Author::new();
    author.append(1, &[b"x"]);
    let before = author.disk.changes();
    let write = author.write(Vec::new());
    author.save(write);
    assert_eq!(author.disk.changes(), before);
    let first = author.appending(1, &[b"x"]);
    author.enqueue(first);
    let nothing = author.write(Vec::new());
    let last = author.enqueue(nothing);
    assert_eq!(author.flush().unwrap(), Some(last));
}

#[test]
fn the_log_goes_on_in_further_segments() {
    let mut author = Author::new();
    for i in 0..60u8 {
        author.append(1, &[&[i; 3000], &[i; 3000]]);
    }
    assert!(author.disk.content("wal-0000000000000005").is_some());
    let author = Author::on(&author.disk.crash_losing_all());
    assert_eq!(author.entries.len(), 120);
}

#[test]
fn a_segment_that_cannot_be_read_through_is_not_used_again() {
    let mut author = Author::new();
    author.append(1, &[&[1; 3000]]);
    let file = author.place_of(1).0;
    author.disk.set_unreadable(&file, 60_000..60_512);
    // Why it cannot be read does not matter.
    author.disk.fail(Operation::Read, "wal-0000000000000002", std::io::ErrorKind::Other, 1);
    for round in 0..10u64 {
        for _ in 0..20 {
            author.append(1, &[&[1; 3000]]);
        }
        author.take_snapshot(round * 20 + 10);
        // Ahead of the log's end, it would pass for a lost one.
        let (_, recovered) = open(&author.disk.crash_keeping_all()).unwrap();
        assert!(!recovered.mute, "round {round}");
    }
    let names = author.disk.contents().into_keys();
    let bad = names.filter(|name| author.disk.read_at(name, 60_000, &mut [0; 512]).is_err());
    assert_eq!(bad.count(), 0, "it was removed");
}

#[test]
fn a_write_larger_than_a_segment_gets_one_that_is_large_enough() {
    let mut author = Author::new();
    author.append(1, &[&[7; 300_000]]);
    author.append(1, &[b"small"]);
    let author = Author::on(&author.disk.crash_losing_all());
    assert_eq!(author.entries.len(), 2);
}

#[test]
fn segments_which_the_older_snapshot_covers_are_used_again() {
    let mut author = Author::new();
    for round in 1..=12u64 {
        for i in 0..20u8 {
            author.append(1, &[&[i; 3000]]);
        }
        author.take_snapshot(round * 20);
    }
    assert!(author.segments().len() <= 10);
    assert!(author.disk.content("wal-0000000000000001").is_none());
    let (store, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!(recovered.snapshot, author.snapshot);
    assert!(recovered.log.base.index <= Index(220));
    assert_eq!(recovered.log.last.index, Index(240));
    let read = store.reader().read_entries(Index(221), usize::MAX).unwrap();
    assert_eq!(read, author.entries[220..]);
    assert_eq!(store.snapshots().list().unwrap().len(), 2);
}

#[test]
fn a_segment_takes_as_much_of_the_disk_as_is_asked_for() {
    for bytes in [64 << 10, 300 << 10, (1 << 20) + 4096] {
        let options = StoreOptions { segment_bytes: Some(bytes), ..options() };
        let mut author = Author::with(&MemDisk::new(), options);
        author.append(1, &[b"x"]);
        assert!(author.segments().values().all(|file| file.len() as u64 == bytes), "{bytes}");
    }
}

#[test]
fn of_many_segments_out_of_use_a_few_are_kept() {
    let mut author = Author::new();
    (0..155u8).for_each(|i| author.append(1, &[&[i; 3000]]));
    assert!(author.segments().len() > 10);
    author.take_snapshot(154);
    author.take_snapshot(155);
    // The active one, two that are ready, and four spares.
    assert_eq!(author.segments().len(), 7);
}

#[test]
fn a_log_starts_anew_behind_a_fetched_snapshot() {
    let mut author = Author::new();
    author.append(1, &[b"one", b"two"]);
    author.take_snapshot(1);
    let last = LogId::new(Index(100), Ballot(4));
    let snapshot = build_snapshot(&author.store, last, Digest([3; 16]));
    author.snapshot = Some(snapshot.clone());
    author.entries.clear();
    author.append(5, &[b"next"]);
    // Nothing leads from the snapshot before it to this log.
    assert_eq!(author.store.snapshots().list().unwrap().len(), 1);
    let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!((recovered.log.base, recovered.log.base_digest), (last, Digest([3; 16])));
    assert_eq!(recovered.log.tail, author.entries);
    assert_eq!(recovered.snapshot, Some(snapshot));
}

#[test]
fn founding_is_kept() {
    let mut author = Author::new();
    let list = Some(Membership::new([(NodeId(1), Incarnation(77))]));
    let record = FoundingRecord { round: 3, list, formed: true };
    let write = Write { founding: Some(record.clone()), ..author.write(Vec::new()) };
    author.save(write);
    // It stands nowhere but in the meta file: either pair of copies is enough.
    for bad in [None, Some(0), Some(2)] {
        let disk = author.disk.crash_losing_all();
        bad.into_iter().flat_map(|pair| [pair, pair + 1]).for_each(|copy| {
            disk.flip("meta", copy * 4096 + 30, 1);
        });
        let (_, recovered) = open(&disk).unwrap();
        assert_eq!(recovered.founding, record);
    }
}

#[test]
fn what_is_known_of_the_disks_of_others_is_kept() {
    let mut lineage = Lineage::default();
    lineage.begin(3);
    let peers = |incarnation| {
        let disk = quorate_core::Disk { incarnation, start: lineage.latest() };
        std::collections::BTreeMap::from([(NodeId(2), disk)])
    };
    // In groups of their own, or in one.
    for (with_entries, at_once) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut author = Author::new();
        author.append(1, &[b"one"]);
        for incarnation in [Incarnation(5), Incarnation(6)] {
            let write = if with_entries {
                author.appending(1, &[b"more"])
            } else {
                author.write(Vec::new())
            };
            author.enqueue(Write { peers: Some(peers(incarnation)), ..write });
            if !at_once {
                author.flush().unwrap();
            }
        }
        author.flush().unwrap();
        author.append(1, &[b"last"]);
        // It stands nowhere but in the meta file: either pair of copies is enough.
        for bad in [None, Some(0), Some(2)] {
            let disk = author.disk.crash_losing_all();
            bad.into_iter().flat_map(|pair| [pair, pair + 1]).for_each(|copy| {
                disk.flip("meta", copy * 4096 + 30, 1);
            });
            let (_, recovered) = open(&disk).unwrap();
            assert_eq!(recovered.peers, peers(Incarnation(6)));
        }
    }
}

#[test]
fn only_the_end_of_a_long_log_is_kept_in_memory() {
    let mut author = Author::new();
    for _ in 0..400 {
        author.append(1, &[&[1; 5000]]);
    }
    let (store, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    let kept: usize = recovered.log.tail.iter().map(Entry::size_bytes).sum();
    assert!(kept <= options().tail_bytes && kept > options().tail_bytes / 2);
    assert_eq!(recovered.log.tail, author.entries[400 - recovered.log.tail.len()..]);
    assert_eq!(store.reader().read_entries(Index(7), 1).unwrap(), author.entries[6..7]);
}

#[test]
fn the_last_entry_is_told_also_if_all_that_was_kept_in_memory_was_cut_off() {
    let mut author = Author::new();
    (0..3).for_each(|_| author.append(1, &[b"x"]));
    let write = author.cutting(1, 2, &[]);
    author.save(write);
    let options = StoreOptions { tail_bytes: 1, ..options() };
    let disk = Arc::new(author.disk.crash_losing_all());
    let (_, recovered) = Store::open(disk, &owner(), options, Incarnation(77), 1).unwrap();
    assert_eq!(recovered.log.tail, author.entries);
}

#[test]
fn a_log_of_many_small_entries_is_found_without_holding_them_all() {
    let mut author = Author::new();
    let payloads = vec![&b"x"[..]; 1000];
    for _ in 0..100 {
        author.append(1, &payloads);
    }
    let options = StoreOptions { tail_bytes: 10_000, ..options() };
    let disk = Arc::new(author.disk.crash_losing_all());
    let (store, recovered) = Store::open(disk, &owner(), options, Incarnation(77), 1).unwrap();
    assert_eq!(recovered.log.last, LogId::new(Index(100_000), Ballot(1)));
    assert_eq!(recovered.log.ballots.len(), 1);
    assert!(recovered.log.tail.len() < 200);
    let read = store.reader().read_entries(Index(77_777), 65_000).unwrap();
    assert_eq!(read.len(), 1000);
    assert_eq!(read, author.entries[77_776..78_776]);
}

#[test]
fn entries_are_read_by_one_thread_while_another_writes_cuts_and_compacts() {
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    let reader = author.store.reader();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            for round in 1..=15u64 {
                for i in 0..20u8 {
                    author.append(round, &[&[i; 3000]]);
                }
                let last = author.last().0.index.0;
                let write = author.cutting(last - 5, round + 1, &[b"instead"]);
                author.save(write);
                for index in last - 5..=last {
                    let read = author.store.reader().read_entries(Index(index), usize::MAX);
                    let held = author.entries.get(index as usize - 1..).unwrap_or_default();
                    assert!(read.unwrap() == held, "from {index} in a log that ends with {last}");
                }
                author.take_snapshot(last - 5);
            }
        });
        let (mut from, mut count) = (Index(1), 0u64);
        while !writing.is_finished() || count == 0 {
            match reader.read_entries(from, 20_000) {
                Ok(entries) => {
                    let chained = |pair: &[Entry]| pair[0].digest() == pair[1].parent;
                    assert!(entries.windows(2).all(chained));
                    assert!(entries.iter().all(Entry::payload_is_intact));
                    count += entries.len() as u64;
                    from = entries.last().map_or(Index(1), |last| last.index().next());
                }
                Err(StorageError::Compacted { base, .. }) => from = base.next(),
                Err(error) => panic!("{error}"),
            }
        }
        writing.join().unwrap();
    });
}

#[test]
fn a_group_waits_for_a_slice_of_a_new_segment_and_not_for_all_of_it() {
    let disk = MemDisk::new();
    let large = StoreOptions { segment_bytes: Some(4 << 20), ..options() };
    let (store, _) =
        Store::open(Arc::new(disk.clone()), &owner(), large, Incarnation(77), 1).unwrap();
    let mut author = Author::new();
    (author.disk, author.store) = (disk, store);
    let (mut slices, mut registered) = (0, 0);
    while registered < 2 {
        // Large enough that the segments which are ready are used up, again and again.
        let write = author.appending(1, &[&[7; 300_000]]);
        author.enqueue(write);
        while let Some(job) = author.store.prepare().unwrap() {
            author.run(job).unwrap();
        }
        if let Some(job) = author.store.maintenance().unwrap() {
            let filled = job.steps().iter().filter_map(|step| match step {
                Step::Write { bytes, .. } => Some(bytes.len()),
                _ => None,
            });
            let names = job.steps().iter().any(|step| matches!(step, Step::Rename { .. }));
            assert!(filled.sum::<usize>() <= 1 << 20);
            slices += u32::from(!names);
            registered += u32::from(names);
            author.run(job).unwrap();
        }
    }
    assert!(slices >= 8, "{slices}");
    while author.store.has_queued() {
        author.flush().unwrap();
    }
    let disk = author.disk.crash_losing_all();
    let (store, recovered) =
        Store::open(Arc::new(disk), &owner(), large, Incarnation(77), 1).unwrap();
    assert_eq!(recovered.log.last, author.entries.last().unwrap().id);
    assert_eq!(store.reader().read_entries(Index(1), usize::MAX).unwrap(), author.entries);
}

#[test]
fn what_is_known_of_the_founding_is_kept() {
    let record = |round| FoundingRecord { round, list: None, formed: false };
    let mut author = Author::new();
    for round in [1, 2] {
        let write = author.write(Vec::new());
        author.save(Write { founding: Some(record(round)), ..write });
    }
    // It stands nowhere but in the meta file: either pair of copies is enough.
    for bad in [None, Some(0), Some(2)] {
        let disk = author.disk.crash_losing_all();
        bad.into_iter().flat_map(|pair| [pair, pair + 1]).for_each(|copy| {
            disk.flip("meta", copy * 4096 + 30, 1);
        });
        let (_, recovered) = open(&disk).unwrap();
        assert_eq!(recovered.founding, record(2), "{bad:?}");
    }
}

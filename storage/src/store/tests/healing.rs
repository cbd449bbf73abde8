//! Damage leaves a log that knows what it lacks: what it shows is what was written, and with what
//! peers give back it is whole again.

use std::sync::Arc;

use quorate_core::*;

use super::fixture::*;
use crate::disk::{Keep, MemDisk};
use crate::error::StorageError;
use crate::segment;
use crate::store::{Store, StoreOptions};

/// What is found on a damaged disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) last: Index,
    pub(crate) gaps: Vec<(u64, u64)>,
    pub(crate) mute: bool,
    pub(crate) pledge: Option<PledgeBytes>,
}

/// The digest of an entry, or of what precedes the first.
fn digest_at(entries: &[Entry], index: Index, before: Digest) -> Digest {
    let found = entries.iter().find(|entry| entry.index() == index);
    found.map_or(before, Entry::digest)
}

/// Checks that what was found is a beginning of `entries`, but for gaps that name what is missing.
fn check(store: &Store<MemDisk>, recovered: &Recovered, entries: &[Entry]) -> Seen {
    let log = &recovered.log;
    let first = entries.first().map_or(Index(1), Entry::index);
    let at = |index: Index| &entries[usize::try_from(index.0 - first.0).unwrap()];
    let mut index = log.base.index.next();
    for gap in &log.gaps {
        assert!(gap.first > log.base.index && gap.first <= gap.last && gap.last <= log.last.index);
        assert_eq!(gap.digest, at(gap.last).digest(), "{gap:?}");
        let before = digest_at(entries, gap.first.previous(), gap.before);
        assert_eq!(gap.before, before, "{gap:?}");
        if gap.ids_known {
            for missing in (gap.first.0..=gap.last.0).map(Index) {
                let told = log.ballots.iter().rfind(|(since, _)| *since <= missing).unwrap();
                assert_eq!(told.1, at(missing).ballot());
            }
        }
    }
    let reader = store.reader();
    while index <= log.last.index {
        if let Some(gap) = log.gaps.iter().find(|gap| gap.first == index) {
            assert!(reader.read_entries(index, 1).is_err(), "{index} is damaged");
            index = gap.last.next();
            continue;
        }
        let read = reader.read_entries(index, usize::MAX).unwrap();
        assert!(!read.is_empty());
        for entry in read {
            assert_eq!(entry, *at(index), "{index}");
            index = index.next();
        }
    }
    if log.last.index > log.base.index {
        assert_eq!(
            (log.last, log.last_digest),
            (at(log.last.index).id, at(log.last.index).digest())
        );
    }
    for entry in &log.tail {
        assert_eq!(entry, at(entry.index()));
        assert!(log.gaps.iter().all(|gap| gap.last < entry.index()));
    }
    assert!(log.ballots.is_sorted());
    // Where an entry's header is left, its timestamp is known, whatever became of its payload.
    let snapshot_time = recovered.snapshot.as_ref().map(|snapshot| snapshot.time);
    let known_time = Some(log.last_time).max(snapshot_time);
    let is_nameless = |index: Index| {
        let mut lost = log.gaps.iter().filter(|gap| !gap.ids_known);
        lost.any(|gap| gap.first <= index && index <= gap.last)
    };
    let known = entries.iter().filter(|entry| entry.index() <= log.last.index);
    let mut known = known.filter(|entry| !is_nameless(entry.index()));
    assert!(known.all(|entry| Some(entry.time) <= known_time), "{:?}", log.last_time);
    Seen {
        last: log.last.index,
        gaps: log.gaps.iter().map(|gap| (gap.first.0, gap.last.0)).collect(),
        mute: recovered.mute,
        pledge: recovered.pledge,
    }
}

pub(crate) fn try_see(
    disk: &MemDisk,
    options: StoreOptions,
    entries: &[Entry],
) -> Result<Seen, StorageError> {
    let disk = disk.crash_keeping_all();
    let opened = Store::open(Arc::new(disk), &owner(), options, Incarnation(77), 1);
    opened.map(|(store, recovered)| check(&store, &recovered, entries))
}

/// Opens a copy of the disk, and checks what is found.
pub(crate) fn see(disk: &MemDisk, options: StoreOptions, entries: &[Entry]) -> Seen {
    try_see(disk, options, entries).unwrap()
}

/// Carries out everything there is to do.
fn run_all(store: &mut Store<MemDisk>) {
    while let Some(job) = store.prepare().unwrap().or_else(|| store.maintenance().unwrap()) {
        let _ = store.run(job).unwrap();
    }
}

/// Opens the disk and plays the replica: what is missing is repaired from the original entries, a
/// few at a time with a restart after each, and a lost end is written again. The log is whole in
/// the end.
pub(crate) fn heal(disk: &MemDisk, options: StoreOptions, entries: &[Entry], random: &mut Random) {
    let mut disk = disk.crash_keeping_all();
    for round in 0.. {
        assert!(round < 500, "it comes to an end");
        let handle = Arc::new(disk.clone());
        let (mut store, recovered) =
            Store::open(handle, &owner(), options, Incarnation(77), 1).unwrap();
        let seen = check(&store, &recovered, entries);
        let log = &recovered.log;
        let whole = entries.last().map_or(log.base.index, Entry::index);
        if seen.gaps.is_empty() && log.last.index == whole && !recovered.mute {
            let verified = crate::verify(&Arc::new(disk.clone()), options).unwrap();
            assert!(verified.is_whole());
            return;
        }
        let mut write = Write {
            runs: Vec::new(),
            repairs: Vec::new(),
            pledge: recovered.pledge.unwrap_or([0; 64]),
            promise: false,
            snapshot: recovered.snapshot.clone(),
            founding: None,
            mute: recovered.mute,
            peers: None,
        };
        let missing = entries.iter().filter(|entry| entry.index() > log.last.index);
        if let Some(gap) = log.gaps.last() {
            let from = gap.first.max(Index(gap.last.0.saturating_sub(random.below(5))));
            let is_in = |entry: &&Entry| entry.index() >= from && entry.index() <= gap.last;
            write.repairs = vec![entries.iter().filter(is_in).cloned().collect()];
        } else if log.last.index < whole {
            let (previous, previous_digest) = (log.last, log.last_digest);
            write.runs =
                vec![Run { previous, previous_digest, entries: missing.cloned().collect() }];
        } else {
            write.mute = false;
        }
        store.enqueue(WriteSeq(1), write);
        if random.below(4) == 0 {
            // It dies on the way.
            if let Some(job) = store.prepare().unwrap() {
                let _ = store.run_step(&job.steps()[0]);
            }
            let keep = random.below(2) == 0;
            disk = disk.crash(usize::MAX, |_, _| if keep { Keep::New } else { Keep::Old });
        } else {
            run_all(&mut store);
            if random.below(2) == 0 {
                let job = store.attest().unwrap();
                if let Some(job) = job {
                    let _ = store.run(job).unwrap();
                }
            }
            disk = disk.crash_keeping_all();
        }
    }
}

/// A log over several segments, with cuts, and the last group vouched for.
fn long_log(random: &mut Random, snapshots: bool) -> Author {
    let mut author = Author::new();
    let mut ballot = 1;
    for _ in 0..40 {
        match random.below(6) {
            0 => {
                ballot += 1;
                let write = author.swearing(ballot as u8);
                author.save(write);
            }
            1 => {
                ballot += 1;
                let last = author.last().0.index.0;
                let covered = author.snapshot.as_ref().map_or(0, |it| it.last.index.0);
                let keep = last - random.below(5).min(last - covered);
                let write = author.cutting(keep, ballot, &[b"instead", b"of"]);
                author.save(write);
            }
            2 if snapshots && random.below(3) == 0 => {
                let last = author.last().0.index.0;
                let covered = author.snapshot.as_ref().map_or(0, |it| it.last.index.0);
                if last > covered {
                    author.take_snapshot(last - random.below(last - covered));
                }
            }
            _ => {
                let payload = vec![7; random.below(9000) as usize];
                author.append(ballot, &[b"x", &payload, b"y"]);
            }
        }
    }
    author.attest();
    author
}

fn damage(disk: &MemDisk, random: &mut Random) {
    let names = disk.contents().into_keys().filter(|name| name.starts_with("wal-"));
    let names: Vec<String> = names.collect();
    for _ in 0..1 + random.below(5) {
        let name = &names[random.below(names.len() as u64) as usize];
        let Some(mut content) = disk.content(name) else { continue };
        let at = random.below(content.len() as u64) as usize;
        let block = at / 4096 * 4096;
        match random.below(6) {
            0 => content[block..block + 4096].fill(0),
            1 => {
                let from = random.below(16) as usize * 4096;
                let bytes = content[from..from + 4096].to_vec();
                content[block..block + 4096].copy_from_slice(&bytes);
            }
            2 => content[block + random.below(300) as usize] ^= 1,
            3 if random.below(4) == 0 => content.truncate(at),
            4 if random.below(4) == 0 => {
                crate::disk::Disk::remove(disk, name).unwrap();
                crate::disk::Disk::sync_dir(disk).unwrap();
                continue;
            }
            _ => content[at] ^= 1 << random.below(8),
        }
        disk.set_content(name, &content);
    }
}

#[test]
fn whatever_is_damaged_is_named_and_repaired_and_nothing_else_is_lost() {
    let (mut gaps, mut mute, mut whole, mut stops) = (0, 0, 0, 0);
    for seed in 0..150 {
        let mut random = Random(seed);
        let author = long_log(&mut random, seed % 3 == 0);
        let disk = author.disk.crash_keeping_all();
        damage(&disk, &mut random);
        match try_see(&disk, options(), &author.entries) {
            Ok(seen) => {
                gaps += u32::from(!seen.gaps.is_empty());
                mute += u32::from(seen.mute);
                whole += u32::from(seen.gaps.is_empty() && !seen.mute);
                heal(&disk, options(), &author.entries, &mut random);
            }
            Err(_) => stops += 1,
        }
    }
    assert!(gaps > 40 && mute > 10 && whole > 10, "{gaps} {mute} {whole} {stops}");
    assert_eq!(stops, 0);
}

#[test]
fn a_lost_end_is_mute_until_a_write_says_otherwise_and_is_not_written_over() {
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    author.append(1, &[b"two"]);
    let write = author.swearing(5);
    author.save(write);
    let file = segment::name(1);
    let disk = author.disk.crash_keeping_all();
    for offset in [8192, 12288] {
        disk.flip(&file, offset + 70, 1);
    }
    let before = disk.content(&file).unwrap();
    let expected = Seen { last: Index(1), gaps: Vec::new(), mute: true, pledge: Some(pledge(5)) };
    assert_eq!(see(&disk, options(), &author.entries), expected);
    heal(&disk, options(), &author.entries, &mut Random(1));
    let mut again = Author::on(&disk);
    assert!(again.mute);
    again.mute = false;
    again.append(2, &[b"other"]);
    assert_eq!(disk.content(&file).unwrap(), before);
    let (_, recovered) = open(&disk.crash_keeping_all()).unwrap();
    assert_eq!((recovered.log.last.index, recovered.mute), (Index(2), false));
    assert_eq!(recovered.pledge, Some(pledge(5)));
}

#[test]
fn what_the_medium_does_not_give_back_is_named_and_repaired() {
    let mut random = Random(11);
    let (mut gaps, mut whole) = (0, 0);
    for seed in 0..25 {
        let author = long_log(&mut Random(seed), false);
        let disk = author.disk.crash_keeping_all();
        for _ in 0..3 {
            let file = segment::name(1 + random.below(4));
            let from = random.below(128) * 512;
            disk.set_unreadable(&file, from..from + 512);
        }
        let seen = see(&disk, options(), &author.entries);
        gaps += u32::from(!seen.gaps.is_empty());
        whole += u32::from(seen.gaps.is_empty());
        heal(&disk, options(), &author.entries, &mut random);
    }
    assert!(gaps > 8 && whole > 0, "{gaps} {whole}");
}

#[test]
fn one_unreadable_sector_costs_one_entry_of_a_group() {
    let mut author = Author::new();
    author.append(1, &[&[1; 3000], &[2; 3000], &[3; 3000]]);
    author.append(1, &[b"four"]);
    let file = segment::name(1);
    // The second payload begins some 3300 bytes behind the start of the group.
    author.disk.set_unreadable(&file, 4096 + 4096..4096 + 4608);
    let seen = see(&author.disk, options(), &author.entries);
    assert_eq!((seen.gaps, seen.last), (vec![(2, 2)], Index(4)));
    // At the very start of a segment it costs nothing.
    author.disk.set_unreadable(&file, 0..512);
    let seen = see(&author.disk, options(), &author.entries);
    assert_eq!((seen.gaps, seen.last, seen.mute), (vec![(2, 2)], Index(4), false));
    heal(&author.disk, options(), &author.entries, &mut Random(1));
}

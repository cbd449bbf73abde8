//! Fault table, rows 1 and 2: a group that was torn was never acknowledged. It is cut off, all of
//! it and nothing else, wherever it was torn and whatever stood there before.

use quorate_core::*;

use super::fixture::*;
use crate::disk::{Keep, MemDisk};
use crate::job::Step;

/// Carries out the write of the next group but not its sync; the length of the group.
pub(super) fn write_without_sync(author: &mut Author, write: Write) -> (String, u64, usize) {
    author.enqueue(write);
    let job = author.store.prepare().unwrap().unwrap();
    let write = &job.steps()[0];
    author.store.run_step(write).unwrap();
    let Step::Write { file, offset, bytes } = write else { panic!("{write:?}") };
    (file.clone(), *offset, bytes.len())
}

/// The disk on which only the first `cut` bytes of a write arrived.
fn cut(disk: &MemDisk, (file, offset, _): &(String, u64, usize), cut: u64) -> MemDisk {
    let end = offset + cut;
    let sector = MemDisk::SECTOR as u64;
    disk.crash(usize::MAX, |name, number| match end.checked_sub(number * sector) {
        _ if name != file => Keep::New,
        None => Keep::Old,
        Some(rest) => Keep::Torn(rest.min(sector) as usize),
    })
}

fn check_every_cut(mut author: Author) {
    let whole = author.entries.len() as u64;
    let before = author.entries.last().map_or(Index(0), Entry::index);
    let write = author.appending(3, &[b"some payload", &[7; 4500], b"the end"]);
    let pledge_before = author.pledge;
    author.pledge = pledge(9);
    let write = Write { pledge: author.pledge, ..write };
    let place = write_without_sync(&mut author, write);
    let last = author.entries.last().unwrap().index();
    let (mut torn, mut complete) = (0, 0);
    for bytes in 0..=place.2 as u64 {
        let found = outcome(&cut(&author.disk, &place, bytes));
        if found == (Found::Opens { last, pledge: Some(pledge(9)) }) {
            complete += 1;
        } else {
            assert_eq!(found, Found::Opens { last: before, pledge: Some(pledge_before) });
            assert_eq!(complete, 0, "the longer the less torn");
            torn += 1;
        }
    }
    assert!(torn > 4500 && complete > 0, "{whole}: {torn} {complete}");
}

#[test]
fn a_group_cut_at_any_byte_is_cut_off_in_a_fresh_segment() {
    let mut author = Author::new();
    author.append(1, &[b"one", b"two"]);
    check_every_cut(author);
}

#[test]
fn a_group_cut_at_any_byte_is_cut_off_in_a_used_segment() {
    check_every_cut(author_in_a_used_segment());
}

#[test]
fn a_group_of_which_any_subset_of_sectors_arrived_is_cut_off() {
    for mut author in [Author::new(), author_in_a_used_segment()] {
        author.append(2, &[b"before"]);
        let before = author.last().0.index;
        let write = author.appending(3, &[&[7; 2000]]);
        let (file, offset, len) = write_without_sync(&mut author, write);
        assert_eq!(len, 4096);
        let first = offset / MemDisk::SECTOR as u64;
        for subset in 0..256u64 {
            let disk = author.disk.crash(usize::MAX, |name, sector| {
                let chosen = name != file || subset >> (sector - first) & 1 == 1;
                if chosen { Keep::New } else { Keep::Old }
            });
            // Header and payload take the first five sectors, the rest is padding.
            let arrived = subset & 0b11111 == 0b11111;
            let last = if arrived { before.next() } else { before };
            let expected = Found::Opens { last, pledge: Some(author.pledge) };
            assert_eq!(outcome(&disk), expected, "subset {subset:b}");
        }
    }
}

#[test]
fn torn_sectors_of_a_group_over_several_blocks_are_cut_off() {
    let mut author = author_in_a_used_segment();
    let before = author.last().0.index;
    let write = author.appending(3, &[&[7; 9000]]);
    let (file, ..) = write_without_sync(&mut author, write);
    let mut random = Random(1);
    for _ in 0..500 {
        let disk = author.disk.crash(usize::MAX, |name, _| match random.below(8) {
            _ if name != file => Keep::New,
            0 | 1 => Keep::Old,
            2 => Keep::Torn(random.below(512) as usize),
            _ => Keep::New,
        });
        let Found::Opens { last, .. } = outcome(&disk) else { panic!("{:?}", outcome(&disk)) };
        assert!(last == before || last == before.next());
    }
}

#[test]
fn what_is_written_after_a_torn_group_was_cut_off_is_kept() {
    let mut author = author_in_a_used_segment();
    for round in 0..12 {
        let kept = author.entries.clone();
        let size = if round % 3 == 0 { 20_000 } else { 5000 };
        let write = author.appending(3, &[&[round; 100], &vec![round; size]]);
        let (file, ..) = write_without_sync(&mut author, write);
        // The header and the end arrive, the middle does not.
        let disk = author.disk.crash(usize::MAX, |name, sector| match sector % 16 {
            8..12 if name == file => Keep::Old,
            _ => Keep::New,
        });
        author = Author::on(&disk);
        let known = author.entries.first().map_or(Index(0), Entry::index);
        let expected: Vec<_> = kept.into_iter().filter(|entry| entry.index() >= known).collect();
        assert_eq!(author.entries, expected, "round {round}");
        author.append(3, &[&[round; 2500]]);
        author.append(3, &[&[round; 10]]);
    }
}

#[test]
fn what_was_torn_is_told_until_the_log_goes_on_over_it() {
    let mut author = author_in_a_used_segment();
    assert!(!found(&author.disk).unwrap().log.is_torn);
    let write = author.appending(3, &[&[7; 100], &[7; 9000]]);
    let (file, ..) = write_without_sync(&mut author, write);
    let disk = author.disk.crash(usize::MAX, |name, sector| match sector % 16 {
        8..12 if name == file => Keep::Old,
        _ => Keep::New,
    });
    // The first start may have died before it could tell anybody.
    for start in 0..3 {
        let mut disk = disk.crash_keeping_all();
        for _ in 0..start {
            assert!(open(&disk).unwrap().1.log.is_torn);
            disk = disk.crash_keeping_all();
        }
        let mut author = Author::on(&disk);
        author.append(3, &[&[8; 12_000]]);
        assert!(!found(&author.disk).unwrap().log.is_torn, "after {start} starts");
    }
}

#[test]
fn whatever_flip_has_the_last_group_cut_off_it_is_told() {
    let mut author = author_in_a_used_segment();
    author.append(2, &[b"before"]);
    author.attest();
    author.append(3, &[b"some payload", &[7; 600]]);
    let last = author.last().0.index;
    let (file, offset) = author.place_of(last.0);
    let (mut cut, mut untold) = (0, Vec::new());
    // Any bit of what says what it is, one of each byte behind that.
    let start = (0..64).flat_map(|byte| (0..8).map(move |bit| (byte, bit)));
    for (byte, bit) in start.chain((64..4096).map(|byte| (byte, byte % 8))) {
        let disk = author.disk.crash_keeping_all();
        disk.flip(&file, offset + byte, 1 << bit);
        let log = found(&disk).unwrap().log;
        if log.last.index < last {
            cut += 1;
            untold.extend((!log.is_torn).then_some(byte));
        }
    }
    assert!(cut > 700, "{cut}");
    // What does not say that it is a group in this place may be left from before.
    let (magic, place) = (0..8, 24..56);
    untold.dedup();
    assert_eq!(untold, magic.chain(place).collect::<Vec<_>>());
}

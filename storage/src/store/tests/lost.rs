//! What tells a lost end from a torn one, and what is known of a log of which groups are lost.

use quorate_core::*;

use super::fixture::*;
use super::healing::{heal, see};
use super::torn::write_without_sync;
use crate::disk::{Keep, MemDisk};
use crate::error::StorageError;
use crate::frame::Claim;
use crate::job::{Job, Step};
use crate::segment;
use crate::store::StoreOptions;

const SECTOR: u64 = MemDisk::SECTOR as u64;

fn zero(disk: &MemDisk, file: &str, offset: usize) {
    let mut content = disk.content(file).unwrap();
    content[offset..offset + 4096].fill(0);
    disk.set_content(file, &content);
}

#[test]
fn a_torn_group_vouches_for_the_one_before_it() {
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    author.append(1, &[b"acknowledged"]);
    let (file, acknowledged) = author.place_of(2);
    let write = author.appending(1, &[&[3; 6000]]);
    let (_, torn, _) = write_without_sync(&mut author, write);
    // Its header arrives, and not all of its payload.
    let disk = author.disk.crash(usize::MAX, |name, sector| {
        if name == file && sector >= torn / SECTOR + 8 { Keep::Old } else { Keep::New }
    });
    let whole = see(&disk, options(), &author.entries);
    assert_eq!((whole.last, whole.mute), (Index(2), false));
    let damaged = [disk.crash_keeping_all(), disk];
    damaged[0].flip(&file, acknowledged + 70, 1);
    zero(&damaged[1], &file, acknowledged);
    for disk in damaged {
        let lost = see(&disk, options(), &author.entries);
        assert_eq!((lost.last, lost.mute), (Index(1), true));
    }
}

#[test]
fn what_was_cut_off_as_torn_stays_so_when_it_can_be_read_again() {
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    let write = author.appending(1, &[b"torn"]);
    let (file, offset, _) = write_without_sync(&mut author, write);
    let at = usize::try_from(offset).unwrap() + 70;
    let disk = author.disk.crash_keeping_all();
    disk.flip(&file, at, 1);
    assert_eq!(open(&disk).unwrap().1.log.last.index, Index(1));
    let disk = disk.crash_keeping_all();
    disk.flip(&file, at, 1);
    let (_, found) = open(&disk).unwrap();
    assert_eq!((found.log.last.index, found.mute), (Index(1), false));
}

#[test]
fn what_was_cut_off_as_torn_does_not_stand_in_for_what_is_lost_later() {
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    let write = author.appending(1, &[b"torn"]);
    let (file, offset, _) = write_without_sync(&mut author, write);
    let torn = usize::try_from(offset).unwrap() + 70;
    let disk = author.disk.crash_keeping_all();
    disk.flip(&file, torn, 1);
    // So the log goes on in the next segment, and what is torn stays where it is.
    disk.flip(&file, 40, 1);
    let mut author = Author::on(&disk);
    let mut groups = Vec::new();
    for payload in [b"two", b"three".as_slice(), b"four"] {
        let write = author.appending(2, &[payload]);
        author.enqueue(write);
        let job = author.store.prepare().unwrap().unwrap();
        groups.extend(place_of_group(&job));
        author.run(job).unwrap();
    }
    let disk = disk.crash_losing_all();
    disk.flip(&file, torn, 1);
    for (file, offset) in &groups[..2] {
        disk.flip(file, offset + 70, 1);
    }
    let found = see(&disk, options(), &author.entries);
    assert_eq!((found.last, found.gaps, found.mute), (Index(4), vec![(2, 3)], false));
}

/// Where the group stands that a job writes: file and offset.
fn place_of_group(job: &Job) -> Option<(String, usize)> {
    job.steps().iter().find_map(|step| match step {
        Step::Write { file, offset, .. } if segment::parse_name(file).is_some() => {
            Some((file.clone(), usize::try_from(*offset).unwrap()))
        }
        _ => None,
    })
}

#[test]
fn a_file_that_ends_where_the_log_does_has_lost_its_end() {
    let mut author = Author::new();
    (0..3).for_each(|_| author.append(1, &[b"x"]));
    let (file, offset) = author.place_of(3);
    let content = author.disk.content(&file).unwrap();
    author.disk.set_content(&file, &content[..offset]);
    let found = see(&author.disk, options(), &author.entries);
    assert_eq!((found.last, found.mute), (Index(2), true));
    heal(&author.disk, options(), &author.entries, &mut Random(1));
}

#[test]
fn a_file_of_which_nothing_but_a_damaged_first_block_is_left_has_lost_its_end() {
    for blocks in [0, 1] {
        let mut author = Author::new();
        (0..15).for_each(|_| author.append(1, &[b"x"]));
        // The first group of the next segment, for which nothing vouches.
        let write = author.appending(1, &[b"y"]);
        author.enqueue(write);
        let job = author.store.prepare().unwrap().unwrap();
        author.run(job).unwrap();
        let (file, _) = author.place_of(16);
        assert_eq!(file, segment::name(2));
        author.disk.flip(&file, 40, 1);
        let content = author.disk.content(&file).unwrap();
        author.disk.set_content(&file, &content[..blocks * 4096]);
        let found = see(&author.disk, options(), &author.entries);
        assert_eq!((found.last, found.mute), (Index(15), true), "{blocks}");
    }
}

#[test]
fn behind_lost_groups_a_group_that_repairs_and_appends_says_where_it_goes_on() {
    let mut author = Author::new();
    (0..4).for_each(|_| author.append(1, &[b"x"]));
    let append = author.appending(1, &[b"five"]);
    author.save(append);
    let (file, five) = author.place_of(5);
    let repairs = author.repairing(&[(2, 2)]).repairs;
    let append = author.appending(1, &[b"six"]);
    author.save(Write { repairs, ..append });
    author.disk.flip(&file, five + 70, 1);
    let found = see(&author.disk, options(), &author.entries);
    assert_eq!((found.last, found.gaps, found.mute), (Index(6), vec![(5, 5)], false));
    heal(&author.disk, options(), &author.entries, &mut Random(1));
}

#[test]
fn a_log_that_was_cut_within_a_gap_by_a_lost_group_is_known_on_both_sides() {
    for (cut, is_named) in [(4, true), (5, true), (4, false), (5, false)] {
        let mut author = Author::new();
        author.append(1, &[b"one", b"two"]);
        author.append(1, &[&[3; 1000], &[4; 1000], &[5; 1000]]);
        author.append(1, &[b"six"]);
        let (file, gap) = author.place_of(3);
        let write = author.cutting(cut, 2, &[b"lost"]);
        author.save(write);
        author.append(2, &[b"last"]);
        let header = Claim::read(&author.disk.content(&file).unwrap()[gap..]).unwrap().header_len;
        let payloads = gap + usize::try_from(header).unwrap();
        let damaged =
            if is_named { vec![payloads, payloads + 1000, payloads + 2000] } else { vec![gap] };
        // Each group takes one block; the lost one is the second behind the gap.
        for at in damaged.into_iter().chain([gap + 2 * 4096]) {
            author.disk.flip(&file, at + 70, 1);
        }
        let found = see(&author.disk, options(), &author.entries);
        let gaps = match (cut, is_named) {
            (4, true) => vec![(3, 4), (5, 5)],
            (_, true) => vec![(3, 5), (6, 6)],
            (_, false) => vec![(3, cut + 1)],
        };
        assert_eq!((found.last, found.gaps, found.mute), (Index(cut + 2), gaps, false));
        heal(&author.disk, options(), &author.entries, &mut Random(1));
    }
}

#[test]
fn entries_that_are_lost_behind_a_vote_are_a_gap() {
    let mut author = Author::new();
    let write = author.swearing(1);
    author.save(write);
    author.append(1, &[b"one", b"two"]);
    let (file, lost) = author.place_of(1);
    author.append(1, &[b"three"]);
    author.disk.flip(&file, lost + 70, 1);
    let found = see(&author.disk, options(), &author.entries);
    assert_eq!((found.last, found.gaps, found.mute), (Index(3), vec![(1, 2)], false));
    heal(&author.disk, options(), &author.entries, &mut Random(1));
}

#[test]
fn nothing_is_written_to_a_segment_whose_first_block_is_damaged() {
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    let file = segment::name(1);
    author.disk.flip(&file, 40, 1);
    let disk = author.disk.crash_keeping_all();
    let before = disk.content(&file);
    let mut author = Author::on(&disk);
    assert!(!author.mute);
    author.append(1, &[b"two"]);
    assert_eq!(disk.content(&file), before);
    let (_, found) = open(&disk.crash_losing_all()).unwrap();
    assert_eq!((found.log.last, found.mute), (author.last().0, false));
}

#[test]
fn a_log_that_was_cut_below_all_that_is_left_of_it_is_known_from_there_on() {
    for with_entries in [true, false] {
        let mut author = Author::new();
        author.append(1, &[&b"x"[..]; 10]);
        author.append(1, &[b"eleven"]);
        let (file, first) = author.place_of(1);
        let write = author.cutting(5, 2, &[b"six"]);
        author.save(write);
        let cut = author.place_of(6).1.max(author.place_of(11).1 + 4096);
        if with_entries {
            author.append(2, &[b"seven"]);
        } else {
            author.pledge = pledge(7);
            let write = author.write(Vec::new());
            author.save(write);
        }
        author.disk.flip(&file, first + 70, 1);
        author.disk.flip(&file, cut + 70, 1);
        let found = see(&author.disk, options(), &author.entries);
        let last = if with_entries { Index(7) } else { Index(6) };
        assert_eq!((found.last, found.gaps, found.mute), (last, vec![(1, 6)], false));
        heal(&author.disk, options(), &author.entries, &mut Random(1));
    }
}

#[test]
fn a_header_of_which_one_sector_cannot_be_read_is_a_gap() {
    let mut author = Author::new();
    author.append(1, &[&b"x"[..]; 400]);
    author.append(1, &[b"last"]);
    let (file, offset) = author.place_of(1);
    for block in [0, 1, 2] {
        let disk = author.disk.crash_keeping_all();
        let from = (offset + block * 4096 + 512) as u64;
        disk.set_unreadable(&file, from..from + 512);
        let found = see(&disk, options(), &author.entries);
        assert_eq!((found.last, found.gaps, found.mute), (Index(401), vec![(1, 400)], false));
        heal(&disk, options(), &author.entries, &mut Random(1));
    }
}

#[test]
fn what_cannot_be_read_behind_the_end_is_a_lost_end_where_no_torn_group_reaches() {
    let options = StoreOptions { group_bytes: 8 << 10, ..options() };
    let mut author = Author::with(&MemDisk::new(), options);
    (0..4).for_each(|_| author.append(1, &[b"x"]));
    let end = author.place_of(4).1 + 4096;
    // A group takes up to 12 KiB, where the log goes on or at the start of the next segment.
    let places = [(1, end, false), (1, end + 8192, false), (1, end + 16384, true)];
    let next = [(2, 4096, false), (2, 12288, false), (2, 20480, true)];
    for (segment, offset, is_lost) in places.into_iter().chain(next) {
        let disk = author.disk.crash_keeping_all();
        let from = offset as u64;
        disk.set_unreadable(&segment::name(segment), from..from + 512);
        let found = see(&disk, options, &author.entries);
        assert_eq!((found.last, found.mute), (Index(4), is_lost), "{segment} {offset}");
    }
}

#[test]
fn a_damaged_header_far_out_in_a_segment_behind_which_the_log_goes_on_is_a_gap() {
    let options = StoreOptions { group_bytes: 8 << 10, ..options() };
    let mut author = Author::with(&MemDisk::new(), options);
    // As many groups as two segments have blocks.
    (0..32).for_each(|_| author.append(1, &[b"x"]));
    let (file, offset) = author.place_of(12);
    assert_eq!((file, author.place_of(32).0), (segment::name(1), segment::name(3)));
    author.disk.flip(&segment::name(1), offset + 70, 1);
    let found = see(&author.disk, options, &author.entries);
    assert_eq!((found.last, found.gaps, found.mute), (Index(32), vec![(12, 12)], false));
}

#[test]
fn who_cannot_read_its_end_and_has_no_majority_beside_it_starts_once_that_can_be_read_again() {
    let founders = |count| Membership::new((1..=count).map(|id| (NodeId(id), Incarnation(id))));
    for count in [1, 2, 3] {
        let mut author = Author::new();
        let record = FoundingRecord { round: 1, list: Some(founders(count)), formed: true };
        let write = author.write(Vec::new());
        author.save(Write { founding: Some(record), ..write });
        (0..3).for_each(|_| author.append(1, &[b"x"]));
        let (file, offset) = author.place_of(3);
        let disk = author.disk.crash_keeping_all();
        let whole = disk.content(&file).unwrap();
        disk.set_content(&file, &whole[..offset]);
        let before = disk.contents();
        let is_alone = count < 3;
        match open(&disk) {
            Err(StorageError::EndLostAlone { file: at, .. }) => assert!(is_alone && at == file),
            Err(error) => panic!("{error}"),
            Ok((_, found)) => assert!(!is_alone && found.mute),
        }
        assert_eq!(disk.contents() == before, is_alone, "nothing is changed");
        let disk = disk.crash_keeping_all();
        disk.set_content(&file, &whole);
        let (_, found) = open(&disk).unwrap();
        assert_eq!(
            (found.log.last.index, found.mute),
            (Index(if is_alone { 3 } else { 2 }), !is_alone)
        );
    }
}

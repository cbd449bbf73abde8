//! Entries that take the place of damaged ones.

use quorate_core::*;

use super::fixture::*;

impl Author {
    /// A write which repairs the given stretches, first and last index.
    pub(crate) fn repairing(&self, stretches: &[(u64, u64)]) -> Write {
        let stretch = |(first, last): &(u64, u64)| {
            let is_in = |entry: &&Entry| (*first..=*last).contains(&entry.index().0);
            self.entries.iter().filter(is_in).cloned().collect()
        };
        Write { repairs: stretches.iter().map(stretch).collect(), ..self.write(Vec::new()) }
    }
}

/// An author of a log of 40 entries, of which each has a group of its own.
fn author() -> Author {
    let mut author = Author::new();
    for i in 0..40u8 {
        author.append(1 + u64::from(i) / 10, &[&[i; 2000]]);
    }
    author
}

/// Reads the whole log, now and after a crash.
fn check(author: &Author) {
    let disk = author.disk.crash_losing_all();
    let (store, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.log.last, recovered.log.last_digest), author.last());
    for reader in [author.store.reader(), store.reader()] {
        let from = recovered.log.base.index.next();
        let expected: Vec<_> =
            author.entries.iter().filter(|entry| entry.index() >= from).cloned().collect();
        assert_eq!(reader.read_entries(from, usize::MAX).unwrap(), expected);
    }
    let ballots = recovered.log.ballots.into_iter();
    let mut expected: Vec<(Index, Ballot)> = Vec::new();
    for entry in author.entries.iter().filter(|entry| entry.index() > recovered.log.base.index) {
        if expected.last().is_none_or(|(_, ballot)| *ballot != entry.ballot()) {
            expected.push((entry.index(), entry.ballot()));
        }
    }
    assert_eq!(ballots.collect::<Vec<_>>(), expected);
}

#[test]
fn repaired_entries_are_read_from_where_they_were_repaired() {
    let mut author = author();
    let write = author.repairing(&[(3, 3), (8, 13), (40, 40)]);
    author.save(write);
    check(&author);
    // The first copies are of no interest any more.
    for at in [3, 8, 12, 40] {
        let (file, offset) = author.place_of(at);
        author.disk.flip(&file, offset + 1000, 1);
    }
    let read = author.store.reader().read_entries(Index(1), usize::MAX).unwrap();
    assert_eq!(read, author.entries);
}

#[test]
fn a_write_that_only_repairs_is_written_and_survives() {
    let mut author = author();
    let before = author.disk.syncs();
    let write = author.repairing(&[(5, 6)]);
    author.save(write);
    assert!(author.disk.syncs() > before);
    check(&author);
}

#[test]
fn what_was_repaired_can_be_cut_off_and_repaired_again() {
    let mut author = author();
    let write = author.repairing(&[(30, 35)]);
    author.save(write);
    let cut = author.cutting(32, 9, &[b"other", b"log"]);
    author.save(cut);
    check(&author);
    let write = author.repairing(&[(31, 33), (31, 31)]);
    author.save(write);
    check(&author);
}

#[test]
fn a_cut_and_a_repair_in_one_write_are_carried_out_in_this_order() {
    let mut author = author();
    let cut = author.cutting(20, 9, &[b"other"]);
    let repairs = author.repairing(&[(19, 21)]).repairs;
    author.save(Write { repairs, ..cut });
    check(&author);
}

#[test]
fn repairs_of_several_writes_share_a_group() {
    let mut author = author();
    let syncs = author.disk.syncs();
    for at in 1..=5 {
        let write = author.repairing(&[(at, at)]);
        author.enqueue(write);
        let append = author.appending(9, &[b"and more"]);
        author.enqueue(append);
    }
    author.flush().unwrap();
    assert_eq!(author.disk.syncs(), syncs + 1);
    check(&author);
}

#[test]
fn the_segment_of_a_repair_stays_until_a_snapshot_covers_it() {
    let mut author = author();
    let write = author.repairing(&[(11, 12)]);
    author.save(write);
    for round in 0..4u64 {
        author.take_snapshot(10 + round * 10);
        for _ in 0..30 {
            author.append(9, &[&[1; 3000]]);
        }
        check(&author);
    }
    assert!(author.disk.content("wal-0000000000000001").is_none(), "nothing was recycled");
}

#[test]
fn a_repair_of_what_was_compacted_in_the_meantime_is_ignored() {
    let mut author = author();
    for index in [20, 30, 40] {
        author.take_snapshot(index);
    }
    author.append(9, &[b"x"]);
    let write = author.repairing(&[(4, 7)]);
    author.save(write);
    check(&author);
    let base = open(&author.disk.crash_keeping_all()).unwrap().1.log.base.index.0;
    let changes = author.disk.changes();
    let write = author.repairing(&[(base - 1, base)]);
    author.save(write);
    assert_eq!(author.disk.changes(), changes);
}

#[test]
fn memberships_are_found_again_where_they_were_repaired() {
    let mut author = author();
    let members = Membership::new([(NodeId(1), Incarnation(77)), (NodeId(2), Incarnation(8))]);
    let (last, parent) = author.last();
    let payload = postcard::to_allocvec(&members).unwrap().into();
    let proposal = Proposal::new(EntryKind::Membership, LogTime(99), payload);
    let entry = Entry::new(LogId::new(last.index.next(), Ballot(9)), parent, proposal);
    author.entries.push(entry.clone());
    let run = Run { previous: last, previous_digest: parent, entries: vec![entry] };
    let write = author.write(vec![run]);
    author.save(write);
    author.append(9, &[b"x"]);
    let at = last.index.next();
    let write = author.repairing(&[(at.0, at.0)]);
    author.save(write);
    let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!(recovered.log.memberships, [(at, members)]);
    assert!(recovered.log.tail.ends_with(&author.entries[39..]));
}

#[test]
#[should_panic(expected = "which is not held")]
fn a_repair_behind_the_end_of_the_log_is_refused() {
    let mut author = author();
    let write = author.repairing(&[(40, 40)]);
    author.entries.pop();
    let cut = author.cutting(39, 9, &[]);
    author.enqueue(Write { repairs: write.repairs, ..cut });
    let _ = author.flush();
}

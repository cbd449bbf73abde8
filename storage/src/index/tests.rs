use super::*;
use quorate_core::{EntryKind, LogTime};

fn entry(ballot: u64) -> EntryHeader {
    EntryHeader {
        ballot: Ballot(ballot),
        kind: EntryKind::Command,
        time: LogTime(0),
        len: 1,
        checksum: Digest([ballot as u8; 16]),
    }
}

/// What stands for the digest of a group.
fn digest_of(group: u64) -> Digest {
    Digest::of(&group.to_le_bytes())
}

fn run(kind: RunKind, previous: (u64, u64), ballots: &[u64]) -> RunHeader {
    RunHeader {
        kind,
        previous: LogId::new(Index(previous.0), Ballot(previous.1)),
        previous_digest: Digest([9; 16]),
        entries: ballots.iter().map(|ballot| entry(*ballot)).collect(),
    }
}

fn id(index: u64, ballot: u64) -> LogId {
    LogId::new(Index(index), Ballot(ballot))
}

fn at(segment: u64) -> GroupAt {
    GroupAt { segment, offset: 4096, len: 4096, digest: digest_of(segment) }
}

/// What the index should say, entry by entry: the ballot, and the group that holds it.
#[derive(Default)]
struct Plain {
    entries: Vec<(u64, u64)>,
}

impl Plain {
    fn apply(&mut self, run: &RunHeader, sequence: u64) {
        let before = usize::try_from(run.previous.index.0).unwrap();
        if run.kind == RunKind::Append {
            self.entries.truncate(before);
        }
        for (place, entry) in run.entries.iter().enumerate() {
            let held = (entry.ballot.0, sequence);
            match self.entries.get_mut(before + place) {
                Some(old) => *old = held,
                None => self.entries.push(held),
            }
        }
    }

    fn check(&self, index: &LogIndex) {
        let last = self.entries.len() as u64;
        assert_eq!(index.shape.last.index, Index(last));
        for (place, (ballot, sequence)) in self.entries.iter().enumerate() {
            let at = Index(place as u64 + 1);
            let entry = id(at.0, *ballot);
            assert!(index.shape.holds(entry), "{entry}: {:?}", index.shape);
            assert!(!index.shape.holds(id(at.0, ballot + 1)));
            let extent = index.find(at).unwrap();
            assert_eq!(extent.group, digest_of(*sequence), "{at}: {index:?}");
            assert!(extent.end > at && extent.end <= Index(last + 1));
        }
        let ballot = self.entries.last().map_or(0, |entry| entry.0);
        assert!(!index.shape.holds(id(last + 1, ballot)));
        assert_eq!(index.find(Index(last + 1)), None);
    }
}

#[test]
fn runs_and_repairs_in_any_order_leave_each_entry_where_it_was_last_put() {
    let mut random = crate::store::tests::fixture::Random(3);
    for _ in 0..300 {
        let (mut index, mut plain) = (LogIndex::default(), Plain::default());
        for sequence in 1..=30 {
            let last = plain.entries.len() as u64;
            let count = random.below(6);
            let ballots: Vec<u64> = (0..count).map(|_| 1 + random.below(3)).collect();
            let previous = random.below(last + 1);
            let is_repair = random.below(2) == 0 && previous + count <= last;
            let kind = if is_repair { RunKind::Repair } else { RunKind::Append };
            let held = previous.checked_sub(1).map_or(0, |at| plain.entries[at as usize].0);
            let ballot = if is_repair { 0 } else { held };
            let run = run(kind, (previous, ballot), &ballots);
            plain.apply(&run, sequence);
            index.apply(&run, 0, GroupAt { digest: digest_of(sequence), ..at(1) });
            plain.check(&index);
        }
    }
}

#[test]
fn a_repaired_entry_holds_the_segment_into_which_it_was_repaired() {
    let mut index = LogIndex::default();
    index.apply(&run(RunKind::Append, (0, 0), &[1, 1, 1]), 0, at(1));
    index.apply(&run(RunKind::Append, (3, 1), &[1, 1, 1]), 0, at(2));
    index.apply(&run(RunKind::Append, (6, 1), &[1]), 0, at(3));
    assert_eq!(index.first_segment_behind(Index(3)), Some(2));
    index.apply(&run(RunKind::Repair, (3, 0), &[1, 1, 1]), 0, at(4));
    assert_eq!(index.first_segment_behind(Index(3)), Some(3));
    assert_eq!(index.first_segment_behind(Index(2)), Some(1));
}

#[test]
fn what_is_forgotten_is_not_held_and_its_group_is_not_found() {
    let ballots = [1, 1, 2, 2, 3, 3];
    let digest = Digest([7; 16]);
    let forgotten_through = |base: u64| {
        let mut index = LogIndex::default();
        index.apply(&run(RunKind::Append, (0, 0), &ballots[..3]), 0, at(1));
        index.apply(&run(RunKind::Append, (3, 2), &ballots[3..]), 0, at(2));
        index.forget_through(id(base, ballots[base as usize - 1]), digest);
        index
    };
    for base in 1..=6 {
        let index = forgotten_through(base);
        for (at, ballot) in (1..).zip(ballots) {
            assert_eq!(index.shape.holds(id(at, ballot)), at >= base, "{at} behind {base}");
            let last_of_group = if at <= 3 { 3 } else { 6 };
            let is_found = index.find(Index(at)).is_some();
            assert_eq!(is_found, last_of_group > base, "{at} behind {base}");
        }
        assert!(index.shape.ballots.iter().all(|(first, _)| *first > Index(base)));
    }
    let empty = LogIndex { last_digest: digest, ..forgotten_through(6) };
    assert_eq!(empty, LogIndex::standing_on(id(6, 3), digest));
}

#[test]
fn any_entry_may_stand_where_names_are_lost_and_only_one_where_a_payload_is() {
    let mut index = LogIndex::default();
    index.apply(&run(RunKind::Append, (0, 0), &[1, 1, 1, 1]), 0, at(1));
    index.lose(Index(2), Digest([2; 16]), id(4, 2), Digest([4; 16]));
    index.lose_payload(Index(1), Digest([1; 16]), Digest([9; 16]));
    for lost in [3, 4] {
        assert!([1, 2, 3].iter().all(|ballot| index.may_hold(id(lost, *ballot))));
    }
    for known in [1, 2] {
        assert!(index.may_hold(id(known, 1)) && !index.may_hold(id(known, 2)));
    }
    assert!(!index.may_hold(id(5, 2)));
}

#[test]
fn what_is_left_of_a_gap_says_between_which_entries_it_stands() {
    let digest = |byte| Digest([byte; 16]);
    let gap = |first, last, before, of_last| Gap {
        first: Index(first),
        last: Index(last),
        digest: digest(of_last),
        before: digest(before),
        ids_known: true,
    };
    let mut gaps = Gaps::default();
    gaps.add(gap(2, 9, 1, 9));
    gaps.fill(Index(4), Index(6), digest(3), digest(5));
    assert_eq!(gaps.iter().cloned().collect::<Vec<_>>(), [gap(2, 3, 1, 3), gap(6, 9, 5, 9)]);
    gaps.cut_after(Index(8), digest(8));
    gaps.forget_through(Index(2), digest(2));
    assert_eq!(gaps.iter().cloned().collect::<Vec<_>>(), [gap(3, 3, 2, 3), gap(6, 8, 5, 8)]);
    gaps.forget_through(Index(6), digest(6));
    assert_eq!(gaps.iter().cloned().collect::<Vec<_>>(), [gap(7, 8, 6, 8)]);
}

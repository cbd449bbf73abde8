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
            let id = LogId::new(at, Ballot(*ballot));
            assert!(index.shape.holds(id), "{id}: {:?}", index.shape);
            assert!(!index.shape.holds(LogId::new(at, Ballot(ballot + 1))));
            let extent = index.find(at).unwrap();
            assert_eq!(extent.group, digest_of(*sequence), "{at}: {index:?}");
            assert!(extent.end > at && extent.end <= Index(last + 1));
        }
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
            index.apply(
                &run,
                0,
                GroupAt { segment: 1, offset: 4096, len: 4096, digest: digest_of(sequence) },
            );
            plain.check(&index);
        }
    }
}

#[test]
fn a_repaired_entry_holds_the_segment_into_which_it_was_repaired() {
    let mut index = LogIndex::default();
    let at = |segment| GroupAt { segment, offset: 4096, len: 4096, digest: digest_of(segment) };
    index.apply(&run(RunKind::Append, (0, 0), &[1, 1, 1]), 0, at(1));
    index.apply(&run(RunKind::Append, (3, 1), &[1, 1, 1]), 0, at(2));
    index.apply(&run(RunKind::Append, (6, 1), &[1]), 0, at(3));
    assert_eq!(index.first_segment_behind(Index(3)), Some(2));
    index.apply(&run(RunKind::Repair, (3, 0), &[1, 1, 1]), 0, at(4));
    assert_eq!(index.first_segment_behind(Index(3)), Some(3));
    assert_eq!(index.first_segment_behind(Index(2)), Some(1));
}

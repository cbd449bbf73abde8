//! States worth reaching. What a campaign never reaches is a blind spot of its generator: so all of
//! them are declared here, and a campaign names those that it never reached.

use std::collections::BTreeMap;

/// Declares the marks, each with what it stands for.
macro_rules! marks {
    ($($name:ident: $text:literal,)*) => {
        /// A state worth reaching.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Mark {
            $(#[doc = $text] $name,)*
        }

        impl Mark {
            /// All of them.
            pub const ALL: &[Mark] = &[$(Mark::$name,)*];

            /// What it stands for.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Mark::$name => $text,)*
                }
            }
        }
    };
}

marks! {
    MessageLost: "messages lost",
    MessageCut: "messages into cut links",
    MessageDuplicated: "messages duplicated",
    MessageOvertakes: "messages that overtake others on their link",
    MessageLostWithSender: "messages lost with their sender",
    PartedInTwo: "partitions into two groups by chance",
    PartedBySize: "partitions into two groups of any size",
    PartedOneWay: "partitions in one direction only",
    PartedFromAll: "partitions of one replica from all others",
    PartedMute: "partitions of one replica that still hears the others",
    PartedDeaf: "partitions of one replica that the others still hear",
    PartedByBridge: "partitions with one replica between the groups",
    PartedAtRandom: "partitions link by link",
    UnsyncedLost: "crashes that lost unsynced data",
    SectorTorn: "crashes that left a mixture of old and new in a sector",
    LaterSectorKept: "crashes that lost a sector and kept one behind it, or written later",
    DiedOpening: "crashes while opening",
    SomeStayAway: "minorities away while the others come to rest",
    DiedRestoring: "crashes while a snapshot was taken over",
    DiedFetching: "crashes while a snapshot of several chunks was fetched",
    VotesSplit: "candidates of the same ballot",
    SuffixCut: "ends of logs cut off",
    LeaderHandsOver: "leaders that let another one take over",
    ViewReported: "reports for a view that begins",
    EntrySought: "entries sought that the best log cannot show",
    EntryNacked: "entries that a replica never had, and says so",
    OldEntriesRead: "old entries read",
    WriteAttested: "writes attested",
    StoppedInOrder: "processes stopped in order",
    SwornAhead: "pledges sworn ahead of the log",
    DiskFull: "disks full",
    DiskRoomy: "disks with room again",
    SegmentUnprepared: "segments not prepared for want of room",
    DiskRefused: "snapshots and chunks that a disk refused",
    SnapshotBuilt: "snapshots built",
    SnapshotOffered: "snapshots offered",
    SnapshotFetched: "snapshots fetched",
    SnapshotResumed: "snapshots of which a part was there already",
    SnapshotFetchFailed: "snapshot fetches failed",
    SnapshotChunkGone: "snapshot chunks gone",
    SnapshotRestored: "snapshots restored",
    RestorationOvertaken: "restorations overtaken",
    SnapshotUnreadable: "snapshots that cannot be read when they are needed",
    SurelyNotProposed: "requests surely not proposed",
    RequestUnknown: "requests unknown",
    AnswerAbandoned: "answers that nobody waited for any more",
    HistoryUndecided: "histories of clients too tangled to be judged without the log",
    SessionOpenedUnderOtherLimits: "sessions opened under other limits than those of the first node",
    SessionEvicted: "sessions evicted",
    SessionWindowExceeded: "session windows exceeded",
    ResponseDropped: "responses dropped",
    DiskDamaged: "disks damaged",
    NewestLost: "newest entries damaged, while hardly anybody has them",
    DamageFoundAtStart: "damage found at a start",
    DamageFoundByScrub: "damage found by the search for it",
    DamageFoundByReading: "damage found when somebody needed the entry",
    EndLost: "ends of logs lost",
    EntryRepaired: "writes that carry repaired entries",
    SyncFailed: "processes stopped by a failed sync",
    DirectoryGivenUp: "damaged directories given up",
    DiskWiped: "disks wiped",
    ImagePutBack: "old images put back",
    ImageNoticed: "old images noticed",
    AcknowledgedLost: "acknowledged entries that a disk did not keep",
    Readmitted: "replicas that count again after a loss",
}

/// How often each mark was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<Mark, u64>);

impl Mark {
    /// True if some hundred seeds reach it, under either protocol. Of the others, some belong to one
    /// protocol, and some need more luck.
    #[must_use]
    pub fn is_common(self) -> bool {
        !matches!(
            self,
            Mark::LeaderHandsOver
                | Mark::ViewReported
                | Mark::EntrySought
                | Mark::EntryNacked
                | Mark::SnapshotResumed
                | Mark::SnapshotChunkGone
                | Mark::RestorationOvertaken
                | Mark::SnapshotUnreadable
                | Mark::HistoryUndecided
                | Mark::DamageFoundByReading
                | Mark::DirectoryGivenUp
                | Mark::AcknowledgedLost
        )
    }
}

impl Marks {
    /// This state was reached.
    pub(crate) fn note(&mut self, mark: Mark) {
        *self.0.entry(mark).or_default() += 1;
    }

    /// Adds what another run reached.
    pub fn add(&mut self, other: &Marks) {
        for (mark, count) in &other.0 {
            *self.0.entry(*mark).or_default() += count;
        }
    }

    /// What was reached, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Mark, u64)> + '_ {
        self.0.iter().map(|(mark, count)| (*mark, *count))
    }

    /// How often this one was.
    #[must_use]
    pub fn count(&self, mark: Mark) -> u64 {
        self.0.get(&mark).copied().unwrap_or_default()
    }

    /// What was never reached.
    pub fn missed(&self) -> impl Iterator<Item = Mark> + '_ {
        Mark::ALL.iter().copied().filter(|mark| !self.0.contains_key(mark))
    }
}

/// Notes a mark if something is so: `sometimes!(marks, Mark::DiskFull, disk.is_full())`.
macro_rules! sometimes {
    ($marks:expr, $mark:expr, $is_so:expr) => {
        if $is_so {
            $marks.note($mark);
        }
    };
}

pub(crate) use sometimes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reached_is_counted_and_what_was_not_is_named() {
        let (mut one, mut other) = (Marks::default(), Marks::default());
        sometimes!(one, Mark::VotesSplit, true);
        sometimes!(one, Mark::DiskFull, false);
        other.note(Mark::VotesSplit);
        one.add(&other);
        assert_eq!(one.iter().collect::<Vec<_>>(), [(Mark::VotesSplit, 2)]);
        assert_eq!((one.count(Mark::VotesSplit), one.count(Mark::DiskFull)), (2, 0));
        assert_eq!(one.missed().count(), Mark::ALL.len() - 1);
        assert!(one.missed().any(|mark| mark == Mark::DiskFull));
    }

    #[test]
    fn no_two_marks_stand_for_the_same() {
        let names: std::collections::BTreeSet<_> =
            Mark::ALL.iter().map(|mark| mark.name()).collect();
        assert_eq!(names.len(), Mark::ALL.len());
    }
}

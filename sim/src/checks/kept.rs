//! What one replica has and ought to have, beside what it says.

use quorate_core::{Ballot, Index, Log, LogId};

use super::Mirror;
use super::logs::Disk;

/// What the disk of a replica was given and no leader had cut off: damaged or not, and whether or
/// not the replica knows of it.
pub struct Kept<'a> {
    /// What it held before it lost something, until the replica has all of that again.
    counted: &'a Mirror,
    log: &'a Mirror,
    /// What the replica has asked its disk to hold, if that counts: an entry whose end a later leader
    /// has brought, and whose cut is on its way to the disk, is no entry of this log any more.
    asked: Option<&'a Mirror>,
    /// Up to where the replica knew of no damage before it took its last inputs: what it says may
    /// have been on its lips before it heard more.
    sound: Index,
}

impl<'a> Kept<'a> {
    pub(super) fn new(disk: &'a Disk, log: &Log, sound: Index) -> Kept<'a> {
        let sound = sound.max(sound_through(log));
        Kept { counted: disk.counted(), log: &disk.log, asked: None, sound }
    }

    /// A disk that was never harmed, holds this log, and is to hold that one once all writes which are on
    /// their way have arrived.
    #[must_use]
    pub fn of_sound(log: &'a Mirror, asked: &'a Mirror) -> Kept<'a> {
        Kept { counted: log, log, asked: Some(asked), sound: Index(u64::MAX) }
    }

    /// True if this entry was on the disk, and was not cut off since.
    #[must_use]
    pub fn holds(&self, id: LogId) -> bool {
        let is_cut = self.asked.is_some_and(|asked| !asked.may_hold(id));
        !is_cut && (self.counted.may_hold(id) || self.log.may_hold(id))
    }

    /// The last entry of a ballot before this one that was on the disk.
    #[must_use]
    pub fn last_before(&self, ballot: Ballot) -> LogId {
        let last = self.counted.last_before(ballot);
        match self.asked {
            Some(asked) if !asked.may_hold(last) => asked.last_before(ballot),
            _ => last,
        }
    }

    /// The ballot of what the disk holds at this index; `None` of what is compacted, or not there.
    #[must_use]
    pub fn ballot_at(&self, index: Index) -> Option<Ballot> {
        self.log.at(index).map(|(ballot, _)| ballot)
    }

    /// The last index up to which the disk has everything, and the replica knows of no damage.
    #[must_use]
    pub fn readable(&self) -> Index {
        self.sound.min(self.log.last())
    }
}

/// Up to where a replica which has this log knows of no damage.
pub(super) fn sound_through(log: &Log) -> Index {
    if log.is_whole() { Index(u64::MAX) } else { log.durable() }
}

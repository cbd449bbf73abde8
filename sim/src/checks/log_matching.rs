//! Log Matching: if two logs contain an entry with the same index and term, then the logs are
//! identical in all entries up through the given index (Ongaro 2014, figure 3.2; section 3.5).
//!
//! Entries name the digest of the one before them, so it is enough that two entries with the same
//! index and ballot are the same entry.

use std::collections::BTreeMap;

use quorate_core::{
    Command, Digest, Entry, EntryKind, LogId, LogTime, Membership, Origin, Register,
};

use super::{Property, Verdict};

const PROPERTY: Property =
    Property { name: "log matching", stated_in: "Ongaro 2014, figure 3.2 and section 3.5" };

/// Every entry that any replica ever held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogMatching {
    entries: BTreeMap<LogId, Known>,
}

/// What is known of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    /// Its digest.
    pub digest: Digest,
    /// When its leader made it.
    pub time: LogTime,
    /// Which request is behind it, if one is.
    pub origin: Option<Origin>,
    /// Which members it lists, if it does.
    pub members: Option<Membership>,
    /// Who was the first to hold it.
    node: usize,
}

impl LogMatching {
    /// `node` holds this entry.
    ///
    /// # Errors
    /// If another entry has its name.
    pub fn holds(&mut self, node: usize, entry: &Entry) -> Verdict {
        let digest = entry.digest();
        let new = || {
            let (origin, members) = (origin(entry), members(entry));
            Known { digest, time: entry.time, origin, members, node }
        };
        let known = self.entries.entry(entry.id).or_insert_with(new);
        PROPERTY.require(known.digest == digest, || {
            let (a, b) = (known.node + 1, node + 1);
            format!("{} is {} on replica {a} and {digest} on replica {b}", entry.id, known.digest)
        })
    }

    /// An entry that some replica held.
    #[must_use]
    pub fn known(&self, id: LogId) -> Option<&Known> {
        self.entries.get(&id)
    }
}

fn origin(entry: &Entry) -> Option<Origin> {
    match entry.kind {
        EntryKind::Command => Command::decode(&entry.payload).map(|command| command.origin),
        EntryKind::Register => Register::decode(&entry.payload).map(|register| register.origin),
        EntryKind::Noop | EntryKind::Membership | EntryKind::Time => None,
    }
}

fn members(entry: &Entry) -> Option<Membership> {
    let lists = entry.kind == EntryKind::Membership;
    postcard::from_bytes(lists.then_some(&entry.payload)?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::entry;
    use super::*;

    #[test]
    fn two_entries_under_one_name_are_found() {
        let mut check = LogMatching::default();
        let honest = entry(1, 1);
        check.holds(0, &honest).unwrap();
        check.holds(1, &honest).unwrap();
        let other_past = Entry { parent: Digest([9; 16]), ..honest };
        assert_eq!(check.holds(2, &other_past).unwrap_err().property, PROPERTY.name);
    }
}

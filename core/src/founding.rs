//! How a cluster comes into being, and how a wiped disk is noticed.
//!
//! An empty directory must not vote: nobody can tell a new member from one that lost its disk
//! and with it its promises. So before there is any consensus, the members agree once on who
//! they are. Each draws a random *incarnation* for its disk. A member which has heard from all
//! of them durably records the list of incarnations; it is *formed* when every member has
//! confirmed to have recorded that same list, in the same round.
//!
//! - Once anybody is formed, every member has recorded the list. An empty disk that turns up
//!   later under a listed name draws another incarnation, is told the list, and knows that it
//!   is a replacement.
//! - While nobody is formed, no data can be lost: a member whose recorded list is overtaken by a
//!   new incarnation moves to the next round, durably, and with that takes back its confirmation
//!   of all earlier ones.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::event::Fatal;
use crate::membership::Membership;
use crate::types::{Incarnation, NodeId};

/// No cluster gets there: a new round takes a disk that was wiped while the cluster was founded.
const ABSURD_ROUND: u64 = 1 << 63;

/// How far a member has come with the founding of its cluster. Durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FoundingRecord {
    /// Which attempt this is. A member that has moved on never confirms an earlier one.
    pub round: u64,
    /// The incarnations of all members as recorded in this round.
    pub list: Option<Membership>,
    /// True once every member has confirmed that it recorded that same list.
    pub formed: bool,
}

/// What members tell each other until the cluster is formed, and what a formed member answers to
/// one that is not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FoundingMessage {
    /// How far the sender has come, durably.
    pub record: FoundingRecord,
    /// True if the sender wants to be told the receiver's.
    pub asks: bool,
}

/// What a member learns of its own disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// As far as is known, it is the one which the cluster was or will be founded with.
    AsListed,
    /// The cluster was founded with another one: this one is a replacement.
    Replaced,
}

/// A member on its way to being formed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Founding {
    me: NodeId,
    incarnation: Incarnation,
    members: BTreeSet<NodeId>,
    /// Where this member is; confirmed to others only once it is saved.
    record: FoundingRecord,
    saved: FoundingRecord,
    heard: BTreeMap<NodeId, (Incarnation, FoundingRecord)>,
}

impl Founding {
    pub(crate) fn new(
        me: NodeId,
        incarnation: Incarnation,
        members: BTreeSet<NodeId>,
        saved: FoundingRecord,
    ) -> Founding {
        let mut founding = Founding {
            me,
            incarnation,
            members,
            record: saved.clone(),
            saved,
            heard: BTreeMap::new(),
        };
        // The operator has corrected who the members are. A list of others would wait for ever
        // for a confirmation, or would do without that of a member.
        let corrected = |list: &Membership| !list.voters().eq(founding.members.iter().copied());
        if !founding.record.formed && founding.record.list.as_ref().is_some_and(corrected) {
            founding.start_round(founding.record.round + 1);
        }
        founding.proceed();
        founding
    }

    /// What this member has durably recorded.
    pub(crate) fn saved(&self) -> &FoundingRecord {
        &self.saved
    }

    /// What should be saved next, if that differs from what was.
    pub(crate) fn unsaved(&self) -> Option<&FoundingRecord> {
        (self.record != self.saved).then_some(&self.record)
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().copied().filter(|id| *id != self.me)
    }

    pub(crate) fn on_saved(&mut self, record: FoundingRecord) {
        self.saved = record;
        self.proceed();
    }

    pub(crate) fn on_message(
        &mut self,
        from: NodeId,
        incarnation: Incarnation,
        record: FoundingRecord,
    ) -> Result<Standing, Fatal> {
        if !self.members.contains(&from) || from == self.me || self.record.formed {
            return Ok(Standing::AsListed);
        }
        if let (true, Some(list)) = (record.formed, &record.list) {
            return self.on_formed(list.clone(), record.round);
        }
        if record.round >= ABSURD_ROUND {
            return Ok(Standing::AsListed);
        }
        if record.round > self.record.round {
            self.start_round(record.round);
        }
        let recorded = self.record.list.as_ref().and_then(|list| list.incarnation(from));
        if recorded.is_some_and(|recorded| recorded != incarnation) {
            self.start_round(self.record.round + 1);
        }
        self.heard.insert(from, (incarnation, record));
        self.proceed();
        Ok(Standing::AsListed)
    }

    /// Somebody is formed under `list`, so every member had recorded it.
    fn on_formed(&mut self, list: Membership, round: u64) -> Result<Standing, Fatal> {
        let listed = list.incarnation(self.me).ok_or(Fatal::NotAMember { node: self.me })?;
        self.record = FoundingRecord { round, list: Some(list), formed: true };
        let is_listed = listed == self.incarnation;
        Ok(if is_listed { Standing::AsListed } else { Standing::Replaced })
    }

    fn start_round(&mut self, round: u64) {
        self.record = FoundingRecord { round, list: None, formed: false };
    }

    fn proceed(&mut self) {
        if self.record.formed {
            return;
        }
        if self.record.list.is_none() && self.peers().all(|id| self.heard.contains_key(&id)) {
            let heard = self.heard.iter().map(|(id, (incarnation, _))| (*id, *incarnation));
            let everybody = heard.chain([(self.me, self.incarnation)]);
            self.record.list = Some(Membership::new(everybody));
        }
        if self.record == self.saved && self.everybody_confirmed() {
            self.record.formed = true;
        }
    }

    fn everybody_confirmed(&self) -> bool {
        let Some(list) = &self.record.list else { return false };
        self.peers().all(|id| {
            self.heard.get(&id).is_some_and(|(incarnation, record)| {
                list.incarnation(id) == Some(*incarnation)
                    && record.round == self.record.round
                    && record.list == self.record.list
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Cluster(BTreeMap<NodeId, Founding>);

    impl Cluster {
        fn new(n: u64) -> Cluster {
            let members: BTreeSet<NodeId> = (1..=n).map(NodeId).collect();
            let one = |id: NodeId| (id, empty_disk(id, 100 + id.0, &members));
            Cluster(members.iter().copied().map(one).collect())
        }

        fn save(&mut self, id: u64) {
            let founding = self.0.get_mut(&NodeId(id)).unwrap();
            if let Some(record) = founding.unsaved().cloned() {
                founding.on_saved(record);
            }
        }

        fn tell(&mut self, from: u64, to: u64) -> Result<Standing, Fatal> {
            let sender = &self.0[&NodeId(from)];
            let (incarnation, record) = (sender.incarnation, sender.saved().clone());
            let receiver = self.0.get_mut(&NodeId(to)).unwrap();
            receiver.on_message(NodeId(from), incarnation, record)
        }

        fn wipe(&mut self, id: u64, incarnation: u64) {
            let members = self.0.keys().copied().collect();
            let fresh = empty_disk(NodeId(id), incarnation, &members);
            self.0.insert(NodeId(id), fresh);
        }

        fn talk(&mut self) -> Result<(), Fatal> {
            let ids: Vec<u64> = self.0.keys().map(|id| id.0).collect();
            for _ in 0..6 {
                for from in &ids {
                    for to in ids.iter().filter(|to| *to != from) {
                        self.tell(*from, *to)?;
                    }
                }
                ids.iter().for_each(|id| self.save(*id));
            }
            Ok(())
        }

        fn formed(&self, id: u64) -> bool {
            self.0[&NodeId(id)].saved().formed
        }
    }

    fn empty_disk(id: NodeId, incarnation: u64, members: &BTreeSet<NodeId>) -> Founding {
        let record = FoundingRecord::default();
        Founding::new(id, Incarnation(incarnation), members.clone(), record)
    }

    #[test]
    fn members_that_hear_each_other_form_one_cluster() {
        let mut cluster = Cluster::new(3);
        cluster.talk().unwrap();
        let lists: BTreeSet<_> =
            cluster.0.values().map(|f| f.saved().list.as_ref().unwrap().digest()).collect();
        assert!((1..=3).all(|id| cluster.formed(id)));
        assert_eq!(lists.len(), 1);
    }

    #[test]
    fn nobody_forms_before_everybody_has_recorded_the_list() {
        let mut cluster = Cluster::new(3);
        for (from, to) in [(1, 2), (3, 2), (1, 3), (2, 3), (2, 1)] {
            cluster.tell(from, to).unwrap();
        }
        [2, 3].iter().for_each(|id| cluster.save(*id));
        for (from, to) in [(2, 3), (3, 2)] {
            cluster.tell(from, to).unwrap();
        }
        assert!((1..=3).all(|id| !cluster.0[&NodeId(id)].record.formed));
    }

    #[test]
    fn a_recorded_list_that_is_not_saved_is_not_confirmed() {
        let mut cluster = Cluster::new(2);
        cluster.tell(1, 2).unwrap();
        cluster.tell(2, 1).unwrap();
        cluster.save(1);
        cluster.tell(2, 1).unwrap();
        assert!(!cluster.0[&NodeId(1)].record.formed);
    }

    #[test]
    fn a_disk_wiped_after_the_cluster_formed_is_told_so() {
        let mut cluster = Cluster::new(3);
        cluster.talk().unwrap();
        cluster.wipe(2, 999);
        assert_eq!(cluster.tell(1, 2), Ok(Standing::Replaced));
    }

    #[test]
    fn a_disk_wiped_before_anybody_formed_joins_in_a_new_round() {
        let mut cluster = Cluster::new(3);
        for (from, to) in [(2, 1), (3, 1), (1, 2), (3, 2)] {
            cluster.tell(from, to).unwrap();
        }
        [1, 2].iter().for_each(|id| cluster.save(*id));
        cluster.wipe(3, 999);
        cluster.talk().unwrap();
        assert!((1..=3).all(|id| cluster.formed(id)));
        let list = cluster.0[&NodeId(1)].saved().list.clone().unwrap();
        assert_eq!(list.incarnation(NodeId(3)), Some(Incarnation(999)));
    }

    #[test]
    fn once_anybody_is_formed_the_list_stands_though_others_moved_on() {
        let mut cluster = Cluster::new(3);
        for (from, to) in [(2, 1), (3, 1), (1, 2), (3, 2), (1, 3), (2, 3)] {
            cluster.tell(from, to).unwrap();
        }
        (1..=3).for_each(|id| cluster.save(id));
        cluster.tell(2, 1).unwrap();
        cluster.tell(3, 1).unwrap();
        cluster.save(1);
        assert!(cluster.formed(1) && !cluster.formed(2));
        cluster.wipe(3, 999);
        cluster.tell(3, 2).unwrap();
        cluster.save(2);
        assert_eq!(cluster.0[&NodeId(2)].saved().round, 1);
        cluster.tell(1, 2).unwrap();
        cluster.save(2);
        assert!(cluster.formed(2));
        assert_eq!(cluster.tell(1, 3), Ok(Standing::Replaced));
        assert!(cluster.0[&NodeId(3)].record.formed);
    }

    #[test]
    fn a_member_list_corrected_before_anybody_formed_founds_the_corrected_cluster() {
        let mut cluster = Cluster::new(2);
        for (from, to) in [(1, 2), (2, 1)] {
            cluster.tell(from, to).unwrap();
        }
        [1, 2].iter().for_each(|id| cluster.save(*id));
        let corrected: BTreeSet<NodeId> = (1..=3).map(NodeId).collect();
        for id in 1..=2 {
            let saved = cluster.0[&NodeId(id)].saved().clone();
            assert!(saved.list.is_some() && !saved.formed);
            let restarted =
                Founding::new(NodeId(id), Incarnation(100 + id), corrected.clone(), saved);
            cluster.0.insert(NodeId(id), restarted);
        }
        cluster.0.insert(NodeId(3), empty_disk(NodeId(3), 103, &corrected));
        cluster.talk().unwrap();
        assert!((1..=3).all(|id| cluster.formed(id)));
        let lists: BTreeSet<_> =
            cluster.0.values().map(|f| f.saved().list.as_ref().unwrap().digest()).collect();
        assert_eq!(lists.len(), 1);
    }

    #[test]
    fn a_round_that_no_cluster_can_have_reached_is_ignored() {
        let mut founding = empty_disk(NodeId(1), 101, &[NodeId(1), NodeId(2)].into());
        let list = Membership::new([(NodeId(1), Incarnation(101)), (NodeId(2), Incarnation(102))]);
        for incarnation in [102, 999] {
            let record =
                FoundingRecord { round: u64::MAX, list: Some(list.clone()), formed: false };
            founding.on_message(NodeId(2), Incarnation(incarnation), record).unwrap();
            founding.on_saved(founding.record.clone());
        }
        assert_eq!(founding.saved().round, 0);
    }

    fn of_three() -> Founding {
        empty_disk(NodeId(1), 101, &(1..=3).map(NodeId).collect())
    }

    fn listing(third: u64) -> Membership {
        Membership::new(
            [(1, 101), (2, 102), (3, third)].map(|(id, x)| (NodeId(id), Incarnation(x))),
        )
    }

    fn hear(founding: &mut Founding, from: u64, round: u64, list: Option<Membership>) {
        let record = FoundingRecord { round, list, formed: false };
        founding.on_message(NodeId(from), Incarnation(100 + from), record).unwrap();
        if let Some(record) = founding.unsaved().cloned() {
            founding.on_saved(record);
        }
    }

    #[test]
    fn what_was_confirmed_in_an_earlier_round_does_not_count_in_a_later_one() {
        let mut founding = of_three();
        hear(&mut founding, 2, 0, None);
        hear(&mut founding, 3, 1, Some(listing(103)));
        assert_eq!((founding.saved().round, &founding.saved().list), (1, &Some(listing(103))));
        hear(&mut founding, 2, 2, None);
        hear(&mut founding, 2, 2, Some(listing(103)));
        assert!(!founding.record.formed, "the third may have taken that back");
        hear(&mut founding, 3, 2, Some(listing(103)));
        assert!(founding.record.formed);
    }

    #[test]
    fn a_list_with_another_disk_in_it_confirms_nothing() {
        let mut founding = of_three();
        hear(&mut founding, 2, 1, None);
        hear(&mut founding, 3, 1, Some(listing(103)));
        hear(&mut founding, 2, 1, Some(listing(999)));
        assert!(!founding.record.formed);
        hear(&mut founding, 2, 1, Some(listing(103)));
        assert!(founding.record.formed);
    }

    #[test]
    fn nobody_but_the_others_has_a_say_in_the_founding() {
        let mut founding = of_three();
        hear(&mut founding, 2, 1, None);
        hear(&mut founding, 1, 9, None);
        hear(&mut founding, 4, 9, None);
        assert_eq!((founding.record.round, founding.record.list.is_some()), (1, false));
    }

    #[test]
    fn a_single_member_forms_by_itself() {
        let mut cluster = Cluster::new(1);
        cluster.save(1);
        cluster.save(1);
        assert!(cluster.formed(1));
    }
}

//! What must hold in every state of every run (Ongaro 2014, figure 3.2).

use std::collections::BTreeMap;

use quorate_core::{Ballot, Digest, Entry, Index, LogId, NodeId, Protocol, ReadId};

use super::node::Node;

#[derive(Clone, Debug, Default)]
pub(super) struct Checks {
    /// The test plays a broken server.
    pub(super) faults_expected: bool,
    leaders: BTreeMap<Ballot, NodeId>,
    digests: BTreeMap<LogId, Digest>,
    /// The entry at each committed index, from index 1 on.
    committed: Vec<LogId>,
    checked: BTreeMap<NodeId, Index>,
    /// What was committed anywhere when a read arrived.
    reads: BTreeMap<ReadId, Index>,
    terms: BTreeMap<NodeId, Ballot>,
}

impl Checks {
    pub(super) fn committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    pub(super) fn elections(&self) -> usize {
        self.leaders.len()
    }

    pub(super) fn on_read(&mut self, read: ReadId) {
        self.reads.insert(read, self.committed());
    }

    pub(super) fn on_restart(&mut self, node: &Node) {
        self.checked.insert(node.me, Index::ZERO);
    }

    /// Checks everything, after something happened at `touched`.
    pub(super) fn check(&mut self, nodes: &BTreeMap<NodeId, Node>, touched: NodeId) {
        let node = &nodes[&touched];
        self.entries_with_the_same_name_are_the_same(node.entries_being_written());
        if !node.up {
            return;
        }
        let faults = node.raft.peer_faults();
        assert!(self.faults_expected || faults == (0, None), "nobody here is broken: {faults:?}");
        self.terms_never_go_back(node);
        self.one_leader_in_a_term_and_it_holds_what_is_committed(node);
        self.committed_entries_never_change_and_a_quorum_has_them(nodes, node);
        self.reads_cover_what_was_committed_when_they_arrived(node);
    }

    fn terms_never_go_back(&mut self, node: &Node) {
        let term = self.terms.entry(node.me).or_default();
        // An unsaved term may be forgotten by a crash; a saved one may not.
        let saved = node.disk.pledge().map_or(Ballot(0), |pledge| pledge.term);
        assert!(saved >= *term, "{:?} went back from {term:?} to {saved:?}", node.me);
        *term = saved;
    }

    fn one_leader_in_a_term_and_it_holds_what_is_committed(&mut self, node: &Node) {
        if !node.leads() {
            return;
        }
        let ballot = node.raft.standing().ballot;
        let known = self.leaders.contains_key(&ballot);
        let leader = *self.leaders.entry(ballot).or_insert(node.me);
        assert_eq!(leader, node.me, "two leaders in {ballot:?}");
        let held = |id: &LogId| node.log.holds(*id);
        let newer_leader = self.leaders.last_key_value().is_some_and(|(last, _)| *last > ballot);
        assert!(known || newer_leader || self.committed.iter().all(held), "leader completeness");
    }

    fn entries_with_the_same_name_are_the_same<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a Entry>,
    ) {
        for entry in entries {
            let digest = *self.digests.entry(entry.id).or_insert_with(|| entry.digest());
            assert_eq!(digest, entry.digest(), "log matching at {:?}", entry.id);
        }
    }

    fn committed_entries_never_change_and_a_quorum_has_them(
        &mut self,
        nodes: &BTreeMap<NodeId, Node>,
        node: &Node,
    ) {
        let checked = self.checked.entry(node.me).or_default();
        for index in checked.0 + 1..=node.log.committed().0 {
            let index = Index(index);
            let position = usize::try_from(index.0 - 1).unwrap();
            match self.committed.get(position) {
                Some(id) => assert!(node.log.holds(*id), "{:?} lacks {id:?}", node.me),
                None => {
                    let id = node.log.id_at(index).expect("nothing is compacted at first");
                    let holders = nodes.values().filter(|node| node.disk.holds(id)).count();
                    assert!(2 * holders > nodes.len(), "{id:?} is not on a quorum's disks");
                    self.committed.push(id);
                }
            }
        }
        *checked = node.log.committed();
    }

    fn reads_cover_what_was_committed_when_they_arrived(&self, node: &Node) {
        for (read, index) in &node.ready {
            assert!(*index >= self.reads[read], "{read:?} is stale");
        }
    }
}

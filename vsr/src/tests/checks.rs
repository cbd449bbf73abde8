//! What must hold in every state of every run.

use std::collections::BTreeMap;

use quorate_core::{Ballot, Entry, Index, LogId, NodeId, Protocol, ReadId};

use super::node::Node;
use crate::DoViewChange;

#[derive(Clone, Debug, Default)]
pub(super) struct Checks {
    /// The test plays a broken replica.
    pub(super) faults_expected: bool,
    /// The test forges acknowledgements, or what a primary says.
    pub(super) forgive_forged_commits: bool,
    /// For each view that began: its primary, and the entry which opened it.
    begun: BTreeMap<Ballot, (NodeId, LogId)>,
    /// The entry at each committed index, from index 1 on.
    committed: Vec<LogId>,
    checked: BTreeMap<NodeId, Index>,
    /// What was committed anywhere when a read arrived.
    reads: BTreeMap<ReadId, Index>,
    views: BTreeMap<NodeId, Ballot>,
    /// What each replica reported in each view change.
    reports: BTreeMap<(NodeId, Ballot), LogId>,
    /// All entries that were ever written.
    written: BTreeMap<LogId, Entry>,
}

impl Checks {
    pub(super) fn committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    pub(super) fn views(&self) -> usize {
        self.begun.len()
    }

    pub(super) fn on_read(&mut self, read: ReadId) {
        self.reads.insert(read, self.committed());
    }

    pub(super) fn on_restart(&mut self, node: &Node) {
        self.checked.insert(node.me, Index::ZERO);
    }

    /// An entry that was written somewhere.
    pub(super) fn written(&self, id: LogId) -> Option<&Entry> {
        self.written.get(&id)
    }

    /// `from` reports its log for a view change. Until the view has begun, that never changes.
    pub(super) fn on_report(&mut self, from: NodeId, report: &DoViewChange) {
        if !self.begun.contains_key(&report.view) {
            let said = *self.reports.entry((from, report.view)).or_insert(report.head);
            assert_eq!(said, report.head, "{from:?} reports otherwise in {:?}", report.view);
        }
    }

    /// Checks everything, after something happened at `touched`.
    pub(super) fn check(&mut self, nodes: &BTreeMap<NodeId, Node>, touched: NodeId) {
        let node = &nodes[&touched];
        self.entries_with_the_same_name_are_the_same(node.entries_being_written());
        self.views_never_go_back(node);
        if !node.up {
            return;
        }
        let faults = node.vsr.peer_faults();
        assert!(self.faults_expected || faults == (0, None), "nobody here is broken: {faults:?}");
        self.a_view_begins_once_and_holds_what_is_committed(node);
        self.committed_entries_never_change_and_a_quorum_has_them(nodes, node);
        self.reads_cover_what_was_committed_when_they_arrived(node);
    }

    fn views_never_go_back(&mut self, node: &Node) {
        let view = self.views.entry(node.me).or_default();
        // An unsaved view may be forgotten by a crash; a saved one may not.
        let saved = node.disk.pledge.map_or(Ballot(0), |pledge| pledge.view);
        assert!(saved >= *view, "{:?} went back from {view:?} to {saved:?}", node.me);
        assert!(node.disk.last().ballot <= saved, "an entry of a view that is not saved");
        *view = saved;
    }

    fn a_view_begins_once_and_holds_what_is_committed(&mut self, node: &Node) {
        if !node.leads() {
            return;
        }
        let view = node.vsr.standing().ballot;
        let first = node.log.first_with_ballot_from(view);
        let known = self.begun.contains_key(&view);
        let begun = self.begun.entry(view);
        let (primary, opening) =
            begun.or_insert_with(|| (node.me, node.log.id_at(first).expect("its opening")));
        let is_the_same = *primary == node.me && node.log.holds(*opening);
        assert!(is_the_same, "{view:?} began twice");
        let held = |id: &LogId| node.log.holds(*id);
        let newer_view = self.begun.last_key_value().is_some_and(|(last, _)| *last > view);
        assert!(known || newer_view || self.committed.iter().all(held), "a commit is lost");
    }

    fn entries_with_the_same_name_are_the_same<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a Entry>,
    ) {
        for entry in entries {
            let known = self.written.entry(entry.id).or_insert_with(|| entry.clone());
            assert_eq!(known.digest(), entry.digest(), "log matching at {:?}", entry.id);
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
                    let forgiven = self.forgive_forged_commits;
                    assert!(
                        forgiven || 2 * holders > nodes.len(),
                        "{id:?} is not on a quorum's disks"
                    );
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

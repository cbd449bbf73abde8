//! How the primary of a view that begins takes over the log.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_core::{Incarnation, Index, LogId, NodeId, Rejected};

use crate::fault::PeerFault;
use crate::message::{DoViewChange, Message, Stretch};
use crate::server::{Context, Server};
use crate::state_transfer::{self, PATIENCE};

/// What the primary of a view that begins knows, until it leads.
///
/// It exists only in the process that entered the view: after a restart nobody can tell whether
/// the view was opened before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Succession {
    /// What was reported, each by which disk. Its own report is among them once it is on disk.
    reports: BTreeMap<NodeId, (Incarnation, DoViewChange)>,
    /// Who was asked for the best log, and when.
    asked: Option<(NodeId, Duration)>,
    /// The entry which opens the view.
    opening: Option<Index>,
}

impl Succession {
    /// Takes note of a report.
    pub(crate) fn on_report(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        from: NodeId,
        incarnation: Incarnation,
        report: DoViewChange,
    ) -> Result<(), PeerFault> {
        let DoViewChange { view, head, commit } = report;
        if head.ballot >= view || commit > head.index {
            return Err(PeerFault::ImpossibleReport);
        }
        self.reports.insert(from, (incarnation, report));
        self.proceed(server, cx)
    }

    /// A part of the best log.
    pub(crate) fn on_new_state(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        from: NodeId,
        stretch: Stretch,
    ) -> Result<(), PeerFault> {
        let is_awaited = self.asked.is_some_and(|(source, _)| source == from);
        if !is_awaited || self.opening.is_some() {
            return Ok(());
        }
        let Stretch { previous, commit, entries, .. } = stretch;
        if entries.last().is_some_and(|entry| entry.ballot() >= server.view) {
            return Err(PeerFault::FromTheFuture);
        }
        let before = cx.log.last();
        match cx.log.splice(previous, entries) {
            Ok(agreed) => {
                cx.log.commit(commit.min(agreed));
                if cx.log.last() != before {
                    self.asked = None;
                }
                self.proceed(server, cx)
            }
            Err(Rejected::PreviousMissing) if previous.index > cx.log.committed() => {
                let last = state_transfer::fall_back(cx.log, previous);
                self.ask(server, cx, from, last);
                Ok(())
            }
            // It is asked for again, for as long as the others are patient.
            Err(Rejected::NoRoom) => Ok(()),
            Err(rejected) => Err(rejected.into()),
        }
    }

    /// From whom a snapshot would be needed to get the best log. That takes longer than a view
    /// change should.
    pub(crate) fn is_out_of_reach(&self, from: NodeId) -> bool {
        self.opening.is_none() && self.asked.is_some_and(|(source, _)| source == from)
    }

    /// Asks again for what seems lost.
    pub(crate) fn on_tick(&mut self, server: &Server, cx: &mut Context<'_>) {
        if let Some((source, then)) = self.asked
            && then + server.settings.heartbeat * PATIENCE <= cx.now
        {
            self.ask(server, cx, source, cx.log.last());
        }
    }

    /// The entry that opens the view, once it is on disk: then the view has begun.
    pub(crate) fn begun(&self, cx: &Context<'_>) -> Option<Index> {
        self.opening.filter(|opening| *opening <= cx.log.durable())
    }

    /// Gets the best log of a quorum, and then opens the view.
    fn proceed(&mut self, server: &Server, cx: &mut Context<'_>) -> Result<(), PeerFault> {
        let members = cx.log.membership();
        if self.opening.is_some()
            || !self.reports.contains_key(&server.me)
            || !members.is_quorum(self.reports.keys().copied())
        {
            return Ok(());
        }
        let reports = self.reports.iter().map(|(id, (_, report))| (*id, report));
        let (source, best) = reports.max_by_key(|(_, report)| report.head).expect("of a quorum");
        let best = best.head;
        if cx.log.last() != best {
            if self.asked.is_none_or(|(asked, _)| asked != source) {
                self.ask(server, cx, source, cx.log.last());
            }
            return Ok(());
        }
        // The best log tells which disks its members have. What a disk said that was replaced
        // does not count.
        let members = cx.log.membership();
        let counted = self
            .reports
            .iter()
            .filter(|(id, (incarnation, _))| members.incarnation(**id) == Some(*incarnation));
        if !members.is_quorum(counted.map(|(id, _)| *id)) {
            return Ok(());
        }
        let commit = self.reports.values().map(|(_, report)| report.commit).max();
        let commit = commit.expect("of a quorum");
        if commit > best.index {
            return Err(PeerFault::ImpossibleReport);
        }
        cx.log.commit(commit);
        let opening = cx.log.opening();
        self.opening = Some(cx.log.append(server.view, opening).index);
        Ok(())
    }

    /// Asks `source` for what follows `last` in the best log.
    fn ask(&mut self, server: &Server, cx: &mut Context<'_>, source: NodeId, last: LogId) {
        self.asked = Some((source, cx.now));
        cx.out.send(source, Message::GetState { view: server.view, last });
    }
}

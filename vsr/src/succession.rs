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
    /// What was reported, its own report included.
    reports: BTreeMap<NodeId, Report>,
    /// Who was asked for the best log.
    asked: Option<Asked>,
    /// What the best log cannot show.
    missing: Option<Missing>,
    /// The entry which opens the view.
    opening: Option<Index>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Report {
    /// The disk which it speaks of.
    incarnation: Incarnation,
    said: DoViewChange,
    /// Where the log ends without what is surely not committed.
    end: LogId,
    /// Its disk could not show all of it.
    is_damaged: bool,
    /// It was asked for its log, and said nothing for so long.
    is_silent: bool,
}

/// A question for the best log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Asked {
    source: NodeId,
    since: Duration,
    /// It said something, if not enough.
    is_answered: bool,
}

/// An entry of the best log which its disk cannot show.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Missing {
    /// Whose log goes on with it.
    source: NodeId,
    /// What precedes it.
    previous: LogId,
    id: LogId,
    /// Who surely never had it, each by which disk.
    nacks: BTreeMap<NodeId, Incarnation>,
}

impl Succession {
    /// Takes note of a report.
    pub(crate) fn on_report(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        from: NodeId,
        incarnation: Incarnation,
        said: DoViewChange,
    ) -> Result<(), PeerFault> {
        if said.head.ballot >= said.view || said.commit > said.head.index {
            return Err(PeerFault::ImpossibleReport);
        }
        let report =
            Report { incarnation, said, end: said.head, is_damaged: false, is_silent: false };
        let known = self.reports.get(&from);
        if known.is_none_or(|known| (known.incarnation, known.said) != (incarnation, said)) {
            self.reports.insert(from, report);
        }
        self.proceed(server, cx)
    }

    pub(crate) fn has_report_of(&self, id: NodeId) -> bool {
        self.reports.contains_key(&id)
    }

    /// A part of the best log.
    pub(crate) fn on_new_state(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        from: NodeId,
        stretch: Stretch,
    ) -> Result<(), PeerFault> {
        if !self.awaits_answer_of(from) {
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
                    self.hear(from);
                    self.asked = None;
                }
                self.proceed(server, cx)
            }
            Err(Rejected::PreviousMissing) if previous.index > cx.log.committed() => {
                self.hear(from);
                let last = state_transfer::fall_back(cx.log, previous);
                self.ask(server, cx, from, last);
                Ok(())
            }
            // It is asked for again, for as long as the others are patient.
            Err(Rejected::NoRoom | Rejected::Gap) => {
                self.hear(from);
                Ok(())
            }
            Err(rejected) => Err(rejected.into()),
        }
    }

    /// True if `from` was asked for its log, and that is still needed.
    pub(crate) fn awaits_answer_of(&self, from: NodeId) -> bool {
        self.opening.is_none() && self.asked.is_some_and(|asked| asked.source == from)
    }

    /// The best log goes on behind `previous` with an entry that its disk cannot show. If a peer
    /// has it, the disk will be repaired. If enough of them never had it, nobody ever will.
    pub(crate) fn on_missing(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        from: NodeId,
        previous: LogId,
        id: LogId,
    ) -> Result<(), PeerFault> {
        if id.index != previous.index.next()
            || id.ballot < previous.ballot
            || id.ballot >= server.view
        {
            return Err(PeerFault::ImpossibleReply);
        }
        if !self.awaits_answer_of(from) {
            return Ok(());
        }
        self.hear(from);
        if !cx.log.holds(previous) {
            let last = state_transfer::fall_back(cx.log, previous);
            self.ask(server, cx, from, last);
            return Ok(());
        }
        if let Some(report) = self.reports.get_mut(&from) {
            report.is_damaged = true;
        }
        if self.missing.as_ref().is_none_or(|missing| (missing.source, missing.id) != (from, id)) {
            self.missing = Some(Missing { source: from, previous, id, nacks: BTreeMap::new() });
        }
        if server.surely_lacks(cx.log, id)
            && let Some(mine) = cx.log.membership().incarnation(server.me)
        {
            self.count_nack(cx, server.me, mine, id);
        }
        cx.broadcast(server, &Message::Sought { view: server.view, missing: id });
        self.proceed(server, cx)
    }

    /// `from` surely never had the entry that is sought.
    pub(crate) fn on_nack(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        from: NodeId,
        incarnation: Incarnation,
        id: LogId,
    ) -> Result<(), PeerFault> {
        if self.opening.is_some() {
            return Ok(());
        }
        self.count_nack(cx, from, incarnation, id);
        self.proceed(server, cx)
    }

    /// Once no quorum can have acknowledged what is missing, nor ever will, logs count without it.
    fn count_nack(&mut self, cx: &Context<'_>, from: NodeId, incarnation: Incarnation, id: LogId) {
        let Some(missing) = self.missing.as_mut().filter(|missing| missing.id == id) else {
            return;
        };
        missing.nacks.insert(from, incarnation);
        if !cx.log.holds(missing.previous) {
            return;
        }
        // The log up to there tells which disks its members have.
        let members = cx.log.membership_at(missing.previous.index);
        let counts = |id, by| members.incarnation(id) == Some(by);
        let counted = missing.nacks.iter().filter(|(id, by)| counts(**id, **by)).count();
        if counted + members.majority() <= members.len() {
            return;
        }
        if let Some(report) = self.reports.get_mut(&missing.source) {
            report.end = report.end.min(missing.previous);
        }
        self.missing = None;
        self.asked = None;
    }

    /// Asks again for what seems lost; somebody else, if it can be done without who says nothing.
    pub(crate) fn on_tick(&mut self, server: &Server, cx: &mut Context<'_>) {
        if let Some(Asked { source, since, is_answered }) = self.asked
            && since + server.settings.heartbeat * PATIENCE <= cx.now
            && self.opening.is_none()
        {
            if let Some(report) = self.reports.get_mut(&source) {
                report.is_silent = !is_answered;
            }
            self.asked = None;
            // Whoever contradicts itself or others does so again, and that is counted.
            self.proceed(server, cx).ok();
        }
    }

    /// `from` shows its log, or what it lacks.
    fn hear(&mut self, from: NodeId) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| asked.source == from) {
            asked.is_answered = true;
        }
        if let Some(report) = self.reports.get_mut(&from) {
            report.is_silent = false;
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
        if let Some(own) = self.reports.get_mut(&server.me) {
            // What was taken over replaces what was reported: that was not committed.
            own.end = cx.log.last();
        }
        // Any quorum will do: with luck one of those who can show their logs.
        let speaking = || self.reports.iter().filter(|(_, report)| !report.is_silent);
        let needs_the_silent = !members.is_quorum(speaking().map(|(id, _)| *id));
        let counted = || self.reports.iter().filter(|(_, log)| needs_the_silent || !log.is_silent);
        let best = counted().max_by_key(|(_, log)| (log.end, !log.is_silent, !log.is_damaged));
        let (source, end) = best.map(|(id, report)| (*id, report.end)).expect("of a quorum");
        if cx.log.last() != end {
            if self.asked.is_none_or(|asked| asked.source != source) {
                self.ask(server, cx, source, cx.log.last());
            }
            return Ok(());
        }
        // The best log tells which disks its members have. What a disk said that was replaced
        // does not count.
        let members = cx.log.membership();
        let is_listed = |(id, report): &(&NodeId, &Report)| {
            members.incarnation(**id) == Some(report.incarnation)
        };
        if !members.is_quorum(counted().filter(is_listed).map(|(id, _)| *id)) {
            let silent = self.reports.values_mut().filter(|report| report.is_silent);
            let needed = silent.map(|report| report.is_silent = false).count() > 0;
            return if needed { self.proceed(server, cx) } else { Ok(()) };
        }
        let contradicts = |said: &DoViewChange| {
            // More is committed than the best log holds, or another log has the same end.
            said.commit > end.index || (said.head == end && said.digest != cx.log.last_digest())
        };
        if self.reports.values().any(|report| contradicts(&report.said)) {
            return Err(PeerFault::ImpossibleReport);
        }
        let commit = self.reports.values().map(|report| report.said.commit).max();
        cx.log.commit(commit.expect("of a quorum"));
        let opening = cx.log.opening();
        self.opening = Some(cx.log.append(server.view, opening).index);
        Ok(())
    }

    /// Asks `source` for what follows `last` in the best log.
    fn ask(&mut self, server: &Server, cx: &mut Context<'_>, source: NodeId, last: LogId) {
        self.asked = Some(Asked { source, since: cx.now, is_answered: false });
        cx.out.send(source, Message::GetState { view: server.view, last });
    }
}

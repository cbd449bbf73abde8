//! A replica that follows the primary of its view, or waits for a word from it.

use std::time::Duration;

use quorate_core::{Index, Log, LogId, NodeId, Rejected, SnapshotMeta};

use crate::fault::PeerFault;
use crate::message::{Message, Stretch};
use crate::server::{Context, Server};
use crate::state_transfer::{self, PATIENCE, REST};

/// A replica that follows the primary of its view, or waits for a word from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Backup {
    /// The primary of this view, once it was heard.
    pub(crate) primary: Option<NodeId>,
    /// When it was last heard.
    contact: Option<Duration>,
    /// Its latest probe.
    probe: u64,
    /// How far its log is known to reach.
    head: Index,
    /// It was asked for what is lacking, and is not asked again before this moment.
    asked_until: Option<Duration>,
    /// The probe is to be answered.
    echo_due: bool,
    /// How far it was, or will be, acknowledged.
    promised: Index,
}

impl Backup {
    /// True if the primary was heard less than `minimum` ago: then it is not abandoned.
    pub(crate) fn is_content(&self, now: Duration, minimum: Duration) -> bool {
        self.contact.is_some_and(|then| now.saturating_sub(then) < minimum)
    }

    /// The primary itself asks to be left.
    pub(crate) fn release(&mut self) {
        self.contact = None;
    }

    /// The primary of this view is alive.
    pub(crate) fn hear(&mut self, server: &Server, cx: &mut Context<'_>, from: NodeId) {
        self.primary = Some(from);
        self.contact = Some(cx.now);
        cx.set_election_timer(server);
    }

    /// Prepare or StartView.
    pub(crate) fn on_stretch(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        stretch: Stretch,
    ) -> Result<(), PeerFault> {
        match self.take(cx, stretch) {
            Ok(()) => {}
            Err(Rejected::PreviousMissing) => self.ask_unless_asked(server, cx),
            Err(Rejected::NoRoom | Rejected::Gap) => self.rest(server, cx),
            Err(rejected) => return Err(rejected.into()),
        }
        Ok(())
    }

    /// The answer to GetState.
    pub(crate) fn on_new_state(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        stretch: Stretch,
    ) -> Result<(), PeerFault> {
        let (before, previous) = (cx.log.last(), stretch.previous);
        // It holds at least what it has committed, and sends no more than it is asked for.
        self.head = self.head.max(stretch.commit);
        match self.take(cx, stretch) {
            Ok(()) => {
                if self.lacks_something(server, cx.log) && cx.log.last() != before {
                    self.ask(server, cx, cx.log.last());
                }
            }
            Err(Rejected::PreviousMissing) if previous.index > cx.log.committed() => {
                self.ask(server, cx, state_transfer::fall_back(cx.log, previous));
            }
            Err(Rejected::NoRoom | Rejected::Gap) => self.rest(server, cx),
            Err(rejected) => return Err(rejected.into()),
        }
        Ok(())
    }

    /// The primary has nothing to prepare.
    pub(crate) fn on_commit(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        probe: u64,
        op: Index,
        commit: Index,
    ) {
        self.note(probe);
        self.head = self.head.max(op);
        if is_of_this_view(server, cx.log) {
            cx.log.commit(commit.min(cx.log.last().index));
        }
        if self.lacks_something(server, cx.log) {
            self.ask_unless_asked(server, cx);
        }
    }

    /// What is lacking is compacted at the primary.
    pub(crate) fn on_checkpoint(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        snapshot: SnapshotMeta,
    ) -> Result<(), PeerFault> {
        if cx.log.rules_out(&snapshot) {
            return Err(PeerFault::ImpossibleSnapshot);
        }
        if cx.log.holds(snapshot.last) {
            cx.log.commit(snapshot.last.index); // Entries have overtaken the offer.
        } else {
            cx.out.fetch_snapshot(from, snapshot);
        }
        Ok(())
    }

    /// The log begins with a snapshot that was fetched, or has got as far by itself.
    pub(crate) fn on_installed(&mut self, server: &Server, cx: &mut Context<'_>) {
        if self.primary.is_some() && self.lacks_something(server, cx.log) {
            self.ask(server, cx, cx.log.last());
        }
    }

    /// Says what the inputs at hand gave rise to.
    pub(crate) fn flush(&mut self, server: &Server, cx: &mut Context<'_>) {
        let echo_due = std::mem::take(&mut self.echo_due);
        let Some(primary) = self.primary else { return };
        let durable = prepared(server, cx.log, cx.log.durable());
        let held = prepared(server, cx.log, cx.log.last().index);
        let growth_due = held > self.promised && cx.log.is_whole();
        if !(echo_due || growth_due) {
            return;
        }
        self.promised = self.promised.max(held);
        if !server.may_vouch(cx.log) {
            // To say how far it got is all that it may do.
            return self.ask_unless_asked(server, cx);
        }
        let ok = |op| Message::PrepareOk { view: server.view, probe: self.probe, op };
        if echo_due || durable == held {
            cx.out.send(primary, ok(durable));
        }
        // Once for each growth: a disk that is full may keep it waiting for long.
        if growth_due && durable != held {
            cx.out.after_save(primary, ok(held));
        }
    }

    /// Makes the log that of the primary, as far as `stretch` goes.
    fn take(&mut self, cx: &mut Context<'_>, stretch: Stretch) -> Result<(), Rejected> {
        let Stretch { view: _, probe, previous, commit, entries } = stretch;
        self.note(probe);
        self.head = self.head.max(Index(previous.index.0.saturating_add(entries.len() as u64)));
        let agreed = cx.log.splice(previous, entries)?;
        // What stands behind `agreed` may be of an earlier view.
        cx.log.commit(commit.min(agreed));
        Ok(())
    }

    fn note(&mut self, probe: u64) {
        self.echo_due |= probe > self.probe;
        self.probe = self.probe.max(probe);
    }

    fn lacks_something(&self, server: &Server, log: &Log) -> bool {
        !is_of_this_view(server, log) || log.last().index < self.head
    }

    fn ask_unless_asked(&mut self, server: &Server, cx: &mut Context<'_>) {
        if self.asked_until.is_none_or(|until| until <= cx.now) {
            self.ask(server, cx, cx.log.last());
        }
    }

    /// Asks for what follows `last`.
    fn ask(&mut self, server: &Server, cx: &mut Context<'_>, last: LogId) {
        self.asked_until = Some(cx.now + server.settings.heartbeat * PATIENCE);
        let primary = server.primary(cx.log);
        cx.out.send(primary, Message::GetState { view: server.view, last });
    }

    /// The disk is full, or the log damaged.
    fn rest(&mut self, server: &Server, cx: &Context<'_>) {
        self.asked_until = Some(cx.now + server.settings.heartbeat * REST);
    }
}

/// True if the log holds an entry of this view: then all of it is the primary's.
fn is_of_this_view(server: &Server, log: &Log) -> bool {
    log.last().ballot == server.view
}

/// What may be acknowledged of what is held up to `index`: all of it or, if it does not reach
/// into this view, nothing.
fn prepared(server: &Server, log: &Log, index: Index) -> Index {
    if log.ballot_at(index) == Some(server.view) { index } else { Index::ZERO }
}

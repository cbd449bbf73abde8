//! A replica that has left a view for a later one, which has not begun as far as it knows.

use std::time::Duration;

use quorate_core::{Entry, Index, LogId, NodeId};

use crate::message::{DoViewChange, Message};
use crate::server::{Context, Server};
use crate::state_transfer::{self, Found};
use crate::succession::Succession;

/// A replica that has left a view for a later one, which has not begun as far as it knows.
///
/// Its log stands still, unless it is the primary of the view and takes over a better one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ViewChange {
    /// What it reports to the primary of the view; the same each time.
    report: DoViewChange,
    /// When it entered the view; `None` if there is no reason to wait for it.
    entered: Option<Duration>,
    /// Entries for the primary are being read from disk from this index on.
    reading: Option<Index>,
    /// Of the primary itself.
    pub(crate) succession: Option<Succession>,
}

impl ViewChange {
    /// The view was just entered.
    pub(crate) fn entering(server: &Server, cx: &mut Context<'_>) -> ViewChange {
        // Whoever cannot lead lets its turn pass.
        let succeeds = server.primary(cx.log) == server.me && server.may_lead(cx.log);
        let succession = succeeds.then(Succession::default);
        let change = ViewChange { entered: Some(cx.now), succession, ..Self::resumed(server, cx) };
        change.do_view_change(server, cx);
        change
    }

    /// After a restart, in a view of which another replica is the primary.
    pub(crate) fn resumed(server: &Server, cx: &Context<'_>) -> ViewChange {
        let (head, digest) = (cx.log.last(), cx.log.last_digest());
        let report = DoViewChange { view: server.view, head, digest, commit: cx.log.committed() };
        ViewChange { report, entered: None, reading: None, succession: None }
    }

    /// True if the view was entered less than `minimum` ago: it may still begin.
    pub(crate) fn is_content(&self, now: Duration, minimum: Duration) -> bool {
        self.entered.is_some_and(|then| now.saturating_sub(then) < minimum)
    }

    /// The primary of the view gives it up.
    pub(crate) fn release(&mut self) {
        self.entered = None;
    }

    /// Repeats what may have been lost.
    pub(crate) fn on_tick(&mut self, server: &Server, cx: &mut Context<'_>) {
        match &mut self.succession {
            Some(succession) => succession.on_tick(server, cx),
            None => self.do_view_change(server, cx),
        }
    }

    /// The primary of the view reports to itself once more if something was saved and what it had
    /// reported was not there: so it is if damage was found, and made good by now.
    pub(crate) fn on_saved(&self, server: &Server, cx: &mut Context<'_>) {
        if self.succession.as_ref().is_some_and(|of| !of.has_report_of(server.me)) {
            self.do_view_change(server, cx);
        }
    }

    /// The primary of the view takes over this log, which it lacks from behind `last` on.
    pub(crate) fn on_get_state(&mut self, server: &Server, cx: &mut Context<'_>, last: LogId) {
        let (primary, max_bytes) = (server.primary(cx.log), server.settings.append_bytes);
        match state_transfer::look_up(cx.log, last, max_bytes) {
            Found::Entries { previous, entries } => {
                state_transfer::send_new_state(server, cx, primary, 0, previous, entries);
            }
            Found::Cold(from) => {
                self.reading = Some(from);
                cx.out.read_entries(primary, from, max_bytes);
            }
            Found::Compacted => {
                let newest = cx.log.snapshot();
                let snapshot = newest.expect("what is compacted is covered by a snapshot").clone();
                cx.out.send(primary, Message::Checkpoint { view: server.view, snapshot });
            }
            Found::Damaged { previous, missing: Some(missing) } => {
                let view = server.view;
                cx.out.send(primary, Message::Missing { view, previous, missing });
            }
            // Without its name, nobody can say that it never had it. The primary does not wait for
            // ever.
            Found::Damaged { missing: None, .. } | Found::Nameless => {}
        }
    }

    /// Entries for the primary were read from disk, or for that of an earlier view.
    pub(crate) fn on_entries_read(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        to: NodeId,
        entries: Vec<Entry>,
    ) {
        if let Some(previous) = state_transfer::stretch_of(cx.log, &entries)
            && to == server.primary(cx.log)
            && self.reading.take_if(|from| *from == previous.index.next()).is_some()
        {
            state_transfer::send_new_state(server, cx, to, 0, previous, entries);
        }
    }

    /// The primary of the view seeks an entry which the best log cannot show.
    pub(crate) fn on_sought(&self, server: &Server, cx: &mut Context<'_>, missing: LogId) {
        if server.surely_lacks(cx.log, missing) {
            let nack = Message::Nack { view: server.view, missing };
            cx.out.send(server.primary(cx.log), nack);
        }
    }

    fn do_view_change(&self, server: &Server, cx: &mut Context<'_>) {
        let (primary, report) = (server.primary(cx.log), Message::DoViewChange(self.report));
        if self.succession.is_some() {
            cx.out.after_save(primary, report);
        } else if primary != server.me && server.may_vouch(cx.log) {
            cx.out.send(primary, report);
        }
    }
}

//! A server that follows a leader, or waits for one.

use std::time::Duration;

use quorate_core::{Index, NodeId, Rejected, SnapshotMeta};

use crate::fault::PeerFault;
use crate::message::{AppendEntries, AppendEntriesReply, Appended, MUTE, Message};
use crate::server::{Context, Server};

/// A server that follows a leader, or waits for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    /// Who leads in this term, if known.
    pub(crate) leader: Option<NodeId>,
    /// When the leader was last heard.
    contact: Option<Duration>,
    /// The leader's latest probe that was answered.
    answered: u64,
    /// How far the leader will be told by itself, once that is on disk: of its entries, and of a
    /// snapshot that it offered. While a disk is full it asks again and again.
    promised: Index,
    promised_snapshot: Index,
}

impl Follower {
    /// True if a leader other than `candidate` is known to have been alive less than `minimum`
    /// ago: then nobody is voted for (Ongaro 2014, section 4.2.3). A leader that asks for votes
    /// is none any more.
    pub(crate) fn sticks_to_leader(
        &self,
        candidate: NodeId,
        now: Duration,
        minimum: Duration,
    ) -> bool {
        let recent = self.contact.is_some_and(|then| now.saturating_sub(then) < minimum);
        recent && self.leader != Some(candidate)
    }

    /// Entries, or a heartbeat, from the leader of this term.
    pub(crate) fn on_append_entries(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        from: NodeId,
        message: AppendEntries,
    ) -> Result<(), PeerFault> {
        let AppendEntries { term, probe, previous, commit, entries } = message;
        if previous.ballot > term || entries.iter().any(|entry| entry.ballot() > term) {
            return Err(PeerFault::FromTheFuture);
        }
        self.hear(server, cx, from)?;

        let asks_back = probe > self.answered;
        let carries_entries = !entries.is_empty();
        self.answered = self.answered.max(probe);
        let may_vouch = cx.log.may_vouch();
        let probe = if may_vouch { probe } else { MUTE };
        let reply =
            |outcome| Message::AppendEntriesReply(AppendEntriesReply { term, probe, outcome });
        let agreed = match cx.log.splice(previous, entries) {
            Ok(agreed) => agreed,
            Err(Rejected::PreviousMissing) => {
                let hint = cx.log.last_common_with(previous).unwrap_or(cx.log.base());
                let conflict = Appended::Conflict { previous: previous.index, hint };
                cx.out.send(from, reply(conflict));
                return Ok(());
            }
            Err(Rejected::NoRoom) => {
                cx.out.send(from, reply(Appended::NoRoom { previous: previous.index }));
                return Ok(());
            }
            Err(Rejected::Gap) => {
                // It still follows. The base is all that surely agrees.
                cx.out.send(from, reply(Appended::Held(cx.log.base().index)));
                return Ok(());
            }
            Err(rejected) => return Err(rejected.into()),
        };
        // What stands behind `agreed` may be another leader's.
        cx.log.commit(commit.min(agreed));
        if !asks_back && !carries_entries {
            return Ok(()); // Mere news of a commit needs no answer.
        }
        let durable = cx.log.durable();
        // A leader takes what a mute follower holds for what it may send it more behind: that is
        // what is on disk, or else a slow disk would be sent all there is.
        let (held, saved): (_, fn(Index) -> Appended) = match may_vouch {
            true => (agreed, Appended::Durable),
            false => (agreed.min(durable), Appended::Held),
        };
        if !cx.log.is_whole() {
            cx.out.send(from, reply(Appended::Held(agreed)));
        } else if durable >= agreed {
            cx.out.send(from, reply(saved(agreed)));
        } else {
            if asks_back {
                cx.out.send(from, reply(Appended::Held(held)));
            }
            if agreed > self.promised {
                self.promised = agreed;
                cx.out.after_save(from, reply(saved(agreed)));
            }
        }
        Ok(())
    }

    /// The leader of this term offers a snapshot.
    pub(crate) fn on_install_snapshot(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        from: NodeId,
        probe: u64,
        snapshot: SnapshotMeta,
    ) -> Result<(), PeerFault> {
        if snapshot.last.ballot > server.term() {
            return Err(PeerFault::FromTheFuture);
        }
        let covered = cx.log.holds(snapshot.last);
        if cx.log.rules_out(&snapshot) {
            return Err(PeerFault::ImpossibleSnapshot);
        }
        self.hear(server, cx, from)?;

        self.answered = self.answered.max(probe);
        if !cx.log.may_vouch() {
            if covered {
                cx.log.commit(snapshot.last.index);
                self.say_what_is_held(server, cx, from, snapshot.last.index);
            } else {
                cx.out.fetch_snapshot(from, snapshot);
            }
            return Ok(());
        }
        let reply = |durable| Message::InstallSnapshotReply { term: server.term(), probe, durable };
        if !covered {
            cx.out.send(from, reply(None));
            cx.out.fetch_snapshot(from, snapshot);
            return Ok(());
        }
        let agreed = snapshot.last.index;
        cx.log.commit(agreed);
        if cx.log.durable() >= agreed {
            cx.out.send(from, reply(Some(agreed)));
            return Ok(());
        }
        cx.out.send(from, reply(None));
        // What is missing comes back with no write that is on its way.
        if cx.log.is_whole() && agreed > self.promised_snapshot {
            self.promised_snapshot = agreed;
            cx.out.after_save(from, reply(Some(agreed)));
        }
        Ok(())
    }

    /// The log agrees with every leader's up to `index`, once it is saved. Tells the leader.
    pub(crate) fn on_installed(&self, server: &Server, cx: &mut Context<'_>, index: Index) {
        let Some(leader) = self.leader else { return };
        if !cx.log.may_vouch() {
            return self.say_what_is_held(server, cx, leader, index);
        }
        // What a damaged log does not acknowledge is offered to it again.
        if cx.log.is_whole() {
            let (term, probe) = (server.term(), self.answered);
            let reply = Message::InstallSnapshotReply { term, probe, durable: Some(index) };
            cx.out.after_save(leader, reply);
        }
    }

    /// A mute follower's answer: it lets the leader know where to go on, and counts for nothing.
    fn say_what_is_held(&self, server: &Server, cx: &mut Context<'_>, to: NodeId, held: Index) {
        let outcome = Appended::Held(held);
        let reply = AppendEntriesReply { term: server.term(), probe: MUTE, outcome };
        cx.out.send(to, Message::AppendEntriesReply(reply));
    }

    /// The leader of this term is alive.
    fn hear(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        from: NodeId,
    ) -> Result<(), PeerFault> {
        if self.leader.is_some_and(|leader| leader != from) {
            return Err(PeerFault::SecondLeader);
        }
        self.leader = Some(from);
        self.contact = Some(cx.now);
        cx.set_election_timer(server);
        Ok(())
    }
}

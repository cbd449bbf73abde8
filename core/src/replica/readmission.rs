//! How a replica that lost something becomes a full member again.
//!
//! A replica whose disk was replaced, or whose disk lost the end of its log, may have voted for or
//! acknowledged what it does not know of. Until that can do no harm any more, it is **mute**:
//! nothing that it says counts. It follows, and serves its own clients through the leader.
//!
//! 1. A replaced disk has a new incarnation. What the old one said must not count beside what the
//!    new one will say: so its place in the membership is given to the new incarnation, through
//!    the log. The request names the incarnation which it replaces, as a leader told it, so that a
//!    request which was overtaken by a later replacement has no effect. The leader puts that into
//!    the log once a quorum has answered it after the request, and the old disk has said nothing
//!    since: it takes a quorum of the others to commit that. As long as there is none, the old disk
//!    may yet be needed, if it still exists; and once it is not listed any more, it would not count.
//! 2. An acknowledgement may still be on its way to a leader. So the replica asks the leader, who
//!    has itself confirmed by a quorum *after* it was asked, where its log ends. Once the
//!    replica's own log durably holds all of that, whatever it ever acknowledged to this leader is
//!    true again; and no earlier leader can commit anything any more.
//!
//! That a replica is mute is durable before anything else is, and that it is not is durable before
//! it speaks.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Formed, Replica};
use crate::entry::EntryKind;
use crate::event::{Effect, Fatal};
use crate::membership::Membership;
use crate::message::{Known, PeerMessage};
use crate::protocol::{Input, Protocol, ReadId, Timer};
use crate::types::{Ballot, Incarnation, LogId, NodeId, Now, RequestId, Start};
use crate::write::Disk;

/// What a mute replica and the leader say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Readmission {
    /// A mute replica's: how far must I get? Answered by `Listed` or `CatchUp`.
    Ask {
        /// Names the question.
        request: RequestId,
    },
    /// The leader's: in your place, the members list another incarnation.
    Listed {
        /// That one.
        incarnation: Incarnation,
    },
    /// A mute replica's: put my incarnation in the place of this one.
    Rejoin {
        /// The incarnation which the sender was told to be listed.
        replaces: Incarnation,
    },
    /// The leader's: you are listed; and this was the end of my log when a quorum confirmed that I
    /// lead, after you had asked.
    CatchUp {
        /// The question.
        request: RequestId,
        /// The last entry of the leader's log.
        through: LogId,
    },
    /// Anybody's: I do not know that the start which you spoke from comes after the one that the
    /// envelope says is known. Answered by `Follows`, or by nobody any more.
    Doubt,
    /// Anybody's: the start that I speak from comes after this one.
    Follows {
        /// That one.
        start: Start,
    },
}

/// Where a mute replica stands, and what a leader does for others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Readmitting {
    /// True from the moment when the loss is known to the one when it is made good.
    mute: bool,
    /// The first question since then.
    since: Option<RequestId>,
    /// How far the log has to get.
    through: Option<LogId>,
    /// A leader's: what waits for a quorum, and since when.
    confirming: BTreeMap<ReadId, (Waiting, Duration)>,
}

/// What a mute replica is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Waiting {
    /// It wants to be told how far to catch up.
    CatchUp,
    /// It wants to be put, with this disk, in the place of another one.
    Rejoin { incarnation: Incarnation, replaces: Incarnation },
}

impl Readmitting {
    pub(super) fn starting(mute: bool) -> Readmitting {
        Readmitting { mute, ..Readmitting::default() }
    }

    pub(super) fn is_mute(&self) -> bool {
        self.mute
    }

    fn begin(&mut self) {
        self.mute = true;
        self.since = None;
        self.through = None;
    }
}

impl<P: Protocol> Replica<P> {
    /// Nothing that this replica says may count from now on, nor what it was about to say.
    pub(super) fn fall_mute(&mut self) {
        self.readmitting.begin();
        if let Some(Formed { log, .. }) = &mut self.formed {
            log.set_mute(true);
        }
        self.take_back_what_is_vouched_for();
    }

    /// Sees to it that the leader is asked, once this replica is mute.
    pub(super) fn see_to_readmission(&mut self, out: &mut Vec<Effect<P::Message>>) {
        if self.readmitting.since.is_none() {
            self.ask_for_readmission(out);
        }
    }

    /// Asks the leader how far this replica's log has to get. Repeated for as long as it is mute.
    pub(super) fn ask_for_readmission(&mut self, out: &mut Vec<Effect<P::Message>>) {
        if !self.readmitting.mute || self.formed.is_none() {
            return;
        }
        let request = self.name_request();
        self.readmitting.since.get_or_insert(request);
        if let Some(leader) = self.standing().leader.filter(|leader| *leader != self.me) {
            self.post(leader, PeerMessage::Readmission(Readmission::Ask { request }));
        }
        out.push(Effect::SetTimer(Timer::Readmission, self.resend_interval()));
    }

    pub(super) fn on_readmission(
        &mut self,
        now: Now,
        from: NodeId,
        incarnation: Incarnation,
        message: Readmission,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        match message {
            Readmission::Ask { request } => {
                self.on_asked_for_readmission(now, from, incarnation, request, out);
            }
            Readmission::Rejoin { replaces } => {
                self.on_rejoin(now, from, incarnation, replaces, out)
            }
            Readmission::Listed { incarnation: listed } => {
                if self.readmitting.mute && listed != self.incarnation {
                    let rejoin = Readmission::Rejoin { replaces: listed };
                    self.post(from, PeerMessage::Readmission(rejoin));
                }
            }
            // Taken before it is asked whose word counts; of a disk which is not listed it counts
            // for nothing.
            Readmission::Doubt | Readmission::Follows { .. } => {}
            Readmission::CatchUp { request, through } => {
                let readmitting = &mut self.readmitting;
                let is_of_now = readmitting
                    .since
                    .is_some_and(|since| since.start == request.start && since <= request);
                // The end of a log grows while one runs after it: the first answer in a ballot
                // is as good as any later one.
                let is_news = readmitting.through.is_none_or(|old| old.ballot < through.ballot);
                if readmitting.mute && is_of_now && is_news {
                    readmitting.through = Some(through);
                }
            }
        }
    }

    /// What a member knows of this replica. False if it cannot go on: it runs on an old image of the
    /// disk that is known.
    pub(super) fn can_live_up_to(
        &mut self,
        known: Known,
        out: &mut Vec<Effect<P::Message>>,
    ) -> bool {
        let Known { disk, acknowledged } = known;
        // What was said of another disk says nothing of this one.
        if disk.incarnation != self.incarnation {
            return true;
        }
        if !self.lineage.may_include(disk.start) {
            self.stop(Fatal::OldImage { node: self.me }, out);
            return false;
        }
        self.must_hold(acknowledged);
        true
    }

    /// The leader of this ballot was told that its log is on this disk up to this entry. What is
    /// acknowledged is not cut off within a ballot: if the entry is not there, the disk has not kept
    /// what it said was saved.
    pub(super) fn must_hold(&mut self, acknowledged: Option<(Ballot, LogId)>) {
        let of_now = acknowledged.filter(|(ballot, _)| *ballot == self.standing().ballot);
        let (Some((_, id)), Some(Formed { log, .. })) = (of_now, &mut self.formed) else { return };
        // Of what is compacted, or damaged with its name, nothing is known.
        let is_another = log.id_at(id.index).is_some_and(|held| held != id);
        if !log.may_vouch() || (log.last().index >= id.index && !is_another) {
            return;
        }
        self.lost = Some(id.index);
        self.fall_mute();
    }

    /// A member does not know that this start comes after the one that it knows.
    pub(super) fn on_doubt(&mut self, by: NodeId, known: Option<Known>) {
        if let Some(Disk { incarnation, start }) = known.map(|known| known.disk)
            && incarnation == self.incarnation
            && start != self.lineage.latest()
        {
            self.post(by, PeerMessage::Readmission(Readmission::Follows { start }));
        }
    }

    fn on_asked_for_readmission(
        &mut self,
        now: Now,
        from: NodeId,
        incarnation: Incarnation,
        request: RequestId,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        if !self.standing().serving {
            return;
        }
        let listed = self.log().and_then(|log| log.membership().incarnation(from));
        match listed {
            Some(listed) if listed == incarnation => {
                self.confirm(now, ReadId { origin: from, request }, Waiting::CatchUp, out);
            }
            Some(incarnation) => {
                let listed = Readmission::Listed { incarnation };
                self.post(from, PeerMessage::Readmission(listed));
            }
            None => {}
        }
    }

    /// Has a quorum confirm from now on that this replica leads. Another question of the same member
    /// takes the place of an earlier one. The same one waits on, however often it is repeated, for as
    /// long as a leader does that hears no quorum: then it is lost.
    fn confirm(
        &mut self,
        now: Now,
        read: ReadId,
        waiting: Waiting,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        let confirming = &mut self.readmitting.confirming;
        let lasts = self.settings.election.end;
        confirming.retain(|other, (what, since)| {
            other.origin != read.origin || (*what == waiting && now.monotonic < *since + lasts)
        });
        if confirming.keys().all(|other| other.origin != read.origin) {
            confirming.insert(read, (waiting, now.monotonic));
            self.drive(now, Input::Read(read), out);
        }
    }

    /// A read can no longer be confirmed. Whoever waits for it asks again.
    pub(super) fn on_unconfirmed(&mut self, read: ReadId) {
        self.readmitting.confirming.remove(&read);
    }

    /// The disk of `member` that is listed has spoken: it is not gone.
    pub(super) fn on_word_of_listed(&mut self, member: NodeId) {
        self.readmitting.confirming.retain(|read, (waiting, _)| {
            read.origin != member || matches!(waiting, Waiting::CatchUp)
        });
    }

    /// A quorum has confirmed that this replica leads. True if a mute replica had asked for that.
    pub(super) fn on_confirmed(
        &mut self,
        now: Now,
        read: ReadId,
        out: &mut Vec<Effect<P::Message>>,
    ) -> bool {
        match self.readmitting.confirming.remove(&read) {
            None => return false,
            Some((Waiting::CatchUp, _)) => {
                let log = &self.formed.as_ref().expect("a protocol has confirmed it").log;
                let catch_up = Readmission::CatchUp { request: read.request, through: log.last() };
                self.post(read.origin, PeerMessage::Readmission(catch_up));
            }
            Some((Waiting::Rejoin { incarnation, replaces }, _)) => {
                if let Some(members) = self.members_with(read.origin, incarnation, replaces) {
                    let payload = postcard::to_allocvec(&members).expect("plain data encodes");
                    self.propose(now, EntryKind::Membership, payload.into(), out);
                }
            }
        }
        true
    }

    /// A replaced disk asks for its member's place.
    fn on_rejoin(
        &mut self,
        now: Now,
        from: NodeId,
        incarnation: Incarnation,
        replaces: Incarnation,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        if self.members_with(from, incarnation, replaces).is_some() {
            let read = ReadId { origin: from, request: self.name_request() };
            self.confirm(now, read, Waiting::Rejoin { incarnation, replaces }, out);
        }
    }

    /// The members with this disk in the place of the one that it replaces, if this replica may
    /// propose that.
    fn members_with(
        &self,
        replaced: NodeId,
        incarnation: Incarnation,
        replaces: Incarnation,
    ) -> Option<Membership> {
        let log = self.log()?;
        let members = log.membership();
        // Each member in turn: the quorum that puts one back must not rest on another one which
        // is being put back.
        let is_settled = members == log.membership_at(log.committed());
        // The replaced one is mute until it is committed.
        let others = members.peers_of(replaced);
        let may_propose = self.standing().serving && is_settled && members.is_quorum(others);
        let with = members.with_replaced(replaced, replaces, incarnation);
        with.filter(|with| may_propose && with != members)
    }

    /// True if another disk has taken the place of this one for good; then this replica stops.
    pub(super) fn is_superseded(&mut self, out: &mut Vec<Effect<P::Message>>) -> bool {
        let Some(log) = self.log() else { return false };
        let members = log.membership();
        // What is missing may be the very entry that lists this disk.
        let is_settled = log.is_whole() && members == log.membership_at(log.committed());
        match members.incarnation(self.me) {
            Some(by) if by != self.incarnation && is_settled && !self.readmitting.mute => {
                self.stop(Fatal::Superseded { node: self.me, by }, out);
                true
            }
            _ => false,
        }
    }

    /// Ends muteness once the log durably holds what it has to.
    pub(super) fn end_muteness(&mut self) {
        let (Some(through), Some(formed)) = (self.readmitting.through, &self.formed) else {
            return;
        };
        let log = &formed.log;
        let me = |members: &Membership| members.incarnation(self.me);
        let mine = Some(self.incarnation);
        let is_listed =
            me(log.membership()) == mine && me(log.membership_at(log.committed())) == mine;
        if is_listed && log.holds(through) && log.durable() >= through.index {
            self.readmitting.mute = false;
            self.readmitting.through = None;
            self.readmitting.since = None;
        }
    }
}

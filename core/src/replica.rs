//! Everything that orders: pure machine number one.
//!
//! A replica joins a protocol to a log, and does around them what every protocol needs: it founds
//! the cluster, turns what a step changed into one atomic write and holds back what may only be
//! said once that is on disk, forwards requests to the leader and follows up on them, feeds the
//! applier, takes and fetches snapshots, and stamps entries with log time.

mod acquaintances;
mod applying;
mod backlog;
mod backoff;
mod fetching;
mod forwarded;
mod log_clock;
mod peers;
mod readmission;
mod repair;
mod requests;
mod serving;
mod snapshots;
mod speaking;
mod status;
#[cfg(test)]
mod tests;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{Effect, Event, Failure, Fatal, Reader};
use crate::founding::Founding;
use crate::lineage::Lineage;
use crate::log::Log;
use crate::membership::Membership;
use crate::message::{Envelope, Forward, PeerMessage};
use crate::protocol::{Effects, Input, Pledge, Protocol, ProtocolEffect, Role, Standing, Timer};
use crate::settings::Settings;
use crate::snapshot::{SnapshotId, SnapshotMeta};
use crate::types::{Ballot, Incarnation, Index, LogTime, NodeId, Now, RequestId};
use crate::write::{PledgeBytes, Recovered};
use acquaintances::Acquaintances;
use applying::Applying;
use backlog::Backlog;
use backoff::Backoff;
use fetching::Fetching;
use forwarded::Forwarded;
use log_clock::LogClock;
pub use readmission::Readmission;
use readmission::Readmitting;
pub use repair::Repair;
use repair::Repairing;
use requests::Requests;
use speaking::Roomy;
pub use status::{Ignored, Status};
use writes::Writes;

/// With what a replica starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaConfig {
    /// This node.
    pub me: NodeId,
    /// The members with which the cluster is to be founded, this node included. Once it is
    /// formed, the membership on disk counts and this does not.
    pub members: BTreeSet<NodeId>,
    /// Allows an empty directory to found a cluster of a single member.
    pub bootstrap: bool,
    /// Times and limits.
    pub settings: Settings,
}

/// One replica: a pure state machine, driven by a shell.
///
/// 1. [`recover`](Replica::recover) with what the disk says.
/// 2. For each batch of events that is at hand, [`step`](Replica::step) with each of them, then
///    [`flush`](Replica::flush) once.
/// 3. Carry out the effects, in order, without waiting for one before starting the next; what
///    completes becomes an event.
///
/// After [`Effect::Stop`] nothing more comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica<P: Protocol> {
    me: NodeId,
    incarnation: Incarnation,
    settings: Settings,
    names: RequestId,
    lineage: Lineage,
    founding: Founding,
    readmitting: Readmitting,
    acquaintances: Acquaintances,
    repairing: Repairing,
    formed: Option<Formed<P>>,
    stopped: bool,
    writes: Writes<P::Message, P::Pledge>,
    /// Messages of this batch which wait for the pledge alone, and those which wait for all that
    /// it changes.
    outbox: Vec<Envelope<P::Message>>,
    after_save: Vec<Envelope<P::Message>>,
    requests: Requests,
    requests_timer_is_set: bool,
    forwarded: Forwarded,
    backlog: Backlog,
    applying: Applying,
    fetching: Option<Fetching>,
    fetch_backoff: Backoff<SnapshotId>,
    /// The peers for whom a chunk is being read.
    chunks_for: BTreeSet<NodeId>,
    /// A snapshot of this replica's own, not yet pointed to.
    built: Option<SnapshotMeta>,
    /// The snapshot before the newest one: the log is kept back to it.
    retained: Option<SnapshotMeta>,
    has_room: bool,
    clock: Option<(Ballot, LogClock)>,
    /// The deadline for which a timer runs, and the time entry on its way.
    deadline_timer: Option<LogTime>,
    time_entry: Option<crate::types::LogId>,
    hand_over_since: Option<Duration>,
    /// While this disk is full: the others whose disks have room, as each has said last.
    roomy: BTreeMap<NodeId, Roomy>,
    /// Since when a leader was seen to have no room.
    full_since: Option<Duration>,
    /// How often it was handed over for want of room, since there was some.
    handed_over_full: u32,
    /// The last index which a leader says that this replica has acknowledged, if it was not there.
    lost: Option<Index>,
    ignored: Ignored,
}

/// What exists once the cluster is formed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Formed<P: Protocol> {
    protocol: P,
    log: Log,
    effects: Effects<P::Message>,
}

/// A pledge of all zeros is what a disk says which was never given one.
const NO_PLEDGE: PledgeBytes = [0; 64];

/// How often founding messages are repeated.
const FOUNDING_INTERVAL: std::ops::Range<Duration> =
    Duration::from_millis(50)..Duration::from_millis(100);

impl<P: Protocol> Replica<P> {
    /// The replica as it stands after a start of the process. The effects are the first that the
    /// shell has to carry out.
    ///
    /// # Errors
    /// If this node must not take part; see [`Fatal`]. This itself changes nothing on disk.
    pub fn recover(
        config: ReplicaConfig,
        recovered: Recovered,
        now: Now,
        out: &mut Vec<Effect<P::Message>>,
    ) -> Result<Replica<P>, Fatal> {
        let ReplicaConfig { me, members, bootstrap, settings } = config;
        let incarnation = recovered.identity.incarnation;
        let record = recovered.founding.clone();
        if !record.formed {
            if !members.contains(&me) {
                return Err(Fatal::NotConfigured { node: me });
            }
            if members.len() == 1 && !bootstrap {
                return Err(Fatal::NotBootstrapped);
            }
        }
        let mut replica = Replica {
            me,
            incarnation,
            settings,
            names: RequestId::before_first(recovered.lineage.latest()),
            lineage: recovered.lineage.clone(),
            founding: Founding::new(me, incarnation, members, record.clone()),
            readmitting: Readmitting::starting(recovered.mute),
            acquaintances: Acquaintances::from(recovered.peers.clone()),
            repairing: Repairing::default(),
            formed: None,
            stopped: false,
            writes: Writes::new(),
            outbox: Vec::new(),
            after_save: Vec::new(),
            requests: Requests::default(),
            requests_timer_is_set: false,
            forwarded: Forwarded::default(),
            backlog: Backlog::default(),
            applying: Applying::from(recovered.log.base.index),
            fetching: None,
            fetch_backoff: Backoff::default(),
            chunks_for: BTreeSet::new(),
            built: None,
            retained: None,
            has_room: true,
            clock: None,
            deadline_timer: None,
            time_entry: None,
            hand_over_since: None,
            roomy: BTreeMap::new(),
            full_since: None,
            handed_over_full: 0,
            lost: None,
            ignored: Ignored::default(),
        };
        match record.list {
            Some(list) if record.formed => replica.form(list, Some(recovered), out)?,
            _ => replica.ask_peers_about_founding(out),
        }
        replica.flush(now, out);
        Ok(replica)
    }

    /// A name for a request of this node, never used before.
    pub fn name_request(&mut self) -> RequestId {
        self.names = self.names.next();
        self.names
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.me
    }

    /// See [`Status::lost`].
    #[must_use]
    pub fn lost(&self) -> Option<Index> {
        self.lost
    }

    /// The log, once the cluster is formed.
    #[must_use]
    pub fn log(&self) -> Option<&Log> {
        self.formed.as_ref().map(|formed| &formed.log)
    }

    /// The protocol, once the cluster is formed.
    #[must_use]
    pub fn protocol(&self) -> Option<&P> {
        self.formed.as_ref().map(|formed| &formed.protocol)
    }

    /// The identity of the cluster, once it is formed: the digest of its founders.
    #[must_use]
    pub fn cluster(&self) -> Option<crate::types::Digest> {
        let record = self.founding.saved();
        record.list.as_ref().filter(|_| record.formed).map(Membership::digest)
    }

    /// Takes one event.
    pub fn step(&mut self, now: Now, event: Event<P::Message>, out: &mut Vec<Effect<P::Message>>) {
        if self.stopped {
            return;
        }
        match event {
            Event::Message(envelope) => self.on_message(now, envelope, out),
            Event::Propose { request, kind, payload } => {
                self.on_propose(now, request, kind, payload, out);
            }
            Event::Read { request } => self.on_read(now, request, out),
            Event::Saved(seq) => self.on_saved(now, seq, out),
            Event::Sworn(seq) => self.on_sworn(now, seq, out),
            Event::Timeout(timer) => self.on_timeout(now, timer, out),
            Event::Applied(applied) => self.on_applied(applied),
            Event::Restored { generation, deadline } => {
                self.on_restored(generation, deadline, out);
            }
            Event::EntriesRead { reader: Reader::Peer(to), entries, .. } => {
                self.drive(now, Input::EntriesRead { to, entries }, out);
            }
            Event::EntriesRead { reader: Reader::Applier, from, entries } => {
                self.on_read_for_applier(from, entries, out);
            }
            Event::EntriesRead { reader: Reader::Repair(to), entries, .. } => {
                self.on_read_for_repair(to, entries);
            }
            Event::Damaged(gaps) => self.on_damaged(gaps, out),
            Event::Scrubbed { next, gaps } => {
                self.on_damaged(gaps, out);
                self.on_scrubbed(next, out);
            }
            Event::SnapshotBuilt(snapshot) => self.on_snapshot_built(now, snapshot),
            Event::ChunkRead { to, snapshot, chunk, bytes } => {
                self.on_chunk_read(now, to, snapshot, chunk, bytes);
            }
            Event::FetchProgress { snapshot, next } => {
                self.on_fetch_progress(now, snapshot, next, out);
            }
            Event::Room(room) => self.on_room(room),
            Event::HandOver => self.drive(now, Input::HandOver, out),
        }
    }

    /// Ends a batch of events: what they gave rise to is sent and written as a whole.
    pub fn flush(&mut self, now: Now, out: &mut Vec<Effect<P::Message>>) {
        if self.stopped {
            return;
        }
        self.serve_requests(now, out);
        self.keep_log_time(now, out);
        self.hand_over_if_disk_fails(now, out);
        self.flush_protocol(now, out);
        self.feed_applier(out);
        self.answer_reads(out);
        self.see_to_repairs(out);
        self.see_to_readmission(out);
        self.point_to_snapshot();
        self.end_muteness();
        if self.is_superseded(out) {
            return;
        }
        self.write_and_send(now, out);
        if let Some(formed) = &mut self.formed {
            formed.log.trim_cache(self.settings.log_cache_bytes);
            let snapshot_bytes = self.settings.snapshot_bytes;
            if self.applying.wants_snapshot(now.monotonic, &formed.log, snapshot_bytes) {
                out.push(Effect::TakeSnapshot);
            }
        }
        if !self.requests.is_empty() && !self.requests_timer_is_set {
            self.requests_timer_is_set = true;
            out.push(Effect::SetTimer(Timer::Requests, self.resend_interval()));
        }
    }

    fn flush_protocol(&mut self, now: Now, out: &mut Vec<Effect<P::Message>>) {
        loop {
            let Some(formed) = &mut self.formed else { return };
            let sworn = formed.protocol.pledge().promise();
            formed.protocol.flush(now, &mut formed.log, &mut formed.effects);
            if formed.protocol.pledge().promise() != sworn {
                self.take_back_what_is_vouched_for();
            }
            self.route(now, out);
            let own = self.take_messages_to_itself();
            if own.is_empty() {
                return;
            }
            self.deliver(now, own, out);
        }
    }

    /// What this replica knows of itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let standing = self.standing();
        let log = self.log();
        let list = self.founding.saved().list.clone().unwrap_or_default();
        Status {
            node: self.me,
            incarnation: self.incarnation,
            formed: self.formed.is_some(),
            mute: self.readmitting.is_mute(),
            lost: self.lost,
            role: standing.role,
            ballot: standing.ballot,
            leader: standing.leader,
            serving: standing.serving,
            last: log.map(Log::last).unwrap_or_default(),
            durable: log.map(Log::durable).unwrap_or_default(),
            committed: log.map(Log::committed).unwrap_or_default(),
            applied: log.map(Log::applied).unwrap_or_default(),
            snapshot: log.and_then(Log::snapshot).cloned(),
            membership: log.map_or(list, |log| log.membership().clone()),
            ignored: self.ignored,
            peer_faults: self.protocol().map(P::faults).unwrap_or_default(),
        }
    }

    fn standing(&self) -> Standing {
        self.protocol().map_or(
            Standing {
                role: Role::Follower,
                ballot: Ballot::default(),
                leader: None,
                serving: false,
            },
            P::standing,
        )
    }

    /// The cluster is formed: the protocol begins.
    fn form(
        &mut self,
        founders: Membership,
        recovered: Option<Recovered>,
        out: &mut Vec<Effect<P::Message>>,
    ) -> Result<(), Fatal> {
        let mute = self.readmitting.is_mute();
        if mute && founders.len() == 1 {
            return Err(Fatal::LostAlone);
        }
        let (pledge, saved, mut log) = match recovered {
            Some(Recovered { pledge, sworn, snapshot, log, .. }) => {
                let in_log = read_pledge::<P::Pledge>(pledge)?;
                let sworn = read_pledge::<P::Pledge>(sworn)?;
                let log = Log::recover(founders, snapshot, log);
                // What was sworn beside the log is sworn once more, in both places if there is
                // room by now.
                let saved = in_log.filter(|_| sworn.is_none());
                let joined = sworn.map(|sworn| P::Pledge::joined(in_log, sworn));
                (joined.or(in_log), saved, log)
            }
            None => (None, None, Log::founded_by(founders)),
        };
        if !log.is_whole() && log.membership().len() == 1 {
            return Err(Fatal::LostAlone);
        }
        log.set_room(self.has_room);
        log.set_owner(self.me, self.incarnation);
        log.set_mute(mute);
        self.writes.set_saved(saved, log.snapshot().map(SnapshotMeta::id), mute);
        self.applying = Applying::from(log.applied());
        if let Some(snapshot) = log.snapshot().cloned() {
            let generation = self.applying.restore(snapshot.clone());
            out.push(Effect::Restore { generation, snapshot });
        }
        let mut effects = Effects::default();
        let protocol = P::recover(self.me, &self.settings, pledge, &mut log, &mut effects);
        self.formed = Some(Formed { protocol, log, effects });
        self.on_scrubbed(Index::ZERO, out);
        Ok(())
    }

    /// Gives the protocol one input, and passes on what it wants.
    fn drive(&mut self, now: Now, input: Input<P::Message>, out: &mut Vec<Effect<P::Message>>) {
        let Some(formed) = &mut self.formed else { return };
        let base = formed.log.base();
        let sworn = formed.protocol.pledge().promise();
        formed.protocol.step(now, input, &mut formed.log, &mut formed.effects);
        let swears = formed.protocol.pledge().promise() != sworn;
        if formed.log.base() != base {
            self.restore_snapshot(out);
        }
        if swears {
            self.take_back_what_is_vouched_for();
        }
        self.route(now, out);
    }

    /// Passes on what the protocol wants.
    fn route(&mut self, now: Now, out: &mut Vec<Effect<P::Message>>) {
        let Some(formed) = &mut self.formed else { return };
        let wanted = std::mem::take(&mut formed.effects.list);
        for effect in wanted {
            match effect {
                ProtocolEffect::Send { to, message } => {
                    self.post(to, PeerMessage::Protocol(message));
                }
                ProtocolEffect::AfterSave { to, message } => {
                    let envelope = self.envelope(to, PeerMessage::Protocol(message));
                    self.after_save.push(envelope);
                }
                ProtocolEffect::SetTimer(timer, range) => out.push(Effect::SetTimer(timer, range)),
                ProtocolEffect::ReadEntries { to, from, max_bytes } => {
                    out.push(Effect::ReadEntries { reader: Reader::Peer(to), from, max_bytes });
                }
                ProtocolEffect::ReadReady(read, _) if self.on_confirmed(now, read, out) => {}
                ProtocolEffect::ReadReady(read, index) if read.origin == self.me => {
                    self.requests.read_ready(read.request, index);
                }
                ProtocolEffect::ReadReady(read, index) => {
                    let ready = Forward::ReadReady { request: read.request, index };
                    self.post(read.origin, PeerMessage::Forward(ready));
                }
                ProtocolEffect::ReadLost(read) => {
                    self.on_unconfirmed(read);
                    // A read of another node is asked for again by that node.
                    if read.origin == self.me {
                        self.requests.read_lost(read.request);
                    }
                }
                ProtocolEffect::FetchSnapshot { from, snapshot } => {
                    self.fetch_snapshot(now, from, snapshot, out);
                }
            }
        }
    }

    fn stop(&mut self, why: Fatal, out: &mut Vec<Effect<P::Message>>) {
        self.stopped = true;
        out.push(Effect::Stop(why));
    }

    fn on_timeout(&mut self, now: Now, timer: Timer, out: &mut Vec<Effect<P::Message>>) {
        match timer {
            Timer::Founding => self.ask_peers_about_founding(out),
            Timer::Requests => self.on_requests_timeout(now, out),
            Timer::Fetch => self.on_fetch_timeout(now, out),
            Timer::Deadline => self.deadline_timer = None,
            Timer::Repair => self.on_repair_timeout(out),
            Timer::Scrub => self.scrub(out),
            Timer::Readmission => self.ask_for_readmission(out),
            Timer::Election | Timer::Heartbeat | Timer::Quorum => {
                self.drive(now, Input::Timeout(timer), out);
            }
        }
    }

    fn on_room(&mut self, room: bool) {
        self.has_room = room;
        if room {
            self.handed_over_full = 0;
            self.roomy.clear();
        }
        if let Some(formed) = &mut self.formed {
            formed.log.set_room(room);
        }
    }

    fn fail(&mut self, request: RequestId, failure: Failure, out: &mut Vec<Effect<P::Message>>) {
        self.requests.end(request);
        out.push(Effect::Failed { request, failure });
    }
}

/// `None` of a disk that was never given a pledge.
fn read_pledge<G: Pledge>(bytes: Option<PledgeBytes>) -> Result<Option<G>, Fatal> {
    let bytes = bytes.filter(|bytes| *bytes != NO_PLEDGE);
    bytes.map(|bytes| G::from_bytes(&bytes).ok_or(Fatal::UnreadablePledge)).transpose()
}

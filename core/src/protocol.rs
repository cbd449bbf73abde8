//! The joint between a consensus protocol and everything around it.

use std::fmt::Debug;
use std::hash::Hash;
use std::ops::Range;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::entry::{Entry, Proposal};
use crate::log::Log;
use crate::settings::Settings;
use crate::snapshot::SnapshotMeta;
use crate::types::{Ballot, Incarnation, Index, NodeId, Now, RequestId};
use crate::write::PledgeBytes;

/// One consensus protocol: a pure, deterministic state machine that moves log positions.
///
/// It sees one [`Input`] at a time, changes the [`Log`] through the log's few methods, and says
/// what should happen through [`Effects`]. It never blocks, never decodes a payload, never
/// touches a file, and never panics on what a peer sent. All of its state can be cloned, compared
/// and hashed, so that a model checker can hold it.
///
/// # Durability
///
/// A protocol does not order writes. It changes the log and its own [`pledge`](Protocol::pledge);
/// the [`Replica`](crate::Replica) turns all that changed in a step into one atomic write. What
/// may only be said once that write is on disk is handed to [`Effects::after_save`]. What rests on
/// the pledge alone is handed to [`Effects::send`]: should the pledge under which it is said be
/// unsaved, it waits for that, and for nothing else. A disk that is full takes no entries but
/// still keeps pledges, so a pledge may be on disk before entries that precede it. Once a write is
/// saved, the protocol gets [`Input::Saved`], and [`Log::durable`] says how far the log has come.
///
/// # What a protocol owes
///
/// The replica takes for granted that a protocol does the following:
///
/// - It sets [`Timer::Election`] in [`recover`](Protocol::recover): nothing else wakes a replica that
///   nobody speaks to. A timer that was set in an earlier role may still run out: ignore it.
/// - Whatever it must not forget (ballot, vote) is in the [`pledge`](Protocol::pledge) from the end of
///   the step in which it changed. The ballot of its [`Standing`] never decreases, and no entry of its
///   log has a later one.
/// - Whoever begins to lead first appends [`Log::opening`], in its own ballot, and is `serving` only after
///   that. The opening commits what earlier leaders left, founds the list of members in an empty log,
///   and tells every node what became of requests that it sent in earlier ballots.
/// - While it is `serving`, it appends exactly one entry for each [`Input::Propose`], in that step and in
///   the ballot of its standing. The replica asserts it.
/// - Each [`Input::Read`] is answered by [`Effects::read_ready`] or [`Effects::read_lost`]: ready only
///   once a quorum has followed this leader *since the input*, with an index that covers the opening
///   and everything committed; lost when it stops leading.
/// - Before each vote or acknowledgement it asks [`Log::may_vouch`], and says none if that is false.
///   [`vouches`](Protocol::vouches) is true of these messages and of no others.
/// - It acknowledges no more than [`Log::durable`], or by [`Effects::after_save`] if the log
///   [is whole](Log::is_whole).
/// - It stands for leader only if the log may vouch, is whole, and lists this node; it looks again when
///   the votes are there. A leader steps down if the log
///   [lacks an uncommitted entry](Log::lacks_uncommitted).
/// - It commits only what a quorum of the members has on its disks, counting an acknowledgement only
///   under the incarnation that the log lists, and of earlier ballots only together with an entry of
///   its own. A follower commits no further than [`Log::splice`] says that the logs agree.
/// - A peer that needs what [`Log::entries`] no longer has gets it by [`Effects::read_entries`], or is
///   offered the snapshot. On [`Input::SnapshotFetched`], [`Log::rebase`] only if the log does not hold
///   the snapshot's last entry and has committed less; a leader never does.
/// - Nothing that a peer says makes it panic: it ignores that and counts it in
///   [`faults`](Protocol::faults).
/// - [`flush`](Protocol::flush) is called again as long as it sends messages to the replica itself: that
///   must end.
///
/// [`Input::HandOver`] and [`acknowledged`](Protocol::acknowledged) may be left out: then a shutdown
/// costs an election, and a disk that does not keep what it said was saved goes unnoticed.
pub trait Protocol: Clone + Eq + Hash + Debug + Send + 'static {
    /// The name in data directories and handshakes: data of one protocol is not opened under
    /// another.
    const NAME: &'static str;

    /// What replicas say to each other: one enum, one variant for each message of the paper.
    type Message: Clone + Eq + Hash + Debug + Serialize + DeserializeOwned + Send + 'static;

    /// What a replica has sworn and may never forget.
    type Pledge: Pledge;

    /// The protocol as it stands after a start of the process: a follower of nobody.
    ///
    /// `pledge` is what was saved last, `None` on a disk that never saw a write.
    fn recover(
        me: NodeId,
        settings: &Settings,
        pledge: Option<Self::Pledge>,
        log: &mut Log,
        out: &mut Effects<Self::Message>,
    ) -> Self;

    /// Takes one input.
    fn step(
        &mut self,
        now: Now,
        input: Input<Self::Message>,
        log: &mut Log,
        out: &mut Effects<Self::Message>,
    );

    /// Called when the inputs at hand are used up, after one or more steps: the moment to send
    /// what several of them gave rise to as one message.
    fn flush(&mut self, now: Now, log: &mut Log, out: &mut Effects<Self::Message>);

    /// What this replica has sworn as of now.
    fn pledge(&self) -> Self::Pledge;

    /// Who leads, as far as this replica knows.
    fn standing(&self) -> Standing;

    /// What peers got wrong, so far.
    fn faults(&self) -> PeerFaults;

    /// How far `member` has acknowledged, by the disk of this incarnation, the log of this replica in
    /// the ballot which it leads. Within a ballot nothing of that is ever cut off again; so a member
    /// whose log does not hold it has lost it, and is told. [`Index::ZERO`] if nothing is known.
    fn acknowledged(&self, member: NodeId, incarnation: Incarnation) -> Index {
        let _ = (member, incarnation);
        Index::ZERO
    }

    /// True of votes and acknowledgements: messages that count only if they come from the
    /// incarnation which the receiver's membership lists.
    fn vouches(message: &Self::Message) -> bool;
}

/// Messages that were ignored although they were current: their senders are broken, or they were
/// damaged on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct PeerFaults {
    /// How many there were.
    pub count: u64,
    /// Who sent the last one, and what was wrong with it, for people to read.
    pub last: Option<(NodeId, String)>,
}

/// What a protocol has sworn, of fixed size.
pub trait Pledge: Copy + Eq + Hash + Debug + Send + 'static {
    /// The bytes to keep on disk. Golden: a change of layout needs a new storage format version.
    fn to_bytes(&self) -> PledgeBytes;

    /// The pledge kept as these bytes; `None` if they are not one.
    fn from_bytes(bytes: &PledgeBytes) -> Option<Self>;

    /// The promise proper: two pledges with the same promise differ only in what merely rides
    /// along. A change of promise is kept in two places before it is spoken of.
    fn promise(&self) -> Self;

    /// What is sworn by a disk whose log ends with the pledge `in_log`, and which keeps `sworn`
    /// beside the log, where a pledge is kept for which the log has no room. Either may be the
    /// later one. No promise of the two may be lost; but what the pledge says of the log itself
    /// (up to which view it is known to be right, say) is what `in_log` says of it.
    fn joined(in_log: Option<Self>, sworn: Self) -> Self;
}

/// What a protocol is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input<M> {
    /// A message arrived. Votes and acknowledgements from a foreign incarnation never get here.
    Message {
        /// Who sent it: a member.
        from: NodeId,
        /// The incarnation of the sender's disk.
        incarnation: Incarnation,
        /// What it says.
        message: M,
    },
    /// Append this to the log. Only given to a replica whose [`Standing::serving`] is true.
    Propose(Proposal),
    /// Find an index which covers everything acknowledged before now, and answer with
    /// [`Effects::read_ready`] or [`Effects::read_lost`]. Only given to a replica whose
    /// [`Standing::serving`] is true.
    Read(ReadId),
    /// Writes were saved: [`Log::durable`] and what is sworn have come further.
    Saved,
    /// A timer set by [`Effects::set_timer`] ran out.
    Timeout(Timer),
    /// The answer to [`Effects::read_entries`]: old entries as they stood in the log when they
    /// were read from disk. Empty if they could not be had.
    EntriesRead {
        /// For which peer they were asked.
        to: NodeId,
        /// Contiguous entries; not necessarily all that were asked for.
        entries: Vec<Entry>,
    },
    /// The answer to [`Effects::fetch_snapshot`]: the snapshot is on this disk, verified, and may
    /// be installed with [`Log::rebase`].
    SnapshotFetched {
        /// From whom it was offered.
        from: NodeId,
        /// The snapshot.
        snapshot: SnapshotMeta,
    },
    /// The process is about to stop: let somebody else lead.
    HandOver,
}

/// Timers of a replica. Setting one that is running replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// No word from a leader: time to replace it.
    Election,
    /// A leader's: show that it is alive, send again what seems lost.
    Heartbeat,
    /// A leader's: is a quorum still in contact?
    Quorum,
    /// The replica's own: requests that have waited too long.
    Requests,
    /// The replica's own: founding messages are sent again.
    Founding,
    /// The replica's own: a snapshot chunk seems lost.
    Fetch,
    /// The replica's own: the state machine's deadline has come.
    Deadline,
    /// The replica's own: what it asked a peer for, to repair its log, seems lost.
    Repair,
    /// The replica's own: time to read back another part of the log.
    Scrub,
    /// The replica's own: it is mute, and asks again how far it has to catch up.
    Readmission,
}

/// Names a linearizable read: who asked, and the number it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReadId {
    /// The node where the read was asked for.
    pub origin: NodeId,
    /// The number which that node gave it.
    pub request: RequestId,
}

/// What a replica currently is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Orders the log: Raft's leader, VSR's primary.
    Leader,
    /// Follows a leader, or waits for one: Raft's follower, VSR's backup.
    Follower,
    /// Tries to change the leader: Raft's (pre-)candidate, a VSR replica in a view change.
    Candidate,
}

/// Who leads, as far as this replica knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    /// What this replica is.
    pub role: Role,
    /// The ballot it is in.
    pub ballot: Ballot,
    /// That ballot's leader, if known.
    pub leader: Option<NodeId>,
    /// True if this replica is the leader and takes proposals and reads.
    pub serving: bool,
}

/// What a protocol wants to happen, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Effects<M> {
    pub(crate) list: Vec<ProtocolEffect<M>>,
}

/// One thing that a protocol wants to happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolEffect<M> {
    /// See [`Effects::send`].
    Send {
        /// To whom; the replica itself is allowed.
        to: NodeId,
        /// What.
        message: M,
    },
    /// See [`Effects::after_save`].
    AfterSave {
        /// To whom; the replica itself is allowed.
        to: NodeId,
        /// What.
        message: M,
    },
    /// See [`Effects::set_timer`].
    SetTimer(Timer, Range<Duration>),
    /// See [`Effects::read_entries`].
    ReadEntries {
        /// The peer for which they are needed.
        to: NodeId,
        /// The first of them.
        from: Index,
        /// How much of them, by [`Entry::size_bytes`]; at least one entry.
        max_bytes: usize,
    },
    /// See [`Effects::read_ready`].
    ReadReady(ReadId, Index),
    /// See [`Effects::read_lost`].
    ReadLost(ReadId),
    /// See [`Effects::fetch_snapshot`].
    FetchSnapshot {
        /// Who has it.
        from: NodeId,
        /// Which.
        snapshot: SnapshotMeta,
    },
}

impl<M> Default for Effects<M> {
    fn default() -> Self {
        Effects { list: Vec::new() }
    }
}

impl<M> Effects<M> {
    /// Sends a message that vouches for nothing which this step changed in the log: a leader's
    /// AppendEntries or Prepare, a heartbeat and the answer to one, a vote. It leaves once what
    /// this replica has sworn is on disk. A message to the replica itself comes back as an
    /// [`Input::Message`]: so a vote for oneself counts like any other, when it is durable.
    pub fn send(&mut self, to: NodeId, message: M) {
        self.list.push(ProtocolEffect::Send { to, message });
    }

    /// Sends a message once everything that this replica has appended and sworn up to and
    /// including this step is on disk: an acknowledgement. A message to the replica itself comes
    /// back as an [`Input::Message`].
    pub fn after_save(&mut self, to: NodeId, message: M) {
        self.list.push(ProtocolEffect::AfterSave { to, message });
    }

    /// Sets a timer to a duration which the shell draws from `range`.
    pub fn set_timer(&mut self, timer: Timer, range: Range<Duration>) {
        self.list.push(ProtocolEffect::SetTimer(timer, range));
    }

    /// Asks for entries that [`Log::entries`] no longer has in memory. Answered by
    /// [`Input::EntriesRead`], possibly after they were cut off or compacted: check them.
    pub fn read_entries(&mut self, to: NodeId, from: Index, max_bytes: usize) {
        self.list.push(ProtocolEffect::ReadEntries { to, from, max_bytes });
    }

    /// A read asked for by [`Input::Read`] may be served by any state that includes `index`.
    pub fn read_ready(&mut self, read: ReadId, index: Index) {
        self.list.push(ProtocolEffect::ReadReady(read, index));
    }

    /// A read asked for by [`Input::Read`] cannot be confirmed by this replica any more.
    pub fn read_lost(&mut self, read: ReadId) {
        self.list.push(ProtocolEffect::ReadLost(read));
    }

    /// Fetches a snapshot which covers more than this replica's log has committed. Answered by
    /// [`Input::SnapshotFetched`] when it is on disk. Asking again for the one being fetched is
    /// harmless; asking for another one replaces it.
    pub fn fetch_snapshot(&mut self, from: NodeId, snapshot: SnapshotMeta) {
        self.list.push(ProtocolEffect::FetchSnapshot { from, snapshot });
    }

    /// What was asked for so far, in order. For tests and shells of a protocol of one's own.
    pub fn drain(&mut self) -> impl Iterator<Item = ProtocolEffect<M>> + '_ {
        self.list.drain(..)
    }
}

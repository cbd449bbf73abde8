//! How a node stands, for people and for monitoring.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quorate_core::{
    Ballot, Digest, Ignored, Incarnation, Index, LogId, Membership, NodeId, PeerFaults, Role,
    SnapshotMeta,
};
use serde::{Deserialize, Serialize};

/// How a node stood a moment ago. Serializable, for whatever collects metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// The name of the cluster.
    pub cluster: String,
    /// The cluster's identity, once it is formed: the digest of its founders.
    pub identity: Option<Digest>,
    /// The consensus protocol.
    pub protocol: &'static str,
    /// The incarnation of this node's disk.
    pub incarnation: Incarnation,
    /// True once the cluster is formed; before, the node neither votes nor serves.
    pub formed: bool,
    /// True if nothing that it says counts: its disk was replaced, or lost something. That ends by
    /// itself when it has caught up with a leader that has a quorum without it. A node on an empty
    /// disk learns that it is mute with the first word of the others; until then it is not `formed`.
    pub mute: bool,
    /// Set if its disk was found not to have kept what it said was saved: the last index which a
    /// leader was told is there. The disk should be replaced.
    pub lost: Option<Index>,
    /// What it is in its protocol.
    pub role: Role,
    /// The term or view it is in.
    pub ballot: Ballot,
    /// The leader, if it knows one.
    pub leader: Option<NodeId>,
    /// True if it is the leader and takes requests.
    pub serving: bool,
    /// The first index that is still in its log; snapshots cover those before.
    pub first: Index,
    /// The last entry of its log.
    pub last: LogId,
    /// The last index up to which its log is on its disk.
    pub durable: Index,
    /// The last index it knows to be committed.
    pub committed: Index,
    /// The last index that its state machine has executed.
    pub applied: Index,
    /// Its newest snapshot.
    pub snapshot: Option<SnapshotMeta>,
    /// The members.
    pub membership: Membership,
    /// False while the disk has no room for more entries.
    pub has_room: bool,
    /// Requests of this node's clients that wait for their outcome.
    pub waiting: usize,
    /// The others, as far as this node hears from them.
    pub peers: Vec<PeerStatus>,
    /// When this node last learned of a leader it did not know before.
    pub last_election: Option<LastElection>,
    /// Messages that were ignored, by reason.
    pub ignored: Ignored,
    /// Messages that the protocol ignored because their senders must be broken.
    pub peer_faults: PeerFaults,
    /// Connections that were refused, or ended for what came over them.
    pub refused_connections: u64,
}

impl Status {
    /// A node of which nothing else is known yet.
    pub(crate) fn new(node: NodeId, cluster: String, protocol: &'static str) -> Status {
        Status {
            node,
            cluster,
            identity: None,
            protocol,
            incarnation: Incarnation::default(),
            formed: false,
            mute: false,
            lost: None,
            role: Role::Follower,
            ballot: Ballot::default(),
            leader: None,
            serving: false,
            first: Index(1),
            last: LogId::default(),
            durable: Index::default(),
            committed: Index::default(),
            applied: Index::default(),
            snapshot: None,
            membership: Membership::default(),
            has_room: true,
            waiting: 0,
            peers: Vec::new(),
            last_election: None,
            ignored: Ignored::default(),
            peer_faults: PeerFaults::default(),
            refused_connections: 0,
        }
    }

    /// What the replica says of itself.
    pub(crate) fn follow(
        &mut self,
        replica: quorate_core::Status,
        identity: Option<Digest>,
        first: Index,
    ) {
        self.identity = identity;
        self.incarnation = replica.incarnation;
        self.formed = replica.formed;
        self.mute = replica.mute;
        self.lost = replica.lost;
        self.role = replica.role;
        self.ballot = replica.ballot;
        self.leader = replica.leader;
        self.serving = replica.serving;
        self.first = first;
        self.last = replica.last;
        self.durable = replica.durable;
        self.committed = replica.committed;
        self.applied = replica.applied;
        self.snapshot = replica.snapshot;
        self.membership = replica.membership;
        self.ignored = replica.ignored;
        self.peer_faults = replica.peer_faults;
    }
}

/// How another node stood when it was last heard from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PeerStatus {
    /// The node.
    pub node: NodeId,
    /// Where it is dialled.
    pub address: String,
    /// True while there is a connection to it.
    pub connected: bool,
    /// Time since it last answered; `None` if it never has.
    pub contact: Option<Duration>,
    /// The last index which it had on its disk when it answered.
    pub durable: Index,
    /// The last index which its state machine had executed when it answered.
    pub applied: Index,
    /// By how many entries its disk was behind what this node knows to be committed.
    pub lag_entries: u64,
    /// For how long it has not had everything that this node knew to be committed; `None` if it has.
    pub lag_time: Option<Duration>,
    /// Messages that were dropped because it took them too slowly, or was not there.
    pub dropped: u64,
}

/// A change of leader, as one node saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LastElection {
    /// The ballot.
    pub ballot: Ballot,
    /// Who leads in it.
    pub leader: NodeId,
    /// How long ago this node learned of it.
    pub age: Duration,
    /// For how long this node had known of no leader.
    pub leaderless: Duration,
}

/// How far a node has come: what it tells its peers when they ask whether it is alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) durable: Index,
    pub(crate) applied: Index,
}

/// Where the threads and tasks of a node post what a status is made of.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    posted: Arc<Mutex<Posted>>,
}

#[derive(Debug)]
struct Posted {
    status: Status,
    leader_seen: Option<Leader>,
    leaderless_since: Instant,
    peers: BTreeMap<NodeId, Contact>,
}

#[derive(Clone, Copy, Debug)]
struct Leader {
    ballot: Ballot,
    node: NodeId,
    since: Instant,
    leaderless: Duration,
}

#[derive(Clone, Debug)]
struct Contact {
    address: String,
    connected: bool,
    heard: Option<Instant>,
    progress: Progress,
    behind_since: Option<Instant>,
    dropped: u64,
}

impl Board {
    pub(crate) fn new(status: Status, peers: impl Iterator<Item = (NodeId, String)>) -> Board {
        let unheard = |address| Contact {
            address,
            connected: false,
            heard: None,
            progress: Progress::default(),
            behind_since: None,
            dropped: 0,
        };
        let peers = peers.map(|(id, address)| (id, unheard(address))).collect();
        let leaderless_since = Instant::now();
        let posted = Posted { status, leader_seen: None, leaderless_since, peers };
        Board { posted: Arc::new(Mutex::new(posted)) }
    }

    /// The status as of now.
    pub(crate) fn status(&self) -> Status {
        let posted = self.lock();
        let mut status = posted.status.clone();
        let committed = status.committed;
        status.peers = posted.peers.iter().map(|(id, peer)| peer.status(*id, committed)).collect();
        status.last_election = posted.leader_seen.map(|leader| LastElection {
            ballot: leader.ballot,
            leader: leader.node,
            age: leader.since.elapsed(),
            leaderless: leader.leaderless,
        });
        status
    }

    /// How far this node has come.
    pub(crate) fn progress(&self) -> Progress {
        let posted = self.lock();
        Progress { durable: posted.status.durable, applied: posted.status.applied }
    }

    /// The cluster's identity; zero before it is formed.
    pub(crate) fn identity(&self) -> Digest {
        self.lock().status.identity.unwrap_or_default()
    }

    /// The loop's: posts what the replica says of itself.
    pub(crate) fn post(&self, update: impl FnOnce(&mut Status)) {
        let mut posted = self.lock();
        let posted = &mut *posted;
        update(&mut posted.status);
        let known = posted.leader_seen.map(|leader| (leader.ballot, leader.node));
        match posted.status.leader.map(|leader| (posted.status.ballot, leader)) {
            Some((ballot, node)) if known != Some((ballot, node)) => {
                let since = Instant::now();
                let leaderless = since.duration_since(posted.leaderless_since);
                posted.leader_seen = Some(Leader { ballot, node, since, leaderless });
                posted.leaderless_since = since;
            }
            Some(_) => posted.leaderless_since = Instant::now(),
            None => {}
        }
    }

    pub(crate) fn set_connected(&self, peer: NodeId, connected: bool) {
        self.with(peer, |contact| contact.connected = connected);
    }

    /// A peer has answered.
    pub(crate) fn heard(&self, peer: NodeId, progress: Progress) {
        let mut posted = self.lock();
        let committed = posted.status.committed;
        let Some(contact) = posted.peers.get_mut(&peer) else { return };
        let now = Instant::now();
        contact.heard = Some(now);
        contact.progress = progress;
        let behind = progress.durable < committed;
        contact.behind_since = behind.then(|| contact.behind_since.unwrap_or(now));
    }

    pub(crate) fn refused_connection(&self) {
        self.lock().status.refused_connections += 1;
    }

    pub(crate) fn dropped(&self, peer: NodeId, messages: u64) {
        self.with(peer, |contact| contact.dropped += messages);
    }

    fn with(&self, peer: NodeId, change: impl FnOnce(&mut Contact)) {
        if let Some(contact) = self.lock().peers.get_mut(&peer) {
            change(contact);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Posted> {
        // Each change is a plain assignment: a panic elsewhere leaves nothing half done.
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contact {
    fn status(&self, node: NodeId, committed: Index) -> PeerStatus {
        PeerStatus {
            node,
            address: self.address.clone(),
            connected: self.connected,
            contact: self.heard.map(|at| at.elapsed()),
            durable: self.progress.durable,
            applied: self.progress.applied,
            lag_entries: committed.0.saturating_sub(self.progress.durable.0),
            lag_time: self.behind_since.map(|at| at.elapsed()),
            dropped: self.dropped,
        }
    }
}

#[cfg(test)]
mod tests;

mod applying;
mod peers;
mod promises;
mod puppet;
mod readmission;
mod repair;
mod replaying;
mod routing;
mod serving;
mod snapshots;
mod starting;
mod time;
mod writes;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::entry::{Entry, EntryKind};
use crate::event::FetchNext;
use crate::founding::FoundingRecord;
use crate::protocol::PeerFaults;
use crate::types::{Digest, Index, LogId, Start};
use crate::write::{Gap, Identity, RecoveredLog};

/// A protocol that takes the entries it is sent, and otherwise does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stub {
    role: Role,
}

impl Protocol for Stub {
    const NAME: &'static str = "stub";
    type Message = Vec<Entry>;
    type Pledge = Nothing;

    fn recover(
        _: NodeId,
        _: &Settings,
        _: Option<Nothing>,
        _: &mut Log,
        _: &mut Effects<Vec<Entry>>,
    ) -> Stub {
        Stub { role: Role::Follower }
    }

    fn step(
        &mut self,
        _: Now,
        input: Input<Vec<Entry>>,
        log: &mut Log,
        _: &mut Effects<Vec<Entry>>,
    ) {
        if let Input::Message { message, .. } = input {
            let _ = log.splice(LogId::ZERO, message);
        }
    }

    fn flush(&mut self, _: Now, _: &mut Log, _: &mut Effects<Vec<Entry>>) {}

    fn pledge(&self) -> Nothing {
        Nothing
    }

    fn standing(&self) -> Standing {
        let ballot = Ballot(1);
        Standing { role: self.role, ballot, leader: None, serving: false }
    }

    fn faults(&self) -> PeerFaults {
        PeerFaults { count: 3, last: Some((PEER, "nonsense".to_owned())) }
    }

    fn vouches(_: &Vec<Entry>) -> bool {
        false
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Nothing;

impl Pledge for Nothing {
    fn to_bytes(&self) -> PledgeBytes {
        [1; 64]
    }

    fn from_bytes(_: &PledgeBytes) -> Option<Nothing> {
        Some(Nothing)
    }

    fn promise(&self) -> Nothing {
        Nothing
    }

    fn joined(_: Option<Nothing>, _: Nothing) -> Nothing {
        Nothing
    }
}

const ME: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);

fn founders() -> Membership {
    Membership::new([(ME, Incarnation(101)), (PEER, Incarnation(102))])
}

fn started(settings: Settings) -> Replica<Stub> {
    started_anew(settings, 7)
}

/// A disk that holds nothing yet.
fn empty_disk(nonce: u64) -> Recovered {
    let identity = Identity {
        node: ME,
        cluster: String::new(),
        protocol: String::new(),
        incarnation: Incarnation(101),
    };
    let mut lineage = Lineage::default();
    lineage.begin(nonce);
    Recovered {
        mute: false,
        peers: BTreeMap::new(),
        identity,
        lineage,
        founding: FoundingRecord::default(),
        pledge: None,
        sworn: None,
        snapshot: None,
        log: RecoveredLog::default(),
    }
}

/// The same disk, with another draw.
fn started_anew<P: Protocol>(settings: Settings, nonce: u64) -> Replica<P> {
    let recovered = empty_disk(nonce);
    let members = [ME, PEER].into();
    let config = ReplicaConfig { me: ME, members, bootstrap: false, settings };
    Replica::recover(config, recovered, Now::default(), &mut Vec::new()).unwrap()
}

#[test]
fn a_disk_that_counts_its_starts_anew_does_not_repeat_names() {
    let settings = Settings::default();
    let mut lives = [7, 8].map(|nonce| started_anew::<Stub>(settings.clone(), nonce));
    let [before, restored] = &mut lives;
    let names: BTreeSet<_> = (0..1000).map(|_| before.name_request()).collect();
    assert_eq!(names.len(), 1000);
    assert!((0..1000).all(|_| !names.contains(&restored.name_request())));
}

#[test]
fn a_snapshot_that_cannot_be_stored_is_not_fetched_at_each_offer() {
    let mut replica = started(Settings::default());
    be_told_that_the_cluster_is_formed(&mut replica);
    let snapshot = SnapshotMeta {
        last: LogId::new(Index(9), Ballot(1)),
        digest: Digest::ZERO,
        membership: founders(),
        time: LogTime(0),
        size_bytes: 10,
        content: Digest::ZERO,
    };
    let (mut begun, mut out) = (0, Vec::new());
    // A leader offers it with each of its heartbeats, for two seconds.
    for offer in 0..50 {
        let now = Now { monotonic: offer * Duration::from_millis(40), ..Now::default() };
        replica.fetch_snapshot(now, PEER, snapshot.clone(), &mut out);
        if out.drain(..).any(|effect| matches!(effect, Effect::BeginFetch { .. })) {
            begun += 1;
            let (snapshot, next) = (snapshot.id(), FetchNext::Failed);
            replica.step(now, Event::FetchProgress { snapshot, next }, &mut out);
        }
    }
    assert_eq!(begun, 4);
}

/// Carries out what it takes to have events processed by a shell whose disk is quick.
fn process<P: Protocol>(
    replica: &mut Replica<P>,
    event: Event<P::Message>,
) -> Vec<Effect<P::Message>> {
    let now = Now::default();
    let mut events = vec![event];
    let mut all = Vec::new();
    while let Some(event) = events.pop() {
        let mut out = Vec::new();
        replica.step(now, event, &mut out);
        replica.flush(now, &mut out);
        events.extend(out.iter().filter_map(|effect| match effect {
            Effect::Persist { seq, .. } => Some(Event::Saved(*seq)),
            _ => None,
        }));
        all.extend(out);
    }
    all
}

fn from_peer<M>(message: PeerMessage<M>) -> Event<M> {
    Event::Message(Envelope {
        from: PEER,
        to: ME,
        incarnation: Incarnation(102),
        start: Start { count: 1, nonce: 0 },
        previous_nonce: 0,
        has_room: true,
        known: None,
        message,
    })
}

fn be_told_that_the_cluster_is_formed<P: Protocol>(replica: &mut Replica<P>) {
    let record = FoundingRecord { round: 1, list: Some(founders()), formed: true };
    let message = crate::founding::FoundingMessage { record, asks: false };
    process(replica, from_peer(PeerMessage::Founding(message)));
    assert!(replica.status().formed);
}

#[test]
fn what_the_protocol_holds_against_peers_stands_in_the_status() {
    let mut replica = started(Settings::default());
    assert_eq!(replica.status().peer_faults, PeerFaults::default());
    be_told_that_the_cluster_is_formed(&mut replica);
    let PeerFaults { count, last } = replica.status().peer_faults;
    assert_eq!((count, last), (3, Some((PEER, "nonsense".to_owned()))));
}

fn failures(effects: &[Effect<Vec<Entry>>]) -> Vec<Failure> {
    let failure = |effect: &_| match effect {
        Effect::Failed { failure, .. } => Some(*failure),
        _ => None,
    };
    effects.iter().filter_map(failure).collect()
}

#[test]
fn a_disk_that_filled_up_before_the_cluster_was_formed_takes_no_entries() {
    let mut replica = started(Settings::default());
    process(&mut replica, Event::Room(false));
    be_told_that_the_cluster_is_formed(&mut replica);
    let opening = Log::founded_by(founders()).opening();
    let id = LogId::new(Index(1), Ballot(1));
    let entry = Entry::new(id, founders().digest(), opening);
    process(&mut replica, from_peer(PeerMessage::Protocol(vec![entry.clone()])));
    assert_eq!(replica.status().last, LogId::ZERO);
    process(&mut replica, Event::Room(true));
    process(&mut replica, from_peer(PeerMessage::Protocol(vec![entry])));
    assert_eq!(replica.status().last, id);
}

/// A leader is asked for an entry, and what it reads was cut off while it followed: it says neither
/// that it lacks the entry nor what stood in its place.
#[test]
fn what_was_cut_off_since_it_was_read_is_not_what_a_leader_says_of_its_log() {
    let mut replica = started(Settings::default());
    be_told_that_the_cluster_is_formed(&mut replica);
    let opening = Log::founded_by(founders()).opening();
    let first = Entry::new(LogId::new(Index(1), Ballot(1)), founders().digest(), opening);
    let second = |ballot| {
        let noop = crate::entry::Proposal::new(EntryKind::Noop, LogTime(0), Bytes::new());
        Entry::new(LogId::new(Index(2), Ballot(ballot)), first.digest(), noop)
    };
    let (cut_off, held) = (second(1), second(2));
    let entries = vec![first.clone(), held.clone()];
    process(&mut replica, from_peer(PeerMessage::Protocol(entries)));
    replica.formed.as_mut().unwrap().protocol.role = Role::Leader;
    for (read, answer) in [
        (vec![cut_off.clone()], None),
        (vec![first.clone(), cut_off], Some(vec![first.clone()])),
        (vec![first.clone(), held.clone()], Some(vec![first.clone(), held.clone()])),
    ] {
        replica.repairing.helping.insert(PEER, (Index(2), held.digest()));
        let (from, reader) = (read[0].index(), Reader::Repair(PEER));
        let effects = process(&mut replica, Event::EntriesRead { reader, from, entries: read });
        let said = effects.into_iter().filter_map(|effect| match effect {
            Effect::Send(Envelope { message: PeerMessage::Repair(repair), .. }) => Some(repair),
            _ => None,
        });
        let expected = answer.map(|entries| Repair::Entries { entries });
        assert_eq!(said.collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
    }
}

/// It may have acknowledged whatever the leader held when it asked.
#[test]
fn a_mute_replica_is_mute_until_its_disk_has_all_that_it_has_to_get() {
    let mut replica = started(Settings::default());
    be_told_that_the_cluster_is_formed(&mut replica);
    let opening = Log::founded_by(founders()).opening();
    let first = Entry::new(LogId::new(Index(1), Ballot(1)), founders().digest(), opening);
    let noop = crate::entry::Proposal::new(EntryKind::Noop, LogTime(0), Bytes::new());
    let second = Entry::new(LogId::new(Index(2), Ballot(1)), first.digest(), noop);
    replica.fall_mute();
    process(&mut replica, from_peer(PeerMessage::Protocol(vec![first.clone()])));
    let (request, through) = (replica.name_request(), second.id);
    let catch_up = Readmission::CatchUp { request, through };
    process(&mut replica, from_peer(PeerMessage::Readmission(catch_up)));
    assert!(replica.status().mute, "it lacks an entry");
    let (now, mut out) = (Now::default(), Vec::new());
    replica.step(now, from_peer(PeerMessage::Protocol(vec![first, second])), &mut out);
    replica.flush(now, &mut out);
    assert!(replica.status().mute, "the entry is in memory only");
    for effect in out {
        if let Effect::Persist { seq, .. } = effect {
            process(&mut replica, Event::Saved(seq));
        }
    }
    assert!(!replica.status().mute);
}

#[test]
fn small_requests_that_wait_for_a_leader_are_bounded_too() {
    let limit = 100 * Entry::OVERHEAD;
    let settings =
        Settings { max_command_bytes: limit, uncommitted_bytes: limit, ..Settings::default() };
    let mut replica = started(settings);
    let mut refused = [0, 0];
    for _ in 0..200 {
        let request = replica.name_request();
        let payload = Bytes::from_static(b"x");
        let kind = EntryKind::Command;
        let ended = process(&mut replica, Event::Propose { request, kind, payload });
        refused[0] += failures(&ended).iter().filter(|f| **f == Failure::Busy).count();
        let request = replica.name_request();
        let ended = process(&mut replica, Event::Read { request });
        refused[1] += failures(&ended).iter().filter(|f| **f == Failure::Busy).count();
    }
    assert_eq!(refused, [102, 100]);
}

#[test]
fn the_largest_command_is_taken_however_small_the_limit_on_all() {
    let limit = 1000;
    let settings =
        Settings { max_command_bytes: limit, uncommitted_bytes: limit, ..Settings::default() };
    assert_eq!(settings.validate(), Ok(()));
    let mut replica = started(settings);
    let request = replica.name_request();
    let payload = Bytes::from(vec![0; limit]);
    let kind = EntryKind::Command;
    let ended = process(&mut replica, Event::Propose { request, kind, payload });
    assert_eq!(failures(&ended), []);
}

#[test]
fn what_never_found_a_leader_ends_once_and_as_not_proposed() {
    let mut replica = started(Settings::default());
    let request = replica.name_request();
    let read = replica.name_request();
    let payload = Bytes::from_static(b"x");
    process(&mut replica, Event::Propose { request, kind: EntryKind::Command, payload });
    process(&mut replica, Event::Read { request: read });
    let late = Now { monotonic: Duration::from_secs(6), wall: Duration::ZERO };
    let mut out = Vec::new();
    for _ in 0..2 {
        replica.step(late, Event::Timeout(Timer::Requests), &mut out);
        replica.flush(late, &mut out);
    }
    assert_eq!(failures(&out), [Failure::NoLeader, Failure::NoLeader]);
}

#[test]
fn a_request_may_wait_for_as_long_as_a_duration_can_say() {
    let settings = Settings { request_timeout: Duration::MAX, ..Settings::default() };
    assert_eq!(settings.validate(), Ok(()));
    let mut replica = started(settings);
    let (request, read) = (replica.name_request(), replica.name_request());
    let (kind, payload) = (EntryKind::Command, Bytes::from_static(b"x"));
    let now = Now { monotonic: Duration::from_secs(1), wall: Duration::ZERO };
    let mut out = Vec::new();
    replica.step(now, Event::Propose { request, kind, payload }, &mut out);
    replica.step(now, Event::Read { request: read }, &mut out);
    replica.step(now, Event::Timeout(Timer::Requests), &mut out);
    assert_eq!(failures(&out), []);
}

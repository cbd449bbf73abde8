use quorate_core::LogTime;

use super::*;

const PEER: NodeId = NodeId(2);

fn board() -> Board {
    let peers = [(PEER, "a:1".to_owned()), (NodeId(3), "b:1".to_owned())];
    Board::new(Status::new(NodeId(1), "c".to_owned(), "raft"), peers.into_iter())
}

fn peer(board: &Board) -> PeerStatus {
    board.status().peers.into_iter().find(|peer| peer.node == PEER).unwrap()
}

fn lead(board: &Board, ballot: u64, leader: Option<u64>) {
    board.post(|status| {
        (status.ballot, status.leader) = (Ballot(ballot), leader.map(NodeId));
    });
}

/// As if that had been so long ago.
fn age(board: &Board, by: Duration) {
    let mut posted = board.lock();
    let earlier = |at: Instant| at.checked_sub(by).unwrap();
    posted.leaderless_since = earlier(posted.leaderless_since);
    if let Some(leader) = &mut posted.leader_seen {
        leader.since = earlier(leader.since);
    }
    for contact in posted.peers.values_mut() {
        contact.heard = contact.heard.map(earlier);
        contact.behind_since = contact.behind_since.map(earlier);
    }
}

const AGE: Duration = Duration::from_secs(30);

#[test]
fn how_far_a_peer_lags_is_told_in_entries_and_since_when_in_time() {
    let board = board();
    board.post(|status| status.committed = Index(10));
    let unheard = peer(&board);
    assert_eq!((unheard.contact, unheard.lag_time, unheard.lag_entries), (None, None, 10));

    let progress = |durable, applied| Progress { durable: Index(durable), applied: Index(applied) };
    board.heard(PEER, progress(9, 8));
    let behind = peer(&board);
    assert_eq!((behind.durable, behind.applied, behind.lag_entries), (Index(9), Index(8), 1));
    age(&board, AGE);
    // It comes nearer, but is not there.
    board.post(|status| status.committed = Index(12));
    board.heard(PEER, progress(11, 11));
    let behind = peer(&board);
    assert!(behind.lag_time.is_some_and(|lag| lag >= AGE), "{behind:?}");
    assert!(behind.contact.is_some_and(|contact| contact < behind.lag_time.unwrap()));
    board.heard(PEER, progress(12, 11));
    let there = peer(&board);
    assert_eq!((there.lag_time, there.lag_entries), (None, 0));
    age(&board, AGE);
    board.heard(PEER, progress(11, 11));
    assert!(peer(&board).lag_time.is_some_and(|lag| lag < AGE), "it was there meanwhile");
    assert_eq!(board.status().peers[1].contact, None);
}

#[test]
fn an_election_is_told_with_its_age_and_for_how_long_nobody_led() {
    let board = board();
    assert_eq!(board.status().last_election, None);
    age(&board, AGE);
    lead(&board, 1, Some(2));
    let first = board.status().last_election.unwrap();
    assert_eq!((first.ballot, first.leader), (Ballot(1), NodeId(2)));
    assert!(first.leaderless >= AGE && first.age < AGE, "{first:?}");
    age(&board, AGE);
    // The same is no election, and while somebody leads nobody is without a leader.
    lead(&board, 1, Some(2));
    let same = board.status().last_election.unwrap();
    assert_eq!((same.ballot, same.leaderless), (first.ballot, first.leaderless));
    assert!(same.age >= AGE, "{same:?}");
    lead(&board, 2, None);
    assert_eq!(board.status().last_election.unwrap().ballot, Ballot(1));
    lead(&board, 2, Some(2));
    let second = board.status().last_election.unwrap();
    assert_eq!(second.ballot, Ballot(2));
    assert!(second.leaderless < AGE && second.age < AGE, "{second:?}");
    lead(&board, 2, Some(3));
    assert_eq!(board.status().last_election.unwrap().leader, NodeId(3));
}

#[test]
fn connections_and_what_was_dropped_are_counted_for_each_peer() {
    let board = board();
    board.set_connected(PEER, true);
    board.dropped(PEER, 3);
    board.dropped(PEER, 4);
    board.dropped(NodeId(9), 1);
    board.refused_connection();
    let status = board.status();
    let of_peers: Vec<_> =
        status.peers.iter().map(|peer| (peer.connected, peer.dropped, &*peer.address)).collect();
    assert_eq!(of_peers, [(true, 7, "a:1"), (false, 0, "b:1")]);
    assert_eq!(status.refused_connections, 1);
    board.set_connected(PEER, false);
    assert!(!peer(&board).connected);
}

#[test]
fn what_a_node_says_of_its_progress_is_what_it_has_posted() {
    let board = board();
    assert_eq!(board.identity(), Digest::ZERO);
    board.post(|status| {
        (status.durable, status.applied) = (Index(5), Index(4));
        status.identity = Some(Digest([3; 16]));
    });
    assert_eq!(board.progress(), Progress { durable: Index(5), applied: Index(4) });
    assert_eq!(board.identity(), Digest([3; 16]));
}

/// What a replica may say of itself: nothing of it is what a node begins with.
fn of_replica([formed, mute, serving]: [bool; 3]) -> quorate_core::Status {
    let mut ignored = Ignored::default();
    (ignored.strangers, ignored.outdated) = (1, 2);
    let membership = Membership::new([(NodeId(1), Incarnation(20)), (NodeId(2), Incarnation(21))]);
    let snapshot = SnapshotMeta {
        last: LogId::new(Index(3), Ballot(4)),
        digest: Digest([5; 16]),
        membership: Membership::default(),
        time: LogTime(6),
        size_bytes: 7,
        content: Digest([8; 16]),
    };
    quorate_core::Status {
        node: NodeId(1),
        incarnation: Incarnation(9),
        formed,
        mute,
        lost: Some(Index(10)),
        role: Role::Leader,
        ballot: Ballot(11),
        leader: Some(NodeId(12)),
        serving,
        last: LogId::new(Index(13), Ballot(14)),
        durable: Index(15),
        committed: Index(16),
        applied: Index(17),
        snapshot: Some(snapshot),
        membership,
        ignored,
        peer_faults: PeerFaults { count: 18, last: Some((NodeId(2), "fault".to_owned())) },
    }
}

#[test]
fn all_that_a_replica_says_of_itself_stands_in_the_status() {
    for flags in [[true, false, false], [false, true, false], [false, false, true]] {
        let mut status = Status::new(NodeId(1), "c".to_owned(), "raft");
        status.follow(of_replica(flags), Some(Digest([19; 16])), Index(2));
        let replica = of_replica(flags);
        let expected = Status {
            node: replica.node,
            cluster: "c".to_owned(),
            identity: Some(Digest([19; 16])),
            protocol: "raft",
            incarnation: replica.incarnation,
            formed: replica.formed,
            mute: replica.mute,
            lost: replica.lost,
            role: replica.role,
            ballot: replica.ballot,
            leader: replica.leader,
            serving: replica.serving,
            first: Index(2),
            last: replica.last,
            durable: replica.durable,
            committed: replica.committed,
            applied: replica.applied,
            snapshot: replica.snapshot,
            membership: replica.membership,
            // Others post these.
            has_room: true,
            waiting: 0,
            peers: Vec::new(),
            last_election: None,
            ignored: replica.ignored,
            peer_faults: replica.peer_faults,
            refused_connections: 0,
        };
        assert_eq!(status, expected);
    }
}

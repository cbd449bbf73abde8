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

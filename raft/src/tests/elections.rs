//! Who leads, and when nobody may be replaced.

use std::time::Duration;

use quorate_core::{Ballot, Digest, Gap, Index, LogId, Protocol, Role, Timer};

use super::cluster::{Cluster, n};
use super::node::Node;
use crate::{AppendEntries, AppendEntriesReply, Appended, Message, PeerFault};

fn vote(term: u64, granted: bool) -> Message {
    Message::RequestVoteReply { term: Ballot(term), granted }
}

fn request(term: u64, last: LogId) -> Message {
    Message::RequestVote { term: Ballot(term), last, transfer: false }
}

/// The last entry of somebody who knows everything.
fn all_knowing(term: u64) -> LogId {
    LogId::new(Index(1000), Ballot(term))
}

#[test]
fn a_quorum_elects_the_one_that_times_out_first() {
    let cluster = Cluster::led_by_1(3);
    for id in 1..=3 {
        let standing = cluster.raft(id).standing();
        assert_eq!(standing.leader, Some(n(1)));
        assert_eq!(standing.ballot.0, 1);
        assert_eq!(standing.role == Role::Leader, id == 1);
        assert_eq!(standing.serving, id == 1);
        cluster.assert_log(id, &[1], 1);
    }
}

#[test]
fn a_single_server_leads_only_once_its_own_vote_is_on_disk() {
    let mut cluster = Cluster::of(1);
    cluster.timeout(1, Timer::Election);
    assert_eq!(cluster.raft(1).standing().role, Role::Candidate);
    cluster.save(1);
    assert!(cluster.node(1).leads());
}

#[test]
fn a_server_whose_disk_is_full_votes_and_keeps_its_vote_although_entries_wait_for_room() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(2);
    cluster.slow.insert(n(3));
    cluster.propose(1, "a");
    cluster.settle();
    assert!(cluster.node(3).has_writes(), "an entry that was taken before the disk was full");
    let term = cluster.term(1);
    assert_eq!(cluster.committed(1), 1, "nobody acknowledges it");

    cluster.heal();
    cluster.isolate(1);
    cluster.now += cluster.settings.election.end;
    let last = cluster.node(3).last();
    cluster.forge(2, 3, request(term + 1, last));
    let votes = |cluster: &mut Cluster| cluster.take(|sent| sent.message == vote(term + 1, true));
    assert_eq!(votes(&mut cluster).len(), 0, "the vote is not on disk");
    cluster.swear(3);
    assert_eq!(votes(&mut cluster).len(), 1);
    // As a leader of the new term, 2 is answered, too; the entries are not acknowledged.
    let heartbeat = |probe| {
        Message::AppendEntries(AppendEntries {
            term: Ballot(term + 1),
            probe,
            previous: last,
            commit: Index(1),
            entries: Vec::new(),
        })
    };
    for probe in 1..50 {
        cluster.forge(2, 3, heartbeat(probe));
        let answers = cluster.take(|sent| sent.from == n(3));
        let outcome = Appended::Held(last.index);
        let held = AppendEntriesReply { term: Ballot(term + 1), probe, outcome };
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].message, Message::AppendEntriesReply(held));
    }
    assert!(cluster.node(3).writes() <= 3, "answers pile up");

    cluster.crash(3);
    cluster.restart(3);
    assert_eq!(cluster.last_index(3), Index(1));
    cluster.forge(1, 3, request(term + 1, all_knowing(term)));
    cluster.settle();
    assert_eq!(cluster.term(3), term + 1);
    assert_eq!(votes(&mut cluster).len(), 0, "it has voted for another one in that term");
}

#[test]
fn a_candidate_whose_disk_is_full_counts_its_own_vote() {
    let mut cluster = Cluster::of(1);
    cluster.timeout(1, Timer::Election);
    assert!(!cluster.node(1).leads());
    cluster.swear(1);
    assert!(cluster.node(1).leads());
    assert_eq!(cluster.committed(1), 0, "its opening is not on disk");
    cluster.save(1);
    cluster.settle();
    assert_eq!(cluster.committed(1), 1);
}

#[test]
fn a_candidate_whose_log_is_found_to_be_damaged_gives_up() {
    let term = Ballot(2);
    let pre_vote = Message::PreVoteReply { term: Ballot(1), asked: term, granted: true };
    for (has_pre_votes, last_vote) in [(false, pre_vote), (true, vote(2, true))] {
        let mut cluster = Cluster::led_by_1(3);
        cluster.now += cluster.settings.election.end;
        cluster.isolate(1);
        cluster.timeout(2, Timer::Election);
        if has_pre_votes {
            cluster.slow.insert(n(3));
            cluster.settle();
            assert_eq!(cluster.term(2), 2, "the vote of 3 is not on disk");
        }
        assert_eq!(cluster.raft(2).standing().role, Role::Candidate);
        let log = &mut cluster.nodes.get_mut(&n(2)).unwrap().log;
        let (first, digest) = (log.last().index, log.last_digest());
        let before = Digest::ZERO;
        log.note_damage(Gap { first, last: first, digest, before, ids_known: true });
        assert!(!log.is_whole());
        cluster.forge(3, 2, last_vote);
        let standing = cluster.raft(2).standing();
        assert_eq!((standing.role, standing.leader), (Role::Follower, None));
    }
}

/// Damaged is not absent (Alagappan et al. 2018, section 3.4): what cannot be read counts still.
#[test]
fn who_votes_compares_its_whole_log_whatever_of_it_is_damaged() {
    for voted in [true, false] {
        let mut cluster = Cluster::led_by_1(3);
        cluster.propose(1, "a");
        cluster.settle();
        let log = &mut cluster.nodes.get_mut(&n(3)).unwrap().log;
        let (first, last) = (log.entries(Index(1), 1).unwrap().remove(0), log.last());
        let gap = Gap {
            first: first.index(),
            last: first.index(),
            digest: first.digest(),
            before: first.parent,
            ids_known: true,
        };
        log.note_damage(gap);
        assert!(!log.is_whole());
        cluster.now += cluster.settings.election.end;
        let end = if voted { last } else { first.id };
        let granted = |cluster: &mut Cluster, wanted: Message| {
            // This disk never gets to what is repaired: there is always something left to be written.
            for _ in 0..3 {
                cluster.save(3);
            }
            cluster.take(|sent| sent.from == n(3)).iter().any(|sent| sent.message == wanted)
        };
        cluster.forge(2, 3, Message::PreVote { term: Ballot(2), last: end });
        let (term, asked) = (Ballot(1), Ballot(2));
        let pre_vote = Message::PreVoteReply { term, asked, granted: true };
        assert_eq!(granted(&mut cluster, pre_vote), voted);
        cluster.forge(2, 3, request(2, end));
        assert_eq!(granted(&mut cluster, vote(2, true)), voted);
    }
}

#[test]
fn a_leader_that_a_minority_answers_gives_up() {
    for answering in [1, 2] {
        let mut cluster = Cluster::led_by_1(5);
        (2 + answering..=5).for_each(|id| cluster.isolate(id));
        for _ in 0..5 {
            cluster.now += cluster.settings.election.start / 2;
            cluster.timeout(1, Timer::Heartbeat);
            cluster.settle();
        }
        cluster.timeout(1, Timer::Quorum);
        assert_eq!(cluster.node(1).leads(), answering == 2);
    }
}

#[test]
fn a_candidate_does_not_lead_by_a_minority() {
    let mut cluster = Cluster::of(5);
    cluster.isolate(4);
    cluster.isolate(5);
    cluster.isolate(3);
    cluster.timeout(1, Timer::Election);
    cluster.settle();
    assert_eq!((cluster.leader(), cluster.term(1)), (None, 0));
}

#[test]
fn a_vote_that_arrives_twice_counts_once() {
    let mut cluster = Cluster::of(5);
    (1..=5).for_each(|id| cluster.set_log(id, &[1]));
    cluster.timeout(1, Timer::Election);
    (1..=5).rev().for_each(|id| cluster.deliver_to(id));
    cluster.isolate(1);
    cluster.settle();
    assert_eq!(cluster.raft(1).standing().role, Role::Candidate);
    assert_eq!(cluster.term(1), 2);
    for _ in 0..3 {
        cluster.forge(2, 1, vote(2, true));
    }
    assert!(!cluster.node(1).leads());
    cluster.forge(3, 1, vote(2, true));
    assert!(cluster.node(1).leads());
}

#[test]
fn votes_and_pre_votes_of_an_earlier_campaign_do_not_count() {
    let mut cluster = Cluster::of(3);
    cluster.isolate(1);
    for _ in 0..2 {
        cluster.timeout(1, Timer::Election);
        cluster.settle();
        cluster.forge(
            2,
            1,
            Message::PreVoteReply {
                term: cluster.ballot(1),
                asked: Ballot(cluster.term(1) + 1),
                granted: true,
            },
        );
        cluster.settle();
    }
    assert_eq!(cluster.term(1), 2);
    cluster.forge(2, 1, vote(1, true));
    assert!(!cluster.node(1).leads());

    cluster.timeout(1, Timer::Election);
    cluster.forge(2, 1, Message::PreVoteReply { term: Ballot(1), asked: Ballot(2), granted: true });
    // Votes of the campaign that timed out do not count as pre-votes either.
    cluster.forge(2, 1, vote(2, true));
    assert_eq!(cluster.term(1), 2);
    assert!(!cluster.node(1).leads());
}

#[test]
fn a_vote_leaves_with_the_write_that_records_it() {
    let mut cluster = Cluster::of(3);
    cluster.forge(1, 2, request(1, LogId::ZERO));
    assert_eq!(cluster.take(|sent| sent.from == n(2)), []);
    cluster.save(2);
    let sent = cluster.take(|sent| sent.from == n(2));
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].to, &sent[0].message), (n(1), &vote(1, true)));
}

#[test]
fn who_votes_for_another_gives_its_own_campaign_up() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(1, &[1]);
    cluster.timeout(1, Timer::Election);
    assert_eq!(cluster.raft(1).standing().role, Role::Candidate);
    cluster.forge(2, 1, request(1, all_knowing(1)));
    assert_eq!(cluster.raft(1).standing().role, Role::Follower);
}

#[test]
fn the_own_election_is_put_off_by_a_vote_given_and_not_by_a_vote_refused_or_a_higher_term() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(1, &[1]);
    let due = |cluster: &Cluster| cluster.node(1).timers[&Timer::Election];
    let before = due(&cluster);
    cluster.now += Duration::from_millis(10);
    cluster.forge(2, 1, request(2, LogId::ZERO));
    cluster.forge(2, 1, vote(3, false));
    assert_eq!((cluster.term(1), due(&cluster)), (3, before));
    // In this term its part of the range is the same as at first.
    cluster.forge(2, 1, request(4, all_knowing(1)));
    assert_eq!(due(&cluster), before + Duration::from_millis(10));
}

#[test]
fn a_vote_is_remembered_across_a_restart() {
    let mut cluster = Cluster::of(3);
    cluster.forge(1, 2, request(1, LogId::ZERO));
    cluster.settle();
    cluster.crash(2);
    cluster.restart(2);
    cluster.take(|_| true);
    cluster.forge(3, 2, request(1, all_knowing(0)));
    cluster.forge(1, 2, request(1, LogId::ZERO));
    cluster.save(2);
    cluster.save(2);
    let answers = cluster.take(|sent| sent.from == n(2));
    let to = |id| answers.iter().find(|sent| sent.to == n(id)).map(|sent| sent.message.clone());
    assert_eq!(to(3), Some(vote(1, false)));
    assert_eq!(to(1), Some(vote(1, true)));
}

#[test]
fn a_log_that_lacks_entries_gets_no_vote_even_if_they_are_not_saved() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.slow.insert(n(2));
    cluster.propose(1, "a");
    cluster.deliver_to(2);
    assert_eq!(cluster.node(2).log.durable(), Index(1));
    cluster.now += cluster.settings.election.end;
    cluster.take(|_| true);
    cluster.forge(3, 2, request(2, LogId::new(Index(1), Ballot(1))));
    cluster.save_all(2);
    let answers = cluster.take(|sent| sent.to == n(3));
    assert!(answers.iter().any(|sent| sent.message == vote(2, false)), "{answers:?}");
    assert!(answers.iter().all(|sent| sent.message != vote(2, true)), "{answers:?}");
}

#[test]
fn nobody_is_voted_for_while_the_leader_is_heard() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.heartbeats(1);
    cluster.timeout(3, Timer::Election);
    cluster.settle();
    assert_eq!((cluster.leader(), cluster.term(3)), (Some(n(1)), 1));
    // Not even for one that campaigns without asking before; the term stays, too.
    cluster.forge(3, 2, request(7, all_knowing(7)));
    cluster.forge(3, 1, request(7, all_knowing(7)));
    assert_eq!((cluster.term(1), cluster.term(2)), (1, 1));
    let refusals = cluster.take(|sent| sent.message == vote(1, false));
    assert_eq!(refusals.len(), 2);
}

#[test]
fn once_the_leader_is_silent_another_is_elected() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(1);
    cluster.now += cluster.settings.election.start - Duration::from_millis(1);
    cluster.timeout(2, Timer::Election);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(1)), "node 3 still counts on the leader");
    cluster.now += Duration::from_millis(1);
    cluster.timeout(2, Timer::Election);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(2)));
    cluster.heal();
    cluster.heartbeats(1);
    assert_eq!(cluster.raft(1).standing().leader, Some(n(2)));
}

#[test]
fn a_leader_that_asks_for_votes_is_not_protected_from_itself() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(1);
    cluster.restart(1);
    // The others have just heard from it.
    cluster.timeout(1, Timer::Election);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(1)));
    assert_eq!(cluster.term(1), 2);
}

#[test]
fn a_pre_vote_promises_nothing() {
    let mut cluster = Cluster::of(3);
    let before = cluster.raft(2).clone();
    let timer = cluster.node(2).timers.clone();
    cluster.now += Duration::from_millis(10);
    let ask = Message::PreVote { term: Ballot(1), last: LogId::ZERO };
    cluster.forge(1, 2, ask);
    cluster.save(2);
    let grant = Message::PreVoteReply { term: Ballot(0), asked: Ballot(1), granted: true };
    assert_eq!(cluster.take(|_| true)[0].message, grant);
    assert_eq!(cluster.raft(2), &before, "neither term nor vote nor contact");
    assert_eq!(cluster.node(2).timers, timer, "its own election is not put off");
}

#[test]
fn who_is_refused_a_pre_vote_enters_the_higher_term() {
    let mut cluster = Cluster::led_by_1(3);
    let refusal = Message::PreVoteReply { term: Ballot(7), asked: Ballot(2), granted: false };
    cluster.forge(2, 3, refusal);
    assert_eq!(cluster.term(3), 7);
}

#[test]
fn a_longer_log_of_an_earlier_term_gets_no_vote() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(2, &[1, 2]);
    let last = LogId::new(Index(9), Ballot(1));
    cluster.forge(1, 2, Message::RequestVote { term: Ballot(3), last, transfer: false });
    cluster.save_all(2);
    let refusal = Message::RequestVoteReply { term: Ballot(3), granted: false };
    let said: Vec<Message> = cluster.take(|_| true).into_iter().map(|sent| sent.message).collect();
    assert_eq!(said, [refusal]);
}

#[test]
fn a_pre_vote_is_refused_to_whom_a_vote_would_be_refused() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.now += cluster.settings.election.end;
    for (term, last, granted) in [
        (2, LogId::new(Index(1), Ballot(1)), false),
        (2, LogId::new(Index(2), Ballot(1)), true),
        (1, all_knowing(1), false),
    ] {
        let asked = Ballot(term);
        cluster.forge(3, 2, Message::PreVote { term: asked, last });
        let reply = Message::PreVoteReply { term: Ballot(1), asked, granted };
        assert_eq!(cluster.take(|_| true)[0].message, reply);
    }
}

#[test]
fn a_refused_pre_vote_passes_the_higher_term_on() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    // Node 3 has campaigned to no avail, and lacks an entry: it cannot win, and must not keep
    // others from winning.
    cluster.isolate(3);
    cluster.propose(1, "b");
    cluster.settle();
    let usurp = Message::TimeoutNow { term: Ballot(1) };
    cluster.heal();
    cluster.forge(1, 3, usurp);
    cluster.take(|sent| sent.from == n(3));
    assert_eq!(cluster.term(3), 2);
    cluster.crash(1);
    cluster.now += cluster.settings.election.end;
    cluster.timeout(2, Timer::Election);
    cluster.settle();
    assert_eq!(cluster.term(2), 2, "it has learned the term");
    cluster.timeout(2, Timer::Election);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(2)));
}

#[test]
fn a_voter_that_lags_behind_in_terms_can_grant_a_pre_vote() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(1, &[1, 5]);
    cluster.crash(3);
    cluster.timeout(1, Timer::Election);
    cluster.settle();
    assert_eq!((cluster.leader(), cluster.term(2)), (Some(n(1)), 6));
}

#[test]
fn a_leader_of_the_past_learns_the_term_from_whom_it_commands() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(1);
    cluster.now += cluster.settings.election.end;
    cluster.timeout(2, Timer::Election);
    cluster.settle();
    cluster.heal();
    cluster.timeout(1, Timer::Heartbeat);
    cluster.deliver_to(3);
    let refused = Message::AppendEntriesReply(AppendEntriesReply {
        term: Ballot(2),
        probe: 0,
        outcome: Appended::Refused,
    });
    assert!(cluster.network.iter().any(|sent| sent.message == refused));
    cluster.deliver_to(1);
    let standing = cluster.raft(1).standing();
    assert_eq!((standing.role, standing.ballot), (Role::Follower, Ballot(2)));
    assert!(cluster.node(1).timers.contains_key(&Timer::Election));
}

#[test]
fn a_candidate_concedes_to_the_leader_of_its_term() {
    let mut cluster = Cluster::of(5);
    cluster.timeout(1, Timer::Election);
    cluster.timeout(2, Timer::Election);
    cluster.isolate(5);
    cluster.settle();
    // Both campaign; whoever wins, the other follows.
    let leader = cluster.leader().unwrap();
    for id in 1..=4 {
        assert_eq!(cluster.raft(id).standing().leader, Some(leader));
    }
}

#[test]
fn a_leader_whose_heartbeats_arrive_but_who_hears_no_quorum_steps_down() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.cut.extend([(n(2), n(1)), (n(3), n(1))]);
    let mut waited = Duration::ZERO;
    while cluster.node(1).leads() {
        cluster.heartbeats(1);
        waited += cluster.settings.heartbeat;
        cluster.fire_due_timers();
        assert!(waited <= cluster.settings.election.end + cluster.settings.heartbeat);
    }
    assert!(!cluster.raft(1).standing().serving);
    cluster.now += cluster.settings.election.start;
    cluster.timeout(2, Timer::Election);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(2)));
}

#[test]
fn a_leader_that_hears_a_quorum_stays() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.isolate(4);
    cluster.isolate(5);
    for _ in 0..100 {
        cluster.heartbeats(1);
        cluster.fire_due_timers();
        assert!(cluster.node(1).leads());
    }
}

#[test]
fn who_is_not_a_member_never_campaigns_but_votes() {
    let mut cluster = Cluster::of(3);
    // A node whose log does not list it: it believes it may not vote, and may be wrong.
    let stranger = Node::new(n(9), &cluster.founders, &cluster.settings);
    cluster.nodes.insert(n(9), stranger);
    cluster.timeout(9, Timer::Election);
    cluster.settle();
    let standing = cluster.raft(9).standing();
    assert_eq!((standing.role, standing.ballot), (Role::Follower, Ballot(0)));
    assert!(cluster.node(9).timers.contains_key(&Timer::Election));

    cluster.forge(1, 9, request(1, LogId::ZERO));
    cluster.save(9);
    assert_eq!(cluster.take(|sent| sent.from == n(9))[0].message, vote(1, true));
    // Nor does it when a leader asks it to.
    let append = AppendEntries {
        term: Ballot(1),
        probe: 1,
        previous: LogId::ZERO,
        commit: Index(0),
        entries: Vec::new(),
    };
    cluster.forge(1, 9, Message::AppendEntries(append));
    cluster.forge(1, 9, Message::TimeoutNow { term: Ballot(1) });
    assert_eq!(cluster.raft(9).standing().role, Role::Follower);
}

#[test]
fn the_votes_of_strangers_do_not_count() {
    let mut cluster = Cluster::of(3);
    cluster.isolate(1);
    cluster.timeout(1, Timer::Election);
    cluster.settle();
    for stranger in 7..=9 {
        let (term, asked) = (Ballot(0), Ballot(1));
        cluster.forge(stranger, 1, Message::PreVoteReply { term, asked, granted: true });
    }
    assert_eq!(cluster.term(1), 0);
}

#[test]
fn an_absurd_term_is_a_fault_and_moves_nobody() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.now += cluster.settings.election.end;
    let far = Ballot(u64::MAX);
    let last = all_knowing(u64::MAX);
    cluster.checks.faults_expected = true;
    cluster.forge(3, 2, Message::RequestVote { term: far, last, transfer: true });
    cluster.forge(3, 2, Message::PreVote { term: far, last });
    assert_eq!(cluster.raft(2).peer_faults(), (2, Some((n(3), PeerFault::AbsurdTerm))));
    assert_eq!(cluster.raft(2).faults().last, Some((n(3), "an absurd term".to_owned())));
    assert_eq!(cluster.term(2), 1);
}

#[test]
fn a_second_leader_of_the_same_term_is_a_fault_and_is_not_followed() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.checks.faults_expected = true;
    let append = AppendEntries {
        term: Ballot(1),
        probe: 9,
        previous: LogId::ZERO,
        commit: Index(0),
        entries: Vec::new(),
    };
    cluster.forge(3, 2, Message::AppendEntries(append.clone()));
    cluster.forge(3, 1, Message::AppendEntries(append));
    for id in 1..=2 {
        let fault = Some((n(3), PeerFault::SecondLeader));
        assert_eq!(cluster.raft(id).peer_faults(), (1, fault));
        assert_eq!(cluster.raft(id).standing().leader, Some(n(1)));
    }
}

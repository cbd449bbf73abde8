//! What a damaged log is given, and what it gives up.

use super::puppet::*;
use super::*;
use crate::message::PeerMessage as Message;

/// Entries 1 to 6, none of them known to be committed. What is in this range is lost.
fn damaged(first: usize, last: usize) -> (Stage, Vec<Entry>) {
    damaged_in(None, |entries| vec![gap_of(entries, first, last)])
}

/// Entries 1 to 6, of which a snapshot of this replica's own covers the first so many, and no more
/// are known to be committed. What is in these gaps is lost.
fn damaged_in(covered: Option<usize>, gaps: impl Fn(&[Entry]) -> Vec<Gap>) -> (Stage, Vec<Entry>) {
    let mut stage = Stage::new();
    stage.append(6);
    let entries = stage.log().entries(Index(1), usize::MAX).unwrap();
    let gaps = gaps(&entries);
    let end = gaps.last().unwrap().last;
    let found = RecoveredLog {
        base: LogId::ZERO,
        base_digest: three().digest(),
        ballots: vec![(Index(1), Ballot(1))],
        memberships: vec![(Index(1), three())],
        tail: entries.iter().filter(|entry| entry.index() > end).cloned().collect(),
        last: entries[5].id,
        last_digest: entries[5].digest(),
        last_time: LogTime(0),
        gaps,
        is_torn: false,
    };
    let snapshot = covered.map(|covered| snapshot_of(&entries[covered - 1]));
    *stage.log() = Log::recover(three(), snapshot, found);
    stage.save();
    (stage, entries)
}

/// Entries 1 to 6, all of them committed; memory does not hold them any more.
fn on_disk_only() -> (Stage, Vec<Entry>) {
    let mut stage = Stage::new();
    stage.append(6);
    stage.commit();
    let entries = stage.log().entries(Index(1), usize::MAX).unwrap();
    stage.log().trim_cache(0);
    (stage, entries)
}

/// True if somebody is asked for what is missing.
fn asks(effects: Vec<Effect<Word>>) -> bool {
    let repair = |(_, message): &Said| matches!(message, Message::Repair(Repair::Want { .. }));
    said(effects).iter().any(repair)
}

fn lacks(ballot: u64, last: &Entry) -> Message<Word> {
    let (ballot, last, digest) = (Ballot(ballot), last.index(), last.digest());
    Message::Repair(Repair::Lacks { ballot, last, digest })
}

#[test]
fn only_the_leader_of_now_says_of_what_is_missing_that_its_log_lacks_it() {
    let (mut stage, entries) = damaged(4, 4);
    stage.follow(PEER, 3);
    stage.hear(PEER, lacks(2, &entries[3]));
    stage.hear(PEER, lacks(4, &entries[3]));
    stage.hear(THIRD, lacks(3, &entries[3]));
    stage.hear(PEER, lacks(3, &entries[4]));
    let digest = Digest::of(b"another");
    let another = Repair::Lacks { ballot: Ballot(3), last: Index(4), digest };
    stage.hear(PEER, Message::Repair(another));
    assert_eq!(stage.log().gaps().len(), 1);
    assert_eq!(stage.log().last().index, Index(6));
    stage.hear(PEER, lacks(3, &entries[3]));
    assert_eq!(stage.log().last().index, Index(3));
    assert!(!stage.replica.status().mute, "it knows by name what it gave up");
}

#[test]
fn who_gives_up_what_it_does_not_know_by_name_is_mute() {
    let (mut stage, entries) = damaged(4, 5);
    stage.follow(PEER, 3);
    stage.hear(PEER, lacks(3, &entries[4]));
    assert_eq!(stage.log().last().index, Index(3));
    assert!(stage.replica.status().mute && !stage.log().may_vouch());
}

#[test]
fn who_gives_up_what_goes_on_from_something_else_than_its_log_holds_is_mute() {
    let (mut stage, entries) = damaged_in(None, |entries| {
        vec![Gap { before: Digest::of(b"another"), ..gap_of(entries, 4, 4) }]
    });
    stage.hear(PEER, Message::Repair(Repair::Entries { entries: entries[3..4].to_vec() }));
    assert_eq!(stage.log().last().index, Index(3));
    // The gap it knew by name; what it lost of the log before that, it does not.
    assert!(stage.replica.status().mute && !stage.log().may_vouch());
}

#[test]
fn nothing_that_is_known_to_be_committed_is_given_up_whatever_a_leader_lacks() {
    let (mut stage, entries) = on_disk_only();
    stage.on(Event::Damaged(vec![gap_of(&entries, 4, 5)]));
    assert_eq!(stage.log().gaps().len(), 1);
    stage.follow(PEER, 3);
    stage.hear(PEER, lacks(3, &entries[4]));
    assert_eq!(stage.log().gaps().len(), 1);
    assert_eq!(stage.log().last().index, Index(6));
}

#[test]
fn what_reaches_beyond_the_own_snapshot_is_given_up_from_there_on() {
    let (mut stage, entries) = damaged_in(Some(4), |entries| vec![gap_of(entries, 3, 5)]);
    stage.follow(PEER, 3);
    stage.hear(PEER, lacks(3, &entries[4]));
    assert_eq!(stage.log().base().index, Index(4), "the snapshot covers that");
    let missing: Vec<(Index, Index)> =
        stage.log().gaps().iter().map(|gap| (gap.first, gap.last)).collect();
    assert_eq!(missing, [(Index(5), Index(5))]);
    stage.hear(PEER, lacks(3, &entries[4]));
    assert!(stage.log().is_whole());
    assert_eq!((stage.log().last(), stage.log().committed()), (entries[3].id, Index(4)));
    assert!(!stage.replica.status().mute, "it knows by name what it gave up");
}

#[test]
fn what_precedes_a_gap_is_asked_for_before_the_gap_is_given_up() {
    let (mut stage, entries) = damaged_in(None, |entries| {
        let nameless = Gap { ids_known: false, ..gap_of(entries, 2, 3) };
        vec![nameless, gap_of(entries, 4, 4)]
    });
    stage.follow(PEER, 3);
    stage.hear(PEER, lacks(3, &entries[3]));
    assert_eq!(stage.log().gaps().len(), 2);
    stage.hear(PEER, lacks(3, &entries[2]));
    assert_eq!(stage.log().last(), entries[0].id);
}

fn want(first: u64, last: &Entry) -> Message<Word> {
    let (first, last, digest) = (Index(first), last.index(), last.digest());
    Message::Repair(Repair::Want { first, last, digest })
}

/// What was answered, of repairs.
fn repairs(said: Vec<Said>) -> Vec<Repair> {
    let repair = |(to, message)| match message {
        Message::Repair(repair) => {
            assert_eq!(to, PEER);
            Some(repair)
        }
        _ => None,
    };
    said.into_iter().filter_map(repair).collect()
}

#[test]
fn a_peer_gets_what_it_asks_for_and_no_more() {
    let mut stage = Stage::new();
    stage.append(6);
    let entries = stage.log().entries(Index(1), usize::MAX).unwrap();
    let helped = |stage: &mut Stage, message| repairs(stage.answers(PEER, message));
    for (first, last) in [(1, 6), (2, 4), (3, 3)] {
        let entries = entries[first - 1..last].to_vec();
        let message = want(first as u64, entries.last().unwrap());
        assert_eq!(helped(&mut stage, message), [Repair::Entries { entries }]);
    }
    assert_eq!(helped(&mut stage, want(0, &entries[2])), []);
    assert_eq!(helped(&mut stage, want(4, &entries[2])), []);
    assert_eq!(stage.replica.status().ignored.untimely, 2);
}

#[test]
fn however_often_a_peer_asks_for_what_is_on_disk_it_is_read_once_at_a_time() {
    let (mut stage, entries) = on_disk_only();
    let read_for = |stage: &mut Stage, peer| {
        let out = stage.hear(peer, want(2, &entries[3]));
        let reader = Reader::Repair(peer);
        let reads = |effect: &Effect<Word>| matches!(effect, Effect::ReadEntries { reader: it, .. } if *it == reader);
        out.iter().filter(|effect| reads(effect)).count()
    };
    for read in [entries[1..].to_vec(), Vec::new()] {
        let asked = [PEER, PEER, THIRD, PEER].map(|peer| read_for(&mut stage, peer));
        assert_eq!(asked, [1, 0, 1, 0]);
        for peer in [PEER, THIRD] {
            let (reader, from) = (Reader::Repair(peer), Index(2));
            stage.on(Event::EntriesRead { reader, from, entries: read.clone() });
        }
    }
}

#[test]
fn what_was_read_for_a_peer_and_is_compacted_by_now_says_nothing() {
    let (mut stage, entries) = on_disk_only();
    // Another entry than what the peer misses was read, and cut off since.
    let mut missed = entries[1].clone();
    missed.id.ballot = Ballot(9);
    stage.hear(PEER, want(2, &missed));
    stage.lead(2);
    let snapshot = snapshot_of(&entries[3]);
    stage.log().set_snapshot(snapshot.clone());
    stage.log().compact(&snapshot);
    let (reader, from) = (Reader::Repair(PEER), Index(2));
    let said = said(stage.on(Event::EntriesRead { reader, from, entries: entries[1..].to_vec() }));
    assert_eq!(repairs(said), []);
}

#[test]
fn only_who_leads_says_that_it_lacks_what_it_does_not_hold() {
    let mut stage = Stage::new();
    stage.append(6);
    let mut longer = stage.log().entries(Index(6), usize::MAX).unwrap();
    longer[0].id.index = Index(7);
    let mut another = stage.log().entries(Index(4), usize::MAX).unwrap();
    another[0].id.ballot = Ballot(9);
    for end in [&longer[0], &another[0]] {
        assert_eq!(repairs(stage.answers(PEER, want(3, end))), []);
    }
    stage.lead(2);
    for end in [&longer[0], &another[0]] {
        let (ballot, last, digest) = (Ballot(2), end.index(), end.digest());
        let lacks = Repair::Lacks { ballot, last, digest };
        assert_eq!(repairs(stage.answers(PEER, want(3, end))), [lacks]);
    }
}

#[test]
fn who_lacks_the_same_says_nothing_even_if_it_leads() {
    let (mut stage, entries) = damaged(4, 5);
    stage.lead(2);
    let effects = stage.hear(PEER, want(4, &entries[4]));
    let reads = |effect: &Effect<Word>| matches!(effect, Effect::ReadEntries { .. });
    assert!(!effects.iter().any(reads), "its disk does not hold that");
    let asked = repairs(said(effects));
    assert!(asked.iter().all(|said| matches!(said, Repair::Want { .. })), "{asked:?}");
    // What it has is another matter.
    let asked = repairs(stage.answers(PEER, want(6, &entries[5])));
    assert!(asked.contains(&Repair::Entries { entries: entries[5..].to_vec() }));
}

#[test]
fn what_is_compacted_comes_as_a_snapshot_that_can_be_read() {
    let mut stage = Stage::new();
    stage.append(6);
    stage.commit();
    let entries = stage.log().entries(Index(1), usize::MAX).unwrap();
    let snapshot = snapshot_of(&entries[3]);
    stage.log().set_snapshot(snapshot.clone());
    stage.log().compact(&snapshot);
    for first in [2, 4] {
        let offered = Repair::Compacted { snapshot: snapshot.clone() };
        assert_eq!(repairs(stage.answers(PEER, want(first, &entries[4]))), [offered]);
    }
    let held = Repair::Entries { entries: entries[4..5].to_vec() };
    assert_eq!(repairs(stage.answers(PEER, want(5, &entries[4]))), [held]);
    stage.log().set_unreadable(snapshot.id());
    assert_eq!(repairs(stage.answers(PEER, want(2, &entries[4]))), []);
}

/// Who is asked, from where on, up to where, and for which entry there.
fn wanted(effects: Vec<Effect<Word>>) -> Vec<(NodeId, u64, u64, Digest)> {
    let wants = said(effects).into_iter().filter_map(|(to, message)| match message {
        Message::Repair(Repair::Want { first, last, digest }) => {
            Some((to, first.0, last.0, digest))
        }
        _ => None,
    });
    wants.collect()
}

#[test]
fn the_peers_are_asked_in_turn_for_the_end_of_the_first_gap() {
    let (mut stage, entries) = damaged(2, 4);
    let asked = |to| vec![(to, 2, 4, entries[3].digest())];
    assert_eq!(wanted(stage.flush()), asked(PEER));
    assert_eq!(wanted(stage.flush()), [], "it takes its time to answer");
    assert_eq!(wanted(stage.on(Event::Timeout(Timer::Repair))), asked(THIRD));
    assert_eq!(wanted(stage.on(Event::Timeout(Timer::Repair))), asked(PEER));
    // Less than was asked for: then it is asked for less.
    let entries_of = |range: std::ops::Range<usize>| {
        Message::Repair(Repair::Entries { entries: entries[range].to_vec() })
    };
    let digest = entries[3].digest();
    assert_eq!(wanted(stage.hear(PEER, entries_of(1..3))), [(PEER, 3, 4, digest)]);
    // What fits is taken, and what is before it asked for.
    let digest = entries[1].digest();
    assert_eq!(wanted(stage.hear(PEER, entries_of(2..4))), [(PEER, 2, 2, digest)]);
    assert_eq!(wanted(stage.hear(PEER, entries_of(1..2))), []);
    assert!(stage.log().is_whole());
}

#[test]
fn after_a_stretch_of_large_entries_as_many_are_asked_for_at_once_as_before() {
    let mut stage = Stage::new();
    stage.append(200);
    stage.commit();
    let entries = stage.log().entries(Index(1), usize::MAX).unwrap();
    stage.log().trim_cache(0);
    let asked = |effects| -> Vec<(u64, u64)> {
        wanted(effects).into_iter().map(|(_, first, last, _)| (first, last)).collect()
    };
    let first = asked(stage.on(Event::Damaged(vec![gap_of(&entries, 2, 190)])));
    assert_eq!(first, [(127, 190)]);
    let mut given = |first: usize, last: usize| {
        let entries = entries[first - 1..last].to_vec();
        asked(stage.hear(PEER, Message::Repair(Repair::Entries { entries })))
    };
    assert_eq!(given(127, 129), [(188, 190)], "no more than three fitted");
    assert_eq!(given(188, 190), [(124, 187)]);
}

#[test]
fn what_the_search_for_damage_finds_is_not_vouched_for_and_is_asked_for() {
    let (mut stage, entries) = on_disk_only();
    assert_eq!(stage.log().durable(), Index(6));
    let gaps = vec![gap_of(&entries, 2, 3)];
    let effects = stage.on(Event::Scrubbed { next: Index(4), gaps: gaps.clone() });
    assert_eq!(stage.log().gaps(), gaps);
    assert_eq!(stage.log().durable(), Index(1));
    assert_eq!(wanted(effects), [(PEER, 2, 3, entries[2].digest())]);
}

#[test]
fn the_whole_log_is_read_back_part_by_part_and_then_again() {
    let mut stage = Stage::new();
    stage.append(6);
    stage.log().commit(Index(5));
    stage.apply();
    let mut scrubbed = |next| {
        let gaps = Vec::new();
        stage.on(Event::Scrubbed { next: Index(next), gaps });
        let effects = stage.on(Event::Timeout(Timer::Scrub));
        let scrub = effects.into_iter().find_map(|effect| match effect {
            Effect::Scrub { from, max_bytes } => Some((from.0, max_bytes)),
            _ => None,
        });
        let (from, max_bytes) = scrub.unwrap();
        assert_eq!(max_bytes, Settings::default().append_bytes, "or it would never come round");
        from
    };
    assert_eq!([0, 3, 5, 6, 7].map(&mut scrubbed), [1, 3, 5, 1, 1]);
    let scrubbed = stage.on(Event::Scrubbed { next: Index(3), gaps: Vec::new() });
    let interval = stage.replica.settings.scrub_interval;
    let later = Effect::SetTimer(Timer::Scrub, interval..interval + interval / 8);
    assert!(scrubbed.contains(&later), "{scrubbed:?}");
}

/// Entries 1 to 6 are committed, and executed; memory does not hold them any more. `damage` is found
/// in them; before that, a snapshot of the first `covered` is taken.
fn damaged_below(covered: Option<usize>, (first, last): (usize, usize)) -> (Stage, Vec<Entry>) {
    let mut stage = Stage::new();
    stage.append(6);
    stage.commit();
    stage.apply();
    let entries = stage.log().entries(Index(1), usize::MAX).unwrap();
    if let Some(covered) = covered {
        stage.on(Event::SnapshotBuilt(Some(snapshot_of(&entries[covered - 1]))));
        stage.save();
    }
    stage.log().trim_cache(0);
    stage.on(Event::Damaged(vec![gap_of(&entries, first, last)]));
    (stage, entries)
}

#[test]
fn what_nobody_gives_back_is_made_good_by_a_snapshot_of_ones_own() {
    let (mut stage, _) = damaged_below(Some(6), (3, 4));
    assert_eq!(stage.log().gaps().len(), 1, "the log is worth more than that");
    stage.on(Event::Timeout(Timer::Repair));
    assert_eq!(stage.log().gaps().len(), 1, "the second peer has not been asked");
    stage.on(Event::Timeout(Timer::Repair));
    assert!(stage.log().is_whole());
    assert_eq!(stage.log().base().index, Index(6));
}

#[test]
fn while_a_snapshot_is_fetched_nobody_counts_as_asked_in_vain() {
    let (mut stage, entries) = damaged_below(Some(6), (3, 4));
    let snapshot = snapshot_of(&entries[3]);
    let offer = Message::Repair(Repair::Compacted { snapshot: snapshot.clone() });
    assert!(stage.hear(PEER, offer).contains(&Effect::BeginFetch { snapshot }));
    for _ in 0..5 {
        stage.on(Event::Timeout(Timer::Repair));
    }
    assert_eq!((stage.log().gaps().len(), stage.log().base().index), (1, Index(0)));
}

#[test]
fn after_a_snapshot_of_ones_own_was_made_do_the_next_damage_is_asked_for_again() {
    let (mut stage, entries) = damaged_below(Some(4), (3, 4));
    (0..2).for_each(|_| drop(stage.on(Event::Timeout(Timer::Repair))));
    assert_eq!((stage.log().is_whole(), stage.log().base().index), (true, Index(4)));
    stage.on(Event::SnapshotBuilt(Some(snapshot_of(&entries[5]))));
    let effects = stage.on(Event::Damaged(vec![gap_of(&entries, 5, 5)]));
    assert!(asks(stage.on(Event::Timeout(Timer::Repair))) || asks(effects));
    assert_eq!((stage.log().is_whole(), stage.log().base().index), (false, Index(4)));
}

#[test]
fn a_snapshot_is_taken_of_what_nobody_gives_back_and_was_executed() {
    let (mut stage, entries) = damaged_below(Some(2), (3, 4));
    let mut takes = Vec::new();
    for _ in 0..2 {
        takes = stage.on(Event::Timeout(Timer::Repair));
    }
    assert!(takes.contains(&Effect::TakeSnapshot), "{takes:?}");
    stage.on(Event::SnapshotBuilt(Some(snapshot_of(&entries[5]))));
    stage.save();
    stage.on(Event::Timeout(Timer::Repair));
    assert!(stage.log().is_whole());
}

#[test]
fn what_is_neither_covered_nor_given_back_is_missing_for_as_long_as_that() {
    let (mut stage, _) = damaged(4, 5);
    for _ in 0..10 {
        stage.on(Event::Timeout(Timer::Repair));
        stage.save();
    }
    assert_eq!(stage.log().gaps().len(), 1);
    assert!(!stage.replica.stopped);
}

#[test]
fn whoever_gives_something_back_is_asked_for_the_rest_before_a_snapshot_is_made_do() {
    let (mut stage, entries) = damaged_below(Some(6), (2, 4));
    stage.on(Event::Timeout(Timer::Repair));
    stage.hear(PEER, Message::Repair(Repair::Entries { entries: entries[3..4].to_vec() }));
    stage.on(Event::Timeout(Timer::Repair));
    assert_eq!(stage.log().gaps().len(), 1);
    stage.on(Event::Timeout(Timer::Repair));
    assert!(stage.log().is_whole());
}

#[test]
fn a_disk_that_saves_nothing_is_not_given_all_that_is_missing() {
    let mut stage = Stage::new();
    stage.append(60);
    stage.commit();
    stage.apply();
    let entries = stage.log().entries(Index(1), usize::MAX).unwrap();
    stage.log().trim_cache(0);
    stage.on(Event::Damaged(vec![gap_of(&entries, 2, 50)]));
    // Each answer has one entry, and the disk saves none.
    stage.holds = true;
    let mut given = 0;
    while let Some(gap) = stage.log().gaps().first().filter(|_| given < 49) {
        let last = gap.last.0 as usize;
        let answer = Repair::Entries { entries: entries[last - 1..last].to_vec() };
        given += 1;
        if !asks(stage.hear(PEER, Message::Repair(answer))) {
            break;
        }
    }
    assert_eq!(given, 16);
    for _ in 0..5 {
        assert!(!asks(stage.on(Event::Timeout(Timer::Repair))));
    }
    assert!(asks(stage.save()), "once they are saved, it goes on");
}

#[test]
fn what_peers_give_back_is_written_and_counts_with_that_write() {
    let (mut stage, entries) = damaged(4, 5);
    stage.holds = true;
    let given = entries[3..5].to_vec();
    stage.hear(PEER, Message::Repair(Repair::Entries { entries: given.clone() }));
    assert_eq!(stage.writes.last().map(|write| &write.repairs), Some(&vec![given]));
    assert!(!stage.log().is_whole());
    stage.save();
    assert!(stage.log().is_whole());
}

#[test]
fn entries_that_are_not_what_is_missing_are_counted_and_not_taken() {
    let (mut stage, mut entries) = damaged(4, 4);
    entries[3].id.ballot = Ballot(9);
    stage.hear(PEER, Message::Repair(Repair::Entries { entries: entries[3..4].to_vec() }));
    assert_eq!(stage.replica.status().ignored.untimely, 1);
    assert_eq!(stage.log().gaps().len(), 1);
}

#[test]
fn a_snapshot_is_fetched_if_it_covers_something_that_is_missing_and_then_nobody_is_asked_for_that()
{
    let (mut stage, entries) = damaged(3, 4);
    let offered = |stage: &mut Stage, index: usize| {
        let snapshot = snapshot_of(&entries[index - 1]);
        let offer = Message::Repair(Repair::Compacted { snapshot: snapshot.clone() });
        stage.hear(PEER, offer).contains(&Effect::BeginFetch { snapshot })
    };
    assert!(!offered(&mut stage, 2));
    assert!(offered(&mut stage, 3));
    assert!(!asks(stage.on(Event::Timeout(Timer::Repair))), "it is on its way");
}

#[test]
fn a_snapshot_that_nobody_can_have_is_not_fetched_for_a_repair() {
    let (mut stage, entries) = damaged_in(Some(2), |entries| vec![gap_of(entries, 3, 5)]);
    stage.follow(PEER, 3);
    let right = snapshot_of(&entries[3]);
    let mut named = |change: fn(&mut SnapshotMeta)| {
        let mut snapshot = right.clone();
        change(&mut snapshot);
        let offer = Message::Repair(Repair::Compacted { snapshot: snapshot.clone() });
        stage.hear(PEER, offer).contains(&Effect::BeginFetch { snapshot })
    };
    assert!(!named(|nobodys| nobodys.membership = Membership::default()));
    assert!(!named(|endless| endless.last.index = Index::MAX));
    assert!(!named(|later| later.last.ballot = Ballot(4)), "of a ballot that is none here yet");
    assert!(named(|_| {}));
}

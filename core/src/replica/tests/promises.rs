//! What leaves, and when, of what a replica says while its promises and its writes are on their way
//! to the disk.

use super::*;
use crate::types::WriteSeq;

/// A protocol that does as it is told, and says under which promise it spoke.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Speaker {
    promise: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
enum Say {
    /// Swear this.
    Swear(u64),
    /// Say something that counts.
    Vote,
    /// Take an entry, and acknowledge it once it is on disk.
    Acknowledge,
    /// Acknowledge what is held, of which some may still be on its way to the disk.
    AcknowledgeHeld,
    /// Take what is in the log for committed.
    Commit,
    /// Say something that counts for nothing.
    Mention,
    /// Tell yourself to swear this, once all is on disk.
    SwearLater(u64),
    /// Tell yourself that you have a vote.
    VoteForYourself,
    Voted(u64),
    Acknowledged(u64),
    Mentioned(u64),
    VotedForMyself(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Promise(u64);

impl Pledge for Promise {
    fn to_bytes(&self) -> PledgeBytes {
        let mut bytes = [1; 64];
        bytes[..8].copy_from_slice(&self.0.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &PledgeBytes) -> Option<Promise> {
        Some(Promise(u64::from_le_bytes(bytes[..8].try_into().ok()?)))
    }

    fn promise(&self) -> Promise {
        *self
    }

    fn joined(in_log: Option<Promise>, sworn: Promise) -> Promise {
        Promise(in_log.map_or(sworn.0, |in_log| in_log.0.max(sworn.0)))
    }
}

impl Protocol for Speaker {
    const NAME: &'static str = "speaker";
    type Message = Say;
    type Pledge = Promise;

    fn recover(
        _: NodeId,
        _: &Settings,
        pledge: Option<Promise>,
        _: &mut Log,
        _: &mut Effects<Say>,
    ) -> Speaker {
        Speaker { promise: pledge.map_or(1, |pledge| pledge.0) }
    }

    fn step(&mut self, _: Now, input: Input<Say>, log: &mut Log, out: &mut Effects<Say>) {
        let Input::Message { message, from, .. } = input else { return };
        match message {
            Say::Swear(promise) => self.promise = promise,
            Say::Vote => out.send(from, Say::Voted(self.promise)),
            Say::Acknowledge => {
                let opening = log.opening();
                log.append(Ballot(1), opening);
                out.after_save(from, Say::Acknowledged(self.promise));
            }
            Say::AcknowledgeHeld => out.after_save(from, Say::Acknowledged(self.promise)),
            Say::Commit => log.commit(log.last().index),
            Say::Mention => out.send(from, Say::Mentioned(self.promise)),
            Say::SwearLater(promise) => out.after_save(ME, Say::Swear(promise)),
            Say::VoteForYourself => out.send(ME, Say::VotedForMyself(self.promise)),
            // It shows what it heard from itself.
            Say::VotedForMyself(promise) => out.send(PEER, Say::Mentioned(promise)),
            Say::Voted(_) | Say::Acknowledged(_) | Say::Mentioned(_) => {}
        }
    }

    fn flush(&mut self, _: Now, _: &mut Log, _: &mut Effects<Say>) {}

    fn pledge(&self) -> Promise {
        Promise(self.promise)
    }

    fn standing(&self) -> Standing {
        let ballot = Ballot(self.promise);
        Standing { role: Role::Follower, ballot, leader: None, serving: false }
    }

    fn faults(&self) -> PeerFaults {
        PeerFaults::default()
    }

    fn vouches(message: &Say) -> bool {
        matches!(message, Say::Voted(_) | Say::Acknowledged(_) | Say::VotedForMyself(_))
    }
}

/// A replica that has sworn 1, on a disk in the test's hand.
struct Held(Replica<Speaker>, Now);

impl Held {
    fn new() -> Held {
        let mut replica = started_anew::<Speaker>(Settings::default(), 7);
        be_told_that_the_cluster_is_formed(&mut replica);
        Held(replica, Now::default())
    }

    /// A batch of one event: what it sends, and the write that it begins.
    fn on(&mut self, event: Event<Say>) -> (Vec<Say>, Option<WriteSeq>) {
        let mut out = Vec::new();
        self.0.step(self.1, event, &mut out);
        self.0.flush(self.1, &mut out);
        let (mut said, mut begun) = (Vec::new(), None);
        for effect in out {
            match effect {
                Effect::Send(Envelope { message: PeerMessage::Protocol(message), .. }) => {
                    said.push(message);
                }
                Effect::Persist { seq, .. } => begun = Some(seq),
                _ => {}
            }
        }
        (said, begun)
    }

    /// Told to do this, it says nothing, and begins a write.
    fn begins(&mut self, say: Say) -> WriteSeq {
        let (said, begun) = self.on(from_peer(PeerMessage::Protocol(say)));
        assert_eq!(said, []);
        begun.unwrap()
    }

    /// Told to do this, it says nothing, and has nothing to write.
    fn keeps(&mut self, say: Say) {
        assert_eq!(self.on(from_peer(PeerMessage::Protocol(say))), (vec![], None));
    }

    fn on_saved(&mut self, seq: WriteSeq) -> Vec<Say> {
        self.on(Event::Saved(seq)).0
    }

    fn on_sworn(&mut self, seq: WriteSeq) -> Vec<Say> {
        self.on(Event::Sworn(seq)).0
    }
}

#[test]
fn what_rests_on_a_promise_waits_for_it_and_what_rests_on_the_log_for_that() {
    let mut replica = Held::new();
    let promise = replica.begins(Say::Swear(2));
    replica.keeps(Say::Vote);
    let entry = replica.begins(Say::Acknowledge);
    assert_eq!(replica.on_saved(promise), [Say::Voted(2)]);
    assert_eq!(replica.on_saved(entry), [Say::Acknowledged(2)]);
}

#[test]
fn what_is_said_of_entries_on_their_way_waits_for_all_of_them_though_nothing_is_new() {
    let mut replica = Held::new();
    let first = replica.begins(Say::Acknowledge);
    let second = replica.begins(Say::Acknowledge);
    replica.keeps(Say::AcknowledgeHeld);
    assert_eq!(replica.on_saved(first), [Say::Acknowledged(1)]);
    assert_eq!(replica.on_saved(second), [Say::Acknowledged(1); 2]);
    // Nor is it enough that the promise is on disk, beside a log without room.
    let entry = replica.begins(Say::Acknowledge);
    let promise = replica.begins(Say::Swear(2));
    replica.keeps(Say::AcknowledgeHeld);
    assert_eq!(replica.on_sworn(promise), []);
    assert_eq!(replica.on_saved(entry), [], "its promise was overtaken");
    assert_eq!(replica.on_saved(promise), [Say::Acknowledged(2)]);
}

#[test]
fn an_acknowledgement_is_not_given_once_a_later_promise_is_on_its_way_to_the_disk() {
    let mut replica = Held::new();
    let entry = replica.begins(Say::Acknowledge);
    let promise = replica.begins(Say::Swear(2));
    // The disk may be further than the replica was told.
    assert_eq!(replica.on_saved(entry), []);
    assert_eq!(replica.on_saved(promise), []);
}

#[test]
fn what_waits_for_a_promise_does_not_leave_with_the_write_before() {
    let mut replica = Held::new();
    let entry = replica.begins(Say::Acknowledge);
    let promise = replica.begins(Say::Swear(2));
    replica.keeps(Say::Vote);
    replica.keeps(Say::VoteForYourself);
    assert_eq!(replica.on_saved(entry), []);
    assert_eq!(replica.on_saved(promise), [Say::Voted(2), Say::Mentioned(2)]);
}

#[test]
fn with_no_room_for_entries_a_later_promise_is_spoken_under_as_soon_as_it_is_sworn() {
    let mut replica = Held::new();
    let entry = replica.begins(Say::Acknowledge);
    let promise = replica.begins(Say::Swear(2));
    replica.keeps(Say::Vote);
    replica.keeps(Say::VoteForYourself);
    assert_eq!(replica.on_sworn(promise), [Say::Voted(2), Say::Mentioned(2)]);
    assert_eq!(replica.on_saved(entry), []);
    assert_eq!(replica.on_saved(promise), []);
}

#[test]
fn an_acknowledgement_of_an_earlier_promise_does_not_follow_what_was_said_under_a_later_one() {
    let mut replica = Held::new();
    let entry = replica.begins(Say::Acknowledge);
    let promise = replica.begins(Say::Swear(2));
    assert_eq!(replica.on_sworn(promise), []);
    let (said, _) = replica.on(from_peer(PeerMessage::Protocol(Say::Vote)));
    assert_eq!(said, [Say::Voted(2)]);
    assert_eq!(replica.on_saved(entry), [], "its promise was overtaken");
    // What both writes promised may come at once.
    let entry = replica.begins(Say::Acknowledge);
    let promise = replica.begins(Say::Swear(3));
    assert_eq!(replica.on_saved(promise), []);
    assert!(entry < promise);
}

#[test]
fn a_vote_that_waited_for_its_promise_does_not_leave_once_a_later_one_is_on_disk() {
    for is_saved in [false, true] {
        let mut replica = Held::new();
        let earlier = replica.begins(Say::Swear(2));
        replica.keeps(Say::Vote);
        replica.keeps(Say::VoteForYourself);
        replica.keeps(Say::Mention);
        let later = replica.begins(Say::Swear(3));
        replica.keeps(Say::Vote);
        if is_saved {
            // What counts for nothing may be said at any time.
            assert_eq!(replica.on_saved(later), [Say::Mentioned(2), Say::Voted(3)]);
        } else {
            assert_eq!(replica.on_sworn(later), [Say::Voted(3)]);
            assert_eq!(replica.on_saved(earlier), [Say::Mentioned(2)]);
            assert_eq!(replica.on_saved(later), []);
        }
    }
}

#[test]
fn what_was_vouched_for_does_not_leave_once_a_later_promise_is_on_its_way_whatever_it_waits_for() {
    let mut replica = Held::new();
    let promise = replica.begins(Say::Swear(2));
    replica.begins(Say::Acknowledge);
    // It waits with the write of the entry, and for no more than the promise.
    replica.keeps(Say::Vote);
    replica.begins(Say::Swear(3));
    assert_eq!(replica.on_saved(promise), []);

    let mut replica = Held::new();
    replica.begins(Say::Acknowledge);
    let promise = replica.begins(Say::Swear(2));
    replica.keeps(Say::Vote);
    replica.begins(Say::Swear(3));
    assert_eq!(replica.on_sworn(promise), []);
}

#[test]
fn what_waits_behind_a_message_to_oneself_that_makes_one_swear_is_not_vouched_for_any_more() {
    let mut replica = Held::new();
    let mut out = Vec::new();
    let later = from_peer(PeerMessage::Protocol(Say::SwearLater(2)));
    replica.0.step(Now::default(), later, &mut out);
    let entry = replica.begins(Say::Acknowledge);
    assert_eq!(replica.on_saved(entry), []);
    assert_eq!(replica.0.protocol().unwrap().promise, 2);
}

#[test]
fn a_disk_that_hangs_over_a_promise_does_not_pile_up_what_waits_for_it() {
    let mut replica = Held::new();
    let promise = replica.begins(Say::Swear(2));
    // What was said in time is said when the disk answers, and so is what is said from then on.
    replica.keeps(Say::Vote);
    let patience = replica.0.settings.election.end;
    replica.1.monotonic += patience + Duration::from_millis(1);
    for _ in 0..1000 {
        replica.keeps(Say::Mention);
        replica.keeps(Say::VoteForYourself);
    }
    assert_eq!(replica.on_saved(promise), [Say::Voted(2)]);
    let (said, _) = replica.on(from_peer(PeerMessage::Protocol(Say::Vote)));
    assert_eq!(said, [Say::Voted(2)]);

    // The same while it is given more and more to write.
    let mut replica = Held::new();
    let promise = replica.begins(Say::Swear(2));
    for _ in 0..4 {
        replica.1.monotonic += patience / 2;
        replica.begins(Say::Acknowledge);
    }
    replica.keeps(Say::Mention);
    assert_eq!(replica.on_saved(promise), []);
}

#[test]
fn a_promise_that_is_kept_beside_a_log_without_room_is_waited_for_by_itself() {
    let mut replica = Held::new();
    let entry = replica.begins(Say::Acknowledge);
    replica.1.monotonic += Duration::from_secs(3600);
    let promise = replica.begins(Say::Swear(2));
    replica.keeps(Say::Vote);
    assert_eq!(replica.on_sworn(promise), [Say::Voted(2)]);
    assert!(entry < promise);
}

#[test]
fn nothing_is_vouched_for_once_damage_was_found_whatever_it_waited_for() {
    for is_of_this_batch in [false, true] {
        let mut replica = Held::new();
        let entry = replica.begins(Say::Acknowledge);
        replica.on_saved(entry);
        replica.on(from_peer(PeerMessage::Protocol(Say::Commit)));
        let last = replica.0.log().unwrap().last().index;
        let gap = Gap {
            first: last,
            last,
            digest: replica.0.log().unwrap().last_digest(),
            before: Digest::ZERO,
            ids_known: true,
        };
        let damaged = Event::Damaged(vec![gap]);
        if is_of_this_batch {
            // Nothing stands in its way but the end of the batch in which the damage is found.
            let vote = from_peer(PeerMessage::Protocol(Say::Vote));
            let mut out = Vec::new();
            replica.0.step(Now::default(), vote, &mut out);
            let (said, _) = replica.on(damaged);
            assert_eq!(said, []);
            continue;
        }
        let promise = replica.begins(Say::Swear(2));
        replica.keeps(Say::Vote);
        replica.keeps(Say::Mention);
        let unsaved = replica.begins(Say::Acknowledge);
        replica.on(damaged);
        assert_eq!(replica.on_saved(promise), [Say::Mentioned(2)]);
        assert_eq!(replica.on_saved(unsaved), []);
    }
}

#[test]
fn what_a_batch_vouches_for_does_not_outlive_the_promise_under_which_it_was_said() {
    let mut replica = Held::new();
    let entry = replica.begins(Say::Acknowledge);
    assert_eq!(replica.on_saved(entry), [Say::Acknowledged(1)]);
    // A process that stood still finds messages of several ballots at once. Those of the later one
    // may cut off what the earlier one was acknowledged; and all of it is one write.
    let mut out = Vec::new();
    for say in [Say::Acknowledge, Say::Vote, Say::Mention, Say::Swear(2), Say::Vote] {
        replica.0.step(Now::default(), from_peer(PeerMessage::Protocol(say)), &mut out);
    }
    let (said, begun) = replica.on(from_peer(PeerMessage::Protocol(Say::Acknowledge)));
    assert_eq!(said, []);
    let said = replica.on_saved(begun.unwrap());
    assert_eq!(said, [Say::Mentioned(1), Say::Voted(2), Say::Acknowledged(2)]);
}

#[test]
fn nothing_is_vouched_for_by_whoever_falls_mute_in_the_same_batch_or_before_its_disk_answers() {
    let mut replica = Held::new();
    replica.0.step(Now::default(), from_peer(PeerMessage::Protocol(Say::Vote)), &mut Vec::new());
    replica.0.fall_mute();
    let (said, begun) = replica.on(from_peer(PeerMessage::Protocol(Say::Mention)));
    assert_eq!(said, [], "that it is mute is not on its disk yet");
    assert_eq!(replica.on_saved(begun.unwrap()), [Say::Mentioned(1)]);

    let mut replica = Held::new();
    let entry = replica.begins(Say::Acknowledge);
    replica.0.fall_mute();
    let muteness = replica.begins(Say::Mention);
    assert_eq!(replica.on_saved(entry), [], "that write was begun by one who was not mute");
    assert_eq!(replica.on_saved(muteness), [Say::Mentioned(1)]);

    let mut replica = Held::new();
    let entry = replica.begins(Say::Acknowledge);
    let promise = replica.begins(Say::Swear(2));
    replica.keeps(Say::Vote);
    replica.0.fall_mute();
    let (_, begun) = replica.on(from_peer(PeerMessage::Protocol(Say::Mention)));
    for seq in [entry, promise, begun.unwrap()] {
        assert!(replica.on_saved(seq).iter().all(|said| !Speaker::vouches(said)));
    }
}

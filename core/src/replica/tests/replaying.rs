//! A replica that was recorded, and its recording with something changed.

use super::*;
use crate::recorded::{MemTape, Recorded, Tape};
use crate::recording::{Call, RecordedCall, RecordedStart};
use crate::replay::{CameOut, Difference, Divergence, Replay, Replayed, Started};
use crate::write::Disk;

/// A replica that is recorded, and whose disk does at once what it is asked for.
struct Life {
    replica: Recorded<Stub, MemTape>,
    batches: u32,
    out: Vec<Effect<Vec<Entry>>>,
}

type Calls = Vec<RecordedCall<Vec<Entry>>>;

fn config() -> ReplicaConfig {
    let (members, settings) = ([ME, PEER].into(), Settings::default());
    ReplicaConfig { me: ME, members, bootstrap: false, settings }
}

impl Life {
    fn start() -> Life {
        let peer = Disk { incarnation: Incarnation(102), start: Start { count: 1, nonce: 0 } };
        let peers = [(PEER, peer)].into();
        let recovered = Recovered { pledge: Some([1; 64]), peers, ..empty_disk(7) };
        let (tape, now, mut out) = (Some(MemTape::default()), Now::default(), Vec::new());
        let replica = Recorded::recover(config(), recovered, now, &mut out, tape).unwrap();
        out.clear();
        Life { replica, batches: 0, out }
    }

    fn step(&mut self, event: Event<Vec<Entry>>) {
        self.replica.step(self.now(), event, &mut self.out);
    }

    fn flush(&mut self) {
        self.replica.flush(self.now(), &mut self.out);
        self.batches += 1;
        for effect in std::mem::take(&mut self.out) {
            if let Effect::Persist { seq, .. } = effect {
                self.step(Event::Saved(seq));
            }
        }
    }

    fn now(&self) -> Now {
        let monotonic = self.batches * Duration::from_millis(300);
        Now { monotonic, wall: Duration::from_secs(7) }
    }

    fn tape(self) -> MemTape {
        self.replica.into_parts().1.unwrap()
    }

    fn decoded(self) -> (RecordedStart, Calls) {
        self.tape().decode::<Stub>()
    }
}

fn start(start: &RecordedStart) -> Result<Replay<Stub>, Divergence> {
    match Replay::start(start)? {
        Started::Up(replay) => Ok(*replay),
        Started::Refused(fatal) => panic!("{fatal}"),
    }
}

fn replay(recorded: &RecordedStart, calls: &Calls) -> Result<Replayed, Divergence> {
    let mut replay = start(recorded)?;
    calls.iter().try_for_each(|call| replay.call(call))?;
    Ok(replay.replayed())
}

/// A cluster is formed, an entry comes, a request is made and given up, a peer asks in vain.
fn a_life() -> Life {
    let mut recorded = Life::start();
    recorded.flush();
    let record = FoundingRecord { round: 1, list: Some(founders()), formed: true };
    let founding = crate::founding::FoundingMessage { record, asks: false };
    recorded.step(from_peer(PeerMessage::Founding(founding)));
    recorded.flush();
    let opening = Log::founded_by(founders()).opening();
    let entry = Entry::new(LogId::new(Index(1), Ballot(1)), founders().digest(), opening);
    recorded.step(from_peer(PeerMessage::Protocol(vec![entry])));
    let request = recorded.replica.name_request();
    let payload = Bytes::from_static(b"x");
    recorded.step(Event::Propose { request, kind: EntryKind::Command, payload });
    recorded.flush();
    for _ in 0..20 {
        recorded.step(Event::Timeout(Timer::Requests));
        recorded.flush();
    }
    recorded
}

fn is_entries(call: &RecordedCall<Vec<Entry>>) -> bool {
    let Call::Step(_, Event::Message(envelope)) = &call.call else { return false };
    matches!(envelope.message, PeerMessage::Protocol(_))
}

#[test]
fn what_was_recorded_comes_out_again() {
    let (replica, tape) = a_life().replica.into_parts();
    let (began, calls) = tape.unwrap().decode::<Stub>();
    let Replayed { batches, events, effects } = replay(&began, &calls).unwrap();
    let digests = calls.iter().map(|call| call.effects.as_ref().unwrap().len());
    let digests = digests.sum::<usize>() + began.outcome.as_ref().unwrap().as_ref().unwrap().len();
    assert_eq!((batches, effects), (23, digests as u64));
    let steps = calls.iter().filter(|call| matches!(call.call, Call::Step(..))).count();
    assert_eq!(events, steps as u64);

    let mut replay = start(&began).unwrap();
    for call in &calls {
        replay.call(call).unwrap();
        assert_eq!(replay.effects().len(), call.effects.as_ref().unwrap().len());
    }
    let last = replica.status();
    assert!(last.formed && last.durable == Index(1), "nothing much was recorded");
    assert_eq!(*replay.replica(), replica);
}

#[test]
fn an_event_that_was_changed_is_found_where_something_else_comes_of_it() {
    let (start, mut calls) = a_life().decoded();
    let place = calls.iter().position(is_entries).unwrap();
    let Call::Step(_, Event::Message(envelope)) = &mut calls[place].call else { unreachable!() };
    let PeerMessage::Protocol(entries) = &mut envelope.message else { unreachable!() };
    entries[0].time = LogTime(1);
    let flush = calls[place..].iter().position(|call| matches!(call.call, Call::Flush(_)));
    let divergence = replay(&start, &calls).unwrap_err();
    assert_eq!(divergence.call, (place + flush.unwrap() + 1) as u64);
    assert_eq!(divergence.batch, 3);
    let Difference::Effect { recorded: Some(_), came_out, .. } = divergence.difference else {
        panic!("{divergence}")
    };
    let CameOut::Effect { effect, .. } = came_out else { panic!("{came_out}") };
    assert!(effect.contains("Persist") && effect.contains("time: t1"), "{effect}");
}

#[test]
fn a_digest_that_was_changed_added_or_taken_away_is_found_in_its_place() {
    let (start, calls) = a_life().decoded();
    let has_several = |call: &RecordedCall<_>| call.effects.as_ref().unwrap().len() > 1;
    let place = calls.iter().position(has_several).unwrap();
    let count = calls[place].effects.as_ref().unwrap().len();
    let diverges = |change: &dyn Fn(&mut Vec<Digest>)| {
        let mut calls = calls.clone();
        change(calls[place].effects.as_mut().unwrap());
        let divergence = replay(&start, &calls).unwrap_err();
        assert_eq!(divergence.call, place as u64 + 1);
        let during = divergence.during.trim_end_matches('…');
        assert!(format!("{:?}", calls[place].call).starts_with(during), "{during}");
        assert_eq!(calls[place].excerpt(), divergence.during);
        let said = divergence.difference.to_string();
        match divergence.difference {
            Difference::Effect { place, recorded, came_out } => {
                let expected = recorded.map_or("nothing more".to_owned(), |it| format!("{it:?}"));
                assert!(said.contains(&format!("recorded was {expected};")), "{said}");
                (place, recorded, came_out)
            }
            other => panic!("{other}"),
        }
    };
    let other = Digest([7; 16]);
    let (at, recorded, came_out) = diverges(&|digests| digests[1] = other);
    assert_eq!((at, recorded), (2, Some(other)));
    let CameOut::Effect { digest, .. } = came_out else { panic!("{came_out}") };
    assert_eq!(digest, calls[place].effects.as_ref().unwrap()[1]);
    let added = diverges(&|digests| digests.push(other));
    assert_eq!(added, (count + 1, Some(other), CameOut::Nothing));
    let (at, recorded, _) = diverges(&|digests| digests.truncate(count - 1));
    assert_eq!((at, recorded), (count, None));
}

#[test]
fn a_request_that_was_not_named_changes_the_names_of_those_after_it() {
    let (start, mut calls) = a_life().decoded();
    let place = calls.iter().position(|call| matches!(call.call, Call::NameRequest(_))).unwrap();
    calls.insert(place, calls[place].clone());
    let divergence = replay(&start, &calls).unwrap_err();
    assert_eq!(divergence.call, place as u64 + 2);
    assert!(matches!(divergence.difference, Difference::Name { .. }), "{divergence}");
}

#[test]
fn a_start_that_was_changed_is_found_before_any_call() {
    let (start, calls) = a_life().decoded();
    let mut other = start.clone();
    other.recovered.identity.incarnation = Incarnation(103);
    let divergence = replay(&other, &calls).unwrap_err();
    assert_eq!((divergence.batch, divergence.call), (0, 0));
    let mut stranger = start;
    stranger.config.me = NodeId(9);
    let divergence = replay(&stranger, &calls).unwrap_err();
    let came_out = Some(Fatal::NotConfigured { node: NodeId(9) });
    assert_eq!(divergence.difference, Difference::Start { recorded: None, came_out });
}

#[test]
fn a_start_that_failed_fails_again_for_the_same_reason() {
    let alone = ReplicaConfig { members: [ME].into(), ..config() };
    let (mut tape, now, disk) = (MemTape::default(), Now::default(), empty_disk(7));
    tape.recorder().start(&alone, &disk, now);
    let fatal = Replica::<Stub>::recover(alone, disk, now, &mut Vec::new()).unwrap_err();
    tape.recorder().started::<Vec<Entry>>(Err(&fatal));
    tape.hand_over();
    let (start, _) = tape.decode::<Stub>();
    assert_eq!(start.outcome, Some(Err(Fatal::NotBootstrapped)));
    match Replay::<Stub>::start(&start).unwrap() {
        Started::Refused(again) => assert_eq!(again, fatal),
        Started::Up(_) => panic!("it starts"),
    }

    let difference = |start: &RecordedStart| Replay::<Stub>::start(start).unwrap_err().difference;
    let other = Fatal::NotAMember { node: ME };
    let changed = RecordedStart { outcome: Some(Err(other.clone())), ..start.clone() };
    let (recorded, came_out) = (Some(other), Some(fatal.clone()));
    assert_eq!(difference(&changed), Difference::Start { recorded, came_out });
    let said = difference(&changed).to_string();
    for why in [&Fatal::NotAMember { node: ME }, &fatal] {
        assert!(said.contains(&format!("the replica does not start ({why})")), "{said}");
    }
    let mut founder = start.clone();
    founder.config.bootstrap = true;
    let recorded = Some(fatal);
    assert_eq!(difference(&founder), Difference::Start { recorded, came_out: None });
    let said = difference(&founder).to_string();
    assert!(said.ends_with("what came out is that the replica starts"), "{said}");
    let panicked = RecordedStart { outcome: None, ..start };
    assert_eq!(difference(&panicked), Difference::Ended);
}

#[test]
fn the_call_over_which_a_replica_panicked_is_in_the_recording() {
    let (mut tape, event) = (a_life().tape(), Event::Room(false));
    tape.recorder().call::<Vec<Entry>>(&Call::Step(Now::default(), &event));
    let (start, calls) = tape.decode::<Stub>();
    let last = calls.last().unwrap();
    assert_eq!((&last.call, &last.effects), (&Call::Step(Now::default(), event), &None));
    let divergence = replay(&start, &calls).unwrap_err();
    assert_eq!(divergence.difference, Difference::Ended);
}

#[test]
fn of_what_differs_no_more_is_told_than_a_person_reads() {
    let mut recorded = Life::start();
    let request = recorded.replica.name_request();
    let payload = vec![7; 1 << 20].into();
    recorded.step(Event::Propose { request, kind: EntryKind::Command, payload });
    let (start, mut calls) = recorded.decoded();
    calls[1].effects = Some(vec![Digest::ZERO; 9]);
    let divergence = replay(&start, &calls).unwrap_err();
    assert!(divergence.during.starts_with("Step(") && divergence.during.ends_with('…'));
    assert!(divergence.to_string().len() < 2000, "{}", divergence.to_string().len());
}

#[test]
fn what_is_not_a_recording_is_not_decoded() {
    let MemTape { taken, .. } = a_life().tape();
    let start = &taken[0];
    assert_eq!(RecordedStart::decode(&start[..start.len() - 1]), None);
    let longer = [&start[..], &[0]].concat();
    assert_eq!(RecordedStart::decode(&longer), None);
    let batch = &taken[2];
    assert!(RecordedCall::<Vec<Entry>>::decode_all(&batch[..batch.len() - 1]).is_none());
}

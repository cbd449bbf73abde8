//! A replica that was recorded, and its recording with something changed.

use super::*;
use crate::recording::{Call, RecordedCall, RecordedStart, Recorder};
use crate::replay::{CameOut, Difference, Replay, Replayed, replay};
use crate::write::Disk;

/// A replica that is recorded as a shell does it.
struct Recorded {
    replica: Replica<Stub>,
    recorder: Recorder,
    start: Bytes,
    batches: Vec<Bytes>,
    out: Vec<Effect<Vec<Entry>>>,
}

impl Recorded {
    fn start() -> Recorded {
        let config = ReplicaConfig {
            me: ME,
            members: [ME, PEER].into(),
            bootstrap: false,
            settings: Settings::default(),
        };
        let peer = Disk { incarnation: Incarnation(102), start: Start { count: 1, nonce: 0 } };
        let peers = [(PEER, peer)].into();
        let recovered = Recovered { pledge: Some([1; 64]), peers, ..empty_disk(7) };
        let (mut recorder, mut out) = (Recorder::default(), Vec::new());
        recorder.start(&config, &recovered, Now::default());
        let replica = Replica::recover(config, recovered, Now::default(), &mut out).unwrap();
        recorder.effects(&out);
        let start = recorder.take();
        out.clear();
        Recorded { replica, recorder, start, batches: Vec::new(), out }
    }

    fn step(&mut self, event: Event<Vec<Entry>>) {
        let (now, before) = (self.now(), self.out.len());
        self.recorder.call(&Call::Step(now, &event));
        self.replica.step(now, event, &mut self.out);
        self.recorder.effects(&self.out[before..]);
    }

    fn flush(&mut self) {
        let (now, before) = (self.now(), self.out.len());
        self.recorder.call::<Vec<Entry>>(&Call::Flush(now));
        self.replica.flush(now, &mut self.out);
        self.recorder.effects(&self.out[before..]);
        self.batches.push(self.recorder.take());
        for effect in std::mem::take(&mut self.out) {
            if let Effect::Persist { seq, .. } = effect {
                self.step(Event::Saved(seq));
            }
        }
    }

    fn name_request(&mut self) -> RequestId {
        let name = self.replica.name_request();
        self.recorder.call::<Vec<Entry>>(&Call::NameRequest(name));
        self.recorder.effects::<Vec<Entry>>(&[]);
        name
    }

    fn now(&self) -> Now {
        let batches = self.batches.len() as u32;
        Now { monotonic: batches * Duration::from_millis(300), wall: Duration::from_secs(7) }
    }

    fn decoded(&self) -> (RecordedStart, Vec<RecordedCall<Vec<Entry>>>) {
        let calls = self.batches.iter().map(|batch| RecordedCall::decode_all(batch).unwrap());
        (RecordedStart::decode(&self.start).unwrap(), calls.flatten().collect())
    }
}

/// A cluster is formed, an entry comes, a request is made and given up, a peer asks in vain.
fn a_life() -> Recorded {
    let mut recorded = Recorded::start();
    recorded.flush();
    let record = FoundingRecord { round: 1, list: Some(founders()), formed: true };
    let founding = crate::founding::FoundingMessage { record, asks: false };
    recorded.step(from_peer(PeerMessage::Founding(founding)));
    recorded.flush();
    let opening = Log::founded_by(founders()).opening();
    let entry = Entry::new(LogId::new(Index(1), Ballot(1)), founders().digest(), opening);
    recorded.step(from_peer(PeerMessage::Protocol(vec![entry])));
    let request = recorded.name_request();
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
    let recorded = a_life();
    let (start, calls) = recorded.decoded();
    let Replayed { batches, events, effects } = replay::<Stub>(&start, &calls).unwrap();
    let digests = calls.iter().map(|call| call.effects.as_ref().unwrap().len());
    let digests = digests.sum::<usize>() + start.effects.as_ref().unwrap().len();
    assert_eq!((batches, effects), (23, digests as u64));
    let steps = calls.iter().filter(|call| matches!(call.call, Call::Step(..))).count();
    assert_eq!(events, steps as u64);

    let mut replay = Replay::<Stub>::start(&start).unwrap();
    calls.iter().try_for_each(|call| replay.call(call)).unwrap();
    let last = recorded.replica.status();
    assert!(last.formed && last.durable == Index(1), "nothing much was recorded");
    assert_eq!(*replay.replica(), recorded.replica);
}

#[test]
fn an_event_that_was_changed_is_found_where_something_else_comes_of_it() {
    let (start, mut calls) = a_life().decoded();
    let place = calls.iter().position(is_entries).unwrap();
    let Call::Step(_, Event::Message(envelope)) = &mut calls[place].call else { unreachable!() };
    let PeerMessage::Protocol(entries) = &mut envelope.message else { unreachable!() };
    entries[0].time = LogTime(1);
    let flush = calls[place..].iter().position(|call| matches!(call.call, Call::Flush(_)));
    let divergence = replay::<Stub>(&start, &calls).unwrap_err();
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
        let divergence = replay::<Stub>(&start, &calls).unwrap_err();
        assert_eq!(divergence.call, place as u64 + 1);
        assert_eq!(divergence.during, format!("{:?}", calls[place].call));
        match divergence.difference {
            Difference::Effect { place, recorded, came_out } => (place, recorded, came_out),
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
    let divergence = replay::<Stub>(&start, &calls).unwrap_err();
    assert_eq!(divergence.call, place as u64 + 2);
    assert!(matches!(divergence.difference, Difference::Name { .. }), "{divergence}");
}

#[test]
fn a_start_that_was_changed_is_found_before_any_call() {
    let (start, calls) = a_life().decoded();
    let mut other = start.clone();
    other.recovered.identity.incarnation = Incarnation(103);
    let divergence = replay::<Stub>(&other, &calls).unwrap_err();
    assert_eq!((divergence.batch, divergence.call), (0, 0));
    let mut stranger = start;
    stranger.config.me = NodeId(9);
    let divergence = replay::<Stub>(&stranger, &calls).unwrap_err();
    let fatal = Fatal::NotConfigured { node: NodeId(9) };
    assert_eq!(divergence.difference, Difference::DoesNotStart(fatal));
}

#[test]
fn the_call_over_which_a_replica_panicked_is_in_the_recording() {
    let mut recorded = a_life();
    let event = Event::Room(false);
    recorded.recorder.call(&Call::Step(Now::default(), &event));
    recorded.batches.push(recorded.recorder.take());
    let (start, calls) = recorded.decoded();
    let last = calls.last().unwrap();
    assert_eq!((&last.call, &last.effects), (&Call::Step(Now::default(), event), &None));
    let divergence = replay::<Stub>(&start, &calls).unwrap_err();
    assert_eq!(divergence.difference, Difference::Ended);
}

#[test]
fn what_is_not_a_recording_is_not_decoded() {
    let recorded = a_life();
    let start = &recorded.start;
    assert_eq!(RecordedStart::decode(&start[..start.len() - 1]), None);
    let longer = [&start[..], &[0]].concat();
    assert_eq!(RecordedStart::decode(&longer), None);
    let batch = &recorded.batches[1];
    assert!(RecordedCall::<Vec<Entry>>::decode_all(&batch[..batch.len() - 1]).is_none());
}

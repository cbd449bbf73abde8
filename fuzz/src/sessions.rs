//! The session table against a naive one.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use quorate_core::{
    InSession, Index, NodeId, Origin, Register, RequestId, SessionId, Sessions, Start, Verdict,
};

/// As the definition says, without any order of use or age kept beside the table.
#[derive(Default)]
struct Naive {
    table: BTreeMap<u64, Session>,
    max_response_bytes: u64,
}

struct Session {
    last_use: u64,
    window: u64,
    first_unacknowledged: u64,
    /// By sequence number: the entry that applied the request, and the response unless dropped.
    applied: BTreeMap<u64, (u64, Option<Bytes>)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Judged {
    Fresh,
    Answered(Bytes),
    Dropped,
    Acknowledged,
    WindowExceeded,
    NoSession,
}

impl Naive {
    fn register(&mut self, at: u64, register: &Register) {
        while self.table.len() >= register.max_sessions.max(1) as usize {
            let oldest = self.table.iter().min_by_key(|(_, session)| session.last_use);
            let oldest = *oldest.expect("there is one").0;
            self.table.remove(&oldest);
        }
        let window = u64::from(register.window.max(1));
        let applied = BTreeMap::new();
        self.table.insert(at, Session { last_use: at, window, first_unacknowledged: 0, applied });
        self.max_response_bytes = register.max_response_bytes;
        self.drop_oldest();
    }

    fn request(&mut self, at: u64, asked: &InSession) -> Judged {
        let Some(session) = self.table.get_mut(&asked.session.0) else { return Judged::NoSession };
        session.last_use = at;
        session.first_unacknowledged = session.first_unacknowledged.max(asked.first_unacknowledged);
        let first = session.first_unacknowledged;
        session.applied.retain(|sequence, _| *sequence >= first);
        match session.applied.get(&asked.sequence) {
            Some((_, Some(response))) => Judged::Answered(response.clone()),
            Some((_, None)) => Judged::Dropped,
            None if asked.sequence < first => Judged::Acknowledged,
            None if asked.sequence - first >= session.window => Judged::WindowExceeded,
            None => Judged::Fresh,
        }
    }

    fn keep(&mut self, at: u64, asked: &InSession, response: Bytes) {
        let session = self.table.get_mut(&asked.session.0).expect("it was used just before");
        session.applied.insert(asked.sequence, (at, Some(response)));
        self.drop_oldest();
    }

    fn drop_oldest(&mut self) {
        loop {
            let kept = || {
                self.table.iter().flat_map(|(id, session)| {
                    let response = |(sequence, (at, response)): (&u64, &(u64, Option<Bytes>))| {
                        let length = response.as_ref().map_or(0, Bytes::len) as u64;
                        (*at, *id, *sequence, length)
                    };
                    session.applied.iter().map(response)
                })
            };
            let total: u64 = kept().map(|(.., length)| length).sum();
            if total <= self.max_response_bytes {
                return;
            }
            let (_, id, sequence, _) =
                kept().filter(|(.., length)| *length > 0).min().expect("some");
            let session = self.table.get_mut(&id).expect("it is there");
            session.applied.get_mut(&sequence).expect("it is there").1 = None;
        }
    }
}

fn number(u: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match u.int_in_range(0..=15)? {
        0 => u64::MAX,
        1 => u.arbitrary()?,
        small => small,
    })
}

fn play(u: &mut Unstructured<'_>) -> Result<()> {
    let (mut table, mut naive, mut at) = (Sessions::default(), Naive::default(), 0);
    let start = Start { count: 1, nonce: 1 };
    let origin = Origin { node: NodeId(1), request: RequestId { start, number: 1 } };
    for _ in 0..64 {
        at += u.int_in_range(1..=3)?;
        match u.int_in_range(0..=7)? {
            0 => {
                let register = Register {
                    origin,
                    max_sessions: u.int_in_range(0..=4)?,
                    window: u.int_in_range(0..=5)?,
                    max_response_bytes: u.int_in_range(0..=40)?,
                };
                assert_eq!(table.register(Index(at), &register), SessionId(at));
                naive.register(at, &register);
            }
            1 => {
                let bytes = postcard::to_allocvec(&table).expect("plain data encodes");
                table = postcard::from_bytes::<Sessions>(&bytes).expect("it was encoded");
            }
            2 => {
                let bytes: &[u8] = u.arbitrary()?;
                if let Ok(found) = postcard::from_bytes::<Sessions>(bytes) {
                    soundness(found);
                }
            }
            _ => {
                let live = naive.table.keys().nth(u.int_in_range(0..=4)?).copied();
                let session = SessionId(live.map_or_else(|| number(u), Ok)?);
                let (sequence, first_unacknowledged) = (number(u)?, number(u)?);
                let asked = InSession { session, sequence, first_unacknowledged };
                let expected = naive.request(at, &asked);
                let judged = match table.request(Index(at), &asked) {
                    Verdict::Fresh(slot) => {
                        let response = Bytes::from(vec![at as u8; u.int_in_range(0..=20)?]);
                        table.keep(slot, Some(response.clone()));
                        naive.keep(at, &asked, response);
                        Judged::Fresh
                    }
                    Verdict::Answered(response) => Judged::Answered(response),
                    Verdict::Dropped => Judged::Dropped,
                    Verdict::Acknowledged => Judged::Acknowledged,
                    Verdict::WindowExceeded => Judged::WindowExceeded,
                    Verdict::NoSession => Judged::NoSession,
                };
                assert_eq!(judged, expected);
            }
        }
        assert_eq!(table.len(), naive.table.len());
    }
    Ok(())
}

/// A table that a snapshot was allowed to bring can be worked with.
fn soundness(mut table: Sessions) {
    let bytes = postcard::to_allocvec(&table).expect("plain data encodes");
    assert_eq!(postcard::from_bytes::<Sessions>(&bytes).as_ref(), Ok(&table));
    let Some(at) = table.last_use().0.checked_add(1) else { return };
    let start = Start { count: 1, nonce: 1 };
    let origin = Origin { node: NodeId(1), request: RequestId { start, number: 1 } };
    let register = Register { origin, max_sessions: 1, window: 1, max_response_bytes: 0 };
    table.register(Index(at), &register);
    assert_eq!(table.len(), 1);
}

pub fn run(data: &[u8]) {
    // It ends with its input.
    let _ = play(&mut Unstructured::new(data));
}

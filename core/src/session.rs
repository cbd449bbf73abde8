//! The session table: what makes a request that is sent again take effect once.
//!
//! A client which got no answer cannot know whether its request was applied. It sends the request
//! again, through whichever node, under the same session and sequence number; the table, which is
//! part of the replicated state, recognises it and answers what was answered the first time
//! (Ongaro 2014, section 6.3; "client table" in Liskov and Cowling 2012, section 4).
//!
//! ```text
//!   sequence:      ..  f-1 | f   ..   f+window-1 | f+window ..
//!   answered:  Acknowledged  response kept          WindowExceeded
//!   else:      Acknowledged  applied, kept          WindowExceeded
//! ```
//!
//! where f is the first sequence number whose response the client does not hold yet. A session
//! thus keeps at most `window` responses, and the table at most `max_sessions` sessions. When it
//! is full the session used least recently, by log index, makes room. What an evicted session
//! still had outstanding is refused: it can no longer be known whether it was applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::{InSession, Register};
use crate::types::{Index, SessionId};

/// The sessions of all clients. Part of the replicated state: the same on every replica at the
/// same index, and in every snapshot.
///
/// Keeps: `by_use` holds each session exactly once, under the index of the entry that used it
/// last; an entry uses one session at most, so these indexes are distinct.
///
/// A clone shares the sessions until one of the two changes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<SessionId, Arc<Session>>")]
pub struct Sessions {
    table: BTreeMap<SessionId, Arc<Session>>,
    #[serde(skip)]
    by_use: BTreeMap<Index, SessionId>,
}

/// One client's session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    /// The last entry that named the session.
    last_use: Index,
    window: u32,
    first_unacknowledged: u64,
    /// Encoded responses by sequence number, from `first_unacknowledged` on, within the window.
    responses: BTreeMap<u64, Bytes>,
}

/// What is to be done with a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Seen for the first time: apply it, and [`keep`](Sessions::keep) the response.
    Fresh(Slot),
    /// Applied before: this was the response, encoded.
    Answered(Bytes),
    /// The client said that it holds the response, so it is no longer kept. Not to be applied.
    Acknowledged,
    /// Too far ahead of the first request that is not acknowledged. Not to be applied.
    WindowExceeded,
    /// The session is unknown or evicted. Not to be applied: it may have been already.
    NoSession,
}

/// The place where the response to a fresh request belongs. Only [`Sessions::request`] gives it
/// out, so nothing is kept for a request that was not judged.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Slot {
    session: SessionId,
    sequence: u64,
}

impl Sessions {
    /// Opens a session in the entry at `at`, whose index becomes its name, and evicts those used
    /// least recently until at most `max_sessions` are left. The session just opened stays, even
    /// under a limit of zero; a window of zero counts as one.
    ///
    /// # Panics
    /// If `at` is not behind every entry that was shown to the table before.
    pub fn register(&mut self, at: Index, register: &Register) -> SessionId {
        self.assert_is_later(at);
        let room = register.max_sessions.max(1) as usize - 1;
        while self.table.len() > room {
            let (_, evicted) = self.by_use.pop_first().expect("every session was used once");
            self.table.remove(&evicted);
        }
        let id = SessionId(at.0);
        let session = Session {
            last_use: at,
            window: register.window.max(1),
            first_unacknowledged: 0,
            responses: BTreeMap::new(),
        };
        self.table.insert(id, Arc::new(session));
        self.by_use.insert(at, id);
        id
    }

    /// Judges a request that stands in the entry at `at`. Whatever the verdict, a session which
    /// exists counts as used, and responses that the client has acknowledged are dropped; what
    /// it once acknowledged stays so.
    ///
    /// # Panics
    /// If `at` is not behind every entry that was shown to the table before.
    pub fn request(&mut self, at: Index, request: &InSession) -> Verdict {
        self.assert_is_later(at);
        let Some(session) = self.table.get_mut(&request.session) else {
            return Verdict::NoSession;
        };
        let session = Arc::make_mut(session);
        self.by_use.remove(&session.last_use);
        self.by_use.insert(at, request.session);
        session.last_use = at;
        session.acknowledge(request.first_unacknowledged);
        if let Some(response) = session.responses.get(&request.sequence) {
            return Verdict::Answered(response.clone());
        }
        match request.sequence.checked_sub(session.first_unacknowledged) {
            None => Verdict::Acknowledged,
            Some(ahead) if ahead >= u64::from(session.window) => Verdict::WindowExceeded,
            Some(_) => {
                Verdict::Fresh(Slot { session: request.session, sequence: request.sequence })
            }
        }
    }

    /// Keeps the encoded response to a request that was judged fresh and has been applied.
    ///
    /// # Panics
    /// If anything was done with the table since the slot was given out.
    pub fn keep(&mut self, slot: Slot, response: Bytes) {
        let session = self.table.get_mut(&slot.session).expect("the session was used just before");
        let before = Arc::make_mut(session).responses.insert(slot.sequence, response);
        assert!(before.is_none(), "a response is never replaced");
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The last entry that used any session which is still here; `Index::ZERO` if none is.
    #[must_use]
    pub fn last_use(&self) -> Index {
        self.by_use.last_key_value().map_or(Index::ZERO, |(index, _)| *index)
    }

    fn assert_is_later(&self, at: Index) {
        assert!(at > self.last_use(), "entry {at} reached the sessions out of order");
    }
}

impl Session {
    fn acknowledge(&mut self, first_unacknowledged: u64) {
        self.first_unacknowledged = self.first_unacknowledged.max(first_unacknowledged);
        while let Some(oldest) = self.responses.first_entry() {
            if *oldest.key() >= self.first_unacknowledged {
                break;
            }
            oldest.remove();
        }
    }

    /// True of every session that this file has built.
    fn is_sound(&self, id: SessionId) -> bool {
        let in_window = |sequence: &u64| {
            sequence
                .checked_sub(self.first_unacknowledged)
                .is_some_and(|ahead| ahead < u64::from(self.window))
        };
        id.0 > 0
            && self.last_use.0 >= id.0
            && self.window > 0
            && self.responses.keys().all(in_window)
    }
}

/// A table as read from a snapshot: whatever breaks an invariant is refused.
impl TryFrom<BTreeMap<SessionId, Arc<Session>>> for Sessions {
    type Error = &'static str;

    fn try_from(table: BTreeMap<SessionId, Arc<Session>>) -> Result<Sessions, Self::Error> {
        let mut by_use = BTreeMap::new();
        for (id, session) in &table {
            if !session.is_sound(*id) || by_use.insert(session.last_use, *id).is_some() {
                return Err("a session table that contradicts itself");
            }
        }
        Ok(Sessions { table, by_use })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::Origin;
    use crate::types::{NodeId, RequestId, Start};

    const ORIGIN: Origin = Origin {
        node: NodeId(1),
        request: RequestId { start: Start { count: 1, nonce: 2 }, number: 3 },
    };

    fn opening(max_sessions: u32, window: u32) -> Register {
        Register { origin: ORIGIN, max_sessions, window }
    }

    fn asked(session: SessionId, sequence: u64, first_unacknowledged: u64) -> InSession {
        InSession { session, sequence, first_unacknowledged }
    }

    /// What the table says, with a fresh request applied: its response is `text`.
    fn ask(sessions: &mut Sessions, at: u64, request: InSession, text: &'static str) -> Verdict {
        let verdict = sessions.request(Index(at), &request);
        if let Verdict::Fresh(slot) = verdict {
            let same = Slot { session: slot.session, sequence: slot.sequence };
            sessions.keep(slot, Bytes::from_static(text.as_bytes()));
            return Verdict::Fresh(same);
        }
        verdict
    }

    fn answered(text: &'static str) -> Verdict {
        Verdict::Answered(Bytes::from_static(text.as_bytes()))
    }

    fn fresh(session: SessionId, sequence: u64) -> Verdict {
        Verdict::Fresh(Slot { session, sequence })
    }

    #[test]
    fn a_retry_gets_the_first_response() {
        let mut sessions = Sessions::default();
        let id = sessions.register(Index(3), &opening(10, 4));
        assert_eq!(id, SessionId(3));
        assert_eq!(ask(&mut sessions, 4, asked(id, 1, 1), "one"), fresh(id, 1));
        assert_eq!(ask(&mut sessions, 5, asked(id, 1, 1), "two"), answered("one"));
        assert_eq!(ask(&mut sessions, 9, asked(id, 1, 0), "two"), answered("one"));
    }

    #[test]
    fn requests_may_arrive_in_any_order_within_the_window() {
        let mut sessions = Sessions::default();
        let id = sessions.register(Index(1), &opening(10, 3));
        assert_eq!(ask(&mut sessions, 2, asked(id, 3, 1), "c"), fresh(id, 3));
        assert_eq!(ask(&mut sessions, 3, asked(id, 1, 1), "a"), fresh(id, 1));
        assert_eq!(ask(&mut sessions, 4, asked(id, 2, 1), "b"), fresh(id, 2));
        assert_eq!(ask(&mut sessions, 5, asked(id, 3, 1), ""), answered("c"));
        assert_eq!(ask(&mut sessions, 6, asked(id, 4, 1), ""), Verdict::WindowExceeded);
        assert_eq!(ask(&mut sessions, 7, asked(id, u64::MAX, 1), ""), Verdict::WindowExceeded);
        assert_eq!(ask(&mut sessions, 8, asked(id, 4, 2), "d"), fresh(id, 4));
    }

    #[test]
    fn what_was_acknowledged_is_dropped_and_never_applied_again() {
        let mut sessions = Sessions::default();
        let id = sessions.register(Index(1), &opening(10, 3));
        assert_eq!(ask(&mut sessions, 2, asked(id, 1, 1), "a"), fresh(id, 1));
        assert_eq!(ask(&mut sessions, 3, asked(id, 2, 2), "b"), fresh(id, 2));
        assert_eq!(sessions.table[&id].responses.len(), 1);
        assert_eq!(ask(&mut sessions, 4, asked(id, 1, 1), ""), Verdict::Acknowledged);
        assert_eq!(ask(&mut sessions, 5, asked(id, 2, 0), ""), answered("b"));
        // A client which contradicts itself harms nobody else.
        assert_eq!(ask(&mut sessions, 6, asked(id, 2, u64::MAX), ""), Verdict::Acknowledged);
        let last = asked(id, u64::MAX, u64::MAX);
        assert_eq!(ask(&mut sessions, 7, last, "z"), fresh(id, u64::MAX));
        assert_eq!(ask(&mut sessions, 8, last, ""), answered("z"));
    }

    #[test]
    fn the_session_used_least_recently_makes_room_and_is_refused() {
        let mut sessions = Sessions::default();
        let first = sessions.register(Index(1), &opening(2, 4));
        let second = sessions.register(Index(2), &opening(2, 4));
        assert_eq!(ask(&mut sessions, 3, asked(first, 1, 1), "a"), fresh(first, 1));
        let third = sessions.register(Index(4), &opening(2, 4));
        assert_eq!(sessions.len(), 2);
        assert_eq!(ask(&mut sessions, 5, asked(second, 1, 1), ""), Verdict::NoSession);
        assert_eq!(ask(&mut sessions, 6, asked(first, 1, 1), ""), answered("a"));
        // A refused request counts as a use as well.
        assert_eq!(ask(&mut sessions, 7, asked(third, 9, 1), ""), Verdict::WindowExceeded);
        sessions.register(Index(8), &opening(2, 4));
        assert_eq!(ask(&mut sessions, 9, asked(first, 1, 1), ""), Verdict::NoSession);
        assert_eq!(ask(&mut sessions, 10, asked(third, 1, 1), "c"), fresh(third, 1));
    }

    #[test]
    fn a_lower_limit_evicts_down_to_it_but_never_the_session_just_opened() {
        let mut sessions = Sessions::default();
        for at in 1..=5 {
            sessions.register(Index(at), &opening(10, 4));
        }
        let id = sessions.register(Index(6), &opening(0, 0));
        assert_eq!(sessions.len(), 1);
        assert_eq!(ask(&mut sessions, 7, asked(id, 0, 0), "a"), fresh(id, 0));
        assert_eq!(ask(&mut sessions, 8, asked(id, 1, 0), ""), Verdict::WindowExceeded);
    }

    #[test]
    fn a_clone_does_not_see_what_happens_later() {
        let mut sessions = Sessions::default();
        let id = sessions.register(Index(1), &opening(10, 4));
        let before = sessions.clone();
        assert_eq!(ask(&mut sessions, 2, asked(id, 1, 1), "a"), fresh(id, 1));
        assert!(before.table[&id].responses.is_empty());
        assert_eq!(before.last_use(), Index(1));
    }

    #[test]
    #[should_panic(expected = "out of order")]
    fn an_entry_is_judged_once() {
        let mut sessions = Sessions::default();
        let id = sessions.register(Index(1), &opening(10, 4));
        let _ = sessions.request(Index(1), &asked(id, 1, 1));
    }

    #[test]
    fn a_table_keeps_its_bytes_and_comes_back_the_same() {
        let mut sessions = Sessions::default();
        let id = sessions.register(Index(1), &opening(10, 4));
        sessions.register(Index(2), &opening(10, 5));
        assert_eq!(ask(&mut sessions, 3, asked(id, 7, 6), "ab"), fresh(id, 7));
        let bytes = postcard::to_allocvec(&sessions).unwrap();
        // Number of sessions; each: id, last use, window, first unacknowledged, number of
        // responses; each: sequence, length, bytes.
        assert_eq!(bytes, [2, 1, 3, 4, 6, 1, 7, 2, b'a', b'b', 2, 2, 5, 0, 0]);
        assert_eq!(postcard::from_bytes::<Sessions>(&bytes).unwrap(), sessions);
    }

    #[test]
    fn a_table_that_contradicts_itself_is_refused() {
        let refused = |bytes: &[u8]| postcard::from_bytes::<Sessions>(bytes).is_err();
        assert!(!refused(&[1, 1, 3, 4, 6, 1, 7, 0]));
        assert!(refused(&[1, 5, 3, 4, 6, 0]), "used before it was opened");
        assert!(refused(&[1, 1, 3, 0, 6, 0]), "no window");
        assert!(refused(&[1, 1, 3, 4, 6, 1, 5, 0]), "a response below the window");
        assert!(refused(&[1, 1, 3, 4, 6, 1, 10, 0]), "a response above the window");
        assert!(refused(&[2, 1, 3, 4, 0, 0, 2, 3, 4, 0, 0]), "two sessions used by one entry");
        assert!(refused(&[255, 255, 255, 255, 15]), "a length with nothing behind it");
    }

    /// Remembers everything, for ever, and searches through all of it.
    #[derive(Default)]
    struct Naive {
        alive: Vec<(SessionId, u32, u64)>,
        uses: Vec<SessionId>,
        answers: Vec<(SessionId, u64, u64)>,
    }

    impl Naive {
        fn register(&mut self, at: u64, max_sessions: u32, window: u32) {
            let id = SessionId(at);
            self.alive.push((id, window, 0));
            self.uses.push(id);
            while self.alive.len() > max_sessions as usize {
                let age = |id| self.uses.iter().rposition(|used| *used == id).unwrap();
                let oldest = self.alive.iter().map(|(id, ..)| age(*id)).min().unwrap();
                let oldest = self.uses[oldest];
                self.alive.retain(|(id, ..)| *id != oldest);
            }
        }

        /// The answer as the number of the entry which gave it first.
        fn request(&mut self, at: u64, request: &InSession) -> Result<u64, &'static str> {
            let alive = self.alive.iter_mut().find(|(id, ..)| *id == request.session);
            let Some((id, window, first)) = alive else { return Err("no session") };
            self.uses.push(*id);
            *first = (*first).max(request.first_unacknowledged);
            if request.sequence < *first {
                return Err("acknowledged");
            }
            if request.sequence >= *first + u64::from(*window) {
                return Err("window");
            }
            let same =
                |answer: &&(SessionId, u64, u64)| (answer.0, answer.1) == (*id, request.sequence);
            let first_answer = self.answers.iter().find(same).map(|answer| answer.2);
            if first_answer.is_none() {
                self.answers.push((*id, request.sequence, at));
            }
            Ok(first_answer.unwrap_or(at))
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_model_that_forgets_nothing(
            steps in prop::collection::vec((0_u8..8, 1_u32..4, 1_u64..60, 0_u64..8, 0_u64..6), 1..120)
        ) {
            let (mut sessions, mut naive) = (Sessions::default(), Naive::default());
            for (at, (what, limit, session, sequence, first)) in (1_u64..).zip(steps) {
                if what == 0 || at == 1 {
                    sessions.register(Index(at), &opening(limit + 1, limit));
                    naive.register(at, limit + 1, limit);
                    continue;
                }
                // Mostly sessions which exist; sometimes any number.
                let names: Vec<_> = sessions.table.keys().copied().collect();
                let id = if what == 1 { SessionId(session) } else { names[session as usize % names.len()] };
                let request = asked(id, sequence, first);
                let given = match sessions.request(Index(at), &request) {
                    Verdict::Fresh(slot) => {
                        sessions.keep(slot, Bytes::copy_from_slice(&at.to_le_bytes()));
                        Ok(at)
                    }
                    Verdict::Answered(kept) => Ok(u64::from_le_bytes(kept[..].try_into().unwrap())),
                    Verdict::Acknowledged => Err("acknowledged"),
                    Verdict::WindowExceeded => Err("window"),
                    Verdict::NoSession => Err("no session"),
                };
                prop_assert_eq!(given, naive.request(at, &request));
                let bytes = postcard::to_allocvec(&sessions).unwrap();
                prop_assert_eq!(&postcard::from_bytes::<Sessions>(&bytes).unwrap(), &sessions);
            }
        }
    }
}

use proptest::prelude::*;

use super::*;
use crate::command::Origin;
use crate::types::{NodeId, RequestId, Start};

const ORIGIN: Origin = Origin {
    node: NodeId(1),
    request: RequestId { start: Start { count: 1, nonce: 2 }, number: 3 },
};

fn opening(max_sessions: u32, window: u32) -> Register {
    Register { origin: ORIGIN, max_sessions, window, max_response_bytes: 1000 }
}

fn limited(max_response_bytes: u64) -> Register {
    Register { max_response_bytes, ..opening(10, 10) }
}

fn asked(session: SessionId, sequence: u64, first_unacknowledged: u64) -> InSession {
    InSession { session, sequence, first_unacknowledged }
}

/// What the table says, with a fresh request applied: its response is `text`.
fn ask(sessions: &mut Sessions, at: u64, request: InSession, text: &'static str) -> Verdict {
    let verdict = sessions.request(Index(at), &request);
    if let Verdict::Fresh(slot) = verdict {
        let same = Slot { session: slot.session, sequence: slot.sequence };
        sessions.keep(slot, Some(Bytes::from_static(text.as_bytes())));
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
    assert_eq!((sessions.len(), sessions.is_empty()), (1, false));
    assert_eq!(ask(&mut sessions, 4, asked(id, 1, 1), "one"), fresh(id, 1));
    assert_eq!(ask(&mut sessions, 5, asked(id, 1, 1), "two"), answered("one"));
    assert_eq!(ask(&mut sessions, 9, asked(id, 1, 0), "two"), answered("one"));
    // Nothing is a response, too.
    assert_eq!(ask(&mut sessions, 10, asked(id, 2, 1), ""), fresh(id, 2));
    assert_eq!(ask(&mut sessions, 11, asked(id, 2, 1), "two"), answered(""));
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
fn however_many_responses_are_acknowledged_at_once_none_of_them_is_kept() {
    let mut sessions = Sessions::default();
    let most = 256;
    let id = sessions.register(Index(1), &opening(10, most));
    let most = u64::from(most);
    for sequence in 0..most {
        assert_eq!(
            ask(&mut sessions, 2 + sequence, asked(id, sequence, 0), "a"),
            fresh(id, sequence)
        );
    }
    assert_eq!(sessions.response_bytes, most);
    assert_eq!(ask(&mut sessions, 2 + most, asked(id, most, most), "b"), fresh(id, most));
    assert_eq!((sessions.table[&id].responses.len(), sessions.response_bytes), (1, 1));
    let bytes = postcard::to_allocvec(&sessions).unwrap();
    assert_eq!(postcard::from_bytes::<Sessions>(&bytes).unwrap(), sessions);
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
    // Most bytes (1000), number of sessions; each: id, last use, window, first unacknowledged,
    // number of requests applied; each: sequence, entry, whether there is a response, length,
    // bytes.
    let first = [1, 3, 4, 6, 1, 7, 3, 1, 2, b'a', b'b'];
    assert_eq!(bytes, [&[0xe8, 7, 2][..], &first, &[2, 2, 5, 0, 0]].concat());
    assert_eq!(postcard::from_bytes::<Sessions>(&bytes).unwrap(), sessions);
}

#[test]
fn a_table_that_contradicts_itself_is_refused() {
    let refused = |bytes: &[u8]| postcard::from_bytes::<Sessions>(bytes).is_err();
    assert!(!refused(&[9, 1, 1, 3, 4, 6, 1, 7, 3, 1, 0]));
    assert!(!refused(&[9, 1, 1, 3, 4, 6, 1, 7, 3, 0]));
    assert!(refused(&[9, 1, 5, 3, 4, 6, 0]), "used before it was opened");
    assert!(refused(&[9, 1, 1, 3, 0, 6, 0]), "no window");
    assert!(refused(&[9, 1, 1, 3, 4, 6, 1, 5, 3, 0]), "a response below the window");
    assert!(refused(&[9, 1, 1, 3, 4, 6, 1, 10, 3, 0]), "a response above the window");
    assert!(refused(&[9, 2, 1, 3, 4, 0, 0, 2, 3, 4, 0, 0]), "two sessions used by one entry");
    assert!(refused(&[9, 1, 1, 3, 4, 6, 1, 7, 4, 0]), "applied by an entry that is yet to come");
    let two = [9, 1, 1, 3, 4, 6, 2, 7, 3, 1, 1, b'a', 8, 3, 1, 1, b'b'];
    assert!(refused(&two), "two requests applied by one entry");
    assert!(refused(&[0, 1, 1, 3, 4, 6, 1, 7, 3, 1, 1, b'a']), "more bytes than it keeps");
    assert!(refused(&[9, 255, 255, 255, 255, 15]), "a length with nothing behind it");
}

#[test]
fn the_oldest_responses_are_dropped_and_their_requests_are_not_applied_again() {
    let mut sessions = Sessions::default();
    let [one, other] = [1, 2].map(|at| sessions.register(Index(at), &limited(10)));
    assert_eq!(ask(&mut sessions, 3, asked(one, 1, 1), "aaaa"), fresh(one, 1));
    assert_eq!(ask(&mut sessions, 4, asked(other, 1, 1), "bbbb"), fresh(other, 1));
    // That it is asked for makes it no younger.
    assert_eq!(ask(&mut sessions, 5, asked(one, 1, 1), ""), answered("aaaa"));
    assert_eq!(ask(&mut sessions, 6, asked(other, 2, 1), "cccc"), fresh(other, 2));
    assert_eq!(ask(&mut sessions, 7, asked(one, 1, 1), ""), Verdict::Dropped);
    assert_eq!(ask(&mut sessions, 8, asked(other, 1, 1), ""), answered("bbbb"));
    // One which is too large by itself leaves room for nothing else, and is not kept.
    assert_eq!(ask(&mut sessions, 9, asked(one, 2, 1), "ddddddddddd"), fresh(one, 2));
    for (at, request) in
        [(10, asked(one, 2, 1)), (11, asked(other, 1, 1)), (12, asked(other, 2, 1))]
    {
        assert_eq!(ask(&mut sessions, at, request, ""), Verdict::Dropped);
    }
    assert_eq!(ask(&mut sessions, 13, asked(one, 2, 3), ""), Verdict::Acknowledged);
    assert_eq!(ask(&mut sessions, 14, asked(one, 3, 3), "eeee"), fresh(one, 3));
    assert_eq!(ask(&mut sessions, 15, asked(one, 3, 3), ""), answered("eeee"));
}

#[test]
fn what_is_acknowledged_or_evicted_makes_room() {
    let mut sessions = Sessions::default();
    let id = sessions.register(Index(1), &limited(10));
    assert_eq!(ask(&mut sessions, 2, asked(id, 1, 1), "aaaaaaaa"), fresh(id, 1));
    assert_eq!(ask(&mut sessions, 3, asked(id, 2, 2), "bbbbbbbb"), fresh(id, 2));
    assert_eq!(ask(&mut sessions, 4, asked(id, 2, 2), ""), answered("bbbbbbbb"));
    let alone = Register { max_sessions: 1, ..limited(10) };
    let id = sessions.register(Index(5), &alone);
    assert_eq!(sessions.response_bytes, 0);
    assert_eq!(ask(&mut sessions, 6, asked(id, 1, 1), "cccccccccc"), fresh(id, 1));
    assert_eq!(ask(&mut sessions, 7, asked(id, 1, 1), ""), answered("cccccccccc"));
    // A lower limit holds at once.
    sessions.register(Index(8), &limited(9));
    assert_eq!(ask(&mut sessions, 9, asked(id, 1, 1), ""), Verdict::Dropped);
}

/// Remembers everything, for ever, and searches through all of it.
#[derive(Default)]
struct Naive {
    alive: Vec<(SessionId, u32, u64)>,
    uses: Vec<SessionId>,
    answers: Vec<(SessionId, u64, u64)>,
    max_bytes: usize,
    dropped: Vec<u64>,
}

/// The response to the request which entry `at` applied.
fn response(at: u64) -> Vec<u8> {
    [&at.to_le_bytes()[..], &vec![0; (at % 5) as usize * 7]].concat()
}

impl Naive {
    fn register(&mut self, at: u64, max_sessions: u32, window: u32, max_bytes: usize) {
        let id = SessionId(at);
        self.alive.push((id, window, 0));
        self.uses.push(id);
        while self.alive.len() > max_sessions as usize {
            let age = |id| self.uses.iter().rposition(|used| *used == id).unwrap();
            let oldest = self.alive.iter().map(|(id, ..)| age(*id)).min().unwrap();
            let oldest = self.uses[oldest];
            self.alive.retain(|(id, ..)| *id != oldest);
        }
        self.max_bytes = max_bytes;
        self.drop_oldest();
    }

    /// What is kept: of sessions that are alive, not acknowledged, and not dropped before.
    fn drop_oldest(&mut self) {
        let first =
            |id| self.alive.iter().find(|(alive, ..)| *alive == id).map(|(.., first)| *first);
        let kept = |(id, sequence, at): &&(SessionId, u64, u64)| {
            first(*id).is_some_and(|first| *sequence >= first) && !self.dropped.contains(at)
        };
        let kept: Vec<u64> = self.answers.iter().filter(kept).map(|(.., at)| *at).collect();
        let mut bytes: usize = kept.iter().map(|at| response(*at).len()).sum();
        for at in kept {
            if bytes <= self.max_bytes {
                return;
            }
            bytes -= response(at).len();
            self.dropped.push(at);
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
        match self.answers.iter().find(same).map(|answer| answer.2) {
            Some(applied) if self.dropped.contains(&applied) => Err("dropped"),
            Some(applied) => Ok(applied),
            None => {
                self.answers.push((*id, request.sequence, at));
                self.drop_oldest();
                Ok(at)
            }
        }
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
                let max_response_bytes = first * 30 + 1;
                let register = Register { max_response_bytes, ..opening(limit + 1, limit) };
                sessions.register(Index(at), &register);
                naive.register(at, limit + 1, limit, max_response_bytes as usize);
                continue;
            }
            // Mostly sessions which exist; sometimes any number.
            let names: Vec<_> = sessions.table.keys().copied().collect();
            let id = if what == 1 { SessionId(session) } else { names[session as usize % names.len()] };
            let request = asked(id, sequence, first);
            let given = match sessions.request(Index(at), &request) {
                Verdict::Fresh(slot) => {
                    sessions.keep(slot, Some(response(at).into()));
                    Ok(at)
                }
                Verdict::Answered(kept) => Ok(u64::from_le_bytes(kept[..8].try_into().unwrap())),
                Verdict::Dropped => Err("dropped"),
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

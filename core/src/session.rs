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
//!
//! All responses together have at most `max_response_bytes`. Beyond that the oldest are dropped; that
//! their requests were applied is still known, so they are not applied again.

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
/// last; an entry uses one session at most, so these indexes are distinct. `by_age` holds each
/// response that is not empty exactly once, under the index of its entry, and `response_bytes` is
/// what they have together: not more than `max_response_bytes`.
///
/// A clone shares the sessions until one of the two changes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Sessions {
    max_response_bytes: u64,
    table: BTreeMap<SessionId, Arc<Session>>,
    #[serde(skip)]
    by_use: BTreeMap<Index, SessionId>,
    #[serde(skip)]
    by_age: BTreeMap<Index, (SessionId, u64)>,
    #[serde(skip)]
    response_bytes: u64,
}

/// A table as it stands in a snapshot.
#[derive(Deserialize)]
struct Stored {
    max_response_bytes: u64,
    table: BTreeMap<SessionId, Arc<Session>>,
}

/// One client's session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    /// The last entry that named the session.
    last_use: Index,
    window: u32,
    first_unacknowledged: u64,
    /// What was applied, by sequence number, from `first_unacknowledged` on, within the window.
    responses: BTreeMap<u64, Kept>,
}

/// What is known of a request that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The entry that applied it.
    at: Index,
    /// The response, encoded, unless it was dropped.
    response: Option<Bytes>,
}

/// What is to be done with a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Seen for the first time: apply it, and [`keep`](Sessions::keep) the response.
    Fresh(Slot),
    /// Applied before: this was the response, encoded.
    Answered(Bytes),
    /// Applied before; the response was dropped, since all of them together were too large.
    Dropped,
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
    /// under a limit of zero; a window of zero counts as one. The limits hold until the next session
    /// is opened.
    ///
    /// # Panics
    /// If `at` is not behind every entry that was shown to the table before.
    pub fn register(&mut self, at: Index, register: &Register) -> SessionId {
        self.assert_is_later(at);
        let room = register.max_sessions.max(1) as usize - 1;
        while self.table.len() > room {
            let (_, evicted) = self.by_use.pop_first().expect("every session was used once");
            if let Some(evicted) = self.table.remove(&evicted) {
                evicted.responses.values().for_each(|kept| self.forget(kept));
            }
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
        self.max_response_bytes = register.max_response_bytes;
        self.drop_oldest();
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
        let acknowledged = session.acknowledge(request.first_unacknowledged);
        let verdict = session.judge(request);
        acknowledged.iter().for_each(|kept| self.forget(kept));
        verdict
    }

    /// Keeps the encoded response to a request that was judged fresh and has been applied, as
    /// long as it is not acknowledged and there is room. Without one, of a request that is sent
    /// again it is known that it was applied, and no more.
    ///
    /// # Panics
    /// If anything was done with the table since the slot was given out.
    pub fn keep(&mut self, slot: Slot, response: Option<Bytes>) {
        let Slot { session: id, sequence } = slot;
        let session = self.table.get_mut(&id).expect("the session was used just before");
        let session = Arc::make_mut(session);
        let at = session.last_use;
        if let Some(response) = response.as_ref().filter(|response| !response.is_empty()) {
            self.by_age.insert(at, (id, sequence));
            self.response_bytes += response.len() as u64;
        }
        let kept = Kept { at, response };
        let before = session.responses.insert(sequence, kept);
        assert!(before.is_none(), "a response is never replaced");
        self.drop_oldest();
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

    /// Drops responses until the others have few enough bytes.
    fn drop_oldest(&mut self) {
        while self.response_bytes > self.max_response_bytes {
            let (_, (id, sequence)) = self.by_age.pop_first().expect("bytes are of a response");
            let session = self.table.get_mut(&id).expect("evicted responses are forgotten");
            let kept = Arc::make_mut(session).responses.get_mut(&sequence);
            let response = kept.and_then(|kept| kept.response.take());
            let response = response.expect("what is dropped or acknowledged is forgotten");
            self.response_bytes -= response.len() as u64;
        }
    }

    /// This is no longer in the table.
    fn forget(&mut self, kept: &Kept) {
        if self.by_age.remove(&kept.at).is_some() {
            self.response_bytes -= kept.bytes();
        }
    }

    fn assert_is_later(&self, at: Index) {
        assert!(at > self.last_use(), "entry {at} reached the sessions out of order");
    }
}

impl Kept {
    fn bytes(&self) -> u64 {
        self.response.as_ref().map_or(0, |response| response.len() as u64)
    }
}

impl Session {
    /// Returns what is no longer kept.
    fn acknowledge(&mut self, first_unacknowledged: u64) -> Vec<Kept> {
        self.first_unacknowledged = self.first_unacknowledged.max(first_unacknowledged);
        let mut acknowledged = Vec::new();
        while let Some(oldest) = self.responses.first_entry()
            && *oldest.key() < self.first_unacknowledged
        {
            acknowledged.push(oldest.remove());
        }
        acknowledged
    }

    fn judge(&self, request: &InSession) -> Verdict {
        if let Some(kept) = self.responses.get(&request.sequence) {
            return kept.response.clone().map_or(Verdict::Dropped, Verdict::Answered);
        }
        match request.sequence.checked_sub(self.first_unacknowledged) {
            None => Verdict::Acknowledged,
            Some(ahead) if ahead >= u64::from(self.window) => Verdict::WindowExceeded,
            Some(_) => {
                Verdict::Fresh(Slot { session: request.session, sequence: request.sequence })
            }
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
            && self.responses.values().all(|kept| kept.at <= self.last_use)
    }
}

/// A table as read from a snapshot: whatever breaks an invariant is refused.
impl TryFrom<Stored> for Sessions {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Sessions, Self::Error> {
        let Stored { max_response_bytes, table } = stored;
        let mut sessions = Sessions { max_response_bytes, ..Sessions::default() };
        for (id, session) in &table {
            let twice = sessions.by_use.insert(session.last_use, *id).is_some();
            if twice || !session.is_sound(*id) {
                return Err(CONTRADICTION);
            }
            for (sequence, kept) in &session.responses {
                let bytes = kept.bytes();
                if bytes > 0 && sessions.by_age.insert(kept.at, (*id, *sequence)).is_some() {
                    return Err(CONTRADICTION);
                }
                sessions.response_bytes = sessions.response_bytes.saturating_add(bytes);
            }
        }
        if sessions.response_bytes > max_response_bytes {
            return Err(CONTRADICTION);
        }
        Ok(Sessions { table, ..sessions })
    }
}

const CONTRADICTION: &str = "a session table that contradicts itself";

#[cfg(test)]
mod tests;

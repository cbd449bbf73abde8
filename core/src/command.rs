//! The payloads of entries that come from clients.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::{NodeId, RequestId, SessionId};

/// Where a request came from: the node that waits for it, and the number it has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The node that a client asked.
    pub node: NodeId,
    /// The name which the node gave the request.
    pub request: RequestId,
}

/// The payload of an [`EntryKind::Command`](crate::EntryKind::Command).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Command {
    /// Who waits for the response.
    pub origin: Origin,
    /// Under which session it was sent, if any.
    pub session: Option<InSession>,
    /// The state machine's command, encoded.
    pub body: Bytes,
}

/// What makes a retry recognisable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InSession {
    /// The session.
    pub session: SessionId,
    /// The number of the request in the session; a retry has the same.
    pub sequence: u64,
    /// The client holds the responses to all requests below this one and will not ask again.
    pub first_unacknowledged: u64,
}

/// The payload of an [`EntryKind::Register`](crate::EntryKind::Register). The limits travel with
/// the entry, so that every replica evicts the same sessions whatever its settings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Register {
    /// Who waits for the session's name.
    pub origin: Origin,
    /// How many sessions the table may hold afterwards.
    pub max_sessions: u32,
    /// How many requests of this session may be outstanding.
    pub window: u32,
    /// How many bytes the responses may have that the table keeps, of all sessions together.
    pub max_response_bytes: u64,
}

impl Command {
    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("plain data encodes").into()
    }

    /// What a payload says; `None` if it is not a command.
    #[must_use]
    pub fn decode(payload: &Bytes) -> Option<Command> {
        let (origin, session, body): (Origin, Option<InSession>, &[u8]) =
            postcard::from_bytes(payload).ok()?;
        Some(Command { origin, session, body: payload.slice_ref(body) })
    }
}

impl Register {
    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("plain data encodes").into()
    }

    /// What a payload says; `None` if it is not a registration.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Register> {
        postcard::from_bytes(payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Start;

    #[test]
    fn payloads_keep_their_bytes() {
        let start = Start { count: 10, nonce: 11 };
        let origin = Origin { node: NodeId(1), request: RequestId { start, number: 2 } };
        let in_session = InSession { session: SessionId(3), sequence: 4, first_unacknowledged: 5 };
        let body = Bytes::from_static(b"ab");
        let command = Command { origin, session: Some(in_session), body };
        assert_eq!(command.encode()[..], [1, 10, 11, 2, 1, 3, 4, 5, 2, b'a', b'b']);
        assert_eq!(Command::decode(&command.encode()), Some(command.clone()));
        let bare = Command { session: None, ..command };
        assert_eq!(bare.encode()[..], [1, 10, 11, 2, 0, 2, b'a', b'b']);
        let register = Register { origin, max_sessions: 6, window: 7, max_response_bytes: 8 };
        assert_eq!(register.encode()[..], [1, 10, 11, 2, 6, 7, 8]);
        assert_eq!(Register::decode(&register.encode()), Some(register));
    }

    #[test]
    fn garbage_is_not_a_command() {
        assert_eq!(Command::decode(&Bytes::from_static(&[1, 2, 0, 200, 1])), None);
        assert_eq!(Command::decode(&Bytes::new()), None);
        assert_eq!(Register::decode(&[]), None);
    }
}

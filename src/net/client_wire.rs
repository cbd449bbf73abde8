//! What clients and nodes say to each other. Append variants only.

use bytes::Bytes;
use quorate_core::{InSession, SessionId};
use serde::{Deserialize, Serialize};

use crate::error::{ReadError, RequestError};
use crate::requests::Read;

/// The largest command, query or answer that is sent, in bytes.
pub(crate) const MAX_BYTES: usize = 1 << 30;

/// How many requests of one connection may be unanswered. A client sends no more than that, whatever
/// became of those who asked, and a node reads no more. Pings do not count: a node that answers nothing
/// else shows that it is there.
pub(crate) const MAX_UNANSWERED: usize = 512;

/// What the body of a frame may be larger than what it carries.
pub(crate) const SLACK_BYTES: usize = 64;

/// A client's request. Several may be outstanding; they are put into line as they come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// Names the request on this connection.
    pub(crate) id: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    /// Open a session.
    Register,
    /// Replicate and execute a command of the state machine.
    Propose { session: Option<InSession>, command: Bytes },
    /// Answer a query of the state machine.
    Read { level: Read, query: Bytes },
}

/// How a request begins: enough to answer it unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct AskBegun {
    pub(crate) id: u64,
    pub(crate) what: WhatBegun,
}

impl What {
    pub(crate) fn kind(&self) -> WhatBegun {
        match self {
            What::Register => WhatBegun::Register,
            What::Propose { .. } => WhatBegun::Propose,
            What::Read { .. } => WhatBegun::Read,
        }
    }
}

/// Which variant of [`What`] it is. In the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum WhatBegun {
    Register,
    Propose,
    Read,
}

/// The answer to a request. Answers come in any order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) id: u64,
    pub(crate) answer: Answer,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The session, and how many of its requests may be outstanding.
    Registered { session: SessionId, window: u32 },
    /// The state machine's response or answer.
    Done(Bytes),
    /// A registration or proposal came to this.
    Failed(RequestError),
    /// A read came to this.
    ReadFailed(ReadError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{NotProposed, SessionError};

    fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
        postcard::to_allocvec(value).unwrap()
    }

    fn begun<T: Serialize>(value: &T) -> AskBegun {
        postcard::take_from_bytes(&bytes(value)).unwrap().0
    }

    #[test]
    fn requests_keep_their_bytes() {
        let session =
            Some(InSession { session: SessionId(7), sequence: 8, first_unacknowledged: 6 });
        let command = Bytes::from_static(b"c");
        let propose = Ask { id: 1, what: What::Propose { session, command } };
        assert_eq!(bytes(&propose), [1, 1, 1, 7, 8, 6, 1, b'c']);
        assert_eq!(begun(&propose), AskBegun { id: 1, what: WhatBegun::Propose });
        let register = Ask { id: 2, what: What::Register };
        assert_eq!(bytes(&register), [2, 0]);
        assert_eq!(begun(&register), AskBegun { id: 2, what: WhatBegun::Register });
        let query = Bytes::from_static(b"q");
        let read = Ask { id: 3, what: What::Read { level: Read::Local, query } };
        assert_eq!(bytes(&read), [3, 2, 1, 1, b'q']);
        assert_eq!(begun(&read), AskBegun { id: 3, what: WhatBegun::Read });
    }

    #[test]
    fn replies_keep_their_bytes() {
        let reply = |answer| bytes(&Reply { id: 1, answer });
        let session = SessionId(7);
        assert_eq!(reply(Answer::Registered { session, window: 9 }), [1, 0, 7, 9]);
        assert_eq!(reply(Answer::Done(Bytes::from_static(b"r"))), [1, 1, 1, b'r']);
        let reasons = [
            NotProposed::Busy,
            NotProposed::DiskFull,
            NotProposed::NoLeader,
            NotProposed::TooLarge,
            NotProposed::Unencodable,
            NotProposed::Unreadable,
            NotProposed::ShuttingDown,
            NotProposed::Overdue,
        ];
        for (number, reason) in (0..).zip(reasons) {
            assert_eq!(reply(Answer::Failed(reason.into())), [1, 2, 0, number]);
        }
        assert_eq!(reply(Answer::Failed(RequestError::Unknown)), [1, 2, 1]);
        assert_eq!(reply(Answer::Failed(RequestError::ResponseUnreadable)), [1, 2, 3]);
        let reasons = [
            SessionError::Expired,
            SessionError::WindowExceeded,
            SessionError::Acknowledged,
            SessionError::ResponseDropped,
        ];
        for (number, reason) in (0..).zip(reasons) {
            assert_eq!(reply(Answer::Failed(reason.into())), [1, 2, 2, number]);
        }
        let reasons = [
            ReadError::Busy,
            ReadError::NoLeader,
            ReadError::Panicked,
            ReadError::Unencodable,
            ReadError::Unreadable,
            ReadError::ShuttingDown,
            ReadError::TooLarge,
            ReadError::Unreachable,
            ReadError::AnswerUnreadable,
        ];
        for (number, reason) in (0..).zip(reasons) {
            assert_eq!(reply(Answer::ReadFailed(reason)), [1, 3, number]);
        }
    }
}

//! What Raft's followers acknowledge.

use quorate_raft::{Appended, Message, Raft};

use crate::checks::{Kept, Verdict, readable};
use crate::oracle::Oracle;

/// Followers acknowledge what their disks can give back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Acknowledged;

impl Oracle<Raft> for Acknowledged {
    fn vouches(&mut self, node: usize, _: usize, message: &Message, kept: &Kept<'_>) -> Verdict {
        let durable = match message {
            Message::AppendEntriesReply(reply) => match reply.outcome {
                Appended::Durable(index) => Some(index),
                _ => None,
            },
            Message::InstallSnapshotReply { durable, .. } => *durable,
            _ => None,
        };
        durable.map_or(Ok(()), |index| readable::acknowledges(node, index, kept, message))
    }
}

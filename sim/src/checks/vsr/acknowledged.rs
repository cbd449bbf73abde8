//! What Viewstamped Replication's backups acknowledge.

use quorate_vsr::{Message, Vsr};

use crate::checks::{Kept, Verdict, readable};
use crate::oracle::Oracle;

/// Backups acknowledge what their disks can give back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Acknowledged;

impl Oracle<Vsr> for Acknowledged {
    fn vouches(&mut self, node: usize, _: usize, message: &Message, kept: &Kept<'_>) -> Verdict {
        match message {
            Message::PrepareOk { op, .. } => readable::acknowledges(node, *op, kept, message),
            _ => Ok(()),
        }
    }
}

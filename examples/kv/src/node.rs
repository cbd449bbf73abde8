//! A node of a real cluster behind the connections: what its outcomes mean to a Redis client.

use std::future::Future;

use quorate::{Node, NotProposed, Read, RequestError};
use quorate_core::{NodeId, Protocol};

use crate::cluster::{Cluster, Level, ReadError, Standing, Status, WriteError};
use crate::machine::Machine;
use crate::op::{Command, Query, Reply};

impl<P: Protocol> Cluster for Node<P, Machine> {
    fn write(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Vec<Reply>, WriteError>> + Send + 'static {
        let response = self.propose(command);
        async { response.await.map_err(write_error) }
    }

    fn read(
        &self,
        query: Query,
        level: Level,
    ) -> impl Future<Output = Result<Vec<Reply>, ReadError>> + Send + 'static {
        let level = match level {
            Level::Linearizable => Read::Linearizable,
            Level::Local => Read::Local,
        };
        let answer = Node::read(self, level, query);
        async { answer.await.map_err(read_error) }
    }

    fn status(&self) -> Status {
        let status = Node::status(self);
        let address_of = |leader: NodeId| match status.peers.iter().find(|peer| peer.node == leader)
        {
            Some(peer) => Some(peer.address.clone()),
            None => (leader == status.node).then(|| self.local_address().to_owned()),
        };
        Status {
            node: status.node.0,
            protocol: status.protocol,
            role: status.role,
            leader: status.leader.map(|leader| leader.0),
            leader_address: status.leader.and_then(address_of),
            term: status.ballot.0,
            members: status.membership.len(),
            connected: status.peers.iter().filter(|peer| peer.connected).count(),
            first_index: status.first.0,
            last_index: status.last.index.0,
            durable_index: status.durable.0,
            committed_index: status.committed.0,
            applied_index: status.applied.0,
            has_room: status.has_room,
            standing: match (status.formed, status.mute) {
                (false, _) => Standing::Unformed,
                (true, true) => Standing::Mute,
                (true, false) => Standing::Member,
            },
            cluster: status.cluster,
        }
    }
}

fn write_error(error: RequestError) -> WriteError {
    let why = match error {
        RequestError::NotProposed(why) => why,
        // Commands outside a session are told nothing about sessions; if one is, nothing is known.
        _ => return WriteError::Unknown("no outcome was heard of in time".to_owned()),
    };
    match why {
        NotProposed::Busy => WriteError::Busy("too many writes are waiting".to_owned()),
        NotProposed::Overdue => WriteError::Busy(
            "writes before it are overdue: the disks of a majority of the nodes are full or slow, or \
             the load is too high"
                .to_owned(),
        ),
        NotProposed::DiskFull => WriteError::Busy(
            "the disk of the leader is full, and takes no writes until there is room".to_owned(),
        ),
        NotProposed::TooLarge => {
            WriteError::Refused("it is larger than one entry of the log may be; split it".to_owned())
        }
        NotProposed::ShuttingDown => {
            WriteError::NotProposed("this node is shutting down or has stopped".to_owned())
        }
        _ => WriteError::NotProposed("no leader was found in time".to_owned()),
    }
}

fn read_error(error: quorate::ReadError) -> ReadError {
    match error {
        quorate::ReadError::Busy => ReadError::Busy("too many requests are waiting".to_owned()),
        quorate::ReadError::NoLeader => ReadError::Unconfirmed(
            "no leader confirmed in time that what this node has is current".to_owned(),
        ),
        quorate::ReadError::ShuttingDown => {
            ReadError::Unconfirmed("this node is shutting down or has stopped".to_owned())
        }
        other => ReadError::Unconfirmed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(error: impl Into<RequestError>) -> String {
        write_error(error.into()).to_string()
    }

    #[test]
    fn what_was_surely_not_proposed_is_told_apart_and_err_is_said_where_a_repetition_is_vain() {
        use NotProposed::*;
        for (why, prefix) in [
            (Busy, "BUSY "),
            (Overdue, "BUSY "),
            (DiskFull, "BUSY "),
            (TooLarge, "ERR "),
            (NoLeader, "CLUSTERDOWN "),
            (ShuttingDown, "CLUSTERDOWN "),
        ] {
            assert!(RequestError::from(why).surely_not_applied());
            assert!(text(why).starts_with(prefix), "{}", text(why));
        }
        assert!(text(RequestError::Unknown).starts_with("UNKNOWN "));
        assert!(text(quorate::SessionError::Expired).starts_with("UNKNOWN "));
    }

    #[test]
    fn a_full_disk_is_named() {
        assert!(text(NotProposed::DiskFull).contains("disk of the leader is full"));
        assert!(text(NotProposed::Overdue).contains("disks of a majority of the nodes are full"));
    }
}

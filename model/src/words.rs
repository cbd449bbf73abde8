//! Clusters, messages and counterexamples in words.

use std::fmt::{Debug, Write};

use quorate_core::{Envelope, Forward, PeerMessage};
use quorate_sim::Simulated;

use crate::cluster::{Action, What};
use crate::network::Way;
use crate::node::{Node, node_id};
use crate::rules::{Local, Speed};

/// A replica and its disk, in a line.
pub(crate) fn node<P: Simulated>(node: &Node<P>) -> String {
    let status = node.replica().status();
    let mut words = format!(
        "{:?} {:?} in {:?}, log {}, durable {:?}, committed {:?}, applied {:?}",
        status.node,
        status.role,
        status.ballot,
        log(node),
        status.durable,
        status.committed,
        status.applied
    );
    match node.unsaved() {
        0 => {}
        1 => words.push_str("; a write on its way"),
        many => {
            let _ = write!(words, "; {many} writes on their way");
        }
    }
    words
}

fn log<P: Simulated>(node: &Node<P>) -> String {
    let log = node.held();
    let ids = (log.base().0 + 1..=log.last().0).filter_map(|index| {
        let (ballot, _) = log.at(index.into())?;
        Some(format!("{index}@{ballot}"))
    });
    format!("[{}]", ids.collect::<Vec<_>>().join(" "))
}

/// A message, in a line.
pub(crate) fn message<M: Debug>(envelope: &Envelope<M>) -> String {
    let Envelope { from, to, .. } = envelope;
    let says = match &envelope.message {
        PeerMessage::Protocol(message) => format!("{message:?}"),
        PeerMessage::Forward(Forward::Propose { ballot, place, .. }) => {
            format!("Forward {:?} in {ballot:?}", place.attempt)
        }
        other => format!("{other:?}"),
    };
    format!("{from:?} → {to:?}: {}", without_payloads(&says))
}

/// What happens, in a line.
pub(crate) fn action(action: Action, message: Option<String>) -> String {
    let message = message.unwrap_or_else(|| "a message".to_owned());
    let what = match action.what {
        What::Arrival { way: Way::InTurn, .. } => format!("arrives: {message}"),
        What::Arrival { way: Way::Overtaking, .. } => format!("overtakes others: {message}"),
        What::Arrival { way: Way::Batched, .. } => {
            format!("arrives, and the batch goes on: {message}")
        }
        What::Arrival { way: Way::Twice, .. } => format!("arrives, and will again: {message}"),
        What::Local(position, local) => format!("{:?}: {}", node_id(position), of_itself(local)),
    };
    match action.disk {
        Speed::Immediate => what,
        Speed::Slow => format!("{what} (slow disk)"),
    }
}

fn of_itself(local: Local) -> String {
    let what = match local {
        Local::ElectionTimeout => "the election timer runs out",
        Local::HeartbeatTimeout => "the heartbeat timer runs out",
        Local::QuorumTimeout => "the leader has not heard of a quorum for long",
        Local::Propose => "a client proposes a command",
        Local::Read => "a client asks for a linearizable read",
        Local::Save => "the oldest write on its way is on the disk",
        Local::Swear => "the newest promise is on the disk, ahead of its write",
        Local::Crash(0) => "the process dies and starts again",
        Local::Crash(kept) => {
            return format!("the process dies and starts again; writes that had arrived: {kept}");
        }
    };
    what.to_owned()
}

/// Entries by their names and kinds alone.
fn without_payloads(says: &str) -> String {
    const ENTRY: &str = "Entry { id: ";
    let mut words = String::with_capacity(says.len());
    let mut rest = says;
    while let Some((before, entry)) = rest.split_once(ENTRY) {
        words.push_str(before);
        let parts = entry
            .split_once(", kind: ")
            .and_then(|(id, after)| Some((id, after.split_once(", time: ")?)))
            .and_then(|(id, (kind, after))| Some((id, kind, after.split_once("payload: b\"")?.1)));
        let Some((id, kind, payload)) = parts else {
            words.push_str(ENTRY);
            rest = entry;
            continue;
        };
        let _ = write!(words, "{id} {kind}");
        rest = behind_quote(payload).strip_prefix(" }").unwrap_or_default();
    }
    words.push_str(rest);
    words
}

/// What follows the closing quote of a byte string.
fn behind_quote(text: &str) -> &str {
    let mut escaped = false;
    for (place, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return &text[place + 1..],
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_core::{Ballot, Digest, Entry, EntryKind, Index, LogId, LogTime, Proposal};

    use super::*;

    #[test]
    fn entries_are_named_and_nothing_else_is_lost() {
        let payload = Bytes::from_static(b"a \" } and \\");
        let proposal = Proposal::new(EntryKind::Command, LogTime(0), payload);
        let entry = Entry::new(LogId::new(Index(3), Ballot(2)), Digest::ZERO, proposal);
        let says = format!("Prepare {{ entries: {:?}, commit: i1 }}", [entry.clone(), entry]);
        assert_eq!(
            without_payloads(&says),
            "Prepare { entries: [3@2 Command, 3@2 Command], commit: i1 }"
        );
        assert_eq!(without_payloads("Commit { commit: i1 }"), "Commit { commit: i1 }");
    }
}

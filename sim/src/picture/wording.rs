//! What a value is called in the picture: its debug text, without what nobody reads.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::{Command, EntryKind, Forward, Origin, PeerMessage};

use crate::clients::OpId;
use crate::subject::Subject;

/// No text of the picture is longer, in characters.
const LONGEST: usize = 6000;

/// The name of a value (of a variant, that is), and what it holds.
pub(super) fn name_and_content(value: &impl Debug) -> (String, String) {
    let text = tidy(&format!("{value:?}"));
    let (name, content) = split(&text);
    // `AppendEntries(AppendEntries { … })` says nothing that `AppendEntries { … }` does not.
    let held = match split(content) {
        (inner, held) if !inner.is_empty() && content.ends_with('}') => held,
        _ => content,
    };
    (name.to_owned(), held.to_owned())
}

/// What a message is called, and what it says.
pub(super) fn message<M: Debug>(message: &PeerMessage<M>, requests: &Requests) -> (String, String) {
    let within = |family: &str, (name, content): (String, String)| {
        let name = name.trim_end_matches("Message");
        (
            format!("{family} {name}")
                .replace(&format!("{family} {family}"), family)
                .trim_end()
                .to_owned(),
            content,
        )
    };
    match message {
        PeerMessage::Protocol(message) => name_and_content(message),
        PeerMessage::Forward(forward) => {
            let (name, content) = within("Forward", name_and_content(forward));
            match forward {
                Forward::Propose { kind, payload, .. } => {
                    let (label, _) = requests.label(*kind, payload);
                    (name, format!("{label}; {content}"))
                }
                _ => (name, content),
            }
        }
        PeerMessage::Snapshot(message) => within("Snapshot", name_and_content(message)),
        PeerMessage::Founding(message) => within("Founding", name_and_content(message)),
        PeerMessage::Repair(message) => within("Repair", name_and_content(message)),
        PeerMessage::Readmission(message) => within("Readmission", name_and_content(message)),
    }
}

/// What clients asked for.
pub(super) struct Requests {
    pub(super) subject: Arc<dyn Subject>,
    /// Which request each attempt belongs to.
    pub(super) attempts: BTreeMap<Origin, OpId>,
}

impl Requests {
    /// What an entry with this payload does, and for which request.
    pub(super) fn label(&self, kind: EntryKind, payload: &Bytes) -> (String, Option<u64>) {
        let command = match kind {
            EntryKind::Command => Command::decode(payload),
            _ => None,
        };
        let Some(command) = command else { return (format!("{kind:?}").to_lowercase(), None) };
        let words = self.subject.command_in_words(&command.body);
        let words = words.unwrap_or_else(|| "is no command".to_owned());
        match self.attempts.get(&command.origin) {
            Some(op) => (format!("op {} {words}", op.0), Some(op.0)),
            None => (words, None),
        }
    }
}

/// A debug text without payloads, digests of payloads and the nonces of starts.
pub(super) fn tidy(text: &str) -> String {
    let mut tidied = String::with_capacity(text.len().min(LONGEST));
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if tidied.len() > LONGEST {
            tidied.push_str(" …");
            break;
        }
        if let Some(behind) = rest.strip_prefix("b\"") {
            let (length, behind) = byte_string(behind);
            tidied.push_str(&format!("‹{length} bytes›"));
            rest = behind;
        } else if let Some(entry) = rest.strip_prefix("Entry { id: ") {
            let (id, behind) = entry.split_once(", kind: ").unwrap_or((entry, ""));
            let (kind, behind) = behind.split_once(',').unwrap_or((behind, ""));
            tidied.push_str(&format!("{id} {kind}"));
            let payload = behind.split_once("payload: b\"").map_or("", |(_, payload)| payload);
            let (_, behind) = byte_string(payload);
            rest = behind.strip_prefix(" }").unwrap_or(behind);
        } else if let Some(start) = rest.strip_prefix(" of start ") {
            // A request's name: the nonce of the start says nothing.
            let (count, behind) = start.split_once(" (").unwrap_or((start, ""));
            tidied.push_str(&format!("/{count}"));
            rest = behind.split_once(')').map_or("", |(_, behind)| behind);
        } else {
            tidied.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    tidied
}

/// How many bytes a debug text of bytes shows, up to its closing quote, and what follows that.
fn byte_string(text: &str) -> (usize, &str) {
    let mut length = 0;
    let mut chars = text.char_indices();
    while let Some((position, c)) = chars.next() {
        match c {
            '"' => return (length, &text[position + 1..]),
            '\\' => {
                if let Some((_, 'x')) = chars.next() {
                    chars.nth(1);
                }
            }
            _ => {}
        }
        length += 1;
    }
    (length, "")
}

/// The leading name of a debug text, and what stands in the brackets behind it.
fn split(text: &str) -> (&str, &str) {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let (name, content) = text.split_at(end);
    let starts_a_name = name.starts_with(|c: char| c.is_ascii_uppercase());
    let bracketed = [("(", ")"), (" { ", " }")].into_iter();
    let content = bracketed
        .filter_map(|(open, close)| content.strip_prefix(open)?.strip_suffix(close))
        .next();
    match content {
        Some(content) if starts_a_name => (name, content),
        _ if starts_a_name && end == text.len() => (name, ""),
        _ => ("", text),
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{Ballot, Digest, Entry, Index, LogId, LogTime, Proposal, Settings};
    use quorate_raft::{AppendEntries, Message};

    use super::*;
    use crate::faults::Load;
    use crate::registers::Writing;
    use crate::rng::Rng;

    fn entry(index: u64, payload: &'static [u8]) -> Entry {
        let payload = Bytes::from_static(payload);
        let proposal = Proposal::new(EntryKind::Command, LogTime(5), payload);
        Entry::new(LogId::new(Index(index), Ballot(3)), Digest([1; 16]), proposal)
    }

    #[test]
    fn a_message_is_its_name_and_what_it_holds() {
        let entries = vec![entry(7, b"a\"b\\\0\n}"), entry(8, b"")];
        let (term, previous, commit) = (Ballot(4), LogId::ZERO, Index(6));
        let append = AppendEntries { term, probe: 2, previous, commit, entries };
        let said = Message::AppendEntries(append);
        let expected =
            "term: b4, probe: 2, previous: 0@0, commit: i6, entries: [7@3 Command, 8@3 Command]";
        let load = Load::draw(&mut Rng::new(1, "load"), &Settings::default());
        let subject = Arc::new(Writing::of(&load));
        let requests = Requests { subject, attempts: BTreeMap::new() };
        assert_eq!(
            message(&PeerMessage::Protocol(said), &requests),
            ("AppendEntries".into(), expected.into())
        );
        assert_eq!(name_and_content(&Some(Index(9))), ("Some".into(), "i9".into()));
        assert_eq!(name_and_content(&Some(Some(Index(9)))), ("Some".into(), "Some(i9)".into()));
        assert_eq!(name_and_content(&EntryKind::Noop), ("Noop".into(), String::new()));
    }

    #[test]
    fn bytes_are_counted_and_nonces_left_out() {
        let bytes = Bytes::from_static(b"a\"\\\0\xff");
        assert_eq!(tidy(&format!("{bytes:?}, x")), "‹5 bytes›, x");
        assert_eq!(tidy("r7 of start 2 (9ab), r8"), "r7/2, r8");
        assert_eq!(tidy("b\"torn"), "‹4 bytes›");
        assert!(tidy(&"é".repeat(LONGEST)).ends_with('…'));
    }
}

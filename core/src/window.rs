//! How much may be on its way to one peer.

use std::collections::VecDeque;

use crate::entry::Entry;
use crate::settings::Settings;
use crate::types::Index;

/// What was sent to a peer and is not known to be on its disk.
///
/// A peer that has just begun to follow may lack megabytes. Whoever sends them has others to serve as
/// well, so the window opens slowly, as that of TCP does (RFC 5681, section 3.1): at first it holds one
/// message, and by as much as is acknowledged while it is full it grows, up to
/// [`Settings::window_bytes`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Window {
    /// The last index and the size of each message. Ascending.
    messages: VecDeque<(Index, usize)>,
    bytes: usize,
    /// By how many bytes it holds more than one message.
    grown: usize,
    /// There was no room when that was asked for last.
    is_full: bool,
}

impl Window {
    /// How many bytes of entries the next message may carry; `None` if it has to wait.
    pub fn room(&mut self, settings: &Settings) -> Option<usize> {
        self.grown = self.grown.min(settings.window_bytes);
        let open = settings.append_bytes.saturating_add(self.grown).min(settings.window_bytes);
        let room = open.saturating_sub(self.bytes).min(settings.append_bytes);
        // While something is on its way that makes more room, small change is not worth a message (the
        // silly window of TCP: RFC 1122, section 4.2.3.4).
        let is_worth_it = room >= settings.append_bytes / 4 || self.bytes == 0;
        self.is_full = room == 0 || !is_worth_it;
        (!self.is_full).then_some(room)
    }

    /// These entries are on their way, in one message.
    pub fn add(&mut self, entries: &[Entry]) {
        let Some(last) = entries.last() else { return };
        let bytes = entries.iter().map(Entry::size_bytes).sum();
        self.messages.push_back((last.index(), bytes));
        self.bytes += bytes;
    }

    /// The peer has everything up to `index`.
    pub fn remove_through(&mut self, index: Index) {
        let before = self.bytes;
        while let Some((_, bytes)) = self.messages.pop_front_if(|(last, _)| *last <= index) {
            self.bytes -= bytes;
        }
        if self.is_full {
            self.grown = self.grown.saturating_add(before - self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::entry::{EntryKind, Proposal};
    use crate::log::Log;
    use crate::membership::Membership;
    use crate::types::{Ballot, LogTime};

    /// A log of so many entries of one size, and that size.
    fn log_of(count: u64) -> (Log, usize) {
        let mut log = Log::founded_by(Membership::default());
        for _ in 1..count {
            log.append(Ballot(1), Proposal::new(EntryKind::Noop, LogTime(0), Bytes::new()));
        }
        let bytes = log.entries(Index(2), 1).expect("it is in memory")[0].size_bytes();
        (log, bytes)
    }

    /// Sends what there is room for from `next` on, and returns how many messages that were.
    fn fill(window: &mut Window, log: &Log, next: &mut Index, settings: &Settings) -> usize {
        let mut messages = 0;
        while let Some(room) = window.room(settings) {
            let entries = log.entries(*next, room).expect("they are in memory");
            *next = entries.last().expect("the log goes on").index().next();
            window.add(&entries);
            messages += 1;
        }
        messages
    }

    #[test]
    fn a_window_opens_with_what_is_acknowledged_up_to_its_bound() {
        let (log, bytes) = log_of(100);
        let settings =
            Settings { append_bytes: bytes, window_bytes: 6 * bytes, ..Settings::default() };
        let (mut window, mut next) = (Window::default(), Index(2));
        let mut bursts = vec![fill(&mut window, &log, &mut next, &settings)];
        for acknowledged in 2..12 {
            window.remove_through(Index(acknowledged));
            bursts.push(fill(&mut window, &log, &mut next, &settings));
        }
        assert_eq!(bursts, [1, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1]);
        assert_eq!(window.bytes, 6 * bytes);
    }

    #[test]
    fn a_remainder_is_not_worth_a_message() {
        let (log, bytes) = log_of(10);
        let settings = |window_bytes| Settings {
            append_bytes: 4 * bytes,
            window_bytes,
            ..Settings::default()
        };
        let mut window = Window::default();
        window.add(&log.entries(Index(2), 4 * bytes).expect("they are in memory"));
        window.grown = 9 * bytes;
        assert_eq!(window.room(&settings(5 * bytes - 1)), None);
        assert_eq!(window.room(&settings(5 * bytes)), Some(bytes));
        assert_eq!(Window::default().room(&settings(1)), Some(1), "nothing would make more room");
    }

    #[test]
    fn a_window_that_held_nothing_up_does_not_grow() {
        let (log, bytes) = log_of(100);
        let settings =
            Settings { append_bytes: 2 * bytes, window_bytes: 9 * bytes, ..Settings::default() };
        let mut window = Window::default();
        for index in 2..50 {
            assert_eq!(window.room(&settings), Some(2 * bytes));
            window.add(&log.entries(Index(index), bytes).expect("it is in memory"));
            window.remove_through(Index(index));
        }
        assert_eq!(fill(&mut window, &log, &mut Index(50), &settings), 1);
    }
}

//! The end of a recording at which the loop is.

use quorate_core::Recorder;
use quorate_handoff::{Producer, PushError};

use super::format::{HEADER_BYTES, Kind, Last, Record};

/// What may be needed for the last record.
const LAST_BYTES: u64 = HEADER_BYTES as u64 + 16;

/// Takes what is recorded, and hands it to the writer. Never waits.
pub(crate) struct Tape {
    recorder: Recorder,
    to_writer: Producer<Record>,
    /// What is being recorded: the start, then batches.
    kind: Kind,
    /// How much the file may still take.
    left_bytes: u64,
    is_over: bool,
}

impl Tape {
    pub(super) fn new(to_writer: Producer<Record>, max_bytes: u64) -> Tape {
        let left_bytes = max_bytes.saturating_sub(LAST_BYTES);
        let (recorder, kind) = (Recorder::default(), Kind::Start);
        Tape { recorder, to_writer, kind, left_bytes, is_over: false }
    }

    /// Whether the file has room for this, which it takes then. If not, that is its end.
    fn make_room(&mut self, record: &Record) -> bool {
        let left_bytes = self.left_bytes.checked_sub(record.size_bytes());
        match left_bytes {
            Some(left_bytes) => self.left_bytes = left_bytes,
            None => {
                tracing::warn!("recording no more: the file has become as large as it may");
                self.end(Last::Full);
            }
        }
        left_bytes.is_some()
    }

    fn take(&mut self) -> Record {
        Record { kind: std::mem::replace(&mut self.kind, Kind::Batch), body: self.recorder.take() }
    }

    fn end(&mut self, last: Last) {
        self.is_over = true;
        let _ = self.to_writer.push_unbounded(Record::end(last), 0);
    }
}

impl quorate_core::Tape for Tape {
    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    fn hand_over(&mut self) -> bool {
        let record = self.take();
        if !self.make_room(&record) {
            return false;
        }
        let cost = record.body.len();
        match self.to_writer.push(record, cost) {
            Ok(()) => true,
            Err(PushError::Full(_)) => {
                tracing::warn!("recording no more: the disk is too slow for it");
                self.end(Last::FellBehind);
                false
            }
            // The writer has said why.
            Err(_) => {
                self.is_over = true;
                false
            }
        }
    }
}

/// The loop has ended. If by a panic, whoever looks for its cause needs what came last.
impl Drop for Tape {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let rest = self.take();
        if !rest.body.is_empty() {
            if !self.make_room(&rest) {
                return;
            }
            let _ = self.to_writer.push_unbounded(rest, 0);
        }
        let has_panicked = std::thread::panicking();
        self.end(if has_panicked { Last::Panicked } else { Last::Stopped });
    }
}

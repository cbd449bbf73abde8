//! What happened in a run: always as a hash, which must be the same for the same seed; as text
//! only if somebody wants to read it.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::sync::Arc;

use crate::clock::Time;
use crate::picture::Recorder;
use crate::subject::Subject;

/// What a trace keeps beside its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing.
    Nothing,
    /// This many of the last lines.
    Last(usize),
    /// Nothing, but each line is printed as it comes.
    Print,
}

/// The record of a run.
pub(crate) struct Trace {
    hasher: Mixer,
    events: u64,
    keep: Keep,
    lines: VecDeque<String>,
    /// What a picture of the run is drawn from, if one is wanted.
    recorder: Option<Box<Recorder>>,
}

impl Trace {
    pub(crate) fn new(keep: Keep) -> Trace {
        Trace { hasher: Mixer(0), events: 0, keep, lines: VecDeque::new(), recorder: None }
    }

    /// The same, with a picture drawn of the run, in which this is replicated.
    pub(crate) fn drawn(self, subject: Arc<dyn Subject>) -> Trace {
        Trace { recorder: Some(Box::new(Recorder::new(subject))), ..self }
    }

    /// Adds to the picture, if one is drawn: otherwise nothing is computed for it.
    pub(crate) fn draw(&mut self, stroke: impl FnOnce(&mut Recorder)) {
        if let Some(recorder) = &mut self.recorder {
            stroke(recorder);
        }
    }

    /// True if a picture is drawn.
    pub(crate) fn is_drawn(&self) -> bool {
        self.recorder.is_some()
    }

    /// Something happened at `time` on a node, counted from 0, or to the world at large.
    pub(crate) fn note(
        &mut self,
        time: Time,
        node: Option<usize>,
        what: &(impl Hash + fmt::Debug + ?Sized),
    ) {
        self.events += 1;
        (time, node).hash(&mut self.hasher);
        what.hash(&mut self.hasher);
        if self.keep != Keep::Nothing {
            self.write(time, node, &format!("{what:?}"));
        }
    }

    fn write(&mut self, time: Time, node: Option<usize>, what: &str) {
        const WIDTH: usize = 300;
        let shown: String = what.chars().take(WIDTH).collect();
        let dots = if shown.len() < what.len() { " …" } else { "" };
        let lane = node.map_or("      ".to_owned(), |node| format!("n{:<5}", node + 1));
        let line = format!("{time:>12} {lane}{shown}{dots}");
        match self.keep {
            Keep::Nothing => {}
            // Whoever reads may have had enough.
            Keep::Print => {
                let _ = writeln!(std::io::stdout(), "{line}");
            }
            Keep::Last(most) => {
                if self.lines.len() == most {
                    self.lines.pop_front();
                }
                self.lines.push_back(line);
            }
        }
    }

    /// Stands for everything that happened.
    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// How much happened.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// The last lines, if they were to be kept, and what the picture is drawn from, if it is.
    pub(crate) fn into_parts(self) -> (Vec<String>, Option<Box<Recorder>>) {
        (self.lines.into(), self.recorder)
    }
}

/// A hasher which is fast, and the same on every platform and in every release.
struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last) ^ (rest.len() as u64) << 56);
    }

    fn write_u8(&mut self, n: u8) {
        self.mix(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.mix(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.mix(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_time_and_place_all_count() {
        let hash = |events: &[(u64, Option<usize>, &str)]| {
            let mut trace = Trace::new(Keep::Nothing);
            events.iter().for_each(|(time, node, what)| trace.note(Time(*time), *node, what));
            trace.hash()
        };
        let one = hash(&[(1, None, "a"), (1, None, "b")]);
        assert_eq!(one, hash(&[(1, None, "a"), (1, None, "b")]));
        for other in [
            hash(&[(1, None, "b"), (1, None, "a")]),
            hash(&[(1, None, "a"), (2, None, "b")]),
            hash(&[(1, None, "a"), (1, Some(0), "b")]),
            hash(&[(1, None, "ab")]),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut trace = Trace::new(Keep::Last(2));
        (0..5_u64).for_each(|n| trace.note(Time(n), Some(0), &n));
        let (lines, _) = trace.into_parts();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].contains("0.000004 s") && lines[1].contains("n1"), "{lines:?}");
    }
}

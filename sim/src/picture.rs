//! The picture of a run: one HTML file that needs nothing but a browser.
//!
//! A [`Recorder`] hangs on the run's trace and writes down what happens, as rows of a few tables: arrows
//! for messages, spans for what lasts, moments for what does not, writes, states, entries and
//! requests. [`page`] puts the tables into a page that draws them. The recorder only looks: a run
//! with it is the same as without, and a run without it pays for one comparison with `None`.

mod concerned;
mod page;
mod record;
mod recorder;
mod wording;

pub(crate) use recorder::{Fate, Recorder, World};

use record::Record;

/// A run, drawn.
pub struct Picture {
    record: Record,
}

impl Picture {
    pub(crate) fn new(record: Record) -> Picture {
        Picture { record }
    }

    /// The picture as one HTML page which loads nothing. `command` is shown as what draws it again.
    #[must_use]
    pub fn html(&self, command: &str) -> String {
        page::html(&self.record, command)
    }
}

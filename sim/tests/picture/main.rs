//! The picture of a run: it changes nothing about the run, and shows all of it.

mod browser;
mod recording;

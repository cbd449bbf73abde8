//! Scenarios, each named for what it shows, over a cluster whose every message, write and timer
//! is under the test's control.

mod chaos;
mod checks;
mod cluster;
mod disk;
mod node;
mod normal_operation;
mod view_changes;

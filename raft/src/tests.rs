//! Scenarios, each named for what it shows, over a cluster whose every message, write and timer
//! is under the test's control.

mod chaos;
mod checks;
mod cluster;
mod commitment;
mod disk;
mod elections;
mod failover;
mod hand_over;
mod mute;
mod node;
mod random;
mod reading;
mod replication;
mod snapshots;

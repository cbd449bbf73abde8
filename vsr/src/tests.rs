//! Scenarios, each named for what it shows, over a cluster whose every message, write and timer
//! is under the test's control.

mod chaos;
mod checks;
mod cluster;
mod damage;
mod departures;
mod disk;
mod failover;
mod hand_over;
mod nacks;
mod node;
mod normal_operation;
mod random;
mod reading;
mod snapshots;
mod state_transfer;
mod view_changes;

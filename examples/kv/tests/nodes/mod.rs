//! Real nodes: processes of the `kv` program which are killed, stopped, starved and lied to.
//!
//! Time limits here are wide: they only tell a node which is at work from one which hangs.

mod catch_up;
mod damage;
mod dice;
mod directories;
mod expiry;
mod failed_sync;
mod full_disk;
mod histories;
mod info;
mod inspection;
mod kills;
mod linearizable;
mod load;
mod logs;
mod minority;
mod mount;
mod namespaces;
mod open_files;
mod partitions;
mod peer_port;
mod power_cut;
mod presence;
mod processes;
mod pulse;
mod recordings;
mod redis_clients;
mod require;
mod stopping;

//! Real nodes: processes of the `kv` program which are killed, stopped, starved and lied to.
//!
//! Time limits here are wide: they only tell a node which is at work from one which hangs.

mod catch_up;
mod damage;
mod directories;
mod expiry;
mod full_disk;
mod info;
mod inspection;
mod kills;
mod load;
mod minority;
mod mount;
mod peer_port;
mod processes;
mod redis_clients;
mod require;
mod stopping;

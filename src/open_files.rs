//! How many files and sockets a node opens, and how many connections that leaves room for.
//!
//! ```text
//! what the process may open (RLIMIT_NOFILE)
//! ├── the node's own: the log and the snapshots, the connections of peers, odds and ends
//! ├── the node's port: newcomers and clients, at most half of what is left
//! └── the program around it
//! ```
//!
//! A connection that comes when its places are taken is refused, and said to be, long before the
//! operating system has none left: then it would be the log that gets no file.

use quorate_storage::FileDisk;
use rustix::process::{Resource, getrlimit};

use crate::error::StartError;

/// Standard streams, the directory, the runtime, the port, the look-up of names, a name or a
/// directory that is opened in passing: generously.
const ODDS_AND_ENDS: u64 = 32;

/// The connections with one peer: the one to it, the one from it, and one that takes its place.
const PER_PEER: u64 = 3;

/// How many newcomers and clients there are room for at least, or there is no use in starting.
const FEWEST: u64 = 8;

/// How many newcomers there may be at most: more do not help anybody.
const NEWCOMERS: u64 = 256;

/// How many connections there may be at a node's port besides those of its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// Whoever has not said yet who it is.
    pub(crate) newcomers: usize,
    pub(crate) clients: usize,
}

/// What a process may open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFiles {
    /// `None`: as much as it likes.
    allowed: Option<u64>,
}

impl OpenFiles {
    /// What this process may open as of now.
    pub(crate) fn of_this_process() -> OpenFiles {
        OpenFiles { allowed: getrlimit(Resource::Nofile).current }
    }

    /// The places at the port of a node with so many peers, where so many clients are wanted.
    pub(crate) fn places(self, peers: usize, wanted: usize) -> Result<Places, StartError> {
        let wanted = wanted as u64;
        let Some(allowed) = self.allowed else { return Ok(Places::new(NEWCOMERS, wanted)) };
        let own = own_files(peers);
        let needed = own + 4 * FEWEST;
        let room = allowed.saturating_sub(own) / 2;
        if allowed < needed {
            return Err(StartError::OpenFiles { allowed, needed });
        }
        let newcomers = (room / 2).min(NEWCOMERS);
        Ok(Places::new(newcomers, (room - newcomers).min(wanted)))
    }
}

impl Places {
    fn new(newcomers: u64, clients: u64) -> Places {
        let count = |places| usize::try_from(places).unwrap_or(usize::MAX);
        Places { newcomers: count(newcomers), clients: count(clients) }
    }

    /// How many files a node with so many peers has open at most.
    pub(crate) fn open_files(self, peers: usize) -> usize {
        let own = usize::try_from(own_files(peers)).unwrap_or(usize::MAX);
        own.saturating_add(self.newcomers).saturating_add(self.clients)
    }
}

fn own_files(peers: usize) -> u64 {
    FileDisk::MAX_OPEN as u64 + ODDS_AND_ENDS + PER_PEER * peers as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(allowed: u64) -> Result<Places, StartError> {
        OpenFiles { allowed: Some(allowed) }.places(2, 4096)
    }

    #[test]
    fn the_node_and_its_port_leave_half_of_the_rest_to_the_program_around() {
        for allowed in [134, 135, 200, 256, 1000, 1024, 4096, 10_000] {
            let places = places(allowed).unwrap();
            let port = (places.newcomers + places.clients) as u64;
            assert!(port <= (allowed - own_files(2)) / 2, "{allowed}: {places:?}");
            assert!(places.newcomers as u64 >= FEWEST && places.clients as u64 >= FEWEST);
            assert_eq!(places.open_files(2) as u64, own_files(2) + port);
        }
        assert_eq!(places(1024).unwrap(), Places { newcomers: 230, clients: 231 });
    }

    #[test]
    fn no_more_places_are_given_than_are_wanted() {
        let unlimited = OpenFiles { allowed: None }.places(2, 4096).unwrap();
        assert_eq!(unlimited, Places { newcomers: 256, clients: 4096 });
        assert_eq!(places(1 << 20).unwrap(), unlimited);
    }

    #[test]
    fn a_process_that_may_open_too_few_files_is_told_how_many_it_needs() {
        for allowed in [0, 64, 133] {
            let error = places(allowed).unwrap_err();
            assert!(
                matches!(error, StartError::OpenFiles { allowed: a, needed: 134 } if a == allowed)
            );
        }
    }
}

//! A simulated cluster: the real [`Replica`](quorate_core::Replica), the real
//! [`Applier`](quorate_core::Applier), a real protocol and the real [log and
//! snapshots](quorate_storage::Store), in a world where only the clock, the network, the disk and
//! the life of processes are made up, and one seed decides all of them.
//!
//! A run has two phases. First messages are lost, duplicated, reordered and cut off, processes
//! crash and stand still, disks lose what was not synced, and whatever works beside the loop
//! reports late. Meanwhile clients write and read through any node, and oracles, one property a
//! file, watch everything. Then the faults stop, and all requests must end and all replicas come
//! to the same state within a bound of virtual time.
//!
//! The same seed gives the same run, event by event. A failed run names the property and the
//! paper which states it, and the command that replays it:
//!
//! ```text
//! cargo run --release -p quorate-sim -- run --protocol raft --seeds 600
//! cargo run --release -p quorate-sim -- replay --protocol raft --seed 17 --trace --html run.html
//! cargo run --release -p quorate-sim -- replay --plan raft-17.plan --trace
//! cargo run --release -p quorate-sim -- campaign --minutes 480
//! ```

pub mod oracles {
    //! What every protocol promises, as oracles that watch from outside. The simulator asks them
    //! about whole runs, the model checker about every state that it reaches.

    pub use crate::checks::{
        AppendOnly, Commit, LeaderCompleteness, LogMatching, Mirror, Monotonic, Reigns, are_right,
        assertion_failed, believes, gave_up, on_a_quorum, one_log,
    };
}

mod atlas;
mod campaign;
mod check;
mod checks;
mod clients;
mod clock;
mod cluster;
mod cuts;
mod disk;
mod faults;
mod marks;
mod network;
mod oracle;
mod picture;
mod process;
mod registers;
mod report;
mod rng;
mod shrink;
mod simulation;
mod state_machine;
mod subject;
mod trace;
mod value;
mod witness;
mod words;
mod workload;

pub use campaign::{Campaign, Summary};
pub use check::Refuted;
pub use checks::{Kept, Property, Verdict, Violation};
pub use clock::Time;
pub use cuts::{BadPlan, Cuts, PlanFile};
pub use faults::Struck;
pub use marks::{Mark, Marks};
pub use oracle::{Claim, Oracle, Remembers, Said, Simulated, Topic};
pub use picture::Picture;
pub use report::{Failed, Report};
pub use rng::Rng;
pub use shrink::Shrunk;
pub use simulation::{Canary, Simulation};
pub use state_machine::{Flaw, Unfit, check_state_machine};
pub use words::Words;
pub use workload::{ClientHistory, Draw, Input, Objection, Output, Request, Workload};

//! A protocol of one's own in the model checker: the one that the simulator's example finds wanting.

#[path = "../../sim/examples/naive_failover/protocol.rs"]
mod protocol;

use protocol::Naive;
use quorate_model::{Bounds, Ending, Model};

#[test]
fn the_split_brain_of_a_naive_failover_is_found() {
    let bounds = Bounds { elections: 2, crashes: 0, slow_writes: 0, ..Bounds::default() };
    let checked = Model::<Naive>::new(bounds).check();
    let Ending::Broken(counterexample) = checked.ending else { panic!("{checked:?}") };
    println!("{counterexample}");
    assert_eq!(counterexample.violation.property, "leader completeness");
}

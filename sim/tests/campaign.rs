//! The command goes on behind a seed that fails, and says in the end which ones did.

use std::path::Path;
use std::process::{Command, Output};

fn quorate_sim(directory: &Path, arguments: &str) -> (Output, String) {
    let program = env!("CARGO_BIN_EXE_quorate-sim");
    let arguments = arguments.split(' ');
    let output = Command::new(program).args(arguments).current_dir(directory).output();
    let output = output.expect("the command runs");
    let said = String::from_utf8(output.stdout.clone()).expect("it says so in text");
    (output, said)
}

/// What is said from the list of failed seeds on.
fn list_of(said: &str) -> &str {
    let at = said.find("of the seeds failed:").unwrap_or_else(|| panic!("no list:\n{said}"));
    &said[at..]
}

#[test]
fn seeds_behind_a_failing_one_are_run_and_all_that_failed_are_listed_with_their_plans() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = "run --protocol raft --replicas 3 --canary read-locally --failures 2 \
                     --shrink-seconds 1 --threads 2";
    let (output, said) = quorate_sim(directory.path(), arguments);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let replay = "replay --protocol raft --seed ";
    let again: Vec<&str> = list_of(&said).lines().filter(|line| line.contains(replay)).collect();
    assert_eq!(again.len(), 2, "{said}");
    for line in again {
        let (_, seed) = line.split_once(replay).unwrap();
        let (seed, rest) = seed.split_once(' ').unwrap();
        assert_eq!(rest, "--replicas 3 --canary read-locally", "what replays it is there in full");
        assert!(said.contains(&format!("\nseed {seed} violates, at ")), "told when it was found");
    }
}

#[test]
fn a_campaign_goes_on_with_the_other_protocol_and_ends_with_a_list_of_both() {
    let directory = tempfile::tempdir().unwrap();
    // There is time for one seed of each.
    let arguments = "campaign --minutes 0 --start 1 --threads 1 --canary acknowledge-before-sync \
                     --shrink-seconds 1";
    let (output, said) = quorate_sim(directory.path(), arguments);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let list = list_of(&said);
    for protocol in ["raft", "vsr"] {
        let again =
            format!("replay --protocol {protocol} --seed 1 --canary acknowledge-before-sync\n");
        assert!(list.contains(&again), "{said}");
        let plan = directory.path().join(format!("{protocol}-1.plan"));
        assert!(plan.exists() && list.contains(&format!("--plan {protocol}-1.plan")), "{said}");
    }
}

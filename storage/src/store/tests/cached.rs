//! A process dies while the power stays on, or a sync has failed: what can be read may be in the
//! cache only.

use std::sync::Arc;

use quorate_core::*;

use super::fixture::*;
use super::torn::write_without_sync;
use crate::disk::{Forgetful, MemDisk};
use crate::job::Step;
use crate::segment;
use crate::store::Store;

#[test]
fn what_is_found_after_the_death_of_a_process_survives_a_power_cut() {
    let mut author = Author::new();
    author.append(1, &[b"saved"]);
    let write = author.appending(1, &[b"written"]);
    write_without_sync(&mut author, write);
    author.disk.release();
    let (_, found) = open(&author.disk).unwrap();
    assert_eq!(found.log.last.index, Index(2));
    let (_, again) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!((again.log.last, again.mute), (found.log.last, false));
}

#[test]
fn what_did_not_reach_the_medium_is_not_found_in_the_cache() {
    let mut author = Author::new();
    author.append(1, &[b"saved"]);
    let write = author.appending(1, &[b"lost when it was synced"]);
    write_without_sync(&mut author, write);
    author.disk.release();
    let disk = Arc::new(Forgetful::new(author.disk.clone()));
    let (_, found) = Store::open(disk, &owner(), options(), Incarnation(77), 1).unwrap();
    assert_eq!((found.log.last.index, found.mute), (Index(1), false));
}

#[test]
fn what_is_written_under_a_name_that_a_dead_process_gave_survives_a_power_cut() {
    let mut author = Author::new();
    loop {
        let write = author.appending(1, &[&[1; 3000]]);
        author.enqueue(write);
        while let Some(job) = author.store.prepare().unwrap() {
            author.run(job).unwrap();
        }
        let Some(job) = author.store.maintenance().unwrap() else { continue };
        let is_name = |step: &Step| match step {
            Step::Rename { to, .. } => segment::parse_name(to).is_some(),
            _ => false,
        };
        let Some(name) = job.steps().iter().position(is_name) else {
            author.run(job).unwrap();
            continue;
        };
        for step in &job.steps()[..=name] {
            author.store.run_step(step).unwrap();
        }
        break;
    }
    author.disk.release();
    let mut author = Author::on(&author.disk);
    // All that is ready is used up before anything else is prepared.
    let mut saved = None;
    loop {
        let write = author.appending(1, &[&[2; 30_000]]);
        author.enqueue(write);
        let Some(job) = author.store.prepare().unwrap() else { break };
        author.run(job).unwrap();
        saved = author.entries.last().map(|entry| entry.id);
    }
    let (_, found) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!((Some(found.log.last), found.mute), (saved, false));
}

#[test]
fn a_search_for_damage_looks_at_the_medium_and_not_at_the_cache() {
    let disk = Arc::new(Forgetful::new(MemDisk::new()));
    disk.set_syncs(true);
    let opened = Store::open(disk.clone(), &owner(), options(), Incarnation(77), 1);
    let (mut store, _) = opened.unwrap();
    let mut author = Author::new();
    for (seq, is_kept) in [(1, true), (2, false)] {
        disk.set_syncs(is_kept);
        store.enqueue(WriteSeq(seq), author.appending(1, &[b"x"]));
        let job = store.prepare().unwrap().unwrap();
        let _ = store.run(job).unwrap();
    }
    let found = store.reader().scrub(Index(1), usize::MAX).unwrap();
    let named: Vec<_> = found.gaps.iter().map(|gap| (gap.first, gap.last, gap.digest)).collect();
    assert_eq!(named, [(Index(2), Index(2), author.last().1)]);
}

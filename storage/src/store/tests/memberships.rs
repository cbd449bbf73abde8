//! Who is a member as of which entry is known from the log, whatever became of it.

use quorate_core::*;

use super::fixture::*;
use super::healing::see;
use crate::error::{Damage, StorageError};

fn members(of: u64) -> Membership {
    Membership::new((1..=of).map(|node| (NodeId(node), Incarnation(77))))
}

/// Memberships at 2 and 4.
fn author() -> Author {
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    let write = author.appending_members(1, &members(2));
    author.save(write);
    author.append(1, &[b"three"]);
    let write = author.appending_members(1, &members(4));
    author.save(write);
    author.append(1, &[b"five"]);
    author
}

fn known(author: &Author) -> Vec<(Index, Membership)> {
    open(&author.disk.crash_losing_all()).unwrap().1.log.memberships
}

#[test]
fn they_are_known_in_the_order_of_the_log_also_after_repairs() {
    let mut author = author();
    let expected = [(Index(2), members(2)), (Index(4), members(4))];
    assert_eq!(known(&author), expected);
    // The payload of the first begins behind the group's header.
    let (file, offset) = author.place_of(2);
    let content = author.disk.content(&file).unwrap();
    let claim = crate::frame::Claim::read(&content[offset..]).unwrap();
    author.disk.flip(&file, offset + usize::try_from(claim.header_len).unwrap(), 1);
    assert_eq!(see(&author.disk, options(), &author.entries).gaps, [(2, 2)]);
    assert_eq!(open(&author.disk.crash_keeping_all()).unwrap().1.log.memberships, expected[1..]);
    for stretch in [(2, 2), (2, 4), (4, 4)] {
        let write = author.repairing(&[stretch]);
        author.save(write);
        assert_eq!(known(&author), expected);
    }
}

#[test]
fn those_that_were_cut_off_are_not_known_any_more() {
    let mut author = author();
    let write = author.cutting(4, 2, &[b"instead"]);
    author.save(write);
    assert_eq!(known(&author), [(Index(2), members(2)), (Index(4), members(4))]);
    let write = author.cutting(3, 3, &[b"instead"]);
    author.save(write);
    assert_eq!(known(&author), [(Index(2), members(2))]);
    let write = author.appending_members(3, &members(3));
    author.save(write);
    assert_eq!(known(&author), [(Index(2), members(2)), (Index(5), members(3))]);
}

#[test]
fn those_that_a_snapshot_covers_are_not_told() {
    let mut author = author();
    for index in [2, 3, 3] {
        author.take_snapshot(index);
        author.append(1, &[b"more"]);
    }
    let (_, found) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!(found.log.base.index, Index(2));
    assert_eq!(found.log.memberships, [(Index(4), members(4))]);
}

#[test]
fn one_that_cannot_be_decoded_is_a_stop_that_names_it() {
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    let write = author.appending_kind(1, EntryKind::Membership, vec![0xff; 3]);
    author.save(write);
    let error = super::faults::stop(&author.disk);
    let StorageError::Damaged { indexes, damage: Damage::Contradiction, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(indexes, Index(2)..Index(3));
}

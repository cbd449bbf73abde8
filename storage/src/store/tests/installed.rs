//! A log that stands on an installed snapshot.

use quorate_core::*;

use super::fixture::*;

/// An author whose log begins behind a fetched snapshot and holds nothing.
fn author_on_a_snapshot() -> (Author, SnapshotMeta) {
    let mut author = Author::new();
    author.append(1, &[b"one", b"two"]);
    let last = LogId::new(Index(100), Ballot(4));
    let snapshot = build_snapshot(&author.store, last, Digest([3; 16]));
    author.snapshot = Some(snapshot.clone());
    author.entries.clear();
    let run = Run { previous: last, previous_digest: Digest([3; 16]), entries: Vec::new() };
    let write = author.write(vec![run]);
    author.save(write);
    (author, snapshot)
}

#[test]
fn a_log_that_sees_nothing_but_votes_behind_an_installed_snapshot_opens_again() {
    let (mut author, snapshot) = author_on_a_snapshot();
    let segments = |author: &Author| author.segments().into_keys().collect::<Vec<_>>();
    let before = segments(&author);
    for number in 0..100 {
        let write = author.swearing(number);
        author.save(write);
        if number % 40 == 39 {
            // Segments which nobody needs are looked for at the start, among other times.
            author = Author::on(&author.disk.crash_losing_all());
        }
        let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
        assert_eq!(recovered.log.base, snapshot.last, "after {number} votes");
        assert_eq!(recovered.log.last, snapshot.last);
        assert_eq!(recovered.log.last_digest, snapshot.digest);
        assert_eq!(recovered.snapshot.as_ref(), Some(&snapshot));
    }
    let after: Vec<String> = segments(&author);
    assert_ne!(before[0], after[0], "the segment which started the log anew is still there");
    author.append(9, &[b"next"]);
    let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!((recovered.log.base, recovered.log.tail), (snapshot.last, author.entries));
}

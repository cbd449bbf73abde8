//! What a reader meets while the log is compacted under it, and what a snapshot does that is
//! completed while another thread tidies.

use std::sync::{Arc, Mutex};

use quorate_core::*;

use super::fixture::*;
use super::watched::{Watch, Watched};
use crate::disk::MemDisk;
use crate::error::StorageError;
use crate::reader::LogReader;
use crate::snapshot::SnapshotStore;

type Hook = Box<dyn FnOnce() + Send>;

/// What happens right before one of the reads: before how many of them, and what.
struct Ambush(Mutex<Option<(u64, Hook)>>);

impl Watch for Ambush {
    fn before_read(&self, _: &str) {
        let mut hook = self.0.lock().unwrap();
        if let Some((left, happens)) = hook.take() {
            match left.checked_sub(1) {
                Some(fewer) => *hook = Some((fewer, happens)),
                None => happens(),
            }
        }
    }
}

/// The reader of a log to which something happens before read number `reads`.
fn ambushed(
    mut author: Author,
    reads: u64,
    happens: impl FnOnce(&mut Author) + Send + 'static,
) -> LogReader<Watched<Ambush>> {
    let (index, store) = (author.store.wal.index(), author.store.wal.store_id());
    let disk = author.disk.clone();
    let hook: Hook = Box::new(move || happens(&mut author));
    let watch = Arc::new(Ambush(Mutex::new(Some((reads, hook)))));
    LogReader::new(Arc::new(Watched { disk, watch }), index, store)
}

/// The reader of a log of 150 entries that is compacted, and whose segments are removed or used
/// again, before read number `reads`. True is set once it was.
fn reader(reads: u64, is_used_again: bool) -> (LogReader<Watched<Ambush>>, Arc<Mutex<bool>>) {
    let mut author = Author::new();
    (0..150u8).for_each(|i| author.append(1, &[&[i; 3000]]));
    author.take_snapshot(140);
    let happened = Arc::new(Mutex::new(false));
    let tell = Arc::clone(&happened);
    let reader = ambushed(author, reads, move |author| {
        author.take_snapshot(145);
        if is_used_again {
            (0..60u8).for_each(|i| author.append(1, &[&[i; 3000]]));
        }
        *tell.lock().unwrap() = true;
    });
    (reader, happened)
}

#[test]
fn what_is_compacted_under_a_search_for_damage_is_no_damage_and_no_stop() {
    let mut raced = 0;
    for from in [1, 2, 100, 141] {
        for reads in 0..6 {
            for is_used_again in [false, true] {
                let (reader, happened) = reader(reads, is_used_again);
                let case = format!("from {from}, before read {reads}, used again: {is_used_again}");
                let scrubbed = reader.scrub(Index(from), 1);
                let gaps = scrubbed.map(|scrubbed| scrubbed.gaps);
                assert!(matches!(&gaps, Ok(gaps) if gaps.is_empty()), "{case}: {gaps:?}");
                raced += u64::from(*happened.lock().unwrap());
            }
        }
    }
    assert!(raced > 8, "{raced}");
}

#[test]
fn what_is_compacted_under_a_reader_is_compacted() {
    for reads in 0..4 {
        for is_used_again in [false, true] {
            let (reader, _) = reader(reads, is_used_again);
            match reader.read_entries(Index(2), 1) {
                Ok(entries) => assert_eq!(entries[0].payload, [1; 3000][..]),
                Err(StorageError::Compacted { .. }) => {}
                Err(error) => panic!("before read {reads}: {error}"),
            }
        }
    }
}

#[test]
fn what_is_cut_off_under_a_reader_is_not_followed_by_what_stands_there_since() {
    let mut mixed = 0;
    for reads in 0..20 {
        let mut author = Author::new();
        (0..6).for_each(|_| author.append(1, &[b"before"]));
        let old = author.entries.clone();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let reader = ambushed(author, reads, {
            let kept = kept.clone();
            move |author| {
                let write = author.cutting(2, 2, &[&b"since"[..]; 4]);
                author.save(write);
                *kept.lock().unwrap() = author.entries.clone();
            }
        });
        let read = reader.read_entries(Index(1), usize::MAX).unwrap();
        let new = kept.lock().unwrap();
        assert!(old.starts_with(&read) || new.starts_with(&read), "before read {reads}: {read:?}");
        mixed += u64::from(read.len() < old.len());
    }
    assert!(mixed > 0, "it was cut off while it was read");
}

#[test]
fn damage_behind_which_the_log_is_cut_off_under_a_search_is_not_named_by_what_was_there() {
    let mut unnamed = 0;
    for reads in 0..8 {
        let mut author = Author::new();
        (0..3).for_each(|_| author.append(1, &[b"x"]));
        let digest = author.entries[1].digest();
        let (file, offset) = author.place_of(2);
        author.disk.flip(&file, offset + 70, 1);
        let reader = ambushed(author, reads, |author| {
            let write = author.cutting(2, 2, &[b"another"]);
            author.save(write);
        });
        let scrubbed = reader.scrub(Index(1), usize::MAX).unwrap();
        let names = scrubbed.gaps.iter().map(|gap| (gap.first, gap.last, gap.digest));
        let names: Vec<_> = names.collect();
        assert!(names.is_empty() || names == [(Index(2), Index(2), digest)], "{names:?}");
        unnamed += u64::from(names.is_empty());
    }
    assert!(unnamed > 0, "it happened while the damage was open");
}

/// What happens while names are made durable, the first time.
#[derive(Default)]
struct Meanwhile(Mutex<Option<Hook>>);

impl Watch for Meanwhile {
    fn before_read(&self, _: &str) {}

    fn before_sync_of_names(&self) {
        let happens = self.0.lock().unwrap().take();
        happens.into_iter().for_each(|happens| happens());
    }
}

#[test]
fn a_snapshot_is_not_tidied_away_while_its_name_is_made_durable() {
    let build = |store: &SnapshotStore<_>, index| {
        let last = LogId::new(Index(index), Ballot(1));
        let builder = store.builder().unwrap();
        builder.finish(last, Digest::ZERO, Membership::default(), LogTime(0)).unwrap()
    };
    let (disk, watch) = (MemDisk::new(), Arc::new(Meanwhile::default()));
    let store = SnapshotStore::new(Arc::new(Watched { disk, watch: watch.clone() }));
    let older = build(&store, 1).id();
    let tidying = store.clone();
    *watch.0.lock().unwrap() = Some(Box::new(move || {
        tidying.retain(&[older]);
        tidying.tidy().unwrap();
    }));
    let built = build(&store, 2);
    assert!(watch.0.lock().unwrap().is_none());
    assert_eq!(store.verify(&built.id()).unwrap(), built);
}

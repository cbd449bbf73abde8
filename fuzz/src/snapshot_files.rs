//! Files of snapshots, sound, damaged or made up: what is read of them is what was written, or an
//! error says what is wrong.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use quorate_core::{
    Ballot, Digest, Incarnation, Index, LogId, LogTime, Membership, NodeId, SnapshotMeta,
};
use quorate_storage::{MemDisk, SnapshotStore};

use crate::storage::damage;

const CONTENT: &[u8] = b"what the state machine wrote, and the sessions beside it";

/// A directory with two snapshots, of which one is empty.
fn written() -> (MemDisk, Vec<(SnapshotMeta, &'static [u8])>) {
    let disk = MemDisk::new();
    let snapshots = SnapshotStore::new(Arc::new(disk.clone()));
    let build = |index: u64, content: &'static [u8]| {
        let mut builder = snapshots.builder().expect("a disk in memory works");
        builder.write_all(content).expect("a disk in memory works");
        let last = LogId::new(Index(index), Ballot(2));
        let members = Membership::new([(NodeId(1), Incarnation(7))]);
        let built = builder.finish(last, Digest([3; 16]), members, LogTime(5));
        (built.expect("a disk in memory works"), content)
    };
    let metas = vec![build(3, CONTENT), build(9, b"")];
    (disk.crash_keeping_all(), metas)
}

thread_local! {
    static WRITTEN: (MemDisk, Vec<(SnapshotMeta, &'static [u8])>) = written();
}

pub fn run(data: &[u8]) {
    WRITTEN.with(|(disk, metas)| check(data, &disk.crash_keeping_all(), metas));
}

fn check(data: &[u8], disk: &MemDisk, metas: &[(SnapshotMeta, &[u8])]) {
    let [how, rest @ ..] = data else { return };
    match how % 3 {
        0 => damage(disk, rest),
        1 => {
            // A file with the name of a snapshot that nobody wrote.
            let names: Vec<String> = disk.contents().into_keys().collect();
            disk.set_content(&names[usize::from(*how / 3) % names.len()], rest);
        }
        _ => {
            // The end of a file, where the manifest stands, is another one.
            let (name, mut content) = disk.contents().pop_first().expect("there are two");
            let from = content.len().saturating_sub(rest.len());
            content.truncate(from);
            content.extend_from_slice(rest);
            disk.set_content(&name, &content);
        }
    }
    let snapshots = SnapshotStore::new(Arc::new(disk.clone()));
    let listed = snapshots.list().expect("a disk in memory works");
    assert!(listed.len() <= metas.len());
    for (meta, content) in metas {
        let id = meta.id();
        let verified = snapshots.verify(&id);
        if let Ok(found) = &verified {
            assert_eq!(found, meta);
        }
        if let Ok(mut reader) = snapshots.open(&id) {
            let mut read = Vec::new();
            let ended = reader.read_to_end(&mut read);
            assert!(content.starts_with(&read), "something else is read");
            assert!(ended.is_err() || read == *content);
        }
        if let Ok(Some(chunk)) = snapshots.read_chunk(&id, 0) {
            assert_eq!(&chunk[..], *content);
        }
        assert!(!matches!(snapshots.read_chunk(&id, 1), Ok(Some(_))));
    }
}

//! What can be read is not always what is on the medium.

use super::*;
use crate::disk::Forgetful;

#[test]
fn chunks_that_are_in_the_cache_only_are_not_resumed() {
    let store = SnapshotStore::new(Arc::new(Forgetful::new(MemDisk::new())));
    let content = content(1, CHUNK + 5);
    let meta = meta(5, &content);
    store.begin_fetch(&meta).unwrap();
    store.write_chunk(&meta.id(), 0, chunk(&content, 0)).unwrap();
    let restarted = SnapshotStore { reception: Arc::default(), ..store };
    assert_eq!(restarted.begin_fetch(&meta).unwrap(), FetchNext::Chunk(0));
}

#[test]
fn a_snapshot_that_is_in_the_cache_only_is_not_verified() {
    let store = SnapshotStore::new(Arc::new(Forgetful::new(MemDisk::new())));
    let meta = meta(5, b"content");
    let mut builder = store.builder().unwrap();
    builder.write_all(b"content").unwrap();
    builder.finish(meta.last, meta.digest, meta.membership.clone(), meta.time).unwrap();
    let verified = store.verify(&meta.id());
    assert!(matches!(verified, Err(SnapshotError::Damaged { .. })), "{verified:?}");
}

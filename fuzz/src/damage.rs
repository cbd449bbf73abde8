//! Recovery of a damaged directory: whatever bytes are overwritten and wherever a file is cut,
//! opening ends with a log or with a typed error, never with a panic, and a log which it yields
//! is a prefix-closed piece of what was written.

use quorate_core::Index;

use crate::storage::{damage, open, written};

pub fn run(hits: &[u8]) {
    let (original, entries) = written();
    let disk = original.crash_keeping_all();
    damage(&disk, hits);
    let Ok((store, recovered)) = open(&disk) else { return };
    let last = usize::try_from(recovered.log.last.index.0).expect("a short log");
    assert!(last <= entries.len());
    let entry = |index: Index| &entries[usize::try_from(index.0).expect("a short log") - 1];
    let mut from = recovered.log.base.index.next();
    while from <= recovered.log.last.index {
        if let Some(gap) = recovered.log.gaps.iter().find(|gap| gap.first == from) {
            assert_eq!(gap.digest, entry(gap.last).digest());
            from = gap.last.next();
            continue;
        }
        let found = store.reader().read_entries(from, 1 << 20).expect("what opened can be read");
        assert!(!found.is_empty());
        for found in found {
            assert_eq!(&found, entry(found.index()));
            from = found.index().next();
        }
    }
}

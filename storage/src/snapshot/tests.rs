mod building;
mod cache;
mod crashes;
mod damage;
mod fetching;
mod tidying;

use std::io::{Read, Write};
use std::sync::Arc;

use quorate_core::{
    Ballot, Digest, Incarnation, Index, LogId, LogTime, Membership, NodeId, SnapshotId,
    SnapshotMeta,
};

use super::*;
use crate::disk::MemDisk;

type Store = SnapshotStore<MemDisk>;

const CHUNK: usize = SnapshotMeta::CHUNK_BYTES as usize;

fn store(disk: &MemDisk) -> Store {
    SnapshotStore::new(Arc::new(disk.clone()))
}

/// Bytes that are different everywhere, also sector by sector, and for every seed.
fn content(seed: u64, len: usize) -> Vec<u8> {
    let word = |i: u64| Digest::of(&[seed.to_le_bytes(), i.to_le_bytes()].concat()).0;
    let mut bytes: Vec<u8> = (0..len.div_ceil(16) as u64).flat_map(word).collect();
    bytes.truncate(len);
    bytes
}

/// What is known about a snapshot with this content.
fn meta(index: u64, content: &[u8]) -> SnapshotMeta {
    SnapshotMeta {
        last: LogId::new(Index(index), Ballot(3)),
        digest: Digest([index as u8; 16]),
        membership: Membership::new([(NodeId(1), Incarnation(7)), (NodeId(2), Incarnation(8))]),
        time: LogTime(index * 10),
        size_bytes: content.len() as u64,
        content: Digest::of(content),
    }
}

fn finish(
    builder: SnapshotBuilder<MemDisk>,
    meta: &SnapshotMeta,
) -> Result<SnapshotMeta, SnapshotError> {
    builder.finish(meta.last, meta.digest, meta.membership.clone(), meta.time)
}

fn build(store: &Store, index: u64, content: &[u8]) -> Result<SnapshotMeta, SnapshotError> {
    let mut builder = store.builder()?;
    match builder.write_all(content) {
        Ok(()) => finish(builder, &meta(index, content)),
        Err(error) => Err(error.downcast().expect("a typed error inside")),
    }
}

fn chunk(content: &[u8], number: u64) -> &[u8] {
    let start = (number as usize * CHUNK).min(content.len());
    &content[start..(start + CHUNK).min(content.len())]
}

/// Fetches to the end; returns how many chunks it took.
fn fetch(
    store: &Store,
    meta: &SnapshotMeta,
    content: &[u8],
) -> Result<(FetchNext, u64), SnapshotError> {
    let mut next = store.begin_fetch(meta)?;
    let mut chunks = 0;
    while let FetchNext::Chunk(number) = next {
        next = store.write_chunk(&meta.id(), number, chunk(content, number))?;
        chunks += 1;
    }
    Ok((next, chunks))
}

fn keep_only<D: Disk>(store: &SnapshotStore<D>, keep: &[SnapshotId]) -> Result<(), SnapshotError> {
    store.retain(keep);
    store.tidy()
}

fn read(store: &Store, id: &SnapshotId) -> Result<Vec<u8>, SnapshotError> {
    let mut bytes = Vec::new();
    let mut reader = store.open(id)?;
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.downcast().expect("a typed error inside")),
    }
}

fn names(disk: &MemDisk) -> Vec<String> {
    disk.list().unwrap().into_iter().map(|info| info.name).collect()
}

fn file(meta: &SnapshotMeta) -> String {
    Name::Snapshot(meta.id()).to_string()
}

fn ids(store: &Store) -> Vec<SnapshotId> {
    store.list().unwrap().into_iter().map(|stored| stored.id).collect()
}

//! A snapshot that comes in chunks, from peers who send any of them in any order, with power cuts
//! in between: what is called complete is whole and durable, and what was received counts again
//! after a restart as far as it is sound.

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use quorate_core::{
    Ballot, Digest, FetchNext, Incarnation, Index, LogId, LogTime, Membership, NodeId, SnapshotId,
    SnapshotMeta,
};
use quorate_storage::{Keep, MemDisk, SnapshotError, SnapshotStore};

const STEPS: usize = 40;
const CHUNK: usize = SnapshotMeta::CHUNK_BYTES as usize;

/// A snapshot that a peer has, and its content; large ones are rare, as they are slow.
fn offered(u: &mut Unstructured<'_>) -> Result<(SnapshotMeta, Vec<u8>)> {
    let length = match u.int_in_range(0..=63)? {
        0 => CHUNK,
        1 => CHUNK + u.int_in_range(1..=20)?,
        _ => u.int_in_range(0..=200)?,
    };
    let content = vec![u.arbitrary()?; length];
    let mut meta = SnapshotMeta {
        last: LogId::new(Index(u.int_in_range(1..=4)?), Ballot(1)),
        digest: Digest([3; 16]),
        membership: Membership::new([(NodeId(1), Incarnation(7))]),
        time: LogTime(5),
        size_bytes: length as u64,
        content: Digest::of(&content),
    };
    match u.int_in_range(0..=15)? {
        // What is announced is not what is there.
        0 => meta.size_bytes = u.arbitrary()?,
        1 => meta.size_bytes += u.int_in_range(0..=3)?,
        2 => meta.content = u.arbitrary().map(Digest)?,
        _ => {}
    }
    Ok((meta, content))
}

struct Receiver {
    disk: MemDisk,
    snapshots: SnapshotStore<MemDisk>,
    offered: Vec<(SnapshotMeta, Vec<u8>)>,
    /// What the store was told last of what it is to receive. Of one snapshot peers may tell several
    /// lengths, and a chunk names the snapshot only.
    begun: Option<SnapshotMeta>,
    /// What was called complete, and is to be kept.
    complete: Vec<SnapshotId>,
    next: u64,
    /// How many changes the disk had seen when that was last looked at; the highest number if it has to
    /// be looked at in any case.
    checked: u64,
}

impl Receiver {
    fn act(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (meta, content) = u.choose(&self.offered)?.clone();
        match u.int_in_range(0..=9)? {
            0 | 1 => match self.snapshots.begin_fetch(&meta) {
                Ok(next) => {
                    self.begun = Some(meta.clone());
                    self.told(meta.id(), next);
                }
                Err(SnapshotError::TooLarge { .. }) => {}
                Err(error) => panic!("a disk in memory works: {error}"),
            },
            2..=6 => {
                let chunk = match u.int_in_range(0..=7)? {
                    0 => u.arbitrary()?,
                    1 => self.next.saturating_sub(1),
                    2 => self.next.saturating_add(1),
                    _ => self.next,
                };
                let start = chunk.saturating_mul(CHUNK as u64).min(content.len() as u64) as usize;
                let mut bytes = content[start..content.len().min(start + CHUNK)].to_vec();
                match u.int_in_range(0..=15)? {
                    0 => bytes.push(0),
                    1 => _ = bytes.pop(),
                    2 => bytes.iter_mut().for_each(|byte| *byte ^= 1),
                    _ => {}
                }
                let next = self.snapshots.write_chunk(&meta.id(), chunk, &bytes);
                self.told(meta.id(), next.expect("a disk in memory works"));
            }
            7 => {
                self.snapshots.retain(&self.complete);
                self.snapshots.tidy().expect("a disk in memory works");
            }
            8 => {
                let names = u.int_in_range(0..=self.disk.unsynced_names())?;
                let seed: u8 = u.arbitrary()?;
                self.disk = self.disk.crash(names, |_, sector| match (sector as u8 ^ seed) % 3 {
                    0 => Keep::Old,
                    1 => Keep::New,
                    _ => Keep::Torn(usize::from(seed) * 2),
                });
                self.checked = u64::MAX;
                self.snapshots = SnapshotStore::new(Arc::new(self.disk.clone()));
                self.snapshots.clean_temps().expect("a disk in memory works");
            }
            _ => _ = self.snapshots.read_chunk(&meta.id(), self.next),
        }
        self.check();
        Ok(())
    }

    fn told(&mut self, id: SnapshotId, next: FetchNext) {
        match next {
            FetchNext::Chunk(next) => {
                let begun = self.begun.as_ref().filter(|begun| begun.id() == id);
                assert!(next < begun.expect("it asks for what it is to receive").chunks());
                self.next = next;
            }
            FetchNext::Complete => {
                if !self.complete.contains(&id) {
                    self.complete.push(id);
                    self.checked = u64::MAX;
                }
                let content = self.content(&id).expect("no other bytes have this digest");
                assert_eq!(content.0.last, id.last);
            }
            FetchNext::Failed => {}
        }
    }

    fn content(&self, id: &SnapshotId) -> Option<&(SnapshotMeta, Vec<u8>)> {
        let same = |(_, content): &&(SnapshotMeta, Vec<u8>)| Digest::of(content) == id.content;
        self.offered.iter().filter(same).find(|(meta, _)| meta.last == id.last)
    }

    /// What is complete is here, durably. What was so on a disk that has not changed still is.
    fn check(&mut self) {
        let changes = self.disk.changes();
        if std::mem::replace(&mut self.checked, changes) == changes {
            return;
        }
        let durable = SnapshotStore::new(Arc::new(self.disk.crash_losing_all()));
        for id in &self.complete {
            durable.verify(id).expect("it was called complete");
        }
    }
}

fn play(u: &mut Unstructured<'_>) -> Result<()> {
    if u.is_empty() {
        return Ok(());
    }
    let disk = MemDisk::new();
    let snapshots = SnapshotStore::new(Arc::new(disk.clone()));
    let offered = vec![offered(u)?, offered(u)?, offered(u)?];
    let mut receiver = Receiver {
        disk,
        snapshots,
        offered,
        begun: None,
        complete: Vec::new(),
        next: 0,
        checked: 0,
    };
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        receiver.act(u)?;
    }
    Ok(())
}

pub fn run(data: &[u8]) {
    // It ends with its input.
    let _ = play(&mut Unstructured::new(data));
}

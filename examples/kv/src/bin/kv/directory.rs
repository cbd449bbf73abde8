//! `kv inspect` and `kv verify`: what a data directory holds, and whether it is whole.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_core::{Ballot, LogId, Pledge, PledgeBytes, Protocol};
use quorate_raft::Raft;
use quorate_storage::{
    FileDisk, InspectedGroup, InspectedSegment, Inspection, RunEffect, StorageError, StoreOptions,
    StoredSnapshot, Verified,
};
use quorate_vsr::Vsr;

/// Why a directory could not be looked at, or what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be opened.
    #[error("{}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is damaged, or not readable.
    #[error("{}", path.display())]
    Storage {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        source: StorageError,
    },
    /// Something is missing in it.
    #[error("{}: not whole; started in its cluster, it is repaired by the other nodes", path.display())]
    NotWhole {
        /// The directory.
        path: PathBuf,
    },
    /// The output cannot be written where it was to go.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Shows what a data directory holds: with all its groups, if so asked.
pub fn inspect(path: &Path, groups: bool) -> Result<(), DirectoryError> {
    let inspection = quorate_storage::inspect(&open(path)?).map_err(of(path))?;
    let shown = Shown { inspection: &inspection, groups };
    as_far_as_wanted(write!(io::stdout().lock(), "{shown}"))
}

/// Checks a data directory.
pub fn verify(path: &Path) -> Result<(), DirectoryError> {
    // A node has others only in what does not matter to this.
    let options = StoreOptions::default();
    let verified = quorate_storage::verify(&open(path)?, options).map_err(of(path))?;
    as_far_as_wanted(write_verified(path, &verified, &mut io::stdout().lock()))?;
    if verified.is_whole() {
        Ok(())
    } else {
        Err(DirectoryError::NotWhole { path: path.to_owned() })
    }
}

fn write_verified(path: &Path, verified: &Verified, out: &mut impl Write) -> io::Result<()> {
    let is_whole = verified.is_whole();
    let Verified { base, last, last_group, snapshots, bad_meta_copies, .. } = verified;
    writeln!(
        out,
        "{}: {}. The log holds what is behind {base} up to {last}, in groups up to \
         {last_group}; snapshots: {snapshots}",
        path.display(),
        if is_whole { "whole" } else { "NOT WHOLE" },
    )?;
    for damage in &verified.damage {
        let state = if is_whole { "repaired, or no longer needed" } else { "DAMAGED" };
        writeln!(out, "{state}: {damage}")?;
    }
    for gap in &verified.gaps {
        writeln!(out, "MISSING: entries {} to {}, to come from peers", gap.first, gap.last)?;
    }
    if verified.end_is_lost {
        writeln!(out, "LOST: the end of the log; the node does not count until it has caught up")?;
    }
    if *bad_meta_copies > 0 {
        writeln!(out, "{bad_meta_copies} of the 4 copies of \"meta\" are damaged, others are not")?;
    }
    Ok(())
}

/// Whoever reads the output may have read enough before its end, as `head` does.
fn as_far_as_wanted(written: io::Result<()>) -> Result<(), DirectoryError> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn open(path: &Path) -> Result<Arc<FileDisk>, DirectoryError> {
    let opened = FileDisk::open(path);
    let opened = opened.map_err(|source| DirectoryError::Open { path: path.to_owned(), source });
    Ok(Arc::new(opened?))
}

fn of(path: &Path) -> impl FnOnce(StorageError) -> DirectoryError {
    move |source| DirectoryError::Storage { path: path.to_owned(), source }
}

struct Shown<'a> {
    inspection: &'a Inspection,
    groups: bool,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inspection { identity, founding, .. } = self.inspection;
        writeln!(f, "node        {} of cluster {:?}", identity.node, identity.cluster)?;
        writeln!(f, "protocol    {}", identity.protocol)?;
        writeln!(f, "incarnation {}", identity.incarnation)?;
        let clean = self.inspection.is_clean;
        let end = if clean { "stopped in order" } else { "running, or not stopped in order" };
        writeln!(f, "starts      {}; {end}", self.inspection.start)?;
        match &founding.list {
            Some(list) if founding.formed => {
                let members: Vec<String> = list.voters().map(|id| id.to_string()).collect();
                writeln!(f, "cluster     formed by nodes {}", members.join(", "))?;
            }
            _ => writeln!(f, "cluster     not formed; round {}", founding.round)?,
        }
        if let Some((group, pledge)) = &self.inspection.sworn {
            writeln!(f, "pledge      {}, as of group {group}", self.pledge(pledge))?;
        }
        if self.inspection.bad_meta_copies > 0 {
            writeln!(f, "meta        {} of 4 copies damaged", self.inspection.bad_meta_copies)?;
        }
        self.snapshots(f)?;
        self.segments(f)
    }
}

impl Shown<'_> {
    fn snapshots(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nsnapshots   {}", self.inspection.snapshots.len())?;
        for StoredSnapshot { file, len, id, meta } in &self.inspection.snapshots {
            write!(f, "  {file}  {len} bytes, up to {}", id.last)?;
            match meta {
                Ok(meta) => writeln!(f, ", {} bytes of state", meta.size_bytes)?,
                Err(error) => writeln!(f, ", DAMAGED: {error}")?,
            }
        }
        Ok(())
    }

    fn segments(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nsegments    {}", self.inspection.segments.len())?;
        for InspectedSegment { file, len, error, damaged, groups } in &self.inspection.segments {
            write!(f, "  {file}  {len} bytes")?;
            match (groups.first(), groups.last()) {
                (Some(first), Some(last)) => {
                    write!(f, ", groups {}-{}", first.sequence, last.sequence)?;
                }
                _ => write!(f, ", empty")?,
            }
            let mut entries = groups.iter().flat_map(entries_of);
            if let Some(first) = entries.next() {
                let last = entries.last().unwrap_or(first);
                write!(f, ", entries {first} to {last}")?;
            }
            if let Some(error) = error {
                write!(f, ", DAMAGED: {error}")?;
            }
            if let Some(first) = damaged.first() {
                write!(f, ", blocks damaged or torn: {}, the first at {first}", damaged.len())?;
            }
            writeln!(f)?;
            if self.groups {
                groups.iter().try_for_each(|group| self.group(f, group))?;
            }
        }
        Ok(())
    }

    fn group(&self, f: &mut fmt::Formatter<'_>, group: &InspectedGroup) -> fmt::Result {
        let InspectedGroup { offset, len, sequence, durable_through, pledge, .. } = group;
        write!(f, "    group {sequence}  at {offset}, {len} bytes, durable through ")?;
        write!(f, "{durable_through}; {}", self.pledge(pledge))?;
        if let Some(snapshot) = &group.snapshot {
            write!(f, "; snapshot {}", snapshot.last)?;
        }
        writeln!(f)?;
        for run in &group.runs {
            let effect = match run.effect {
                RunEffect::Appended => "",
                RunEffect::StartedAnew => ", the log anew",
                RunEffect::Repaired => ", in the place of damaged ones",
            };
            let bytes: u64 = run.entries.iter().map(|(_, len)| u64::from(*len)).sum();
            write!(f, "      behind {}{effect}: {} entries", run.previous, run.entries.len())?;
            match (run.entries.first(), run.entries.last()) {
                (Some((first, _)), Some((last, _))) => {
                    writeln!(f, ", {first} to {last}, {bytes} bytes")?;
                }
                _ => writeln!(f)?,
            }
        }
        Ok(())
    }

    fn pledge(&self, bytes: &PledgeBytes) -> String {
        match self.inspection.identity.protocol.as_str() {
            Raft::NAME => raft_pledge(bytes),
            Vsr::NAME => vsr_pledge(bytes),
            _ => format!("{bytes:?}"),
        }
    }
}

fn vsr_pledge(bytes: &PledgeBytes) -> String {
    match quorate_vsr::Pledge::from_bytes(bytes) {
        Some(quorate_vsr::Pledge { view, torn: Ballot(0) }) => format!("view {view}"),
        Some(quorate_vsr::Pledge { view, torn }) => {
            format!("view {view}, a torn end was cut off in view {torn}")
        }
        None => "UNREADABLE".to_owned(),
    }
}

fn raft_pledge(bytes: &PledgeBytes) -> String {
    match quorate_raft::Pledge::from_bytes(bytes) {
        Some(quorate_raft::Pledge { term, voted_for: Some(node) }) => {
            format!("term {term}, voted for node {node}")
        }
        Some(quorate_raft::Pledge { term, voted_for: None }) => format!("term {term}, no vote"),
        None => "UNREADABLE".to_owned(),
    }
}

fn entries_of(group: &InspectedGroup) -> impl Iterator<Item = LogId> + '_ {
    group.runs.iter().flat_map(|run| run.entries.iter().map(|(id, _)| *id))
}

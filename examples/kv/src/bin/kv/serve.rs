//! `kv serve`, `kv inspect`, `kv verify`: one node and its data directory.

use std::path::{Path, PathBuf};

use crate::cli::{ArgsError, ServeArgs};

/// Why a node did not start, or a directory could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The arguments contradict each other.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// This build holds the server but not the node.
    #[error("this build has no replication in it: {0} cannot be served")]
    NoNode(PathBuf),
}

/// Runs a node until it is told to stop.
pub fn run(args: &ServeArgs) -> Result<(), ServeError> {
    args.validate()?;
    Err(ServeError::NoNode(args.data.clone()))
}

/// Shows what a data directory holds.
pub fn inspect(dir: &Path) -> Result<(), ServeError> {
    Err(ServeError::NoNode(dir.to_owned()))
}

/// Checks a data directory.
pub fn verify(dir: &Path) -> Result<(), ServeError> {
    Err(ServeError::NoNode(dir.to_owned()))
}

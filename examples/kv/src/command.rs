//! Which commands there are, and what their arguments mean.

mod error;
mod options;
mod parse;
mod table;

pub use error::CommandError;
pub use table::{COMMANDS, Local, Run, Spec, find};

use crate::resp::Request;

/// The command that `request` names, if it, its subcommand and its number of arguments are right.
///
/// # Errors
/// [`CommandError::Unknown`], and those of [`Spec::check`].
pub fn resolve(request: &Request<'_>) -> Result<&'static Spec, CommandError> {
    let name = request.get(0).unwrap_or_default();
    let spec = find(name).ok_or_else(|| CommandError::unknown(request))?;
    spec.check(request)?;
    Ok(spec)
}

//! Which commands there are, and what their arguments mean.

mod error;
mod options;
mod parse;
mod table;

pub use error::CommandError;
pub use table::{COMMANDS, Local, Run, Spec, find};

use crate::resp::Request;

/// The command that `request` names, if its number of arguments is right.
///
/// # Errors
/// [`CommandError::Unknown`] or [`CommandError::Arity`].
pub fn resolve(request: &Request<'_>) -> Result<&'static Spec, CommandError> {
    let name = request.get(0).unwrap_or_default();
    let spec = find(name).ok_or_else(|| CommandError::unknown(request))?;
    if spec.takes(request.len()) { Ok(spec) } else { Err(CommandError::Arity(spec.name)) }
}

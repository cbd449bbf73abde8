//! What is wrong with a request, in the words of Redis.

use crate::limits::MAX_PATTERN_BYTES;
use crate::op::Failure;
use crate::resp::Request;

/// A request that asks for something impossible. Its text is the error reply, code first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No such command.
    #[error("ERR unknown command '{name}', with args beginning with: {args}")]
    Unknown {
        /// What was asked for, shortened.
        name: String,
        /// The beginning of its arguments.
        args: String,
    },
    /// No such subcommand.
    #[error("ERR unknown subcommand '{name}' of '{command}' command")]
    UnknownSubcommand {
        /// The command.
        command: &'static str,
        /// What was asked for, shortened.
        name: String,
    },
    /// Too few or too many arguments.
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(&'static str),
    /// An option that does not exist, or contradicts another one.
    #[error("ERR syntax error")]
    Syntax,
    /// No integer, or one beyond 64 bits.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// DECRBY by the one number that cannot be negated.
    #[error("ERR decrement would overflow")]
    DecrementOverflow,
    /// An expiry that is not in the future, or beyond all time.
    #[error("ERR invalid expire time in '{0}' command")]
    ExpireTime(&'static str),
    /// An option that EXPIRE does not have.
    #[error("ERR Unsupported option {0}")]
    ExpireOption(String),
    /// EXPIRE with NX and another condition.
    #[error("ERR NX and XX, GT or LT options at the same time are not compatible")]
    ExpireNx,
    /// EXPIRE with both GT and LT.
    #[error("ERR GT and LT options at the same time are not compatible")]
    ExpireGtLt,
    /// SCAN with a cursor that no SCAN returned.
    #[error("ERR invalid cursor")]
    Cursor,
    /// KEYS or SCAN with a pattern that would take too long to compare.
    #[error("ERR pattern is too long, it may have up to {MAX_PATTERN_BYTES} bytes")]
    PatternTooLong,
    /// There is only database 0.
    #[error("ERR DB index is out of range")]
    DbIndex,
    /// A version that HELLO does not know.
    #[error("NOPROTO unsupported protocol version")]
    NoProto,
    /// A version that is no number.
    #[error("ERR Protocol version is not an integer or out of range")]
    ProtoVersion,
    /// An option that HELLO does not have.
    #[error("ERR Syntax error in HELLO option '{0}'")]
    HelloOption(String),
    /// A password where none is set.
    #[error(
        "ERR AUTH <password> called without any password configured for the default user. \
         Are you sure your configuration is correct?"
    )]
    NoPassword,
    /// There is only the default user.
    #[error("WRONGPASS invalid username-password pair or user is disabled.")]
    WrongPassword,
    /// A connection name with white space.
    #[error("ERR Client names cannot contain spaces, newlines or special characters.")]
    ClientName,
    /// CLIENT SETINFO of white space.
    #[error("ERR {0} cannot contain spaces, newlines or special characters.")]
    ClientInfo(String),
    /// CLIENT SETINFO of something else.
    #[error("ERR Unrecognized option '{0}'")]
    ClientOption(String),
    /// MULTI within MULTI.
    #[error("ERR MULTI calls can not be nested")]
    NestedMulti,
    /// EXEC alone.
    #[error("ERR EXEC without MULTI")]
    ExecWithoutMulti,
    /// DISCARD alone.
    #[error("ERR DISCARD without MULTI")]
    DiscardWithoutMulti,
    /// EXEC after a command that could not be queued.
    #[error("EXECABORT Transaction discarded because of previous errors.")]
    ExecAbort,
    /// EXEC with arguments, which ends the transaction all the same, if there is one.
    #[error(
        "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command"
    )]
    ExecArity,
    /// WATCH.
    #[error(
        "ERR WATCH is not supported: MULTI ... EXEC is applied as one atomic entry of the \
         replicated log; use SET with NX, XX or GET for conditional writes"
    )]
    Watch,
    /// A command that changes the connection itself, between MULTI and EXEC.
    #[error("ERR Command not allowed inside a transaction")]
    NotInTransaction,
    /// More queued than fits into one entry of the log.
    #[error("ERR transaction too large")]
    TransactionTooLarge,
    /// What the commands of a transaction that are not for the log reply is too much, without this
    /// one.
    #[error("ERR the replies of the transaction are too large: not executed")]
    RepliesTooLarge,
    /// Configuration comes from the command line only.
    #[error("ERR CONFIG SET is not supported: settings are given on the command line")]
    ConfigSet,
}

impl From<Failure> for CommandError {
    fn from(_: Failure) -> CommandError {
        CommandError::NotAnInteger
    }
}

impl CommandError {
    const SHOWN_BYTES: usize = 128;

    /// The error for a request whose command does not exist.
    #[must_use]
    pub fn unknown(request: &Request<'_>) -> CommandError {
        let mut args = String::new();
        for arg in request.iter().skip(1) {
            if args.len() >= Self::SHOWN_BYTES {
                break;
            }
            args.push_str(&format!("'{}' ", Self::show(arg)));
        }
        CommandError::Unknown { name: Self::show(request.get(0).unwrap_or_default()), args }
    }

    /// What a client sent, shortened, as text for an error.
    #[must_use]
    pub fn show(bytes: &[u8]) -> String {
        String::from_utf8_lossy(&bytes[..bytes.len().min(Self::SHOWN_BYTES)]).into_owned()
    }
}

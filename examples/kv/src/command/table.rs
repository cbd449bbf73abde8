//! The table of all commands.

use super::error::CommandError;
use super::options::lower;
use super::parse;
use crate::op::Op;
use crate::resp::Request;

/// A command.
#[derive(Debug)]
pub struct Spec {
    /// Its name, in lower case.
    pub name: &'static str,
    /// How many arguments it takes, its name included; if negative, at least so many.
    pub arity: i32,
    /// Redis's name for what it does to the data: `readonly`, `write`, `fast` (neither).
    pub flag: &'static str,
    /// Where its keys are: the first, the last (negative: from the end) and the step; 0 for none.
    pub keys: (i32, i32, i32),
    /// Redis's name for its family.
    pub group: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// What executes it.
    pub run: Run,
    /// What its first argument may be, if that says what is wanted of it.
    subcommands: &'static [Subcommand],
}

/// A subcommand.
#[derive(Debug)]
struct Subcommand {
    /// Its name behind that of the command, with a bar between the two.
    name: &'static str,
    /// As that of a command: the command's name counts too.
    arity: i32,
}

/// What executes a command.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// The replicated machine: this makes the operation out of the arguments.
    Op(fn(&Request<'_>) -> Result<Op, CommandError>),
    /// The connection.
    Local(Local),
}

/// Commands which the connection itself executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    Auth,
    Client,
    Command,
    Config,
    Discard,
    Echo,
    Exec,
    Hello,
    Info,
    Multi,
    Ping,
    Quit,
    ReadOnly,
    ReadWrite,
    Reset,
    Select,
    Unwatch,
    Watch,
}

impl Spec {
    /// Checks that there are neither too few nor too many arguments, and that there is such a
    /// subcommand.
    ///
    /// # Errors
    /// [`CommandError::Arity`] or [`CommandError::UnknownSubcommand`].
    pub fn check(&self, request: &Request<'_>) -> Result<(), CommandError> {
        if !takes(self.arity, request.len()) {
            return Err(CommandError::Arity(self.name));
        }
        let Some(wanted) = request.get(1).filter(|_| !self.subcommands.is_empty()) else {
            return Ok(());
        };
        let is_wanted = |known: &&Subcommand| {
            let name = known.name.split_once('|').map_or(known.name, |(_, name)| name);
            name.as_bytes().eq_ignore_ascii_case(wanted)
        };
        let Some(found) = self.subcommands.iter().find(is_wanted) else {
            let name = CommandError::show(wanted);
            return Err(CommandError::UnknownSubcommand { command: self.name, name });
        };
        if takes(found.arity, request.len()) {
            Ok(())
        } else {
            Err(CommandError::Arity(found.name))
        }
    }
}

/// True if so many arguments, the name included, are neither too few nor too many.
fn takes(arity: i32, arguments: usize) -> bool {
    let wanted = arity.unsigned_abs() as usize;
    if arity < 0 { arguments >= wanted } else { arguments == wanted }
}

/// The command of this name, in whatever case.
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    let mut buffer = [0; 16];
    let name = lower(name, &mut buffer);
    COMMANDS.binary_search_by(|spec| spec.name.as_bytes().cmp(name)).ok().map(|at| &COMMANDS[at])
}

type Keys = (i32, i32, i32);

const NONE: Keys = (0, 0, 0);
const ONE: Keys = (1, 1, 1);
const ALL: Keys = (1, -1, 1);
const PAIRS: Keys = (1, -1, 2);

const fn op(
    name: &'static str,
    arity: i32,
    flag: &'static str,
    keys: Keys,
    run: fn(&Request<'_>) -> Result<Op, CommandError>,
    summary: &'static str,
) -> Spec {
    let group = if keys.0 == 0 { "server" } else { "string" };
    Spec { name, arity, flag, keys, group, summary, run: Run::Op(run), subcommands: &[] }
}

const fn local(name: &'static str, arity: i32, run: Local, summary: &'static str) -> Spec {
    let group = match run {
        Local::Multi | Local::Exec | Local::Discard | Local::Watch | Local::Unwatch => {
            "transactions"
        }
        Local::Command | Local::Config | Local::Info => "server",
        _ => "connection",
    };
    let subcommands = match run {
        Local::Client => CLIENT,
        Local::Command => COMMAND,
        Local::Config => CONFIG,
        _ => &[],
    };
    let run = Run::Local(run);
    Spec { name, arity, flag: "fast", keys: NONE, group, summary, run, subcommands }
}

const fn sub(name: &'static str, arity: i32) -> Subcommand {
    Subcommand { name, arity }
}

const CLIENT: &[Subcommand] = &[
    sub("client|getname", 2),
    sub("client|id", 2),
    sub("client|setinfo", 4),
    sub("client|setname", 3),
];

const COMMAND: &[Subcommand] = &[
    sub("command|count", 2),
    sub("command|docs", -2),
    sub("command|info", -2),
    sub("command|list", -2),
];

const CONFIG: &[Subcommand] = &[sub("config|get", -3), sub("config|set", -4)];

/// All commands, in the order of their names.
pub static COMMANDS: [Spec; 50] = [
    op("append", 3, "write", ONE, parse::append, "Appends to the value of a key."),
    local("auth", -2, Local::Auth, "Authenticates the connection."),
    local("client", -2, Local::Client, "Names and describes the connection."),
    local("command", -1, Local::Command, "Describes the commands."),
    local("config", -2, Local::Config, "Shows settings."),
    op("dbsize", 1, "readonly", NONE, parse::dbsize, "Counts the keys."),
    op("decr", 2, "write", ONE, parse::decr, "Decrements the number at a key by one."),
    op("decrby", 3, "write", ONE, parse::decrby, "Decrements the number at a key."),
    op("del", -2, "write", ALL, parse::del, "Removes keys."),
    local("discard", 1, Local::Discard, "Drops the transaction."),
    local("echo", 2, Local::Echo, "Returns its argument."),
    local("exec", 1, Local::Exec, "Executes the transaction as one entry of the log."),
    op("exists", -2, "readonly", ALL, parse::exists, "Counts which of the keys exist."),
    op("expire", -3, "write", ONE, parse::expire, "Lets a key vanish after some seconds."),
    op("expireat", -3, "write", ONE, parse::expireat, "Lets a key vanish at a Unix time."),
    op("flushall", -1, "write", NONE, parse::flushall, "Removes all keys."),
    op("flushdb", -1, "write", NONE, parse::flushall, "Removes all keys."),
    op("get", 2, "readonly", ONE, parse::get, "Returns the value of a key."),
    op("getdel", 2, "write", ONE, parse::getdel, "Returns the value of a key and removes it."),
    op("getset", 3, "write", ONE, parse::getset, "Sets a key and returns its old value."),
    local("hello", -1, Local::Hello, "Chooses the version of the protocol."),
    op("incr", 2, "write", ONE, parse::incr, "Increments the number at a key by one."),
    op("incrby", 3, "write", ONE, parse::incrby, "Increments the number at a key."),
    local("info", -1, Local::Info, "Describes the node and its part in the cluster."),
    op("keys", 2, "readonly", NONE, parse::keys, "Returns all keys that match a pattern."),
    op("mget", -2, "readonly", ALL, parse::mget, "Returns the values of keys."),
    op("mset", -3, "write", PAIRS, parse::mset, "Sets keys, all at once."),
    local("multi", 1, Local::Multi, "Begins a transaction."),
    op("persist", 2, "write", ONE, parse::persist, "Removes the expiry of a key."),
    op("pexpire", -3, "write", ONE, parse::pexpire, "Lets a key vanish after some milliseconds."),
    op("pexpireat", -3, "write", ONE, parse::pexpireat, "Lets a key vanish at a Unix time in ms."),
    local("ping", -1, Local::Ping, "Returns PONG, or its argument."),
    op("psetex", 4, "write", ONE, parse::psetex, "Sets a key with an expiry in milliseconds."),
    op("pttl", 2, "readonly", ONE, parse::pttl, "Returns the milliseconds a key has left."),
    local("quit", -1, Local::Quit, "Closes the connection."),
    local("readonly", 1, Local::ReadOnly, "Lets this connection read what the node itself has."),
    local("readwrite", 1, Local::ReadWrite, "Makes this connection's reads linearizable again."),
    local("reset", 1, Local::Reset, "Makes the connection as good as new."),
    op("scan", -2, "readonly", NONE, parse::scan, "Iterates over the keys."),
    local("select", 2, Local::Select, "Chooses the database, of which there is one."),
    op("set", -3, "write", ONE, parse::set, "Sets the value of a key."),
    op("setex", 4, "write", ONE, parse::setex, "Sets a key with an expiry in seconds."),
    op("setnx", 3, "write", ONE, parse::setnx, "Sets a key that does not exist."),
    op("strlen", 2, "readonly", ONE, parse::strlen, "Returns the length of a value."),
    op("touch", -2, "readonly", ALL, parse::exists, "Counts which of the keys exist."),
    op("ttl", 2, "readonly", ONE, parse::ttl, "Returns the seconds a key has left."),
    op("type", 2, "readonly", ONE, parse::key_type, "Returns the type of a key."),
    op("unlink", -2, "write", ALL, parse::del, "Removes keys."),
    local("unwatch", 1, Local::Unwatch, "Does nothing, since nothing can be watched."),
    local("watch", -2, Local::Watch, "Is refused: use the conditions of SET."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_that_the_search_needs() {
        assert!(COMMANDS.is_sorted_by(|a, b| a.name < b.name));
        for spec in &COMMANDS {
            assert!(spec.name.len() <= 16 && !spec.summary.is_empty(), "{}", spec.name);
            let upper = spec.name.to_ascii_uppercase();
            assert_eq!(find(upper.as_bytes()).map(|spec| spec.name), Some(spec.name));
        }
        assert!(find(b"").is_none() && find(b"a name that is far too long").is_none());
    }
}

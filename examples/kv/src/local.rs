//! Commands about the connection and the node, which need no cluster to answer.
//!
//! Called only with a number of arguments, and with subcommands, that the table allows.

use crate::command::{COMMANDS, CommandError, Local, Run, Spec, find};
use crate::connection::Connection;
use crate::glob;
use crate::info::{self, REDIS_VERSION, Surroundings};
use crate::limits::MAX_REQUEST_BYTES;
use crate::machine::parse_integer;
use crate::resp::{Encoder, Request, Version};

/// Executes one of them.
///
/// # Errors
/// The reply; nothing has been written to `out` then.
pub fn execute(
    connection: &mut Connection,
    command: Local,
    request: &Request<'_>,
    around: &dyn Fn() -> Surroundings,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    let args: Vec<&[u8]> = request.iter().skip(1).collect();
    let mut encoder = Encoder::new(connection.version, out);
    match command {
        Local::Hello => return hello(connection, &args, around, out),
        Local::Auth => auth(&args, &mut encoder)?,
        Local::Client => client(connection, &args, &mut encoder)?,
        Local::Command => describe(&args, &mut encoder)?,
        Local::Config => config(&args, around, &mut encoder)?,
        Local::Echo => encoder.bulk(args.first().copied().unwrap_or_default()),
        Local::Info => {
            let wanted: Vec<String> =
                args.iter().map(|name| CommandError::show(name).to_lowercase()).collect();
            encoder.text(&info::render(&around(), &wanted));
        }
        Local::Ping => match args[..] {
            [] => encoder.simple("PONG"),
            [text] => encoder.bulk(text),
            _ => return Err(CommandError::Arity("ping")),
        },
        Local::ReadOnly | Local::ReadWrite => {
            connection.readonly = command == Local::ReadOnly;
            encoder.simple("OK");
        }
        Local::Select => {
            match parse_integer(args.first().copied().unwrap_or_default())? {
                0 => encoder.simple("OK"),
                _ => return Err(CommandError::DbIndex),
            };
        }
        Local::Unwatch => encoder.simple("OK"),
        Local::Discard | Local::Exec | Local::Multi | Local::Quit | Local::Reset | Local::Watch => {
            unreachable!("{command:?} is a matter of the conversation itself")
        }
    }
    Ok(())
}

fn hello(
    connection: &mut Connection,
    args: &[&[u8]],
    around: &dyn Fn() -> Surroundings,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    let mut version = connection.version;
    let mut name = None;
    if let Some((wanted, mut options)) = args.split_first() {
        version = match parse_integer(wanted) {
            Err(_) => return Err(CommandError::ProtoVersion),
            Ok(2) => Version::V2,
            Ok(3) => Version::V3,
            Ok(_) => return Err(CommandError::NoProto),
        };
        while let Some((option, rest)) = options.split_first() {
            options = match rest {
                [user, _, rest @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                    check_user(user)?;
                    rest
                }
                [wanted, rest @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                    check_printable(wanted).ok_or(CommandError::ClientName)?;
                    name = Some(wanted.to_vec());
                    rest
                }
                _ => return Err(CommandError::HelloOption(CommandError::show(option))),
            };
        }
    }
    connection.version = version;
    if let Some(name) = name {
        connection.name = name;
    }
    let mut encoder = Encoder::new(version, out);
    encoder.map(7);
    let mut text = |name: &str, value: &str| {
        encoder.bulk(name.as_bytes());
        encoder.bulk(value.as_bytes());
    };
    text("server", "redis");
    text("version", REDIS_VERSION);
    text("mode", "standalone");
    text(
        "role",
        match info::role(&around().status) {
            "master" => "master",
            _ => "replica",
        },
    );
    encoder.bulk(b"proto");
    encoder.integer(if version == Version::V3 { 3 } else { 2 });
    encoder.bulk(b"id");
    encoder.integer(i64::try_from(connection.id).unwrap_or(i64::MAX));
    encoder.bulk(b"modules");
    encoder.array(0);
    Ok(())
}

/// There is one user, without a password: any password is right, as in Redis.
fn check_user(user: &[u8]) -> Result<(), CommandError> {
    if user == b"default" { Ok(()) } else { Err(CommandError::WrongPassword) }
}

fn auth(args: &[&[u8]], encoder: &mut Encoder<'_>) -> Result<(), CommandError> {
    match args {
        [_] => return Err(CommandError::NoPassword),
        [user, _] => check_user(user)?,
        _ => return Err(CommandError::Syntax),
    }
    encoder.simple("OK");
    Ok(())
}

fn check_printable(text: &[u8]) -> Option<()> {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte)).then_some(())
}

fn client(
    connection: &mut Connection,
    args: &[&[u8]],
    encoder: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let subcommand = args.first().copied().unwrap_or_default();
    match (&*subcommand.to_ascii_lowercase(), &args[1..]) {
        (b"id", []) => encoder.integer(i64::try_from(connection.id).unwrap_or(i64::MAX)),
        (b"getname", []) if connection.name.is_empty() => encoder.null(),
        (b"getname", []) => encoder.bulk(&connection.name),
        (b"setname", [name]) => {
            check_printable(name).ok_or(CommandError::ClientName)?;
            connection.name = name.to_vec();
            encoder.simple("OK");
        }
        (b"setinfo", [attribute, value]) => {
            let attribute = CommandError::show(attribute);
            if !matches!(&*attribute.to_ascii_lowercase(), "lib-name" | "lib-ver") {
                return Err(CommandError::ClientOption(attribute));
            }
            check_printable(value).ok_or(CommandError::ClientInfo(attribute))?;
            encoder.simple("OK");
        }
        _ => unreachable!("the table has no such CLIENT"),
    }
    Ok(())
}

fn config(
    args: &[&[u8]],
    around: &dyn Fn() -> Surroundings,
    encoder: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let subcommand = args.first().copied().unwrap_or_default();
    let patterns = &args[1..];
    match &*subcommand.to_ascii_lowercase() {
        b"get" => {
            let settings = [
                ("appendfsync", "always".to_owned()),
                ("appendonly", "yes".to_owned()),
                ("databases", "1".to_owned()),
                ("maxclients", around().max_clients.to_string()),
                ("maxmemory", "0".to_owned()),
                ("proto-max-bulk-len", MAX_REQUEST_BYTES.to_string()),
                ("save", String::new()),
                ("timeout", "0".to_owned()),
            ];
            let is_wanted = |name: &str| {
                let matches =
                    |pattern: &&[u8]| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes());
                patterns.iter().any(matches)
            };
            let wanted: Vec<_> = settings.iter().filter(|(name, _)| is_wanted(name)).collect();
            encoder.map(wanted.len());
            for (name, value) in wanted {
                encoder.bulk(name.as_bytes());
                encoder.bulk(value.as_bytes());
            }
        }
        b"set" => return Err(CommandError::ConfigSet),
        _ => unreachable!("the table has no such CONFIG"),
    }
    Ok(())
}

/// COMMAND and its subcommands.
fn describe(args: &[&[u8]], encoder: &mut Encoder<'_>) -> Result<(), CommandError> {
    let Some((subcommand, names)) = args.split_first() else {
        encoder.array(COMMANDS.len());
        COMMANDS.iter().for_each(|spec| describe_one(spec, encoder));
        return Ok(());
    };
    match &*subcommand.to_ascii_lowercase() {
        b"count" => encoder.integer(COMMANDS.len() as i64),
        // The filters that Redis has.
        b"list" if !names.is_empty() => return Err(CommandError::Syntax),
        b"list" => {
            encoder.array(COMMANDS.len());
            COMMANDS.iter().for_each(|spec| encoder.bulk(spec.name.as_bytes()));
        }
        b"info" if names.is_empty() => {
            encoder.array(COMMANDS.len());
            COMMANDS.iter().for_each(|spec| describe_one(spec, encoder));
        }
        b"info" => {
            encoder.array(names.len());
            for name in names {
                match find(name) {
                    Some(spec) => describe_one(spec, encoder),
                    None => encoder.null(),
                }
            }
        }
        b"docs" => {
            let wanted: Vec<&Spec> = match names {
                [] => COMMANDS.iter().collect(),
                names => names.iter().filter_map(|name| find(name)).collect(),
            };
            encoder.map(wanted.len());
            wanted.into_iter().for_each(|spec| document(spec, encoder));
        }
        _ => unreachable!("the table has no such COMMAND"),
    }
    Ok(())
}

fn describe_one(spec: &Spec, encoder: &mut Encoder<'_>) {
    let (first, last, step) = spec.keys;
    encoder.array(10);
    encoder.bulk(spec.name.as_bytes());
    encoder.integer(spec.arity.into());
    encoder.set(1);
    encoder.simple(spec.flag);
    for number in [first, last, step] {
        encoder.integer(number.into());
    }
    // Access categories, tips, key specifications and subcommands.
    encoder.set(0);
    (0..3).for_each(|_| encoder.array(0));
}

fn document(spec: &Spec, encoder: &mut Encoder<'_>) {
    encoder.bulk(spec.name.as_bytes());
    let fields = [
        ("summary", spec.summary),
        ("since", "1.0.0"),
        ("group", spec.group),
        (
            "complexity",
            match spec.run {
                Run::Op(_) => "O(log N) for each key, and a round of the cluster",
                Run::Local(_) => "O(1)",
            },
        ),
    ];
    encoder.map(fields.len());
    for (name, value) in fields {
        encoder.bulk(name.as_bytes());
        encoder.bulk(value.as_bytes());
    }
}

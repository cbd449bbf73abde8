//! From the arguments of a request to the operation it asks for.
//!
//! Called only with a number of arguments that the table allows, so missing ones read as empty.

use super::error::CommandError;
use super::options::{Clock, SetOptions, expire_condition, lower};
use crate::blob::Blob;
use crate::limits::MAX_PATTERN_BYTES;
use crate::machine::parse_integer;
use crate::op::{Condition, ExpireCondition, ExpireOrder, Expiry, Op, Read, SetAnswer, Write};
use crate::resp::Request;

type Parsed = Result<Op, CommandError>;

fn blob(request: &Request<'_>, position: usize) -> Blob {
    Blob::from(request.get(position).unwrap_or_default())
}

fn bytes<'a>(request: &Request<'a>, position: usize) -> &'a [u8] {
    request.get(position).unwrap_or_default()
}

fn blobs(request: &Request<'_>) -> Vec<Blob> {
    request.iter().skip(1).map(Blob::from).collect()
}

fn pattern(bytes: &[u8]) -> Result<Blob, CommandError> {
    if bytes.len() > MAX_PATTERN_BYTES {
        return Err(CommandError::PatternTooLong);
    }
    Ok(Blob::from(bytes))
}

fn read(read: Read) -> Parsed {
    Ok(Op::Read(read))
}

fn write(write: Write) -> Parsed {
    Ok(Op::Write(write))
}

pub fn get(request: &Request<'_>) -> Parsed {
    read(Read::Get(blob(request, 1)))
}

pub fn mget(request: &Request<'_>) -> Parsed {
    read(Read::MGet(blobs(request)))
}

pub fn exists(request: &Request<'_>) -> Parsed {
    read(Read::Exists(blobs(request)))
}

pub fn strlen(request: &Request<'_>) -> Parsed {
    read(Read::StrLen(blob(request, 1)))
}

pub fn ttl(request: &Request<'_>) -> Parsed {
    read(Read::Ttl(blob(request, 1)))
}

pub fn pttl(request: &Request<'_>) -> Parsed {
    read(Read::PTtl(blob(request, 1)))
}

pub fn key_type(request: &Request<'_>) -> Parsed {
    read(Read::Type(blob(request, 1)))
}

pub fn keys(request: &Request<'_>) -> Parsed {
    read(Read::Keys(pattern(bytes(request, 1))?))
}

pub fn dbsize(_: &Request<'_>) -> Parsed {
    read(Read::DbSize)
}

pub fn scan(request: &Request<'_>) -> Parsed {
    const DEFAULT_COUNT: u64 = 10;
    let digits = bytes(request, 1);
    let only_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| only_digits);
    let cursor: u64 = text.and_then(|text| text.parse().ok()).ok_or(CommandError::Cursor)?;
    let (mut wanted, mut count, mut strings) = (None, DEFAULT_COUNT, true);
    let mut options = request.iter().skip(2);
    while let Some(option) = options.next() {
        let value = options.next().ok_or(CommandError::Syntax)?;
        match lower(option, &mut [0; 8]) {
            b"match" => wanted = Some(pattern(value)?),
            b"count" => {
                let number = parse_integer(value)?;
                let positive = u64::try_from(number).ok().filter(|number| *number > 0);
                count = positive.ok_or(CommandError::Syntax)?;
            }
            b"type" => strings = value.eq_ignore_ascii_case(b"string"),
            _ => return Err(CommandError::Syntax),
        }
    }
    // There are no keys of any other type: the empty key space is scanned from its end.
    let cursor = if strings { cursor } else { u64::MAX };
    read(Read::Scan { cursor, pattern: wanted, count })
}

fn set_always(key: Blob, value: Blob, expiry: Expiry, answer: SetAnswer) -> Parsed {
    write(Write::Set { key, value, condition: Condition::Always, expiry, answer })
}

pub fn set(request: &Request<'_>) -> Parsed {
    let SetOptions { condition, expiry, get } = SetOptions::parse(request.iter().skip(3))?;
    let answer = if get { SetAnswer::Old } else { SetAnswer::Status };
    let (key, value) = (blob(request, 1), blob(request, 2));
    write(Write::Set { key, value, condition, expiry, answer })
}

pub fn setnx(request: &Request<'_>) -> Parsed {
    let (key, value) = (blob(request, 1), blob(request, 2));
    let (condition, expiry) = (Condition::IfAbsent, Expiry::Clear);
    write(Write::Set { key, value, condition, expiry, answer: SetAnswer::Flag })
}

pub fn setex(request: &Request<'_>) -> Parsed {
    let expiry = Expiry::Set(Clock::Seconds.future(bytes(request, 2), "setex")?);
    set_always(blob(request, 1), blob(request, 3), expiry, SetAnswer::Status)
}

pub fn psetex(request: &Request<'_>) -> Parsed {
    let expiry = Expiry::Set(Clock::Millis.future(bytes(request, 2), "psetex")?);
    set_always(blob(request, 1), blob(request, 3), expiry, SetAnswer::Status)
}

pub fn getset(request: &Request<'_>) -> Parsed {
    set_always(blob(request, 1), blob(request, 2), Expiry::Clear, SetAnswer::Old)
}

pub fn getdel(request: &Request<'_>) -> Parsed {
    write(Write::GetDel(blob(request, 1)))
}

pub fn mset(request: &Request<'_>) -> Parsed {
    if request.len().is_multiple_of(2) {
        return Err(CommandError::Arity("mset"));
    }
    let mut blobs = blobs(request).into_iter();
    let mut pairs = Vec::with_capacity(blobs.len() / 2);
    while let (Some(key), Some(value)) = (blobs.next(), blobs.next()) {
        pairs.push((key, value));
    }
    write(Write::MSet(pairs))
}

pub fn del(request: &Request<'_>) -> Parsed {
    write(Write::Del(blobs(request)))
}

pub fn append(request: &Request<'_>) -> Parsed {
    write(Write::Append(blob(request, 1), blob(request, 2)))
}

pub fn incr(request: &Request<'_>) -> Parsed {
    write(Write::IncrBy(blob(request, 1), 1))
}

pub fn decr(request: &Request<'_>) -> Parsed {
    write(Write::IncrBy(blob(request, 1), -1))
}

pub fn incrby(request: &Request<'_>) -> Parsed {
    write(Write::IncrBy(blob(request, 1), parse_integer(bytes(request, 2))?))
}

pub fn decrby(request: &Request<'_>) -> Parsed {
    let by = parse_integer(bytes(request, 2))?;
    let by = by.checked_neg().ok_or(CommandError::DecrementOverflow)?;
    write(Write::IncrBy(blob(request, 1), by))
}

pub fn expire(request: &Request<'_>) -> Parsed {
    expire_by(request, Clock::Seconds, "expire")
}

pub fn pexpire(request: &Request<'_>) -> Parsed {
    expire_by(request, Clock::Millis, "pexpire")
}

pub fn expireat(request: &Request<'_>) -> Parsed {
    expire_by(request, Clock::EpochSeconds, "expireat")
}

pub fn pexpireat(request: &Request<'_>) -> Parsed {
    expire_by(request, Clock::EpochMillis, "pexpireat")
}

fn expire_by(request: &Request<'_>, clock: Clock, command: &'static str) -> Parsed {
    let condition = match request.len() {
        3 => ExpireCondition { order: ExpireOrder::Any, if_present: false },
        _ => expire_condition(request.iter().skip(3))?,
    };
    let deadline = clock.deadline(bytes(request, 2), command)?;
    write(Write::Expire { key: blob(request, 1), deadline, condition })
}

pub fn persist(request: &Request<'_>) -> Parsed {
    write(Write::Persist(blob(request, 1)))
}

pub fn flushall(request: &Request<'_>) -> Parsed {
    match request.get(1) {
        None => write(Write::FlushAll),
        Some(how) => match lower(how, &mut [0; 8]) {
            b"sync" | b"async" if request.len() == 2 => write(Write::FlushAll),
            _ => Err(CommandError::Syntax),
        },
    }
}

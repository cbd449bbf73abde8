//! What travels through the log and what comes back: the vocabulary of the replicated machine.
//!
//! Written with postcard, which is not self-describing: variants and fields may be appended, never
//! removed, reordered or retyped (the golden bytes in the tests of this file say so).

use serde::{Deserialize, Serialize};

use crate::blob::Blob;

/// One entry of the log: operations which are executed one after the other with nothing between
/// them. A transaction is one; so is what one connection pipelined at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Execute these in order; the response holds one [`Reply`] for each.
    Run(Vec<Op>),
}

/// Questions answered from one and the same state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// Answer these; one [`Reply`] for each.
    Run(Vec<Read>),
    /// How many keys there are, and how many of them have an expiry: two [`Reply::Integer`]s.
    Count,
}

/// One operation of a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// A read whose place among writes matters: inside a transaction, or between pipelined writes.
    Read(Read),
    /// A write.
    Write(Write),
}

impl Op {
    /// How many bytes it takes in the log.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        let size = postcard::serialize_with_flavor(self, postcard::ser_flavors::Size::default());
        size.expect("plain data encodes")
    }
}

/// What changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Read {
    /// GET.
    Get(Blob),
    /// MGET.
    MGet(Vec<Blob>),
    /// EXISTS: a key given twice counts twice.
    Exists(Vec<Blob>),
    /// STRLEN.
    StrLen(Blob),
    /// TTL: seconds, rounded; -1 without an expiry, -2 without a key.
    Ttl(Blob),
    /// PTTL: the same in milliseconds.
    PTtl(Blob),
    /// TYPE.
    Type(Blob),
    /// KEYS with its glob pattern.
    Keys(Blob),
    /// SCAN.
    Scan {
        /// 0, or what the previous call returned.
        cursor: u64,
        /// Glob pattern which returned keys match.
        pattern: Option<Blob>,
        /// How many keys to look at.
        count: u64,
    },
    /// DBSIZE.
    DbSize,
}

/// What may change something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// SET and its relatives.
    Set {
        /// The key.
        key: Blob,
        /// Its value.
        value: Blob,
        /// When to do it at all.
        condition: Condition,
        /// What becomes of the expiry.
        expiry: Expiry,
        /// What to answer.
        answer: SetAnswer,
    },
    /// MSET.
    MSet(Vec<(Blob, Blob)>),
    /// GETDEL.
    GetDel(Blob),
    /// DEL.
    Del(Vec<Blob>),
    /// APPEND.
    Append(Blob, Blob),
    /// INCR, DECR, INCRBY, DECRBY.
    IncrBy(Blob, i64),
    /// EXPIRE and its relatives.
    Expire {
        /// The key.
        key: Blob,
        /// When it is to vanish.
        deadline: Deadline,
        /// When to do it at all.
        condition: ExpireCondition,
    },
    /// PERSIST.
    Persist(Blob),
    /// FLUSHALL.
    FlushAll,
}

/// When SET sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Always.
    Always,
    /// NX: only if the key does not exist.
    IfAbsent,
    /// XX: only if it does.
    IfPresent,
}

/// What SET does to the key's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expiry {
    /// Removes it.
    Clear,
    /// KEEPTTL: leaves it.
    Keep,
    /// EX, PX, EXAT, PXAT: sets it.
    Set(Deadline),
}

/// A moment of log time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deadline {
    /// So long after the moment when the operation is applied.
    In(i64),
    /// So long after the Unix epoch, as log time tells it. After an outage with an expiry pending,
    /// log time lags behind the wall clock by as long, and this comes late by as much, until log
    /// time has caught up at a tenth of the time that passes.
    At(i64),
}

/// What SET answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetAnswer {
    /// OK if set, null if not: SET.
    Status,
    /// The value before, set or not: SET with GET, GETSET.
    Old,
    /// 1 if set, 0 if not: SETNX.
    Flag,
}

/// When EXPIRE sets an expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpireCondition {
    /// Only compared with the present expiry like this.
    pub order: ExpireOrder,
    /// XX: only if there is an expiry already.
    pub if_present: bool,
}

/// How a new expiry must compare with the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExpireOrder {
    /// Anyhow.
    Any,
    /// NX: there must be none.
    None,
    /// GT: later. No expiry counts as infinitely late.
    Later,
    /// LT: earlier.
    Earlier,
}

/// What one operation is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// `OK`.
    Ok,
    /// Nothing there, or nothing done.
    Null,
    /// A number.
    Integer(i64),
    /// A value.
    Bulk(Blob),
    /// Several replies.
    Array(Vec<Reply>),
    /// The type of a key, as a status.
    Type(KeyType),
    /// The operation could not be executed, and changed nothing.
    Failed(Failure),
}

/// What TYPE knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyType {
    /// No such key.
    None,
    /// A string.
    String,
}

/// Why an operation could not be executed. The texts are those of Redis where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// INCR of something else.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// INCR beyond 64 bits.
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    /// APPEND beyond [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES).
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    ValueTooLarge,
    /// The replies up to this one are larger than one response may be.
    #[error("ERR reply too large: ask for less at a time")]
    ReplyTooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(condition: Condition, expiry: Expiry, answer: SetAnswer) -> Op {
        let (key, value) = (Blob::from("k"), Blob::from("v"));
        Op::Write(Write::Set { key, value, condition, expiry, answer })
    }

    #[test]
    fn commands_keep_their_bytes() {
        let k = || Blob::from("k");
        let expire = |order, if_present| {
            let condition = ExpireCondition { order, if_present };
            Op::Write(Write::Expire { key: k(), deadline: Deadline::In(1), condition })
        };
        let golden: Vec<(Op, &[u8])> = vec![
            (Op::Read(Read::Get(k())), b"\0\0\x01k"),
            (Op::Read(Read::MGet(vec![k()])), b"\0\x01\x01\x01k"),
            (Op::Read(Read::Exists(vec![k()])), b"\0\x02\x01\x01k"),
            (Op::Read(Read::StrLen(k())), b"\0\x03\x01k"),
            (Op::Read(Read::Ttl(k())), b"\0\x04\x01k"),
            (Op::Read(Read::PTtl(k())), b"\0\x05\x01k"),
            (Op::Read(Read::Type(k())), b"\0\x06\x01k"),
            (Op::Read(Read::Keys(k())), b"\0\x07\x01k"),
            (
                Op::Read(Read::Scan { cursor: 1, pattern: Some(k()), count: 2 }),
                b"\0\x08\x01\x01\x01k\x02",
            ),
            (Op::Read(Read::DbSize), b"\0\x09"),
            (set(Condition::Always, Expiry::Clear, SetAnswer::Status), b"\x01\0\x01k\x01v\0\0\0"),
            (
                set(Condition::IfAbsent, Expiry::Keep, SetAnswer::Old),
                b"\x01\0\x01k\x01v\x01\x01\x01",
            ),
            (
                set(Condition::IfPresent, Expiry::Set(Deadline::At(1)), SetAnswer::Flag),
                b"\x01\0\x01k\x01v\x02\x02\x01\x02\x02",
            ),
            (Op::Write(Write::MSet(vec![(k(), k())])), b"\x01\x01\x01\x01k\x01k"),
            (Op::Write(Write::GetDel(k())), b"\x01\x02\x01k"),
            (Op::Write(Write::Del(vec![k()])), b"\x01\x03\x01\x01k"),
            (Op::Write(Write::Append(k(), k())), b"\x01\x04\x01k\x01k"),
            (Op::Write(Write::IncrBy(k(), -1)), b"\x01\x05\x01k\x01"),
            (expire(ExpireOrder::Any, false), b"\x01\x06\x01k\0\x02\0\0"),
            (expire(ExpireOrder::None, false), b"\x01\x06\x01k\0\x02\x01\0"),
            (expire(ExpireOrder::Later, true), b"\x01\x06\x01k\0\x02\x02\x01"),
            (expire(ExpireOrder::Earlier, false), b"\x01\x06\x01k\0\x02\x03\0"),
            (Op::Write(Write::Persist(k())), b"\x01\x07\x01k"),
            (Op::Write(Write::FlushAll), b"\x01\x08"),
        ];
        for (op, bytes) in golden {
            assert_eq!(op.encoded_bytes(), bytes.len(), "{op:?}");
            let command = Command::Run(vec![op]);
            let expected = [b"\0\x01", bytes].concat();
            assert_eq!(postcard::to_stdvec(&command).unwrap(), expected, "{command:?}");
            assert_eq!(postcard::from_bytes::<Command>(&expected).unwrap(), command);
        }
    }

    #[test]
    fn replies_keep_their_bytes() {
        let golden: Vec<(Reply, &[u8])> = vec![
            (Reply::Ok, b"\0"),
            (Reply::Null, b"\x01"),
            (Reply::Integer(-1), b"\x02\x01"),
            (Reply::Bulk(Blob::from("v")), b"\x03\x01v"),
            (Reply::Array(vec![Reply::Null]), b"\x04\x01\x01"),
            (Reply::Type(KeyType::None), b"\x05\0"),
            (Reply::Type(KeyType::String), b"\x05\x01"),
            (Reply::Failed(Failure::NotAnInteger), b"\x06\0"),
            (Reply::Failed(Failure::Overflow), b"\x06\x01"),
            (Reply::Failed(Failure::ValueTooLarge), b"\x06\x02"),
            (Reply::Failed(Failure::ReplyTooLarge), b"\x06\x03"),
        ];
        for (reply, bytes) in golden {
            assert_eq!(postcard::to_stdvec(&reply).unwrap(), bytes, "{reply:?}");
            assert_eq!(postcard::from_bytes::<Reply>(bytes).unwrap(), reply);
        }
    }
}

//! The replicated state machine: what each operation does.

use std::io;
use std::num::NonZeroU64;

use quorate_core::{At, LogTime, Snapshottable, StateMachine};

use crate::blob::Blob;
use crate::glob;
use crate::op::{
    Command, Condition, Deadline, ExpireCondition, ExpireOrder, Expiry, Failure, KeyType, Op,
    Query, Read, Reply, SetAnswer, Write,
};
use crate::snapshot;
use crate::store::{Entries, Entry, Store};

/// The longest value, in bytes. Part of the replicated behaviour: all replicas must agree on it.
pub const MAX_VALUE_BYTES: usize = 4 << 20;

/// How many bytes the replies to one [`Command`] may have; operations which would answer more fail
/// without an effect. Bounds what travels back to a node that forwarded the command. Part of the
/// replicated behaviour.
pub const MAX_RESPONSE_BYTES: usize = 16 << 20;

/// How many bytes the replies to one [`Query`] may have; reads beyond that fail. Much larger than
/// [`MAX_RESPONSE_BYTES`], since such an answer does not leave the process, so that KEYS works on
/// millions of keys.
pub const MAX_ANSWER_BYTES: usize = 512 << 20;

/// The key-value store as a [`StateMachine`].
///
/// Expiry follows log time: a key whose time has come is absent for every command and query from
/// then on, and [`StateMachine::expire`] removes it without a write having to come by.
#[derive(Debug, Default)]
pub struct Machine {
    store: Store,
}

impl StateMachine for Machine {
    type Command = Command;
    type Response = Vec<Reply>;
    type Query = Query;
    type Answer = Vec<Reply>;

    fn apply(&mut self, at: &At, command: Command) -> Vec<Reply> {
        let now_ms = at.time.as_millis();
        self.store.expire(now_ms);
        let Command::Run(ops) = command;
        let mut budget = Budget { left: MAX_RESPONSE_BYTES };
        let execute = |op| match op {
            Op::Read(read) => self.read(now_ms, &read, &mut budget),
            Op::Write(write) => self.write(now_ms, write, &mut budget),
        };
        ops.into_iter().map(execute).collect()
    }

    fn query(&self, at: &At, query: Query) -> Vec<Reply> {
        let now_ms = at.time.as_millis();
        let reads = match query {
            Query::Run(reads) => reads,
            Query::Count => {
                let counts = [self.store.len(now_ms), self.store.expiring(now_ms)];
                return counts.into_iter().map(integer).collect();
            }
        };
        let mut budget = Budget { left: MAX_ANSWER_BYTES };
        reads.iter().map(|read| self.read(now_ms, read, &mut budget)).collect()
    }

    fn deadline(&self) -> Option<LogTime> {
        self.store.next_expiry_ms().map(|ms| LogTime(ms.saturating_mul(1000)))
    }

    fn expire(&mut self, at: &At) {
        self.store.expire(at.time.as_millis());
    }
}

impl Snapshottable for Machine {
    type View = Entries;

    fn view(&self) -> Entries {
        self.store.entries()
    }

    fn write(view: &Entries, out: &mut dyn io::Write) -> io::Result<()> {
        snapshot::write(view, out)
    }

    fn restore(input: &mut dyn io::Read) -> io::Result<Machine> {
        Ok(Machine { store: snapshot::restore(input)? })
    }
}

/// What the replies to one command or query may still cost.
struct Budget {
    left: usize,
}

impl Budget {
    /// What a reply costs beyond the bytes of its value.
    const REPLY_BYTES: usize = 16;

    fn spend(&mut self, bytes: usize) -> Result<(), Failure> {
        let left = self.left.checked_sub(bytes.saturating_add(Self::REPLY_BYTES));
        self.left = left.ok_or(Failure::ReplyTooLarge)?;
        Ok(())
    }

    fn bulk(&mut self, value: Option<&Blob>) -> Result<Reply, Failure> {
        let Some(value) = value else { return Ok(Reply::Null) };
        self.spend(value.len())?;
        Ok(Reply::Bulk(value.clone()))
    }
}

impl Machine {
    fn read(&self, now_ms: u64, read: &Read, budget: &mut Budget) -> Reply {
        self.try_read(now_ms, read, budget).unwrap_or_else(Reply::Failed)
    }

    fn write(&mut self, now_ms: u64, write: Write, budget: &mut Budget) -> Reply {
        self.try_write(now_ms, write, budget).unwrap_or_else(Reply::Failed)
    }

    fn try_read(&self, now_ms: u64, read: &Read, budget: &mut Budget) -> Result<Reply, Failure> {
        let value = |key| self.store.entry(now_ms, key).map(|entry| &entry.value);
        Ok(match read {
            Read::Get(key) => budget.bulk(value(key))?,
            Read::MGet(keys) => array(keys.iter().map(|key| budget.bulk(value(key))))?,
            Read::Exists(keys) => count(keys.iter().filter(|key| value(key).is_some())),
            Read::StrLen(key) => integer(value(key).map_or(0, |value| value.len())),
            Read::Ttl(key) => self.remaining(now_ms, key, |ms| (ms + 500) / 1000),
            Read::PTtl(key) => self.remaining(now_ms, key, |ms| ms),
            Read::Type(key) if value(key).is_some() => Reply::Type(KeyType::String),
            Read::Type(_) => Reply::Type(KeyType::None),
            Read::Keys(pattern) => {
                let keys = self.store.keys(now_ms).filter(|key| glob::matches(pattern, key));
                array(keys.map(|key| budget.bulk(Some(key))))?
            }
            Read::Scan { cursor, pattern, count } => {
                let (next, mut keys) = self.store.scan(now_ms, *cursor, *count);
                if let Some(pattern) = pattern {
                    keys.retain(|key| glob::matches(pattern, key));
                }
                let keys = array(keys.into_iter().map(|key| budget.bulk(Some(key))))?;
                Reply::Array(vec![Reply::Bulk(Blob::from(next.to_string().as_str())), keys])
            }
            Read::DbSize => integer(self.store.len(now_ms)),
        })
    }

    fn remaining(&self, now_ms: u64, key: &Blob, unit: impl Fn(u64) -> u64) -> Reply {
        Reply::Integer(match self.store.entry(now_ms, key) {
            None => -2,
            Some(Entry { expires_ms: None, .. }) => -1,
            Some(Entry { expires_ms: Some(last), .. }) => {
                i64::try_from(unit(last.get() - now_ms)).unwrap_or(i64::MAX)
            }
        })
    }

    fn try_write(
        &mut self,
        now_ms: u64,
        write: Write,
        budget: &mut Budget,
    ) -> Result<Reply, Failure> {
        Ok(match write {
            Write::Set { key, value, condition, expiry, answer } => {
                return self.set(now_ms, &key, value, (condition, expiry, answer), budget);
            }
            Write::MSet(pairs) => {
                for (key, value) in pairs {
                    self.store.insert(&key, Entry { value, expires_ms: None });
                }
                Reply::Ok
            }
            Write::GetDel(key) => {
                let old = budget.bulk(self.value(now_ms, &key))?;
                self.store.remove(&key);
                old
            }
            Write::Del(keys) => count(keys.iter().filter(|key| self.store.remove(key))),
            Write::Append(key, more) => return self.append(now_ms, &key, &more),
            Write::IncrBy(key, by) => return self.incr_by(now_ms, &key, by),
            Write::Expire { key, deadline, condition } => {
                Reply::Integer(self.expire_at(now_ms, &key, deadline, condition).into())
            }
            Write::Persist(key) => match self.store.entry(now_ms, &key).cloned() {
                Some(Entry { value, expires_ms: Some(_) }) => {
                    self.store.insert(&key, Entry { value, expires_ms: None });
                    Reply::Integer(1)
                }
                _ => Reply::Integer(0),
            },
            Write::FlushAll => {
                self.store.clear();
                Reply::Ok
            }
        })
    }

    fn value(&self, now_ms: u64, key: &Blob) -> Option<&Blob> {
        self.store.entry(now_ms, key).map(|entry| &entry.value)
    }

    fn set(
        &mut self,
        now_ms: u64,
        key: &Blob,
        value: Blob,
        (condition, expiry, answer): (Condition, Expiry, SetAnswer),
        budget: &mut Budget,
    ) -> Result<Reply, Failure> {
        // Most want to know nothing of what is there, and to look for it takes as long as to put something
        // there.
        let is_of_interest =
            condition != Condition::Always || expiry == Expiry::Keep || answer == SetAnswer::Old;
        let present = if is_of_interest { self.store.entry(now_ms, key) } else { None };
        let set = match condition {
            Condition::Always => true,
            Condition::IfAbsent => present.is_none(),
            Condition::IfPresent => present.is_some(),
        };
        let reply = match answer {
            SetAnswer::Status if set => Reply::Ok,
            SetAnswer::Status => Reply::Null,
            SetAnswer::Old => budget.bulk(present.map(|entry| &entry.value))?,
            SetAnswer::Flag => Reply::Integer(set.into()),
        };
        if set {
            let expires_ms = match expiry {
                Expiry::Clear => None,
                Expiry::Keep => present.and_then(|entry| entry.expires_ms),
                Expiry::Set(deadline) => match moment_ms(now_ms, deadline) {
                    Some(last) if last.get() > now_ms => Some(last),
                    _ => {
                        self.store.remove(key);
                        return Ok(reply);
                    }
                },
            };
            self.store.insert(key, Entry { value, expires_ms });
        }
        Ok(reply)
    }

    fn append(&mut self, now_ms: u64, key: &Blob, more: &[u8]) -> Result<Reply, Failure> {
        let (value, expires_ms) = match self.store.entry(now_ms, key) {
            None => (Blob::from(more), None),
            Some(entry) if entry.value.len() + more.len() > MAX_VALUE_BYTES => {
                return Err(Failure::ValueTooLarge);
            }
            Some(entry) => {
                (Blob::from([&entry.value[..], more].concat().as_slice()), entry.expires_ms)
            }
        };
        let length = integer(value.len());
        self.store.insert(key, Entry { value, expires_ms });
        Ok(length)
    }

    fn incr_by(&mut self, now_ms: u64, key: &Blob, by: i64) -> Result<Reply, Failure> {
        let (old, expires_ms) = match self.store.entry(now_ms, key) {
            None => (0, None),
            Some(entry) => (parse_integer(&entry.value)?, entry.expires_ms),
        };
        let sum = old.checked_add(by).ok_or(Failure::Overflow)?;
        let value = Blob::from(sum.to_string().as_str());
        self.store.insert(key, Entry { value, expires_ms });
        Ok(Reply::Integer(sum))
    }

    fn expire_at(
        &mut self,
        now_ms: u64,
        key: &Blob,
        deadline: Deadline,
        condition: ExpireCondition,
    ) -> bool {
        let Some(Entry { value, expires_ms: present }) = self.store.entry(now_ms, key).cloned()
        else {
            return false;
        };
        let wanted = moment_ms(now_ms, deadline);
        let wanted_ms = wanted.map_or(0, NonZeroU64::get);
        let in_order = match condition.order {
            ExpireOrder::Any => true,
            ExpireOrder::None => present.is_none(),
            ExpireOrder::Later => present.is_some_and(|present| wanted_ms > present.get()),
            ExpireOrder::Earlier => present.is_none_or(|present| wanted_ms < present.get()),
        };
        if !in_order || (condition.if_present && present.is_none()) {
            return false;
        }
        if wanted_ms > now_ms {
            self.store.insert(key, Entry { value, expires_ms: wanted });
        } else {
            self.store.remove(key);
        }
        true
    }
}

/// The moment that `deadline` means; `None` if it is not after the epoch.
fn moment_ms(now_ms: u64, deadline: Deadline) -> Option<NonZeroU64> {
    let ms = match deadline {
        Deadline::At(ms) => u64::try_from(ms).unwrap_or(0),
        Deadline::In(ms) => now_ms.saturating_add_signed(ms),
    };
    NonZeroU64::new(ms)
}

/// The number that `bytes` spell in the one way in which Redis itself would write it: no spaces,
/// no plus sign, no leading zeros.
///
/// # Errors
/// [`Failure::NotAnInteger`].
pub fn parse_integer(bytes: &[u8]) -> Result<i64, Failure> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let canonical = match digits {
        [b'0'] => bytes.len() == 1,
        [b'1'..=b'9', ..] => true,
        _ => false,
    };
    let text = std::str::from_utf8(bytes).ok().filter(|_| canonical);
    text.and_then(|text| text.parse().ok()).ok_or(Failure::NotAnInteger)
}

fn array(replies: impl Iterator<Item = Result<Reply, Failure>>) -> Result<Reply, Failure> {
    replies.collect::<Result<Vec<_>, _>>().map(Reply::Array)
}

fn integer(number: usize) -> Reply {
    Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn count<T>(items: impl Iterator<Item = T>) -> Reply {
    integer(items.count())
}

//! Replies of the replicated machine on their way to a client.

use std::vec;

use crate::connection::Part;
use crate::op::{KeyType, Reply};
use crate::resp::{Encoder, Version};

/// Replies which are encoded bit by bit: as they come from the machine they share their values with
/// the store, encoded they would all be copies.
#[derive(Debug)]
pub struct Replies {
    version: Version,
    /// What remains of the replies, of the array within them that has been begun, of the array
    /// within that, and so on.
    stack: Vec<vec::IntoIter<Reply>>,
    /// What remains of a transaction, if it was one.
    parts: Option<vec::IntoIter<Part>>,
    held_bytes: usize,
}

enum Next {
    Reply(Reply),
    Ready(Vec<u8>),
}

impl Replies {
    /// Replies to operations, one each.
    #[must_use]
    pub fn new(version: Version, replies: Vec<Reply>) -> Replies {
        let held_bytes = held_bytes(&replies);
        Replies { version, stack: vec![replies.into_iter()], parts: None, held_bytes }
    }

    /// What they cost in memory until the last of them is encoded, about. Values are the store's
    /// own, and cost nothing here; one that is overwritten or deleted meanwhile stays until it is
    /// encoded.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// The reply to a transaction.
    #[must_use]
    pub fn of_transaction(version: Version, parts: Vec<Part>, replies: Vec<Reply>) -> Replies {
        let parts: Vec<Part> =
            std::iter::once(Part::array(version, parts.len())).chain(parts).collect();
        let mut all = Replies::new(version, replies);
        all.held_bytes += parts.iter().map(Part::held_bytes).sum::<usize>();
        Replies { parts: Some(parts.into_iter()), ..all }
    }

    /// Appends replies until `out` has `enough_bytes`, or a value more; true if that was all.
    pub fn encode(&mut self, out: &mut Vec<u8>, enough_bytes: usize) -> bool {
        while out.len() < enough_bytes {
            let reply = match self.next() {
                None => return true,
                Some(Next::Reply(reply)) => reply,
                Some(Next::Ready(bytes)) => {
                    out.extend_from_slice(&bytes);
                    continue;
                }
            };
            let mut encoder = Encoder::new(self.version, out);
            match reply {
                Reply::Ok => encoder.simple("OK"),
                Reply::Null => encoder.null(),
                Reply::Integer(number) => encoder.integer(number),
                Reply::Bulk(value) => encoder.bulk(&value),
                Reply::Type(KeyType::None) => encoder.simple("none"),
                Reply::Type(KeyType::String) => encoder.simple("string"),
                Reply::Failed(failure) => encoder.error(&failure.to_string()),
                Reply::Array(replies) => {
                    encoder.array(replies.len());
                    self.stack.push(replies.into_iter());
                }
            }
        }
        false
    }

    fn next(&mut self) -> Option<Next> {
        while let [_, .., within] = &mut self.stack[..] {
            match within.next() {
                Some(reply) => return Some(Next::Reply(reply)),
                None => drop(self.stack.pop()),
            }
        }
        match self.parts.as_mut().map(Iterator::next) {
            Some(None) => return None,
            Some(Some(Part::Ready(bytes))) => return Some(Next::Ready(bytes)),
            Some(Some(Part::Op)) | None => {}
        }
        self.stack.first_mut().and_then(Iterator::next).map(Next::Reply)
    }
}

fn held_bytes(replies: &[Reply]) -> usize {
    let within = replies.iter().map(|reply| match reply {
        Reply::Array(replies) => held_bytes(replies),
        _ => 0,
    });
    size_of_val(replies) + within.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blob;

    #[test]
    fn bit_by_bit_gives_the_same_as_all_at_once() {
        let bulk = |text| Reply::Bulk(Blob::from(text));
        let replies = || {
            let inner = Reply::Array(vec![Reply::Null, Reply::Array(vec![]), bulk("b")]);
            vec![Reply::Ok, Reply::Array(vec![bulk("a"), inner, Reply::Integer(1)]), bulk("c")]
        };
        let parts = || vec![Part::Op, Part::Ready(b"+x\r\n".to_vec()), Part::Op, Part::Op];
        let of_transaction = Replies::of_transaction(Version::V3, parts(), replies());
        assert!(
            of_transaction.held_bytes() >= Replies::new(Version::V3, replies()).held_bytes() + 4
        );
        for transaction in [false, true] {
            let all = || match transaction {
                false => Replies::new(Version::V3, replies()),
                true => Replies::of_transaction(Version::V3, parts(), replies()),
            };
            let (mut at_once, mut bit_by_bit, mut rest) = (Vec::new(), Vec::new(), all());
            assert!(all().encode(&mut at_once, usize::MAX));
            while !rest.encode(&mut bit_by_bit, 0) {
                let enough = bit_by_bit.len() + 1;
                if rest.encode(&mut bit_by_bit, enough) {
                    break;
                }
            }
            assert_eq!(bit_by_bit.escape_ascii().to_string(), at_once.escape_ascii().to_string());
            assert!(at_once.ends_with(b"$1\r\nc\r\n"));
        }
    }
}

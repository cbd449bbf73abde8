//! Replies, as a client receives them.

use super::encode::{Encoder, Version};

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A status.
    Simple(String),
    /// An error.
    Error(String),
    /// A number.
    Integer(i64),
    /// A string of bytes.
    Bulk(Vec<u8>),
    /// Text.
    Text(String),
    /// Nothing.
    Null,
    /// Several replies.
    Array(Vec<Value>),
    /// Keys and values.
    Map(Vec<(Value, Value)>),
    /// Several different replies.
    Set(Vec<Value>),
    /// True or false.
    Boolean(bool),
    /// A floating point number.
    Double(f64),
}

/// Bytes that are no reply: this is no server that speaks the protocol, so give up the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's answer is not RESP: {0}")]
pub struct ValueError(&'static str);

/// Deeper nesting is refused, since values are read recursively.
const MAX_DEPTH: usize = 16;
const MAX_LENGTH: usize = 512 << 20;
/// How many elements are allocated on the strength of an announced length alone.
const TRUSTED_ELEMENTS: usize = 1024;

type Decoded<T> = Result<Option<T>, ValueError>;

impl Value {
    /// The reply at the start of `input` and its length in bytes; `None` if its end has not
    /// arrived.
    ///
    /// # Errors
    /// If the bytes are no reply.
    pub fn decode(input: &[u8]) -> Decoded<(Value, usize)> {
        let mut reader = Reader { input, at: 0 };
        Ok(reader.value(0)?.map(|value| (value, reader.at)))
    }

    /// Appends the reply to `encoder`'s buffer.
    pub fn encode(&self, encoder: &mut Encoder<'_>) {
        match self {
            Value::Simple(text) => encoder.simple(text),
            Value::Error(text) => encoder.error(text),
            Value::Integer(number) => encoder.integer(*number),
            Value::Bulk(bytes) => encoder.bulk(bytes),
            Value::Text(text) => encoder.text(text),
            Value::Null => encoder.null(),
            Value::Array(items) => {
                encoder.array(items.len());
                items.iter().for_each(|item| item.encode(encoder));
            }
            Value::Set(items) => {
                encoder.set(items.len());
                items.iter().for_each(|item| item.encode(encoder));
            }
            Value::Map(pairs) => {
                encoder.map(pairs.len());
                for (key, value) in pairs {
                    key.encode(encoder);
                    value.encode(encoder);
                }
            }
            Value::Boolean(value) => encoder.boolean(*value),
            Value::Double(number) => encoder.double(*number),
        }
    }

    /// The reply in one of the versions.
    #[must_use]
    pub fn to_bytes(&self, version: Version) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut Encoder::new(version, &mut bytes));
        bytes
    }
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Decoded<Value> {
        if depth > MAX_DEPTH {
            return Err(ValueError("nested too deeply"));
        }
        let Some(line) = self.line() else { return Ok(None) };
        let Some((kind, rest)) = line.split_first() else {
            return Err(ValueError("an empty line"));
        };
        let text = || String::from_utf8_lossy(rest).into_owned();
        Ok(Some(match kind {
            b'+' => Value::Simple(text()),
            b'-' => Value::Error(text()),
            b':' => Value::Integer(parse(rest, "an integer")?),
            b',' => Value::Double(parse(rest, "a double")?),
            b'#' if rest == b"t" => Value::Boolean(true),
            b'#' if rest == b"f" => Value::Boolean(false),
            b'_' if rest.is_empty() => Value::Null,
            b'$' | b'*' if rest == b"-1" => Value::Null,
            b'$' => {
                let Some(bytes) = self.bulk(rest)? else { return Ok(None) };
                Value::Bulk(bytes.to_vec())
            }
            b'=' => {
                let Some(bytes) = self.bulk(rest)? else { return Ok(None) };
                let text = bytes.get(4..).ok_or(ValueError("a verbatim string without type"))?;
                Value::Text(String::from_utf8_lossy(text).into_owned())
            }
            b'*' | b'~' | b'%' => {
                let per_element = if *kind == b'%' { 2 } else { 1 };
                let Some(mut items) = self.items(length(rest)? * per_element, depth)? else {
                    return Ok(None);
                };
                match kind {
                    b'*' => Value::Array(items),
                    b'~' => Value::Set(items),
                    _ => {
                        let mut pairs = Vec::with_capacity(items.len() / 2);
                        let mut drain = items.drain(..);
                        while let (Some(key), Some(value)) = (drain.next(), drain.next()) {
                            pairs.push((key, value));
                        }
                        Value::Map(pairs)
                    }
                }
            }
            _ => return Err(ValueError("an unknown type")),
        }))
    }

    fn items(&mut self, count: usize, depth: usize) -> Decoded<Vec<Value>> {
        let mut items = Vec::with_capacity(count.min(TRUSTED_ELEMENTS));
        for _ in 0..count {
            let Some(item) = self.value(depth + 1)? else { return Ok(None) };
            items.push(item);
        }
        Ok(Some(items))
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = &self.input[self.at..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        self.at += end + 2;
        Some(&rest[..end])
    }

    fn bulk(&mut self, header: &[u8]) -> Decoded<&'a [u8]> {
        let end = self.at + length(header)?;
        let Some(terminator) = self.input.get(end..end + 2) else { return Ok(None) };
        if terminator != b"\r\n" {
            return Err(ValueError("a string without end"));
        }
        let bytes = &self.input[self.at..end];
        self.at = end + 2;
        Ok(Some(bytes))
    }
}

fn parse<T: std::str::FromStr>(digits: &[u8], what: &'static str) -> Result<T, ValueError> {
    let text = std::str::from_utf8(digits).ok();
    text.and_then(|text| text.parse().ok()).ok_or(ValueError(what))
}

fn length(digits: &[u8]) -> Result<usize, ValueError> {
    match parse::<usize>(digits, "a length")? {
        length if length <= MAX_LENGTH => Ok(length),
        _ => Err(ValueError("a length")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            "[ -~]{0,12}".prop_map(Value::Simple),
            "ERR [ -~]{0,12}".prop_map(Value::Error),
            any::<i64>().prop_map(Value::Integer),
            any::<Vec<u8>>().prop_map(Value::Bulk),
            ".{0,9}".prop_map(Value::Text),
            Just(Value::Null),
            any::<bool>().prop_map(Value::Boolean),
            (-1e9..1e9).prop_map(Value::Double),
        ];
        leaf.prop_recursive(3, 20, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Set),
                prop::collection::vec((inner.clone(), inner), 0..5).prop_map(Value::Map),
            ]
        })
    }

    #[test]
    fn the_versions_differ_where_redis_says() {
        let value = Value::Array(vec![
            Value::Null,
            Value::Map(vec![(Value::Bulk(b"k".to_vec()), Value::Integer(-12))]),
            Value::Set(vec![Value::Simple("a\r\nb".into())]),
            Value::Boolean(true),
            Value::Double(1.5),
            Value::Double(f64::INFINITY),
            Value::Text("t".into()),
        ]);
        let expected_2 = b"*7\r\n$-1\r\n*2\r\n$1\r\nk\r\n:-12\r\n*1\r\n+a  b\r\n:1\r\n\
            $3\r\n1.5\r\n$3\r\ninf\r\n$1\r\nt\r\n";
        assert_eq!(
            value.to_bytes(Version::V2).escape_ascii().to_string(),
            expected_2.escape_ascii().to_string()
        );
        let expected_3 = b"*7\r\n_\r\n%1\r\n$1\r\nk\r\n:-12\r\n~1\r\n+a  b\r\n#t\r\n\
            ,1.5\r\n,inf\r\n=5\r\ntxt:t\r\n";
        assert_eq!(
            value.to_bytes(Version::V3).escape_ascii().to_string(),
            expected_3.escape_ascii().to_string()
        );
    }

    #[test]
    fn bottomless_nesting_is_refused() {
        assert!(Value::decode(&b"*1\r\n".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_and_every_part_of_it_is_incomplete(value in values()) {
            let bytes = value.to_bytes(Version::V3);
            let decoded = Value::decode(&bytes);
            prop_assert_eq!(decoded, Ok(Some((value.clone(), bytes.len()))));
            for end in 0..bytes.len() {
                prop_assert_eq!(Value::decode(&bytes[..end]), Ok(None));
            }
            let bytes = value.to_bytes(Version::V2);
            let consumed = Value::decode(&bytes).unwrap().map(|(_, consumed)| consumed);
            prop_assert_eq!(consumed, Some(bytes.len()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, like in "[*$%~:+_=,0-9\r\n-]{0,40}") {
            let _ = Value::decode(&bytes);
            let _ = Value::decode(like.as_bytes());
        }
    }
}

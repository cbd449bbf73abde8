//! Commands, queries and what they are answered, whatever their types: bytes that can still be
//! shown.

use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An encoded value that knows how to show itself. Two are the same if their bytes are.
#[derive(Clone)]
pub(crate) struct Value {
    bytes: Bytes,
    show: fn(&[u8], &mut fmt::Formatter<'_>) -> fmt::Result,
}

impl Value {
    /// # Panics
    /// If it cannot be encoded.
    pub(crate) fn of<T: Serialize + DeserializeOwned + fmt::Debug>(value: &T) -> Value {
        let bytes = postcard::to_allocvec(value);
        let bytes = bytes.expect("a command, query or answer is plain serde data");
        Value { bytes: bytes.into(), show: show::<T> }
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// # Panics
    /// If it was made of another type, or what was encoded cannot be decoded.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> T {
        postcard::from_bytes(&self.bytes).expect("what was encoded decodes")
    }
}

fn show<T: DeserializeOwned + fmt::Debug>(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match postcard::from_bytes::<T>(bytes) {
        Ok(value) => value.fmt(f),
        Err(_) => write!(f, "‹{} bytes that do not decode›", bytes.len()),
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.bytes.hash(hasher);
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.show)(&self.bytes, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_shows_what_it_was_made_of_and_is_its_bytes() {
        let value = Value::of(&Some(7_u8));
        assert_eq!(format!("{value:?}"), "Some(7)");
        assert_eq!(value.read::<Option<u8>>(), Some(7));
        assert_eq!(value, Value::of(&Some(7_u8)));
        assert_ne!(value, Value::of(&Some(8_u8)));
    }
}

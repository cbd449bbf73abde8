//! How much one client may ask for.

use crate::machine::MAX_VALUE_BYTES;

/// The longest request, in bytes, and the most that the operations of a transaction may take in the
/// log. Leaves room for what surrounds a command in an entry of the log, whose default limit is
/// 4 MiB.
pub const MAX_REQUEST_BYTES: usize = (4 << 20) - (64 << 10);

const _: () = assert!(MAX_REQUEST_BYTES <= MAX_VALUE_BYTES, "a value that fits must be storable");

/// The longest pattern of KEYS and SCAN, in bytes. To compare a key with one may take as many steps as
/// the two lengths multiplied; in a transaction that writes, at every replica.
pub const MAX_PATTERN_BYTES: usize = 1 << 10;

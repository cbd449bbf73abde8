//! The headers of what is on disk: arbitrary bytes under a checksum that fits them are decoded to
//! something that keeps what it says, or not at all.

use quorate_storage::fuzzing::{group_header, meta_copy, segment_header};

use crate::storage::written;

pub fn run(data: &[u8]) {
    let [what, bytes @ ..] = data else { return };
    match what % 3 {
        0 => group_header(bytes),
        1 => meta_copy(bytes),
        _ => segment_header(bytes),
    };
}

pub fn seeds() -> Vec<Vec<u8>> {
    let (disk, _) = written();
    let segment = disk.content("wal-0000000000000001").expect("it is there");
    let meta = disk.content("meta").expect("it is there");
    // Of a group and a copy of the meta file, bytes 16 to 20 tell the length.
    let len = |bytes: &[u8]| u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
    let group = &segment[4096..];
    vec![
        [&[0], &group[..len(group) as usize]].concat(),
        [&[1], &meta[20..20 + len(&meta) as usize]].concat(),
        [&[2], &segment[..64]].concat(),
    ]
}

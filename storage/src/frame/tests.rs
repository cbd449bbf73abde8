use super::*;
use crate::codec::HIGHEST;
use bytes::Bytes;
use quorate_core::{Ballot, EntryKind, Incarnation, Index, LogTime, Membership, NodeId};

fn snapshot() -> SnapshotMeta {
    SnapshotMeta {
        last: LogId::new(Index(4), Ballot(1)),
        digest: Digest([5; 16]),
        membership: Membership::new([(NodeId(1), Incarnation(77))]),
        time: LogTime(6),
        size_bytes: 7,
        content: Digest([8; 16]),
    }
}

fn group() -> (Header, Vec<Bytes>) {
    let payloads = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
    let entry = |(i, payload): (usize, &Bytes)| EntryHeader {
        ballot: Ballot(2 + i as u64 / 2),
        kind: EntryKind::Command,
        time: LogTime(1000 + i as u64),
        len: payload.len() as u32,
        checksum: Digest::of(payload),
    };
    let run = RunHeader {
        kind: RunKind::StartsAnew,
        previous: LogId::new(Index(4), Ballot(1)),
        previous_digest: Digest([5; 16]),
        entries: payloads.iter().enumerate().map(entry).collect(),
    };
    let cut = RunHeader {
        kind: RunKind::Append,
        previous: LogId::new(Index(5), Ballot(2)),
        previous_digest: Digest([6; 16]),
        entries: Vec::new(),
    };
    let repair = RunHeader {
        kind: RunKind::Repair,
        previous: LogId::new(Index(2), Ballot(0)),
        previous_digest: Digest([7; 16]),
        entries: payloads.iter().enumerate().map(entry).collect(),
    };
    let mut cuts = Cuts::default();
    cuts.add(3, Index(2));
    cuts.add(9, Index(5));
    let header = Header {
        place: Place { store: Digest([1; 16]), segment: 2, offset: 4096 },
        sequence: 9,
        durable_through: 8,
        previous: Digest([3; 16]),
        pledge: [4; 64],
        start: 6,
        found: 7,
        last: LogId::new(Index(5), Ballot(2)),
        last_digest: Digest([6; 16]),
        cuts,
        snapshot: Some(snapshot()),
        older: None,
        runs: vec![run, cut, repair],
    };
    (header, [payloads.clone(), payloads].concat())
}

/// Where the first run begins.
fn runs_at(header: &Header) -> usize {
    FIXED_LEN + header.cuts.encoded_len() + encode_snapshot(header.snapshot.as_ref()).len()
}

/// Decodes a header under a right checksum, whatever it says.
fn decode_sealed(mut bytes: Vec<u8>) -> Result<Header, Undecodable> {
    let crc = crc32fast::hash(&bytes[CRC_FROM..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    Header::decode(&bytes)
}

fn header_len(encoded: &Encoded) -> usize {
    Claim::read(&encoded.bytes).unwrap().header_len as usize
}

#[test]
fn a_group_decodes_to_what_was_encoded() {
    let (header, payloads) = group();
    let encoded = header.encode(payloads.iter());
    let claim = Claim::read(&encoded.bytes).unwrap();
    assert_eq!(claim.place, header.place);
    assert_eq!(claim.payload_len, 16);
    assert_eq!(claim.len(), encoded.bytes.len() as u64);
    assert_eq!(header.encoded_len(), encoded.bytes.len() as u64);
    let bytes = &encoded.bytes[..header_len(&encoded)];
    assert_eq!(Header::decode(bytes), Ok(header));
    assert_eq!(encoded.digest, Digest::of(bytes));
}

#[test]
fn a_group_has_the_same_bytes_forever() {
    let (header, payloads) = group();
    let encoded = header.encode(payloads.iter());
    let used = header_len(&encoded) + 16;
    assert_eq!(used, 697);
    assert!(encoded.bytes[used..].iter().all(|byte| *byte == 0));
    let golden: u128 = 298_735_829_321_320_354_731_633_078_373_947_364_971;
    assert_eq!(u128::from_le_bytes(Digest::of(&encoded.bytes[..used]).0), golden);
    let start = b"QRM-GRP\0";
    assert_eq!(&encoded.bytes[..8], start);
}

#[test]
fn a_flipped_bit_anywhere_in_the_header_is_found() {
    let (header, payloads) = group();
    let encoded = header.encode(payloads.iter());
    let bytes = &encoded.bytes[..header_len(&encoded)];
    for place in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[place] ^= 1 << (place % 8);
        assert_eq!(Header::decode(&flipped), Err(Undecodable::Damaged), "byte {place}");
    }
}

#[test]
fn lengths_and_counts_that_lie_under_a_right_checksum_are_refused_before_allocating() {
    let (header, payloads) = group();
    let encoded = header.encode(payloads.iter());
    let bytes = &encoded.bytes[..header_len(&encoded)];
    let runs_at = runs_at(&header);
    for place in [16, 20, 200, 204, 208, 212, 216, runs_at + 48, runs_at + 52, runs_at + 64] {
        let mut lying = bytes.to_vec();
        lying[place..place + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode_sealed(lying), Err(Undecodable::Damaged), "at {place}");
    }
}

#[test]
fn a_run_that_does_not_follow_or_goes_on_for_ever_under_a_right_checksum_is_refused() {
    let (header, payloads) = group();
    let encoded = header.encode(payloads.iter());
    let bytes = &encoded.bytes[..header_len(&encoded)];
    let group_at = runs_at(&header);
    let (previous_at, first_at) = (group_at + 8, group_at + 40);
    for lies in [
        vec![(group_at, 1)],
        vec![(first_at, 6)],
        vec![(previous_at, u64::MAX - 2), (first_at, u64::MAX - 1)],
    ] {
        let mut lying = bytes.to_vec();
        for (place, value) in &lies {
            let len = if *place == group_at { 4 } else { 8 };
            lying[*place..place + len].copy_from_slice(&value.to_le_bytes()[..len]);
        }
        assert_eq!(decode_sealed(lying), Err(Undecodable::Damaged), "{lies:?}");
    }
}

#[test]
fn a_count_that_nobody_reaches_is_refused_under_a_right_checksum() {
    let (header, payloads) = group();
    let encoded = header.encode(payloads.iter());
    let bytes = &encoded.bytes[..header_len(&encoded)];
    let with = |place: usize, value: u64| {
        let mut lying = bytes.to_vec();
        lying[place..place + 8].copy_from_slice(&value.to_le_bytes());
        decode_sealed(lying)
    };
    // Of the group its sequence, how far the log was durable, its start and what that found; of the
    // last cut its sequence and what it kept; of an entry its ballot.
    let (cut_at, ballot_at) = (FIXED_LEN + 16, runs_at(&header) + 56);
    for place in [56, 64, 152, 160, cut_at, cut_at + 8, ballot_at] {
        assert!(with(place, HIGHEST).is_ok(), "at {place}");
        for absurd in [HIGHEST + 1, u64::MAX] {
            assert_eq!(with(place, absurd), Err(Undecodable::Damaged), "at {place}");
        }
    }
}

#[test]
fn no_log_ends_where_counting_does() {
    let (header, _) = group();
    for (index, is_one) in [(HIGHEST, true), (HIGHEST + 1, false), (u64::MAX, false)] {
        let last = LogId::new(Index(index), Ballot(2));
        let alone = Header { last, runs: Vec::new(), ..header.clone() };
        let encoded = alone.encode([].into_iter());
        let decoded = Header::decode(&encoded.bytes[..header_len(&encoded)]);
        assert_eq!(decoded.is_ok(), is_one, "{index}");
        // Nor does a run.
        let previous = LogId::new(Index(index - 3), Ballot(2));
        let run = RunHeader { previous, ..header.runs[2].clone() };
        let repairs = Header { runs: vec![run], ..header.clone() };
        let entries = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        let encoded = repairs.encode(entries.iter());
        let decoded = Header::decode(&encoded.bytes[..header_len(&encoded)]);
        assert_eq!(decoded.is_ok(), is_one, "{index}");
    }
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let (header, payloads) = group();
    let encoded = header.encode(payloads.iter());
    let mut newer = encoded.bytes[..header_len(&encoded)].to_vec();
    newer[12] = 2;
    assert_eq!(decode_sealed(newer), Err(Undecodable::Newer(2)));
}

use super::*;
use crate::disk::MemDisk;
use quorate_core::Membership;

fn meta() -> Meta {
    let identity = Identity {
        node: NodeId(1),
        cluster: "test".to_owned(),
        protocol: "raft".to_owned(),
        incarnation: Incarnation(77),
    };
    let mut pledge = [0; 64];
    pledge[..3].copy_from_slice(&[1, 2, 3]);
    let (sworn, ahead) = (Some(Sworn::in_group(5, &pledge)), Some(Oath::new(&[4; 64])));
    let mut lineage = Lineage::default();
    lineage.begin(8);
    Meta { sworn, ahead, lineage, ..Meta::founded(identity) }
}

fn disk_with(meta: &Meta) -> MemDisk {
    let disk = MemDisk::new();
    disk.set_content(META, &meta.encode_all().unwrap());
    disk
}

#[test]
fn a_copy_has_the_same_bytes_forever() {
    let bytes = meta().encode(2).unwrap();
    assert_eq!(&bytes[..8], b"QRM-META");
    let golden: u128 = 58_570_492_164_289_693_644_872_311_428_942_328_049;
    assert_eq!(u128::from_le_bytes(Digest::of(&bytes).0), golden);
    let golden: u128 = 168_546_338_965_930_326_660_564_117_588_512_031_459;
    assert_eq!(u128::from_le_bytes(meta().store_id().0), golden);
}

#[test]
fn a_copy_may_be_full_to_its_last_byte() {
    let named = |len: usize| {
        let mut meta = meta();
        meta.cluster = "x".repeat(len);
        meta
    };
    let body = |meta: &Meta| postcard::to_allocvec(meta).unwrap().len();
    // The length of a name takes two bytes from here on.
    let room = COPY_LEN - BODY_FROM - body(&named(1000));
    let full = named(1000 + room);
    assert_eq!(BODY_FROM + body(&full), COPY_LEN);
    assert_eq!(read(&disk_with(&full)).unwrap().meta, full);
    let error = named(1001 + room).encode_all().unwrap_err();
    assert!(matches!(error, StorageError::FoundingTooLarge { .. }), "{error}");
}

#[test]
fn an_update_leaves_one_pair_as_it_was() {
    let mut meta = meta();
    let disk = disk_with(&meta);
    let before = meta.clone();
    meta.lineage.begin(9);
    let [write, _] = meta.update().unwrap();
    let Step::Write { file, offset, bytes } = write else { panic!("{write:?}") };
    disk.write_at(&file, offset, &bytes).unwrap();
    assert_eq!(read(&disk).unwrap().meta, meta);
    let content = disk.content(META).unwrap();
    for torn in 0..=2 * COPY_LEN {
        if torn % 97 != 0 && torn % COPY_LEN > 20 {
            continue;
        }
        let mut old = before.encode_all().unwrap();
        let at = 2 * COPY_LEN;
        old[at..at + torn].copy_from_slice(&content[at..at + torn]);
        disk.set_content(META, &old);
        let found = read(&disk).unwrap().meta;
        assert!(found == before || found == meta, "torn at {torn}");
    }
}

#[test]
fn a_flip_in_any_byte_costs_one_copy() {
    let meta = meta();
    let disk = disk_with(&meta);
    for offset in 0..COPIES * COPY_LEN {
        disk.flip(META, offset, 1 << (offset % 8));
        assert_eq!(read(&disk).unwrap(), FoundMeta { meta: meta.clone(), bad_copies: 1 });
        disk.flip(META, offset, 1 << (offset % 8));
    }
}

#[test]
fn any_one_copy_is_enough_and_none_is_a_stop() {
    let meta = meta();
    for good in 0..COPIES {
        let disk = disk_with(&meta);
        for bad in (0..COPIES).filter(|copy| *copy != good) {
            disk.flip(META, bad * COPY_LEN + 100, 1);
        }
        assert_eq!(read(&disk).unwrap(), FoundMeta { meta: meta.clone(), bad_copies: 3 });
        disk.flip(META, good * COPY_LEN + 100, 1);
        assert!(matches!(read(&disk), Err(StorageError::MetaLost { .. })));
    }
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let disk = disk_with(&meta());
    let mut bytes = disk.content(META).unwrap();
    bytes[12] = 2;
    let crc = crc32fast::hash(&bytes[CRC_FROM..COPY_LEN]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    disk.set_content(META, &bytes);
    assert!(matches!(read(&disk), Err(StorageError::NewerFormat { found: 2, supported: 1, .. })));
}

#[test]
fn beside_the_longest_lineage_there_is_room_for_fifty_members() {
    let mut meta = meta();
    (0..2 * Lineage::KEPT as u64).for_each(|ago| meta.lineage.begin(u64::MAX - ago));
    let (ids, incarnation) = ((1..=50).map(NodeId), Incarnation(u64::MAX));
    meta.founding.list = Some(Membership::new(ids.clone().map(|id| (id, incarnation))));
    let disk = quorate_core::Disk { incarnation, start: meta.lineage.latest() };
    meta.peers = ids.map(|id| (id, disk)).collect();
    let disk = disk_with(&meta);
    assert_eq!(read(&disk).unwrap().meta, meta);
}

#[test]
fn a_founding_that_does_not_fit_is_refused() {
    let mut meta = meta();
    let members = (0..2000).map(|n| (NodeId(n), Incarnation(u64::MAX)));
    meta.founding.list = Some(Membership::new(members));
    assert!(matches!(meta.update(), Err(StorageError::FoundingTooLarge { .. })));
}

#[test]
fn a_copy_that_counts_to_where_nobody_comes_is_as_good_as_damaged() {
    let lineage = |count: u64| {
        let bytes = postcard::to_allocvec(&(count, vec![8_u64])).unwrap();
        postcard::from_bytes::<Lineage>(&bytes).unwrap()
    };
    let counting: [fn(&mut Meta, u64); 8] = [
        |meta, count| meta.generation = count,
        |meta, count| meta.end_segment = count,
        |meta, count| (meta.first_segment, meta.end_segment) = (count, count),
        |meta, count| meta.first_sequence = count,
        |meta, count| meta.durable_through = count,
        |meta, count| meta.found.0 = count,
        |meta, count| meta.founding.round = count,
        |meta, count| meta.sworn = Some(Sworn::beside(count, &[0; 64])),
    ];
    let is_read = |meta: &Meta| read(&disk_with(meta)).is_ok();
    for (number, set) in counting.iter().enumerate() {
        for (count, is_possible) in [(HIGHEST, true), (HIGHEST + 1, false), (u64::MAX, false)] {
            let mut meta = meta();
            set(&mut meta, count);
            assert_eq!(is_read(&meta), is_possible, "{number}: {count}");
        }
    }
    for (count, is_possible) in [(HIGHEST, true), (HIGHEST + 1, false)] {
        assert_eq!(is_read(&Meta { lineage: lineage(count), ..meta() }), is_possible);
    }
    let no_row = Meta { first_segment: 2, end_segment: 1, ..meta() };
    assert!(!is_read(&no_row));
}

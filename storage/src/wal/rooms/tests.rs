use super::*;

const MIB: u64 = 1 << 20;

#[test]
fn a_disk_that_was_full_is_asked_for_little_until_a_part_of_the_log_is_given_up() {
    let segment = |sequence| Segment { len: MIB, first_sequence: Some(sequence) };
    let segments = BTreeMap::from([(1, segment(1)), (2, segment(9))]);
    let mut rooms = Rooms::new(segments, Vec::new(), 0);
    let Some(Preparation::Slice(steps)) = rooms.prepare(Some(2), Digest::ZERO, 3, MIB) else {
        panic!("there is no segment in reserve")
    };
    assert!(!rooms.is_tight());
    let full = io::Error::from(io::ErrorKind::StorageFull);
    assert!(rooms.gives_up_preparing(3, &steps, 0, &full));
    // There is room again. Of how much nobody knows.
    rooms.retry();
    rooms.register(3, 16 * BLOCK);
    assert!(rooms.is_tight());
    rooms.unregister_below(2);
    assert!(!rooms.is_tight());
}

#[test]
fn a_disk_that_was_full_counts_as_full_until_there_is_room_for_a_whole_segment() {
    let begun = Segment { len: 8 * MIB, first_sequence: Some(1) };
    let segments = BTreeMap::from([(1, begun), (2, Segment { first_sequence: None, ..begun })]);
    let mut rooms = Rooms::new(segments, Vec::new(), 0);
    let prepare = |rooms: &mut Rooms| rooms.prepare(Some(1), Digest::ZERO, 3, 8 * MIB);
    let slice = |rooms: &mut Rooms| match prepare(rooms) {
        Some(Preparation::Slice(steps)) => Some(steps),
        _ => None,
    };
    let full = io::Error::from(io::ErrorKind::StorageFull);
    let first = slice(&mut rooms).expect("there is no segment in reserve");
    assert!(rooms.has_room(Some(1)));
    assert!(rooms.gives_up_preparing(3, &first, 0, &full));
    for _ in 0..2 {
        rooms.clear_away().expect("what failed is removed");
        assert!(slice(&mut rooms).is_none() && !rooms.has_room(Some(1)));
        rooms.retry();
        // There is room for three slices.
        for _ in 0..3 {
            slice(&mut rooms).expect("it is tried once more");
            rooms.on_slice();
            assert!(!rooms.has_room(Some(1)) && rooms.error().is_some());
        }
        let fourth = slice(&mut rooms).unwrap();
        assert!(rooms.gives_up_preparing(3, &fourth, 0, &full));
    }
    rooms.clear_away().expect("what failed is removed");
    rooms.retry();
    while slice(&mut rooms).is_some() {
        rooms.on_slice();
    }
    assert!(!rooms.has_room(Some(1)));
    rooms.register(3, 8 * MIB);
    assert!(rooms.has_room(Some(1)) && rooms.error().is_none());
}

#[test]
fn a_spare_that_is_too_small_for_what_waits_is_used_for_the_next_one() {
    let spare = Spare { file: segment::name(1), len: 2 * MIB };
    let mut rooms = Rooms::new(BTreeMap::new(), vec![spare], 0);
    let examined = |rooms: &mut Rooms, id| match rooms.prepare(None, Digest::ZERO, id, MIB) {
        Some(Preparation::Slice(steps)) => match &steps[..] {
            [Step::Examine { file, offset, .. }] => Some((file.clone(), *offset)),
            _ => None,
        },
        _ => None,
    };
    assert_eq!(examined(&mut rooms, 2), Some((segment::name(1), 0)));
    rooms.on_slice();
    assert_eq!(rooms.place_for(None, 3 * MIB), None);
    assert_eq!(examined(&mut rooms, 2), None, "a larger one is made");
    rooms.on_slice();
    let Some(Preparation::Last(_, len)) = rooms.prepare(None, Digest::ZERO, 2, MIB) else {
        panic!("it is filled")
    };
    rooms.register(2, len);
    assert_eq!(examined(&mut rooms, 3), Some((segment::name(1), 0)));
}

#[test]
fn a_segment_is_filled_little_by_little_unless_a_group_waits_for_it() {
    for (waits, slices) in [(false, 8), (true, 1)] {
        let mut rooms = Rooms::new(BTreeMap::new(), Vec::new(), 0);
        if waits {
            assert_eq!(rooms.place_for(None, BLOCK), None);
        }
        let mut filled = Vec::new();
        while let Some(Preparation::Slice(steps)) = rooms.prepare(None, Digest::ZERO, 1, 8 * MIB) {
            let bytes = steps.iter().map(|step| match step {
                Step::Write { bytes, .. } => bytes.len() as u64,
                _ => 0,
            });
            filled.push(bytes.sum::<u64>());
            assert!(matches!(steps.last(), Some(Step::Sync { .. })));
            rooms.on_slice();
        }
        assert_eq!((filled.iter().sum::<u64>(), filled.len()), (8 * MIB, slices));
    }
}

//! What a replica does follows from its start and what it is told, and from nothing else: another one
//! that is told the same does the same, byte for byte, and stands as the first one did at its end. On
//! that, recordings of nodes in production rely; and so does this simulator.

use std::collections::BTreeMap;

use quorate_core::{
    Call, Event, MemTape, Protocol, Recorded, RecordedCall, RecordedStart, Replay, Started,
};

use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "a replica that is told the same does the same",
    stated_in: "docs/ARCHITECTURE.md, Recordings",
};

/// How many of each kind of thing were told to replicas once more.
pub(crate) type Told = BTreeMap<&'static str, u64>;

/// The life of this replica is over. If it was recorded, another one lives it again.
pub(crate) fn replays<P: Protocol>(
    node: usize,
    recorded: Recorded<P, MemTape>,
    told: &mut Told,
) -> Verdict {
    let (replica, Some(tape)) = recorded.into_parts() else { return Ok(()) };
    let (start, calls) = tape.decode::<P>();
    let again = again::<P>(&start, &calls).map_err(|why| {
        PROPERTY.violation(format!("replica {} was recorded and replayed: {why}", node + 1))
    })?;
    PROPERTY.require(*again.replica() == replica, || {
        format!("replica {} was recorded and replayed, and stands otherwise at the end", node + 1)
    })?;
    *told.entry(if start.recovered.mute { "a mute start" } else { "a start" }).or_default() += 1;
    for recorded in &calls {
        if let Call::Step(_, event) = &recorded.call {
            *told.entry(kind(event)).or_default() += 1;
        }
    }
    Ok(())
}

fn again<P: Protocol>(
    start: &RecordedStart,
    calls: &[RecordedCall<P::Message>],
) -> Result<Replay<P>, String> {
    let mut replay = match Replay::start(start).map_err(|why| why.to_string())? {
        Started::Up(replay) => *replay,
        Started::Refused(why) => return Err(format!("it does not start: {why}")),
    };
    for call in calls {
        replay.call(call).map_err(|why| why.to_string())?;
    }
    Ok(replay)
}

fn kind<M>(event: &Event<M>) -> &'static str {
    match event {
        Event::Message(_) => "Message",
        Event::Propose { .. } => "Propose",
        Event::Read { .. } => "Read",
        Event::Saved(_) => "Saved",
        Event::Sworn(_) => "Sworn",
        Event::Timeout(_) => "Timeout",
        Event::Applied(_) => "Applied",
        Event::Restored { .. } => "Restored",
        Event::EntriesRead { .. } => "EntriesRead",
        Event::SnapshotBuilt(_) => "SnapshotBuilt",
        Event::ChunkRead { .. } => "ChunkRead",
        Event::FetchProgress { .. } => "FetchProgress",
        Event::Damaged(_) => "Damaged",
        Event::Scrubbed { .. } => "Scrubbed",
        Event::Room(_) => "Room",
        Event::HandOver => "HandOver",
    }
}

//! `kv replay`: has a replica do once more what a recorded one did, and says whether it did the same.

use std::io::{self, ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use indicatif::HumanCount;
use quorate::{Divergence, Ending, Raft, Recording, RecordingError, Replayed, Vsr};
use quorate_core::{Call, Effect, Protocol, RecordedCall, Replay};

/// Why a recording was not replayed to its end, or came to something else.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read at all.
    #[error(transparent)]
    Unreadable(RecordingError),
    /// It cannot be read any further.
    #[error("{}, and no more", told(.replayed))]
    Recording {
        /// How much came to the same before.
        replayed: Replayed,
        /// Why.
        source: RecordingError,
    },
    /// It is of a protocol which this program does not have.
    #[error("the recording is of a replica under {0}, which this program does not know")]
    Protocol(String),
    /// The replica does something else.
    #[error("not the same, recorded by quorate {package}, replayed by {}", env!("CARGO_PKG_VERSION"))]
    Diverged {
        /// The version that wrote the recording.
        package: String,
        /// Where.
        source: Box<Divergence>,
    },
    /// The replica panicked.
    #[error("the replica panics in batch {batch}, over {call}{}", if *.recorded { ", as it did when it was recorded" } else { "" })]
    Panicked {
        /// In which batch, from 1.
        batch: u64,
        /// Over what.
        call: String,
        /// Whether the recording ends there.
        recorded: bool,
    },
    /// The output cannot be written where it was to go.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Replays a recording; with a line for each event and each effect, if so asked.
pub fn run(path: &Path, trace: bool) -> Result<(), ReplayError> {
    let recording = Recording::open(path).map_err(ReplayError::Unreadable)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let replayed = match recording.protocol() {
        Raft::NAME => replay::<Raft>(recording, trace, &mut out),
        Vsr::NAME => replay::<Vsr>(recording, trace, &mut out),
        other => return Err(ReplayError::Protocol(other.to_owned())),
    };
    let shown = out.flush();
    match (replayed, shown) {
        // Whoever reads the output may have read enough before its end, as `head` does.
        (Err(ReplayError::Output(error)), _) | (Ok(()), Err(error))
            if error.kind() == ErrorKind::BrokenPipe =>
        {
            Ok(())
        }
        (Ok(()), shown) => Ok(shown?),
        (replayed, _) => replayed,
    }
}

fn replay<P: Protocol>(
    recording: Recording,
    trace: bool,
    out: &mut impl Write,
) -> Result<(), ReplayError> {
    let package = recording.package().to_owned();
    let diverged =
        |source| ReplayError::Diverged { package: package.clone(), source: Box::new(source) };
    let mut batches = recording.batches::<P>().map_err(ReplayError::Unreadable)?;
    let mut replay = Replay::<P>::start(batches.start()).map_err(diverged)?;
    if trace {
        writeln!(out, "start {:?}", batches.start().config)?;
        write_effects(replay.effects(), out)?;
    }
    loop {
        let replayed = replay.replayed();
        let next = batches.next_batch();
        let next = next.map_err(|source| ReplayError::Recording { replayed, source })?;
        let Some(calls) = next else { break };
        for recorded in &calls {
            if trace {
                write_call(replay.replayed().batches + 1, recorded, out)?;
                // A panic must not take with it what led to it.
                out.flush()?;
            }
            let same = catch_unwind(AssertUnwindSafe(|| replay.call(recorded)));
            let same = same.map_err(|_| ReplayError::Panicked {
                batch: replay.replayed().batches + 1,
                call: format!("{:?}", recorded.call),
                recorded: recorded.effects.is_none(),
            })?;
            if trace {
                write_effects(replay.effects(), out)?;
            }
            same.map_err(diverged)?;
        }
    }
    writeln!(out, "{}, byte-equal", told(&replay.replayed()))?;
    match batches.ending() {
        None | Some(Ending::Stopped) => {}
        Some(ending) => writeln!(out, "{ending}")?,
    }
    Ok(())
}

fn write_call<M: std::fmt::Debug>(
    batch: u64,
    recorded: &RecordedCall<M>,
    out: &mut impl Write,
) -> io::Result<()> {
    match &recorded.call {
        Call::Step(now, event) => writeln!(out, "{batch} {:?} {event:?}", now.monotonic),
        Call::NameRequest(name) => writeln!(out, "{batch} a request is named {name:?}"),
        Call::Flush(now) => writeln!(out, "{batch} {:?} flush", now.monotonic),
    }
}

fn write_effects<M: std::fmt::Debug>(
    effects: &[Effect<M>],
    out: &mut impl Write,
) -> io::Result<()> {
    effects.iter().try_for_each(|effect| writeln!(out, "    {effect:?}"))
}

fn told(replayed: &Replayed) -> String {
    let Replayed { batches, events, effects } = *replayed;
    let [batches, events, effects] = [batches, events, effects].map(HumanCount);
    format!("replayed {events} events in {batches} batches: {effects} effects")
}

//! `kv replay`: has a replica do once more what a recorded one did, and says whether it did the same.

use std::fmt::Debug;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use indicatif::HumanCount;
use quorate::{Ending, Moment, Raft, Recording, RecordingError, Replayed, Vsr};
use quorate_core::{Call, Protocol};

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
    /// The replica does something else, or panics.
    #[error(
        "not replayed to its end, recorded by quorate {package}, replayed by {}; --trace shows all \
         that led to this",
        env!("CARGO_PKG_VERSION")
    )]
    Other {
        /// The version that wrote the recording.
        package: String,
        /// What.
        source: Box<quorate::ReplayError>,
    },
    /// The output cannot be written where it was to go.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Replays a recording; with a line for each event and each effect, if so asked.
pub fn run(path: &Path, trace: bool) -> Result<(), ReplayError> {
    let recording = Recording::open(path).map_err(ReplayError::Unreadable)?;
    let mut out = Output { out: io::BufWriter::new(io::stdout().lock()), written: Ok(()) };
    match recording.protocol() {
        Raft::NAME => replay::<Raft>(recording, trace, &mut out)?,
        Vsr::NAME => replay::<Vsr>(recording, trace, &mut out)?,
        other => return Err(ReplayError::Protocol(other.to_owned())),
    }
    out.flush();
    match out.written {
        // Whoever reads the output may have read enough before its end, as `head` does. What the
        // status says is said of all of the recording.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Takes lines, until that fails. Whether the replica does the same is found out all the same.
struct Output<W: Write> {
    out: W,
    written: io::Result<()>,
}

impl<W: Write> Output<W> {
    fn line(&mut self, line: impl FnOnce(&mut W) -> io::Result<()>) {
        if self.written.is_ok() {
            self.written = line(&mut self.out);
        }
    }

    fn flush(&mut self) {
        self.line(Write::flush);
    }
}

fn replay<P: Protocol>(
    recording: Recording,
    trace: bool,
    out: &mut Output<impl Write>,
) -> Result<(), ReplayError> {
    let package = recording.package().to_owned();
    let replayed = recording.replay_watched::<P>(|moment| {
        if trace {
            write_moment(&moment, out);
        }
    });
    out.flush();
    let (replayed, ending) = replayed.map_err(|error| match error {
        quorate::ReplayError::Recording { replayed: Replayed { batches: 0, .. }, source } => {
            ReplayError::Unreadable(source)
        }
        quorate::ReplayError::Recording { replayed, source } => {
            ReplayError::Recording { replayed, source }
        }
        other => ReplayError::Other { package, source: Box::new(other) },
    })?;
    out.line(|out| writeln!(out, "{}, byte-equal", told(&replayed)));
    if ending != Ending::Stopped {
        out.line(|out| writeln!(out, "{ending}"));
    }
    Ok(())
}

fn write_moment<M: Debug>(moment: &Moment<'_, M>, out: &mut Output<impl Write>) {
    match moment {
        Moment::Start(start) => {
            out.line(|out| writeln!(out, "start {:?}", start.config));
        }
        Moment::Call { batch, call } => {
            out.line(|out| match &call.call {
                Call::Step(now, event) => writeln!(out, "{batch} {:?} {event:?}", now.monotonic),
                Call::NameRequest(name) => writeln!(out, "{batch} a request is named {name:?}"),
                Call::Flush(now) => writeln!(out, "{batch} {:?} flush", now.monotonic),
            });
            // A panic must not take with it what led to it.
            out.flush();
        }
        Moment::Effects(effects) => {
            for effect in *effects {
                out.line(|out| writeln!(out, "    {effect:?}"));
            }
        }
        _ => {}
    }
}

fn told(replayed: &Replayed) -> String {
    let Replayed { batches, events, effects } = *replayed;
    let [batches, events, effects] = [batches, events, effects].map(HumanCount);
    format!("replayed {events} events in {batches} batches: {effects} effects")
}

//! The thread that writes a recording.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use quorate_core::Protocol;
use quorate_handoff::{Consumer, Shutdown, queue};

use super::Tape;
use super::format::{About, Record, file_header};
use super::place::{self, Place, PlaceError};
use crate::error::StartError;
use crate::threads::message_of;

/// How much may wait to be written before the recording ends. As much again may be in the hands of the
/// writer.
const WAITING_BYTES: usize = 64 << 20;

/// For how long records gather before they are written: to wake the thread for each of them would take
/// more from the others than to write them. A kill costs the recording no more than that of its end.
const GATHERING: Duration = Duration::from_millis(5);

/// How much is written with one call of the system.
const WRITE_BYTES: usize = 256 << 10;

/// For how long a node that stops waits for what is still to be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// The thread that writes a recording. It is no worker of the node's shutdown: it holds nothing that
/// the next start needs but the recording, and the disk that it waits for may hang.
///
/// To drop this, once the tape was dropped, waits for what is still to be written, for a limited time.
#[must_use = "to drop it waits for the thread"]
pub(crate) struct Writer {
    /// Of this thread alone.
    end: Shutdown,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn spawn(
        file: impl Write + Send + 'static,
        records: Consumer<Record>,
    ) -> io::Result<Writer> {
        let end = Shutdown::new();
        let worker = end.worker("recorder");
        let span = tracing::Span::current();
        std::thread::Builder::new().name("quorate-recorder".to_owned()).spawn(move || {
            let _entered = span.entered();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(move || write(file, &records))) {
                let message = message_of(&*panic);
                tracing::error!(%message, "recording no more: its thread has panicked");
            }
            drop(worker);
        })?;
        Ok(Writer { end })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end.trigger();
        if self.end.wait_stopped(PATIENCE).is_err() {
            tracing::warn!("the end of the recording is not written: its disk is too slow");
        }
    }
}

/// Creates the file, and starts the thread that fills it. `None`, with a warning, if there is no room.
pub(crate) fn begin<P: Protocol>(
    path: &Path,
    max_bytes: u64,
) -> Result<Option<(Tape, Writer)>, StartError> {
    let about =
        About { protocol: P::NAME.to_owned(), package: env!("CARGO_PKG_VERSION").to_owned() };
    let head = head(&about);
    let failed = |source| StartError::Recording { path: path.to_owned(), source };
    let mut file = match place::create(path) {
        Ok(Place::Free(file)) => file,
        Ok(Place::Full) => {
            tracing::warn!(
                path = %path.display(),
                "not recording: remove earlier recordings, of which there are as many as are kept"
            );
            return Ok(None);
        }
        Err(PlaceError::InUse) => return Err(StartError::RecordingInUse { path: path.to_owned() }),
        Err(PlaceError::Io(source)) => return Err(failed(source)),
    };
    if let Err(error) = file.write_all(&head) {
        if !is_for_want_of_room(&error) {
            return Err(failed(error));
        }
        tracing::warn!(path = %path.display(), "not recording: there is no room for it");
        return Ok(None);
    }
    tracing::warn!(path = %path.display(), "recording: the file holds what clients send");
    let (to_writer, records) = queue(WAITING_BYTES);
    let writer = Writer::spawn(file, records).map_err(StartError::System)?;
    let left_bytes = max_bytes.saturating_sub(head.len() as u64);
    Ok(Some((Tape::new(to_writer, left_bytes), writer)))
}

/// No reason not to serve.
fn is_for_want_of_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What stands in the file before anything has happened.
fn head(about: &About) -> Vec<u8> {
    let mut head = file_header().to_vec();
    Record::about(about).write_to(&mut head).expect("memory takes all that is written to it");
    head
}

/// Until the tape is dropped, or the disk takes no more.
pub(super) fn write(file: impl Write, records: &Consumer<Record>) {
    let (mut out, mut batch) = (BufWriter::with_capacity(WRITE_BYTES, file), VecDeque::new());
    while records.pop_all(&mut batch).is_ok() {
        if let Err(error) = write_all(&mut batch, &mut out) {
            tracing::warn!(%error, "recording no more: the file cannot be written");
            records.close();
            return;
        }
        std::thread::sleep(GATHERING);
    }
}

/// What has come is given to the system at once: then it outlives the process.
fn write_all(batch: &mut VecDeque<Record>, out: &mut impl Write) -> io::Result<()> {
    batch.drain(..).try_for_each(|record| record.write_to(out))?;
    out.flush()
}

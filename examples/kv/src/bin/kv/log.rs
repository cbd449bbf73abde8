//! Standard error, written by a thread of its own: a node must neither end nor wait because nobody
//! reads what it says.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How much may wait for a reader. What comes on top of that is left out, and counted.
const WAITING_BYTES: usize = 1 << 20;

/// How long the end of the program waits for a reader.
const FAREWELL: Duration = Duration::from_millis(200);

/// Where lines are put. Never fails, never waits.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    left_out: u64,
    /// Something was taken from here, and is not written yet.
    is_writing: bool,
}

impl Log {
    /// A log whose lines are written to standard error.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start() -> io::Result<Log> {
        Log::to(io::stderr())
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<Log> {
        let state = Mutex::new(State::default());
        let log = Log(Arc::new(Shared { state, changed: Condvar::new() }));
        let of_thread = log.clone();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || of_thread.write_to(out))?;
        Ok(log)
    }

    /// Adds a line, which ends with a line feed.
    pub fn put(&self, line: &[u8]) {
        let mut state = self.state();
        if state.bytes + line.len() > WAITING_BYTES {
            state.left_out += 1;
        } else {
            state.bytes += line.len();
            state.lines.push_back(line.to_vec());
        }
        self.0.changed.notify_all();
    }

    /// Waits until all is written, for a moment.
    pub fn flush(&self) {
        let unwritten = |state: &mut State| !state.lines.is_empty() || state.is_writing;
        let flushed = self.0.changed.wait_timeout_while(self.state(), FAREWELL, unwritten);
        drop(flushed.unwrap_or_else(PoisonError::into_inner));
    }

    fn write_to(&self, mut out: impl Write) {
        loop {
            let idle = |state: &mut State| state.lines.is_empty() && state.left_out == 0;
            let waited = self.0.changed.wait_while(self.state(), idle);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            let lines = std::mem::take(&mut state.lines);
            let left_out = std::mem::take(&mut state.left_out);
            state.bytes = 0;
            state.is_writing = true;
            drop(state);
            // There is nowhere to say that it cannot be said.
            for line in lines {
                let _ = out.write_all(&line);
            }
            if left_out > 0 {
                let _ = writeln!(out, "{left_out} lines of this log were not read in time");
            }
            let _ = out.flush();
            self.state().is_writing = false;
            self.0.changed.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts each event, which is written at once, as a line.
impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes what is written only when the test lets it.
    struct Reader {
        may_read: Receiver<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may_read.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            let _ = self.read.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_stalled_reader_has_no_room_for_is_left_out_and_counted() {
        let (let_read, may_read) = channel();
        let (sender, read) = channel();
        let log = Log::to(Reader { may_read, read: sender }).unwrap();
        log.put(b"first\n");
        // It is being written when the others come.
        while !log.state().is_writing {
            std::thread::yield_now();
        }
        let long = vec![b'x'; WAITING_BYTES / 4];
        (0..9).for_each(|_| log.put(&long));
        (0..64).for_each(|_| let_read.send(()).unwrap());
        assert_eq!(read.recv().unwrap(), b"first\n");
        (0..4).for_each(|_| assert_eq!(read.recv().unwrap(), long));
        assert!(read.recv().unwrap().starts_with(b"5"));
        log.put(b"last\n");
        assert!(read.iter().any(|line| line == b"last\n"));
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_never_comes() {
        let (_let_read, may_read) = channel();
        let log = Log::to(Reader { may_read, read: channel().0 }).unwrap();
        log.put(b"line\n");
        while !log.state().is_writing {
            std::thread::yield_now();
        }
        log.flush();
        assert!(log.state().is_writing);
    }
}

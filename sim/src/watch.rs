//! Notices a run that comes to no end: a replica in an endless loop does nothing that an oracle could
//! object to.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// Most runs take a tenth of a second, and none so long, on a busy machine either.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Watches over runs that come to their ends in the order of their seeds.
pub(crate) struct Watch {
    heard: Sender<Heard>,
}

enum Heard {
    /// The run of this seed has to end next.
    Awaits(u64),
    /// Nothing is waited for.
    Rests,
}

impl Watch {
    /// The run of `first` has to end within this time. If it does not, or a later one that is waited for,
    /// `hangs` is told its seed, and nothing is watched any more.
    pub(crate) fn over(
        first: u64,
        patience: Duration,
        hangs: impl FnOnce(u64) + Send + 'static,
    ) -> Watch {
        let (heard, news) = mpsc::channel();
        thread::spawn(move || {
            let mut awaited = Some(first);
            loop {
                let next = match awaited {
                    Some(_) => news.recv_timeout(patience),
                    None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
                };
                awaited = match (next, awaited) {
                    (Ok(Heard::Awaits(seed)), _) => Some(seed),
                    (Ok(Heard::Rests), _) => None,
                    (Err(RecvTimeoutError::Timeout), Some(seed)) => return hangs(seed),
                    (Err(_), _) => return,
                };
            }
        });
        Watch { heard }
    }

    /// The run of a seed is over, and something is done about that.
    pub(crate) fn rests(&self) {
        self.say(Heard::Rests);
    }

    /// From now on the run of this seed is waited for.
    pub(crate) fn awaits(&self, seed: u64) {
        self.say(Heard::Awaits(seed));
    }

    fn say(&self, heard: Heard) {
        // Refused only after one has hung.
        let _ = self.heard.send(heard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_comes_to_no_end_is_named_and_nothing_before_it_is() {
        let (told, hung) = mpsc::channel();
        let told_too = told.clone();
        let patient = Watch::over(7, Duration::MAX, move |seed| told_too.send(seed).unwrap());
        patient.awaits(8);
        drop(patient);
        let watch = Watch::over(7, Duration::from_millis(1), move |seed| told.send(seed).unwrap());
        assert_eq!(hung.recv(), Ok(7));
        watch.rests();
        watch.awaits(8);
        assert!(hung.recv().is_err(), "one is enough");
    }
}

//! Whether a request may have taken effect, for a caller whose patience has ended.
//!
//! Who tries a request, and tries it again, runs beside the caller, who may give it up at any moment
//! and must then say what is true: *surely not sent*, or *unknown*. The two settle it under one lock:
//!
//! 1. An attempt is noted before anything is sent, and not any more once the request is given up.
//! 2. An attempt that surely had no effect is taken back in the same step that says why, so nobody
//!    finds one without the other.
//! 3. A caller that vanishes has given up.
//!
//! The answer itself comes by a [`slot`](crate::slot()) or its like.

use std::fmt;

use crate::sync::{Arc, Mutex, lock};

/// Makes the two ends of what is to become of a request that was not sent yet. `R` is why it is
/// refused.
pub fn fate<R>() -> (Attempts<R>, Fate<R>) {
    let state = State { is_sent: false, is_given_up: false, refusal: None };
    let shared = Arc::new(Mutex::new(state));
    (Attempts { shared: Arc::clone(&shared) }, Fate { shared })
}

/// The end of whoever sends the request. Dropped, nothing more is sent.
pub struct Attempts<R> {
    shared: Arc<Mutex<State<R>>>,
}

/// The end of the caller. Dropped, the request is given up.
#[must_use = "dropping it gives the request up"]
pub struct Fate<R> {
    shared: Arc<Mutex<State<R>>>,
}

/// What is known of a request that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp<R> {
    /// It was not sent, or what was sent surely had no effect; and nothing will be sent.
    pub is_unsent: bool,
    /// Why it was refused last, if it was.
    pub refusal: Option<R>,
}

impl<R> Attempts<R> {
    /// Notes that the request is about to be sent. False if it must not be: it was given up.
    #[must_use = "what was given up must not be sent"]
    pub fn send(&self) -> bool {
        let mut state = lock(&self.shared);
        state.is_sent |= !state.is_given_up;
        !state.is_given_up
    }

    /// It was refused, and all attempts so far surely had no effect.
    pub fn take_back(&self, why: R) {
        self.refuse(why, true);
    }

    /// It was refused, which says nothing of attempts before that one, if there were any.
    pub fn refused(&self, why: R) {
        self.refuse(why, false);
    }

    fn refuse(&self, why: R, is_taken_back: bool) {
        let before = {
            let mut state = lock(&self.shared);
            state.is_sent &= !is_taken_back;
            state.refusal.replace(why)
        };
        drop(before);
    }
}

impl<R> Fate<R> {
    /// Has nothing more be sent, and says what is known of the request.
    pub fn give_up(self) -> GivenUp<R> {
        let mut state = lock(&self.shared);
        state.is_given_up = true;
        GivenUp { is_unsent: !state.is_sent, refusal: state.refusal.take() }
    }
}

impl<R> Drop for Fate<R> {
    fn drop(&mut self) {
        lock(&self.shared).is_given_up = true;
    }
}

impl<R> fmt::Debug for Attempts<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts").finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for Fate<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fate").finish_non_exhaustive()
    }
}

struct State<R> {
    /// An attempt may have taken effect.
    is_sent: bool,
    is_given_up: bool,
    refusal: Option<R>,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_is_never_sent() {
        let (attempts, fate) = fate::<()>();
        assert_eq!(fate.give_up(), GivenUp { is_unsent: true, refusal: None });
        assert!(!attempts.send());

        let (attempts, fate) = super::fate::<()>();
        drop(fate);
        assert!(!attempts.send());
    }

    #[test]
    fn what_was_sent_cannot_be_called_unsent_and_is_not_sent_again_once_given_up() {
        let (attempts, fate) = fate();
        assert!(attempts.send() && attempts.send());
        attempts.refused("busy");
        assert_eq!(fate.give_up(), GivenUp { is_unsent: false, refusal: Some("busy") });
        attempts.take_back("busy");
        assert!(!attempts.send());
    }

    #[test]
    fn what_was_taken_back_is_unsent_for_the_last_reason_until_it_is_sent_again() {
        let (attempts, fate) = fate();
        assert!(attempts.send());
        attempts.take_back("busy");
        attempts.refused("full");
        assert_eq!(fate.give_up(), GivenUp { is_unsent: true, refusal: Some("full") });

        let (attempts, fate) = super::fate();
        assert!(attempts.send());
        attempts.take_back("busy");
        assert!(attempts.send());
        drop(attempts);
        assert_eq!(fate.give_up(), GivenUp { is_unsent: false, refusal: Some("busy") });
    }
}

/// Checked by loom over all interleavings within its bound on preemptions.
#[cfg(all(test, loom))]
mod models {
    use loom::thread;

    use super::*;
    use crate::slot;
    use crate::testing::Seen;

    /// Sent, or surely not: never both, and never neither.
    #[test]
    fn a_request_is_sent_or_surely_not() {
        let seen = Seen::new();
        let log = seen.clone();
        loom::model(move || {
            let (attempts, fate) = fate::<()>();
            let sender = thread::spawn(move || attempts.send());
            let given_up = fate.give_up();
            let sent = sender.join().unwrap();
            assert_eq!(given_up, GivenUp { is_unsent: !sent, refusal: None });
            log.note(sent);
        });
        seen.assert_both();
    }

    /// Whenever it is given up, the caller is told what is true of all attempts, and why the one was
    /// refused that was taken back; and none follows.
    #[test]
    fn an_attempt_that_is_taken_back_comes_with_its_reason() {
        let seen = Seen::new();
        let log = seen.clone();
        loom::model(move || {
            let (attempts, fate) = fate();
            let sender = thread::spawn(move || {
                let first = attempts.send();
                if first {
                    attempts.take_back("busy");
                }
                (first, attempts.send())
            });
            let GivenUp { is_unsent, refusal } = fate.give_up();
            match sender.join().unwrap() {
                (false, again) => assert!(!again && is_unsent && refusal.is_none()),
                (true, false) => {
                    assert_eq!(refusal, is_unsent.then_some("busy"));
                    log.note(is_unsent);
                }
                (true, true) => assert!(!is_unsent && refusal == Some("busy")),
            }
        });
        seen.assert_both();
    }

    /// Nothing is sent for a caller that has vanished, be it between two attempts.
    #[test]
    fn nothing_is_sent_for_who_has_vanished() {
        let seen = Seen::new();
        let log = seen.clone();
        loom::model(move || {
            let (attempts, fate) = fate();
            let sender = thread::spawn(move || {
                let first = attempts.send();
                attempts.refused("busy");
                (attempts, first)
            });
            drop(fate);
            let (attempts, first) = sender.join().unwrap();
            assert!(!attempts.send());
            log.note(first);
        });
        seen.assert_both();
    }

    /// As a client uses it: an answer, a caller that gives up and a sender that vanishes race. What
    /// the caller says is true of what was executed.
    #[test]
    fn what_a_caller_says_of_its_request_is_true() {
        let seen = Seen::new();
        let log = seen.clone();
        loom::model(move || {
            let ((attempts, fate), (completion, mut answer)) = (fate::<()>(), slot());
            let sender = thread::spawn(move || {
                let executed = attempts.send();
                drop(attempts);
                if executed {
                    // Nobody may be there to be told.
                    let _ = completion.complete(());
                }
                executed
            });
            let answered = answer.try_take() == Some(Ok(()));
            let is_unsent = !answered && fate.give_up().is_unsent;
            let executed = sender.join().unwrap();
            assert!(executed || !answered);
            assert_eq!(is_unsent, !executed);
            log.note(answered);
        });
        seen.assert_both();
    }
}

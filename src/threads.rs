//! The threads of a node, and how all of them stop when one does.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use quorate_handoff::Shutdown;

use crate::error::StopReason;

/// Stops a node, and remembers why it was stopped first.
#[derive(Clone, Default)]
pub(crate) struct Stopper {
    signal: Shutdown,
    reason: Arc<Mutex<Option<StopReason>>>,
}

impl Stopper {
    /// Has every thread end as soon as it can. Only the first reason counts.
    pub(crate) fn stop(&self, reason: StopReason) {
        let mut first = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            match &reason {
                StopReason::Shutdown => tracing::info!("stopping"),
                reason => tracing::error!(%reason, "stopping"),
            }
            *first = Some(reason);
        }
        drop(first);
        self.signal.trigger();
    }

    /// Why the node was stopped, if it was.
    pub(crate) fn reason(&self) -> Option<StopReason> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn signal(&self) -> &Shutdown {
        &self.signal
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.signal.is_triggered()
    }

    /// Starts a thread whose end is waited for in a shutdown, and whose panic stops the node.
    /// Log lines which it writes belong to the current span.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let stopper = self.clone();
        let span = tracing::Span::current();
        let worker = self.signal.worker(name);
        std::thread::Builder::new().name(format!("quorate-{name}")).spawn(move || {
            let _entered = span.entered();
            // No worker: the node is stopping already.
            let Some(worker) = worker else { return };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
                stopper.stop(StopReason::Internal { thread: name, message: message_of(&*panic) });
            }
            drop(worker);
        })
    }

    /// Starts a task without which the node is of no use, so its panic stops the node.
    pub(crate) fn spawn_task(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let stopper = self.clone();
        let task = tokio::spawn(task);
        tokio::spawn(async move {
            let Err(error) = task.await else { return };
            if let Ok(panic) = error.try_into_panic() {
                stopper.stop(StopReason::Internal { thread: name, message: message_of(&*panic) });
            }
        });
    }
}

/// By how much a thread gives way whose work may wait. Where there is not enough for all, it still gets a
/// third of what one of the others gets.
#[cfg(target_os = "linux")]
const NICER: i32 = 5;

/// Has this thread, and all that it starts, give way to others who want to compute, from here on.
pub(crate) fn give_way() {
    // A thread has a priority of its own on Linux only: elsewhere, all of the process would give way.
    #[cfg(target_os = "linux")]
    if let Ok(nice) = rustix::process::getpriority_process(None) {
        // Without it, all goes as well, and the others are slower meanwhile.
        let _ = rustix::process::setpriority_process(None, nice + NICER);
    }
}

/// Has work that takes long give way, and waits for it. That needs a thread of its own: one that has given
/// way once cannot take it back. An error is the work's panic.
pub(crate) fn giving_way<R: Send>(
    name: &str,
    work: impl FnOnce() -> R + Send,
) -> std::thread::Result<R> {
    let span = tracing::Span::current();
    let mut work = Some(work);
    let mut take = || work.take().expect("it is done once");
    let done = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(format!("quorate-{name}"));
        let body = || {
            let _entered = span.entered();
            give_way();
            take()()
        };
        Some(thread.spawn_scoped(scope, body).ok()?.join())
    });
    // Without a thread, the others have to wait.
    done.unwrap_or_else(|| catch_unwind(AssertUnwindSafe(take())))
}

/// What a panic said.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it did not say why".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_thread_that_panics_stops_the_node_and_says_what_it_said() {
        let stopper = Stopper::default();
        let thread = stopper.spawn("storage", || std::panic::resume_unwind(Box::new("enough")));
        stopper.signal().wait_triggered();
        stopper.signal().wait_stopped(Duration::from_secs(60)).unwrap();
        thread.unwrap().join().unwrap();
        let reason = stopper.reason().unwrap().to_string();
        assert!(reason.contains("storage") && reason.contains("enough"), "{reason}");
    }

    #[tokio::test]
    async fn a_task_that_panics_stops_the_node_and_one_that_ends_does_not() {
        let stopper = Stopper::default();
        stopper.spawn_task("links", async {});
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert!(!stopper.is_stopping());
        stopper.spawn_task("links", async { std::panic::resume_unwind(Box::new("enough")) });
        stopper.signal().triggered().await;
        let reason = stopper.reason().unwrap().to_string();
        assert!(reason.contains("links") && reason.contains("enough"), "{reason}");
    }

    #[test]
    fn what_gives_way_is_done_and_its_panic_is_told() {
        let mut done = 0;
        assert_eq!(giving_way("test", || std::mem::replace(&mut done, 7)).unwrap(), 0);
        assert_eq!(done, 7);
        let panic = || -> () { std::panic::resume_unwind(Box::new("enough")) };
        assert_eq!(message_of(&*giving_way("test", panic).unwrap_err()), "enough");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_gives_way_is_nicer_than_the_thread_that_waits_for_it() {
        use rustix::process::getpriority_process;
        let before = getpriority_process(None).unwrap();
        let inside = giving_way("test", || getpriority_process(None).unwrap()).unwrap();
        assert_eq!(
            (inside, getpriority_process(None).unwrap()),
            ((before + NICER).min(19), before)
        );
    }

    #[test]
    fn the_first_reason_counts() {
        let stopper = Stopper::default();
        stopper.stop(StopReason::Shutdown);
        let later = StopReason::Internal { thread: "loop", message: String::new() };
        stopper.stop(later);
        assert!(matches!(stopper.reason(), Some(StopReason::Shutdown)));
    }
}

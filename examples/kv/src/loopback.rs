//! A cluster of one which keeps nothing: for tests, and to measure the server by itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use quorate_core::{At, Index, LogTime, Role, StateMachine};
use tokio::sync::watch;

use crate::cluster::{Cluster, Level, ReadError, Standing, Status, WriteError};
use crate::machine::Machine;
use crate::op::{Command, Query, Reply};

/// Applies commands in the order in which they come, within the process: at once or, if there is to be
/// a delay, at the moment when their outcome is told. No log, no disk.
#[derive(Clone, Debug, Default)]
pub struct Loopback {
    state: Arc<Mutex<State>>,
    held: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    machine: Machine,
    index: u64,
    delay: Duration,
    read_delay: Duration,
    write_error: Option<WriteError>,
    read_error: Option<ReadError>,
    commands: Vec<usize>,
    max_in_flight: usize,
    /// Not applied yet.
    pending: BTreeMap<usize, Command>,
    /// Applied, and not told yet.
    outcomes: BTreeMap<usize, Result<Vec<Reply>, WriteError>>,
}

impl Loopback {
    /// Lets commands be applied only `delay` after they came.
    pub fn set_delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Lets commands which come from now on wait until they are released.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Lets commands be applied again, and those which waited first.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Lets queries be answered, from the state of that moment, only `delay` after they came; without one
    /// they are when they come.
    pub fn set_read_delay(&self, delay: Duration) {
        self.state().read_delay = delay;
    }

    /// Lets writes fail, without being applied.
    pub fn set_write_error(&self, error: Option<WriteError>) {
        self.state().write_error = error;
    }

    /// Lets linearizable reads fail.
    pub fn set_read_error(&self, error: Option<ReadError>) {
        self.state().read_error = error;
    }

    /// The number of operations in each command so far.
    #[must_use]
    pub fn commands(&self) -> Vec<usize> {
        self.state().commands.clone()
    }

    /// How many commands were on their way at once at most.
    #[must_use]
    pub fn max_in_flight(&self) -> usize {
        self.state().max_in_flight
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn at(&self) -> At {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = LogTime::default().plus(now);
        At { index: Index(self.index), time, seed: self.index }
    }

    fn take_in_line(&mut self, command: Command) -> usize {
        let Command::Run(ops) = &command;
        self.commands.push(ops.len());
        let number = self.commands.len();
        self.pending.insert(number, command);
        self.max_in_flight = self.max_in_flight.max(self.pending.len());
        number
    }

    /// Applies everything up to this command.
    fn apply_to(&mut self, last: usize) {
        while let Some(first) = self.pending.first_entry().filter(|first| *first.key() <= last) {
            let (number, command) = first.remove_entry();
            let outcome = match self.write_error.clone() {
                Some(error) => Err(error),
                None => {
                    self.index += 1;
                    let at = self.at();
                    Ok(self.machine.apply(&at, command))
                }
            };
            self.outcomes.insert(number, outcome);
        }
    }
}

impl Cluster for Loopback {
    fn write(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Vec<Reply>, WriteError>> + Send + 'static {
        let mut state = self.state();
        let number = state.take_in_line(command);
        let delay = state.delay;
        let mut held = self.held.subscribe();
        if delay.is_zero() && !*held.borrow() {
            state.apply_to(number);
        }
        drop(state);
        let this = self.clone();
        async move {
            // It would fail if nobody could release them any more; this one could.
            let _ = held.wait_for(|held| !held).await;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let mut state = this.state();
            state.apply_to(number);
            let lost = || Err(WriteError::Unknown("its outcome was taken before".to_owned()));
            state.outcomes.remove(&number).unwrap_or_else(lost)
        }
    }

    fn read(
        &self,
        query: Query,
        level: Level,
    ) -> impl Future<Output = Result<Vec<Reply>, ReadError>> + Send + 'static {
        let delay = self.state().read_delay;
        let this = self.clone();
        let answer = move || {
            let state = this.state();
            match state.read_error.clone() {
                Some(error) if level == Level::Linearizable => Err(error),
                _ => Ok(state.machine.query(&state.at(), query)),
            }
        };
        // Like a node, it answers whether or not somebody waits for it yet.
        let answered = if delay.is_zero() { Ok(answer()) } else { Err(answer) };
        async move {
            match answered {
                Ok(answer) => answer,
                Err(answer) => {
                    tokio::time::sleep(delay).await;
                    answer()
                }
            }
        }
    }

    fn status(&self) -> Status {
        let index = self.state().index;
        Status {
            node: 1,
            cluster: "loopback".to_owned(),
            protocol: "none",
            role: Role::Leader,
            leader: Some(1),
            leader_address: None,
            term: 1,
            members: 1,
            connected: 0,
            first_index: 1,
            last_index: index,
            durable_index: 0,
            committed_index: index,
            applied_index: index,
            has_room: true,
            standing: Standing::Member,
        }
    }
}

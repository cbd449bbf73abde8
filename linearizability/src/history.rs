//! What clients did and what they were answered.

/// Names a client, for people who read a violation. Operations of one client may overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// One operation as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// Who asked for it.
    pub client: ClientId,
    /// What was asked.
    pub input: I,
    /// When. The unit is the recorder's choice, the clock must be the same for all clients.
    /// What happens at the same time counts as concurrent.
    pub called: u64,
    /// What came of it.
    pub outcome: Outcome<O>,
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<O> {
    /// It took effect before this.
    Returned {
        /// When its client had the answer.
        at: u64,
        /// The answer.
        output: O,
    },
    /// It may take effect at any time after its call, or never.
    Unknown,
    /// It surely never took effect, and never will.
    Failed,
}

/// Operations, in any order.
///
/// Either what happens is recorded as it happens, by [`call`](History::call) and
/// [`returned`](History::returned), and the order of these is the time; behind a mutex that is right
/// for several threads, if each records the call before it sends and the return after it has
/// received. Or operations which carry the times of some clock are [added](History::add). What is
/// recorded comes after whatever was added before.
#[derive(Clone, Debug)]
pub struct History<I, O> {
    operations: Vec<Operation<I, O>>,
    time: u64,
}

/// An operation that was called. If nothing is said of its end, its outcome is unknown.
#[derive(Debug)]
pub struct Call(usize);

impl<I, O> History<I, O> {
    /// Nothing has happened.
    #[must_use]
    pub fn new() -> History<I, O> {
        History { operations: Vec::new(), time: 0 }
    }

    /// An operation is called, after all that was recorded before.
    ///
    /// # Panics
    /// If one was [added](History::add) at `u64::MAX`: nothing comes after that.
    pub fn call(&mut self, client: ClientId, input: I) -> Call {
        let called = self.next_time();
        self.operations.push(Operation { client, input, called, outcome: Outcome::Unknown });
        Call(self.operations.len() - 1)
    }

    /// It has returned, after all that was recorded before.
    ///
    /// # Panics
    /// If the call is of another history, which has more operations; and as [`call`](History::call)
    /// does.
    pub fn returned(&mut self, call: Call, output: O) {
        let at = self.next_time();
        self.operations[call.0].outcome = Outcome::Returned { at, output };
    }

    /// An order that is not the real one could make a wrong history a right one.
    fn next_time(&mut self) -> u64 {
        self.time = self.time.checked_add(1).expect("nothing is recorded after u64::MAX");
        self.time
    }

    /// It surely never took effect, and never will. If that is not sure, say nothing.
    ///
    /// # Panics
    /// If the call is of another history, which has more operations.
    pub fn failed(&mut self, call: Call) {
        self.operations[call.0].outcome = Outcome::Failed;
    }

    /// Adds an operation with its times.
    pub fn add(&mut self, operation: Operation<I, O>) {
        let last = match operation.outcome {
            Outcome::Returned { at, .. } => at.max(operation.called),
            Outcome::Unknown | Outcome::Failed => operation.called,
        };
        self.time = self.time.max(last);
        self.operations.push(operation);
    }

    /// All operations, in the order in which they were called or added.
    #[must_use]
    pub fn operations(&self) -> &[Operation<I, O>] {
        &self.operations
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }
}

impl<I, O> Default for History<I, O> {
    fn default() -> History<I, O> {
        History::new()
    }
}

impl<I, O> FromIterator<Operation<I, O>> for History<I, O> {
    fn from_iter<T: IntoIterator<Item = Operation<I, O>>>(operations: T) -> History<I, O> {
        let mut history = History::new();
        history.extend(operations);
        history
    }
}

impl<I, O> Extend<Operation<I, O>> for History<I, O> {
    fn extend<T: IntoIterator<Item = Operation<I, O>>>(&mut self, operations: T) {
        operations.into_iter().for_each(|operation| self.add(operation));
    }
}

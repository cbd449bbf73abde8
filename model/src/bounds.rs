//! What may happen, and how often: this makes the state space finite.

/// A cluster, and how often each thing may happen to it that could happen for ever.
///
/// What is left of each is part of the state. Loss needs no bound: a message that does not arrive is
/// lost, and whatever can happen can happen without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// How many replicas there are.
    pub replicas: usize,
    /// How often an election timer runs out, of all replicas together. No ballot can be higher.
    pub elections: u8,
    /// How often a heartbeat timer runs out.
    pub heartbeats: u8,
    /// How often a leader finds that it has lost its quorum.
    pub abdications: u8,
    /// How many commands clients propose.
    pub proposals: u8,
    /// How many linearizable reads clients ask for.
    pub reads: u8,
    /// How often a process dies and starts again. Of the writes on their way to its disk, any
    /// number may have arrived, in order; the others are lost.
    pub crashes: u8,
    /// How often a message arrives that will arrive once more.
    pub duplicates: u8,
    /// How often a message overtakes others from the same sender to the same receiver; `None` if
    /// there is no order at all. Those from different senders or to different receivers never keep
    /// any.
    pub overtakings: Option<u8>,
    /// How often a batch goes on after a message, so that what it gave rise to becomes one write
    /// with what happens next.
    pub batched: u8,
    /// How often a write to an idle disk takes any time at all, so that other things can happen
    /// before it is durable, or it can be lost. Those behind it wait.
    pub slow_writes: u8,
    /// How often a disk that is full keeps a promise beside the log, ahead of what was written
    /// before it.
    pub oaths: u8,
    /// True if a message carries one entry at most. Random walks then draw anew for each of them
    /// whether it is so.
    pub single_entries: bool,
    /// True if replicas are alike but for their names: then only one of all the runs is looked at
    /// that differ in nothing else. Not so where it is a replica's turn by its name.
    pub symmetric: bool,
}

impl Default for Bounds {
    /// Three replicas, two elections, one crash that loses what was not durable, and one message that
    /// overtakes others. What is committed are the entries with which leaders open their ballots.
    fn default() -> Bounds {
        Bounds {
            replicas: 3,
            elections: 2,
            heartbeats: 0,
            abdications: 0,
            proposals: 0,
            reads: 0,
            crashes: 1,
            duplicates: 0,
            overtakings: Some(1),
            batched: 0,
            slow_writes: 1,
            oaths: 0,
            single_entries: false,
            symmetric: false,
        }
    }
}

impl Bounds {
    /// For random walks: what is bounded here hardly bounds anything there.
    #[must_use]
    pub fn of_a_walk() -> Bounds {
        Bounds {
            replicas: 3,
            elections: 12,
            heartbeats: 30,
            abdications: 4,
            proposals: 12,
            reads: 8,
            crashes: 8,
            duplicates: 20,
            overtakings: Some(60),
            batched: 40,
            slow_writes: 60,
            oaths: 8,
            single_entries: true,
            symmetric: false,
        }
    }
}

/// Something that is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expense {
    Election,
    Heartbeat,
    Abdication,
    Proposal,
    Read,
    Crash,
    Duplicate,
    Overtaking,
    Batched,
    SlowWrite,
    Oath,
}

const EXPENSES: usize = 11;

/// How often each of them has happened; and how many replicas have done anything yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Spent {
    times: [u8; EXPENSES],
    awake: u8,
}

impl Bounds {
    fn of(&self, expense: Expense) -> u8 {
        match expense {
            Expense::Election => self.elections,
            Expense::Heartbeat => self.heartbeats,
            Expense::Abdication => self.abdications,
            Expense::Proposal => self.proposals,
            Expense::Read => self.reads,
            Expense::Crash => self.crashes,
            Expense::Duplicate => self.duplicates,
            Expense::Overtaking => self.overtakings.unwrap_or(0),
            Expense::Batched => self.batched,
            Expense::SlowWrite => self.slow_writes,
            Expense::Oath => self.oaths,
        }
    }
}

impl Bounds {
    /// True if messages of one sender to one receiver have an order.
    pub(crate) fn is_ordered(&self) -> bool {
        self.overtakings.is_some()
    }
}

impl Spent {
    /// The same, and this once more; `None` if that is too often.
    pub(crate) fn pay(mut self, expense: Expense, bounds: &Bounds) -> Option<Spent> {
        let times = &mut self.times[expense as usize];
        if *times >= bounds.of(expense) {
            return None;
        }
        *times += 1;
        Some(self)
    }

    /// The same, and `node` has done something. `None` if a replica before it has not, and
    /// replicas are alike: then that one stands for it.
    pub(crate) fn wake(mut self, node: usize, bounds: &Bounds) -> Option<Spent> {
        if !bounds.symmetric {
            return Some(self);
        }
        let awake = usize::from(self.awake);
        if node > awake {
            return None;
        }
        self.awake = u8::try_from(awake.max(node + 1)).unwrap_or(u8::MAX);
        Some(self)
    }

    /// As a number; different ones for different values.
    pub(crate) fn number(&self) -> u128 {
        let times = self.times.iter().fold(0, |sum, times| sum << 8 | u128::from(*times));
        times << 8 | u128::from(self.awake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paid_for_happens_no_more_often_than_allowed() {
        let bounds = Bounds { crashes: 1, ..Bounds::default() };
        let once = Spent::default().pay(Expense::Crash, &bounds).unwrap();
        assert_eq!(once.pay(Expense::Crash, &bounds), None);
        assert_ne!(once.number(), Spent::default().number());
    }

    #[test]
    fn replicas_that_are_alike_wake_in_the_order_of_their_names() {
        let alike = Bounds { symmetric: true, ..Bounds::default() };
        let fresh = Spent::default();
        assert_eq!(fresh.wake(1, &alike), None);
        let first = fresh.wake(0, &alike).unwrap();
        assert_eq!(first.wake(0, &alike), Some(first));
        assert_eq!(first.wake(2, &alike), None);
        assert!(first.wake(1, &alike).unwrap().wake(2, &alike).is_some());
        let apart = Bounds { symmetric: false, ..Bounds::default() };
        assert_eq!(fresh.wake(2, &apart), Some(fresh));
    }
}

//! What can happen next.

use std::time::Duration;

use quorate_core::{Membership, Settings, Timer};

use crate::bounds::{Bounds, Expense, Spent};
use crate::canary::Canary;
use crate::node::members;

/// What does not change while a cluster runs.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) bounds: Bounds,
    pub(crate) canary: Option<Canary>,
    pub(crate) members: Membership,
    pub(crate) settings: Settings,
    /// Messages that no longer matter to their receiver are lost.
    pub(crate) drops_moot: bool,
}

impl Rules {
    pub(crate) fn new(bounds: Bounds, canary: Option<Canary>) -> Rules {
        // Whatever waits has waited long enough; see `node::NOW`.
        let settings = Settings {
            heartbeat: Duration::ZERO,
            election: Duration::ZERO..Duration::from_nanos(1),
            append_bytes: if bounds.single_entries { 1 } else { Settings::default().append_bytes },
            ..Settings::default()
        };
        let members = members(bounds.replicas);
        Rules { bounds, canary, members, settings, drops_moot: true }
    }

    /// The same, but a message carries as many entries as there are.
    pub(crate) fn with_long_messages(&self) -> Rules {
        let bounds = Bounds { single_entries: false, ..self.bounds };
        Rules { drops_moot: self.drops_moot, ..Rules::new(bounds, self.canary) }
    }

    /// The same, and every message may arrive, whether or not it matters.
    pub(crate) fn with_all_messages(&self) -> Rules {
        Rules { drops_moot: false, ..self.clone() }
    }
}

/// What can happen to a replica, other than that a message arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Local {
    /// Its election timer runs out.
    ElectionTimeout,
    /// Its heartbeat timer runs out.
    HeartbeatTimeout,
    /// It leads, and finds that it has not heard of a quorum for too long.
    QuorumTimeout,
    /// A client proposes a command to it.
    Propose,
    /// A client asks it for a linearizable read.
    Read,
    /// The oldest write on its way to its disk is durable.
    Save,
    /// Its newest promise is durable, ahead of the write of which it is part.
    Swear,
    /// Its process dies and starts again, at once: to be down is to be slow. Of the writes on
    /// their way to the disk, this many have arrived.
    Crash(u8),
}

/// How long a write takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Speed {
    /// It is durable at once.
    Immediate,
    /// It is on its way until something says that it has arrived.
    Slow,
}

/// What of a replica decides on what can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) serves: bool,
    pub(crate) leads: bool,
    pub(crate) unsaved: usize,
    pub(crate) may_swear: bool,
}

impl Local {
    /// The timer that runs out, if it is that.
    pub(crate) fn timer(self) -> Option<Timer> {
        match self {
            Local::ElectionTimeout => Some(Timer::Election),
            Local::HeartbeatTimeout => Some(Timer::Heartbeat),
            Local::QuorumTimeout => Some(Timer::Quorum),
            Local::Propose | Local::Read | Local::Save | Local::Swear | Local::Crash(_) => None,
        }
    }

    /// What it counts as.
    pub(crate) fn expense(self) -> Option<Expense> {
        match self {
            Local::ElectionTimeout => Some(Expense::Election),
            Local::HeartbeatTimeout => Some(Expense::Heartbeat),
            Local::QuorumTimeout => Some(Expense::Abdication),
            Local::Propose => Some(Expense::Proposal),
            Local::Read => Some(Expense::Read),
            Local::Swear => Some(Expense::Oath),
            Local::Crash(_) => Some(Expense::Crash),
            Local::Save => None,
        }
    }

    /// Everything that can happen to a replica of which these are the facts.
    pub(crate) fn all(facts: Facts) -> impl Iterator<Item = Local> {
        let Facts { serves, leads, unsaved, may_swear } = facts;
        let survivors = u8::try_from(unsaved).unwrap_or(u8::MAX);
        let always = [Local::ElectionTimeout, Local::HeartbeatTimeout];
        let of_a_leader = leads.then_some(Local::QuorumTimeout);
        let of_clients = serves.then_some([Local::Propose, Local::Read]);
        let of_its_disk = (unsaved > 0).then_some(Local::Save);
        let ahead = may_swear.then_some(Local::Swear);
        always
            .into_iter()
            .chain(of_a_leader)
            .chain(of_clients.into_iter().flatten())
            .chain(of_its_disk)
            .chain(ahead)
            .chain((0..=survivors).map(Local::Crash))
    }

    /// What is left to happen after it has happened to `node`; `None` if it may not.
    pub(crate) fn pay(self, node: usize, spent: Spent, bounds: &Bounds) -> Option<Spent> {
        let spent = spent.wake(node, bounds)?;
        match self.expense() {
            Some(expense) => spent.pay(expense, bounds),
            None => Some(spent),
        }
    }

    /// How long the writes to which it gives rise can take.
    pub(crate) fn speeds(self, facts: Facts, spent: Spent, bounds: &Bounds) -> &'static [Speed] {
        match self {
            // What was on its way is lost.
            Local::Crash(_) => Speed::of_a_disk_at(0, spent, bounds),
            _ => Speed::of_a_disk_at(facts.unsaved, spent, bounds),
        }
    }
}

impl Speed {
    /// How long a write can take behind so many others.
    pub(crate) fn of_a_disk_at(unsaved: usize, spent: Spent, bounds: &Bounds) -> &'static [Speed] {
        match unsaved {
            0 if spent.pay(Expense::SlowWrite, bounds).is_some() => {
                &[Speed::Immediate, Speed::Slow]
            }
            0 => &[Speed::Immediate],
            _ => &[Speed::Slow],
        }
    }
}

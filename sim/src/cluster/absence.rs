//! A minority that stays away when the faults are over: a majority that lacks nothing is enough for all
//! that clients want (Ongaro 2014, section 2.1; Liskov and Cowling 2012, section 2), whatever the others
//! are in the way.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_core::Index;

use super::life::Death;
use super::{Cluster, Happening};
use crate::checks::Verdict;
use crate::clients::{ClientEvent, Reply};
use crate::clock::Time;
use crate::marks::{Mark, sometimes};
use crate::oracle::Simulated;

/// What keeps a node from taking part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// It does not run.
    Down,
    /// It runs, and hears nobody, or is heard by nobody, or both.
    Cut { deaf: bool, mute: bool },
    /// It stands still.
    Paused,
    /// Its log is written no further.
    Stalled,
    /// Its disk is full.
    Full,
}

impl Absence {
    const ALL: [Absence; 7] = [
        Absence::Down,
        Absence::Cut { deaf: true, mute: true },
        Absence::Cut { deaf: true, mute: false },
        Absence::Cut { deaf: false, mute: true },
        Absence::Paused,
        Absence::Stalled,
        Absence::Full,
    ];
}

/// Never, as long as a run lasts.
const NEVER: Time = Time(u64::MAX / 2);

impl<P: Simulated> Cluster<P> {
    pub(super) fn go_away(&mut self) -> Verdict {
        self.note_recoveries();
        let count = self.nodes.len();
        let most = (count - 1) / 2;
        let is_founded = self.checks.committed() > Index::ZERO;
        let is_alarming = self.nodes.iter().any(|node| node.harm.is_unnoticed());
        if most == 0 || !is_founded || is_alarming || self.absence_rng.one_in(2) {
            return Ok(());
        }
        let wanted = 1 + self.absence_rng.position(most);
        let first = self.absence_rng.position(count);
        let mut sound = self.nodes.iter().filter(|node| node.harm.is_none()).count();
        for node in (first..first + count).map(|node| node % count) {
            let needed = usize::from(self.nodes[node].harm.is_none());
            if self.away.len() < wanted && 2 * (sound - needed) > count {
                sound -= needed;
                let absence = Absence::ALL[self.absence_rng.position(Absence::ALL.len())];
                self.leave(node, absence)?;
            }
        }
        self.clients.avoid(self.away.keys().copied().collect());
        sometimes!(self.marks, Mark::SomeStayAway, !self.away.is_empty());
        Ok(())
    }

    fn leave(&mut self, node: usize, absence: Absence) -> Verdict {
        self.trace.note(self.now(), Some(node), &format!("away: {absence:?}"));
        if absence != Absence::Down {
            self.start(node)?;
        }
        // One whose directory is to be emptied first does not run.
        let runs = self.nodes[node].process.is_some();
        let absence = if runs { absence } else { Absence::Down };
        match absence {
            Absence::Down => self.crash(node, Death::Sudden),
            Absence::Cut { deaf, mute } => {
                for other in 0..self.nodes.len() {
                    if deaf {
                        self.network.cut(other, node, NEVER);
                    }
                    if mute {
                        self.network.cut(node, other, NEVER);
                    }
                }
            }
            Absence::Paused => {
                self.pause(node, Duration::from_micros(NEVER.0));
                self.hang_up(node);
            }
            Absence::Stalled => {
                self.nodes[node].stalled_until = NEVER;
            }
            Absence::Full => {
                self.nodes[node].disk.set_full(true);
                self.nodes[node].full_until = NEVER;
            }
        }
        self.away.insert(node, absence);
        Ok(())
    }

    /// Clients do not wait for a node that says nothing for so long.
    fn hang_up(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        let asked = process.asked.values();
        let asked: Vec<_> = asked.map(|asked| (asked.client, asked.op, asked.attempt)).collect();
        for (client, op, attempt) in asked {
            let reply = Reply::ConnectionLost;
            self.tell(client, ClientEvent::Answer { op, attempt, reply });
        }
    }

    /// The others are at rest: those that were away come back.
    pub(super) fn come_back(&mut self) -> Verdict {
        self.calm_since = self.now();
        self.network.repair();
        self.clients.avoid(BTreeSet::new());
        for (node, absence) in std::mem::take(&mut self.away) {
            match absence {
                Absence::Down | Absence::Cut { .. } => {}
                Absence::Paused => self.resume(node)?,
                // Nobody waits so long for a disk.
                Absence::Stalled => {
                    self.crash(node, Death::Sudden);
                    self.nodes[node].stalled_until = Time::ZERO;
                }
                Absence::Full => self.nodes[node].disk.set_full(false),
            }
            self.start(node)?;
        }
        self.agenda.after(Duration::from_millis(20), Happening::Look);
        Ok(())
    }

    /// The nodes that are not away.
    pub(super) fn present(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|node| !self.away.contains_key(node))
    }

    /// True if a node serves whose disk is all that is away: it does so with the disks of the others, or
    /// has not asked its own for more room yet.
    pub(super) fn is_led_without_a_disk(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let serves = self.standing(leader).is_some_and(|standing| standing.serving);
        let process = self.nodes[leader].process.as_ref();
        serves
            && match self.away.get(&leader) {
                Some(Absence::Stalled) => true,
                Some(Absence::Full) => process.is_some_and(|process| process.has_room),
                _ => false,
            }
    }

    /// True if a node is to stay down.
    pub(super) fn stays_down(&self, node: usize) -> bool {
        self.away.get(&node) == Some(&Absence::Down)
    }
}

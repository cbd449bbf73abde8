//! How processes begin and end.

use std::time::Duration;

use quorate_core::{Applier, Protocol, Replica, ReplicaConfig};

use super::{Cluster, Happening, gave_up};
use crate::checks::Verdict;
use crate::machine::Registers;
use crate::process::Process;
use crate::simulation::Canary;
use crate::workload::{ClientEvent, Reply};

impl<P: Protocol> Cluster<P> {
    /// The process of a node starts, from what is on its disk, unless it runs already.
    pub(super) fn start(&mut self, node: usize) -> Verdict {
        if self.nodes[node].process.is_some() {
            return Ok(());
        }
        self.trace.note(self.now(), Some(node), "start");
        let now = self.clock(node);
        let members = self.members();
        let tail_bytes = self.thread_rng.between(0, 20_000) as usize;
        let it = &mut self.nodes[node];
        let mut found = it.store.open(tail_bytes);
        self.checks.recovered(node, &found)?;
        if self.canary == Some(Canary::ForgetPledge) {
            found.pledge = None;
        }
        let config = ReplicaConfig {
            me: it.id,
            members,
            bootstrap: true,
            settings: self.plan.settings.clone(),
        };
        let machine = Registers::with_ballast(self.plan.load.ballast_bytes);
        let applier = Applier::new(it.id, machine);
        let mut effects = Vec::new();
        let replica = Replica::recover(config, found, now, &mut effects)
            .map_err(|why| gave_up(node, &why))?;
        let mut process = Process::new(replica, applier);
        process.effects = effects;
        it.process = Some(process);
        self.carry_out_effects(node)?;
        self.observe(node)
    }

    /// The process of a node dies, if it runs; what its disk was still to write is lost.
    pub(super) fn crash(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        let Some(process) = it.process.take() else { return };
        self.trace.note(self.agenda.now(), Some(node), "crash");
        it.life += 1;
        it.paused = None;
        self.crashes += 1;
        for (_, write) in &process.group {
            if !self.disk_rng.chance(self.plan.disk.kept_ppm) {
                self.marks.note("unsynced writes lost");
                break;
            }
            it.store.save(write);
            self.marks.note("unsynced writes kept");
        }
        self.checks.crashed(node);
        for asked in process.asked.into_values() {
            let reply = Reply::ConnectionLost;
            let event = ClientEvent::Answer { op: asked.op, attempt: asked.attempt, reply };
            self.tell(asked.client, event);
        }
    }

    /// The process of a node stands still.
    pub(super) fn pause(&mut self, node: usize, duration: Duration) {
        let it = &mut self.nodes[node];
        if it.process.is_some() && it.paused.is_none() {
            self.trace.note(self.agenda.now(), Some(node), "pause");
            it.paused = Some(Vec::new());
            self.agenda.after(duration, Happening::Resume(node));
        }
    }

    /// The process of a node goes on, with all that has come for it.
    pub(super) fn resume(&mut self, node: usize) -> Verdict {
        let Some(deferred) = self.nodes[node].paused.take() else { return Ok(()) };
        self.trace.note(self.now(), Some(node), "resume");
        let life = self.nodes[node].life;
        deferred.into_iter().try_for_each(|what| self.on_local(node, life, what))
    }
}

//! Random runs: whatever the network, the disks and the clocks do, the checks hold; and once
//! they behave again, the cluster makes progress.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_core::{Ballot, Index, Input, NodeId, Protocol, Settings, Timer};

use super::cluster::{Cluster, Sent};
use super::random::Random;
use crate::Message;

#[derive(Clone, Copy, Debug)]
enum Action {
    Deliver,
    Save,
    PassTime,
    Propose,
    Read,
    Crash,
    Restart,
    Partition,
    Heal,
    Snapshot,
    Compact,
    FinishFetch,
    AnswerColdRead,
    ForgetCache,
    HandOver,
    AnyTimer,
    Disturb,
    Room,
    Repair,
    Strand,
}

struct Chaos {
    cluster: Cluster,
    random: Random,
    /// How often each action is taken, relative to the others.
    weights: Vec<(Action, usize)>,
    /// How many of a hundred messages are lost, and as many come twice.
    loss: usize,
    /// How many of a hundred messages overtake others.
    disorder: usize,
    /// How many of a hundred restarts find that an entry cannot be read.
    damage: usize,
    proposals: u64,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    commits: u64,
    views: u64,
    crashes: u64,
    reads: u64,
    snapshots: u64,
    installs: u64,
    cold_reads: u64,
    damages: u64,
    repairs: u64,
    given_up: u64,
    nacks: u64,
}

impl Chaos {
    fn new(seed: u64) -> Chaos {
        let mut random = Random::seeded(seed);
        let size = [1, 2, 3, 3, 3, 4, 4, 5][random.below(8)];
        // Small enough that windows fill and batches are split.
        let settings = Settings { append_bytes: 400, window_bytes: 1000, ..Settings::default() };
        let cluster = Cluster::with(size, settings);
        let mut weigh = |action, choices: &[usize]| (action, choices[random.below(choices.len())]);
        let weights = vec![
            weigh(Action::Deliver, &[400, 800]),
            weigh(Action::Save, &[50, 200, 500]),
            weigh(Action::PassTime, &[50, 100, 300]),
            weigh(Action::Propose, &[30, 100]),
            weigh(Action::Read, &[20, 80]),
            weigh(Action::Crash, &[0, 2, 8]),
            weigh(Action::Restart, &[30]),
            weigh(Action::Partition, &[0, 3, 10]),
            weigh(Action::Heal, &[5]),
            weigh(Action::Snapshot, &[0, 10, 40]),
            weigh(Action::Compact, &[10, 40]),
            weigh(Action::FinishFetch, &[3, 20]),
            weigh(Action::AnswerColdRead, &[5, 20]),
            weigh(Action::ForgetCache, &[0, 3]),
            weigh(Action::HandOver, &[0, 4]),
            weigh(Action::AnyTimer, &[0, 5, 50]),
            weigh(Action::Disturb, &[0, 5, 40]),
            weigh(Action::Room, &[0, 0, 5]),
            weigh(Action::Repair, &[5, 40]),
            weigh(Action::Strand, &[0, 2, 6]),
        ];
        let damage = [0, 10, 60][random.below(3)];
        let (loss, disorder) = ([0, 2, 10][random.below(3)], [0, 10, 60][random.below(3)]);
        let counts = Counts::default();
        Chaos { cluster, random, weights, loss, disorder, damage, proposals: 0, counts }
    }

    fn ids(&self) -> Vec<NodeId> {
        self.cluster.nodes.keys().copied().collect()
    }

    fn any(&mut self) -> NodeId {
        let ids = self.ids();
        ids[self.random.below(ids.len())]
    }

    fn step(&mut self) {
        self.draw_timers();
        let id = self.any();
        let up = self.cluster.nodes[&id].up;
        match self.pick() {
            Action::Deliver => self.deliver(),
            Action::PassTime => self.pass_time(),
            Action::Propose => self.propose(),
            Action::Strand => self.strand(),
            Action::Read => self.read(),
            Action::Partition => self.partition(),
            Action::Heal => self.cluster.heal(),
            Action::Restart if !up => self.restart(id),
            _ if !up => {}
            Action::Restart => {}
            Action::Save => self.cluster.save(id.0),
            Action::Crash => self.crash(id),
            Action::Snapshot => self.snapshot(id),
            Action::Compact => self.compact(id),
            Action::FinishFetch => self.finish_fetch(id),
            Action::AnswerColdRead => self.answer_cold_read(id),
            Action::ForgetCache => self.forget_cache(id),
            Action::HandOver => self.cluster.input(id.0, Input::HandOver),
            Action::AnyTimer => self.any_timer(id),
            Action::Disturb => self.disturb(id),
            Action::Repair => self.repair(id),
            Action::Room => {
                let room = self.random.chance(50);
                self.set_room(id, room);
            }
        }
    }

    fn pick(&mut self) -> Action {
        let total: usize = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut position = self.random.below(total);
        for (action, weight) in &self.weights {
            if position < *weight {
                return *action;
            }
            position -= weight;
        }
        unreachable!("the position is less than the sum")
    }

    fn draw_timers(&mut self) {
        for node in self.cluster.nodes.values_mut() {
            node.draw = u32::try_from(self.random.below(1000)).unwrap();
        }
    }

    fn deliver(&mut self) {
        if self.cluster.network.is_empty() {
            return;
        }
        let first = self.take_message();
        let to = first.to;
        let mut batch = vec![first];
        while self.random.chance(20) && !self.cluster.network.is_empty() {
            let next = self.take_message();
            if next.to == to {
                batch.push(next);
            }
        }
        let cut = &self.cluster.cut;
        batch.retain(|sent| !cut.contains(&(sent.from, to)));
        if self.cluster.nodes[&to].up && !self.random.chance(self.loss) {
            let is_nack = |sent: &&Sent| matches!(sent.message, Message::Nack { .. });
            self.counts.nacks += batch.iter().filter(is_nack).count() as u64;
            let inputs = batch.into_iter().map(|sent| Cluster::arriving(sent.from, sent.message));
            self.cluster.batch(to, inputs.collect());
        }
    }

    /// Mostly in order; what stays behind arrives twice.
    fn take_message(&mut self) -> Sent {
        let length = self.cluster.network.len();
        let late = self.random.chance(self.disorder);
        let position = if late { self.random.below(length) } else { 0 };
        if self.random.chance(self.loss) {
            return self.cluster.network[position].clone();
        }
        self.cluster.network.remove(position)
    }

    /// Lets the earliest timers run out.
    fn pass_time(&mut self) {
        self.cluster.now += Duration::from_millis(self.random.below(15) as u64);
        self.cluster.fire_due_timers();
    }

    fn any_timer(&mut self, id: NodeId) {
        let timer = [Timer::Election, Timer::Heartbeat, Timer::Quorum][self.random.below(3)];
        self.cluster.timeout(id.0, timer);
    }

    /// Anybody may ask to leave at any time: safety does not rest on patience.
    fn disturb(&mut self, id: NodeId) {
        let from = self.any();
        let ahead = self.random.below(3) as u64 + 1;
        let view = self.cluster.nodes[&id].vsr.standing().ballot;
        let message = Message::StartViewChange { view, target: Ballot(view.0 + ahead) };
        if from != id {
            self.cluster.batch(id, vec![Cluster::arriving(from, message)]);
        }
    }

    fn propose(&mut self) {
        let serving = self.serving();
        if let Some(id) = serving {
            let inputs = (0..=self.random.below(4)).map(|_| {
                self.proposals += 1;
                Cluster::proposal(&self.proposals.to_string())
            });
            let inputs = inputs.collect();
            self.cluster.batch(id, inputs);
        }
    }

    fn read(&mut self) {
        if let Some(id) = self.serving() {
            self.cluster.read(id.0);
        }
    }

    /// Any of those that believe to lead.
    fn serving(&mut self) -> Option<NodeId> {
        let serving: Vec<NodeId> = self
            .cluster
            .nodes
            .values()
            .filter(|node| node.up && node.vsr.standing().serving)
            .map(|node| node.me)
            .collect();
        if serving.is_empty() { None } else { Some(serving[self.random.below(serving.len())]) }
    }

    fn crash(&mut self, id: NodeId) {
        let node = self.cluster.nodes.get_mut(&id).unwrap();
        let saved = self.random.below(node.writes() + 1);
        node.crash(saved);
        self.counts.crashes += 1;
    }

    fn restart(&mut self, id: NodeId) {
        if self.random.chance(self.damage) {
            let depth = self.random.below(3) as u64;
            self.damage(id, depth);
        }
        let tail = self.random.below(10);
        self.cluster.restart_with(id.0, tail);
    }

    /// An entry on the disk of `id`, which is down, cannot be read any more. At most one disk is
    /// damaged at a time: then nothing is lost for good.
    fn damage(&mut self, id: NodeId, depth: u64) {
        let all_are_sound = self.cluster.nodes.values().all(|node| node.disk.damaged.is_none());
        let uncovered = self.cluster.nodes[&id].disk.uncovered();
        if self.cluster.nodes.len() > 1 && all_are_sound && !uncovered.is_empty() {
            // Near the end, where it may not be committed.
            let index = Index(uncovered.end().saturating_sub(depth).max(*uncovered.start()));
            self.cluster.nodes.get_mut(&id).unwrap().disk.damaged = Some((index, index));
            self.counts.damages += 1;
        }
    }

    /// A primary dies that had reached but one backup with its last entries, and the disk of that
    /// one is damaged.
    fn strand(&mut self) {
        let (holder, Some(primary)) = (self.any(), self.serving()) else { return };
        if holder == primary || !self.cluster.nodes[&holder].up {
            return;
        }
        for other in self.ids() {
            self.cluster.cut.extend([(primary, other), (other, primary)]);
        }
        self.cluster.cut.remove(&(primary, holder));
        self.proposals += 1;
        let proposal = Cluster::proposal(&self.proposals.to_string());
        self.cluster.batch(primary, vec![proposal]);
        for sent in self.cluster.take(|sent| (sent.from, sent.to) == (primary, holder)) {
            self.cluster.deliver(sent);
        }
        while self.cluster.nodes[&holder].has_writes() {
            self.cluster.save(holder.0);
        }
        self.crash(primary);
        self.crash(holder);
        self.damage(holder, 0);
        self.restart(holder);
        self.cluster.heal();
        // The others have waited long enough.
        let target = self.cluster.nodes[&holder].vsr.standing().ballot.next();
        let left = Message::StartViewChange { view: target, target };
        for other in self.ids() {
            if other != primary && self.cluster.nodes[&other].up {
                self.cluster.batch(other, vec![Cluster::arriving(primary, left.clone())]);
            }
        }
    }

    fn partition(&mut self) {
        let id = self.any();
        let others: Vec<NodeId> = self.cluster.founders.peers_of(id).collect();
        for other in others {
            // Now and then in one direction only.
            if self.random.chance(80) {
                self.cluster.cut.insert((id, other));
            }
            if self.random.chance(80) {
                self.cluster.cut.insert((other, id));
            }
        }
    }

    fn snapshot(&mut self, id: NodeId) {
        let node = self.cluster.nodes.get_mut(&id).unwrap();
        let covered = node.log.snapshot().map_or(0, |meta| meta.last.index.0);
        let is_whole = node.log.is_whole();
        if is_whole
            && node.log.committed().0 > covered
            && node.log.durable() >= node.log.committed()
        {
            node.snapshot();
            self.counts.snapshots += 1;
            self.cluster.batch(id, Vec::new());
        }
    }

    fn compact(&mut self, id: NodeId) {
        let node = self.cluster.nodes.get_mut(&id).unwrap();
        if !node.has_writes() && node.log.snapshot().is_some() {
            node.compact();
        }
    }

    fn finish_fetch(&mut self, id: NodeId) {
        let node = self.cluster.nodes.get_mut(&id).unwrap();
        if let Some((from, snapshot)) = node.fetching.take() {
            self.counts.installs += 1;
            self.cluster.input(id.0, Input::SnapshotFetched { from, snapshot });
        }
    }

    fn answer_cold_read(&mut self, id: NodeId) {
        let node = self.cluster.nodes.get_mut(&id).unwrap();
        if let Some((to, (from, max_bytes))) = node.wanted.pop_first() {
            self.counts.cold_reads += 1;
            let entries = node.disk.read(from, max_bytes);
            self.cluster.input(id.0, Input::EntriesRead { to, entries });
        }
    }

    fn forget_cache(&mut self, id: NodeId) {
        self.cluster.nodes.get_mut(&id).unwrap().forget_cache();
    }

    /// A damaged entry comes back from whoever has it, or is given up because the primary has not.
    fn repair(&mut self, id: NodeId) {
        let Some(gap) = self.cluster.nodes[&id].log.gaps().first().cloned() else { return };
        let missing = self.cluster.nodes[&id].log.id_at(gap.last).unwrap();
        let mut others = self.cluster.nodes.values().filter(|node| node.me != id && node.up);
        let is_held = others.any(|node| node.disk.holds(missing));
        let standing = self.cluster.nodes[&id].vsr.standing();
        let primary = standing.leader.and_then(|primary| self.cluster.nodes.get(&primary));
        let is_lacking = primary.is_some_and(|primary| {
            primary.leads()
                && primary.vsr.standing().ballot == standing.ballot
                && !primary.log.holds(missing)
        });
        let entry = self.cluster.checks.written(missing).cloned();
        let node = self.cluster.nodes.get_mut(&id).unwrap();
        if is_held {
            let repaired = node.log.repair(entry.into_iter().collect());
            assert_eq!(repaired, Ok(()));
            self.counts.repairs += 1;
        } else if is_lacking && gap.first > node.log.committed() {
            assert!(!node.log.give_up(&gap), "the name of one entry is no loss");
            self.counts.given_up += 1;
        }
        self.cluster.batch(id, Vec::new());
    }

    /// The disk fills up, or there is room again.
    fn set_room(&mut self, id: NodeId, room: bool) {
        self.cluster.nodes.get_mut(&id).unwrap().log.set_room(room);
    }

    /// The network is whole, all disks work and all servers run.
    fn calm_down(&mut self) {
        self.cluster.heal();
        for id in self.ids() {
            if !self.cluster.nodes[&id].up {
                self.restart(id);
            }
            self.set_room(id, true);
        }
    }

    /// All that was asked of the shells gets done, and what comes of it.
    fn finish_everything(&mut self) {
        self.cluster.settle();
        for id in self.ids() {
            self.repair(id);
        }
        self.cluster.settle();
        while self.cluster.nodes.values().any(|node| node.is_owed_something()) {
            for id in self.ids() {
                self.finish_fetch(id);
                self.answer_cold_read(id);
            }
            self.cluster.settle();
        }
    }

    fn is_converged(&self, proposed: u64) -> bool {
        let ends: BTreeMap<_, _> =
            self.cluster.nodes.values().map(|node| (node.last(), node.log.committed())).collect();
        let together = ends.len() == 1 && ends.iter().all(|(last, at)| last.index == *at);
        together && self.cluster.leader().is_some() && self.proposals > proposed
    }

    fn assert_progress(&mut self, seed: u64) {
        self.calm_down();
        let proposed = self.proposals;
        for _ in 0..600 {
            self.finish_everything();
            if self.is_converged(proposed) {
                return;
            }
            if self.proposals == proposed {
                self.propose();
            }
            self.draw_timers();
            self.pass_time();
        }
        panic!("seed {seed}: no progress: {:#?}", self.cluster.nodes);
    }

    fn finish(mut self) -> Counts {
        self.counts.commits = self.cluster.checks.committed().0;
        self.counts.views = self.cluster.checks.views() as u64;
        self.counts.reads = self.cluster.nodes.values().map(|node| node.ready.len() as u64).sum();
        self.counts
    }
}

fn run(seed: u64, steps: usize) -> Counts {
    // Shown if the test fails: the last one is the one that failed.
    println!("the run of seed {seed}");
    let mut chaos = Chaos::new(seed);
    for _ in 0..steps {
        chaos.step();
    }
    chaos.assert_progress(seed);
    chaos.finish()
}

#[test]
fn safety_holds_in_random_runs_and_progress_resumes_when_faults_stop() {
    let mut total = Counts::default();
    for seed in 1..=1000 {
        let counts = run(seed, 4000);
        total.commits += counts.commits;
        total.views += counts.views;
        total.crashes += counts.crashes;
        total.reads += counts.reads;
        total.snapshots += counts.snapshots;
        total.installs += counts.installs;
        total.cold_reads += counts.cold_reads;
        total.damages += counts.damages;
        total.repairs += counts.repairs;
        total.given_up += counts.given_up;
        total.nacks += counts.nacks;
    }
    println!("{total:?}");
    // A run in which nothing happens shows nothing.
    assert!(total.commits > 30_000 && total.views > 1_000 && total.crashes > 1_000);
    assert!(total.reads > 1_000 && total.snapshots > 1_000);
    assert!(total.installs > 100 && total.cold_reads > 100);
    assert!(total.repairs > 100 && total.given_up > 50 && total.nacks > 20);
}

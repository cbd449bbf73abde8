//! The cluster: all that a run consists of, and the loop that lets one thing happen after the
//! other.

mod absence;
mod carry_out;
mod clients;
mod drawing;
#[cfg(test)]
mod failover;
mod harm;
mod life;
mod mishaps;
mod newest;
#[cfg(test)]
mod overload;
mod storage;
mod threads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use absence::Absence;
use quorate_core::{Envelope, Event, Incarnation, LogTime, NodeId, Now, Protocol, Role, Standing};

use crate::atlas::Harm;
use crate::checks::{Checks, Converging, Told, Unconverged, Verdict, converged};
use crate::clients::{ClientEvent, Clients};
use crate::clock::{Agenda, NodeClock, Slowness, Time};
use crate::faults::{Plan, Struck};
use crate::marks::{Mark, Marks, sometimes};
use crate::network::Network;
use crate::oracle::Simulated;
use crate::process::{Local, Node};
use crate::report::Report;
use crate::rng::Rng;
use crate::simulation::Canary;
use crate::subject::Subject;
use crate::trace::Trace;
use quorate_storage::Owner;

/// What the wall clocks say when a run begins.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// After the last fault: how long clients go on with new requests, and how long after that
/// everything may take to come to rest.
const AFTERWARDS: Duration = Duration::from_millis(500);
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// By how much the storm lasts longer while too little has happened, and how often at most.
const EXTENSION: Duration = Duration::from_secs(1);
const EXTENSIONS: u32 = 20;

/// A run, from the first event to the last.
pub(crate) struct Cluster<P: Simulated> {
    pub(crate) plan: Plan,
    canary: Option<Canary>,
    /// Each replica is recorded, and the recording replayed when its process ends.
    is_recorded: bool,
    /// What came of that.
    replayed: Verdict,
    told: Told,
    agenda: Agenda<Happening<P>>,
    network: Network,
    nodes: Vec<Node<P>>,
    subject: Arc<dyn Subject>,
    clients: Clients,
    checks: Checks<P>,
    pub(crate) trace: Trace,
    marks: Marks,
    phase: Phase,
    /// Who does not come back after the storm before the others are at rest, and why.
    away: BTreeMap<usize, Absence>,
    extensions: u32,
    crashes: u64,
    /// How often a mishap was due, and what came of it.
    strikes: u64,
    struck: Struck,
    calm_since: Time,
    leaders_fall_until: Time,
    rush_until: Time,
    /// Generators of the components that have no state of their own.
    timer_rng: Rng,
    start_rng: Rng,
    disk_rng: Rng,
    thread_rng: Rng,
    mishap_rng: Rng,
    /// Of each kind of mishap in the plan.
    mishap_rngs: Vec<Rng>,
    birth_rng: Rng,
    image_rng: Rng,
    absence_rng: Rng,
}

/// Safety under faults, then liveness without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Faults happen.
    Storm,
    /// They do not happen any more; clients go on.
    Calm,
    /// Clients only finish what they began.
    Closing,
    /// Everything is at rest.
    Rest,
}

/// Things that happen.
enum Happening<P: Protocol> {
    /// Something inside the process of a node, in one of its lives.
    Local { node: usize, life: u64, what: Local<P::Message> },
    /// A message arrives that was sent at that time.
    Arrive { sent: Time, envelope: Box<Envelope<P::Message>> },
    /// Something concerning a client.
    Client(usize, ClientEvent),
    /// Mishap number so many of the plan strikes.
    Mishap(usize),
    /// A node that has begun to lead is not to go on, in one of its lives.
    Fell { node: usize, life: u64 },
    /// A node has said its last word in one of its lives.
    Silence { node: usize, life: u64 },
    /// A link fails in one direction, until then.
    Cut { from: usize, to: usize, until: Time },
    /// Those who were left behind are heard again, and of the others only this node is, without
    /// some of what its disk saved last.
    LoseNewest { node: usize, behind: Vec<usize> },
    /// The partition of this number ends, unless another one has taken its place.
    Heal(u64),
    /// A node's machine starts the process again.
    Restart(usize),
    /// A node's process goes on.
    Resume(usize),
    /// There is room on a node's disk again.
    RoomyDisk(usize),
    /// Clients want as much as before.
    EndRush,
    /// The process of a node dies, in one of its lives.
    Die { node: usize, life: u64, amid: Mark },
    /// The directory of a node is emptied, in one of its lives.
    Empty { node: usize, life: u64 },
    /// The faults are to stop.
    EndStorm,
    /// The clients are to stop.
    Close,
    /// Time to see whether everything is at rest.
    Look,
}

impl<P: Simulated> Cluster<P> {
    pub(crate) fn new(
        seed: u64,
        plan: Plan,
        subject: Arc<dyn Subject>,
        canary: Option<Canary>,
        is_recorded: bool,
        trace: Trace,
    ) -> Cluster<P> {
        let mut birth_rng = Rng::new(seed, "birth");
        let nodes = (0..plan.nodes).map(|node| Node::new(node, &mut birth_rng)).collect();
        let network = Network::new(Rng::new(seed, "network"), plan.nodes, plan.link);
        let clients = Clients::new(Rng::new(seed, "workload"), &plan, subject.clone());
        let mut cluster = Cluster {
            canary,
            is_recorded,
            replayed: Ok(()),
            told: Told::default(),
            agenda: Agenda::new(),
            network,
            nodes,
            clients,
            checks: Checks::new(plan.nodes, subject.clone()),
            subject,
            trace,
            marks: Marks::default(),
            phase: Phase::Storm,
            away: BTreeMap::new(),
            extensions: 0,
            crashes: 0,
            strikes: 0,
            struck: Struck::default(),
            calm_since: Time::ZERO,
            leaders_fall_until: Time::ZERO,
            rush_until: Time::ZERO,
            timer_rng: Rng::new(seed, "timers"),
            start_rng: Rng::new(seed, "starts"),
            disk_rng: Rng::new(seed, "disk"),
            thread_rng: Rng::new(seed, "threads"),
            mishap_rng: Rng::new(seed, "mishaps"),
            mishap_rngs: plan.mishaps.iter().map(|(kind, _)| kind.rng(seed)).collect(),
            birth_rng,
            image_rng: Rng::new(seed, "images"),
            absence_rng: Rng::new(seed, "absence"),
            plan,
        };
        for (node, it) in cluster.nodes.iter().enumerate() {
            cluster.checks.has_disk(node, it.incarnation);
        }
        cluster.plan_start();
        cluster
    }

    fn plan_start(&mut self) {
        for node in 0..self.nodes.len() {
            let delay = self.mishap_rng.duration(Duration::ZERO, Duration::from_millis(20));
            self.agenda.after(delay, Happening::Restart(node));
        }
        for client in 0..self.plan.load.clients {
            self.agenda.after(Duration::ZERO, Happening::Client(client, ClientEvent::Think));
        }
        for number in 0..self.plan.mishaps.len() {
            let delay = match self.plan.calm {
                // The cluster is founded within its first tenth of a second.
                Duration::ZERO => {
                    let mean = self.plan.mishaps[number].1;
                    self.mishap_rngs[number].duration(Duration::ZERO, mean)
                }
                calm => calm + self.next_mishap(number),
            };
            self.agenda.after(delay, Happening::Mishap(number));
        }
        self.agenda.after(self.plan.calm + self.plan.stormy, Happening::EndStorm);
    }

    pub(crate) fn now(&self) -> Time {
        self.agenda.now()
    }

    /// Lets things happen until everything is at rest.
    ///
    /// # Errors
    /// The first property that is violated.
    pub(crate) fn run(&mut self) -> Verdict {
        while self.phase != Phase::Rest {
            let next = self.agenda.next().expect("something is always planned");
            let verdict = self.happen(next);
            self.draw_world();
            verdict?;
            std::mem::replace(&mut self.replayed, Ok(()))?;
        }
        let is_judged = self.checks.concluded()?;
        sometimes!(self.marks, Mark::HistoryUndecided, !is_judged);
        Ok(())
    }

    /// How often a mishap was due.
    pub(crate) fn strikes(&self) -> u64 {
        self.strikes
    }

    /// What happened.
    pub(crate) fn report(&self, seed: u64) -> Report {
        Report {
            seed,
            nodes: self.nodes.len(),
            hash: self.trace.hash(),
            events: self.trace.events(),
            lasted: self.now().elapsed(),
            settled_after: Duration::from_micros(self.now().0 - self.calm_since.0),
            commits: self.checks.committed().0,
            effects: self.checks.effects(),
            crashes: self.crashes,
            leader_changes: self.checks.leaders().saturating_sub(1),
            faults: self.struck.clone(),
            requests: self.clients.ended(),
            marks: self.marks.clone(),
            replayed: self.told.clone(),
        }
    }

    fn happen(&mut self, what: Happening<P>) -> Verdict {
        match what {
            Happening::Local { node, life, what } => self.on_local(node, life, what)?,
            Happening::Arrive { sent, envelope } => {
                if self.nodes[position(envelope.from)].silent_until >= Some(sent) {
                    self.marks.note(Mark::MessageLostWithSender);
                    self.draw_arrival(&envelope, true);
                    return Ok(());
                }
                self.draw_arrival(&envelope, false);
                let node = position(envelope.to);
                let life = self.nodes[node].life;
                self.on_local(node, life, Local::Event(Event::Message(*envelope)))?;
            }
            Happening::Client(client, event) => self.on_client(client, event)?,
            Happening::Mishap(number) => self.on_mishap(number)?,
            Happening::Fell { node, life } => self.fell(node, life),
            Happening::Silence { node, life } => self.silence(node, life),
            Happening::Cut { from, to, until } => self.on_cut(from, to, until),
            Happening::LoseNewest { node, behind } => self.lose_newest(node, &behind),
            Happening::Heal(number) => self.network.heal(number),
            Happening::Restart(node) => self.start(node)?,
            Happening::Resume(node) => self.on_resume(node)?,
            Happening::RoomyDisk(node) => self.on_roomy_disk(node),
            Happening::EndRush => self.on_end_of_rush(),
            Happening::Die { node, life, amid } => {
                if self.phase == Phase::Storm && self.nodes[node].life == life {
                    self.marks.note(amid);
                    self.crash_for(node, self.plan.downtime);
                }
            }
            Happening::Empty { node, life } => self.empty(node, life),
            Happening::EndStorm => self.end_storm()?,
            Happening::Close => self.close(),
            Happening::Look => self.look()?,
        }
        Ok(())
    }

    /// Something inside a process, unless that has died since or stands still.
    fn on_local(&mut self, node: usize, life: u64, what: Local<P::Message>) -> Verdict {
        let it = &mut self.nodes[node];
        if it.life != life || it.process.is_none() {
            if let Local::Ask(ask) = what {
                self.refuse_connection(&ask);
            }
            return Ok(());
        }
        if let Some(deferred) = &mut it.paused {
            match what {
                Local::Ask(ask) if self.away.contains_key(&node) => self.refuse_connection(&ask),
                what => deferred.push(what),
            }
            return Ok(());
        }
        match what {
            Local::Wake => self.wake(node),
            Local::Event(event) => {
                self.post(node, event);
                Ok(())
            }
            Local::Alarm(timer) => {
                self.on_alarm(node, timer);
                Ok(())
            }
            Local::Written => self.on_written(node),
            Local::Idle => self.on_idle(node),
            Local::Applied => self.on_applied(node),
            Local::Helped(job) => self.on_helped(node, job),
            Local::Ask(ask) => self.on_ask(node, ask),
        }
    }

    /// Plans something inside the process of a node, as it lives now.
    fn plan_local(&mut self, node: usize, delay: Duration, what: Local<P::Message>) {
        let life = self.nodes[node].life;
        self.agenda.after(delay, Happening::Local { node, life, what });
    }

    /// What the clocks of a node say.
    fn clock(&self, node: usize) -> Now {
        let clock = &self.nodes[node].clock;
        let monotonic = clock.monotonic(self.now());
        let wall = (EPOCH + monotonic).as_micros() as i64 + clock.wall_skew;
        Now { monotonic, wall: Duration::from_micros(wall as u64) }
    }

    fn standing(&self, node: usize) -> Option<Standing> {
        let process = self.nodes[node].process.as_ref()?;
        process.replica.protocol().map(P::standing)
    }

    /// The node that leads, or the one of those that do which leads in the latest ballot.
    fn leader(&self) -> Option<usize> {
        let leads = |node: &usize| self.standing(*node).is_some_and(|s| s.role == Role::Leader);
        let nodes = (0..self.nodes.len()).filter(leads);
        nodes.max_by_key(|node| self.standing(*node).map(|standing| standing.ballot))
    }

    /// Whether enough has happened to call it a full run.
    fn is_eventful(&self) -> bool {
        self.checks.committed().0 >= 330
            && self.crashes > 0
            && self.checks.leaders() > 1
            && self.struck.total() + self.left_out() >= Report::MIN_FAULTS
    }

    /// How many strikes were left out: a run that is made smaller is not to last longer for that.
    fn left_out(&self) -> u64 {
        self.plan.skipped.range(..self.strikes).count() as u64
    }

    fn end_storm(&mut self) -> Verdict {
        if !self.is_eventful() && self.extensions < EXTENSIONS {
            self.extensions += 1;
            self.agenda.after(EXTENSION, Happening::EndStorm);
            return Ok(());
        }
        self.phase = Phase::Calm;
        self.calm_since = self.now();
        self.network.repair();
        self.clients.rush(false);
        for node in 0..self.nodes.len() {
            let it = &mut self.nodes[node];
            it.slowness = Slowness::default();
            it.sluggishness = Slowness::default();
            it.clock.set_right(self.agenda.now());
            it.stalled_until = Time::ZERO;
            it.disk.set_full(false);
            it.disk.set_failing_sync(None);
            self.resume(node)?;
        }
        self.go_away()?;
        (0..self.nodes.len()).try_for_each(|node| self.start(node))?;
        self.agenda.after(AFTERWARDS, Happening::Close);
        Ok(())
    }

    fn close(&mut self) {
        self.phase = Phase::Closing;
        self.clients.close();
        self.agenda.after(Duration::from_millis(20), Happening::Look);
    }

    fn look(&mut self) -> Verdict {
        let levels = self.levels();
        if levels.is_ok() {
            for (node, it) in self.nodes.iter().enumerate() {
                if let Some(process) = &it.process {
                    self.checks.stands(node, &process.applier.state())?;
                }
            }
        }
        match levels.and_then(|levels| self.at_rest(levels)) {
            Ok(()) if !self.away.is_empty() => self.come_back()?,
            Ok(()) => {
                self.phase = Phase::Rest;
                self.read_disks()?;
            }
            Err(lacking) if self.now() > self.calm_since + AFTERWARDS + BOUND => {
                return Err(lacking.after(BOUND));
            }
            Err(_) => self.agenda.after(Duration::from_millis(20), Happening::Look),
        }
        Ok(())
    }

    /// How all nodes stand, if they stand at the same place.
    fn levels(&self) -> Result<Vec<Converging>, Unconverged> {
        match self.clients.outstanding() {
            0 => {}
            count => return Err(Unconverged::Requests(count)),
        }
        let levels = self.present().map(|node| self.level(node));
        let levels: Vec<Converging> = levels.collect::<Result<_, _>>()?;
        converged(&levels, self.is_led_without_a_disk()).map(|()| levels)
    }

    /// Whether nodes that stand at the same place are in the same state, with all that is kept
    /// beside the machine.
    fn at_rest(&self, mut levels: Vec<Converging>) -> Result<(), Unconverged> {
        for (node, level) in self.present().zip(&mut levels) {
            level.digest = self.nodes[node].process.as_ref().map_or(0, |process| {
                let mut bytes = Vec::new();
                let written = process.applier.view().write(&mut bytes);
                written.expect("memory can be written to");
                quorate_core::Digest::of(&bytes).0[..8]
                    .iter()
                    .fold(0, |n, byte| n << 8 | u64::from(*byte))
            });
        }
        converged(&levels, self.is_led_without_a_disk())
    }

    fn level(&self, node: usize) -> Result<Converging, Unconverged> {
        let down = || Unconverged::Down(node);
        let process = self.nodes[node].process.as_ref().ok_or_else(down)?;
        let log = process.replica.log().ok_or_else(down)?;
        let standing = self.standing(node).ok_or_else(down)?;
        let (last, committed) = (log.last().index, log.committed());
        let applied = process.applier.applied();
        if !process.asked.is_empty() {
            return Err(Unconverged::Requests(process.asked.len()));
        }
        if !log.may_vouch() || !log.is_whole() || self.checks.has_unsaved(node) {
            return Err(Unconverged::Lacking(node));
        }
        let expiring =
            process.applier.deadline().is_some_and(|deadline| deadline <= self.horizon());
        Ok(Converging { standing, last, committed, applied, expiring, digest: 0 })
    }

    /// What expires later than that is not waited for.
    fn horizon(&self) -> LogTime {
        let until = (self.calm_since + BOUND).elapsed();
        LogTime((EPOCH + until).as_micros() as u64)
    }

    fn members(&self) -> BTreeSet<NodeId> {
        self.nodes.iter().map(|node| node.id).collect()
    }
}

impl<P: Protocol> Node<P> {
    fn new(position: usize, rng: &mut Rng) -> Node<P> {
        let id = NodeId(position as u64 + 1);
        let owner =
            Owner { node: id, cluster: "simulated".to_owned(), protocol: P::NAME.to_owned() };
        Node {
            id,
            disk: Arc::default(),
            owner,
            incarnation: Incarnation(rng.bits()),
            life: 0,
            process: None,
            paused: None,
            paused_until: Time::ZERO,
            doomed_in: None,
            last_words_in: None,
            silent_until: None,
            dies_restoring: false,
            dies_fetching: false,
            is_given_up: false,
            clock: NodeClock::new(rng.between(0, 100_000) as i64),
            sluggishness: Slowness::default(),
            start: 0,
            image: None,
            harm: Harm::default(),
            slowness: Slowness::default(),
            full_until: Time::ZERO,
            stalled_until: Time::ZERO,
        }
    }
}

/// Where a node stands among the nodes.
fn position(id: NodeId) -> usize {
    id.0 as usize - 1
}

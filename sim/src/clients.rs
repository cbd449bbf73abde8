//! The clients: each with a session or without, with several requests outstanding, asking any
//! node, and asking another one when an answer does not come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate_core::{Failure, InSession, Index, SessionId};

use crate::faults::{Load, Plan, SessionLimits};
use crate::process::{Ask, Want};
use crate::rng::Rng;
use crate::subject::Subject;
use crate::value::Value;
use crate::workload::Draw;

/// Names one request of a client, in all its attempts. Unique within a run; 0 is nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OpId(pub(crate) u64);

/// Things that concern one client.
#[derive(Clone, Debug, Hash)]
pub(crate) enum ClientEvent {
    /// It may want something.
    Think,
    /// It tries a request, again.
    Try(OpId),
    /// It has waited long enough for the answer to an attempt.
    Patience { op: OpId, attempt: u64 },
    /// An attempt was answered.
    Answer { op: OpId, attempt: u64, reply: Reply },
}

/// How often the time doubles for which an attempt is waited for.
const MOST_DOUBLINGS: u64 = 2;

/// What comes back from a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reply {
    Done(Value),
    Seen(Seen),
    Registered(SessionId),
    NoSession,
    WindowExceeded,
    Acknowledged,
    ResponseDropped,
    Failed(Failure),
    /// The node does not run: it was surely not asked.
    ConnectionRefused,
    /// The node died before it answered.
    ConnectionLost,
}

/// What a query was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    /// Where the state stood.
    pub(crate) at: Index,
    pub(crate) answer: Value,
}

/// What a client does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Asks this node, counted from 0.
    Ask(usize, Ask),
    /// Comes back to itself.
    Later(Duration, ClientEvent),
}

/// How the requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) acknowledged: u64,
    pub(crate) read: u64,
    /// It may or may not have been done.
    pub(crate) unknown: u64,
    /// It was surely not done, and never will be.
    pub(crate) refused: u64,
}

/// All clients.
pub(crate) struct Clients {
    subject: Arc<dyn Subject>,
    rng: Rng,
    nodes: usize,
    load: Load,
    /// Of each node.
    session_limits: Vec<SessionLimits>,
    session_window: u32,
    clients: Vec<Client>,
    last_op: u64,
    closed: bool,
    /// Clients do not wait before they want something more.
    rushed: bool,
    /// Nobody asks these nodes any more.
    avoided: BTreeSet<usize>,
    ended: Ended,
}

struct Client {
    node: usize,
    session: Option<SessionId>,
    next_sequence: u64,
    ops: BTreeMap<OpId, Op>,
}

struct Op {
    what: What,
    attempt: u64,
    /// What had been witnessed when it was first tried.
    since: u64,
}

#[derive(Clone)]
enum What {
    Open,
    Write { in_session: Option<(SessionId, u64)>, body: Value },
    Read { query: Value },
}

impl Clients {
    pub(crate) fn new(mut rng: Rng, plan: &Plan, subject: Arc<dyn Subject>) -> Clients {
        let clients = (0..plan.load.clients).map(|_| Client {
            node: rng.position(plan.nodes),
            session: None,
            next_sequence: 1,
            ops: BTreeMap::new(),
        });
        Clients {
            clients: clients.collect(),
            subject,
            rng,
            nodes: plan.nodes,
            load: plan.load.clone(),
            session_limits: (0..plan.nodes).map(|node| plan.session_limits(node)).collect(),
            session_window: plan.settings.session_window,
            last_op: 0,
            closed: false,
            rushed: false,
            avoided: BTreeSet::new(),
            ended: Ended::default(),
        }
    }

    /// From here on, clients only finish what they began.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether clients want far more than usual.
    pub(crate) fn rush(&mut self, rushed: bool) {
        self.rushed = rushed;
    }

    /// From here on, clients ask other nodes than these: they have waited for them long enough.
    pub(crate) fn avoid(&mut self, nodes: BTreeSet<usize>) {
        self.avoided = nodes;
    }

    /// How many requests have not ended.
    pub(crate) fn outstanding(&self) -> usize {
        self.clients.iter().map(|client| client.ops.len()).sum()
    }

    /// True if a client has no answer to this request yet.
    pub(crate) fn awaits(&self, client: usize, op: OpId) -> bool {
        self.clients[client].ops.contains_key(&op)
    }

    pub(crate) fn ended(&self) -> Ended {
        self.ended
    }

    /// How long it takes from a client to a node or back.
    pub(crate) fn latency(&mut self) -> Duration {
        Duration::from_micros(self.rng.between(10, 300))
    }

    /// Something concerns a client; `witnessed` is what somebody has been answered by now.
    pub(crate) fn step(
        &mut self,
        client: usize,
        event: ClientEvent,
        witnessed: u64,
        out: &mut Vec<Act>,
    ) {
        match event {
            ClientEvent::Think => self.think(client, witnessed, out),
            ClientEvent::Try(op) => self.attempt(client, op, out),
            ClientEvent::Patience { op, attempt } => {
                if self.is_current(client, op, attempt) {
                    self.on_uncertain(client, op, out);
                }
            }
            ClientEvent::Answer { op, attempt, reply } => {
                self.on_answer(client, op, attempt, reply, out);
            }
        }
    }

    fn think(&mut self, client: usize, witnessed: u64, out: &mut Vec<Act>) {
        if self.closed {
            return;
        }
        const RUSH: usize = 16;
        let hurry = if client < self.load.readers { 4 } else { 1 };
        let rush = if self.rushed { RUSH } else { 1 };
        let delay = self.rng.duration(self.load.think.0, self.load.think.1) / hurry / rush as u32;
        out.push(Act::Later(delay, ClientEvent::Think));
        if self.clients[client].ops.len() >= self.load.window * rush {
            return;
        }
        self.last_op += 1;
        let op = OpId(self.last_op);
        if let Some(what) = self.choose(client, op) {
            self.clients[client].ops.insert(op, Op { what, attempt: 0, since: witnessed });
            self.attempt(client, op, out);
        }
    }

    fn choose(&mut self, client: usize, op: OpId) -> Option<What> {
        let key = self.rng.below(self.load.keys);
        if client < self.load.readers || self.rng.chance(self.load.reads_ppm) {
            let draw = &mut Draw { rng: &mut self.rng, number: op.0, key };
            let query = self.subject.draw_query(draw);
            return Some(What::Read { query });
        }
        if self.rng.chance(self.load.sessionless_ppm) {
            return Some(What::Write { in_session: None, body: self.command(op, key) });
        }
        let it = &self.clients[client];
        let Some(session) = it.session else {
            let opening = it.ops.values().any(|op| matches!(op.what, What::Open));
            return (!opening).then_some(What::Open);
        };
        let sequence = it.next_sequence;
        let first = it.first_unacknowledged(session, sequence);
        // Some clients count on being told when they ask for too much at once.
        let excess = if client % 4 == 1 { 2 } else { 0 };
        if sequence - first >= u64::from(self.session_window) + excess {
            return None;
        }
        self.clients[client].next_sequence += 1;
        let in_session = Some((session, sequence));
        Some(What::Write { in_session, body: self.command(op, key) })
    }

    fn command(&mut self, op: OpId, key: u64) -> Value {
        let draw = &mut Draw { rng: &mut self.rng, number: op.0, key };
        self.subject.draw_command(draw)
    }

    fn attempt(&mut self, client: usize, op: OpId, out: &mut Vec<Act>) {
        while self.avoided.contains(&self.clients[client].node) {
            self.clients[client].node = self.rng.position(self.nodes);
        }
        let it = &mut self.clients[client];
        let node = it.node;
        let Some(Op { what, attempt, since }) = it.ops.get_mut(&op) else { return };
        *attempt += 1;
        let (what, attempt, since) = (what.clone(), *attempt, *since);
        let what = match what {
            What::Open => {
                Want::Session { limits: self.session_limits[node], window: self.session_window }
            }
            What::Write { in_session, body } => {
                let session = in_session.map(|(session, sequence)| InSession {
                    session,
                    sequence,
                    first_unacknowledged: it.first_unacknowledged(session, sequence),
                });
                Want::Write { session, body, since }
            }
            What::Read { query } => Want::Read { query },
        };
        out.push(Act::Ask(node, Ask { client, op, attempt, what }));
        // Each is a number of its own, and so is giving one up. Attempts that follow each other
        // faster than the cluster works would be all that it does: so they take ever longer.
        let patience = self.load.patience * (1 << (attempt / 2).min(MOST_DOUBLINGS));
        out.push(Act::Later(patience, ClientEvent::Patience { op, attempt }));
    }

    /// True if a client waits for the answer to this attempt.
    pub(crate) fn is_current(&self, client: usize, op: OpId, attempt: u64) -> bool {
        self.clients[client].ops.get(&op).is_some_and(|op| op.attempt == attempt)
    }

    fn on_answer(
        &mut self,
        client: usize,
        op: OpId,
        attempt: u64,
        reply: Reply,
        out: &mut Vec<Act>,
    ) {
        let current = self.is_current(client, op, attempt);
        let it = &mut self.clients[client];
        match reply {
            // Whichever attempt it was: it is the answer to the request.
            Reply::Done(_) if it.ops.remove(&op).is_some() => self.ended.acknowledged += 1,
            Reply::Seen(_) if current => {
                it.ops.remove(&op);
                self.ended.read += 1;
            }
            Reply::Registered(session) if current => {
                it.ops.remove(&op);
                it.session = Some(session);
                it.next_sequence = 1;
            }
            Reply::NoSession if it.ops.contains_key(&op) => {
                let ended = it.ops.remove(&op).expect("just seen");
                if let What::Write { in_session: Some((session, _)), .. } = ended.what
                    && it.session == Some(session)
                {
                    it.session = None;
                }
                self.ended.unknown += 1;
            }
            // It was done, whatever it was answered.
            Reply::ResponseDropped if it.ops.remove(&op).is_some() => self.ended.unknown += 1,
            Reply::WindowExceeded if current => self.try_again(client, op, out),
            Reply::Failed(Failure::TooLarge) if current => {
                it.ops.remove(&op);
                self.ended.refused += 1;
            }
            Reply::Failed(failure) if current => {
                if failure.surely_not_proposed() {
                    self.try_again(client, op, out);
                } else {
                    self.on_uncertain(client, op, out);
                }
            }
            Reply::ConnectionRefused if current => self.try_again(client, op, out),
            Reply::ConnectionLost if current => self.on_uncertain(client, op, out),
            _ => {}
        }
    }

    /// An attempt came to nothing known: only what cannot be done twice is tried again.
    fn on_uncertain(&mut self, client: usize, op: OpId, out: &mut Vec<Act>) {
        let it = &mut self.clients[client];
        match it.ops[&op].what {
            What::Write { in_session: None, .. } => {
                it.ops.remove(&op);
                self.ended.unknown += 1;
            }
            What::Open | What::Write { .. } | What::Read { .. } => self.try_again(client, op, out),
        }
    }

    /// Some time later, perhaps at another node.
    fn try_again(&mut self, client: usize, op: OpId, out: &mut Vec<Act>) {
        if self.rng.one_in(2) {
            self.clients[client].node = self.rng.position(self.nodes);
        }
        // What an attempt still outstanding is answered is not of interest any more.
        let it = self.clients[client].ops.get_mut(&op).expect("it has not ended");
        it.attempt += 1;
        let delay = self.rng.duration(Duration::from_millis(1), Duration::from_millis(40));
        out.push(Act::Later(delay, ClientEvent::Try(op)));
    }
}

impl Client {
    /// The first request of a session whose answer this client does not have; `next` if it has
    /// them all.
    fn first_unacknowledged(&self, session: SessionId, next: u64) -> u64 {
        let of_session = self.ops.values().filter_map(|op| match op.what {
            What::Write { in_session: Some((s, sequence)), .. } if s == session => Some(sequence),
            _ => None,
        });
        of_session.min().unwrap_or(next)
    }
}

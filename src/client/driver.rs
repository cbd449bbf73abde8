//! The task behind a client: one connection, one session, and what is outstanding in it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_core::{Digest, InSession, SessionId};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::outgoing::Outgoing;
use super::{Failed, Order, Wanted};
use crate::error::{NotProposed, ReadError, RequestError, SessionError};
use crate::net::Transport;
use crate::net::client_wire::{Answer, Ask, MAX_BYTES, MAX_UNANSWERED, Reply, SLACK_BYTES, What};
use crate::net::frame::{self, FrameError, Kind};
use crate::net::handshake::{self, Greeted, HandshakeError, Hello, Refusal, Role};
use crate::net::peer::{PING_INTERVAL, SILENCE};

const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait before the next node is tried, or a request sent again that was refused.
const PAUSE: Duration = Duration::from_millis(50);

/// How long to wait at most before the next node is tried.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// After how long without an answer a node is left to which no more can be sent: it may be there, and
/// whoever answers there stands still.
const STALLED: Duration = Duration::from_secs(30);

/// How much is put on its way at once, in bytes; at least one request.
const SEND_BYTES: usize = 64 << 10;

pub(super) struct Driver {
    addresses: Vec<String>,
    next_address: usize,
    cluster: String,
    transport: Box<dyn Transport>,
    queue: mpsc::Receiver<Order>,
    next_id: u64,
    session: Option<Session>,
    /// The identity of the cluster which the session is of; zero before the first connection.
    identity: Digest,
    /// By the names under which they were last asked; commands have one name for each number.
    outstanding: BTreeMap<u64, Outstanding>,
    /// How many requests this connection owes answers to, also those that nobody waits for any more.
    unanswered: usize,
    refused_until: Option<Instant>,
    /// How many nodes were tried since one served.
    in_vain: usize,
    /// What the log was last told of an address.
    told: BTreeMap<String, String>,
}

struct Session {
    id: SessionId,
    window: u64,
    next_sequence: u64,
}

struct Outstanding {
    order: Order,
    /// A command's number in the session.
    sequence: Option<u64>,
    /// False while it waits to be sent (again).
    sent: bool,
    /// An attempt got no answer: no later refusal can be the whole truth.
    unknown: bool,
}

/// Why a connection is left.
enum Left {
    /// No client is left.
    Unwanted,
    /// This node does not serve, or the connection broke: another one is tried.
    Useless,
}

impl Driver {
    pub(super) fn new(
        addresses: Vec<String>,
        cluster: String,
        transport: Box<dyn Transport>,
        queue: mpsc::Receiver<Order>,
    ) -> Driver {
        let next_address = fastrand::usize(..addresses.len());
        Driver {
            addresses,
            next_address,
            cluster,
            transport,
            queue,
            next_id: 1,
            session: None,
            identity: Digest::ZERO,
            outstanding: BTreeMap::new(),
            unanswered: 0,
            refused_until: None,
            in_vain: 0,
            told: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            if let Ok(mut connection) = self.connect().await {
                match self.serve(&mut connection).await {
                    Left::Unwanted => return,
                    Left::Useless => self.on_broken(),
                }
            }
            self.next_address = (self.next_address + 1) % self.addresses.len();
            let is_closed = self.queue.is_closed();
            self.drop_abandoned();
            // Whoever gives up while no node serves must not be waited for, nor leave its order.
            self.admit_queued();
            if is_closed && self.outstanding.is_empty() {
                return;
            }
            self.in_vain += 1;
            sleep(self.pause_before_next().mul_f64(0.5 + fastrand::f64())).await;
        }
    }

    /// Twice as long after each time that all nodes were tried in vain: while a leader is elected
    /// it stays short, and a cluster that is down is not besieged.
    fn pause_before_next(&self) -> Duration {
        let rounds = self.in_vain.saturating_sub(1) / self.addresses.len();
        LONGEST_PAUSE.min(PAUSE * (1 << rounds.min(8)))
    }

    async fn connect(&mut self) -> Result<Greeted, HandshakeError> {
        let connected = self.greet_next().await;
        let address = &self.addresses[self.next_address];
        match &connected {
            Ok(_) => drop(self.told.remove(address)),
            Err(error) => {
                let text = error.to_string();
                // Once, and not at each of many attempts.
                if self.told.get(address) != Some(&text) {
                    tracing::warn!(%address, %error, "no node of this cluster to be reached");
                    self.told.insert(address.clone(), text);
                }
            }
        }
        connected
    }

    async fn greet_next(&self) -> Result<Greeted, HandshakeError> {
        let address = &self.addresses[self.next_address];
        let connection = match timeout(DIAL_TIMEOUT, self.transport.dial(address)).await {
            Ok(connection) => connection.map_err(FrameError::Io)?,
            Err(_) => return Err(HandshakeError::Timeout),
        };
        let own = Hello::new(&self.cluster, Digest::ZERO, Role::Client);
        let judge = |hello: &Hello| match hello.role {
            Role::Peer { .. } => hello.judge_cluster(&self.cluster, Digest::ZERO),
            Role::Client => Err(Refusal::NotANode),
        };
        handshake::greet(connection, &own, judge).await
    }

    /// Sends and receives until the connection is of no more use.
    async fn serve(&mut self, connection: &mut Greeted) -> Left {
        let Greeted { hello, reader, writer } = connection;
        // A node that does not know yet to which cluster it belongs serves nobody.
        if hello.identity == Digest::ZERO {
            return Left::Useless;
        }
        self.on_cluster(hello.identity);
        self.drop_abandoned();
        self.unanswered = 0;
        reader.set_max(MAX_BYTES + SLACK_BYTES);
        let mut ticks = interval(PING_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut heard, mut received) = (Instant::now(), 0);
        let mut answered = heard;
        let mut registering = None;
        let mut outgoing = Outgoing::default();
        let mut wanted = true;
        while wanted || !self.outstanding.is_empty() {
            if outgoing.is_written() {
                outgoing.put_requests(self.what_to_send(&mut registering));
            }
            let has_room = self.has_room();
            let pause = self.refused_until;
            tokio::select! {
                order = self.queue.recv(), if has_room && wanted => match order {
                    Some(order) => self.admit_all(order),
                    None => wanted = false,
                },
                written = outgoing.go_on(writer), if !outgoing.is_done() => match written {
                    Ok(true) => heard = Instant::now(),
                    Ok(false) => {}
                    Err(_) => return Left::Useless,
                },
                frame = reader.next() => {
                    let Ok(Some(frame)) = frame else { return Left::Useless };
                    match frame.kind {
                        Kind::Pong => {}
                        Kind::Reply => {
                            let Ok(reply) = frame.decode() else { return Left::Useless };
                            if self.on_reply(reply, &mut registering).is_err() {
                                return Left::Useless;
                            }
                            self.in_vain = 0;
                            answered = Instant::now();
                        }
                        _ => return Left::Useless,
                    }
                }
                () = tokio::time::sleep_until(pause.unwrap_or_else(Instant::now)),
                    if pause.is_some() => self.refused_until = None,
                _ = ticks.tick() => {
                    self.drop_abandoned();
                    if reader.received_bytes() > received {
                        (heard, received) = (Instant::now(), reader.received_bytes());
                    } else if heard.elapsed() > SILENCE {
                        return Left::Useless;
                    }
                    if self.unanswered >= MAX_UNANSWERED && answered.elapsed() > STALLED {
                        return Left::Useless;
                    }
                    if outgoing.is_done() {
                        outgoing.put_ping();
                    }
                }
            }
        }
        Left::Unwanted
    }

    /// Sessions are named by a place in the log: in that of another cluster, be it the same one
    /// founded anew, this may be somebody else's session. So there it has none.
    fn on_cluster(&mut self, identity: Digest) {
        if identity != self.identity && self.identity != Digest::ZERO {
            self.on_expired();
        }
        self.identity = identity;
    }

    /// Whether another order can be taken. Commands which have no number yet count as if they had.
    fn has_room(&self) -> bool {
        let Some(session) = &self.session else { return self.outstanding.len() < MAX_UNANSWERED };
        let window = session.window.min(MAX_UNANSWERED as u64);
        let numbered = session.next_sequence - self.first_unacknowledged(session);
        (self.outstanding.len() as u64) < window && numbered < window
    }

    /// Takes this order, and what else has gathered.
    fn admit_all(&mut self, order: Order) {
        self.admit(order);
        self.admit_queued();
    }

    fn admit_queued(&mut self) {
        while self.has_room()
            && let Ok(order) = self.queue.try_recv()
        {
            self.admit(order);
        }
    }

    /// Takes an order for which somebody still waits.
    fn admit(&mut self, order: Order) {
        if order.is_abandoned(Instant::now()) {
            return;
        }
        let id = self.name();
        let sequence = None;
        self.outstanding.insert(id, Outstanding { order, sequence, sent: false, unknown: false });
    }

    fn name(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Frames of what waits to be sent and may be: some of them, so that there is never much on its
    /// way which a broken connection would make unknown.
    fn what_to_send(&mut self, registering: &mut Option<u64>) -> Bytes {
        let mut out = BytesMut::new();
        if self.refused_until.is_some() {
            return out.freeze();
        }
        if self.session.is_none() && registering.is_none() && self.unanswered < MAX_UNANSWERED {
            let id = self.name();
            frame::encode(Kind::Request, &Ask { id, what: What::Register }, &mut out);
            self.unanswered += 1;
            *registering = Some(id);
        }
        self.number_commands();
        let first = self.session.as_ref().map_or(0, |session| self.first_unacknowledged(session));
        let session = self.session.as_ref().map(|session| session.id);
        let now = Instant::now();
        for (id, one) in self.outstanding.iter_mut().filter(|(_, one)| !one.sent) {
            if self.unanswered >= MAX_UNANSWERED {
                break;
            }
            // Its caller may have been told that it is not sent any more.
            if one.order.is_abandoned(now) {
                continue;
            }
            let body = one.order.body.clone();
            if !out.is_empty() && out.len() + body.len() + SLACK_BYTES > SEND_BYTES {
                break;
            }
            let what = match (one.order.what, session.zip(one.sequence)) {
                (Wanted::Query(level), _) => What::Read { level, query: body },
                (Wanted::Command, Some((session, sequence))) => {
                    let session = InSession { session, sequence, first_unacknowledged: first };
                    What::Propose { session: Some(session), command: body }
                }
                (Wanted::Command, None) => continue,
            };
            one.sent = one.order.attempts.send();
            if one.sent {
                self.unanswered += 1;
                frame::encode(Kind::Request, &Ask { id: *id, what }, &mut out);
            }
        }
        out.freeze()
    }

    /// Gives numbers in the session to commands which have none, in the order they came, as far
    /// as the session's window allows.
    fn number_commands(&mut self) {
        let Some(session) = &self.session else { return };
        let end = self.first_unacknowledged(session) + session.window;
        let Some(session) = &mut self.session else { return };
        let commands =
            self.outstanding.values_mut().filter(|one| one.order.what == Wanted::Command);
        for one in commands.filter(|one| one.sequence.is_none()) {
            if session.next_sequence >= end {
                return;
            }
            one.sequence = Some(session.next_sequence);
            session.next_sequence += 1;
        }
    }

    /// Numbers are given in the order of the names.
    fn first_unacknowledged(&self, session: &Session) -> u64 {
        let first = self.outstanding.values().find_map(|one| one.sequence);
        first.unwrap_or(session.next_sequence)
    }

    /// An error if this node does not serve.
    fn on_reply(&mut self, reply: Reply, registering: &mut Option<u64>) -> Result<(), ()> {
        // A broken node may answer more than it was asked.
        self.unanswered = self.unanswered.saturating_sub(1);
        if *registering == Some(reply.id) {
            *registering = None;
            return self.on_registered(reply.answer);
        }
        let Some(one) = self.outstanding.get_mut(&reply.id) else { return Ok(()) };
        let error = match reply.answer {
            Answer::Done(bytes) => return self.settle(reply.id, Ok(bytes)),
            Answer::Registered { .. } => return Err(()),
            Answer::Failed(error) => Failed::Request(error),
            Answer::ReadFailed(error) => Failed::Read(error),
        };
        one.sent = false;
        match error {
            Failed::Request(RequestError::Unknown) => {
                // A node that is not heard by its leader says so for ever: another one is tried.
                one.unknown = true;
                Err(())
            }
            // A node without a leader may merely be cut off: another one is tried.
            Failed::Request(RequestError::NotProposed(
                NotProposed::NoLeader | NotProposed::ShuttingDown,
            )) => {
                one.refused(NotProposed::NoLeader);
                Err(())
            }
            Failed::Request(error) if error.is_transient() => {
                one.refused(reason_of(error));
                self.pause();
                Ok(())
            }
            Failed::Request(RequestError::Session(SessionError::Expired)) => {
                self.on_expired();
                Ok(())
            }
            Failed::Read(ReadError::NoLeader | ReadError::ShuttingDown) => Err(()),
            Failed::Read(ReadError::Busy) => {
                one.order.attempts.refused(NotProposed::Busy);
                self.pause();
                Ok(())
            }
            // An earlier attempt may have taken effect, at a node that thought otherwise of it.
            Failed::Request(RequestError::NotProposed(_)) if one.unknown => {
                self.settle(reply.id, Err(Failed::Request(RequestError::Unknown)))
            }
            error => self.settle(reply.id, Err(error)),
        }
    }

    fn on_registered(&mut self, answer: Answer) -> Result<(), ()> {
        match answer {
            Answer::Registered { session, window } => {
                let window = u64::from(window.max(1));
                self.session = Some(Session { id: session, window, next_sequence: 0 });
                Ok(())
            }
            Answer::Failed(error) if error.is_transient() => {
                let waiting = self.outstanding.values().filter(|one| !one.sent);
                waiting.for_each(|one| one.order.attempts.refused(reason_of(error)));
                self.pause();
                Ok(())
            }
            _ => Err(()),
        }
    }

    /// Nothing is known of commands that were sent in an evicted session; the others go into
    /// the next one.
    fn on_expired(&mut self) {
        self.session = None;
        let (expired, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.outstanding)
            .into_iter()
            .partition(|(_, one)| one.sequence.is_some() && (one.sent || one.unknown));
        self.outstanding = kept.into_iter().collect();
        for one in self.outstanding.values_mut() {
            one.sequence = None;
        }
        for (_, one) in expired {
            let error = Failed::Request(SessionError::Expired.into());
            let _ = one.order.answer.send(Err(error));
        }
    }

    fn settle(&mut self, id: u64, result: Result<Bytes, Failed>) -> Result<(), ()> {
        if let Some(one) = self.outstanding.remove(&id) {
            // Whoever no longer waits has been told.
            let _ = one.order.answer.send(result);
        }
        Ok(())
    }

    /// What was sent and not answered is sent again, by another connection.
    fn on_broken(&mut self) {
        for one in self.outstanding.values_mut().filter(|one| one.sent) {
            one.sent = false;
            one.unknown = true;
        }
        self.refused_until = None;
    }

    fn pause(&mut self) {
        self.refused_until = Some(Instant::now() + PAUSE);
    }

    /// Forgets requests whose callers have given up. A number that is not asked for again counts
    /// as acknowledged from then on.
    fn drop_abandoned(&mut self) {
        let now = Instant::now();
        self.outstanding.retain(|_, one| !one.order.is_abandoned(now));
    }
}

impl Order {
    fn is_abandoned(&self, now: Instant) -> bool {
        self.answer.is_closed() || self.deadline <= now
    }
}

impl Outstanding {
    /// This attempt had no effect. Whether none had, depends.
    fn refused(&mut self, why: NotProposed) {
        if self.unknown {
            self.order.attempts.refused(why);
        } else {
            self.order.attempts.take_back(why);
        }
    }
}

/// What its caller is told of a command that was refused so until its time was over.
fn reason_of(refusal: RequestError) -> NotProposed {
    match refusal {
        RequestError::NotProposed(why) => why,
        // Too many of the client's own.
        RequestError::Session(_) | RequestError::Unknown | RequestError::ResponseUnreadable => {
            NotProposed::Busy
        }
    }
}

#[cfg(test)]
mod tests;

//! The port: whoever connects says who it is, and is served accordingly or turned away.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quorate_core::{Envelope, NodeId, StateMachine};
use quorate_handoff::{Producer, PushError};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::client_port::serve_client;
use super::frame::{self, Frame, FrameError, Kind};
use super::handshake::{self, Greeted, Hello, Refusal, Role};
use super::peer::{PING_INTERVAL, SILENCE, write_all};
use super::transport::{Acceptor, Connection};
use super::{Local, max_peer_frame};
use crate::requests::Requests;

/// How many connections may be in their handshake at once.
const MAX_UNIDENTIFIED: usize = 64;

/// How many connections of clients are served at once.
const MAX_CLIENTS: usize = 4096;

/// How many from peers: each peer has one, and for a while the broken one before it.
const MAX_FROM_PEERS: usize = 256;

/// How many lines about refused connections the log gets in one period.
const COMPLAINTS: u32 = 10;
const COMPLAINTS_PERIOD: Duration = Duration::from_secs(10);

/// What a listener's connections have in common.
pub(crate) struct Port<M, S: StateMachine> {
    pub(crate) local: Arc<Local>,
    pub(crate) messages: Producer<Envelope<M>>,
    pub(crate) requests: Requests<S>,
}

impl<M, S: StateMachine> Clone for Port<M, S> {
    fn clone(&self) -> Port<M, S> {
        Port {
            local: Arc::clone(&self.local),
            messages: self.messages.clone(),
            requests: self.requests.clone(),
        }
    }
}

/// Takes connections for ever.
pub(crate) async fn listen<M, S>(mut acceptor: Box<dyn Acceptor>, port: Port<M, S>)
where
    M: DeserializeOwned + Send + 'static,
    S: StateMachine,
{
    let unidentified = Arc::new(Semaphore::new(MAX_UNIDENTIFIED));
    let limits = Limits {
        clients: Arc::new(Semaphore::new(MAX_CLIENTS)),
        peers: Arc::new(Semaphore::new(MAX_FROM_PEERS)),
    };
    let complaints = Arc::new(Complaints::default());
    loop {
        let connection = match acceptor.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                // Out of file descriptors, perhaps: some will be closed.
                complaints.complain("unknown", &error);
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&unidentified).try_acquire_owned() else {
            complaints.complain(&connection.remote, &Refusal::Full);
            continue;
        };
        let (port, limits, complaints) = (port.clone(), limits.clone(), Arc::clone(&complaints));
        tokio::spawn(serve(connection, port, limits, permit, complaints));
    }
}

#[derive(Clone)]
struct Limits {
    clients: Arc<Semaphore>,
    peers: Arc<Semaphore>,
}

async fn serve<M, S>(
    connection: Connection,
    port: Port<M, S>,
    limits: Limits,
    unidentified: OwnedSemaphorePermit,
    complaints: Arc<Complaints>,
) where
    M: DeserializeOwned + Send + 'static,
    S: StateMachine,
{
    let remote = connection.remote.clone();
    let mut place = None;
    let judge = |hello: &Hello| {
        hello.judge(&port.local.expected())?;
        let limit = match hello.role {
            Role::Peer { .. } => &limits.peers,
            Role::Client => &limits.clients,
        };
        place = Some(Arc::clone(limit).try_acquire_owned().map_err(|_| Refusal::Full)?);
        Ok(())
    };
    let greeted = match handshake::answer(connection, || port.local.hello(), judge).await {
        Ok(greeted) => greeted,
        Err(error) => return complaints.complain(&remote, &error),
    };
    drop(unidentified);
    let ended = match greeted.hello.role {
        Role::Peer { node, .. } => receive(node, greeted, &port).await,
        Role::Client => serve_client(greeted, &port.requests).await,
    };
    match ended {
        Ok(()) | Err(FrameError::Io(_) | FrameError::Closed | FrameError::Silence(_)) => {}
        Err(error) => complaints.complain(&remote, &error),
    }
    drop(place);
}

/// Passes on the messages of a peer until its connection breaks.
async fn receive<M, S>(peer: NodeId, greeted: Greeted, port: &Port<M, S>) -> Result<(), FrameError>
where
    M: DeserializeOwned + Send + 'static,
    S: StateMachine,
{
    let Greeted { mut reader, mut writer, .. } = greeted;
    reader.set_max(max_peer_frame(&port.requests.settings));
    let mut ticks = interval(PING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen_bytes = 0;
    let mut heard = Instant::now();
    loop {
        let answer = tokio::select! {
            frame = reader.next() => match frame? {
                Some(frame) if frame.kind == Kind::Ping => true,
                Some(frame) => {
                    deliver(peer, &frame, port).await?;
                    false
                }
                None => return Ok(()),
            },
            _ = ticks.tick() => {
                // One large message on a slow line is a sign of life, too.
                let progressed = reader.received_bytes() > seen_bytes;
                if !progressed && heard.elapsed() > 2 * SILENCE {
                    return Err(FrameError::Silence(heard.elapsed()));
                }
                progressed
            }
        };
        if reader.received_bytes() > seen_bytes {
            heard = Instant::now();
        }
        if answer {
            seen_bytes = reader.received_bytes();
            let mut pong = BytesMut::new();
            frame::encode(Kind::Pong, &port.local.board.progress(), &mut pong);
            write_all(&mut writer, [pong.freeze()]).await?;
        }
    }
}

async fn deliver<M, S>(peer: NodeId, frame: &Frame, port: &Port<M, S>) -> Result<(), FrameError>
where
    M: DeserializeOwned + Send + 'static,
    S: StateMachine,
{
    if frame.kind != Kind::Message {
        return Err(FrameError::Unexpected);
    }
    let mut envelope: Envelope<M> = frame.decode()?;
    if envelope.from != peer {
        return Err(FrameError::Unexpected);
    }
    // While the loop is behind, nothing more is read, and the sender feels it.
    loop {
        match port.messages.push(envelope, frame.body.len()) {
            Ok(()) => return Ok(()),
            Err(PushError::Full(back)) => envelope = back,
            // The node is stopping.
            Err(_) => return std::future::pending().await,
        }
        tokio::task::yield_now().await;
    }
}

/// One line in the log for each connection that is turned away, within reason.
#[derive(Default)]
struct Complaints {
    period: Mutex<Option<Period>>,
}

struct Period {
    began: Instant,
    written: u32,
    kept_back: u64,
}

impl Complaints {
    fn complain(&self, remote: &str, why: &dyn std::fmt::Display) {
        if let Some(kept_back) = self.may_write() {
            tracing::warn!(%remote, %why, kept_back, "connection refused");
        }
    }

    /// Whether a line may be written; if so, how many were kept back since the last one.
    fn may_write(&self) -> Option<u64> {
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let current = period.get_or_insert(Period { began: now, written: 0, kept_back: 0 });
        if now.duration_since(current.began) >= COMPLAINTS_PERIOD {
            (current.began, current.written) = (now, 0);
        }
        if current.written >= COMPLAINTS {
            current.kept_back += 1;
            return None;
        }
        current.written += 1;
        Some(std::mem::take(&mut current.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_does_not_flood_the_log() {
        let complaints = Complaints::default();
        let written = (0..1000).filter(|_| complaints.may_write().is_some()).count();
        assert_eq!(written, COMPLAINTS as usize);
        let mut period = complaints.period.lock().unwrap();
        period.as_mut().unwrap().began -= COMPLAINTS_PERIOD;
        drop(period);
        assert_eq!(complaints.may_write(), Some(990));
        assert_eq!(complaints.may_write(), Some(0));
    }
}

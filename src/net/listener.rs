//! The port: whoever connects says who it is, and is served accordingly or turned away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use quorate_core::{Envelope, NodeId, StateMachine};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::Instrument;

use super::budget::Budget;
use super::client_port::serve_client;
use super::complaints::Complaints;
use super::frame::{self, Frame, FrameError, Kind};
use super::handshake::{self, Greeted, HandshakeError, Hello, Refusal, Role};
use super::inbox::Inbox;
use super::newcomers::{Newcomers, Place};
use super::peer::{PING_INTERVAL, SILENCE, write_all};
use super::transport::{Acceptor, Connection};
use super::{Local, max_peer_frame};
use crate::open_files::Places;
use crate::requests::Requests;

/// What a listener's connections have in common.
pub(crate) struct Port<M, S: StateMachine> {
    pub(crate) local: Arc<Local>,
    pub(crate) messages: Inbox<M>,
    pub(crate) requests: Requests<S>,
    pub(crate) places: Places,
    /// How much all clients together may make this node hold, in bytes.
    pub(crate) client_bytes: usize,
    /// Where clients are served: what they are answered is encoded there, and may be large.
    pub(crate) clients_at: Handle,
}

/// Takes connections for ever.
pub(crate) async fn listen<M, S>(mut acceptor: Box<dyn Acceptor>, port: Port<M, S>)
where
    M: DeserializeOwned + Send + 'static,
    S: StateMachine,
{
    let reception = Arc::new(Reception {
        clients: Arc::new(Semaphore::new(port.places.clients)),
        budget: Budget::new(port.client_bytes),
        peers: Mutex::default(),
        complaints: Complaints::new(port.local.board.clone()),
        port,
    });
    let mut newcomers = Newcomers::new(reception.port.places.newcomers);
    loop {
        match acceptor.accept().await {
            Ok(connection) => {
                tokio::spawn(serve(connection, Arc::clone(&reception), newcomers.admit()));
                // Who has said already who it is gives up its place before the next one comes.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                // Out of file descriptors, most likely: the program around the node has them.
                reception.complaints.complain("unknown", &error);
                newcomers.dismiss_one();
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Where those who connect are received.
struct Reception<M, S: StateMachine> {
    port: Port<M, S>,
    clients: Arc<Semaphore>,
    budget: Arc<Budget>,
    /// For each peer: what ends its connection once it is dropped.
    peers: Mutex<BTreeMap<NodeId, oneshot::Sender<()>>>,
    complaints: Complaints,
}

async fn serve<M, S>(connection: Connection, reception: Arc<Reception<M, S>>, place: Place)
where
    M: DeserializeOwned + Send + 'static,
    S: StateMachine,
{
    let remote = connection.remote.clone();
    let local = &reception.port.local;
    let mut as_client = None;
    let judge = |hello: &Hello| {
        hello.judge(&local.expected())?;
        if hello.role == Role::Client {
            let free = Arc::clone(&reception.clients).try_acquire_owned();
            as_client = Some(free.map_err(|_| Refusal::Full)?);
        }
        Ok(())
    };
    let greeted = tokio::select! {
        greeted = handshake::answer(connection, || local.hello(), judge) => greeted,
        _ = place => Err(HandshakeError::Refused(Refusal::Full)),
    };
    let greeted = match greeted {
        Ok(greeted) => greeted,
        Err(error) => return reception.complaints.complain(&remote, &error),
    };
    let ended = match greeted.hello.role {
        Role::Peer { node, .. } => reception.serve_peer(node, greeted).await,
        Role::Client => reception.serve_client(greeted).await,
    };
    match ended {
        Ok(()) | Err(FrameError::Io(_) | FrameError::Closed | FrameError::Silence(_)) => {}
        Err(error) => reception.complaints.complain(&remote, &error),
    }
    drop(as_client);
}

impl<M, S> Reception<M, S>
where
    M: DeserializeOwned + Send + 'static,
    S: StateMachine,
{
    async fn serve_client(self: &Arc<Self>, greeted: Greeted) -> Result<(), FrameError> {
        let here = Arc::clone(self);
        let serving = async move { serve_client(greeted, &here.port.requests, &here.budget).await };
        let serving = self.port.clients_at.spawn(serving.in_current_span());
        // A panic over what a client asked for ends its connection, and is in the log.
        serving.await.unwrap_or(Ok(()))
    }

    /// A peer has one connection. If it dials again, the one before is broken at its end.
    async fn serve_peer(&self, peer: NodeId, greeted: Greeted) -> Result<(), FrameError> {
        let (superseding, superseded) = oneshot::channel();
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, superseding);
        tokio::select! {
            ended = receive(peer, greeted, &self.port) => ended,
            _ = superseded => Ok(()),
        }
    }
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
            // What has been said counts before the time that has passed.
            biased;
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
    let envelope: Envelope<M> = frame.decode()?;
    if envelope.from != peer {
        return Err(FrameError::Sender { said: envelope.from, is: peer });
    }
    // While the loop is behind, nothing more is read, and the sender feels it.
    if port.messages.put(envelope, frame.body.len()).await.is_err() {
        // The node is stopping.
        std::future::pending::<()>().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! The way to one other node.
//!
//! Each node dials each other one, and sends on the connection that it dialled: so two nodes that
//! hear each other share two connections, one for each direction, and neither has to decide which
//! of two crossing connections is to live. Against the stream of messages flow only signs of
//! life.
//!
//! Nothing is promised about messages: while there is no connection, or the other node takes them
//! too slowly, they are dropped, and the protocols send again what matters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use quorate_core::NodeId;
use quorate_handoff::{Consumer, Producer, queue};
use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::Local;
use super::frame::{self, FrameError, Kind};
use super::frame_reader::FrameReader;
use super::handshake::{self, Greeted, HandshakeError, Hello, Refusal, Role};
use crate::status::Progress;

/// How often a node shows its peers that it is there, beyond what the protocol does.
pub(crate) const PING_INTERVAL: Duration = Duration::from_millis(500);

/// How long a peer may be silent before its connection counts as broken.
pub(crate) const SILENCE: Duration = Duration::from_secs(4);

/// How long an attempt to connect may take.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait before the first and before later attempts to connect again.
const BACKOFF: std::ops::Range<Duration> = Duration::from_millis(10)..Duration::from_millis(500);

/// Where messages to one other node are put.
pub(crate) struct Link {
    to: NodeId,
    queue: Producer<Bytes>,
    connected: Arc<AtomicBool>,
    /// The messages of this round.
    round: BytesMut,
    round_messages: u64,
    local: Arc<Local>,
}

impl Link {
    /// A link, and the task that carries what is put there. At most `bound_bytes` wait in it.
    pub(crate) fn new(
        to: NodeId,
        address: String,
        bound_bytes: usize,
        local: Arc<Local>,
    ) -> (Link, impl Future<Output = ()> + Send + 'static) {
        let (producer, consumer) = queue(bound_bytes);
        let connected = Arc::new(AtomicBool::new(false));
        let link = Link {
            to,
            queue: producer,
            connected: Arc::clone(&connected),
            round: BytesMut::new(),
            round_messages: 0,
            local: Arc::clone(&local),
        };
        let dialler = Dialler { to, address, queue: consumer, connected, local, told: None };
        (link, dialler.run())
    }

    /// Adds a message to this round's, or drops it.
    pub(crate) fn put<M: Serialize>(&mut self, message: &M) {
        if self.connected.load(Ordering::Relaxed) {
            frame::encode(Kind::Message, message, &mut self.round);
            self.round_messages += 1;
        } else {
            self.local.board.dropped(self.to, 1);
        }
    }

    /// Sends this round's messages as a whole, or drops them.
    pub(crate) fn end_round(&mut self) {
        if self.round.is_empty() {
            return;
        }
        let bytes = self.round.split().freeze();
        let cost = bytes.len();
        if self.queue.push(bytes, cost).is_err() {
            self.local.board.dropped(self.to, self.round_messages);
        }
        self.round_messages = 0;
    }
}

struct Dialler {
    to: NodeId,
    address: String,
    queue: Consumer<Bytes>,
    connected: Arc<AtomicBool>,
    local: Arc<Local>,
    /// What the log was last told about this peer, so that it is not told again and again.
    told: Option<String>,
}

impl Dialler {
    async fn run(mut self) {
        let mut backoff = BACKOFF.start;
        loop {
            match self.connect().await {
                Ok(greeted) => {
                    let begun = Instant::now();
                    tracing::info!(peer = %self.to, address = %self.address, "connected");
                    self.set_connected(true);
                    let error = self.converse(greeted).await;
                    self.set_connected(false);
                    tracing::info!(peer = %self.to, address = %self.address, %error, "disconnected");
                    // A node that hangs up at once is not dialled any faster for having answered.
                    if begun.elapsed() > BACKOFF.end {
                        backoff = BACKOFF.start;
                    }
                    self.told = None;
                }
                Err(error) => self.tell(&error),
            }
            sleep(backoff.mul_f64(0.5 + fastrand::f64())).await;
            backoff = (backoff * 2).min(BACKOFF.end);
        }
    }

    async fn connect(&self) -> Result<Greeted, HandshakeError> {
        let dial = timeout(DIAL_TIMEOUT, self.local.transport.dial(&self.address)).await;
        let connection = match dial {
            Ok(connection) => connection.map_err(FrameError::Io)?,
            Err(_) => return Err(HandshakeError::Timeout),
        };
        handshake::greet(connection, &self.local.hello(), |hello| self.judge(hello)).await
    }

    /// Whoever answers must be the node that was dialled.
    fn judge(&self, hello: &Hello) -> Result<(), Refusal> {
        hello.judge(&self.local.expected())?;
        match hello.role {
            Role::Peer { node, .. } if node == self.to => Ok(()),
            Role::Peer { node, .. } => Err(Refusal::OtherNode { expected: self.to, found: node }),
            Role::Client => Err(Refusal::NotANode),
        }
    }

    /// A refusal is news for people; that a node cannot be reached is not, while it restarts.
    fn tell(&mut self, error: &HandshakeError) {
        let text = error.to_string();
        if self.told.as_ref() == Some(&text) {
            return;
        }
        let (peer, address) = (self.to, &self.address);
        match error {
            HandshakeError::Frame(FrameError::Io(_) | FrameError::Closed)
            | HandshakeError::Timeout => {
                tracing::info!(%peer, %address, error = %text, "not reached")
            }
            _ => tracing::warn!(%peer, %address, error = %text, "no peer"),
        }
        self.told = Some(text);
    }

    fn set_connected(&mut self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
        self.local.board.set_connected(self.to, connected);
        // What was put there for the connection that has broken is stale.
        let _ = self.queue.try_pop_all(&mut std::collections::VecDeque::new());
    }

    /// Sends what is put into the queue until the connection breaks.
    async fn converse(&mut self, greeted: Greeted) -> FrameError {
        let Greeted { mut reader, mut writer, .. } = greeted;
        let mut batch = std::collections::VecDeque::new();
        let mut ticks = interval(PING_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping = BytesMut::new();
        frame::encode(Kind::Ping, &(), &mut ping);
        let mut heard = Instant::now();
        loop {
            let sent = tokio::select! {
                // What has been said counts before the time that has passed: while a batch is
                // written, nobody listens.
                biased;
                pong = read_pong(&mut reader) => pong.map(|progress| {
                    heard = Instant::now();
                    self.local.board.heard(self.to, progress);
                }),
                _ = ticks.tick() => match heard.elapsed() {
                    silence if silence > SILENCE => Err(FrameError::Silence(silence)),
                    _ => write_all(&mut writer, [ping.clone().freeze()]).await,
                },
                drained = self.queue.drain(&mut batch) => match drained {
                    Ok(()) => write_all(&mut writer, batch.drain(..)).await,
                    Err(_) => std::future::pending().await,
                },
            };
            if let Err(error) = sent {
                return error;
            }
        }
    }
}

/// Cancel-safe.
async fn read_pong<R: tokio::io::AsyncRead + Unpin>(
    reader: &mut FrameReader<R>,
) -> Result<Progress, FrameError> {
    match reader.next().await? {
        Some(frame) if frame.kind == Kind::Pong => frame.decode(),
        Some(_) => Err(FrameError::Unexpected),
        None => Err(FrameError::Closed),
    }
}

/// Writes as fast as the other end takes it; an error if it takes nothing for too long.
pub(crate) async fn write_all(
    writer: &mut (dyn AsyncWrite + Send + Unpin),
    pieces: impl IntoIterator<Item = Bytes>,
) -> Result<(), FrameError> {
    for mut piece in pieces {
        while !piece.is_empty() {
            match timeout(SILENCE, writer.write(&piece)).await {
                Ok(Ok(0)) => return Err(FrameError::Closed),
                Ok(written) => piece.advance(written?),
                Err(_) => return Err(FrameError::Silence(SILENCE)),
            }
        }
    }
    match timeout(SILENCE, writer.flush()).await {
        Ok(flushed) => Ok(flushed?),
        Err(_) => Err(FrameError::Silence(SILENCE)),
    }
}

#[cfg(test)]
mod tests;

//! A connection from a client, at the node that serves it.

use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_core::StateMachine;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::client_wire::{Answer, Ask, Reply, What};
use super::frame::{self, FrameError, FrameReader, Kind};
use super::handshake::Greeted;
use super::peer::write_all;
use crate::error::{NotProposed, ReadError, RequestError};
use crate::requests::{Read, Requests, outcome, response_of};

/// How many requests of one connection may be outstanding. The next is not read before.
const OUTSTANDING: usize = 512;

/// A client that says nothing for so long is gone; live ones send pings.
const IDLE: Duration = Duration::from_secs(60);

/// What a request may be larger than its command.
const SLACK_BYTES: usize = 1 << 10;

/// Serves a client until it hangs up or breaks the rules. What it has asked for is done even so.
pub(super) async fn serve_client<S: StateMachine>(
    greeted: Greeted,
    requests: &Requests<S>,
) -> Result<(), FrameError> {
    let Greeted { mut reader, mut writer, .. } = greeted;
    reader.set_max(requests.settings.max_command_bytes + SLACK_BYTES);
    let (replies, mut to_write) = mpsc::channel::<Bytes>(OUTSTANDING);
    let read = async {
        while let Some(permit) = take_request(&mut reader, requests, &replies).await? {
            // The place in the channel is held until the answer fills it.
            tokio::spawn(permit);
        }
        Ok(())
    };
    let write = async {
        while let Some(reply) = to_write.recv().await {
            write_all(&mut writer, [reply]).await?;
        }
        Ok(())
    };
    tokio::select! {
        ended = read => ended,
        ended = write => ended,
    }
}

/// Puts the next request into line. Returns the task that waits for its answer; `None` once the
/// client has hung up.
async fn take_request<S: StateMachine, R: tokio::io::AsyncRead + Unpin>(
    reader: &mut FrameReader<R>,
    requests: &Requests<S>,
    replies: &mpsc::Sender<Bytes>,
) -> Result<Option<impl Future<Output = ()> + Send + 'static + use<S, R>>, FrameError> {
    let frame = match timeout(IDLE, reader.next()).await {
        Err(_) => return Err(FrameError::Silence(IDLE)),
        Ok(frame) => match frame? {
            Some(frame) => frame,
            None => return Ok(None),
        },
    };
    let begun = match frame.kind {
        Kind::Ping => None,
        Kind::Request => {
            let Ask { id, what } = frame.decode()?;
            Some((id, what))
        }
        _ => return Err(FrameError::Unexpected),
    };
    let place = replies.clone().reserve_owned().await.map_err(|_| FrameError::Closed)?;
    let begun = begun.map(|(id, what)| (id, begin(what, requests)));
    Ok(Some(async move {
        let mut bytes = BytesMut::new();
        match begun {
            Some((id, answer)) => {
                let reply = Reply { id, answer: answer.await };
                frame::encode(Kind::Reply, &reply, &mut bytes);
            }
            None => frame::encode(Kind::Pong, &(), &mut bytes),
        }
        place.send(bytes.freeze());
    }))
}

/// Puts a request into line at once; the future is its answer.
fn begin<S: StateMachine>(
    what: What,
    requests: &Requests<S>,
) -> impl Future<Output = Answer> + Send + 'static + use<S> {
    enum Begun<R, A, G> {
        Register(G),
        Propose(R),
        Read(A),
    }
    let begun = match what {
        What::Register => Begun::Register(requests.clone()),
        What::Propose { session, command } => {
            // What the state machine cannot read must not get into the log.
            let queued = match whole::<S::Command>(&command) {
                Some(_) => requests.submit_encoded(command, session),
                None => Err(NotProposed::Unreadable.into()),
            };
            Begun::Propose(queued)
        }
        What::Read { level, query } => Begun::Read(read(requests, level, &query)),
    };
    async move {
        match begun {
            Begun::Register(requests) => match requests.register().await {
                Ok(session) => {
                    Answer::Registered { session, window: requests.settings.session_window }
                }
                Err(error) => Answer::Failed(error),
            },
            Begun::Propose(queued) => match outcome(queued).await.and_then(response_of) {
                Ok(response) => encoded(&response),
                Err(error) => Answer::Failed(error),
            },
            Begun::Read(answer) => match answer.await {
                Ok(answer) => encoded(&answer),
                Err(error) => Answer::ReadFailed(error),
            },
        }
    }
}

fn read<S: StateMachine>(
    requests: &Requests<S>,
    level: Read,
    query: &[u8],
) -> impl Future<Output = Result<S::Answer, ReadError>> + Send + 'static + use<S> {
    let begun = whole(query).map(|query| requests.read(level, query));
    async move {
        match begun {
            Some(answer) => answer.await,
            None => Err(ReadError::Unreadable),
        }
    }
}

fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}

fn encoded<T: serde::Serialize>(value: &T) -> Answer {
    match postcard::to_allocvec(value) {
        Ok(bytes) => Answer::Done(bytes.into()),
        // The command was applied all the same.
        Err(_) => Answer::Failed(RequestError::Unknown),
    }
}

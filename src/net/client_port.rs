//! A connection from a client, at the node that serves it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_core::StateMachine;
use tokio::io::AsyncRead;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::budget::{Budget, Charge};
use super::client_wire::{
    Answer, Ask, AskBegun, MAX_BYTES, MAX_UNANSWERED, Reply, SLACK_BYTES, What, WhatBegun,
};
use super::frame::{self, Frame, FrameError, Kind};
use super::frame_reader::{Arrived, FrameReader, Skipped};
use super::handshake::Greeted;
use super::peer::write_all;
use crate::error::{NotProposed, ReadError, RequestError, SessionError};
use crate::requests::{OVERHEAD_BYTES, Read, Requests, decoded, outcome, response_of};

/// Replies that are larger are not copied together with others.
const LARGE_BYTES: usize = 16 << 10;

/// A client that says nothing for so long is gone; live ones send pings.
const IDLE: Duration = Duration::from_secs(15);

/// A reply on its way, with what is held for it.
type Written = (Bytes, Charge);

/// Serves a client until it hangs up or breaks the rules. What it has asked for is done even so.
pub(super) async fn serve_client<S: StateMachine>(
    greeted: Greeted,
    requests: &Requests<S>,
    budget: &Arc<Budget>,
) -> Result<(), FrameError> {
    let Greeted { mut reader, mut writer, .. } = greeted;
    reader.set_max(requests.settings.max_command_bytes.saturating_add(SLACK_BYTES));
    let (replies, mut to_write) = mpsc::channel::<Written>(MAX_UNANSWERED);
    let pinged = Notify::new();
    let read = async {
        while let Some(said) = next(&mut reader, budget.charge()).await? {
            let Said::Asked(asked) = said else {
                // One sign of life is as good as several.
                pinged.notify_one();
                continue;
            };
            // The place in the channel is held until the answer fills it.
            let place = replies.clone().reserve_owned().await.map_err(|_| FrameError::Closed)?;
            let reply = asked.begin(requests);
            tokio::spawn(async move { _ = place.send(reply.await) });
        }
        Ok(())
    };
    let write = async {
        let mut batch = Vec::new();
        let mut pong = BytesMut::new();
        frame::encode(Kind::Pong, &(), &mut pong);
        let pong = pong.freeze();
        loop {
            tokio::select! {
                _ = to_write.recv_many(&mut batch, MAX_UNANSWERED) => {
                    write_all(&mut writer, together(batch.iter().map(|(reply, _)| reply))).await?;
                    // What was held for them is free again.
                    batch.clear();
                }
                () = pinged.notified() => write_all(&mut writer, [pong.clone()]).await?,
            }
        }
    };
    tokio::select! {
        ended = read => ended,
        ended = write => ended,
    }
}

/// The same bytes in fewer pieces: each is a call of the system, and perhaps a packet.
fn together<'a>(replies: impl Iterator<Item = &'a Bytes>) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut small = BytesMut::new();
    for reply in replies {
        if reply.len() > LARGE_BYTES {
            pieces.extend([small.split().freeze(), reply.clone()]);
        } else {
            small.extend_from_slice(reply);
        }
    }
    pieces.push(small.freeze());
    pieces
}

/// What a client says.
enum Said {
    Ping,
    Asked(Asked),
}

/// What a client wants.
enum Asked {
    Request(Ask, Charge),
    /// It is answered without having been read.
    Refused(AskBegun, Skipped, Charge),
}

/// What is said next; a request is charged for. `None` once the client has hung up.
async fn next<R: AsyncRead + Unpin>(
    reader: &mut FrameReader<R>,
    mut charge: Charge,
) -> Result<Option<Said>, FrameError> {
    let mut may_hold = |bytes| {
        let may = charge.grow_to(bytes);
        if !may {
            charge.shrink_to(0);
        }
        may
    };
    let arrived = loop {
        let received = reader.received_bytes();
        match timeout(IDLE, reader.next_request(&mut may_hold)).await {
            Ok(arrived) => break arrived?,
            // One large request on a slow line is a sign of life, too.
            Err(_) if reader.received_bytes() > received => {}
            Err(_) => return Err(FrameError::Silence(IDLE)),
        }
    };
    match arrived {
        None => Ok(None),
        Some(Arrived::Frame(frame)) => match frame.kind {
            Kind::Ping => Ok(Some(Said::Ping)),
            Kind::Request => Ok(Some(Said::Asked(asked(&frame, charge)?))),
            _ => Err(FrameError::Unexpected),
        },
        Some(Arrived::Skipped { beginning, why }) => {
            Ok(Some(Said::Asked(Asked::Refused(begun(&beginning)?, why, charge))))
        }
    }
}

fn asked(frame: &Frame, mut charge: Charge) -> Result<Asked, FrameError> {
    let bytes = frame.body.len() + OVERHEAD_BYTES;
    charge.shrink_to(bytes);
    if charge.grow_to(bytes) {
        return Ok(Asked::Request(frame.decode()?, charge));
    }
    charge.shrink_to(0);
    Ok(Asked::Refused(begun(&frame.body)?, Skipped::NoRoom, charge))
}

fn begun(beginning: &[u8]) -> Result<AskBegun, FrameError> {
    postcard::take_from_bytes(beginning).map(|(begun, _)| begun).map_err(|_| FrameError::Body)
}

impl Asked {
    /// Puts a request into line at once; the future is the reply.
    fn begin<S: StateMachine>(
        self,
        requests: &Requests<S>,
    ) -> impl Future<Output = Written> + Send + 'static + use<S> {
        enum Begun<A> {
            Answered(u64, Answer),
            Asked(u64, WhatBegun, A),
        }
        let (begun, mut charge) = match self {
            Asked::Refused(AskBegun { id, what }, why, charge) => {
                (Begun::Answered(id, refusal(what, why)), charge)
            }
            Asked::Request(Ask { id, what }, charge) => {
                (Begun::Asked(id, what.kind(), begin(what, requests)), charge)
            }
        };
        async move {
            let mut bytes = BytesMut::new();
            let reply = match begun {
                Begun::Answered(id, answer) => Reply { id, answer },
                Begun::Asked(id, what, answer) => {
                    Reply { id, answer: limited(what, answer.await, &mut charge) }
                }
            };
            frame::encode(Kind::Reply, &reply, &mut bytes);
            charge.shrink_to(bytes.len());
            (bytes.freeze(), charge)
        }
    }
}

/// Why a request was not read, as its client is told.
fn refusal(what: WhatBegun, why: Skipped) -> Answer {
    match (what, why) {
        (WhatBegun::Read, Skipped::TooLong) => Answer::ReadFailed(ReadError::TooLarge),
        (WhatBegun::Read, Skipped::NoRoom) => Answer::ReadFailed(ReadError::Busy),
        (_, Skipped::TooLong) => Answer::Failed(NotProposed::TooLarge.into()),
        (_, Skipped::NoRoom) => Answer::Failed(NotProposed::Busy.into()),
    }
}

/// An answer is held until it is sent: if there is no room for it, its client is told so.
fn limited(what: WhatBegun, answer: Answer, charge: &mut Charge) -> Answer {
    let Answer::Done(bytes) = &answer else { return answer };
    let too_large = bytes.len() > MAX_BYTES;
    if !too_large && charge.grow_to(bytes.len()) {
        return answer;
    }
    match what {
        WhatBegun::Read if too_large => Answer::ReadFailed(ReadError::TooLarge),
        WhatBegun::Read => Answer::ReadFailed(ReadError::Busy),
        WhatBegun::Propose | WhatBegun::Register if too_large => {
            Answer::Failed(SessionError::ResponseDropped.into())
        }
        // It was executed. Under its session, it can be asked for again.
        WhatBegun::Propose | WhatBegun::Register => Answer::Failed(RequestError::Unknown),
    }
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
            let queued = match decoded::<S::Command>(&command) {
                Some(_) => requests.propose_encoded(command, session),
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
                // It was applied all the same.
                Ok(response) => encoded(&response)
                    .unwrap_or(Answer::Failed(SessionError::ResponseDropped.into())),
                Err(error) => Answer::Failed(error),
            },
            Begun::Read(answer) => match answer.await {
                Ok(answer) => {
                    encoded(&answer).unwrap_or(Answer::ReadFailed(ReadError::Unencodable))
                }
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
    let begun = decoded(query).map(|query| requests.read(level, query));
    async move {
        match begun {
            Some(answer) => answer.await,
            None => Err(ReadError::Unreadable),
        }
    }
}

/// `None` also if the user's code panics over it: every request is answered, or its client would count
/// it as unanswered for ever.
fn encoded<T: serde::Serialize>(value: &T) -> Option<Answer> {
    let bytes = catch_unwind(AssertUnwindSafe(|| postcard::to_allocvec(value))).ok()?;
    bytes.ok().map(|bytes| Answer::Done(bytes.into()))
}

#[cfg(test)]
mod tests;

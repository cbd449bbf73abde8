//! One client's socket: requests in, replies out, in the same order, several at work at once.
//!
//! A client may send many requests without waiting for replies. Neighbouring operations among
//! those that have arrived become one *group*: one entry of the log, or one query. Groups of
//! writes are handed to the cluster without waiting for each other, up to a window. Where reads
//! and writes follow each other, a group waits for those of the other kind before it, so that a
//! read sees the writes before it and none behind it; unless the reads are few and short, then
//! they take their place among the writes, in the log.
//!
//! Nothing is executed for a client that does not take its replies, so it costs what it has been
//! allowed up to then: an incomplete request, the window, and an output buffer. Its requests are
//! still read, up to a limit, since many a client takes no reply before it has sent all of a long
//! pipeline. Behind the limit it has to take replies first; if it does not, it is cut off when it
//! has taken nothing for long, like every client that does not.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep};

use crate::buffers::Share;
use crate::cluster::{Cluster, Level, ReadError, WriteError};
use crate::connection::{Connection, Part, Step, Transaction, held_bytes};
use crate::info::Surroundings;
use crate::input::{IDLE_BYTES, Input};
use crate::limits::MAX_REQUEST_BYTES;
use crate::machine::{MAX_ANSWER_BYTES, MAX_RESPONSE_BYTES, MAX_VALUE_BYTES};
use crate::op::{Command, Op, Query, Read, Reply, SetAnswer, Write};
use crate::replies::Replies;
use crate::resp::{Decoder, Encoder, Request, Version};

/// How many groups of writes may be on their way at once.
const WINDOW: usize = 8;
/// A group which has reached one of these is full.
const GROUP_OPS: usize = 1024;
const GROUP_BYTES: usize = 256 << 10;
/// How many values a group may return, so that they always fit into one answer of the machine.
const READ_VALUES: usize = 120;
const WRITE_VALUES: usize = 3;
const _: () = assert!(READ_VALUES * MAX_VALUE_BYTES + GROUP_OPS * 64 < MAX_ANSWER_BYTES);
const _: () = assert!(WRITE_VALUES * MAX_VALUE_BYTES + GROUP_OPS * 64 < MAX_RESPONSE_BYTES);
/// Nothing more is decoded while so many bytes, or so many groups and replies, wait to be sent.
const OUTPUT_BYTES: usize = 256 << 10;
const QUEUE: usize = 64;
/// How long a client may go on sending after the last reply.
const LINGER: Duration = Duration::from_secs(1);

/// The state of one client's socket.
pub struct Pipeline<'a, C> {
    cluster: C,
    connection: Connection,
    share: Share<'a>,
    /// How long the client may take nothing of what it is sent.
    stall: Duration,
    /// How much may be read ahead of what the client takes replies to.
    max_ahead_bytes: usize,
    decoder: Decoder,
    input: Input,
    output: Vec<u8>,
    /// Being filled; not handed to the cluster yet.
    group: Option<Group>,
    /// What has to wait until `group` is on its way.
    held: Option<Item>,
    /// Replies in the order of their requests, there or awaited.
    queue: VecDeque<Queued>,
    ready_bytes: usize,
    /// No more requests are taken.
    ended: bool,
}

/// Closes the connection so that the last replies arrive: a socket which is closed while there are
/// bytes that nobody has read resets the connection, and the reset may overtake the replies.
async fn leave(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.shutdown().await?;
    let read_on = async {
        let mut ignored = vec![0; IDLE_BYTES];
        while let Ok(1..) = stream.read(&mut ignored).await {}
    };
    tokio::select! {
        () = read_on => {}
        () = tokio::time::sleep(LINGER) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    Ok(())
}

/// A request, as far as its kind matters here.
enum Item {
    Reply(Vec<u8>),
    Op(Op, Size),
    Transaction(Transaction),
}

/// How large an operation is: as it came, and in memory.
#[derive(Clone, Copy)]
struct Size {
    bytes: usize,
    held_bytes: usize,
}

struct Group {
    kind: Kind,
    ops: Vec<Op>,
    size: Size,
    /// How many of `ops` return values.
    values: usize,
    level: Level,
    version: Version,
    /// What is to be replied, if it is a transaction.
    parts: Option<Vec<Part>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

enum Queued {
    Awaited { kind: Kind, shape: Shape, outcome: Outcome, held_bytes: usize },
    Replies(Replies),
    Ready(Vec<u8>),
}

/// How replies are written.
struct Shape {
    ops: usize,
    /// Which of them are reads, if they take part in a group of writes.
    reads: Vec<bool>,
    version: Version,
    parts: Option<Vec<Part>>,
}

/// The replies, or what has become of all of them.
type Outcome = Pin<Box<dyn Future<Output = Result<Vec<Reply>, Failed>> + Send>>;

/// Why a group was not executed.
enum Failed {
    Read(ReadError),
    Write(WriteError),
}

impl<'a, C: Cluster> Pipeline<'a, C> {
    /// For a client which has just come.
    ///
    /// It is left if it takes nothing of its replies for the time that `stall` says. Until then up
    /// to `max_ahead_bytes` of further requests are read.
    pub fn new(
        cluster: C,
        connection: Connection,
        share: Share<'a>,
        stall: Duration,
        max_ahead_bytes: usize,
    ) -> Pipeline<'a, C> {
        Pipeline {
            cluster,
            connection,
            share,
            stall,
            max_ahead_bytes,
            decoder: Decoder::new(MAX_REQUEST_BYTES),
            input: Input::default(),
            output: Vec::new(),
            group: None,
            held: None,
            queue: VecDeque::new(),
            ready_bytes: 0,
            ended: false,
        }
    }

    /// Serves the client until it leaves, breaks the protocol, or `stop` becomes true; requests
    /// that have arrived by then, as far as they may be read ahead, are answered first.
    ///
    /// # Errors
    /// Those of the socket, and that of [`Share::end`].
    pub async fn serve(
        mut self,
        mut stream: TcpStream,
        around: &(dyn Fn() -> Surroundings + Sync),
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let end = self.share.end();
        tokio::pin!(end);
        loop {
            poll_fn(|cx| self.poll_advance(around, cx)).await;
            self.share.set(self.held_bytes());
            if !self.output.is_empty() {
                tokio::select! {
                    sent = self.send(&mut stream) => sent?,
                    error = &mut end => return Err(error),
                }
                continue;
            }
            if self.is_done() {
                return leave(stream, stop).await;
            }
            tokio::select! {
                biased;
                error = &mut end => return Err(error),
                () = poll_fn(|cx| self.poll_front(cx)) => {}
                // Before more is read in its turn: whoever never ceases to send must not put it off.
                _ = stop.wait_for(|stop| *stop), if self.may_read() => {
                    self.input.read_the_last(&stream, self.max_ahead_bytes)?;
                }
                readable = stream.readable(), if self.wants_input() => {
                    readable?;
                    self.input.read(&stream)?;
                }
            }
        }
    }

    fn held_bytes(&self) -> usize {
        let buffers = self.input.held_bytes() + self.decoder.held_bytes() + self.output.capacity();
        let group = self.group.as_ref().map_or(0, |group| group.size.held_bytes);
        let held = self.held.as_ref().map_or(0, Item::held_bytes);
        let queue: usize = self.queue.iter().map(Queued::held_bytes).sum();
        buffers + self.connection.held_bytes() + group + held + queue
    }

    fn is_done(&self) -> bool {
        self.ended && self.queue.is_empty() && self.group.is_none() && self.held.is_none()
    }

    fn has_room(&self) -> bool {
        self.output.len() + self.ready_bytes < OUTPUT_BYTES && self.queue.len() < QUEUE
    }

    fn wants_input(&self) -> bool {
        self.may_read() && self.held.is_none() && self.has_room()
    }

    fn may_read(&self) -> bool {
        !self.ended && !self.input.has_ended()
    }

    /// Sends the output, as long as the client takes some of it from time to time, and reads ahead
    /// meanwhile: it may have to send more before it takes any.
    async fn send(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        let (reader, mut writer) = stream.split();
        let stalled = sleep(self.stall);
        tokio::pin!(stalled);
        let mut sent = 0;
        while sent < self.output.len() {
            let reads_ahead = self.may_read() && self.input.held_bytes() < self.max_ahead_bytes;
            tokio::select! {
                biased;
                taken = writer.write(&self.output[sent..]) => {
                    match taken? {
                        0 => return Err(io::ErrorKind::WriteZero.into()),
                        taken => sent += taken,
                    }
                    stalled.as_mut().reset(Instant::now() + self.stall);
                }
                () = &mut stalled => return Err(io::ErrorKind::TimedOut.into()),
                readable = reader.readable(), if reads_ahead => {
                    readable?;
                    self.input.read_ahead(reader.as_ref())?;
                    self.share.set(self.held_bytes());
                    // Whoever sends without a pause must not keep a thread for itself.
                    consume_budget().await;
                }
            }
        }
        self.sent();
        Ok(())
    }

    /// The output has been sent.
    fn sent(&mut self) {
        self.output.clear();
        if self.output.capacity() > IDLE_BYTES {
            self.output = Vec::new();
        }
        self.input.shrink();
    }

    /// Takes as many requests as may be taken and collects the replies that are there.
    fn poll_advance(
        &mut self,
        around: &dyn Fn() -> Surroundings,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            self.take_requests(around);
            if self.poll_front(cx).is_pending() || !self.has_room() {
                return Poll::Ready(());
            }
        }
    }

    fn take_requests(&mut self, around: &dyn Fn() -> Surroundings) {
        while self.has_room() {
            let Some(item) = self.held.take().or_else(|| self.next_item(around)) else { break };
            if let Err(item) = self.admit(item) {
                self.held = Some(item);
                return;
            }
        }
        self.start_group();
    }

    /// The next request that is left to do. Those which the connection can answer by itself are
    /// answered straight into the output if nothing is before them.
    fn next_item(&mut self, around: &dyn Fn() -> Surroundings) -> Option<Item> {
        while !self.ended && self.has_room() {
            let direct = self.group.is_none() && self.queue.is_empty();
            let mut aside = Vec::new();
            let out = if direct { &mut self.output } else { &mut aside };
            let (step, size) = match self.decoder.decode(self.input.next()) {
                Ok(None) => {
                    if self.input.take_ahead() {
                        continue;
                    }
                    self.ended = self.input.has_ended();
                    return None;
                }
                Ok(Some(request)) => {
                    let step = if request.is_empty() {
                        Step::Replied
                    } else {
                        self.connection.on_request(&request, around, out)
                    };
                    (step, Size::of(&request))
                }
                Err(error) => {
                    let error = format!("ERR {error}");
                    Encoder::new(self.connection.version, out).error(&error);
                    (Step::Close, Size { bytes: 0, held_bytes: 0 })
                }
            };
            self.input.advance(size.bytes);
            match step {
                Step::Op(op) => return Some(Item::Op(op, size)),
                Step::Transaction(transaction) => return Some(Item::Transaction(transaction)),
                Step::Close => {
                    self.input.clear();
                    self.ended = true;
                }
                Step::Replied => {}
            }
            if !aside.is_empty() {
                return Some(Item::Reply(aside));
            }
        }
        None
    }

    /// Puts an item in its place, or gives it back if it must wait for the group before it.
    fn admit(&mut self, item: Item) -> Result<(), Item> {
        if let (Some(group), Item::Op(op, size)) = (&mut self.group, &item)
            && group.accepts(op, size.bytes)
        {
            let Item::Op(op, size) = item else { unreachable!("it is an operation") };
            group.push(op, size);
            return Ok(());
        }
        if !self.start_group() {
            return Err(item);
        }
        match item {
            Item::Op(op, size) => {
                let mut group = Group::new(Kind::of(&op), &self.connection);
                group.push(op, size);
                self.group = Some(group);
            }
            Item::Transaction(transaction) => {
                self.group = Some(Group::of_transaction(transaction, &self.connection));
            }
            Item::Reply(bytes) => {
                self.ready_bytes += bytes.len();
                match self.queue.back_mut() {
                    Some(Queued::Ready(before)) => before.extend_from_slice(&bytes),
                    _ => self.queue.push_back(Queued::Ready(bytes)),
                }
            }
        }
        Ok(())
    }

    /// Hands the group, if there is one, to the cluster; false if it has to wait.
    fn start_group(&mut self) -> bool {
        let Some(group) = &self.group else { return true };
        let under_way = |of: Kind| {
            let is =
                |queued: &&Queued| matches!(queued, Queued::Awaited { kind, .. } if *kind == of);
            self.queue.iter().filter(is).count()
        };
        let (reads, writes) = (under_way(Kind::Read), under_way(Kind::Write));
        let may_start = match group.kind {
            Kind::Read => reads == 0 && writes == 0,
            Kind::Write => reads == 0 && writes < WINDOW,
        };
        if !may_start {
            return false;
        }
        let Some(group) = self.group.take() else { return true };
        let (kind, level, held_bytes) = (group.kind, group.level, group.size.held_bytes);
        let (ops, reads) = (group.ops.len(), group.reads());
        let shape = Shape { ops, reads, version: group.version, parts: group.parts };
        let outcome: Outcome = match kind {
            Kind::Read => {
                let read = |op| match op {
                    Op::Read(read) => read,
                    Op::Write(_) => unreachable!("a group with writes is of the other kind"),
                };
                let query = Query::Run(group.ops.into_iter().map(read).collect());
                let answer = self.cluster.read(query, level);
                Box::pin(async { answer.await.map_err(Failed::Read) })
            }
            Kind::Write => {
                let response = self.cluster.write(Command::Run(group.ops));
                Box::pin(async { response.await.map_err(Failed::Write) })
            }
        };
        self.queue.push_back(Queued::Awaited { kind, shape, outcome, held_bytes });
        true
    }

    /// Moves replies from the front of the queue to the output; ready if there were any.
    fn poll_front(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut progress = Poll::Pending;
        while self.output.len() < OUTPUT_BYTES {
            match self.queue.front_mut() {
                None => break,
                Some(Queued::Awaited { shape, outcome, .. }) => {
                    let Poll::Ready(outcome) = outcome.as_mut().poll(cx) else { break };
                    let queued = shape.queued(outcome);
                    self.ready_bytes += queued.ready_bytes();
                    self.queue[0] = queued;
                    continue;
                }
                Some(Queued::Replies(replies)) => {
                    progress = Poll::Ready(());
                    if !replies.encode(&mut self.output, OUTPUT_BYTES) {
                        break;
                    }
                }
                Some(Queued::Ready(bytes)) => {
                    self.ready_bytes -= bytes.len();
                    self.output.append(bytes);
                }
            }
            self.queue.pop_front();
            progress = Poll::Ready(());
        }
        progress
    }
}

impl Size {
    fn of(request: &Request<'_>) -> Size {
        Size { bytes: request.consumed(), held_bytes: held_bytes(request) }
    }
}

impl Item {
    fn held_bytes(&self) -> usize {
        match self {
            Item::Reply(bytes) => bytes.len(),
            Item::Op(_, size) => size.held_bytes,
            Item::Transaction(transaction) => transaction.held_bytes,
        }
    }
}

impl Queued {
    fn held_bytes(&self) -> usize {
        match self {
            Queued::Awaited { held_bytes, .. } => *held_bytes,
            Queued::Replies(replies) => replies.held_bytes(),
            Queued::Ready(bytes) => bytes.len(),
        }
    }

    fn ready_bytes(&self) -> usize {
        if let Queued::Ready(bytes) = self { bytes.len() } else { 0 }
    }
}

impl Kind {
    fn of(op: &Op) -> Kind {
        match op {
            Op::Read(_) => Kind::Read,
            Op::Write(_) => Kind::Write,
        }
    }
}

impl Group {
    fn new(kind: Kind, connection: &Connection) -> Group {
        let level = if connection.readonly { Level::Local } else { Level::Linearizable };
        let version = connection.version;
        let size = Size { bytes: 0, held_bytes: 0 };
        Group { kind, ops: Vec::new(), size, values: 0, level, version, parts: None }
    }

    /// A transaction is a group of its own, which accepts nothing else. One that only reads needs
    /// no place in the log: its reads are answered from one and the same state anyhow.
    fn of_transaction(transaction: Transaction, connection: &Connection) -> Group {
        let Transaction { ops, parts, held_bytes } = transaction;
        let writes = ops.iter().any(|op| Kind::of(op) == Kind::Write);
        let kind = if writes { Kind::Write } else { Kind::Read };
        let size = Size { bytes: 0, held_bytes };
        Group { ops, size, parts: Some(parts), ..Group::new(kind, connection) }
    }

    /// Which operations are reads, if some are and not all.
    fn reads(&self) -> Vec<bool> {
        let is_read = |op: &Op| Kind::of(op) == Kind::Read;
        match self.kind {
            Kind::Write if self.ops.iter().any(is_read) => self.ops.iter().map(is_read).collect(),
            _ => Vec::new(),
        }
    }

    fn accepts(&self, op: &Op, bytes: usize) -> bool {
        let is_full = self.ops.len() >= GROUP_OPS || self.size.bytes + bytes > GROUP_BYTES;
        if is_full || self.parts.is_some() {
            return false;
        }
        let values = self.values.saturating_add(values_returned(op));
        if (self.kind, Kind::of(op)) == (Kind::Read, Kind::Read) {
            return values <= READ_VALUES;
        }
        let keeps_to_kind = (self.kind, Kind::of(op)) == (Kind::Write, Kind::Write);
        // Reads that need not be linearizable must not need a quorum either.
        let may_mix = self.level == Level::Linearizable;
        (keeps_to_kind || may_mix) && values <= WRITE_VALUES
    }

    fn push(&mut self, op: Op, size: Size) {
        if Kind::of(&op) == Kind::Write {
            self.kind = Kind::Write;
        }
        self.size.bytes += size.bytes;
        self.size.held_bytes += size.held_bytes;
        self.values = self.values.saturating_add(values_returned(&op));
        self.ops.push(op);
    }
}

/// How many values an operation returns at most. Reads which look at many keys count as many, so
/// that they do not get into the log, where each replica would have to execute them.
fn values_returned(op: &Op) -> usize {
    match op {
        Op::Read(Read::Get(_)) => 1,
        Op::Read(Read::MGet(keys) | Read::Exists(keys)) => keys.len(),
        Op::Read(Read::StrLen(_) | Read::Ttl(_) | Read::PTtl(_) | Read::Type(_) | Read::DbSize) => {
            0
        }
        Op::Read(Read::Keys(_) | Read::Scan { .. }) => READ_VALUES,
        Op::Write(Write::GetDel(_) | Write::Set { answer: SetAnswer::Old, .. }) => 1,
        Op::Write(_) => 0,
    }
}

impl Shape {
    fn queued(&mut self, outcome: Result<Vec<Reply>, Failed>) -> Queued {
        match (outcome, self.parts.take()) {
            (Ok(replies), Some(parts)) => {
                Queued::Replies(Replies::of_transaction(self.version, parts, replies))
            }
            (Ok(replies), None) => {
                assert_eq!(replies.len(), self.ops, "each operation has a reply");
                Queued::Replies(Replies::new(self.version, replies))
            }
            (Err(failed), parts) => {
                let (of_reads, of_writes) = match failed {
                    Failed::Read(error) => (String::new(), error.to_string()),
                    Failed::Write(error) => {
                        (ReadError::from(error.clone()).to_string(), error.to_string())
                    }
                };
                let errors = if parts.is_some() { 1 } else { self.ops };
                let mut bytes = Vec::new();
                for number in 0..errors {
                    let is_read = parts.is_none() && self.reads.get(number) == Some(&true);
                    let error = if is_read { &of_reads } else { &of_writes };
                    Encoder::new(self.version, &mut bytes).error(error);
                }
                Queued::Ready(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests;

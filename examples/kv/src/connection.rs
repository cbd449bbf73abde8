//! One client's conversation: what a request means after those before it.

use crate::command::{self, CommandError, Local, Run, Spec};
use crate::info::Surroundings;
use crate::limits::MAX_REQUEST_BYTES;
use crate::local;
use crate::machine::MAX_RESPONSE_BYTES;
use crate::op::Op;
use crate::replies::Replies;
use crate::resp::{Encoder, OwnedRequest, Request, Version};

/// The state of a conversation. Does no I/O and waits for nothing: a request comes in, a reply or
/// a [`Step`] for the cluster comes out.
#[derive(Debug)]
pub struct Connection {
    /// Names the connection, for CLIENT ID.
    pub id: u64,
    /// Which version of the protocol the client has asked for.
    pub version: Version,
    /// True after READONLY: reads need not be linearizable.
    pub readonly: bool,
    /// What CLIENT SETNAME said.
    pub name: Vec<u8>,
    multi: Option<Multi>,
}

/// What is to be done about a request.
#[derive(Debug)]
pub enum Step {
    /// Nothing: it has been replied to.
    Replied,
    /// This is to be executed, and its reply sent.
    Op(Op),
    /// This is to be executed, and its replies sent as one array.
    Transaction(Transaction),
    /// It has been replied to, and the connection ends with that.
    Close,
}

/// What stood between MULTI and EXEC.
#[derive(Debug)]
pub struct Transaction {
    /// What the replicated machine executes.
    pub ops: Vec<Op>,
    /// One for each queued command.
    pub parts: Vec<Part>,
    /// What it costs in memory, about.
    pub held_bytes: usize,
}

/// Where the reply to one queued command comes from.
#[derive(Debug)]
pub enum Part {
    /// The next one of [`Transaction::ops`].
    Op,
    /// Here it is, encoded.
    Ready(Vec<u8>),
}

#[derive(Debug, Default)]
struct Multi {
    queue: Vec<Queued>,
    /// What counts against [`MAX_REQUEST_BYTES`].
    bytes: usize,
    held_bytes: usize,
    broken: bool,
}

#[derive(Debug)]
enum Queued {
    Op(Op),
    Failed(CommandError),
    Local(Local, OwnedRequest),
}

impl Multi {
    /// What an operation counts for at least: many small ones cost a replica that executes them far
    /// more memory than their bytes in the log.
    const LEAST_BYTES: usize = 16;
    /// What a command that is not for the log costs in memory beyond its bytes, about.
    const QUEUED_BYTES: usize = 64;
}

impl Connection {
    /// A client which has said nothing yet.
    #[must_use]
    pub fn new(id: u64) -> Connection {
        Connection { id, version: Version::V2, readonly: false, name: Vec::new(), multi: None }
    }

    /// How much is held between requests: what was queued since MULTI, and the client's name.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let queued = self.multi.as_ref().filter(|multi| !multi.queue.is_empty());
        self.name.capacity() + queued.map_or(0, |multi| multi.held_bytes)
    }

    /// Takes the next request. What can be answered at once is answered into `out`.
    pub fn on_request(
        &mut self,
        request: &Request<'_>,
        around: &dyn Fn() -> Surroundings,
        out: &mut Vec<u8>,
    ) -> Step {
        let step = match command::resolve(request) {
            Err(_) if is_http(request) => return Step::Close,
            Err(error) => Err(error),
            Ok(spec) if self.multi.is_some() && is_queued(spec) => self.queue(spec, request, out),
            Ok(Spec { run: Run::Op(parse), .. }) => return self.parsed(parse(request), out),
            Ok(Spec { run: Run::Local(local), .. }) => self.on_local(*local, request, around, out),
        };
        step.unwrap_or_else(|error| self.refuse(error, out))
    }

    /// Answers a request that is not executed, nor queued.
    fn refuse(&mut self, error: CommandError, out: &mut Vec<u8>) -> Step {
        if error == CommandError::Arity("exec") {
            self.multi = None;
            return self.fail(&CommandError::ExecArity, out);
        }
        if let Some(multi) = &mut self.multi {
            multi.broken |= breaks_transaction(&error);
        }
        self.fail(&error, out)
    }

    fn parsed(&self, op: Result<Op, CommandError>, out: &mut Vec<u8>) -> Step {
        op.map_or_else(|error| self.fail(&error, out), Step::Op)
    }

    fn fail(&self, error: &CommandError, out: &mut Vec<u8>) -> Step {
        Encoder::new(self.version, out).error(&error.to_string());
        Step::Replied
    }

    fn simple(&self, text: &str, out: &mut Vec<u8>) -> Result<Step, CommandError> {
        Encoder::new(self.version, out).simple(text);
        Ok(Step::Replied)
    }

    fn on_local(
        &mut self,
        local: Local,
        request: &Request<'_>,
        around: &dyn Fn() -> Surroundings,
        out: &mut Vec<u8>,
    ) -> Result<Step, CommandError> {
        match local {
            Local::Multi if self.multi.is_some() => Err(CommandError::NestedMulti),
            Local::Multi => {
                self.multi = Some(Multi::default());
                self.simple("OK", out)
            }
            Local::Exec => self.exec(around, out),
            Local::Discard => {
                self.multi.take().ok_or(CommandError::DiscardWithoutMulti)?;
                self.simple("OK", out)
            }
            Local::Watch => Err(CommandError::Watch),
            Local::Quit => {
                self.simple("OK", out)?;
                Ok(Step::Close)
            }
            Local::Reset => {
                *self = Connection::new(self.id);
                self.simple("RESET", out)
            }
            other => {
                local::execute(self, other, request, around, out)?;
                Ok(Step::Replied)
            }
        }
    }

    fn queue(
        &mut self,
        spec: &Spec,
        request: &Request<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Step, CommandError> {
        let queued = match spec.run {
            Run::Local(Local::Hello | Local::Auth | Local::ReadOnly | Local::ReadWrite) => {
                return Err(CommandError::NotInTransaction);
            }
            Run::Local(local) => Queued::Local(local, request.to_owned()),
            Run::Op(parse) => parse(request).map_or_else(Queued::Failed, Queued::Op),
        };
        let Some(multi) = &mut self.multi else { return Err(CommandError::ExecWithoutMulti) };
        multi.bytes += match &queued {
            Queued::Op(op) => op.encoded_bytes().max(Multi::LEAST_BYTES),
            Queued::Failed(_) | Queued::Local(..) => request.consumed() + Multi::QUEUED_BYTES,
        };
        multi.held_bytes += held_bytes(request) + size_of::<Queued>();
        if multi.bytes > MAX_REQUEST_BYTES {
            multi.queue = Vec::new();
            return Err(CommandError::TransactionTooLarge);
        }
        multi.queue.push(queued);
        self.simple("QUEUED", out)
    }

    fn exec(
        &mut self,
        around: &dyn Fn() -> Surroundings,
        out: &mut Vec<u8>,
    ) -> Result<Step, CommandError> {
        let multi = self.multi.take().ok_or(CommandError::ExecWithoutMulti)?;
        if multi.broken {
            return Err(CommandError::ExecAbort);
        }
        let mut transaction =
            Transaction { ops: Vec::new(), parts: Vec::new(), held_bytes: multi.held_bytes };
        let mut replied_bytes = 0;
        for queued in multi.queue {
            let mut reply = Vec::new();
            let failed = match queued {
                // All of them are there before the first of them is sent.
                Queued::Local(..) if replied_bytes > MAX_RESPONSE_BYTES => {
                    Err(CommandError::RepliesTooLarge)
                }
                Queued::Op(op) => {
                    transaction.ops.push(op);
                    transaction.parts.push(Part::Op);
                    continue;
                }
                Queued::Failed(error) => Err(error),
                Queued::Local(local, request) => {
                    local::execute(self, local, &request.as_request(), around, &mut reply)
                }
            };
            if let Err(error) = failed {
                self.fail(&error, &mut reply);
            }
            replied_bytes += reply.len();
            transaction.held_bytes += reply.capacity();
            transaction.parts.push(Part::Ready(reply));
        }
        if transaction.ops.is_empty() {
            let parts = transaction.parts;
            Replies::of_transaction(self.version, parts, Vec::new()).encode(out, usize::MAX);
            return Ok(Step::Replied);
        }
        Ok(Step::Transaction(transaction))
    }
}

impl Part {
    /// What it costs in memory, about.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        size_of_val(self) + if let Part::Ready(bytes) = self { bytes.capacity() } else { 0 }
    }

    /// The beginning of the array of all parts.
    #[must_use]
    pub fn array(version: Version, length: usize) -> Part {
        let mut bytes = Vec::new();
        Encoder::new(version, &mut bytes).array(length);
        Part::Ready(bytes)
    }
}

/// What a request costs in memory, about, once it is taken apart: each argument is an allocation
/// of its own, with a pointer to it and its counts.
#[must_use]
pub fn held_bytes(request: &Request<'_>) -> usize {
    const ARGUMENT_BYTES: usize = 48;
    request.consumed() + request.len() * ARGUMENT_BYTES
}

/// A browser that was sent here by a page from elsewhere: what it says must not be taken for
/// commands, so nothing behind it is read. As in Redis, either of these gives it away.
fn is_http(request: &Request<'_>) -> bool {
    let name = request.get(0).unwrap_or_default();
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// True of commands that wait for EXEC between MULTI and EXEC; the others act at once.
fn is_queued(spec: &Spec) -> bool {
    !matches!(
        spec.run,
        Run::Local(
            Local::Multi | Local::Exec | Local::Discard | Local::Watch | Local::Quit | Local::Reset
        )
    )
}

/// MULTI within MULTI and WATCH within MULTI are refused without harm to the transaction.
fn breaks_transaction(error: &CommandError) -> bool {
    !matches!(error, CommandError::NestedMulti | CommandError::Watch)
}

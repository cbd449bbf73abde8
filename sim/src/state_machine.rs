//! Is a state machine fit to be replicated? Whatever two replicas would disagree about shows here
//! first, without a cluster.

use std::any::type_name;
use std::fmt;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use quorate_core::{At, Digest, Index, LogTime, StateMachine};

use crate::rng::Rng;

/// How many sequences of commands are tried.
const RUNS: u64 = 20;

/// How many commands a sequence has.
const COMMANDS: u64 = 200;

/// Names the machine, and the file to which a second process writes what it saw.
const SECOND_PROCESS: &str = "QUORATE_CHECK_STATE_MACHINE";

/// Why a state machine is not fit to be replicated, and where that showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Which sequence of commands: the seed of the generator that the commands were drawn with.
    pub seed: u64,
    /// How many commands were applied, the one at fault included.
    pub commands: u64,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What is wrong with a state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// A command, or a response, does not survive encoding and decoding.
    Encoding,
    /// Two instances answer the same command differently.
    Response,
    /// Two instances are in different states after the same commands, or write the same state
    /// differently.
    State,
    /// Another process comes to another state, or cannot be run.
    Process(String),
    /// A view changes while commands are applied, or is not written the same way twice.
    View,
    /// A state that was restored from a snapshot is not the one that was written, or does not go on
    /// like it.
    Restored,
    /// A snapshot cannot be written, or not be restored.
    Snapshot(String),
    /// A snapshot that was cut off after so many bytes is taken for a whole one.
    Truncated(usize),
    /// A snapshot with bytes behind its end is taken for a whole one.
    Trailing,
    /// `expire` leaves a deadline that has passed: it would be called at every entry.
    Deadline,
    /// It panics, on a command or on a damaged snapshot: that would stop every replica.
    Panic(String),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unfit { seed, commands, flaw } = self;
        write!(f, "after {commands} commands of sequence {seed}: {flaw}")
    }
}

impl std::error::Error for Unfit {}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Encoding => f.write_str(
                "the command or its response does not survive encoding and decoding with postcard: \
                 use plain serde data (no untagged, flattened or skipped fields)",
            ),
            Flaw::Response => f.write_str(
                "two instances answer the same command differently: look for clocks, random numbers \
                 and iteration over a HashMap in apply",
            ),
            Flaw::State => f.write_str(
                "two instances differ after the same commands, or write the same state differently: \
                 look for clocks, random numbers and HashMaps in the state",
            ),
            Flaw::Process(what) => write!(f, "a second process does not come to the same: {what}"),
            Flaw::View => f.write_str("a view is not a constant copy: it must share nothing that changes"),
            Flaw::Restored => f.write_str(
                "the state that was restored is not the one that was written: is a part of it left out \
                 of the snapshot?",
            ),
            Flaw::Snapshot(error) => write!(f, "a snapshot cannot be written and restored: {error}"),
            Flaw::Truncated(bytes) => {
                write!(f, "a snapshot that ends after {bytes} bytes is restored without an error")
            }
            Flaw::Trailing => {
                f.write_str("a snapshot with bytes behind its end is restored without an error")
            }
            Flaw::Deadline => f.write_str("expire leaves a deadline which has passed"),
            Flaw::Panic(message) => write!(f, "it panics: {message}"),
        }
    }
}

/// Sees whether `S` is what replication needs: the same commands lead to the same states and the
/// same responses, in every instance and every process, over snapshots and restarts.
///
/// Draws sequences of commands from `command` and feeds them to two instances, and to a third one
/// which is replaced by its own snapshot again and again. Log time moves on meanwhile, and what
/// has a deadline expires as it would in a cluster. At the end a second process of the same program
/// does the same; it is started with the same arguments, or, in a test, with those that run this
/// test alone.
///
/// Bits that flip in a snapshot are noticed by the checksums around it, so all that is asked of a
/// damaged one here is that it does not panic; one that is cut off must be refused.
///
/// ```
/// use quorate_core::{At, StateMachine};
/// use quorate_sim::check_state_machine;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// struct Counter { value: i64 }
///
/// impl StateMachine for Counter {
///     type Command = i64;
///     type Response = i64;
///     type Query = ();
///     type Answer = i64;
///     fn apply(&mut self, _: &At, add: i64) -> i64 { self.value += add; self.value }
///     fn query(&self, _: &At, (): ()) -> i64 { self.value }
/// }
///
/// check_state_machine::<Counter>(|rng| rng.below(100) as i64)?;
/// # Ok::<(), quorate_sim::Unfit>(())
/// ```
///
/// # Errors
/// The first thing at which something differs.
pub fn check_state_machine<S: StateMachine + Default>(
    command: impl Fn(&mut Rng) -> S::Command,
) -> Result<(), Unfit> {
    let mut steps = Vec::new();
    for seed in 0..RUNS {
        let mut rig = Rig::<S>::new(seed);
        let checked = catch_unwind(AssertUnwindSafe(|| rig.run(&command)));
        let commands = rig.at.index.0;
        match checked {
            Ok(Ok(digests)) => steps.extend((1..).zip(digests).map(|(at, it)| (seed, at, it))),
            Ok(Err(flaw)) => return Err(Unfit { seed, commands, flaw }),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                let flaw = Flaw::Panic(text.unwrap_or("(no message)").to_owned());
                return Err(Unfit { seed, commands, flaw });
            }
        }
    }
    compare_processes::<S>(&steps)
}

/// The instances, and where in the log they are.
struct Rig<S> {
    rng: Rng,
    commands: Rng,
    at: At,
    one: S,
    other: S,
    restored: S,
}

impl<S: StateMachine + Default> Rig<S> {
    fn new(seed: u64) -> Rig<S> {
        let (rng, commands) = (Rng::new(seed, "state machine"), Rng::new(seed, "commands"));
        let at = At { index: Index(0), time: LogTime(1_700_000_000_000_000), seed: 0 };
        let (one, other, restored) = (S::default(), S::default(), S::default());
        Rig { rng, commands, at, one, other, restored }
    }

    /// Gives a digest of each response and the state after it.
    fn run(&mut self, command: &impl Fn(&mut Rng) -> S::Command) -> Result<Vec<Digest>, Flaw> {
        let mut digests = Vec::new();
        while self.at.index.0 < COMMANDS {
            let encoded = encode(&command(&mut self.commands))?;
            self.at.index = self.at.index.next();
            self.at.seed = self.rng.bits();
            self.at.time = LogTime(self.at.time.0 + self.rng.below(2_000_000));
            let (response, state) = self.step(&encoded)?;
            digests.push(Digest::of(&[&response[..], &state[..]].concat()));
            if self.rng.one_in(8) {
                self.restore(&state)?;
            }
            if self.rng.one_in(16) {
                self.damage(&state)?;
            }
        }
        Ok(digests)
    }

    /// Applies one command to every instance; gives the bytes of the response and of the state.
    fn step(&mut self, command: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Flaw> {
        let (view, before) = (self.one.view(), snapshot(&self.one.view(), S::write)?);
        let one = apply(&mut self.one, &self.at, command)?;
        let other = apply(&mut self.other, &self.at, command)?;
        let restored = apply(&mut self.restored, &self.at, command)?;
        if one != other {
            return Err(Flaw::Response);
        }
        if snapshot(&view, S::write)? != before {
            return Err(Flaw::View);
        }
        let state = snapshot(&self.one.view(), S::write)?;
        if snapshot(&self.other.view(), S::write)? != state
            || self.one.deadline() != self.other.deadline()
        {
            return Err(Flaw::State);
        }
        if restored != one
            || snapshot(&self.restored.view(), S::write)? != state
            || self.restored.deadline() != self.one.deadline()
        {
            return Err(Flaw::Restored);
        }
        Ok((one, state))
    }

    /// Puts an instance in place of the third that was restored from this snapshot.
    fn restore(&mut self, state: &[u8]) -> Result<(), Flaw> {
        let restored = S::restore(&mut &state[..]);
        self.restored = restored.map_err(|error| Flaw::Snapshot(error.to_string()))?;
        let again = snapshot(&self.restored.view(), S::write)?;
        if again == state { Ok(()) } else { Err(Flaw::Restored) }
    }

    /// Offers snapshots that are not whole.
    fn damage(&mut self, state: &[u8]) -> Result<(), Flaw> {
        if !state.is_empty() {
            let len = self.rng.position(state.len());
            if S::restore(&mut &state[..len]).is_ok() {
                return Err(Flaw::Truncated(len));
            }
            let mut flipped = state.to_vec();
            flipped[self.rng.position(state.len())] ^= 1 << self.rng.below(8);
            // Whether it is refused or not: it must not panic.
            let _ = S::restore(&mut &flipped[..]);
        }
        if S::restore(&mut &[state, &[0]].concat()[..]).is_ok() {
            return Err(Flaw::Trailing);
        }
        Ok(())
    }
}

/// Has a machine do what it would do for an entry of a cluster's log; gives the encoded response.
fn apply<S: StateMachine>(machine: &mut S, at: &At, command: &[u8]) -> Result<Vec<u8>, Flaw> {
    if machine.deadline().is_some_and(|deadline| deadline <= at.time) {
        machine.expire(at);
        if machine.deadline().is_some_and(|deadline| deadline <= at.time) {
            return Err(Flaw::Deadline);
        }
    }
    let command = postcard::from_bytes(command).map_err(|_| Flaw::Encoding)?;
    let response = encode(&machine.apply(at, command))?;
    let decoded: S::Response = postcard::from_bytes(&response).map_err(|_| Flaw::Encoding)?;
    if encode(&decoded)? == response { Ok(response) } else { Err(Flaw::Encoding) }
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, Flaw> {
    postcard::to_allocvec(value).map_err(|_| Flaw::Encoding)
}

fn snapshot<V>(
    view: &V,
    write: impl Fn(&V, &mut dyn io::Write) -> io::Result<()>,
) -> Result<Vec<u8>, Flaw> {
    let mut bytes = Vec::new();
    write(view, &mut bytes).map_err(|error| Flaw::Snapshot(error.to_string()))?;
    Ok(bytes)
}

/// Has a second process come to the same responses and states. Memory lies elsewhere in it, and hash maps have
/// other seeds.
fn compare_processes<S>(steps: &[(u64, u64, Digest)]) -> Result<(), Unfit> {
    let mine: Vec<String> = steps.iter().map(|(_, _, digest)| format!("{:?}", digest.0)).collect();
    if let Some((machine, file)) = second_process() {
        if machine == type_name::<S>() {
            // The first process reads it, or says that it is not there.
            let written = fs::write(file, mine.join("\n"));
            std::process::exit(i32::from(written.is_err()));
        }
        return Ok(());
    }
    let unfit = |position: usize, what: String| {
        let (seed, commands, _) = steps[position];
        Unfit { seed, commands, flaw: Flaw::Process(what) }
    };
    let last = steps.len() - 1;
    let theirs = run_again::<S>().map_err(|error| unfit(last, error.to_string()))?;
    let theirs: Vec<&str> = theirs.lines().collect();
    match mine.iter().zip(&theirs).position(|(mine, theirs)| mine != theirs) {
        Some(position) => Err(unfit(position, "its response or its state differs".to_owned())),
        None if theirs.len() == mine.len() => Ok(()),
        None => Err(unfit(theirs.len().min(last), "it did not get as far".to_owned())),
    }
}

/// What this process is asked, if it is a second one.
fn second_process() -> Option<(String, PathBuf)> {
    let asked = std::env::var(SECOND_PROCESS).ok()?;
    let (machine, file) = asked.split_once('\n')?;
    Some((machine.to_owned(), PathBuf::from(file)))
}

/// What a second process of this program writes.
fn run_again<S>() -> io::Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    let ended = second(file.path(), type_name::<S>())?;
    if !ended.success() {
        return Err(io::Error::other(format!("it ended with {ended}")));
    }
    fs::read_to_string(file.path())
}

fn second(file: &Path, machine: &str) -> io::Result<std::process::ExitStatus> {
    let mut command = Command::new(std::env::current_exe()?);
    match std::thread::current().name() {
        // The thread of a test has the test's name.
        Some(test) if test != "main" => command.args([test, "--exact", "--nocapture"]),
        _ => command.args(std::env::args_os().skip(1)),
    };
    let asked = format!("{machine}\n{}", file.display());
    command.env(SECOND_PROCESS, asked).stdout(Stdio::null()).stderr(Stdio::null()).status()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::sync::atomic::{AtomicU64, Ordering};

    use serde::{Deserialize, Serialize};

    use super::*;

    /// What goes wrong with a machine of this kind, if anything.
    fn flaw_of<S: StateMachine<Command = u64> + Default>() -> Option<Flaw> {
        check_state_machine::<S>(|rng| rng.below(50)).err().map(|unfit| unfit.flaw)
    }

    /// A machine of plain data, and what it does with a command.
    macro_rules! machine {
        ($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty),* } $self:ident, $at:ident, $command:ident => $apply:expr) => {
            #[derive(Default, Clone, Serialize, Deserialize)]
            struct $name { $($(#[$attribute])* $field: $type),* }

            impl StateMachine for $name {
                type Command = u64;
                type Response = u64;
                type Query = ();
                type Answer = ();
                fn apply(&mut $self, $at: &At, $command: u64) -> u64 { $apply }
                fn query(&self, _: &At, (): ()) {}
            }
        };
    }

    #[test]
    fn a_machine_whose_state_follows_from_its_commands_is_fit() {
        machine!(Sums { sums: BTreeMap<u64, u64> } self, at, n => {
            let sum = self.sums.entry(n).or_default();
            *sum += at.seed % 7 + at.time.0 % 3;
            *sum
        });
        assert_eq!(flaw_of::<Sums>(), None);
    }

    #[test]
    fn hash_maps_in_the_state_are_noticed() {
        machine!(Hashes { map: HashMap<u64, u64> } self, at, n => {
            self.map.insert(n, at.index.0).unwrap_or_default()
        });
        // Two instances, or one and its snapshot: whichever happens to differ first.
        assert!(matches!(flaw_of::<Hashes>(), Some(Flaw::State | Flaw::Restored)));
    }

    #[test]
    fn what_is_not_in_the_state_is_noticed_in_the_response() {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        machine!(Counts { none: () } self, _at, _n => CALLS.fetch_add(1, Ordering::Relaxed));
        assert_eq!(flaw_of::<Counts>(), Some(Flaw::Response));
    }

    #[test]
    fn what_differs_between_processes_only_is_noticed() {
        machine!(Process { id: u32 } self, _at, _n => {
            self.id = std::process::id();
            0
        });
        assert!(matches!(flaw_of::<Process>(), Some(Flaw::Process(_))));
    }

    #[test]
    fn a_response_that_differs_between_processes_only_is_noticed_at_its_command() {
        machine!(Salted { none: () } self, at, _n => {
            if at.index.0 < 3 { 0 } else { u64::from(std::process::id()) }
        });
        let unfit = check_state_machine::<Salted>(|rng| rng.below(50)).unwrap_err();
        assert!(matches!(unfit.flaw, Flaw::Process(_)), "{unfit}");
        assert_eq!(unfit.commands, 3);
    }

    #[test]
    fn what_a_snapshot_leaves_out_is_noticed() {
        machine!(Forgets { kept: u64, #[serde(skip)] lost: u64 } self, _at, n => {
            self.lost += n;
            self.lost
        });
        assert_eq!(flaw_of::<Forgets>(), Some(Flaw::Restored));
    }

    #[test]
    fn a_panic_is_noticed() {
        machine!(Panics { none: () } self, _at, n => n.checked_sub(1).expect("commands are positive"));
        let Some(Flaw::Panic(message)) = flaw_of::<Panics>() else { panic!("not noticed") };
        assert!(message.contains("commands are positive"), "{message}");
    }

    /// A machine by hand, broken in one place.
    #[derive(Default)]
    struct ByHand<const BREAK: u8>(std::sync::Arc<AtomicU64>);

    impl<const BREAK: u8> quorate_core::Snapshottable for ByHand<BREAK> {
        type View = std::sync::Arc<AtomicU64>;

        fn view(&self) -> Self::View {
            if BREAK == b'v' {
                self.0.clone()
            } else {
                AtomicU64::new(self.0.load(Ordering::Relaxed)).into()
            }
        }

        fn write(view: &Self::View, out: &mut dyn io::Write) -> io::Result<()> {
            out.write_all(&view.load(Ordering::Relaxed).to_le_bytes())
        }

        fn restore(input: &mut dyn io::Read) -> io::Result<Self> {
            let mut bytes = [0; 8];
            if BREAK == b't' {
                input.read(&mut bytes).map(|_| ())?
            } else {
                input.read_exact(&mut bytes)?
            }
            let is_over = BREAK == b'e' || input.read(&mut [0])? == 0;
            if !is_over {
                return Err(io::Error::other("it goes on"));
            }
            Ok(ByHand(AtomicU64::new(u64::from_le_bytes(bytes)).into()))
        }
    }

    impl<const BREAK: u8> StateMachine for ByHand<BREAK> {
        type Command = u64;
        type Response = u64;
        type Query = ();
        type Answer = ();

        fn apply(&mut self, _: &At, n: u64) -> u64 {
            self.0.fetch_add(n | 1, Ordering::Relaxed)
        }

        fn query(&self, _: &At, (): ()) {}

        fn deadline(&self) -> Option<LogTime> {
            (BREAK == b'd').then_some(LogTime(1))
        }
    }

    #[test]
    fn a_machine_with_views_of_its_own_is_fit_if_they_are() {
        assert_eq!(flaw_of::<ByHand<0>>(), None);
    }

    #[test]
    fn a_view_that_shares_the_state_is_noticed() {
        assert_eq!(flaw_of::<ByHand<b'v'>>(), Some(Flaw::View));
    }

    #[test]
    fn a_snapshot_that_is_too_short_has_to_be_refused() {
        assert!(matches!(flaw_of::<ByHand<b't'>>(), Some(Flaw::Truncated(_))));
    }

    #[test]
    fn a_snapshot_that_is_too_long_has_to_be_refused() {
        assert_eq!(flaw_of::<ByHand<b'e'>>(), Some(Flaw::Trailing));
    }

    #[test]
    fn a_deadline_that_stays_is_noticed() {
        assert_eq!(flaw_of::<ByHand<b'd'>>(), Some(Flaw::Deadline));
    }
}

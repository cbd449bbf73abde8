//! Options which several commands share: expiries and conditions.

use super::error::CommandError;
use crate::machine::parse_integer;
use crate::op::{Condition, Deadline, ExpireCondition, ExpireOrder, Expiry};

/// In which unit and from which origin a command tells time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Seconds from the moment of execution.
    Seconds,
    /// Milliseconds from the moment of execution.
    Millis,
    /// Seconds since the Unix epoch.
    EpochSeconds,
    /// Milliseconds since the Unix epoch.
    EpochMillis,
}

/// Log time in milliseconds stays below this for some thirty thousand years, so a duration that
/// can be added to it can be added to any "now".
const MAX_NOW_MS: i64 = 1_000_000_000_000_000;

impl Clock {
    /// The moment that `argument` means. `command` is named in the error.
    pub fn deadline(
        self,
        argument: &[u8],
        command: &'static str,
    ) -> Result<Deadline, CommandError> {
        let number = parse_integer(argument)?;
        let too_far = CommandError::ExpireTime(command);
        let ms = match self {
            Clock::Seconds | Clock::EpochSeconds => number.checked_mul(1000),
            Clock::Millis | Clock::EpochMillis => Some(number),
        };
        match (self, ms) {
            (_, None) => Err(too_far),
            (Clock::EpochSeconds | Clock::EpochMillis, Some(ms)) => Ok(Deadline::At(ms)),
            (_, Some(ms)) if ms > i64::MAX - MAX_NOW_MS => Err(too_far),
            (_, Some(ms)) => Ok(Deadline::In(ms)),
        }
    }

    /// [`Clock::deadline`] for commands which refuse what cannot be in the future.
    pub fn future(self, argument: &[u8], command: &'static str) -> Result<Deadline, CommandError> {
        match self.deadline(argument, command)? {
            Deadline::In(..=0) | Deadline::At(..=0) => Err(CommandError::ExpireTime(command)),
            deadline => Ok(deadline),
        }
    }
}

/// The options of SET.
#[derive(Debug)]
pub struct SetOptions {
    /// NX, XX.
    pub condition: Condition,
    /// EX, PX, EXAT, PXAT, KEEPTTL.
    pub expiry: Expiry,
    /// GET.
    pub get: bool,
}

impl SetOptions {
    /// Reads the options behind key and value.
    pub fn parse<'a>(mut args: impl Iterator<Item = &'a [u8]>) -> Result<SetOptions, CommandError> {
        let (mut condition, mut get, mut keep) = (Condition::Always, false, false);
        let mut clock = None;
        while let Some(arg) = args.next() {
            let mut option = [0; 8];
            match lower(arg, &mut option) {
                b"nx" if condition != Condition::IfPresent => condition = Condition::IfAbsent,
                b"xx" if condition != Condition::IfAbsent => condition = Condition::IfPresent,
                b"get" => get = true,
                b"keepttl" if clock.is_none() => keep = true,
                unit => {
                    let unit = match unit {
                        b"ex" => Clock::Seconds,
                        b"px" => Clock::Millis,
                        b"exat" => Clock::EpochSeconds,
                        b"pxat" => Clock::EpochMillis,
                        _ => return Err(CommandError::Syntax),
                    };
                    // As in Redis, the last one counts, but they must be of one kind.
                    if keep || clock.is_some_and(|(before, _)| before != unit) {
                        return Err(CommandError::Syntax);
                    }
                    clock = Some((unit, args.next().ok_or(CommandError::Syntax)?));
                }
            }
        }
        let expiry = match clock {
            Some((clock, argument)) => Expiry::Set(clock.future(argument, "set")?),
            None if keep => Expiry::Keep,
            None => Expiry::Clear,
        };
        Ok(SetOptions { condition, expiry, get })
    }
}

/// Reads the conditions of EXPIRE.
pub fn expire_condition<'a>(
    args: impl Iterator<Item = &'a [u8]>,
) -> Result<ExpireCondition, CommandError> {
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    for arg in args {
        match lower(arg, &mut [0; 8]) {
            b"nx" => nx = true,
            b"xx" => xx = true,
            b"gt" => gt = true,
            b"lt" => lt = true,
            _ => return Err(CommandError::ExpireOption(CommandError::show(arg))),
        }
    }
    let order = match (nx, gt, lt) {
        (true, ..) if xx || gt || lt => return Err(CommandError::ExpireNx),
        (_, true, true) => return Err(CommandError::ExpireGtLt),
        (true, ..) => ExpireOrder::None,
        (_, true, _) => ExpireOrder::Later,
        (_, _, true) => ExpireOrder::Earlier,
        _ => ExpireOrder::Any,
    };
    Ok(ExpireCondition { order, if_present: xx })
}

/// `word` in lower case, or nothing if it is longer than any word that is looked for.
pub fn lower<'a, const N: usize>(word: &[u8], buffer: &'a mut [u8; N]) -> &'a [u8] {
    let Some(lowered) = buffer.get_mut(..word.len()) else { return &[] };
    lowered.copy_from_slice(word);
    lowered.make_ascii_lowercase();
    lowered
}

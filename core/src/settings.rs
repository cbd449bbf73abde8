//! What can be tuned, with units and defaults.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Times and limits of a replica. Members of a cluster may differ in them while a change is rolled
/// out, and should not for longer: the limits of the node at which a session is opened hold for the
/// whole cluster, and a leader's heartbeat must be shorter than everybody's election timeout.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settings {
    /// How often a leader shows that it is alive. Default: 40 ms.
    pub heartbeat: Duration,
    /// How long a follower waits for a word from a leader before it tries to replace it: drawn
    /// anew each time from this range (or a part of it), whose start is also how long a follower that has heard
    /// from a leader refuses to vote against it. At least five heartbeats. Default: 200–400 ms.
    pub election: Range<Duration>,
    /// How long a request may wait for its outcome before it is answered "unknown", or "not
    /// proposed" if it surely was not. A leader refuses more as long as the oldest that it took
    /// has waited for half of this. Default: 5 s.
    pub request_timeout: Duration,
    /// The largest command, in bytes, with some tens of bytes that name who asks. At most [`Settings::MAX_MESSAGE_BYTES`]. Default: 4 MiB.
    pub max_command_bytes: usize,
    /// How many bytes of entries one message to a peer carries; at least one entry is sent. At
    /// most [`Settings::MAX_MESSAGE_BYTES`]. Default: 1 MiB.
    pub append_bytes: usize,
    /// How many bytes of entries may be on their way to one peer, unacknowledged; a quarter of it is how
    /// many bytes of requests are forwarded to a leader ahead of its answers. At most
    /// [`Settings::MAX_PENDING_BYTES`]. Default: 8 MiB.
    pub window_bytes: usize,
    /// How many bytes of entries a leader takes that are not committed and applied yet. Beyond that,
    /// proposals are refused as busy. At most [`Settings::MAX_PENDING_BYTES`]. Default: 64 MiB.
    pub uncommitted_bytes: usize,
    /// How many bytes of entries are handed to the applier before it answers. Default: 4 MiB.
    pub apply_bytes: usize,
    /// How many bytes of durable and committed entries are kept in memory for slow peers.
    /// Default: 32 MiB.
    pub log_cache_bytes: usize,
    /// How many bytes of applied entries make a new snapshot worth its cost, unless the last
    /// snapshot was larger: then as many bytes as that. Default: 32 MiB.
    pub snapshot_bytes: u64,
    /// How often another [`append_bytes`](Settings::append_bytes) of the log are read back from the
    /// disk, so that damage is found and repaired before anybody needs them. Default: 1 s.
    pub scrub_interval: Duration,
    /// How many sessions the cluster keeps; opening one more evicts the one that was used least
    /// recently. Travels with the entry that registers a session, so all replicas evict the
    /// same. Default: 10,000.
    pub max_sessions: u32,
    /// How many requests of one session may be outstanding. Travels with the entry that registers
    /// it. Default: 256.
    pub session_window: u32,
    /// How many bytes of responses the cluster keeps for requests that are sent again, of all
    /// sessions together. Beyond that the oldest are dropped: a retry is then told that its
    /// request was applied, and not how it was answered. Travels as `max_sessions` does.
    /// Default: 64 MiB.
    pub max_response_bytes: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            heartbeat: Duration::from_millis(40),
            election: Duration::from_millis(200)..Duration::from_millis(400),
            request_timeout: Duration::from_secs(5),
            max_command_bytes: 4 << 20,
            append_bytes: 1 << 20,
            window_bytes: 8 << 20,
            uncommitted_bytes: 64 << 20,
            apply_bytes: 4 << 20,
            log_cache_bytes: 32 << 20,
            snapshot_bytes: 32 << 20,
            scrub_interval: Duration::from_secs(1),
            max_sessions: 10_000,
            session_window: 256,
            max_response_bytes: 64 << 20,
        }
    }
}

/// Longer than anybody waits for a leader, and short enough to be added to any moment.
const LONGEST_ELECTION: Duration = Duration::from_secs(24 * 60 * 60);

/// Longer than any use of it, and short enough to be added to any moment.
const LONGEST_INTERVAL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Settings which cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A follower would replace leaders that are alive.
    #[error(
        "election timeouts must start at five heartbeats or more, end within a day, and the range \
         must not be empty"
    )]
    Election,
    /// A limit of zero.
    #[error("{0} must be greater than zero")]
    Zero(&'static str),
    /// A time that cannot be added to any moment.
    #[error("{0} must be ten years at most")]
    TooLong(&'static str),
    /// A command that fits would not fit anywhere else.
    #[error("uncommitted_bytes must be at least max_command_bytes")]
    Uncommitted,
    /// A write might become larger than what a log can read back.
    #[error("{name} must be at most {max_bytes} bytes")]
    TooLarge {
        /// The setting.
        name: &'static str,
        /// The limit.
        max_bytes: usize,
    },
}

impl Settings {
    /// The most that may be set for what goes into one message, in bytes: 64 MiB.
    ///
    /// A replica writes at once what it was sent at once and what it took from its clients. All of
    /// that has to stay below 1 GiB, which is the most that the log on disk takes as one.
    pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

    /// The most that may be set for what is under way at once, in bytes: 512 MiB.
    pub const MAX_PENDING_BYTES: usize = 512 << 20;

    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the setting to change.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let patient = self.heartbeat.checked_mul(5).is_some_and(|five| self.election.start >= five);
        if self.election.is_empty() || !patient || self.election.end > LONGEST_ELECTION {
            return Err(SettingsError::Election);
        }
        let positive = [
            (self.heartbeat.is_zero(), "heartbeat"),
            (self.request_timeout.is_zero(), "request_timeout"),
            (self.scrub_interval.is_zero(), "scrub_interval"),
            (self.max_command_bytes == 0, "max_command_bytes"),
            (self.append_bytes == 0, "append_bytes"),
            (self.window_bytes == 0, "window_bytes"),
            (self.apply_bytes == 0, "apply_bytes"),
            (self.snapshot_bytes == 0, "snapshot_bytes"),
            (self.max_sessions == 0, "max_sessions"),
            (self.session_window == 0, "session_window"),
            (self.max_response_bytes == 0, "max_response_bytes"),
        ];
        if let Some((_, name)) = positive.iter().find(|(zero, _)| *zero) {
            return Err(SettingsError::Zero(name));
        }
        if self.scrub_interval > LONGEST_INTERVAL {
            return Err(SettingsError::TooLong("scrub_interval"));
        }
        let bounded = [
            (self.max_command_bytes, Self::MAX_MESSAGE_BYTES, "max_command_bytes"),
            (self.append_bytes, Self::MAX_MESSAGE_BYTES, "append_bytes"),
            (self.window_bytes, Self::MAX_PENDING_BYTES, "window_bytes"),
            (self.uncommitted_bytes, Self::MAX_PENDING_BYTES, "uncommitted_bytes"),
        ];
        if let Some((_, max_bytes, name)) = bounded.iter().find(|(bytes, max, _)| bytes > max) {
            return Err(SettingsError::TooLarge { name, max_bytes: *max_bytes });
        }
        if self.uncommitted_bytes < self.max_command_bytes {
            return Err(SettingsError::Uncommitted);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_nonsense_is_named() {
        assert_eq!(Settings::default().validate(), Ok(()));
        let hasty = Settings { heartbeat: Duration::from_millis(41), ..Settings::default() };
        assert_eq!(hasty.validate(), Err(SettingsError::Election));
        let endless = Settings { heartbeat: Duration::MAX, ..Settings::default() };
        assert_eq!(endless.validate(), Err(SettingsError::Election));
        let never = Settings { scrub_interval: Duration::MAX, ..Settings::default() };
        assert_eq!(never.validate(), Err(SettingsError::TooLong("scrub_interval")));
        let years = Duration::from_secs(315_360_000);
        let rarely = Settings { scrub_interval: years, ..Settings::default() };
        assert_eq!(rarely.validate(), Ok(()));
        let more = years + Duration::from_nanos(1);
        let too_rarely = Settings { scrub_interval: more, ..Settings::default() };
        assert_eq!(too_rarely.validate(), Err(SettingsError::TooLong("scrub_interval")));
        let empty = Settings {
            election: Duration::from_millis(400)..Duration::from_millis(400),
            ..Settings::default()
        };
        assert_eq!(empty.validate(), Err(SettingsError::Election));
        let day = Duration::from_secs(24 * 60 * 60);
        let longest = Settings { election: day / 2..day, ..Settings::default() };
        assert_eq!(longest.validate(), Ok(()));
        let longer = Settings { election: day / 2..2 * day, ..Settings::default() };
        assert_eq!(longer.validate(), Err(SettingsError::Election));
        let least = Settings { max_command_bytes: 9, uncommitted_bytes: 9, ..Settings::default() };
        assert_eq!(least.validate(), Ok(()));
        let small = Settings { uncommitted_bytes: 1, ..Settings::default() };
        assert_eq!(small.validate(), Err(SettingsError::Uncommitted));
    }

    #[test]
    fn nothing_with_which_a_replica_would_stand_still_or_never_pause_may_be_zero() {
        type Set = fn(&mut Settings);
        let zeros: [(&str, Set); 11] = [
            ("heartbeat", |it| it.heartbeat = Duration::ZERO),
            ("request_timeout", |it| it.request_timeout = Duration::ZERO),
            ("scrub_interval", |it| it.scrub_interval = Duration::ZERO),
            ("max_command_bytes", |it| it.max_command_bytes = 0),
            ("append_bytes", |it| it.append_bytes = 0),
            ("window_bytes", |it| it.window_bytes = 0),
            ("apply_bytes", |it| it.apply_bytes = 0),
            ("snapshot_bytes", |it| it.snapshot_bytes = 0),
            ("max_sessions", |it| it.max_sessions = 0),
            ("session_window", |it| it.session_window = 0),
            ("max_response_bytes", |it| it.max_response_bytes = 0),
        ];
        for (name, set) in zeros {
            let mut settings = Settings::default();
            set(&mut settings);
            let refused = settings.validate();
            assert_eq!(refused, Err(SettingsError::Zero(name)));
            let said = refused.unwrap_err().to_string();
            assert_eq!(said, format!("{name} must be greater than zero"));
        }
        let no_cache = Settings { log_cache_bytes: 0, ..Settings::default() };
        assert_eq!(no_cache.validate(), Ok(()));
    }

    #[test]
    fn what_could_outgrow_the_log_on_disk_is_refused() {
        let largest = Settings {
            max_command_bytes: Settings::MAX_MESSAGE_BYTES,
            append_bytes: Settings::MAX_MESSAGE_BYTES,
            window_bytes: Settings::MAX_PENDING_BYTES,
            uncommitted_bytes: Settings::MAX_PENDING_BYTES,
            ..Settings::default()
        };
        assert_eq!(largest.validate(), Ok(()));
        let one_more = [
            (
                "max_command_bytes",
                Settings { max_command_bytes: (64 << 20) + 1, ..largest.clone() },
            ),
            ("append_bytes", Settings { append_bytes: (64 << 20) + 1, ..largest.clone() }),
            ("window_bytes", Settings { window_bytes: (512 << 20) + 1, ..largest.clone() }),
            ("uncommitted_bytes", Settings { uncommitted_bytes: usize::MAX, ..largest.clone() }),
        ];
        for (expected, settings) in one_more {
            let refused = settings.validate().unwrap_err();
            let SettingsError::TooLarge { name, .. } = refused else { panic!("{refused}") };
            assert_eq!(name, expected);
        }
    }
}

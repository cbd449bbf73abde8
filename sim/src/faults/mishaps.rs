//! What happens to processes, disks and the network as a whole, and how often.

use std::collections::BTreeMap;
use std::time::Duration;

use super::millis;
use crate::rng::Rng;

/// Declares the kinds of mishaps, all of which are to strike now and then.
macro_rules! mishaps {
    ($($(#[$what:meta])* $name:ident,)*) => {
        /// What happens to processes, disks and the network now and then.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Mishap {
            $($(#[$what])* $name,)*
        }

        impl Mishap {
            pub(crate) const ALL: &[Mishap] = &[$(Mishap::$name,)*];
        }
    };
}

mishaps! {
    /// One process dies, and its machine's unsynced writes with it.
    Crash,
    /// The leader's process dies.
    CrashLeader,
    /// One process dies in the middle of one of the next things that it does to its disk.
    CrashWriting,
    /// One process dies right after one of the next votes, acknowledgements or other messages that
    /// it sends while its disk has work, and is soon back: whatever it said reaches the others,
    /// and whatever was not synced is gone.
    CrashSpeaking,
    /// For a while, hardly any leader lasts for more than a few milliseconds: the ground on which
    /// a log holds entries of many ballots, none of them committed (Ongaro 2014, figure 3.7).
    FellLeaders,
    /// All processes die at once.
    CrashAll,
    /// A partition, or another one.
    Partition,
    /// Some links hold back what is sent, for about as long as an election takes: then all of it
    /// arrives at once.
    Clog,
    /// One process stands still for a while, and goes on as if nothing had been.
    Pause,
    /// The leader stands still, cut off, for about as long as it takes to be replaced.
    FreezeLeader,
    /// One disk becomes very slow for a while.
    SlowDisk,
    /// One disk syncs nothing for about as long as an election takes.
    StallDisk,
    /// One disk is full for a while.
    FullDisk,
    /// The leader hears everybody, and is heard by fewer and fewer, until it is replaced. Whoever
    /// hears it longest has a disk that is not done with the last entries before that.
    FadeLeader,
    /// The leader is asked to hand over. Now and then its successor's disk stalls and its process
    /// dies meanwhile.
    HandOver,
    /// One machine's wall clock jumps.
    ClockJump,
    /// One machine's clocks go too fast or too slowly.
    ClockRate,
    /// One process does everything slowly for a while.
    SlowNode,
    /// For a while, the clients want far more than there is room for.
    Overload,
    /// One process dies while it takes over a snapshot that reaches further than its log.
    CrashRestoring,
    /// One process dies in the middle of fetching a snapshot that comes in several chunks.
    CrashFetching,
    /// A sync fails: some of what was written since the one before is on the disk, and all of it
    /// can be read until the cache is dropped.
    FailSync,
    /// Bits flip that were written and synced.
    FlipBits,
    /// Sectors that were written and synced are not given back any more.
    LoseSectors,
    /// A write went to another place than the one it was meant for, and nobody noticed.
    MisdirectWrite,
    /// A minority is left behind, and then alone with a disk that has lost some of what was saved
    /// meanwhile: those who have it come back last.
    LoseNewest,
    /// One machine gets an empty disk.
    WipeDisk,
    /// One disk is put back to what it held at an earlier crash.
    RestoreImage,
}

/// How often mishaps of each kind have struck.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Struck(BTreeMap<Mishap, u64>);

impl Struck {
    pub(crate) fn note(&mut self, mishap: Mishap) {
        *self.0.entry(mishap).or_default() += 1;
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Struck) {
        for (mishap, count) in &other.0 {
            *self.0.entry(*mishap).or_default() += count;
        }
    }

    /// How many there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Those that there were, by name, and how often each.
    pub fn iter(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.0.iter().map(|(mishap, count)| (format!("{mishap:?}"), *count))
    }

    /// Those that there never were, by name.
    pub fn missed(&self) -> impl Iterator<Item = String> + '_ {
        let missed = Mishap::ALL.iter().filter(|mishap| !self.0.contains_key(mishap));
        missed.map(|mishap| format!("{mishap:?}"))
    }
}

impl Mishap {
    /// True if it strikes one node, whichever.
    pub(crate) fn is_of_a_node(self) -> bool {
        let is_of_more = matches!(
            self,
            Mishap::FellLeaders | Mishap::CrashAll | Mishap::Partition | Mishap::Overload
        );
        !is_of_more && !self.is_of_the_leader()
    }

    /// True if it strikes the leader, if there is one.
    pub(crate) fn is_of_the_leader(self) -> bool {
        matches!(
            self,
            Mishap::CrashLeader | Mishap::FreezeLeader | Mishap::FadeLeader | Mishap::HandOver
        )
    }

    /// Its own generator, so that a new kind of mishap does not reshuffle the others.
    pub(crate) fn rng(self, seed: u64) -> Rng {
        Rng::new(seed, &format!("{self:?}"))
    }
}

/// Mishaps, and the mean time between two of each.
pub(super) type Mishaps = Vec<(Mishap, Duration)>;

/// A bit of everything.
pub(super) fn draw_medley(rng: &mut Rng) -> Mishaps {
    // (mishap, one in so many seeds goes without it, mean time between two of them in ms)
    let all = [
        (Mishap::Crash, 6, 200..1500),
        (Mishap::CrashLeader, 3, 400..2000),
        (Mishap::CrashWriting, 3, 200..1500),
        (Mishap::CrashSpeaking, 2, 200..1500),
        (Mishap::FellLeaders, 2, 500..2500),
        (Mishap::CrashAll, 2, 700..3000),
        (Mishap::Partition, 2, 150..1200),
        (Mishap::Clog, 2, 200..1500),
        (Mishap::Pause, 2, 200..1500),
        (Mishap::FreezeLeader, 2, 400..2000),
        (Mishap::SlowDisk, 2, 300..1500),
        (Mishap::StallDisk, 2, 200..1500),
        (Mishap::FullDisk, 2, 500..3000),
        (Mishap::FadeLeader, 2, 400..2000),
        (Mishap::HandOver, 2, 200..1500),
        (Mishap::ClockJump, 2, 100..1000),
    ];
    let mut chosen = Vec::new();
    for (mishap, without, period) in all {
        let period = millis(rng, period);
        if !rng.one_in(without) {
            chosen.push((mishap, period));
        }
    }
    if !chosen.iter().any(|(mishap, _)| matches!(mishap, Mishap::Crash | Mishap::CrashLeader)) {
        chosen.push((Mishap::CrashLeader, millis(rng, 400..1200)));
    }
    chosen
}

/// Leader upon leader, and hardly anything else.
pub(super) fn draw_turmoil(rng: &mut Rng) -> Mishaps {
    let mut chosen = vec![(Mishap::FellLeaders, millis(rng, 800..2500))];
    if rng.one_in(2) {
        chosen.push((Mishap::Crash, millis(rng, 100..800)));
    }
    if rng.one_in(2) {
        chosen.push((Mishap::Partition, millis(rng, 100..800)));
    }
    chosen
}

/// What was said in one ballot arrives, or is saved, in the next: little else happens, but it
/// happens all the time, and lasts about as long as an election.
pub(super) fn draw_overlap(rng: &mut Rng, election: Duration) -> Mishaps {
    let all = [
        Mishap::Partition,
        Mishap::Clog,
        Mishap::FreezeLeader,
        Mishap::StallDisk,
        Mishap::FadeLeader,
        Mishap::HandOver,
        Mishap::CrashSpeaking,
    ];
    let mut chosen = Vec::new();
    for mishap in all {
        let period = rng.duration(election, election * 6);
        if !rng.one_in(3) {
            chosen.push((mishap, period));
        }
    }
    chosen.push((Mishap::CrashLeader, millis(rng, 800..2000)));
    chosen
}

/// What makes replicas fetch snapshots, and what comes between.
pub(super) fn draw_fetches(rng: &mut Rng) -> Mishaps {
    let all = [(Mishap::WipeDisk, 300..1500), (Mishap::CrashFetching, 100..800)];
    all.map(|(mishap, period)| (mishap, millis(rng, period))).into()
}

/// Disks lose what was saved last, and hardly anything else is in the way of those who do not have it.
pub(super) fn draw_losses(rng: &mut Rng) -> Mishaps {
    let mut chosen = vec![(Mishap::LoseNewest, millis(rng, 200..600))];
    let beside = [(Mishap::CrashLeader, 800..2500), (Mishap::Crash, 500..2500)];
    for (mishap, period) in beside {
        let period = millis(rng, period);
        if rng.one_in(2) {
            chosen.push((mishap, period));
        }
    }
    chosen
}

/// What machines suffer beside all that: each seed has few of these, or none.
pub(super) fn draw_ills(rng: &mut Rng) -> Mishaps {
    let all = [
        (Mishap::ClockRate, 200..1500),
        (Mishap::SlowNode, 300..1500),
        (Mishap::Overload, 500..2000),
        (Mishap::CrashRestoring, 200..1000),
        (Mishap::FailSync, 300..2000),
        (Mishap::FlipBits, 50..1000),
        (Mishap::LoseSectors, 100..1500),
        (Mishap::MisdirectWrite, 100..1500),
        (Mishap::WipeDisk, 400..2500),
        (Mishap::RestoreImage, 100..1000),
        (Mishap::LoseNewest, 300..1500),
    ];
    let most = rng.between(1, 5);
    let mut chosen = Vec::new();
    for (mishap, period) in all {
        let period = millis(rng, period);
        if rng.below(10) < most {
            chosen.push((mishap, period));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_struck_is_counted_and_what_has_not_is_named() {
        let (mut one, mut other) = (Struck::default(), Struck::default());
        one.note(Mishap::Crash);
        other.note(Mishap::Crash);
        other.note(Mishap::Pause);
        one.add(&other);
        let struck: Vec<_> = one.iter().collect();
        assert_eq!(struck, [("Crash".to_owned(), 2), ("Pause".to_owned(), 1)]);
        assert_eq!((one.total(), one.missed().count()), (3, Mishap::ALL.len() - 2));
    }
}

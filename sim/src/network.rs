//! The network between the replicas: it delays, loses, duplicates, reorders and partitions.

use std::time::Duration;

use crate::clock::Time;
use crate::faults::LinkFaults;
use crate::marks::Mark;
use crate::rng::Rng;

/// Decides what becomes of each message. Replicas are named by their position, from 0.
pub(crate) struct Network {
    rng: Rng,
    nodes: usize,
    faults: LinkFaults,
    /// `parted[from * nodes + to]`: nothing gets through in this direction, for a partition is there.
    parted: Vec<bool>,
    /// Until when nothing gets through besides.
    cut_until: Vec<Time>,
    /// How many partitions there were.
    partitions: u64,
    /// Until when a link holds back what is sent over it.
    clogged_until: Vec<Time>,
    /// When the last message of a link which keeps its order will arrive.
    last_arrival: Vec<Time>,
    /// When the last of all messages of a link will arrive, whether or not it keeps its order.
    latest: Vec<Time>,
}

/// When the copies of a message arrive: none if it is lost, two if it is duplicated.
pub(crate) type Arrivals = [Option<Time>; 2];

/// The shapes of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Partition {
    /// Two groups that do not hear each other, each replica in either as chance has it.
    Split,
    /// Likewise, each size of group as likely as any other.
    SplitBySize,
    /// One of two groups does not hear the other.
    OneWay,
    /// One replica neither hears nor is heard.
    Isolate,
    /// One replica hears the others but is not heard by them.
    Mute,
    /// One replica is heard by the others but does not hear them.
    Deaf,
    /// Two groups that hear each other through one common member only.
    Bridge,
    /// Each direction of each link on its own, at random.
    Random,
}

impl Partition {
    pub(crate) const ALL: [Partition; 8] = [
        Partition::Split,
        Partition::SplitBySize,
        Partition::OneWay,
        Partition::Isolate,
        Partition::Mute,
        Partition::Deaf,
        Partition::Bridge,
        Partition::Random,
    ];

    pub(crate) fn mark(self) -> Mark {
        match self {
            Partition::Split => Mark::PartedInTwo,
            Partition::SplitBySize => Mark::PartedBySize,
            Partition::OneWay => Mark::PartedOneWay,
            Partition::Isolate => Mark::PartedFromAll,
            Partition::Mute => Mark::PartedMute,
            Partition::Deaf => Mark::PartedDeaf,
            Partition::Bridge => Mark::PartedByBridge,
            Partition::Random => Mark::PartedAtRandom,
        }
    }
}

impl Network {
    pub(crate) fn new(rng: Rng, nodes: usize, faults: LinkFaults) -> Network {
        let links = nodes * nodes;
        Network {
            rng,
            nodes,
            faults,
            parted: vec![false; links],
            cut_until: vec![Time::ZERO; links],
            partitions: 0,
            clogged_until: vec![Time::ZERO; links],
            last_arrival: vec![Time::ZERO; links],
            latest: vec![Time::ZERO; links],
        }
    }

    /// Decides on a message that is sent now.
    pub(crate) fn send(&mut self, now: Time, from: usize, to: usize) -> Arrivals {
        let link = from * self.nodes + to;
        if self.is_cut(now, from, to) || self.rng.chance(self.faults.loss_ppm) {
            return [None, None];
        }
        let first = self.arrival(now, link);
        let copy = self.rng.chance(self.faults.duplicate_ppm);
        let second = copy.then(|| first + self.detour());
        [Some(first), second]
    }

    /// The message that was sent last over a link arrives then. True if it overtakes another one, which was
    /// sent before it.
    pub(crate) fn note_arrival(&mut self, from: usize, to: usize, arrival: Time) -> bool {
        let latest = &mut self.latest[from * self.nodes + to];
        let overtakes = arrival < *latest;
        *latest = arrival.max(*latest);
        overtakes
    }

    fn arrival(&mut self, now: Time, link: usize) -> Time {
        let time = now.max(self.clogged_until[link]) + self.latency();
        if self.rng.chance(self.faults.reorder_ppm) {
            return time + self.detour();
        }
        let in_order = time.max(self.last_arrival[link]);
        self.last_arrival[link] = in_order;
        in_order
    }

    fn latency(&mut self) -> Duration {
        let (from, to) = self.faults.latency;
        self.rng.duration(from, to)
    }

    fn detour(&mut self) -> Duration {
        self.rng.duration(Duration::ZERO, self.faults.detour)
    }

    /// Puts a partition of this shape in place of the one there is. Where it is about one replica,
    /// `one` is it. Gives its number.
    pub(crate) fn partition(&mut self, shape: Partition, one: usize) -> u64 {
        self.partitions += 1;
        let n = self.nodes;
        let side: Vec<bool> = match shape {
            Partition::SplitBySize => {
                let size = self.rng.position(n);
                (0..n).map(|node| (node + n - one) % n <= size).collect()
            }
            _ => (0..n).map(|_| self.rng.one_in(2)).collect(),
        };
        for from in 0..n {
            for to in 0..n {
                self.parted[from * n + to] = from != to
                    && match shape {
                        Partition::Split | Partition::SplitBySize => side[from] != side[to],
                        Partition::OneWay => side[from] && !side[to],
                        Partition::Isolate => from == one || to == one,
                        Partition::Mute => from == one,
                        Partition::Deaf => to == one,
                        Partition::Bridge => from != one && to != one && side[from] != side[to],
                        Partition::Random => self.rng.one_in(3),
                    };
            }
        }
        self.partitions
    }

    /// The links of `one`, incoming, outgoing or both, or a single one of them, hold back what is
    /// sent until `time`.
    pub(crate) fn clog(&mut self, one: usize, time: Time) {
        let (incoming, outgoing) = match self.rng.below(3) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        let peers = if self.rng.one_in(3) {
            let peer = self.rng.position(self.nodes);
            peer..peer + 1
        } else {
            0..self.nodes
        };
        for peer in peers {
            if incoming {
                self.clogged_until[peer * self.nodes + one] = time;
            }
            if outgoing {
                self.clogged_until[one * self.nodes + peer] = time;
            }
        }
    }

    /// Nothing gets through in this direction until `time`.
    pub(crate) fn cut(&mut self, from: usize, to: usize, time: Time) {
        let until = &mut self.cut_until[from * self.nodes + to];
        *until = time.max(*until);
    }

    /// One replica neither hears nor is heard until `time`, beside what is cut off anyhow.
    pub(crate) fn isolate(&mut self, one: usize, time: Time) {
        for other in (0..self.nodes).filter(|other| *other != one) {
            self.cut(one, other, time);
            self.cut(other, one, time);
        }
    }

    /// True if there is a partition, which cuts something.
    pub(crate) fn is_parted(&self) -> bool {
        self.parted.contains(&true)
    }

    /// True if nothing gets through in this direction.
    pub(crate) fn is_cut(&self, now: Time, from: usize, to: usize) -> bool {
        let link = from * self.nodes + to;
        self.parted[link] || now < self.cut_until[link]
    }

    /// Takes the partition of this number away, unless another one has taken its place.
    pub(crate) fn heal(&mut self, number: u64) {
        if number == self.partitions {
            self.parted.fill(false);
        }
    }

    /// From here on, the network does what is right.
    pub(crate) fn repair(&mut self) {
        self.parted.fill(false);
        self.cut_until.fill(Time::ZERO);
        self.faults.loss_ppm = 0;
        self.faults.duplicate_ppm = 0;
        self.faults.reorder_ppm = 0;
        self.clogged_until.fill(Time::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults() -> LinkFaults {
        LinkFaults {
            latency: (Duration::from_micros(100), Duration::from_micros(900)),
            detour: Duration::from_millis(5),
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
        }
    }

    #[test]
    fn without_faults_each_message_arrives_once_and_in_order() {
        let mut network = Network::new(Rng::new(1, "network"), 2, faults());
        let mut before = Time::ZERO;
        for sent in 0..1000 {
            let [first, second] = network.send(Time(sent), 0, 1);
            assert!(first.unwrap() >= before && second.is_none());
            assert!(!network.note_arrival(0, 1, first.unwrap()));
            before = first.unwrap();
        }
    }

    #[test]
    fn faults_lose_duplicate_and_reorder() {
        let some = 200_000;
        let faults =
            LinkFaults { loss_ppm: some, duplicate_ppm: some, reorder_ppm: some, ..faults() };
        let mut network = Network::new(Rng::new(1, "network"), 2, faults);
        let sent: Vec<Arrivals> = (0..100).map(|at| network.send(Time(at), 0, 1)).collect();
        assert!(sent.iter().any(|arrivals| arrivals[0].is_none()));
        assert!(sent.iter().any(|arrivals| arrivals[1].is_some()));
        let arrived: Vec<Time> = sent.iter().filter_map(|arrivals| arrivals[0]).collect();
        assert!(!arrived.is_sorted());
        assert!(arrived.iter().any(|arrival| network.note_arrival(0, 1, *arrival)));
        network.repair();
        assert!((0..100).all(|at| matches!(network.send(Time(at), 0, 1), [Some(_), None])));
    }

    #[test]
    fn a_clogged_link_holds_messages_back_and_keeps_their_order() {
        let mut network = Network::new(Rng::new(1, "network"), 1, faults());
        let until = Time(1_000_000);
        network.clog(0, until);
        let sent = [Time(0), Time(500_000), Time(1_100_000)];
        let arrived = sent.map(|at| network.send(at, 0, 0)[0].unwrap());
        assert!(arrived.is_sorted() && arrived[0] > until, "{arrived:?}");
        assert!(arrived[1] < until + Duration::from_millis(1), "{arrived:?}");
        network.clog(0, Time(9_000_000));
        network.repair();
        assert!(network.send(Time(2_000_000), 0, 0)[0].unwrap() < Time(2_001_000));
    }

    #[test]
    fn partitions_cut_what_their_name_says() {
        let mut network = Network::new(Rng::new(3, "network"), 5, faults());
        let cuts = |network: &Network, from: usize| {
            (0..5).filter(|to| network.is_cut(Time::ZERO, from, *to)).count()
        };
        network.partition(Partition::Mute, 2);
        let mute: Vec<usize> = (0..5).filter(|from| cuts(&network, *from) == 4).collect();
        assert_eq!(mute.len(), 1);
        assert_eq!((0..5).map(|from| cuts(&network, from)).sum::<usize>(), 4);
        network.partition(Partition::Isolate, 2);
        assert_eq!((0..5).map(|from| cuts(&network, from)).sum::<usize>(), 8);
        network.heal(1);
        assert_eq!(
            (0..5).map(|from| cuts(&network, from)).sum::<usize>(),
            8,
            "of one that is gone"
        );
        network.heal(2);
        assert_eq!((0..5).map(|from| cuts(&network, from)).sum::<usize>(), 0);
    }

    #[test]
    fn a_cut_ends_by_itself_and_no_partition_ends_it() {
        let mut network = Network::new(Rng::new(3, "network"), 2, faults());
        network.cut(0, 1, Time(500));
        network.cut(0, 1, Time(300));
        let number = network.partition(Partition::Deaf, 0);
        network.heal(number);
        let is_cut = |at| (network.is_cut(Time(at), 0, 1), network.is_cut(Time(at), 1, 0));
        assert_eq!([499, 500].map(is_cut), [(true, false), (false, false)]);
    }
}

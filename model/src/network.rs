//! The network: what is in flight, and in which order it may arrive.
//!
//! Any message may be lost, and any may arrive before those that other replicas sent, or that were
//! sent to other replicas. What one replica has sent to another one arrives in order, with gaps:
//! a message that arrives leaves those before it behind, and they are lost. A bounded number of
//! messages overtake those before them, which then may still arrive; or else there is no order.

/// How a message arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// In its turn: what the same sender had sent before to the same receiver is lost.
    InTurn,
    /// Before others that may still arrive.
    Overtaking,
    /// In its turn, and it will arrive once more.
    Twice,
    /// In its turn, and what happens to the receiver next belongs to the same batch: a process that
    /// stood still finds the messages of several ballots at once.
    Batched,
}

/// A message that may arrive: where it is in the network, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) place: usize,
    pub(crate) way: Way,
}

/// What may arrive next. `link` names the sender and the receiver of a message.
pub(crate) fn deliveries<T: PartialEq>(
    network: &[T],
    is_ordered: bool,
    link: impl Fn(&T) -> u16,
    ways: &[Way],
    mut each: impl FnMut(Delivery),
) {
    for (place, message) in network.iter().enumerate() {
        if !is_ordered && network[..place].last() == Some(message) {
            continue; // A copy of the one before.
        }
        let is_first = || !network[..place].iter().any(|other| link(other) == link(message));
        for way in ways {
            let is_possible = match way {
                Way::InTurn | Way::Twice | Way::Batched => true,
                Way::Overtaking => is_ordered && !is_first(),
            };
            if is_possible {
                each(Delivery { place, way: *way });
            }
        }
    }
}

/// Takes a message out of the network that has arrived, and with it what is lost now.
pub(crate) fn take<T: Clone>(
    network: &mut Vec<T>,
    is_ordered: bool,
    delivery: Delivery,
    link: impl Fn(&T) -> u16,
) -> T {
    let Delivery { place, way } = delivery;
    let arrived = if way == Way::Twice { network[place].clone() } else { network.remove(place) };
    if is_ordered && way != Way::Overtaking {
        let mut ahead = place;
        network.retain(|message| {
            let is_ahead = ahead > 0;
            ahead = ahead.saturating_sub(1);
            !is_ahead || link(message) != link(&arrived)
        });
    }
    arrived
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages are named by link and number.
    fn link(message: &(u16, u16)) -> u16 {
        message.0
    }

    const SENT: [(u16, u16); 5] = [(1, 1), (2, 1), (1, 2), (2, 2), (1, 3)];

    fn after(place: usize, way: Way, is_ordered: bool) -> Vec<(u16, u16)> {
        let mut network = SENT.to_vec();
        let arrived = take(&mut network, is_ordered, Delivery { place, way }, link);
        assert_eq!(arrived, SENT[place]);
        network
    }

    #[test]
    fn what_arrives_in_turn_leaves_behind_what_was_sent_before_on_its_link() {
        assert_eq!(after(2, Way::InTurn, true), [(2, 1), (2, 2), (1, 3)]);
        assert_eq!(after(2, Way::Twice, true), [(2, 1), (1, 2), (2, 2), (1, 3)]);
        assert_eq!(after(2, Way::Overtaking, true), [(1, 1), (2, 1), (2, 2), (1, 3)]);
        assert_eq!(after(2, Way::InTurn, false), [(1, 1), (2, 1), (2, 2), (1, 3)]);
    }

    #[test]
    fn only_what_is_not_first_on_its_link_can_overtake() {
        let mut places = Vec::new();
        let ways = [Way::Overtaking];
        deliveries(&SENT, true, link, &ways, |delivery| places.push(delivery.place));
        assert_eq!(places, [2, 3, 4]);
    }

    #[test]
    fn without_an_order_copies_are_alike() {
        let mut places = Vec::new();
        let network = [(1, 1), (1, 1), (1, 2)];
        deliveries(&network, false, link, &[Way::InTurn], |delivery| places.push(delivery.place));
        assert_eq!(places, [0, 2]);
    }
}

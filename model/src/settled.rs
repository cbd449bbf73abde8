//! Messages that no longer matter to their receiver, and are as good as lost.
//!
//! Most of what is on its way in a cluster that had elections is of an earlier ballot. States that
//! differ in nothing else are one state, so such messages are dropped. That their receiver takes no
//! notice of them is the protocol's claim ([`Simulated::is_moot`]), and is not believed: every state of
//! a replica is tried with every message that is dropped before it.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use quorate_core::{Disk as Acquaintance, Envelope, NodeId, PeerMessage, Readmission};
use quorate_sim::{Property, Simulated, Verdict};

use crate::hashed::Hashed;
use crate::node::{Happening, Node, taking};
use crate::rules::{Rules, Speed};
use crate::words;

const PROPERTY: Property = Property {
    name: "what is of the past has no effect",
    stated_in: "Ongaro 2014, section 3.3; Liskov and Cowling 2012, section 4",
};

/// What decides on which messages are moot, and is never undone: it is on the disk.
pub(crate) struct Settled<P: Simulated> {
    pub(crate) pledge: Option<P::Pledge>,
    pub(crate) peers: BTreeMap<NodeId, Acquaintance>,
    /// How many processes were started on the disk.
    pub(crate) starts: u64,
}

impl<P: Simulated> Settled<P> {
    /// True if a replica on whose disk this is takes no notice of that message, now or ever.
    pub(crate) fn makes_moot(&self, envelope: &Envelope<P::Message>) -> bool {
        let (PeerMessage::Protocol(message), Some(pledge)) = (&envelope.message, &self.pledge)
        else {
            return false;
        };
        // Whatever it says, it also tells of the process that says it, and of what that knows.
        let sender = self.peers.get(&envelope.from);
        let is_known = sender.is_some_and(|disk| envelope.start.count <= disk.start.count);
        let is_from_here = envelope.known.is_none_or(|known| known.disk.start.count <= self.starts);
        is_known && is_from_here && P::is_moot(message, pledge)
    }
}

impl<P: Simulated> Hash for Settled<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Settled { pledge, peers, starts } = self;
        (pledge, peers, starts).hash(state);
    }
}

/// Demands that `node` takes no notice of a message that is moot to it: once everything is durable that
/// is on its way to the disk, the node is what it would have been otherwise, and has sent the same.
pub(crate) fn takes_no_notice<P: Simulated>(
    node: &Hashed<Node<P>>,
    envelope: &Envelope<P::Message>,
    rules: &Rules,
) -> Verdict {
    if node.is_amid_a_batch() {
        // What it has to say is seen at the end of the batch.
        return Ok(());
    }
    let heard = Happening::Message(envelope.clone());
    let (after, came) = taking(node, heard, Speed::Immediate, rules);
    let (otherwise, expected) = if node.unsaved() == 0 {
        ((**node).clone(), Vec::new())
    } else {
        let (otherwise, came) = taking(node, Happening::Save, Speed::Immediate, rules);
        (otherwise, came.sent)
    };
    let but_for_doubts = |sent: Vec<_>| -> Vec<_> {
        sent.into_iter().filter(|sent: &Envelope<_>| !is_doubt(&sent.message)).collect()
    };
    let is_idle = came.verdict.is_ok()
        && but_for_doubts(came.sent) == but_for_doubts(expected)
        && Hashed::new(after) == Hashed::new(otherwise);
    PROPERTY.require(is_idle, || {
        format!("{}, and takes notice of {}", words::node(node), words::message(envelope))
    })
}

/// Where a process has ended, a message of it makes its receiver ask who speaks. Nothing comes of the
/// answer, since it was known already; and that is asked about other messages, too.
fn is_doubt<M>(message: &PeerMessage<M>) -> bool {
    matches!(message, PeerMessage::Readmission(Readmission::Doubt))
}

#[cfg(test)]
mod tests {
    use quorate_core::{Ballot, Known, Start};
    use quorate_raft::Raft;
    use quorate_vsr::{Message, Vsr};

    use super::*;
    use crate::bounds::Bounds;
    use crate::search::{Found, Order, Search};

    fn rules() -> Rules {
        Rules::new(Bounds { elections: 2, crashes: 0, ..Bounds::default() }, None)
    }

    /// The first message that n1 sends to n2: it wants to leave its view. And n2.
    fn wish(rules: &Rules) -> (Envelope<Message>, Node<Vsr>) {
        let (mut first, _) = Node::<Vsr>::founded(0, rules);
        let (second, _) = Node::<Vsr>::founded(1, rules);
        let runs_out = Happening::Timeout(quorate_core::Timer::Election);
        let mut sent = first.take(runs_out, Speed::Immediate, rules).sent.into_iter();
        (sent.find(|sent| sent.to == NodeId(2)).expect("it tells all of them"), second)
    }

    #[test]
    fn moot_is_what_is_of_an_earlier_ballot_and_tells_of_no_process_that_is_not_known() {
        let (envelope, second) = wish(&rules());
        let in_view = |view| {
            let pledge = second.settled().pledge.expect("it is in a view from the start");
            let pledge = quorate_vsr::Pledge { view: Ballot(view), ..pledge };
            Settled::<Vsr> { pledge: Some(pledge), ..second.settled() }
        };
        assert!(!in_view(0).makes_moot(&envelope));
        assert!(in_view(1).makes_moot(&envelope));
        let later = Start { count: 9, nonce: 9 };
        assert!(!in_view(1).makes_moot(&Envelope { start: later, ..envelope.clone() }));
        let known = envelope.known.expect("they have met");
        let disk = Acquaintance { start: later, ..known.disk };
        let known = Some(Known { disk, ..known });
        assert!(!in_view(1).makes_moot(&Envelope { known, ..envelope.clone() }));
        assert!(!Settled { pledge: None, ..in_view(1) }.makes_moot(&envelope));
    }

    #[test]
    fn a_replica_that_takes_notice_is_found_out() {
        let rules = rules();
        let (envelope, second) = wish(&rules);
        let noticed = takes_no_notice(&Hashed::new(second.clone()), &envelope, &rules);
        assert_eq!(noticed.unwrap_err().property, PROPERTY.name);
        let mut later = second;
        let heard = Happening::Message(envelope.clone());
        later.take(heard.clone(), Speed::Immediate, &rules);
        assert!(later.settled().makes_moot(&envelope));
        takes_no_notice(&Hashed::new(later), &envelope, &rules).unwrap();
    }

    fn reached<P: Simulated>(rules: Rules) -> (usize, u64) {
        let mut search = Search::<P>::new(rules, None);
        assert!(matches!(search.run(Order::DepthFirst, &mut |_| {}), Found::Nothing));
        let progress = search.progress();
        (progress.replica_states, progress.distinct)
    }

    fn loses_no_state_of_a_replica<P: Simulated>(bounds: Bounds) {
        let rules = Rules::new(bounds, None);
        let (all, states) = reached::<P>(rules.with_all_messages());
        let (found, fewer) = reached::<P>(rules);
        assert_eq!(found, all, "{}", P::NAME);
        assert!(fewer < states, "{}: {fewer} of {states}", P::NAME);
    }

    #[test]
    fn without_moot_messages_replicas_come_into_the_same_states() {
        let bounds = Bounds { crashes: 0, slow_writes: 0, ..Bounds::default() };
        let in_order = Bounds { overtakings: Some(0), ..bounds };
        loses_no_state_of_a_replica::<Raft>(Bounds { symmetric: true, ..in_order });
        loses_no_state_of_a_replica::<Vsr>(in_order);
        let dying = Bounds { elections: 1, crashes: 1, slow_writes: 1, ..in_order };
        loses_no_state_of_a_replica::<Raft>(Bounds { symmetric: true, ..dying });
        loses_no_state_of_a_replica::<Vsr>(dying);
    }
}

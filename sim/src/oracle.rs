//! What one protocol promises beyond what all of them do.

use std::hash::{Hash, Hasher};

use quorate_core::{Ballot, Index, Log, LogId, Protocol};
use serde::Serialize;

use crate::checks::{Kept, Verdict};
use crate::marks::Mark;
use crate::words::Words;

/// A protocol that the simulator runs. What every protocol promises (one leader in each ballot,
/// one log, nothing acknowledged lost, …) is watched anyway; here a protocol names what else it
/// promises. A protocol that names nothing is run all the same: `impl Simulated for Mine {}`.
pub trait Simulated: Protocol {
    /// What it means for a run that this message is sent, if anything worth noting.
    #[must_use]
    fn mark(message: &Self::Message) -> Option<Mark> {
        let _ = message;
        None
    }

    /// What this message says, in terms that are those of no protocol: from it the picture of a run
    /// tells what is odd. Of a message about which this says nothing, it shows the text and draws no
    /// conclusion.
    #[must_use]
    fn says(message: &Self::Message) -> Option<Said> {
        let _ = message;
        None
    }

    /// True if no replica whose disk keeps this pledge takes any notice of that message, now or ever:
    /// whether it is still on its way or lost makes no difference then, and the model checker does not
    /// tell the two apart. It tries whether that is so, with every state of a replica that it reaches.
    #[must_use]
    fn is_moot(message: &Self::Message, pledge: &Self::Pledge) -> bool {
        let _ = (message, pledge);
        false
    }

    /// What it calls the parts of a run, for pictures.
    #[must_use]
    fn words() -> Words {
        Words::default()
    }

    /// The properties of this protocol alone, for a cluster of so many replicas.
    #[must_use]
    fn oracles(replicas: usize) -> Vec<Box<dyn Oracle<Self>>> {
        let _ = replicas;
        Vec::new()
    }
}

/// What a message says, for whoever looks at the picture of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Said {
    /// What it is about.
    pub topic: Topic,
    /// The ballot in which the sender speaks; `None` of a question before an election, which the
    /// sender asks without having entered the ballot, and of a message that is said in no ballot.
    pub ballot: Option<Ballot>,
    /// What it claims about the sender in that ballot, if somebody relies on that.
    pub claim: Option<Claim>,
}

/// What a message is about: in the picture topics have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Topic {
    /// Who leads next.
    Elect,
    /// Entries for those who follow.
    Replicate,
    /// Nothing new: who leads is alive.
    Heartbeat,
    /// The answer of who follows.
    Reply,
    /// What a log lacks.
    Repair,
    /// A client's request on its way to who leads, and what becomes of it.
    Forward,
    /// The founding of the cluster.
    Found,
}

/// What a message claims. Whoever claims what is not so is named by the picture as odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Claim {
    /// Its log is the leader's, and on its disk.
    Acknowledges {
        /// Up to and including this index.
        through: Index,
    },
    /// It wants to lead: whoever votes for it has no better log.
    Stands {
        /// Where its log ends. The greater one is better.
        last: LogId,
    },
    /// It votes for the receiver, and for nobody else in this ballot.
    Votes,
    /// It has left all earlier ballots; the receiver begins this one with the best log of a majority.
    Reports {
        /// Where its log ends. The greater one is better.
        head: LogId,
    },
    /// Its log never held an entry: with enough of these, the best log may be passed over.
    Nacks {
        /// The name of that entry.
        missing: LogId,
    },
    /// It leads, and this is in its log. Only to be said where a follower takes nothing for committed
    /// but what it was shown by these in this ballot.
    Shows {
        /// The entry before those that are shown.
        previous: LogId,
        /// How many are shown.
        count: usize,
    },
}

/// One property of one protocol, watched while a cluster runs. Replicas are named by their
/// position, from 0. Each method returns the violation that it has found, if any.
///
/// What it remembers is plain data, so that a model checker, which goes back and tries something
/// else, can keep it with the state in which it was known.
pub trait Oracle<P: Protocol>: Remembers<P> + Send + Sync {
    /// A replica has taken inputs: this is how its protocol and its log stand.
    ///
    /// # Errors
    /// The violation.
    fn stepped(&mut self, node: usize, protocol: &P, log: &Log) -> Verdict {
        let _ = (node, protocol, log);
        Ok(())
    }

    /// A replica takes in a message of another one.
    fn hears(&mut self, node: usize, from: usize, message: &P::Message) {
        let _ = (node, from, message);
    }

    /// A replica sends a message to another one.
    ///
    /// # Errors
    /// The violation.
    fn sends(&mut self, node: usize, to: usize, message: &P::Message) -> Verdict {
        let _ = (node, to, message);
        Ok(())
    }

    /// What a replica sends is counted by the receiver; `kept` is what its disk has.
    ///
    /// # Errors
    /// The violation.
    fn vouches(
        &mut self,
        node: usize,
        to: usize,
        message: &P::Message,
        kept: &Kept<'_>,
    ) -> Verdict {
        let _ = (node, to, message, kept);
        Ok(())
    }

    /// The disk of a replica holds this pledge, whatever the replica was told.
    ///
    /// # Errors
    /// The violation.
    fn on_disk(&mut self, node: usize, pledge: &P::Pledge) -> Verdict {
        let _ = (node, pledge);
        Ok(())
    }

    /// The process of a replica has died.
    fn crashed(&mut self, node: usize) {
        let _ = node;
    }

    /// The disk of a replica, whose process has died, was replaced by an empty one or an old
    /// image: nothing that it swore can be held against it.
    fn forgot(&mut self, node: usize) {
        let _ = node;
    }
}

/// What an oracle remembers can be copied and hashed. True of every oracle that is `Clone` and
/// `Hash`.
pub trait Remembers<P: Protocol> {
    /// The same oracle, which from here on sees something else.
    #[must_use]
    fn fork(&self) -> Box<dyn Oracle<P>>;

    /// Hashes what it remembers.
    fn hash_into(&self, hasher: &mut dyn Hasher);
}

impl<P: Protocol, O: Oracle<P> + Clone + Hash + 'static> Remembers<P> for O {
    fn fork(&self) -> Box<dyn Oracle<P>> {
        Box::new(self.clone())
    }

    fn hash_into(&self, mut hasher: &mut dyn Hasher) {
        self.hash(&mut hasher);
    }
}

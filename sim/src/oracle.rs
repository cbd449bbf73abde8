//! What one protocol promises beyond what all of them do.

use std::hash::{Hash, Hasher};

use quorate_core::{Log, Protocol};

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

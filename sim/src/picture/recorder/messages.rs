//! What replicas send each other.

use quorate_core::PeerMessage;

use super::Recorder;
use crate::clock::Time;
use crate::oracle::{Said, Simulated, Topic};
use crate::picture::record::{Arrow, Fate, SaidRef};
use crate::picture::wording;

impl Recorder {
    /// A replica sends a message, which will arrive at these moments. Replicas are named by their
    /// position.
    pub(crate) fn sent<P: Simulated>(
        &mut self,
        now: Time,
        (from, to): (usize, usize),
        message: &PeerMessage<P::Message>,
        arrivals: [Option<Time>; 2],
        unless_it_arrives: Fate,
    ) {
        self.latest_actor = Some(from);
        let said = says::<P>(message).map(|said| self.said(said));
        let (kind, text) = wording::message(message, &self.clients);
        let (kind, text) = (self.text(kind), self.text(text));
        let copies = match arrivals {
            [first, None] => vec![first],
            [first, second] => vec![first, second],
        };
        for (number, arrival) in copies.into_iter().enumerate() {
            let fate = match arrival {
                Some(_) => Fate::Underway,
                None => unless_it_arrives,
            };
            if let Some(time) = arrival {
                let arriving = self.underway.entry((time, from, to)).or_default();
                arriving.push_back(self.arrows.len());
            }
            let (sent, end, copy) = (now.0, arrival.map(|time| time.0), number > 0);
            self.arrows.push(Arrow { sent, from, to, kind, text, said, end, fate, copy });
        }
    }

    /// The first message due on this link arrives, or does not.
    pub(crate) fn arrives(&mut self, now: Time, from: usize, to: usize, fate: Fate) {
        let Some(arriving) = self.underway.get_mut(&(now, from, to)) else { return };
        if let Some(arrow) = arriving.pop_front() {
            self.arrows[arrow].fate = fate;
        }
        if arriving.is_empty() {
            self.underway.remove(&(now, from, to));
        }
    }

    fn said(&mut self, said: Said) -> SaidRef {
        *self.said_of.entry(said).or_insert_with(|| {
            self.said.push(said);
            self.said.len() - 1
        })
    }
}

/// What a message says: the protocol's own by the protocol, the rest is the same under all of them.
fn says<P: Simulated>(message: &PeerMessage<P::Message>) -> Option<Said> {
    let topic = match message {
        PeerMessage::Protocol(message) => return P::says(message),
        PeerMessage::Forward(_) => Topic::Forward,
        PeerMessage::Founding(_) => Topic::Found,
        PeerMessage::Snapshot(_) | PeerMessage::Repair(_) | PeerMessage::Readmission(_) => {
            Topic::Repair
        }
    };
    Some(Said { topic, ballot: None, claim: None })
}

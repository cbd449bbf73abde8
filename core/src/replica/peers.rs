//! Messages from other replicas: who may say what to whom.

use super::{FOUNDING_INTERVAL, Readmission, Replica};
use crate::event::Effect;
use crate::founding::{FoundingMessage, FoundingRecord, Standing};
use crate::message::{Envelope, PeerMessage};
use crate::protocol::{Input, Protocol, Timer};
use crate::types::{NodeId, Now};
use crate::write::Disk;

impl<P: Protocol> Replica<P> {
    pub(super) fn on_message(
        &mut self,
        now: Now,
        envelope: Envelope<P::Message>,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        let Envelope { from, to, incarnation, start, previous_nonce, known, has_room, message } =
            envelope;
        if to != self.me || from == self.me {
            self.ignored.strangers += 1;
            return;
        }
        if let PeerMessage::Founding(message) = message {
            if message.asks {
                self.tell_founding(from);
            }
            match self.founding.on_message(from, incarnation, message.record) {
                Ok(Standing::AsListed) => return,
                // From the very write on which tells that the cluster exists.
                Ok(Standing::Replaced) => return self.fall_mute(),
                Err(fatal) => return self.stop(fatal, out),
            }
        }
        let Some(formed) = &self.formed else {
            self.ignored.untimely += 1;
            return;
        };
        let Some(listed) = formed.log.membership().incarnation(from) else {
            self.ignored.strangers += 1;
            return;
        };
        if known.is_some_and(|known| !self.can_live_up_to(known, out)) {
            return;
        }
        let disk = Disk { incarnation, start };
        match message {
            PeerMessage::Readmission(Readmission::Doubt) => return self.on_doubt(from, known),
            PeerMessage::Readmission(Readmission::Follows { start }) if listed == incarnation => {
                return self.acquaintances.hear_of(from, disk, start);
            }
            _ => {}
        }
        if listed == incarnation && !self.acquaintances.meet(from, disk, previous_nonce) {
            self.ignored.outdated += 1;
            return self.post(from, PeerMessage::Readmission(Readmission::Doubt));
        }
        if listed == incarnation {
            self.on_word_of_listed(from);
            self.on_word_of_room(now, from, has_room);
        }
        match message {
            PeerMessage::Protocol(message) => {
                if P::vouches(&message) && listed != incarnation {
                    self.ignored.foreign_incarnations += 1;
                    return;
                }
                self.drive(now, Input::Message { from, incarnation, message }, out);
                // It may have brought this replica into its sender's ballot.
                self.must_hold(known.and_then(|known| known.acknowledged));
            }
            PeerMessage::Forward(message) => self.on_forward(now, from, message, out),
            PeerMessage::Snapshot(message) => self.on_snapshot_message(now, from, message, out),
            PeerMessage::Repair(message) => self.on_repair(now, from, message, out),
            PeerMessage::Readmission(message) => {
                self.on_readmission(now, from, incarnation, message, out);
            }
            PeerMessage::Founding(_) => unreachable!("handled above"),
        }
    }

    pub(super) fn ask_peers_about_founding(&mut self, out: &mut Vec<Effect<P::Message>>) {
        if self.founding.saved().formed {
            return;
        }
        let record = self.founding.saved().clone();
        let peers: Vec<NodeId> = self.founding.peers().collect();
        for peer in peers {
            let message = FoundingMessage { record: record.clone(), asks: true };
            self.post(peer, PeerMessage::Founding(message));
        }
        out.push(Effect::SetTimer(Timer::Founding, FOUNDING_INTERVAL));
    }

    fn tell_founding(&mut self, to: NodeId) {
        let record = self.founding.saved().clone();
        self.post(to, PeerMessage::Founding(FoundingMessage { record, asks: false }));
    }

    pub(super) fn on_founding_saved(
        &mut self,
        record: FoundingRecord,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        self.founding.on_saved(record.clone());
        match record.list {
            Some(list) if record.formed => {
                if let Err(fatal) = self.form(list, None, out) {
                    self.stop(fatal, out);
                }
            }
            _ => self.ask_peers_about_founding(out),
        }
    }
}

//! What peers and clients say: bodies of sound frames.

use bytes::Bytes;
use quorate_core::{Envelope, InSession, SessionId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::net::client_wire::{Answer, Ask, AskBegun, Reply, What};

/// Something that was decoded is encoded to bytes from which it is decoded again.
fn keeps_its_bytes<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    body: &[u8],
) -> Option<T> {
    let (value, _) = postcard::take_from_bytes::<T>(body).ok()?;
    let bytes = postcard::to_allocvec(&value).expect("plain data encodes");
    let (again, rest) = postcard::take_from_bytes::<T>(&bytes).expect("it was encoded");
    assert!(rest.is_empty());
    assert_eq!(again, value);
    Some(value)
}

pub fn run(data: &[u8]) {
    let [what, body @ ..] = data else { return };
    match what % 4 {
        0 => {
            let Some(ask) = keeps_its_bytes::<Ask>(body) else { return };
            let (begun, _) = postcard::take_from_bytes::<AskBegun>(body).expect("it begins so");
            assert_eq!(begun, AskBegun { id: ask.id, what: ask.what.kind() });
        }
        1 => _ = keeps_its_bytes::<Reply>(body),
        2 => _ = keeps_its_bytes::<Envelope<quorate_raft::Message>>(body),
        _ => _ = keeps_its_bytes::<Envelope<quorate_vsr::Message>>(body),
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    fn seed<T: Serialize>(what: u8, value: &T) -> Vec<u8> {
        [vec![what], postcard::to_allocvec(value).expect("plain data encodes")].concat()
    }
    let session = Some(InSession { session: SessionId(7), sequence: 8, first_unacknowledged: 6 });
    let command = Bytes::from_static(b"command");
    let (raft, vsr) = crate::replica::envelopes();
    vec![
        seed(0, &Ask { id: 1, what: What::Propose { session, command: command.clone() } }),
        seed(0, &Ask { id: 300, what: What::Register }),
        seed(1, &Reply { id: 1, answer: Answer::Done(command) }),
        seed(2, &raft),
        seed(3, &vsr),
    ]
}

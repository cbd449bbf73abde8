//! Pledges among serde data, which has arrays of up to 32 bytes: two of those.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::PledgeBytes;

type Halves = [[u8; 32]; 2];

fn halves(pledge: &PledgeBytes) -> Halves {
    let mut halves = Halves::default();
    halves.as_flattened_mut().copy_from_slice(pledge);
    halves
}

fn whole(halves: &Halves) -> PledgeBytes {
    let mut pledge = [0; 64];
    pledge.copy_from_slice(halves.as_flattened());
    pledge
}

pub(super) fn serialize<S: Serializer>(pledge: &PledgeBytes, to: S) -> Result<S::Ok, S::Error> {
    halves(pledge).serialize(to)
}

/// One that may be missing.
pub(super) mod optional {
    use super::*;

    pub(in crate::write) fn serialize<S: Serializer>(
        pledge: &Option<PledgeBytes>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        pledge.as_ref().map(halves).serialize(to)
    }

    pub(in crate::write) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<PledgeBytes>, D::Error> {
        Ok(Option::<Halves>::deserialize(from)?.as_ref().map(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Kept {
        #[serde(with = "optional")]
        pledge: Option<PledgeBytes>,
    }

    #[test]
    fn a_pledge_is_kept_byte_for_byte() {
        let pledge: PledgeBytes = std::array::from_fn(|place| place as u8 + 1);
        let bytes = postcard::to_allocvec(&Kept { pledge: Some(pledge) }).unwrap();
        assert_eq!(bytes[1..], pledge);
        assert_eq!(postcard::from_bytes::<Kept>(&bytes).unwrap().pledge, Some(pledge));
    }
}

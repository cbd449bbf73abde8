//! The names of the files that belong to snapshots. Whatever is named otherwise is not touched.

use std::fmt;

use quorate_core::{Ballot, Digest, Index, LogId, SnapshotId};

/// What a file is, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// A complete snapshot.
    Snapshot(SnapshotId),
    /// A snapshot which this process is writing, or an earlier one was.
    Build(u64),
    /// The chunks of a snapshot that have been received so far.
    Fetch(SnapshotId),
    /// The digests of those chunks.
    FetchDigests(SnapshotId),
}

const SNAPSHOT: &str = "snap-";
const BUILD: &str = "tmp-build-";
const FETCH: &str = "tmp-fetch-";
const DIGESTS: &str = ".digests";

impl Name {
    /// What is called so; `None` if it is no file of ours.
    pub(super) fn parse(name: &str) -> Option<Name> {
        let parsed = if let Some(rest) = name.strip_prefix(SNAPSHOT) {
            Name::Snapshot(parse_id(rest)?)
        } else if let Some(rest) = name.strip_prefix(BUILD) {
            Name::Build(parse_u64(rest)?)
        } else {
            let rest = name.strip_prefix(FETCH)?;
            match rest.strip_suffix(DIGESTS) {
                Some(rest) => Name::FetchDigests(parse_id(rest)?),
                None => Name::Fetch(parse_id(rest)?),
            }
        };
        // Capitals, signs and missing zeros parse, and are nothing that was ever written.
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Snapshot(id) => write!(f, "{SNAPSHOT}{}", Hex(id)),
            Name::Build(number) => write!(f, "{BUILD}{number:016x}"),
            Name::Fetch(id) => write!(f, "{FETCH}{}", Hex(id)),
            Name::FetchDigests(id) => write!(f, "{FETCH}{}{DIGESTS}", Hex(id)),
        }
    }
}

struct Hex<'a>(&'a SnapshotId);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SnapshotId { last, content } = self.0;
        write!(f, "{:016x}-{:016x}-", last.index.0, last.ballot.0)?;
        content.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn parse_id(text: &str) -> Option<SnapshotId> {
    let mut parts = text.splitn(3, '-');
    let index = Index(parse_u64(parts.next()?)?);
    let ballot = Ballot(parse_u64(parts.next()?)?);
    let content = u128::from_str_radix(parts.next()?, 16).ok()?;
    Some(SnapshotId { last: LogId::new(index, ballot), content: Digest(content.to_be_bytes()) })
}

fn parse_u64(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> SnapshotId {
        let content = Digest(*b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\xff");
        SnapshotId { last: LogId::new(Index(0x1f), Ballot(2)), content }
    }

    #[test]
    fn names_are_read_back_as_they_were_written() {
        let hex = "000000000000001f-0000000000000002-000102030405060708090a0b0c0d0eff";
        assert_eq!(Name::Snapshot(id()).to_string(), format!("snap-{hex}"));
        assert_eq!(Name::Fetch(id()).to_string(), format!("tmp-fetch-{hex}"));
        assert_eq!(Name::FetchDigests(id()).to_string(), format!("tmp-fetch-{hex}.digests"));
        assert_eq!(Name::Build(10).to_string(), "tmp-build-000000000000000a");
        for name in
            [Name::Snapshot(id()), Name::Fetch(id()), Name::FetchDigests(id()), Name::Build(7)]
        {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
    }

    #[test]
    fn names_of_others_are_not_taken_for_ours() {
        let good = Name::Snapshot(id()).to_string();
        let tail = good.strip_prefix("snap-").unwrap();
        for foreign in [
            "",
            "snap-",
            "snap-1-2-3",
            "tmp-build-1",
            "tmp-build-+00000000000000a",
            "tmp-fetch-",
            "tmp-other",
            "meta",
            "snap-ä",
            &good.to_uppercase(),
            &good.replace('f', "F"),
            &good[..good.len() - 1],
            &format!("{good}0"),
            &format!("{good}.digests"),
            &format!(" {good}"),
            &format!("tmp-fetch-{tail}.digests.digests"),
        ] {
            assert_eq!(Name::parse(foreign), None, "{foreign:?}");
        }
    }
}

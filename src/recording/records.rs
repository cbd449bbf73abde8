//! The records of a file, one after the other.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::format::{
    FILE_HEADER_BYTES, FORMAT_VERSION, HEADER_BYTES, Header, MAGIC, Record, version_of,
};
use super::reader::RecordingError;

/// A file that is being read.
#[derive(Debug)]
pub(super) struct Records {
    file: BufReader<File>,
    /// Where the next record begins.
    offset: u64,
}

/// What stands at some place in a file.
pub(super) enum Next {
    Record(Record),
    /// A record that is whole, and of a kind that is not known.
    Unknown,
    /// The end, or so many bytes of a record that was not written to its end.
    Nothing {
        torn_bytes: u64,
    },
}

impl Records {
    /// Of a file in the format that is known.
    pub(super) fn open(path: &Path) -> Result<Records, RecordingError> {
        let mut file = BufReader::new(File::open(path)?);
        let header = read_up_to(&mut file, FILE_HEADER_BYTES as u64)?;
        if !header.starts_with(&MAGIC) {
            return Err(RecordingError::NotARecording);
        }
        let header = <[u8; FILE_HEADER_BYTES]>::try_from(header);
        let header = header.map_err(|_| RecordingError::NotARecording)?;
        match version_of(&header) {
            Some(FORMAT_VERSION) => Ok(Records { file, offset: FILE_HEADER_BYTES as u64 }),
            Some(found) => Err(RecordingError::Version { found }),
            None => Err(RecordingError::Damaged { offset: 0 }),
        }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn next(&mut self) -> Result<Next, RecordingError> {
        let damaged = RecordingError::Damaged { offset: self.offset };
        let header = read_up_to(&mut self.file, HEADER_BYTES as u64)?;
        let torn_bytes = header.len() as u64;
        let Ok(header) = <[u8; HEADER_BYTES]>::try_from(header) else {
            return Ok(Next::Nothing { torn_bytes });
        };
        let Some(header) = Header::decode(&header) else { return Err(damaged) };
        let body = read_up_to(&mut self.file, header.length)?;
        let read_bytes = torn_bytes + body.len() as u64;
        if (body.len() as u64) < header.length {
            return Ok(Next::Nothing { torn_bytes: read_bytes });
        }
        if !header.is_of(&body) {
            return Err(damaged);
        }
        self.offset += read_bytes;
        let Some(kind) = header.kind else { return Ok(Next::Unknown) };
        Ok(Next::Record(Record { kind, body: body.into() }))
    }
}

/// Fewer only if the file ends before. Memory is taken as bytes are read, whatever length is said.
fn read_up_to(file: &mut BufReader<File>, bytes: u64) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    file.take(bytes).read_to_end(&mut read)?;
    Ok(read)
}

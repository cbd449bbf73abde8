//! Replies, as a server sends them.

use std::io::Write;

/// Which version of the protocol a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// RESP2: until HELLO says otherwise.
    #[default]
    V2,
    /// RESP3: tells null, maps, sets, booleans and doubles from strings and arrays.
    V3,
}

/// Appends replies to a buffer.
///
/// What RESP2 has no type for is written in the way in which Redis does: a map as an array of keys
/// and values, a set as an array, a double as a string, a boolean as 0 or 1.
#[derive(Debug)]
pub struct Encoder<'a> {
    version: Version,
    out: &'a mut Vec<u8>,
}

impl<'a> Encoder<'a> {
    /// An encoder which appends to `out`.
    pub fn new(version: Version, out: &'a mut Vec<u8>) -> Encoder<'a> {
        Encoder { version, out }
    }

    /// A status: a line of text. Line ends in it become spaces.
    pub fn simple(&mut self, text: &str) {
        self.text_line(b'+', text);
    }

    /// An error: a code in capitals, a space, and a text. Line ends become spaces.
    pub fn error(&mut self, text: &str) {
        self.text_line(b'-', text);
    }

    /// A number.
    pub fn integer(&mut self, number: i64) {
        self.number_line(b':', number);
    }

    /// A string of bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.length_line(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A string of bytes that is text to be shown as it is.
    pub fn text(&mut self, text: &str) {
        match self.version {
            Version::V2 => self.bulk(text.as_bytes()),
            Version::V3 => {
                self.length_line(b'=', text.len() + 4);
                self.out.extend_from_slice(b"txt:");
                self.out.extend_from_slice(text.as_bytes());
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Nothing.
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.version {
            Version::V2 => b"$-1\r\n",
            Version::V3 => b"_\r\n",
        });
    }

    /// The beginning of an array: `length` replies follow.
    pub fn array(&mut self, length: usize) {
        self.length_line(b'*', length);
    }

    /// The beginning of a map: `length` times a key and a value follow.
    pub fn map(&mut self, length: usize) {
        match self.version {
            Version::V2 => self.length_line(b'*', length * 2),
            Version::V3 => self.length_line(b'%', length),
        }
    }

    /// The beginning of a set: `length` replies follow.
    pub fn set(&mut self, length: usize) {
        match self.version {
            Version::V2 => self.length_line(b'*', length),
            Version::V3 => self.length_line(b'~', length),
        }
    }

    /// True or false.
    pub fn boolean(&mut self, value: bool) {
        match self.version {
            Version::V2 => self.integer(value.into()),
            Version::V3 => self.out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// A floating point number.
    pub fn double(&mut self, number: f64) {
        let text = match number {
            _ if number.is_nan() => "nan".to_owned(),
            f64::INFINITY => "inf".to_owned(),
            f64::NEG_INFINITY => "-inf".to_owned(),
            _ => number.to_string(),
        };
        match self.version {
            Version::V2 => self.bulk(text.as_bytes()),
            Version::V3 => self.text_line(b',', &text),
        }
    }

    fn text_line(&mut self, kind: u8, text: &str) {
        self.out.push(kind);
        let harmless = |byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte };
        self.out.extend(text.bytes().map(harmless));
        self.out.extend_from_slice(b"\r\n");
    }

    fn length_line(&mut self, kind: u8, length: usize) {
        self.number_line(kind, i64::try_from(length).unwrap_or(i64::MAX));
    }

    fn number_line(&mut self, kind: u8, number: i64) {
        self.out.push(kind);
        if let 0..=9 = number {
            self.out.push(b'0' + number as u8);
        } else {
            // Writing into a vector does not fail.
            let _ = write!(self.out, "{number}");
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

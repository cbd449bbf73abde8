//! Requests, as a server receives them.

use std::ops::Range;

/// Takes requests apart that arrive in pieces.
///
/// Knows the two forms: an array of bulk strings, and a line of words (an *inline command*) with
/// the quoting rules of redis-cli. Remembers how far it came in an incomplete request, so no byte
/// is looked at twice, and refuses a length as soon as it is announced: it never holds more than
/// eight bytes for each argument that has arrived, beside the caller's own buffer.
#[derive(Debug)]
pub struct Decoder {
    max_bytes: usize,
    state: State,
    /// Where the arguments are, in the input or (of an inline command) in `words`.
    args: Vec<Span>,
    /// The arguments of an inline command with quotes and escapes removed.
    words: Vec<u8>,
}

/// One request: the name of a command and its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    bytes: &'a [u8],
    args: &'a [Span],
    consumed: usize,
}

/// A request that can be kept.
#[derive(Clone, Debug)]
pub struct OwnedRequest {
    bytes: Vec<u8>,
    args: Vec<Span>,
}

/// Bytes that are no request. The connection cannot go on: where the next request begins is
/// unknown. The texts are those of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The number of arguments is no number, or too large.
    #[error("Protocol error: invalid multibulk length")]
    ArrayLength,
    /// The number of arguments goes on and on.
    #[error("Protocol error: too big mbulk count string")]
    ArrayLine,
    /// The length of an argument is no number, or too large.
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// The length of an argument goes on and on.
    #[error("Protocol error: too big bulk count string")]
    BulkLine,
    /// Something else where an argument should begin.
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0).escape_default())]
    NotABulk(u8),
    /// An argument does not end where it said.
    #[error("Protocol error: bulk string not terminated")]
    BulkEnd,
    /// A line without end.
    #[error("Protocol error: too big inline request")]
    InlineLength,
    /// A line whose quotes do not match.
    #[error("Protocol error: unbalanced quotes in request")]
    Quotes,
}

type Span = (u32, u32);

#[derive(Clone, Copy, Debug)]
enum State {
    /// At the first byte of a request; no line end before `searched`.
    Start { searched: usize },
    /// `left` arguments are missing; the next one begins at `at`.
    Args { left: usize, at: usize, searched: usize },
    /// In an argument of `length` bytes which begins at `at`.
    Bulk { left: usize, at: usize, length: usize },
}

const START: State = State::Start { searched: 0 };
const MAX_ARGS: u64 = 1 << 20;
const MAX_INLINE_BYTES: usize = 64 << 10;
/// No number is longer, with its type byte and line end.
const MAX_NUMBER_LINE_BYTES: usize = 32;
/// Vectors that one large request made larger than this are given back after it.
const KEEP_ARGS: usize = 1024;

impl Decoder {
    /// A decoder of requests of up to `max_bytes`, which must be less than 4 GiB.
    #[must_use]
    pub fn new(max_bytes: usize) -> Decoder {
        assert!(u32::try_from(max_bytes).is_ok(), "requests are addressed with 32 bits");
        Decoder { max_bytes, state: START, args: Vec::new(), words: Vec::new() }
    }

    /// The request at the start of `input`, or `None` if its end has not arrived: then call again
    /// with the same bytes and more behind them. The caller drops
    /// [`consumed`](Request::consumed) bytes before it asks for the next request. A request may be
    /// [empty](Request::is_empty) and is then to be ignored.
    ///
    /// # Errors
    /// If the bytes are no request; answer with the error and close the connection.
    pub fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Option<Request<'a>>, ProtocolError> {
        if let State::Start { searched } = self.state {
            if searched == 0 {
                self.reset();
            }
            match input.first() {
                None => return Ok(None),
                Some(b'*') => {
                    let Some((count, at)) = self.array_header(input, searched)? else {
                        return Ok(None);
                    };
                    self.state = State::Args { left: count, at, searched: at };
                }
                Some(_) => return self.inline(input, searched),
            }
        }
        let Some(consumed) = self.arguments(input)? else { return Ok(None) };
        self.state = START;
        Ok(Some(Request { bytes: &input[..consumed], args: &self.args, consumed }))
    }

    /// What it holds costs in memory, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.args.capacity() * size_of::<Span>() + self.words.capacity()
    }

    fn reset(&mut self) {
        self.args.clear();
        self.words.clear();
        if self.args.capacity() > KEEP_ARGS {
            self.args = Vec::new();
        }
        if self.words.capacity() > KEEP_ARGS {
            self.words = Vec::new();
        }
    }

    fn array_header(
        &mut self,
        input: &[u8],
        searched: usize,
    ) -> Result<Option<(usize, usize)>, ProtocolError> {
        let Some(end) = line_end(input, 0, searched, ProtocolError::ArrayLine)? else {
            self.state = State::Start { searched: input.len() };
            return Ok(None);
        };
        let (negative, number) = number(&input[1..end - 1]).ok_or(ProtocolError::ArrayLength)?;
        // Redis takes an array of no or of less elements for nothing at all.
        let count = if negative { 0 } else { number };
        if input[end - 1] != b'\r' || count > MAX_ARGS {
            return Err(ProtocolError::ArrayLength);
        }
        Ok(Some((count as usize, end + 1)))
    }

    /// Goes on with the arguments; returns where the request ends if all have arrived.
    fn arguments(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        loop {
            match self.state {
                State::Start { .. } => unreachable!("the header has been read"),
                State::Args { left: 0, at, .. } => return Ok(Some(at)),
                State::Args { left, at, searched } => {
                    let Some(length) = self.bulk_header(input, at, searched)? else {
                        self.state = State::Args { left, at, searched: input.len().max(at) };
                        return Ok(None);
                    };
                    self.state = State::Bulk { left, at: length.start, length: length.len() };
                }
                State::Bulk { left, at, length } => {
                    let end = at + length;
                    let Some(terminator) = input.get(end..end + 2) else { return Ok(None) };
                    if terminator != b"\r\n" {
                        return Err(ProtocolError::BulkEnd);
                    }
                    self.args.push((at as u32, end as u32));
                    self.state = State::Args { left: left - 1, at: end + 2, searched: end + 2 };
                }
            }
        }
    }

    /// Where the argument's bytes will lie.
    fn bulk_header(
        &self,
        input: &[u8],
        at: usize,
        searched: usize,
    ) -> Result<Option<Range<usize>>, ProtocolError> {
        match input.get(at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => return Err(ProtocolError::NotABulk(*other)),
        }
        let Some(end) = line_end(input, at, searched, ProtocolError::BulkLine)? else {
            return Ok(None);
        };
        let start = end + 1;
        // Arguments of no bytes take some, too.
        let room = self.max_bytes.checked_sub(start + 2).ok_or(ProtocolError::BulkLength)? as u64;
        match number(&input[at + 1..end - 1]) {
            Some((false, length)) if length <= room && input[end - 1] == b'\r' => {
                Ok(Some(start..start + length as usize))
            }
            _ => Err(ProtocolError::BulkLength),
        }
    }

    fn inline<'a>(
        &'a mut self,
        input: &'a [u8],
        searched: usize,
    ) -> Result<Option<Request<'a>>, ProtocolError> {
        let Some(length) = input[searched..].iter().position(|byte| *byte == b'\n') else {
            self.state = State::Start { searched: input.len() };
            let too_long = input.len() > MAX_INLINE_BYTES;
            return if too_long { Err(ProtocolError::InlineLength) } else { Ok(None) };
        };
        let end = searched + length;
        if end > MAX_INLINE_BYTES {
            return Err(ProtocolError::InlineLength);
        }
        self.state = START;
        let line = &input[..end];
        split_words(line.strip_suffix(b"\r").unwrap_or(line), &mut self.words, &mut self.args)?;
        Ok(Some(Request { bytes: &self.words, args: &self.args, consumed: end + 1 }))
    }
}

impl<'a> Request<'a> {
    /// How many bytes of the input the request took.
    #[must_use]
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// Number of arguments, the name of the command included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.args.len()
    }

    /// True of an empty line or array, which asks for nothing and is answered nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.args.is_empty()
    }

    /// The argument at `position`, of which 0 is the name of the command.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<&'a [u8]> {
        self.args.get(position).map(|span| slice(self.bytes, *span))
    }

    /// All arguments, the name of the command first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let bytes = self.bytes;
        self.args.iter().map(move |span| slice(bytes, *span))
    }

    /// A copy that can be kept.
    #[must_use]
    pub fn to_owned(&self) -> OwnedRequest {
        OwnedRequest { bytes: self.bytes.to_vec(), args: self.args.to_vec() }
    }
}

impl OwnedRequest {
    /// The request.
    #[must_use]
    pub fn as_request(&self) -> Request<'_> {
        Request { bytes: &self.bytes, args: &self.args, consumed: 0 }
    }
}

fn slice(bytes: &[u8], (start, end): Span) -> &[u8] {
    &bytes[start as usize..end as usize]
}

/// Where the line that begins at `start` ends: the position of its `\n`.
fn line_end(
    input: &[u8],
    start: usize,
    searched: usize,
    too_long: ProtocolError,
) -> Result<Option<usize>, ProtocolError> {
    let from = searched.max(start + 2).min(input.len());
    let limit = input.len().min(start + MAX_NUMBER_LINE_BYTES);
    let found = input[from..limit.max(from)].iter().position(|byte| *byte == b'\n');
    match found {
        Some(offset) => Ok(Some(from + offset)),
        None if limit == start + MAX_NUMBER_LINE_BYTES => Err(too_long),
        None => Ok(None),
    }
}

/// An integer: its sign and its magnitude.
fn number(digits: &[u8]) -> Option<(bool, u64)> {
    let (negative, digits) = match digits {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })?;
    Some((negative, number))
}

/// Splits a line as a shell would: words are separated by white space; `"…"` may contain `\n`,
/// `\r`, `\t`, `\b`, `\a`, `\xHH` and any escaped byte; `'…'` may contain `\'`; a closing quote
/// ends its word.
fn split_words(
    line: &[u8],
    words: &mut Vec<u8>,
    args: &mut Vec<Span>,
) -> Result<(), ProtocolError> {
    // As Redis has it: what stands between words may be more than what ends one.
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let ends_word = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let mut rest = line;
    loop {
        rest = &rest[rest.iter().position(|byte| !is_space(byte)).unwrap_or(rest.len())..];
        if rest.is_empty() {
            return Ok(());
        }
        let start = words.len() as u32;
        loop {
            match rest {
                [] => break,
                [space, ..] if ends_word(space) => break,
                [quote @ (b'"' | b'\''), after @ ..] => {
                    rest = quoted(*quote, after, words)?;
                    if rest.first().is_some_and(|byte| !is_space(byte)) {
                        return Err(ProtocolError::Quotes);
                    }
                    break;
                }
                [byte, after @ ..] => {
                    words.push(*byte);
                    rest = after;
                }
            }
        }
        args.push((start, words.len() as u32));
    }
}

/// Takes a quoted part off `rest`, whose opening quote is gone already.
fn quoted<'a>(
    quote: u8,
    mut rest: &'a [u8],
    words: &mut Vec<u8>,
) -> Result<&'a [u8], ProtocolError> {
    let double = quote == b'"';
    loop {
        match rest {
            [] => return Err(ProtocolError::Quotes),
            [b'\\', b'x', high, low, after @ ..]
                if double && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                words.push(nibble(*high) << 4 | nibble(*low));
                rest = after;
            }
            [b'\\', escaped, after @ ..] if double => {
                words.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = after;
            }
            [b'\\', b'\'', after @ ..] if !double => {
                words.push(b'\'');
                rest = after;
            }
            [byte, after @ ..] if *byte == quote => return Ok(after),
            [byte, after @ ..] => {
                words.push(*byte);
                rest = after;
            }
        }
    }
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1 << 20;

    /// All requests in `input`, fed in pieces which end at `cuts`, and the error that ended it.
    fn decode_in_pieces(
        input: &[u8],
        cuts: &[usize],
    ) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
        let mut decoder = Decoder::new(MAX);
        let (mut start, mut requests) = (0, Vec::new());
        for end in cuts.iter().map(|cut| (*cut).min(input.len())).chain([input.len()]) {
            while start <= end {
                match decoder.decode(&input[start..end]) {
                    Ok(None) => break,
                    Err(error) => return (requests, Some(error)),
                    Ok(Some(request)) => {
                        start += request.consumed();
                        if !request.is_empty() {
                            requests.push(request.iter().map(<[u8]>::to_vec).collect());
                        }
                    }
                }
            }
        }
        (requests, None)
    }

    fn words(line: &str) -> Result<Vec<String>, ProtocolError> {
        let input = format!("{line}\r\n");
        let (requests, error) = decode_in_pieces(input.as_bytes(), &[]);
        let text = |word: Vec<u8>| word.escape_ascii().to_string();
        let words = requests.into_iter().flatten().map(text).collect();
        error.map_or(Ok(words), Err)
    }

    fn error_of(input: &[u8]) -> Option<ProtocolError> {
        decode_in_pieces(input, &[]).1
    }

    #[test]
    fn inline_commands_are_quoted_as_in_redis() {
        assert_eq!(words("SET  k\tv ").unwrap(), ["SET", "k", "v"]);
        assert_eq!(words(r#""a b" 'c d'"#).unwrap(), ["a b", "c d"]);
        assert_eq!(words(r#"x"a b""#).unwrap(), ["xa b"]);
        assert_eq!(
            words(r#""\n\r\t\b\a\x41\xfF\"\q\x4""#).unwrap(),
            [r#"\n\r\t\x08\x07A\xff\"qx4"#]
        );
        assert_eq!(words(r"'it\'s \n'").unwrap(), [r"it\'s \\n"]);
        assert_eq!(words(r#""" ''"#).unwrap(), ["", ""]);
        assert_eq!(words("").unwrap(), Vec::<String>::new());
        for unbalanced in [r#""a"#, r#"'a"#, r#""a"b"#, r#"'a'b"#, r#""a\"#] {
            assert_eq!(words(unbalanced), Err(ProtocolError::Quotes), "{unbalanced}");
        }
    }

    #[test]
    fn empty_requests_ask_for_nothing() {
        let (requests, error) = decode_in_pieces(b"\r\n*0\r\n\n*-1\r\n*-9\r\nPING\n", &[]);
        assert_eq!((requests, error), (vec![vec![b"PING".to_vec()]], None));
    }

    #[test]
    fn impossible_lengths_are_refused_as_soon_as_they_are_announced() {
        let cases: [(&[u8], ProtocolError); 14] = [
            (b"*1048577\r\n", ProtocolError::ArrayLength),
            (b"*99999999999999999999999\r\n", ProtocolError::ArrayLength),
            (b"*x\r\n", ProtocolError::ArrayLength),
            (b"*\r\n", ProtocolError::ArrayLength),
            (b"*1x\n", ProtocolError::ArrayLength),
            (b"*00000000000000000000000000000000000", ProtocolError::ArrayLine),
            (b"*1\r\n$1048577\r\n", ProtocolError::BulkLength),
            (b"*1\r\n$-1\r\n", ProtocolError::BulkLength),
            (b"*1\r\n$18446744073709551615\r\n", ProtocolError::BulkLength),
            (b"*1\r\n$\r\n", ProtocolError::BulkLength),
            (b"*1\r\n$00000000000000000000000000000000000", ProtocolError::BulkLine),
            (b"*1\r\n:1\r\n", ProtocolError::NotABulk(b':')),
            (b"*1\r\n$1\r\nab\r\n", ProtocolError::BulkEnd),
            (&[b'x'; MAX_INLINE_BYTES + 1], ProtocolError::InlineLength),
        ];
        for (input, error) in cases {
            assert_eq!(error_of(input), Some(error), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn a_request_may_not_exceed_its_limit_by_many_arguments_either() {
        let mut input = b"*1000000\r\n".to_vec();
        (0..1000).for_each(|_| input.extend_from_slice(&encode(&[&[b'x'; 2000]])[4..]));
        assert_eq!(error_of(&input), Some(ProtocolError::BulkLength));
    }

    #[test]
    fn a_request_may_be_as_long_as_its_limit_and_no_longer_however_short_its_arguments_are() {
        const EMPTY: &[u8] = b"$0\r\n\r\n";
        let head = b"*1048576\r\n".to_vec();
        let fit = (MAX - head.len()) / EMPTY.len();
        assert_eq!(error_of(&[&head[..], &EMPTY.repeat(fit)].concat()), None);
        let too_many = [&head[..], &EMPTY.repeat(fit + 1)].concat();
        assert_eq!(error_of(&too_many), Some(ProtocolError::BulkLength));
    }

    #[test]
    fn what_the_places_of_many_arguments_take_is_counted_until_the_next_request() {
        const ARGS: usize = 100_000;
        let mut decoder = Decoder::new(MAX);
        let input = [format!("*{ARGS}\r\n").as_bytes(), &b"$0\r\n\r\n".repeat(ARGS)].concat();
        assert!(decoder.decode(&input[..input.len() - 1]).unwrap().is_none());
        assert!(decoder.held_bytes() >= (ARGS - 1) * size_of::<Span>());
        assert!(decoder.decode(&input).unwrap().is_some());
        assert!(decoder.decode(b"").unwrap().is_none());
        assert_eq!(decoder.held_bytes(), 0);
    }

    fn encode(args: &[&[u8]]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(arg);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    #[test]
    fn a_split_at_any_byte_gives_the_same_requests() {
        let input = [
            &encode(&[b"SET", b"k\r\n", b""])[..],
            b"PING \"a b\"\r\n\r\n*0\r\n",
            &encode(&[b"GET", &[b'x'; 40]]),
            b"ECHO 'x'\n",
        ]
        .concat();
        let whole = decode_in_pieces(&input, &[]);
        assert_eq!(whole.0.len(), 4);
        for first in 0..input.len() {
            for second in [first, first + 1, first + 3] {
                assert_eq!(decode_in_pieces(&input, &[first, second]), whole, "{first} {second}");
            }
        }
        let bytewise: Vec<usize> = (0..input.len()).collect();
        assert_eq!(decode_in_pieces(&input, &bytewise), whole);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            requests in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
                0..6,
            ),
        ) {
            let encoded = requests.iter().flat_map(|args| {
                encode(&args.iter().map(Vec::as_slice).collect::<Vec<_>>())
            });
            let (decoded, error) = decode_in_pieces(&encoded.collect::<Vec<_>>(), &[]);
            prop_assert_eq!((decoded, error), (requests, None));
        }

        #[test]
        fn arbitrary_bytes_give_the_same_in_one_piece_and_in_many(
            input in prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(b"*$\r\n123-\"'\\ ".to_vec())],
                0..80,
            ),
        ) {
            let bytewise: Vec<usize> = (0..input.len()).collect();
            prop_assert_eq!(decode_in_pieces(&input, &bytewise), decode_in_pieces(&input, &[]));
        }
    }
}

//! A stream of frames, cut into pieces anywhere.

use bytes::BytesMut;

use crate::net::frame::{self, Frame, FrameError, Kind};
use crate::net::frame_reader::{Arrived, FrameReader, Skipped};
use crate::net::{Pieces, ready};

/// More than is read at once.
const MAX_BYTES: usize = 40_000;

/// In how many pieces a stream arrives at most. In tiny ones a large stream takes long, and it ends
/// everywhere in a small one, too.
const MOST_PIECES: usize = 1024;

const KINDS: [Kind; 7] =
    [Kind::Hello, Kind::Refusal, Kind::Message, Kind::Ping, Kind::Pong, Kind::Request, Kind::Reply];

/// All frames, and how the stream ended.
fn read(stream: &[u8], piece: usize) -> (Vec<Frame>, String) {
    let mut reader = FrameReader::new(Pieces::new(stream, piece), MAX_BYTES);
    let mut frames = Vec::new();
    loop {
        match ready(reader.next()) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, String::new()),
            Err(error) => return (frames, error.to_string()),
        }
    }
}

type Request = (Vec<u8>, Option<Skipped>);
type Requests = (Vec<Request>, String);

/// All requests, likewise; of those that are passed over their beginning.
fn read_requests(stream: &[u8], piece: usize, may_hold: usize) -> Requests {
    let mut reader = FrameReader::new(Pieces::new(stream, piece), MAX_BYTES);
    let mut all = Vec::new();
    loop {
        match ready(reader.next_request(&mut |bytes| bytes <= may_hold)) {
            Ok(Some(Arrived::Frame(frame))) => all.push((frame.body.to_vec(), None)),
            Ok(Some(Arrived::Skipped { beginning, why })) => {
                all.push((beginning.to_vec(), Some(why)));
            }
            Ok(None) => return (all, String::new()),
            Err(error) => return (all, error.to_string()),
        }
    }
}

/// Who is refused room passes over what needs it, or ends the stream if that is no request. Whatever
/// else arrives is the same.
fn is_the_same_but_for_room(refused: &Requests, all: &Requests) -> bool {
    let is_same = |(one, whole): (&Request, &Request)| match one.1 {
        Some(Skipped::NoRoom) => whole.1.is_none() && whole.0.starts_with(&one.0),
        _ => one == whole,
    };
    let is_cut_off = refused.1.contains("are allowed");
    refused.0.len() <= all.0.len()
        && refused.0.iter().zip(&all.0).all(is_same)
        && (is_cut_off || (refused.0.len(), &refused.1) == (all.0.len(), &all.1))
}

/// One of the frames of which a stream was made.
struct Sent {
    kind: Kind,
    body: Vec<u8>,
    /// Of the frame's body, with the length of what it says.
    length: usize,
    /// Where it ends in the stream.
    end: usize,
}

/// What an input is read as: the size of the pieces, how much may be held, and the stream.
struct Input {
    piece: usize,
    may_hold: usize,
    stream: Vec<u8>,
    /// Of what it was made, if it was made.
    sent: Option<Vec<Sent>>,
    /// Where it was damaged or cut off.
    damaged_at: Option<usize>,
}

impl Input {
    /// `piece, kind of input, …`: arbitrary bytes, or frames around them, damaged or not.
    fn of(data: &[u8]) -> Option<Input> {
        let [piece, how, rest @ ..] = data else { return None };
        let (piece, how) = (usize::from(*piece), usize::from(*how));
        let may_hold = how / 8 * 1500;
        if how % 4 == 0 {
            let (stream, sent, damaged_at) = (rest.to_vec(), None, None);
            return Some(Input { piece, may_hold, stream, sent, damaged_at });
        }
        let (mut stream, mut sent, mut rest) = (BytesMut::new(), Vec::new(), rest);
        while let [kind, length, behind @ ..] = rest {
            let kind = KINDS[usize::from(*kind) % KINDS.len()];
            let (body, behind) = body(usize::from(*length), behind);
            let start = stream.len();
            frame::encode(kind, &body, &mut stream);
            let (length, end) = (stream.len() - start - frame::HEADER_BYTES, stream.len());
            sent.push(Sent { kind, body, length, end });
            rest = behind;
        }
        let mut stream = stream.to_vec();
        let at = how * 7919 % stream.len().max(1);
        let damaged_at = (how % 4 != 1 && !stream.is_empty()).then_some(at);
        match how % 8 {
            1 | 5 => {}
            2 => stream.truncate(at),
            _ => stream.get_mut(at..).and_then(<[u8]>::first_mut).into_iter().for_each(|b| *b ^= 1),
        }
        Some(Input { piece, may_hold, stream, sent: Some(sent), damaged_at })
    }
}

/// What a frame is to carry, and the rest of the input: so many bytes of it; or one, counted up, for
/// about as much as is read at once, or for anything up to more than is taken.
fn body(length: usize, input: &[u8]) -> (Vec<u8>, &[u8]) {
    const SMALL: usize = 224;
    const AT_ONCE: usize = 232;
    if length < SMALL {
        let (body, rest) = input.split_at(length.min(input.len()));
        return (body.to_vec(), rest);
    }
    let (first, rest) = input.split_at(input.len().min(1));
    let first = first.first().copied().unwrap_or(0);
    let large = match length.checked_sub(AT_ONCE) {
        None => (16 << 10) - 64 + usize::from(first / 2),
        Some(number) => (number + 1) * 1800,
    };
    ((0..large).map(|at| first.wrapping_add(at as u8)).collect(), rest)
}

pub fn run(data: &[u8]) {
    let Some(Input { piece, may_hold, stream, sent, damaged_at }) = Input::of(data) else { return };
    let piece = piece.max(stream.len() / MOST_PIECES);
    let whole = read(&stream, usize::MAX);
    assert_eq!(whole, read(&stream, piece));
    let requests = read_requests(&stream, usize::MAX, usize::MAX);
    assert_eq!(requests, read_requests(&stream, piece, usize::MAX));
    for piece in [usize::MAX, piece] {
        let refused = read_requests(&stream, piece, may_hold);
        assert!(is_the_same_but_for_room(&refused, &requests), "{may_hold}: {}", refused.1);
    }
    let mut again = BytesMut::new();
    for frame in &whole.0 {
        let length = again.len();
        let Ok(body) = frame.decode::<Vec<u8>>() else { continue };
        frame::encode(frame.kind, &body, &mut again);
        if again[length + frame::HEADER_BYTES..] != frame.body {
            // A number may be written longer than it need be, but not by us.
            assert!(sent.is_none());
        }
    }
    let Some(sent) = sent else { return };
    let intact = damaged_at.unwrap_or(usize::MAX);
    let arrives = |one: &&Sent| one.length <= MAX_BYTES && one.end <= intact;
    let arrived = sent.iter().take_while(arrives).count();
    let (expected, rest) = sent.split_at(arrived);
    let body = |frame: &Frame| (frame.kind, frame.decode::<Vec<u8>>().expect("it was encoded"));
    let said = |one: &Sent| (one.kind, one.body.clone());
    let found: Vec<_> = whole.0.iter().map(body).collect();
    assert_eq!(found, expected.iter().map(said).collect::<Vec<_>>());
    let ended = match rest.first() {
        None => String::new(),
        Some(Sent { length, .. }) if damaged_at.is_none() => {
            FrameError::TooLong { length: *length, max: MAX_BYTES }.to_string()
        }
        Some(_) => {
            // Between two frames, an end is an end like any other.
            let is_clean = stream.len() == expected.last().map_or(0, |one| one.end);
            assert_eq!(whole.1.is_empty(), is_clean);
            return;
        }
    };
    assert_eq!(whole.1, ended);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut two = BytesMut::new();
    frame::encode(Kind::Ping, &(), &mut two);
    frame::encode(Kind::Message, b"seven".as_slice(), &mut two);
    vec![
        [&[3, 0], &two[..]].concat(),
        [&[1, 1, 2, 5][..], b"seven", &[5, 0, 5, 20], &[9; 20]].concat(),
        [&[7, 1, 5, 255, 9, 5, 3], &b"big"[..]].concat(),
        [&[5, 2, 2, 5][..], b"seven"].concat(),
        [&[5, 31, 2, 5][..], b"seven"].concat(),
        // Larger than what is read at once. There is no room for a request, for what is none, …
        [&[255, 97, 5, 241, 9, 5, 244, 8, 5, 3], &b"end"[..]].concat(),
        [&[99, 113, 5, 241, 9, 2, 249, 8, 5, 3], &b"end"[..]].concat(),
        // … for what is cut off, and for what is damaged.
        [&[99, 114, 5, 241, 9, 5, 249, 8, 5, 3], &b"end"[..]].concat(),
        [&[255, 115, 5, 241, 9, 5, 246, 8, 5, 3], &b"end"[..]].concat(),
        // As large as it: the second begins at its end, and is read together with what follows.
        [&[255, 249, 5, 224, 40, 5, 224, 78, 5, 3], &b"end"[..]].concat(),
    ]
}

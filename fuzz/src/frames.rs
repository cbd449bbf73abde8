//! A stream of frames, cut into pieces anywhere.

use bytes::BytesMut;

use crate::net::frame::{self, Frame, FrameError, Kind};
use crate::net::frame_reader::{Arrived, FrameReader, Skipped};
use crate::net::{Pieces, ready};

const MAX_BYTES: usize = 300;

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

/// All requests, likewise; of those that are passed over their beginning.
fn read_requests(stream: &[u8], piece: usize) -> (Vec<(Vec<u8>, Option<Skipped>)>, String) {
    let mut reader = FrameReader::new(Pieces::new(stream, piece), MAX_BYTES);
    let mut all = Vec::new();
    loop {
        match ready(reader.next_request(&mut |_| true)) {
            Ok(Some(Arrived::Frame(frame))) => all.push((frame.body.to_vec(), None)),
            Ok(Some(Arrived::Skipped { beginning, why })) => {
                all.push((beginning.to_vec(), Some(why)));
            }
            Ok(None) => return (all, String::new()),
            Err(error) => return (all, error.to_string()),
        }
    }
}

/// What an input is read as: the size of the pieces, and the stream.
struct Input {
    piece: usize,
    stream: Vec<u8>,
    /// What was put into frames, if nothing of it was damaged.
    bodies: Option<Vec<(Kind, Vec<u8>)>>,
}

impl Input {
    /// `piece, kind of input, …`: arbitrary bytes, or frames around them, damaged or not.
    fn of(data: &[u8]) -> Option<Input> {
        let [piece, how, rest @ ..] = data else { return None };
        let piece = usize::from(*piece);
        if how % 4 == 0 {
            return Some(Input { piece, stream: rest.to_vec(), bodies: None });
        }
        let (mut stream, mut bodies, mut rest) = (BytesMut::new(), Vec::new(), rest);
        while let [kind, length, behind @ ..] = rest {
            let kind = KINDS[usize::from(*kind) % KINDS.len()];
            let (body, behind) = behind.split_at(usize::from(*length).min(behind.len()));
            // What is long enough to be refused is so now and then.
            let body = body.repeat(if *length > 250 { 3 } else { 1 });
            frame::encode(kind, &body, &mut stream);
            bodies.push((kind, body));
            rest = behind;
        }
        let mut stream = stream.to_vec();
        if how % 4 == 1 {
            return Some(Input { piece, stream, bodies: Some(bodies) });
        }
        let at = usize::from(*how) * 7 % stream.len().max(1);
        match how % 8 {
            2 => stream.truncate(at),
            _ => stream.get_mut(at..).and_then(<[u8]>::first_mut).into_iter().for_each(|b| *b ^= 1),
        }
        Some(Input { piece, stream, bodies: None })
    }
}

pub fn run(data: &[u8]) {
    let Some(Input { piece, stream, bodies }) = Input::of(data) else { return };
    let whole = read(&stream, usize::MAX);
    assert_eq!(whole, read(&stream, piece));
    assert_eq!(read_requests(&stream, usize::MAX), read_requests(&stream, piece));
    let mut again = BytesMut::new();
    for frame in &whole.0 {
        let length = again.len();
        if frame.decode::<Vec<u8>>().is_ok_and(|body| {
            frame::encode(frame.kind, &body, &mut again);
            again[length + frame::HEADER_BYTES..] != frame.body
        }) {
            // A number may be written longer than it need be.
            return;
        }
    }
    let Some(bodies) = bodies else { return };
    let fits = |(_, body): &&(Kind, Vec<u8>)| body.len() + 2 <= MAX_BYTES;
    let expected: Vec<_> = bodies.iter().take_while(fits).cloned().collect();
    let body = |frame: &Frame| (frame.kind, frame.decode::<Vec<u8>>().expect("it was encoded"));
    assert_eq!(whole.0.iter().map(body).collect::<Vec<_>>(), expected);
    let ended = if expected.len() == bodies.len() {
        String::new()
    } else {
        let length = bodies[expected.len()].1.len() + 2;
        FrameError::TooLong { length, max: MAX_BYTES }.to_string()
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
        [&[7, 1, 5, 255][..], &[1; 255], &[5, 3, 1, 2, 3]].concat(),
        [&[5, 2, 2, 5][..], b"seven"].concat(),
        [&[5, 31, 2, 5][..], b"seven"].concat(),
    ]
}

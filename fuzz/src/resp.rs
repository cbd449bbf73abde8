//! Requests to the key-value server: arbitrary bytes, in pieces, never panic and never make the
//! decoder consume what it was not given; the same bytes give the same requests however they are
//! cut.
use quorate_kv::resp::{Decoder, ProtocolError, Value};

const MAX_BYTES: usize = 1 << 16;

type Requests = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

fn decode(input: &[u8], step: usize) -> Requests {
    let mut decoder = Decoder::new(MAX_BYTES);
    let (mut start, mut end, mut requests) = (0, 0, Vec::new());
    loop {
        match decoder.decode(&input[start..end]) {
            Ok(Some(request)) => {
                start += request.consumed();
                assert!(start <= end);
                if !request.is_empty() {
                    requests.push(request.iter().map(<[u8]>::to_vec).collect());
                }
            }
            Ok(None) if end == input.len() => return (requests, None),
            Ok(None) => end = (end + step).min(input.len()),
            Err(error) => return (requests, Some(error)),
        }
    }
}

pub fn run(input: &[u8]) {
    let step = input.first().map_or(1, |byte| usize::from(*byte % 16) + 1);
    assert_eq!(decode(input, step), decode(input, input.len().max(1)));
    let _ = Value::decode(input);
}

pub fn seeds() -> Vec<Vec<u8>> {
    [
        &b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\nPING\r\n"[..],
        b"SET key \"quoted \\x41\" 'single'\r\nGET key\n\r\n",
        b"*-1\r\n*0\r\n*1\r\n$0\r\n\r\n",
        b"*2\r\n+OK\r\n%1\r\n:1\r\n,1.5\r\n",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

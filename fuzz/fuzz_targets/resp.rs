//! Requests to the key-value server: arbitrary bytes, in pieces, never panic and never make the
//! decoder consume what it was not given; the same bytes give the same requests however they are
//! cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
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

fuzz_target!(|input: &[u8]| {
    let step = input.first().map_or(1, |byte| usize::from(*byte % 16) + 1);
    assert_eq!(decode(input, step), decode(input, input.len().max(1)));
    let _ = Value::decode(input);
});

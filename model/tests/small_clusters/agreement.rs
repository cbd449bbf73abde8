//! stateright's own checkers, which take every step with the real code and remember nothing of it,
//! come to the same numbers; and its Explorer answers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;

use quorate_model::{Bounds, Ending, Explored, Model};
use quorate_raft::Raft;
use quorate_sim::Simulated;
use quorate_vsr::Vsr;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
use stateright::{Checker, Model as _};

const TINY: Bounds = Bounds {
    replicas: 3,
    elections: 1,
    heartbeats: 0,
    abdications: 0,
    proposals: 0,
    reads: 0,
    crashes: 0,
    duplicates: 0,
    overtakings: Some(0),
    batched: 0,
    slow_writes: 0,
    oaths: 0,
    single_entries: false,
    symmetric: false,
};

/// Demands that both checkers find the same states.
fn agree<P>(bounds: Bounds)
where
    P: Simulated + Sync,
    P::Message: Sync,
    P::Pledge: Sync,
{
    let ours = Model::<P>::new(bounds).check();
    assert!(matches!(ours.ending, Ending::Exhausted), "{}: {:?}", P::NAME, ours.ending);
    let theirs = Explored::<P>::new(bounds, None).checker().spawn_bfs().join();
    assert_eq!(theirs.discovery("every promise is kept"), None);
    assert!(theirs.discovery("somebody leads").is_some());
    let counts = (theirs.unique_state_count() as u64, theirs.state_count() as u64);
    assert_eq!((ours.progress.distinct, ours.progress.generated), counts, "{bounds:?}");
}

#[test]
fn stateright_finds_the_same_states_of_raft() {
    agree::<Raft>(TINY);
    let alike = Bounds { symmetric: true, ..TINY };
    agree::<Raft>(Bounds { proposals: 1, ..alike });
    agree::<Raft>(Bounds { overtakings: Some(1), duplicates: 1, ..alike });
    agree::<Raft>(Bounds { overtakings: None, ..alike });
    agree::<Raft>(Bounds { slow_writes: 1, crashes: 1, ..alike });
    agree::<Raft>(Bounds { slow_writes: 1, oaths: 1, ..alike });
    agree::<Raft>(Bounds { batched: 1, ..alike });
}

#[test]
fn stateright_finds_the_same_states_of_vsr() {
    agree::<Vsr>(TINY);
    agree::<Vsr>(Bounds { overtakings: Some(1), ..TINY });
    agree::<Vsr>(Bounds { slow_writes: 1, oaths: 1, ..TINY });
    agree::<Vsr>(Bounds { batched: 1, ..TINY });
}

/// What a page of the Explorer says.
fn fetch(port: u16, page: &str) -> String {
    // The server begins to listen at some moment after it was asked to.
    let mut stream = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => break stream,
            Err(_) => std::thread::yield_now(),
        }
    };
    write!(stream, "GET {page} HTTP/1.0\r\n\r\n").expect("the loopback interface works");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the loopback interface works");
    assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// A port at which nobody listens. While the socket is held, the system gives it to nobody else, but a
/// server, which asks for this very one and lets it be used again, gets it.
fn hold_a_port() -> rustix::io::Result<(u16, OwnedFd)> {
    let held = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&held, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    sockopt::set_socket_reuseaddr(&held, true)?;
    let address = SocketAddr::try_from(getsockname(&held)?)?;
    Ok((address.port(), held))
}

fn explore<P>()
where
    P: Simulated + Sync,
    P::Message: Sync,
    P::Pledge: Sync,
{
    let (free, _held) = hold_a_port().expect("the loopback interface works");
    std::thread::spawn(move || Explored::<P>::new(TINY, None).serve(free));
    assert!(fetch(free, "/").contains("<html"));
    assert!(fetch(free, "/.status").contains("every promise is kept"));
    let first = fetch(free, "/.states/");
    let index: String = first
        .split_once("\"actionIndex\":")
        .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect())
        .expect("the loopback interface works");
    let following = fetch(free, &format!("/.states/{index}"));
    assert!(following.contains("n1: the election timer runs out"), "{following}");
}

#[test]
fn the_explorer_shows_both_protocols() {
    explore::<Raft>();
    explore::<Vsr>();
}

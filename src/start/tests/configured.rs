//! What was configured arrives where it counts.

use std::io;

use async_trait::async_trait;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::*;
use crate::net::client_wire::{Answer, Ask, Reply};
use crate::net::frame::Frame;
use crate::net::frame_reader::FrameReader;
use crate::net::handshake::Refusal;
use crate::net::testing::{Echo, envelope, hello_of_peer, local, pair, propose};
use crate::net::{Acceptor, Connection, Transport};

/// A client which does what the test says.
struct Caller {
    reader: FrameReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Caller {
    async fn dial(address: &str) -> Caller {
        let (reader, writer) = TcpStream::connect(address).await.unwrap().into_split();
        let mut caller = Caller { reader: FrameReader::new(reader, 1 << 20), writer };
        caller.send(Kind::Hello, &Hello::new("quorate", Default::default(), Role::Client)).await;
        caller
    }

    async fn send<T: Serialize>(&mut self, kind: Kind, body: &T) {
        let mut bytes = BytesMut::new();
        frame::encode(kind, body, &mut bytes);
        self.writer.write_all(&bytes).await.unwrap();
    }

    async fn next(&mut self) -> Frame {
        let next = timeout(PATIENCE / 4, self.reader.next()).await;
        next.expect("it is answered").unwrap().expect("it is not hung up on")
    }
}

#[tokio::test]
async fn a_port_keeps_to_what_was_configured_for_clients() {
    let (addresses, _held) = hold_addresses::<3>();
    let mut config = config(1, &addresses);
    (config.max_clients, config.client_bytes) = (2, 100_000);
    let disk = MemDisk::new();
    // It is the only one of three that is there: it answers no command.
    let started = super::super::start_on(config, Echo, move |_| Ok(disk)).await;
    let node: Node<Raft, Echo> = started.unwrap();
    let mut first = Caller::dial(&addresses[0]).await;
    assert_eq!(first.next().await.kind, Kind::Hello);
    first.send::<Ask>(Kind::Request, &propose(1, 80_000)).await;
    // What was sent before the ping has been read when it is answered.
    first.send(Kind::Ping, &()).await;
    assert_eq!(first.next().await.kind, Kind::Pong);
    let mut second = Caller::dial(&addresses[0]).await;
    assert_eq!(second.next().await.kind, Kind::Hello);
    second.send::<Ask>(Kind::Request, &propose(7, 80_000)).await;
    let answer = Answer::Failed(NotProposed::Busy.into());
    assert_eq!(second.next().await.decode::<Reply>().unwrap(), Reply { id: 7, answer });
    let mut third = Caller::dial(&addresses[0]).await;
    let refused = third.next().await;
    assert_eq!(refused.kind, Kind::Refusal);
    assert_eq!(refused.decode::<Refusal>().unwrap(), Refusal::Full);
    drop(node);
}

/// A peer that greets and reads nothing after that.
struct Reluctant;

#[async_trait]
impl Transport for Reluctant {
    async fn bind(&self, _: &str) -> io::Result<Box<dyn Acceptor>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn dial(&self, _: &str) -> io::Result<Connection> {
        let (connection, mut end) = pair("a peer");
        tokio::spawn(async move {
            assert_eq!(end.receive::<Hello>().await.0, Kind::Hello);
            end.send(Kind::Hello, &hello_of_peer(2)).await;
            std::future::pending::<()>().await;
        });
        Ok(connection)
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_slow_is_sent_all_that_may_be_unacknowledged() {
    let (window_bytes, append_bytes, max_command_bytes) = (200_000, 20_000, 30_000);
    let settings =
        Settings { window_bytes, append_bytes, max_command_bytes, ..Settings::default() };
    let addresses = ["a:1", "b:1"].map(str::to_owned);
    let config = Config { settings, ..config(1, &addresses) };
    let peers = [(NodeId(2), addresses[1].clone())];
    let board = Board::new(Status::new(NodeId(1), "c".to_owned(), "raft"), peers.into_iter());
    let local = Arc::new(Local { transport: Arc::new(Reluctant), ..local(board.clone()) });
    let mut links = dial_others(&config, &local, &Stopper::default());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(board.status().peers[0].connected);
    // A window in messages, and the largest command behind it; the link has no turn meanwhile.
    let link = links.get_mut(&NodeId(2)).unwrap();
    for length in std::iter::repeat_n(append_bytes, 10).chain([max_command_bytes]) {
        link.put(&envelope(1, vec![0_u8; length]));
        link.end_round();
    }
    assert_eq!(board.status().peers[0].dropped, 0);
}

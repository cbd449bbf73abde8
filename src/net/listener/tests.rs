mod waiting;

use std::collections::VecDeque;
use std::io;

use async_trait::async_trait;
use quorate_core::{Digest, Incarnation, Settings};
use quorate_handoff::{Consumer, queue};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::*;
use crate::net::inbox::Received;
use crate::net::testing::{
    Echo, End, Played, envelope, hello_of_client, hello_of_peer, local, pair,
};
use crate::status::{Board, Progress, Status};

/// How many clients are served at once.
const CLIENTS: usize = 5;

/// A listener of node 1, to which the test connects.
struct Listening {
    connections: mpsc::UnboundedSender<io::Result<Connection>>,
    board: Board,
    messages: Consumer<Received<u8>>,
    _played: Played,
}

struct InMemory(mpsc::UnboundedReceiver<io::Result<Connection>>);

#[async_trait]
impl Acceptor for InMemory {
    async fn accept(&mut self) -> io::Result<Connection> {
        match self.0.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_address(&self) -> String {
        String::new()
    }
}

impl Listening {
    fn start() -> Listening {
        let (connections, accepted) = mpsc::unbounded_channel();
        Listening::at(connections, InMemory(accepted), 1 << 20)
    }

    /// Of messages, so many bytes wait for the loop.
    fn at(
        connections: mpsc::UnboundedSender<io::Result<Connection>>,
        acceptor: impl Acceptor,
        inbox_bytes: u32,
    ) -> Listening {
        let board = Board::new(Status::new(NodeId(1), "c".to_owned(), "raft"), [].into_iter());
        let local = local(board.clone());
        let played = Played::new(Settings::default());
        let (to_loop, messages) = queue(usize::MAX);
        let port: Port<u8, Echo> = Port {
            local: Arc::new(local),
            messages: Inbox::new(to_loop, inbox_bytes),
            requests: played.requests.clone(),
            places: Places { newcomers: 256, clients: CLIENTS },
            client_bytes: 1 << 20,
            clients_at: tokio::runtime::Handle::current(),
        };
        tokio::spawn(listen(Box::new(acceptor), port));
        Listening { connections, board, messages, _played: played }
    }

    fn dial(&self, from: &str) -> End {
        let (connection, end) = pair(from);
        self.connections.send(Ok(connection)).unwrap();
        end
    }

    async fn greet(&self, hello: &Hello) -> End {
        let mut end = self.dial("a test");
        end.send(Kind::Hello, hello).await;
        assert_eq!(end.receive::<Hello>().await, (Kind::Hello, hello_of_this()));
        end
    }

    fn refused(&self) -> u64 {
        self.board.status().refused_connections
    }

    /// Who has sent what has come to the loop.
    fn senders(&self) -> Vec<NodeId> {
        let mut batch = VecDeque::new();
        let _ = self.messages.try_pop_all(&mut batch);
        batch.iter().map(|received| received.envelope.from).collect()
    }
}

fn hello_of_this() -> Hello {
    let role =
        Role::Peer { node: NodeId(1), incarnation: Incarnation(1), protocol: "raft".to_owned() };
    Hello { role, ..hello_of_peer(1) }
}

#[tokio::test(start_paused = true)]
async fn however_many_say_nothing_nodes_and_clients_get_in() {
    let listening = Listening::start();
    let mut silent = Vec::new();
    for hello in [hello_of_peer(2), hello_of_client(), hello_of_peer(3)] {
        silent.extend((0..1000).map(|_| listening.dial("a scanner")));
        let mut end = listening.dial("a node");
        end.send(Kind::Hello, &hello).await;
        silent.extend((0..100).map(|_| listening.dial("a scanner")));
        // No time passes: nobody was hung up on for having been silent too long.
        assert_eq!(end.receive::<Hello>().await.0, Kind::Hello);
        end.send(Kind::Ping, &()).await;
        let pong = end.reader.next().await.unwrap().unwrap();
        assert_eq!(pong.kind, Kind::Pong);
    }
    assert!(listening.refused() > 2000);
}

#[tokio::test]
async fn a_client_too_many_is_told_so_and_peers_get_in_all_the_same() {
    let (captured, _guard) = Captured::start();
    let listening = Listening::start();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(listening.greet(&hello_of_client()).await);
    }
    assert_eq!(captured.lines(), [""; 0]);
    let mut refused = listening.dial("one too many");
    refused.send(Kind::Hello, &hello_of_client()).await;
    assert_eq!(refused.receive().await, (Kind::Refusal, Refusal::Full));
    refused.ended().await;
    let lines = captured.lines();
    assert!(matches!(&lines[..], [line] if line.contains("as many connections")), "{lines:?}");
    let _peer = listening.greet(&hello_of_peer(2)).await;
    drop(clients.pop());
    clients.last_mut().unwrap().send(Kind::Ping, &()).await;
    let pong = clients.last_mut().unwrap().reader.next().await.unwrap().unwrap();
    assert_eq!(pong.kind, Kind::Pong);
    let _client = listening.greet(&hello_of_client()).await;
}

#[tokio::test]
async fn a_node_of_a_cluster_that_was_founded_by_others_is_refused_whatever_its_name() {
    let listening = Listening::start();
    let (ours, theirs) = (Digest([1; 16]), Digest([2; 16]));
    listening.board.post(|status| status.identity = Some(ours));
    let mut stranger = listening.dial("a node of others");
    stranger.send(Kind::Hello, &Hello { identity: theirs, ..hello_of_peer(2) }).await;
    assert_eq!(stranger.receive().await, (Kind::Refusal, Refusal::Identity { theirs, ours }));
    // Who is not formed yet has to hear of the founding.
    for identity in [ours, Digest::ZERO] {
        let mut end = listening.dial("a node of ours");
        end.send(Kind::Hello, &Hello { identity, ..hello_of_peer(2) }).await;
        let (kind, hello) = end.receive::<Hello>().await;
        assert_eq!((kind, hello.identity), (Kind::Hello, ours));
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_hung_up_on() {
    let listening = Listening::start();
    let mut silent = listening.dial("a scanner");
    silent.ended().await;
    assert_eq!(listening.refused(), 1);
}

#[tokio::test(start_paused = true)]
async fn when_the_system_has_no_file_left_the_longest_silent_gives_its_own_back() {
    let listening = Listening::start();
    let mut silent = [listening.dial("a scanner"), listening.dial("a scanner")];
    listening.connections.send(Err(io::Error::other("too many open files"))).unwrap();
    let began = Instant::now();
    silent[0].ended().await;
    assert_eq!(listening.refused(), 2, "one could not be accepted, one gave way");
    let _friend = listening.greet(&hello_of_client()).await;
    assert!(began.elapsed() < handshake::HANDSHAKE_TIMEOUT);
    silent[1].ended().await;
    assert_eq!(listening.refused(), 3);
}

#[tokio::test]
async fn a_message_in_the_name_of_another_node_is_refused_and_counted() {
    let listening = Listening::start();
    let mut end = listening.greet(&hello_of_peer(2)).await;
    end.send(Kind::Message, &envelope(2, 7_u8)).await;
    end.send(Kind::Message, &envelope(3, 7_u8)).await;
    end.send(Kind::Message, &envelope(2, 7_u8)).await;
    end.ended().await;
    assert_eq!(listening.senders(), [NodeId(2)]);
    assert_eq!(listening.refused(), 1);
}

#[tokio::test]
async fn a_peer_that_dials_again_has_left_its_old_connection() {
    let listening = Listening::start();
    let mut old = listening.greet(&hello_of_peer(2)).await;
    let mut other = listening.greet(&hello_of_peer(3)).await;
    let mut new = listening.greet(&hello_of_peer(2)).await;
    old.ended().await;
    for end in [&mut new, &mut other] {
        end.send(Kind::Ping, &()).await;
        assert_eq!(end.reader.next().await.unwrap().unwrap().kind, Kind::Pong);
    }
    assert_eq!(listening.refused(), 0);
}

/// What the log says while this is alive.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    fn start() -> (Captured, tracing::subscriber::DefaultGuard) {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        (captured, tracing::subscriber::set_default(subscriber))
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn each_stranger_leaves_one_line_in_the_log_which_says_who_and_why() {
    let (captured, _guard) = Captured::start();
    let another_cluster = Hello { cluster: "theirs".to_owned(), ..hello_of_client() };
    let hello = |hello: &Hello| {
        let mut bytes = BytesMut::new();
        frame::encode(Kind::Hello, hello, &mut bytes);
        bytes.to_vec()
    };
    let (peer, client) = (hello(&hello_of_peer(2)), hello(&hello_of_client()));
    let mut damaged = peer.clone();
    damaged[20] ^= 1;
    // Its header is as it should be, checksum and all, but for the length.
    let mut huge = peer.clone();
    huge[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    let checksum = crc32fast::hash(&huge[..24]);
    huge[24..28].copy_from_slice(&checksum.to_le_bytes());
    let garbage = [0xff_u8; 1000];
    let wait: [(Vec<u8>, &str); 11] = [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "not quorate's"),
        (vec![0xff; 100_000], "not quorate's"),
        (hello(&another_cluster), "it belongs to the cluster"),
        (hello(&hello_of_peer(4)), "node 4, which is not among"),
        (damaged, "damaged on the way"),
        (huge, "a frame of 4294967295 bytes"),
        (b"QRM1".to_vec(), "no handshake within"),
        (Vec::new(), "no handshake within"),
        ([&peer[..], &garbage].concat(), "not quorate's"),
        ([&client[..], &garbage].concat(), "not quorate's"),
        ([&peer[..], &peer].concat(), "cannot be sent at this point"),
    ];
    let hang_up = [
        (peer[..peer.len() - 1].to_vec(), "in the middle of a frame"),
        ([&peer[..], &peer[..20]].concat(), "in the middle of a frame"),
        (Vec::new(), "closed the connection"),
    ];
    let wait = wait.into_iter().map(|(bytes, why)| (bytes, why, false));
    let hang_up = hang_up.into_iter().map(|(bytes, why)| (bytes, why, true));
    for (number, (bytes, why, hangs_up)) in wait.chain(hang_up).enumerate() {
        let listening = Listening::start();
        let remote = format!("stranger-{number}");
        let mut end = listening.dial(&remote);
        end.writer.write_all(&bytes).await.unwrap();
        if hangs_up {
            end.writer.shutdown().await.unwrap();
        }
        end.ended().await;
        let lines = captured.lines();
        let [line] = &lines[..] else { panic!("{remote}: {lines:?}") };
        assert!(line.contains("WARN") && line.contains("connection refused"), "{line}");
        assert!(line.contains(&remote) && line.contains(why), "{line} does not say {why}");
        assert_eq!(listening.refused(), 1);
        let friend = listening.greet(&hello_of_peer(2)).await;
        drop(friend);
        assert_eq!(captured.lines(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_shows_itself_now_and_then_is_kept_and_one_that_says_nothing_is_not() {
    let listening = Listening::start();
    let mut end = listening.greet(&hello_of_peer(2)).await;
    for _ in 0..20 {
        sleep(SILENCE).await;
        end.send(Kind::Ping, &()).await;
        assert_eq!(end.receive::<Progress>().await.0, Kind::Pong);
    }
    let heard = Instant::now();
    end.ended().await;
    let after = heard.elapsed();
    assert!(after > SILENCE && after < 3 * SILENCE, "{after:?}");
    assert_eq!(listening.refused(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_sends_a_large_message_on_a_slow_line_is_answered_meanwhile() {
    let listening = Listening::start();
    let mut end = listening.greet(&hello_of_peer(2)).await;
    let mut bytes = BytesMut::new();
    frame::encode(Kind::Message, &envelope(2, 7_u8), &mut bytes);
    for byte in &bytes {
        end.writer.write_all(&[*byte]).await.unwrap();
        // The sender takes whoever says nothing for so long for gone.
        let pong = tokio::time::timeout(SILENCE, end.receive::<Progress>()).await;
        assert_eq!(pong.expect("a sign of life").0, Kind::Pong);
    }
    assert_eq!(listening.senders(), [NodeId(2)]);
}

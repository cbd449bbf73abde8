mod dialling;

use std::io;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream, duplex};

use super::*;
use crate::net::testing::{greeted, hello_of_client, hello_of_peer, local, pair};
use crate::net::{Acceptor, Connection, Transport};
use crate::status::{Board, Status};

fn dialler() -> (Dialler, Producer<Bytes>) {
    let peers = [(NodeId(2), String::new())];
    let board = Board::new(Status::new(NodeId(1), "c".to_owned(), "raft"), peers.into_iter());
    let local = local(board);
    let (producer, queue) = queue(1 << 20);
    let (to, address) = (NodeId(2), String::new());
    let connected = Arc::default();
    (Dialler { to, address, queue, connected, local: Arc::new(local), told: None }, producer)
}

/// Takes a batch as slowly as it may, and has given a sign of life meanwhile.
async fn take_slowly(theirs: &mut DuplexStream, batch: usize) {
    let mut pong = BytesMut::new();
    frame::encode(Kind::Pong, &Progress::default(), &mut pong);
    let mut taken = vec![0; batch / 2];
    for _ in 0..2 {
        sleep(SILENCE - Duration::from_millis(100)).await;
        theirs.write_all(&pong).await.unwrap();
        theirs.read_exact(&mut taken).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_a_batch_slowly_and_speaks_meanwhile_is_not_silent() {
    const BATCH: usize = 1 << 12;
    for _ in 0..20 {
        let (mut dialler, producer) = dialler();
        // Hardly anything of the batch fits.
        let (ours, mut theirs) = duplex(1 << 7);
        let (reader, writer) = tokio::io::split(ours);
        let reader: Box<dyn tokio::io::AsyncRead + Send + Unpin> = Box::new(reader);
        let reader = FrameReader::new(reader, 1 << 12);
        let greeted = Greeted { hello: hello_of_peer(2), reader, writer: Box::new(writer) };
        producer.push(Bytes::from(vec![0; BATCH]), BATCH).unwrap();
        let ended = tokio::select! {
            error = dialler.converse(greeted) => Some(error),
            () = async {
                take_slowly(&mut theirs, BATCH).await;
                // Long enough for a tick, and for none more.
                sleep(PING_INTERVAL).await;
            } => None,
        };
        assert!(ended.is_none(), "{}", ended.map(|error| error.to_string()).unwrap_or_default());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_over_a_transport_that_buffers_leaves_it() {
    let (ours, mut theirs) = duplex(1 << 10);
    let mut ours = BufWriter::new(ours);
    write_all(&mut ours, [Bytes::from_static(b"sa"), Bytes::from_static(b"id")]).await.unwrap();
    let mut heard = [0; 4];
    let arrived = timeout(SILENCE, theirs.read_exact(&mut heard)).await;
    arrived.expect("it stays in the buffer").unwrap();
    assert_eq!(&heard, b"said");
}

fn dropped(local: &Local) -> u64 {
    local.board.status().peers[0].dropped
}

#[test]
fn messages_for_whom_there_is_no_connection_and_rounds_for_which_there_is_no_room_are_dropped() {
    let local = dialler().0.local;
    let (mut link, _task) = Link::new(NodeId(2), String::new(), 1000, Arc::clone(&local));
    link.put(&[7_u8; 10]);
    link.end_round();
    assert_eq!((dropped(&local), link.queue.queued_bytes()), (1, 0));
    link.connected.store(true, Ordering::Relaxed);
    for messages in [2, 3] {
        (0..messages).for_each(|_| link.put(&[7_u8; 10]));
        link.end_round();
    }
    let queued = link.queue.queued_bytes();
    assert_eq!(dropped(&local), 1);
    // Of a round that does not fit nothing is sent, and the next is not counted with it.
    (0..4).for_each(|_| link.put(&vec![7_u8; 1000]));
    link.end_round();
    assert_eq!((dropped(&local), link.queue.queued_bytes()), (5, queued));
    link.put(&vec![7_u8; 1000]);
    link.end_round();
    assert_eq!(dropped(&local), 6);
    // Without messages, nothing is sent.
    link.end_round();
    assert_eq!((dropped(&local), link.queue.queued_bytes()), (6, queued));
}

#[test]
fn what_was_put_there_for_a_connection_that_broke_is_not_sent_on_the_next() {
    for connected in [true, false] {
        let (mut dialler, producer) = dialler();
        producer.push(Bytes::from_static(b"stale"), 5).unwrap();
        dialler.set_connected(connected);
        assert_eq!(producer.queued_bytes(), 0);
        assert_eq!(dialler.connected.load(Ordering::Relaxed), connected);
        assert_eq!(dialler.local.board.status().peers[0].connected, connected);
    }
}

#[test]
fn who_answers_must_be_the_node_that_was_dialled() {
    let dialler = dialler().0;
    assert_eq!(dialler.judge(&hello_of_peer(2)), Ok(()));
    let other = Refusal::OtherNode { expected: NodeId(2), found: NodeId(3) };
    assert_eq!(dialler.judge(&hello_of_peer(3)), Err(other));
    assert_eq!(dialler.judge(&hello_of_client()), Err(Refusal::NotANode));
}

/// Nobody is anywhere; when somebody was looked for.
struct Nobody(Arc<Mutex<Vec<Instant>>>);

#[async_trait]
impl Transport for Nobody {
    async fn bind(&self, _: &str) -> io::Result<Box<dyn Acceptor>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn dial(&self, _: &str) -> io::Result<Connection> {
        self.0.lock().unwrap().push(Instant::now());
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_down_is_dialled_ever_more_slowly_up_to_a_limit() {
    let (mut dialler, _producer) = dialler();
    let dialled = Arc::default();
    let transport = Arc::new(Nobody(Arc::clone(&dialled)));
    let board = dialler.local.board.clone();
    dialler.local = Arc::new(Local { transport, ..local(board) });
    let _ = timeout(Duration::from_secs(600), dialler.run()).await;
    let dialled = dialled.lock().unwrap();
    let pauses: Vec<Duration> = dialled.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses[0] <= BACKOFF.start * 2);
    assert!(pauses.iter().all(|pause| *pause <= BACKOFF.end * 2), "{pauses:?}");
    let quick = pauses.iter().filter(|pause| **pause < BACKOFF.end / 2).count();
    assert!(quick < 10, "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_everything_and_says_nothing_is_left() {
    let (mut dialler, _producer) = dialler();
    let (connection, mut end) = pair("a frozen peer");
    tokio::spawn(async move { while let Ok(Some(_)) = end.reader.next().await {} });
    let began = Instant::now();
    let error = dialler.converse(greeted(connection, hello_of_peer(2))).await;
    assert!(matches!(error, FrameError::Silence(_)), "{error}");
    let after = began.elapsed();
    assert!(after > SILENCE && after <= SILENCE + 2 * PING_INTERVAL, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_nothing_is_not_written_to_for_ever() {
    let (mut ours, _theirs) = duplex(1 << 7);
    let began = Instant::now();
    let written = write_all(&mut ours, [Bytes::from(vec![0; 1 << 12])]).await;
    assert!(matches!(written, Err(FrameError::Silence(SILENCE))));
    assert_eq!(began.elapsed(), SILENCE);
}

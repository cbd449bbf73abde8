use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, sink};
use tokio::sync::oneshot;

use super::*;
use crate::net::frame_reader::FrameReader;
use crate::net::testing::hello_of_peer;
use crate::net::{Acceptor, Connection, TcpTransport};

fn driver() -> Driver {
    let (_orders, queue) = mpsc::channel(1);
    let transport = Box::new(TcpTransport);
    let mut driver = Driver::new(vec!["a".to_owned()], "c".to_owned(), transport, queue);
    driver.session = Some(Session { id: SessionId(1), window: 600, next_sequence: 0 });
    driver
}

fn order(body: &'static [u8]) -> (Order, oneshot::Receiver<Result<Bytes, Failed>>) {
    let (answer, answered) = oneshot::channel();
    let deadline = Instant::now() + Duration::from_secs(60);
    let (body, fate) = (Bytes::from_static(body), Arc::default());
    (Order { what: Wanted::Command, body, fate, deadline, answer }, answered)
}

#[test]
fn little_is_on_its_way_at_once_however_much_is_outstanding() {
    static LARGE: [u8; 4 << 20] = [0; 4 << 20];
    for (count, body, most) in [
        (500, &LARGE[..], LARGE.len() + 100),
        (500, &LARGE[..1000], SEND_BYTES),
        (20, &LARGE[..SEND_BYTES / 2], SEND_BYTES),
        (3, &LARGE[..1], 300),
    ] {
        let mut driver = driver();
        let mut answers = Vec::new();
        for _ in 0..count {
            let (order, answered) = order(body);
            driver.admit(order);
            answers.push(answered);
        }
        let mut sent = 0;
        loop {
            let bytes = driver.what_to_send(&mut None);
            if bytes.is_empty() {
                break;
            }
            assert!(bytes.len() <= most, "{} bytes at once", bytes.len());
            let marked = driver.outstanding.values().filter(|one| one.sent).count();
            assert!(marked > sent, "nothing more is sent");
            sent = marked;
        }
        assert_eq!(sent, count);
    }
}

fn refused_for_good_after(lose_first_answer: bool) -> Failed {
    let mut driver = driver();
    let (order, mut answered) = order(b"command");
    driver.admit(order);
    let id = *driver.outstanding.first_key_value().unwrap().0;
    assert!(!driver.what_to_send(&mut None).is_empty());
    if lose_first_answer {
        driver.on_broken();
        assert!(!driver.what_to_send(&mut None).is_empty());
    }
    let answer = Answer::Failed(NotProposed::TooLarge.into());
    driver.on_reply(Reply { id, answer }, &mut None).unwrap();
    answered.try_recv().unwrap().unwrap_err()
}

#[test]
fn a_refusal_for_good_is_not_the_whole_truth_about_a_command_sent_before() {
    let too_large = Failed::Request(NotProposed::TooLarge.into());
    assert_eq!(refused_for_good_after(false), too_large);
    assert_eq!(refused_for_good_after(true), Failed::Request(RequestError::Unknown));
}

/// Nodes in memory. Each address is that of another kind.
struct InMemory;

#[async_trait]
impl Transport for InMemory {
    async fn bind(&self, _: &str) -> io::Result<Box<dyn Acceptor>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn dial(&self, address: &str) -> io::Result<Connection> {
        let (ours, theirs) = duplex(64 << 10);
        match address {
            "frozen" => _ = tokio::spawn(greet_and_freeze(theirs)),
            "slow" => _ = tokio::spawn(serve(slowed_down(theirs))),
            _ => _ = tokio::spawn(serve(theirs)),
        }
        let (reader, writer) = tokio::io::split(ours);
        let remote = address.to_owned();
        Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), remote })
    }
}

/// Answers every request with its own command.
async fn serve(stream: DuplexStream) {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = FrameReader::new(reader, MAX_BYTES);
    while let Ok(Some(frame)) = reader.next().await {
        let mut out = BytesMut::new();
        match frame.kind {
            Kind::Hello => frame::encode(Kind::Hello, &hello_of_peer(1), &mut out),
            Kind::Ping => frame::encode(Kind::Pong, &(), &mut out),
            _ => {
                let Ask { id, what } = frame.decode().unwrap();
                let answer = match what {
                    What::Register => Answer::Registered { session: SessionId(1), window: 8 },
                    What::Propose { command, .. } => Answer::Done(command),
                    What::Read { query, .. } => Answer::Done(query),
                };
                frame::encode(Kind::Reply, &Reply { id, answer }, &mut out);
            }
        }
        // The client may have left.
        let _ = writer.write_all(&out).await;
    }
}

/// Takes everything and says nothing, as the socket of a process does that was stopped.
async fn greet_and_freeze(mut stream: DuplexStream) {
    let mut hello = BytesMut::new();
    frame::encode(Kind::Hello, &hello_of_peer(1), &mut hello);
    stream.write_all(&hello).await.unwrap();
    let _ = tokio::io::copy(&mut stream, &mut sink()).await;
}

/// A line on which 100 kB/s arrive.
fn slowed_down(stream: DuplexStream) -> DuplexStream {
    let (near, far) = duplex(1 << 10);
    let ((mut from, mut back), (mut answers, mut to)) =
        (tokio::io::split(stream), tokio::io::split(near));
    tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
    tokio::spawn(async move {
        let mut buffer = vec![0; 10_000];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            sleep(Duration::from_millis(100)).await;
            to.write_all(&buffer[..read]).await.unwrap();
        }
    });
    far
}

/// What a client of these nodes is told of a command, and after how long. It tries them in turn.
async fn ask(nodes: &[&str], command: &'static [u8]) -> (Result<Bytes, Failed>, Duration) {
    let (orders, queue) = mpsc::channel(1);
    let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
    let mut driver = Driver::new(nodes, "c".to_owned(), Box::new(InMemory), queue);
    driver.next_address = 0;
    tokio::spawn(driver.run());
    let began = Instant::now();
    let (mut order, answered) = order(command);
    order.deadline = began + Duration::from_secs(600);
    orders.send(order).await.unwrap_or_else(|_| panic!("the driver has ended"));
    (answered.await.unwrap(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_everything_and_says_nothing_is_left() {
    let (answer, after) = ask(&["frozen", "good"], b"command").await;
    assert_eq!(answer, Ok(Bytes::from_static(b"command")));
    assert!(after > SILENCE && after < 3 * SILENCE, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_large_command_on_a_slow_line_arrives() {
    static LARGE: [u8; 2 << 20] = [7; 2 << 20];
    let (answer, after) = ask(&["slow"], &LARGE).await;
    assert_eq!(answer.map(|answer| answer.len()), Ok(LARGE.len()));
    assert!(after > 4 * SILENCE, "{after:?}");
}

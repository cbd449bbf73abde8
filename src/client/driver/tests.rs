mod connected;
mod sessions;

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use async_trait::async_trait;
use quorate_handoff::{Fate, fate};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, DuplexStream, duplex, sink};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::{RecvError, TryRecvError};

use super::*;
use crate::client::Client;
use crate::net::frame_reader::FrameReader;
use crate::net::testing::{Echo, hello_of_peer};
use crate::net::{Acceptor, Connection, TcpTransport};
use crate::requests::Read;

/// A node whose cluster is founded.
fn hello_of_node() -> Hello {
    Hello { identity: Digest([1; 16]), ..hello_of_peer(1) }
}

fn driver() -> Driver {
    let (_orders, queue) = mpsc::channel(1);
    let transport = Box::new(TcpTransport);
    let mut driver = Driver::new(vec!["a".to_owned()], "c".to_owned(), transport, queue);
    driver.session = Some(Session { id: SessionId(1), window: 600, next_sequence: 0 });
    driver
}

/// Who waits for the answer to an order, and gives it up when dropped.
struct Caller {
    fate: Fate<NotProposed>,
    answered: oneshot::Receiver<Result<Bytes, Failed>>,
}

impl Caller {
    fn try_recv(&mut self) -> Result<Result<Bytes, Failed>, TryRecvError> {
        self.answered.try_recv()
    }
}

impl Future for Caller {
    type Output = Result<Result<Bytes, Failed>, RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answered).poll(cx)
    }
}

fn order(body: &'static [u8]) -> (Order, Caller) {
    let ((attempts, fate), (answer, answered)) = (fate(), oneshot::channel());
    let deadline = Instant::now() + Duration::from_secs(60);
    let (what, body) = (Wanted::Command, Bytes::from_static(body));
    (Order { what, body, attempts, deadline, answer }, Caller { fate, answered })
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

/// The requests in these frames.
fn asked(mut bytes: BytesMut) -> Vec<What> {
    let mut asked = Vec::new();
    while let Some(header) = frame::Header::peek(&bytes).unwrap() {
        let frame = frame::take(&header, &mut bytes).unwrap();
        asked.push(frame.decode::<Ask>().unwrap().what);
    }
    asked
}

#[test]
fn what_is_sent_is_what_was_asked_for_and_acknowledges_what_was_answered() {
    let mut driver = driver();
    let mut answers = Vec::new();
    let mut admit = |driver: &mut Driver, what| {
        let (order, answered) = order(b"body");
        driver.admit(Order { what, ..order });
        answers.push(answered);
        *driver.outstanding.last_key_value().unwrap().0
    };
    let body = Bytes::from_static(b"body");
    let read = |level| What::Read { level, query: body.clone() };
    let command = |sequence, first_unacknowledged| {
        let session = InSession { session: SessionId(1), sequence, first_unacknowledged };
        What::Propose { session: Some(session), command: body.clone() }
    };
    let first = admit(&mut driver, Wanted::Command);
    admit(&mut driver, Wanted::Query(Read::Linearizable));
    let second = admit(&mut driver, Wanted::Command);
    admit(&mut driver, Wanted::Query(Read::Local));
    let sent = asked(BytesMut::from(driver.what_to_send(&mut None)));
    assert_eq!(sent, [command(0, 0), read(Read::Linearizable), command(1, 0), read(Read::Local)]);
    let answer = |driver: &mut Driver, id| {
        driver.on_reply(Reply { id, answer: Answer::Done(Bytes::new()) }, &mut None).unwrap();
    };
    answer(&mut driver, second);
    admit(&mut driver, Wanted::Command);
    let sent = asked(BytesMut::from(driver.what_to_send(&mut None)));
    assert_eq!(sent, [command(2, 0)], "the first one is awaited still");
    answer(&mut driver, first);
    admit(&mut driver, Wanted::Command);
    let sent = asked(BytesMut::from(driver.what_to_send(&mut None)));
    assert_eq!(sent, [command(3, 2)]);
}

/// What became of an attempt before the last one.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    /// The connection broke.
    Lost,
    /// The node said that it does not know.
    Unknown,
    /// The node surely did nothing.
    Refused,
}

/// A driver with one command, which was sent after that.
fn sent_after(before: Before) -> (Driver, u64, Caller) {
    let mut driver = driver();
    let (order, answered) = order(b"command");
    driver.admit(order);
    let id = *driver.outstanding.first_key_value().unwrap().0;
    assert!(!driver.what_to_send(&mut None).is_empty());
    match before {
        Before::Nothing => return (driver, id, answered),
        Before::Lost => driver.on_broken(),
        Before::Unknown => fail(&mut driver, id, RequestError::Unknown).unwrap_err(),
        Before::Refused => fail(&mut driver, id, NotProposed::Busy.into()).unwrap(),
    }
    driver.refused_until = None;
    assert!(!driver.what_to_send(&mut None).is_empty());
    (driver, id, answered)
}

fn fail(driver: &mut Driver, id: u64, error: RequestError) -> Result<(), ()> {
    driver.on_reply(Reply { id, answer: Answer::Failed(error) }, &mut None)
}

const REFUSALS: [NotProposed; 5] = [
    NotProposed::Busy,
    NotProposed::Overdue,
    NotProposed::DiskFull,
    NotProposed::NoLeader,
    NotProposed::ShuttingDown,
];

#[test]
fn a_refusal_for_good_is_not_the_whole_truth_about_a_command_sent_before() {
    let too_large = Failed::Request(NotProposed::TooLarge.into());
    let unknown = Failed::Request(RequestError::Unknown);
    for (before, expected) in [
        (Before::Nothing, too_large),
        (Before::Refused, too_large),
        (Before::Lost, unknown),
        (Before::Unknown, unknown),
    ] {
        let (mut driver, id, mut answered) = sent_after(before);
        fail(&mut driver, id, NotProposed::TooLarge.into()).unwrap();
        assert_eq!(answered.try_recv().unwrap().unwrap_err(), expected);
        assert!(driver.outstanding.is_empty());
    }
}

#[test]
fn a_command_that_was_refused_can_be_given_up_as_unsent_unless_it_was_sent_before() {
    for refusal in REFUSALS {
        for (before, surely_unsent) in [
            (Before::Nothing, true),
            (Before::Refused, true),
            (Before::Lost, false),
            (Before::Unknown, false),
        ] {
            let (mut driver, id, caller) = sent_after(before);
            let _ = fail(&mut driver, id, refusal.into());
            assert_eq!(caller.fate.give_up().is_unsent, surely_unsent, "{refusal:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_any_more_for_a_caller_whose_time_is_over_or_who_has_left() {
    for has_left in [false, true] {
        let (mut driver, id, answered) = sent_after(Before::Lost);
        fail(&mut driver, id, NotProposed::Busy.into()).unwrap();
        driver.refused_until = None;
        if has_left {
            drop(answered);
        } else {
            let order = &driver.outstanding[&id].order;
            tokio::time::sleep_until(order.deadline).await;
        }
        assert!(driver.what_to_send(&mut None).is_empty());
    }
}

#[test]
fn a_node_that_has_no_room_is_asked_again_and_one_without_leader_is_left() {
    for refusal in REFUSALS {
        let (mut driver, id, _answered) = sent_after(Before::Nothing);
        let is_left = fail(&mut driver, id, refusal.into()).is_err();
        let is_busy =
            matches!(refusal, NotProposed::Busy | NotProposed::Overdue | NotProposed::DiskFull);
        assert_eq!((is_left, driver.refused_until.is_some()), (!is_busy, is_busy));
        // Not at once, if it is the same node.
        assert_eq!(driver.what_to_send(&mut None).is_empty(), is_busy);
        driver.refused_until = None;
        let again = driver.what_to_send(&mut None);
        assert_eq!(again.is_empty(), !is_busy, "{refusal:?}");
    }
}

#[test]
fn a_query_is_asked_again_where_that_helps_and_answered_where_not() {
    for (error, is_left, is_asked_again) in [
        (ReadError::NoLeader, true, true),
        (ReadError::ShuttingDown, true, true),
        (ReadError::Busy, false, true),
        (ReadError::Panicked, false, false),
        (ReadError::TooLarge, false, false),
        (ReadError::Unreadable, false, false),
    ] {
        let mut driver = driver();
        let (order, mut answered) = order(b"query");
        driver.admit(Order { what: Wanted::Query(Read::Local), ..order });
        let id = *driver.outstanding.first_key_value().unwrap().0;
        assert!(!driver.what_to_send(&mut None).is_empty());
        let reply = Reply { id, answer: Answer::ReadFailed(error) };
        assert_eq!(driver.on_reply(reply, &mut None).is_err(), is_left, "{error:?}");
        assert_eq!(driver.refused_until.take().is_some(), error == ReadError::Busy);
        assert_eq!(!driver.what_to_send(&mut None).is_empty(), is_asked_again, "{error:?}");
        let told = answered.try_recv().ok();
        assert_eq!(told, (!is_asked_again).then_some(Err(Failed::Read(error))));
    }
}

#[tokio::test(start_paused = true)]
async fn requests_whose_callers_have_given_up_are_forgotten_or_not_taken_at_all() {
    let mut driver = driver();
    let (waiting, _waiting) = order(b"command");
    let (left, answered) = order(b"command");
    let (late, _late) = order(b"command");
    let late = Order { deadline: Instant::now() + Duration::from_secs(1), ..late };
    [waiting, left, late].into_iter().for_each(|order| driver.admit(order));
    driver.drop_abandoned();
    assert_eq!(driver.outstanding.len(), 3);
    drop(answered);
    driver.drop_abandoned();
    assert_eq!(driver.outstanding.len(), 2);
    sleep(Duration::from_secs(2)).await;
    driver.drop_abandoned();
    assert_eq!(driver.outstanding.len(), 1);
    let (late, _late) = order(b"command");
    driver.admit(Order { deadline: Instant::now(), ..late });
    let (left, _) = order(b"command");
    driver.admit(left);
    assert_eq!(driver.outstanding.len(), 1);
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
            "nowhere" => return std::future::pending().await,
            "frozen" => _ = tokio::spawn(greet_and_freeze(theirs)),
            "slow" => _ = tokio::spawn(serve(slowed_down(theirs), hello_of_node(), echoed)),
            // It serves nobody: what it says counts for nothing.
            "unformed" => {
                let refuse = |_| Answer::Failed(NotProposed::Unreadable.into());
                tokio::spawn(serve(theirs, hello_of_peer(1), refuse));
            }
            _ => _ = tokio::spawn(serve(theirs, hello_of_node(), echoed)),
        }
        let (reader, writer) = tokio::io::split(ours);
        let remote = address.to_owned();
        let writer: Box<dyn AsyncWrite + Send + Unpin> = match address {
            "buffering" => Box::new(BufWriter::new(writer)),
            _ => Box::new(writer),
        };
        Ok(Connection { reader: Box::new(reader), writer, remote })
    }
}

/// Gives a command back as its answer.
fn echoed(what: What) -> Answer {
    match what {
        What::Register => Answer::Registered { session: SessionId(1), window: 8 },
        What::Propose { command, .. } => Answer::Done(command),
        What::Read { query, .. } => Answer::Done(query),
    }
}

/// Answers every request.
async fn serve(stream: DuplexStream, hello: Hello, answer: impl Fn(What) -> Answer) {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = FrameReader::new(reader, MAX_BYTES);
    while let Ok(Some(frame)) = reader.next().await {
        let mut out = BytesMut::new();
        match frame.kind {
            Kind::Hello => frame::encode(Kind::Hello, &hello, &mut out),
            Kind::Ping => frame::encode(Kind::Pong, &(), &mut out),
            _ => {
                let Ask { id, what } = frame.decode().unwrap();
                frame::encode(Kind::Reply, &Reply { id, answer: answer(what) }, &mut out);
            }
        }
        // The client may have left.
        let _ = writer.write_all(&out).await;
    }
}

/// Takes everything and says nothing, as the socket of a process does that was stopped.
async fn greet_and_freeze(mut stream: DuplexStream) {
    let mut hello = BytesMut::new();
    frame::encode(Kind::Hello, &hello_of_node(), &mut hello);
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
async fn what_is_asked_over_a_transport_that_buffers_leaves_it() {
    let (answer, after) = ask(&["buffering"], b"command").await;
    assert_eq!(answer, Ok(Bytes::from_static(b"command")));
    assert!(after < PING_INTERVAL, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn an_address_at_which_nobody_answers_is_left() {
    let (answer, after) = ask(&["nowhere", "good"], b"command").await;
    assert_eq!(answer, Ok(Bytes::from_static(b"command")));
    assert!(after < Duration::from_secs(3), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connected_driver_ends_with_the_last_client_once_all_is_answered() {
    let (orders, queue) = mpsc::channel(1);
    let nodes = vec!["slow".to_owned()];
    let driver = Driver::new(nodes, "c".to_owned(), Box::new(InMemory), queue);
    let driver = tokio::spawn(driver.run());
    for _ in 0..2 {
        let (order, answered) = order(b"command");
        assert!(orders.send(order).await.is_ok());
        assert_eq!(answered.await, Ok(Ok(Bytes::from_static(b"command"))));
    }
    let (order, answered) = order(b"the last");
    assert!(orders.send(order).await.is_ok());
    drop(orders);
    assert!(timeout(Duration::from_secs(60), driver).await.is_ok(), "it goes on");
    assert_eq!(answered.await, Ok(Ok(Bytes::from_static(b"the last"))));
}

#[tokio::test(start_paused = true)]
async fn a_large_command_on_a_slow_line_arrives() {
    static LARGE: [u8; 2 << 20] = [7; 2 << 20];
    let (answer, after) = ask(&["slow"], &LARGE).await;
    assert_eq!(answer.map(|answer| answer.len()), Ok(LARGE.len()));
    assert!(after > 4 * SILENCE, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_says_nothing_is_left_by_whoever_goes_on_asking() {
    let (orders, queue) = mpsc::channel(1);
    let nodes = ["frozen", "good"].map(str::to_owned).to_vec();
    let mut driver = Driver::new(nodes, "c".to_owned(), Box::new(InMemory), queue);
    driver.next_address = 0;
    driver.session = Some(Session { id: SessionId(1), window: 256, next_sequence: 0 });
    tokio::spawn(driver.run());
    let began = Instant::now();
    let mut is_answered = false;
    while !is_answered && began.elapsed() < 10 * SILENCE {
        let (mut one, mut answered) = order(b"command");
        one.deadline = Instant::now() + Duration::from_secs(10);
        orders.send(one).await.unwrap_or_else(|_| panic!("the driver has ended"));
        sleep(Duration::from_secs(1)).await;
        is_answered = answered.try_recv().is_ok();
        // Its caller goes on waiting.
        tokio::spawn(answered);
    }
    assert!(is_answered && began.elapsed() < 4 * SILENCE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_patience_without_end_is_one() {
    let client: Client<Echo> = Client::connect_over(["good"], "c", InMemory).unwrap();
    let client = client.with_patience(Duration::MAX);
    assert_eq!(client.propose(&vec![1]).await, Ok(vec![1]));
}

/// Nodes which all answer alike; when each was dialled, and what was asked of them.
#[derive(Clone)]
struct Alike {
    began: Instant,
    /// Before that, none can be reached.
    up_after: Duration,
    /// To each question, with its number on this connection.
    answer: fn(usize, What) -> Answer,
    /// To whoever wants a session.
    register: fn() -> Answer,
    dialled: Arc<Mutex<Vec<Duration>>>,
    asked: Arc<Mutex<Vec<Bytes>>>,
}

impl Alike {
    fn new(up_after: Duration, answer: fn(usize, What) -> Answer) -> Alike {
        let (dialled, asked) = Default::default();
        let register = || echoed(What::Register);
        Alike { began: Instant::now(), up_after, answer, register, dialled, asked }
    }

    /// A driver that tries so many of them.
    fn driver(&self, nodes: usize) -> (mpsc::Sender<Order>, Driver) {
        let (orders, queue) = mpsc::channel(1024);
        let addresses = vec!["n".to_owned(); nodes];
        (orders, Driver::new(addresses, "c".to_owned(), Box::new(self.clone()), queue))
    }

    fn asked(&self) -> Vec<Bytes> {
        self.asked.lock().unwrap().clone()
    }

    /// How long after the one before each was dialled.
    fn pauses(&self) -> Vec<Duration> {
        self.dialled.lock().unwrap().windows(2).map(|two| two[1] - two[0]).collect()
    }
}

#[async_trait]
impl Transport for Alike {
    async fn bind(&self, _: &str) -> io::Result<Box<dyn Acceptor>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn dial(&self, address: &str) -> io::Result<Connection> {
        self.dialled.lock().unwrap().push(self.began.elapsed());
        if self.began.elapsed() < self.up_after {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = duplex(64 << 10);
        let (answer, asked, number) = (self.answer, Arc::clone(&self.asked), AtomicUsize::new(0));
        let register = self.register;
        tokio::spawn(serve(theirs, hello_of_node(), move |what| match what {
            What::Register => register(),
            What::Propose { command: ref body, .. } | What::Read { query: ref body, .. } => {
                asked.lock().unwrap().push(body.clone());
                answer(number.fetch_add(1, Ordering::Relaxed), what)
            }
        }));
        let (reader, writer) = tokio::io::split(ours);
        let remote = address.to_owned();
        Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), remote })
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_of_unknown_outcome_is_not_sent_again_without_a_pause() {
    // They have executed each command and have no room for any answer.
    let nodes = Alike::new(Duration::ZERO, |_, _| Answer::Failed(RequestError::Unknown));
    let client: Client<Echo> = Client::connect_over(["n"], "c", nodes.clone()).unwrap();
    let client = client.with_patience(Duration::from_secs(1));
    assert_eq!(client.propose(&vec![1]).await, Err(RequestError::Unknown));
    let asked = nodes.asked().len();
    assert!((2..=50).contains(&asked), "{asked}");
}

const OUTAGE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_driver_without_clients_ends_though_no_node_serves_and_orders_of_theirs_are_left() {
    let (orders, driver) = Alike::new(OUTAGE, |_, what| echoed(what)).driver(3);
    for _ in 0..3 {
        assert!(orders.send(order(b"left").0).await.is_ok());
    }
    drop(orders);
    assert!(timeout(OUTAGE / 2, driver.run()).await.is_ok(), "it goes on");
}

#[tokio::test(start_paused = true)]
async fn orders_of_those_who_gave_up_during_an_outage_are_forgotten_in_it_and_never_sent() {
    let nodes = Alike::new(OUTAGE, |_, what| echoed(what));
    let (orders, driver) = nodes.driver(3);
    let mut late = Vec::new();
    for number in 0..1000 {
        let (mut left, answered) = order(b"left");
        if number % 2 == 0 {
            left.what = Wanted::Query(Read::Local);
        }
        if number % 3 == 0 {
            left.deadline = Instant::now() + Duration::from_millis(number);
            late.push(answered);
        }
        assert!(orders.send(left).await.is_ok());
    }
    tokio::spawn(driver.run());
    sleep(OUTAGE / 2).await;
    assert_eq!(orders.capacity(), orders.max_capacity());
    assert!(late.iter_mut().all(|answered| answered.try_recv() == Err(TryRecvError::Closed)));
    let (mut live, answered) = order(b"live");
    live.deadline += OUTAGE;
    assert!(orders.send(live).await.is_ok());
    assert_eq!(answered.await, Ok(Ok(Bytes::from_static(b"live"))));
    assert_eq!(nodes.asked(), [Bytes::from_static(b"live")]);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_do_not_serve_are_tried_ever_more_slowly_up_to_a_limit() {
    let no_leader = |_, _| Answer::Failed(NotProposed::NoLeader.into());
    for up_after in [OUTAGE, Duration::ZERO] {
        for count in [1, 3] {
            let nodes = Alike::new(up_after, no_leader);
            let (orders, driver) = nodes.driver(count);
            tokio::spawn(driver.run());
            let (mut one, _answered) = order(b"command");
            one.deadline += OUTAGE;
            assert!(orders.send(one).await.is_ok());
            sleep(OUTAGE).await;
            let pauses = nodes.pauses();
            // Where the first is reached, its session is opened: so it has served.
            let served = usize::from(up_after.is_zero());
            assert!(pauses[..count].iter().all(|pause| *pause <= PAUSE * 2), "{pauses:?}");
            assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE * 2), "{pauses:?}");
            let quick = pauses.iter().filter(|pause| **pause < LONGEST_PAUSE / 2).count();
            assert!(quick <= served + 5 * count && pauses.len() > 40, "{pauses:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_served_is_not_missed_for_long_however_often_it_is_left() {
    let nodes = Alike::new(Duration::ZERO, |number, what| match number {
        0 => echoed(what),
        _ => Answer::Failed(NotProposed::NoLeader.into()),
    });
    let client: Client<Echo> = Client::connect_over(["n"], "c", nodes.clone()).unwrap();
    for number in 0..40 {
        assert_eq!(client.propose(&vec![number]).await, Ok(vec![number]));
    }
    assert!(nodes.pauses().iter().all(|pause| *pause <= PAUSE * 2), "{:?}", nodes.pauses());
    assert_eq!(nodes.pauses().len(), 39);
}

#[tokio::test(start_paused = true)]
async fn whoever_was_refused_until_the_end_is_told_why() {
    let full = |_, what| match what {
        What::Read { .. } => Answer::ReadFailed(ReadError::Busy),
        _ => Answer::Failed(NotProposed::DiskFull.into()),
    };
    let nodes = Alike::new(Duration::ZERO, full);
    let client: Client<Echo> = Client::connect_over(["n"], "c", nodes).unwrap();
    let client = client.with_patience(Duration::from_secs(1));
    assert_eq!(client.propose(&vec![1]).await, Err(NotProposed::DiskFull.into()));
    let read = client.read(Read::Linearizable, &Vec::new()).await;
    assert_eq!(read, Err(ReadError::Busy));
    let nobody = Alike::new(OUTAGE, full);
    let client: Client<Echo> = Client::connect_over(["n"], "c", nobody).unwrap();
    let client = client.with_patience(Duration::from_secs(1));
    assert_eq!(client.propose(&vec![1]).await, Err(NotProposed::NoLeader.into()));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_no_node_answers_says_so_and_one_that_no_leader_confirms_says_that() {
    let no_leader = |_, _| Answer::ReadFailed(ReadError::NoLeader);
    for (up_after, level, expected) in [
        (OUTAGE, Read::Local, ReadError::Unreachable),
        (OUTAGE, Read::Linearizable, ReadError::Unreachable),
        (Duration::ZERO, Read::Linearizable, ReadError::NoLeader),
    ] {
        let nodes = Alike::new(up_after, no_leader);
        let client: Client<Echo> = Client::connect_over(["n"], "c", nodes).unwrap();
        let client = client.with_patience(Duration::from_secs(1));
        assert_eq!(client.read(level, &Vec::new()).await, Err(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_client_cannot_read_to_its_end_is_told_and_that_its_command_was_executed() {
    // A length without its bytes, and a byte too many.
    let answers: [fn(usize, What) -> Answer; 2] = [
        |_, _| Answer::Done(Bytes::from_static(&[5])),
        |_, _| Answer::Done(Bytes::from_static(&[0, 7])),
    ];
    for answer in answers {
        let nodes = Alike::new(Duration::ZERO, answer);
        let client: Client<Echo> = Client::connect_over(["n"], "c", nodes.clone()).unwrap();
        let executed = client.propose(&vec![1]).await;
        assert_eq!(executed, Err(RequestError::ResponseUnreadable));
        let read = client.read(Read::Linearizable, &Vec::new()).await;
        assert_eq!(read, Err(ReadError::AnswerUnreadable));
        assert_eq!(nodes.asked().len(), 2, "neither is asked again");
    }
}

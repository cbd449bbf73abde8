//! One connection on which a lot is asked and nothing is answered.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use quorate_core::Digest;

use super::*;
use crate::client::Client;
use crate::net::handshake::{self, Hello};
use crate::net::testing::{Echo, hello_of_peer, settle};
use crate::net::{Acceptor, Connection, Transport};

#[tokio::test(start_paused = true)]
async fn no_more_is_read_than_may_be_unanswered_and_pings_are_answered_all_the_same() {
    let played = played();
    let (mut end, _) = client(&played, &Budget::new(1 << 30));
    for id in 0..MAX_UNANSWERED as u64 {
        end.send(Kind::Request, &propose(id, 1)).await;
    }
    end.send(Kind::Ping, &()).await;
    let pong = timeout(Duration::from_secs(1), end.receive::<()>()).await;
    assert_eq!(pong.expect("a sign of life").0, Kind::Pong);
    for id in 0..2000 {
        end.send(Kind::Request, &propose(MAX_UNANSWERED as u64 + id, 1)).await;
    }
    settle().await;
    assert_eq!(played.answer_all(1), MAX_UNANSWERED);
    settle().await;
    assert_eq!(played.asked().len(), MAX_UNANSWERED);
}

/// Leads to a node whose loop the test plays.
#[derive(Clone)]
struct ToPort {
    requests: Requests<Echo>,
    budget: Arc<Budget>,
    dialled: Arc<AtomicUsize>,
}

#[async_trait]
impl Transport for ToPort {
    async fn bind(&self, _: &str) -> io::Result<Box<dyn Acceptor>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn dial(&self, _: &str) -> io::Result<Connection> {
        self.dialled.fetch_add(1, Ordering::Relaxed);
        let ends = tokio::io::duplex(1 << 20);
        let [ours, theirs] = [ends.0, ends.1].map(|end| {
            let (reader, writer) = tokio::io::split(end);
            let remote = "test".to_owned();
            Connection { reader: Box::new(reader), writer: Box::new(writer), remote }
        });
        let ToPort { requests, budget, .. } = self.clone();
        let hello = || Hello { identity: Digest([1; 16]), ..hello_of_peer(1) };
        tokio::spawn(async move {
            let greeted = handshake::answer(theirs, hello, |_| Ok(())).await.unwrap();
            // The client may have left.
            let _ = serve_client(greeted, &requests, &budget).await;
        });
        Ok(ours)
    }
}

/// Has so many read. How many of them were answered stands there in the end.
fn ask(client: &Client<Echo>, count: usize, answered: &Arc<AtomicUsize>) {
    for _ in 0..count {
        let (client, answered) = (client.clone(), Arc::clone(answered));
        tokio::spawn(async move {
            let read = client.read(Read::Linearizable, &vec![1]).await.is_ok();
            answered.fetch_add(usize::from(read), Ordering::Relaxed);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_answers_nothing_but_pings_is_not_left_however_much_its_client_asks() {
    let played = Played::new(Settings::default());
    let (budget, dialled) = (Budget::new(1 << 30), Arc::default());
    let port = ToPort { requests: played.requests.clone(), budget, dialled: Arc::clone(&dialled) };
    let client: Client<Echo> = Client::connect_over(["n"], "c", port).unwrap();
    let (hasty, patient) = (Duration::from_secs(1), Duration::from_secs(60));
    let answered = Arc::new(AtomicUsize::new(0));
    // Who has given up is answered by the node all the same, and takes a place until then.
    ask(&client.with_patience(hasty), 600, &answered);
    tokio::time::sleep(2 * hasty).await;
    ask(&client.with_patience(patient), 600, &answered);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(dialled.load(Ordering::Relaxed), 1, "the node was taken for dead");
    let mut asked = played.asked();
    assert_eq!(asked.len(), MAX_UNANSWERED);
    // The session is opened, and whoever still waits is answered.
    while !asked.is_empty() {
        for request in asked.drain(..) {
            match request {
                Request::Register { answer } => {
                    let _ = answer.complete(Ok(Outcome::Registered(SessionId(3))));
                }
                Request::Read { answer, .. } => _ = answer.complete(Ok(vec![2])),
                Request::Propose { .. } => panic!("nobody proposes"),
            }
        }
        settle().await;
        asked = played.asked();
    }
    assert_eq!((answered.load(Ordering::Relaxed), dialled.load(Ordering::Relaxed)), (600, 1));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_no_more_and_answers_nothing_is_left_though_it_is_there() {
    let played = Played::new(Settings::default());
    let (budget, dialled) = (Budget::new(1 << 30), Arc::default());
    let port = ToPort { requests: played.requests.clone(), budget, dialled: Arc::clone(&dialled) };
    let client: Client<Echo> = Client::connect_over(["n"], "c", port).unwrap();
    ask(&client.with_patience(Duration::from_secs(60)), 600, &Arc::default());
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(dialled.load(Ordering::Relaxed), 1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(dialled.load(Ordering::Relaxed), 2);
}

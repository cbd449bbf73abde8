//! One connection over a long time, and which nodes get none.

use super::*;
use crate::net::testing::{End, greeted, pair};

#[tokio::test(start_paused = true)]
async fn what_a_node_owed_when_it_was_left_is_not_held_against_the_next_one() {
    let (orders, queue) = mpsc::channel(1024);
    let nodes = ["frozen", "good"].map(str::to_owned).to_vec();
    let mut driver = Driver::new(nodes, "c".to_owned(), Box::new(InMemory), queue);
    driver.next_address = 0;
    tokio::spawn(driver.run());
    let began = Instant::now();
    let mut answers = Vec::new();
    for _ in 0..MAX_UNANSWERED {
        let (order, answered) = order(b"query");
        let order = Order { what: Wanted::Query(Read::Local), ..order };
        assert!(orders.send(order).await.is_ok());
        answers.push(answered);
    }
    for answered in answers {
        assert_eq!(answered.await, Ok(Ok(Bytes::from_static(b"query"))));
    }
    assert!(began.elapsed() < 3 * SILENCE, "{:?}", began.elapsed());
}

/// The name of the next request to this node, and the command's place in its session.
async fn next_command(end: &mut End) -> (u64, InSession) {
    loop {
        let frame = end.reader.next().await.unwrap().expect("the client has hung up");
        if frame.kind == Kind::Ping {
            continue;
        }
        match frame.decode().unwrap() {
            Ask { id, what: What::Propose { session: Some(session), .. } } => return (id, session),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_later_has_a_later_name_than_what_an_earlier_connection_lost() {
    let (orders, queue) = mpsc::channel(1);
    let mut driver = Driver { queue, ..driver() };
    let ((lost, mut lost_answer), (later, _later_answer)) = (order(b"lost"), order(b"later"));
    assert!(orders.send(lost).await.is_ok());
    let (connection, mut end) = pair("one");
    let mut node = greeted(connection, hello_of_node());
    let first = tokio::select! {
        _ = driver.serve(&mut node) => panic!("it left"),
        asked = next_command(&mut end) => asked,
    };
    driver.on_broken();

    let (connection, mut end) = pair("another");
    let mut node = greeted(connection, hello_of_node());
    let (again, second) = tokio::select! {
        _ = driver.serve(&mut node) => panic!("it left"),
        asked = async {
            let again = next_command(&mut end).await;
            assert!(orders.send(later).await.is_ok());
            (again, next_command(&mut end).await)
        } => asked,
    };
    assert_eq!(again, first);
    assert!(second.0 > first.0, "{second:?}");
    assert_eq!((second.1.sequence, second.1.first_unacknowledged), (1, 0));
    assert_eq!(lost_answer.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_until_its_callers_gave_up_is_forgotten_while_connected() {
    let nodes = Alike::new(Duration::ZERO, |_, what| match &what {
        What::Propose { command, .. } if command == "refused" => {
            Answer::Failed(NotProposed::Busy.into())
        }
        _ => echoed(what),
    });
    let (orders, driver) = nodes.driver(1);
    let driver = tokio::spawn(driver.run());
    let second = Duration::from_secs(1);
    // Several times as many as the session's window; some callers leave before their time is over.
    let mut waiting = Vec::new();
    for number in 0..40 {
        let (mut refused, answered) = order(b"refused");
        refused.deadline = Instant::now() + second;
        assert!(orders.send(refused).await.is_ok());
        if number % 2 == 0 {
            waiting.push(answered);
        }
    }
    sleep(3 * second).await;
    assert!(waiting.iter_mut().all(|answered| answered.try_recv() == Err(TryRecvError::Closed)));
    let (live, answered) = order(b"live");
    assert!(orders.send(live).await.is_ok());
    let answered = timeout(10 * second, answered).await.expect("there is room for it");
    assert_eq!(answered, Ok(Ok(Bytes::from_static(b"live"))));
    drop(orders);
    assert!(timeout(10 * second, driver).await.is_ok(), "it goes on");
    assert_eq!(nodes.dialled.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_formed_is_asked_nothing_and_takes_no_session_away() {
    let (answer, after) = ask(&["unformed", "good"], b"command").await;
    assert_eq!(answer, Ok(Bytes::from_static(b"command")));
    assert!(after < 2 * PAUSE, "{after:?}");

    let (mut driver, id, mut answered) = sent_after(Before::Lost);
    driver.identity = hello_of_node().identity;
    let (connection, _end) = pair("unformed");
    let mut unformed = greeted(connection, hello_of_peer(1));
    let left = timeout(PAUSE, driver.serve(&mut unformed)).await;
    assert!(matches!(left, Ok(Left::Useless)));
    assert!(driver.session.is_some() && driver.outstanding.contains_key(&id));
    assert_eq!(answered.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test(start_paused = true)]
async fn whoever_waited_for_a_session_in_vain_is_told_why_there_is_none() {
    let register = || Answer::Failed(NotProposed::DiskFull.into());
    let nodes = Alike { register, ..Alike::new(Duration::ZERO, |_, what| echoed(what)) };
    let client: Client<Echo> = Client::connect_over(["n"], "c", nodes.clone()).unwrap();
    let client = client.with_patience(Duration::from_secs(1));
    assert_eq!(client.propose(&vec![1]).await, Err(NotProposed::DiskFull.into()));
    assert!(nodes.asked().is_empty());
}

#[test]
fn no_more_is_sent_than_may_be_unanswered_though_nobody_waits_for_it_any_more() {
    let mut driver = driver();
    let admit = |driver: &mut Driver, count| {
        let admitted = (0..count).map(|_| {
            let (order, answered) = order(b"query");
            driver.admit(Order { what: Wanted::Query(Read::Local), ..order });
            answered
        });
        admitted.collect::<Vec<_>>()
    };
    let sent = |driver: &mut Driver, registering: &mut Option<u64>| {
        let mut asked = Vec::new();
        loop {
            let bytes = driver.what_to_send(registering);
            if bytes.is_empty() {
                break asked.len();
            }
            asked.extend(super::asked(BytesMut::from(bytes)));
        }
    };
    let first = admit(&mut driver, MAX_UNANSWERED);
    let id = *driver.outstanding.first_key_value().unwrap().0;
    assert_eq!(sent(&mut driver, &mut None), MAX_UNANSWERED);
    drop(first);
    driver.drop_abandoned();
    let _second = admit(&mut driver, 2);
    assert_eq!(sent(&mut driver, &mut None), 0);
    driver.on_expired();
    let mut registering = None;
    for (name, expected) in [(id, 1), (id + 1, 1), (id + 2, 1), (id + 3, 0)] {
        let reply = Reply { id: name, answer: Answer::Done(Bytes::new()) };
        driver.on_reply(reply, &mut registering).unwrap();
        assert_eq!(sent(&mut driver, &mut registering), expected);
        assert!(registering.is_some(), "a session comes first");
    }
}

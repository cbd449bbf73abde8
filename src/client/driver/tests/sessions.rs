//! What becomes of a session, and of the numbers in it.

use super::*;

#[test]
fn with_an_evicted_session_ends_what_may_have_been_executed_in_it_and_nothing_else() {
    let mut driver = driver();
    let mut answers = Vec::new();
    let mut admit = |driver: &mut Driver| {
        let (order, answered) = order(b"command");
        driver.admit(order);
        answers.push(answered);
        *driver.outstanding.last_key_value().unwrap().0
    };
    let [lost, refused, sent, expired] = [(); 4].map(|()| admit(&mut driver));
    assert!(!driver.what_to_send(&mut None).is_empty());
    fail(&mut driver, lost, RequestError::Unknown).unwrap_err();
    fail(&mut driver, refused, NotProposed::Busy.into()).unwrap();
    driver.refused_until = None;
    let unsent = admit(&mut driver);
    fail(&mut driver, expired, SessionError::Expired.into()).unwrap();
    assert!(driver.session.is_none());
    // The one that was told so has had no effect, and was not sent before.
    let kept: Vec<u64> = driver.outstanding.keys().copied().collect();
    assert_eq!(kept, [refused, expired, unsent]);
    assert!(driver.outstanding.values().all(|one| one.sequence.is_none() && !one.sent));
    let told: Vec<_> = answers.iter_mut().map(|answered| answered.try_recv().ok()).collect();
    let is_expired = Some(Err(Failed::Request(SessionError::Expired.into())));
    assert_eq!(told, [is_expired.clone(), None, is_expired, None, None]);
    assert_ne!(sent, lost);

    // They go into the next one, in which numbers begin anew.
    let mut registering = None;
    assert!(!driver.what_to_send(&mut registering).is_empty());
    assert!(driver.outstanding.values().all(|one| !one.sent));
    let answer = Answer::Registered { session: SessionId(2), window: 8 };
    let reply = Reply { id: registering.unwrap(), answer };
    driver.on_reply(reply, &mut registering).unwrap();
    assert_eq!(registering, None);
    assert!(!driver.what_to_send(&mut registering).is_empty());
    let numbers: Vec<_> = driver.outstanding.values().map(|one| one.sequence).collect();
    assert_eq!(numbers, [Some(0), Some(1), Some(2)]);
}

#[test]
fn no_more_is_numbered_than_the_window_allows_from_the_first_that_is_not_answered() {
    let mut driver = driver();
    driver.session = Some(Session { id: SessionId(1), window: 4, next_sequence: 0 });
    let mut answers = Vec::new();
    let mut ids = Vec::new();
    let mut admit = |driver: &mut Driver, ids: &mut Vec<u64>| {
        let (order, answered) = order(b"command");
        driver.admit(order);
        answers.push(answered);
        ids.push(*driver.outstanding.last_key_value().unwrap().0);
    };
    for _ in 0..4 {
        assert!(driver.has_room());
        admit(&mut driver, &mut ids);
    }
    assert!(!driver.has_room());
    (0..2).for_each(|_| admit(&mut driver, &mut ids));
    let sent = |driver: &mut Driver| {
        let _ = driver.what_to_send(&mut None);
        let sent = driver.outstanding.values().filter(|one| one.sent);
        sent.map(|one| one.sequence.unwrap()).collect::<Vec<u64>>()
    };
    let done = |driver: &mut Driver, id| {
        let reply = Reply { id, answer: Answer::Done(Bytes::new()) };
        driver.on_reply(reply, &mut None).unwrap();
    };
    assert_eq!(sent(&mut driver), [0, 1, 2, 3]);
    // The response to the first is awaited: those behind it do not move the window.
    done(&mut driver, ids[2]);
    assert_eq!(sent(&mut driver), [0, 1, 3]);
    done(&mut driver, ids[0]);
    assert_eq!(sent(&mut driver), [1, 3, 4]);
    assert!(!driver.has_room());
    done(&mut driver, ids[1]);
    assert_eq!(sent(&mut driver), [3, 4, 5]);
    assert!(driver.has_room());
    let session = driver.session.as_ref().unwrap();
    assert_eq!(driver.first_unacknowledged(session), 3);
}

#[test]
fn a_node_that_opens_no_session_is_asked_again_if_it_is_busy_and_left_if_not() {
    for refusal in REFUSALS {
        let mut driver = driver();
        driver.session = None;
        let mut registering = None;
        assert!(!driver.what_to_send(&mut registering).is_empty());
        let (id, answer) = (registering.unwrap(), Answer::Failed(refusal.into()));
        let is_left = driver.on_reply(Reply { id, answer }, &mut registering).is_err();
        let is_busy =
            matches!(refusal, NotProposed::Busy | NotProposed::Overdue | NotProposed::DiskFull);
        assert_eq!((is_left, driver.refused_until.take().is_some()), (!is_busy, is_busy));
        assert_eq!(registering, None);
        assert!(!driver.what_to_send(&mut registering).is_empty());
        assert!(registering.is_some_and(|again| again != id));
    }
}

#[test]
fn what_a_session_says_of_a_command_is_not_taken_for_the_end_of_the_session() {
    for (error, is_the_end) in [
        (SessionError::ResponseDropped, true),
        (SessionError::Acknowledged, true),
        (SessionError::WindowExceeded, false),
    ] {
        for before in [Before::Nothing, Before::Lost] {
            let (mut driver, id, mut answered) = sent_after(before);
            fail(&mut driver, id, error.into()).unwrap();
            let told = is_the_end.then_some(Err(Failed::Request(error.into())));
            assert_eq!(answered.try_recv().ok(), told, "{error:?}");
            driver.refused_until = None;
            let again = asked(BytesMut::from(driver.what_to_send(&mut None)));
            let session = InSession { session: SessionId(1), sequence: 0, first_unacknowledged: 0 };
            let command = Bytes::from_static(b"command");
            let expected = What::Propose { session: Some(session), command };
            assert_eq!(again, if is_the_end { vec![] } else { vec![expected] }, "{error:?}");
        }
    }
}

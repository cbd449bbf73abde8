use tokio::io::duplex;
use tokio::time::timeout;

use super::*;

#[test]
fn a_group_takes_what_goes_with_it_into_one_entry_of_the_log_and_no_more() {
    let connection = Connection::new(1);
    let op = || Op::Write(Write::FlushAll);
    let size = |bytes| Size { bytes, held_bytes: 0 };
    let mut group = Group::new(Kind::Write, &connection);
    group.push(op(), size(GROUP_BYTES - 1));
    assert!(group.accepts(&op(), 1));
    for too_many in [2, MAX_REQUEST_BYTES] {
        assert!(!group.accepts(&op(), too_many), "{too_many}");
    }
    let mut full = Group::new(Kind::Write, &connection);
    (1..GROUP_OPS).for_each(|_| full.push(op(), size(1)));
    assert!(full.accepts(&op(), 1));
    full.push(op(), size(1));
    assert!(!full.accepts(&op(), 1));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_told_to_go_and_goes_on_sending_is_left() {
    let (ours, mut theirs) = duplex(64);
    let (_stop, stopping) = watch::channel(false);
    let goes_on = async {
        loop {
            theirs.write_all(b"x").await.unwrap();
            sleep(LINGER / 10).await;
        }
    };
    tokio::select! {
        left = timeout(LINGER + LINGER / 2, leave(ours, stopping)) => left.unwrap().unwrap(),
        () = goes_on => {}
    }
}

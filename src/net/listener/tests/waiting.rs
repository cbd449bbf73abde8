//! A loop that is behind, a process that stood still, a system without files.

use std::time::Duration;

use super::*;
use crate::net::testing::settle;

#[tokio::test(start_paused = true)]
async fn while_the_loop_is_behind_no_more_of_a_peer_is_read_than_may_wait() {
    let message = envelope(2, 7_u8);
    let length = postcard::to_allocvec(&message).unwrap().len();
    let (connections, accepted) = mpsc::unbounded_channel();
    let room = u32::try_from(3 * length).unwrap();
    let listening = Listening::at(connections, InMemory(accepted), room);
    let mut end = listening.greet(&hello_of_peer(2)).await;
    for _ in 0..10 {
        end.send(Kind::Message, &message).await;
    }
    for expected in [3, 3, 3, 1, 0] {
        settle().await;
        assert_eq!(listening.senders().len(), expected);
    }
}

/// Has no file left, for so many attempts.
struct NoFile(usize);

#[async_trait]
impl Acceptor for NoFile {
    async fn accept(&mut self) -> io::Result<Connection> {
        match self.0.checked_sub(1) {
            Some(left) => self.0 = left,
            None => std::future::pending().await,
        }
        Err(io::Error::other("too many open files"))
    }

    fn local_address(&self) -> String {
        String::new()
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_system_has_no_file_left_it_is_asked_again_after_a_pause() {
    let (connections, _accepted) = mpsc::unbounded_channel();
    let listening = Listening::at(connections, NoFile(1000), 1 << 20);
    sleep(Duration::from_secs(1)).await;
    let refused = listening.refused();
    assert!((5..=11).contains(&refused), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_spoke_while_this_process_stood_still_is_heard_and_kept() {
    let listening = Listening::start();
    let mut end = listening.greet(&hello_of_peer(2)).await;
    for _ in 0..20 {
        end.send(Kind::Ping, &()).await;
        // Nobody has a turn meanwhile: when it goes on, the ping lies there and the time is over.
        tokio::time::advance(3 * SILENCE).await;
        assert_eq!(end.receive::<Progress>().await.0, Kind::Pong);
    }
}

//! How soon a peer is dialled again, by what became of the attempts before.

use std::collections::VecDeque;

use super::*;

/// What comes of an attempt to connect.
#[derive(Clone, Copy)]
enum Attempt {
    /// Nobody answers, as behind a partition.
    Hangs,
    IsRefused,
    /// The peer says who it is, and hangs up after so long.
    Connects(Duration),
}
use Attempt::{Connects, Hangs, IsRefused};

/// A peer at which attempts come to this, one after the other; to the last one again and again.
struct Scripted {
    attempts: Mutex<VecDeque<Attempt>>,
    dialled: Arc<Mutex<Vec<Instant>>>,
}

#[async_trait]
impl Transport for Scripted {
    async fn bind(&self, _: &str) -> io::Result<Box<dyn Acceptor>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn dial(&self, _: &str) -> io::Result<Connection> {
        self.dialled.lock().unwrap().push(Instant::now());
        let attempt = {
            let mut attempts = self.attempts.lock().unwrap();
            let first = attempts[0];
            if attempts.len() > 1 {
                attempts.pop_front();
            }
            first
        };
        match attempt {
            Hangs => std::future::pending().await,
            IsRefused => Err(io::ErrorKind::ConnectionRefused.into()),
            Connects(stays) => {
                let (connection, mut end) = pair("a peer");
                tokio::spawn(async move {
                    assert_eq!(end.receive::<Hello>().await.0, Kind::Hello);
                    end.send(Kind::Hello, &hello_of_peer(2)).await;
                    sleep(stays).await;
                });
                Ok(connection)
            }
        }
    }
}

/// Dials for so long. When each attempt began, and whether there is a connection in the end.
async fn dial(attempts: impl IntoIterator<Item = Attempt>, time: Duration) -> (Vec<Instant>, bool) {
    let (mut dialler, _producer) = dialler();
    let (attempts, dialled) = (Mutex::new(attempts.into_iter().collect()), Arc::default());
    let transport = Arc::new(Scripted { attempts, dialled: Arc::clone(&dialled) });
    let board = dialler.local.board.clone();
    dialler.local = Arc::new(Local { transport, ..local(board.clone()) });
    let _ = timeout(time, dialler.run()).await;
    let dialled = dialled.lock().unwrap().clone();
    (dialled, board.status().peers[0].connected)
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn an_attempt_to_connect_that_hangs_is_given_up_soon() {
    let (dialled, is_connected) = dial([Hangs, Connects(3 * SECOND)], 3 * SECOND).await;
    assert!(is_connected && dialled.len() == 2, "{dialled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_lasted_and_broke_is_made_again_at_once_however_long_it_took_before() {
    for refused in [0, 20] {
        let attempts = std::iter::repeat_n(IsRefused, refused).chain([Connects(2 * SECOND)]);
        let (dialled, _) = dial(attempts, 60 * SECOND).await;
        // One break like the other.
        for two in dialled[refused..].windows(2) {
            let pause = two[1] - two[0] - 2 * SECOND;
            assert!(pause <= BACKOFF.start * 2, "after {refused}: {pause:?}");
        }
        assert!(dialled.len() > refused + 20, "{}", dialled.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_at_once_is_dialled_ever_more_slowly() {
    let (dialled, _) = dial([Connects(Duration::ZERO)], 60 * SECOND).await;
    let pauses: Vec<Duration> = dialled.windows(2).map(|two| two[1] - two[0]).collect();
    let quick = pauses.iter().filter(|pause| **pause < BACKOFF.end / 2).count();
    assert!(quick < 10 && pauses.len() > 60, "{pauses:?}");
}

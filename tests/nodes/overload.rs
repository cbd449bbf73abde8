//! A node that is given more than it can take says so, and keeps to what it took.

use std::time::{Duration, Instant};

use crate::common::{Cluster, Command, PATIENCE, Tally, add, total};
use quorate::{Client, NotProposed, RequestError, Settings};

#[tokio::test]
async fn too_many_requests_are_refused_as_busy_and_the_others_are_answered() {
    let settings = Settings {
        uncommitted_bytes: 64 << 10,
        max_command_bytes: 16 << 10,
        request_timeout: PATIENCE,
        ..Settings::default()
    };
    let cluster = Cluster::start_with(3, settings).await;
    let node = &cluster.nodes[&cluster.follower().await];
    let (mut answered, mut refused) = (0, 0);
    let begun = Instant::now();
    // A machine that stands still between two of them may take all of them once.
    while refused == 0 {
        assert!(begun.elapsed() < PATIENCE, "{answered} were taken and none refused");
        let slow = node.propose(Command::Sleep(Duration::from_millis(200)));
        let submitted: Vec<_> = (0..5000).map(|_| node.propose(Command::Add(1))).collect();
        for response in submitted {
            match response.await {
                Ok(_) => answered += 1,
                Err(error) => {
                    assert_eq!(error, RequestError::NotProposed(NotProposed::Busy));
                    assert!(error.surely_not_applied());
                    refused += 1;
                }
            }
        }
        slow.await.unwrap();
    }
    assert!(answered > 0);
    assert_eq!(total(node).await, answered);
}

#[tokio::test]
async fn a_command_that_is_too_large_is_refused_and_the_largest_is_not() {
    let settings = Settings { max_command_bytes: 1 << 20, ..Settings::default() };
    let cluster = Cluster::start_with(3, settings).await;
    let node = &cluster.nodes[&cluster.follower().await];
    add(node, 1).await;
    let large = node.propose(Command::Keep(vec![0; (1 << 20) + 1])).await;
    assert_eq!(large, Err(RequestError::NotProposed(NotProposed::TooLarge)));
    // The request's own frame takes a few bytes.
    assert_eq!(node.propose(Command::Keep(vec![0; (1 << 20) - 64])).await, Ok(1));
}

#[tokio::test]
async fn a_client_is_told_that_its_command_is_too_large_however_large_it_is() {
    let settings = Settings { max_command_bytes: 64 << 10, ..Settings::default() };
    let cluster = Cluster::start_with(1, settings).await;
    let node = &cluster.nodes[&1];
    let client = Client::<Tally>::connect([node.local_address()], "quorate").unwrap();
    let client = client.with_patience(PATIENCE);
    for (n, length) in (1..).zip([64 << 10, 100 << 10, 1 << 20, 20 << 20]) {
        let large = client.propose(&Command::Keep(vec![0; length])).await;
        assert_eq!(large, Err(RequestError::NotProposed(NotProposed::TooLarge)), "{length}");
        assert_eq!(client.propose(&Command::Add(1)).await, Ok(n));
    }
    assert_eq!(node.status().refused_connections, 0);
}

#[tokio::test]
async fn large_commands_pass_through_small_segments_and_windows() {
    let settings = Settings {
        append_bytes: 64 << 10,
        window_bytes: 256 << 10,
        apply_bytes: 64 << 10,
        log_cache_bytes: 256 << 10,
        ..Settings::default()
    };
    let cluster = Cluster::start_with(3, settings).await;
    cluster.leader().await;
    let node = &cluster.nodes[&1];
    for n in 0..5 {
        let keep = || node.propose(Command::Keep(vec![n; 3 << 20]));
        for response in [keep(), keep(), keep(), keep()] {
            response.await.unwrap();
        }
    }
    for (id, other) in &cluster.nodes {
        total(other).await;
        let lengths: Vec<_> =
            crate::common::local(other).await.ballast.iter().map(Vec::len).collect();
        assert_eq!(lengths, vec![3 << 20; 20], "node {id}");
    }
}

//! Under a session, a command takes effect once, whatever happens to nodes and connections.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::common::{Answer, Cluster, Command, PATIENCE, Query, Tally, add, eventually, local};
use crate::gate::Gate;
use quorate::{Client, NotProposed, Read, ReadError, RequestError, SessionError, Settings};
use tokio::time::timeout;

fn client(cluster: &Cluster) -> Client<Tally> {
    let addresses = cluster.addresses.values().cloned();
    let client = Client::connect(addresses, "quorate").unwrap();
    client.with_patience(PATIENCE)
}

#[tokio::test]
async fn a_client_writes_and_reads_through_any_node() {
    let cluster = Cluster::start(3).await;
    for address in cluster.addresses.values() {
        let client: Client<Tally> = Client::connect([address.clone()], "quorate").unwrap();
        let client = client.with_patience(PATIENCE);
        let total = client.propose(&Command::Add(1)).await.unwrap();
        let read = client.read(Read::Linearizable, &Query::Total).await;
        assert_eq!(read, Ok(Answer::Total(total)));
    }
}

#[tokio::test]
async fn many_requests_of_a_client_are_outstanding_at_once() {
    let cluster = Cluster::start(3).await;
    let client = client(&cluster);
    let tasks: Vec<_> = (0..2000)
        .map(|note| {
            let client = client.clone();
            tokio::spawn(async move { client.propose(&Command::Note(note)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let Ok(Answer::All(tally)) = client.read(Read::Linearizable, &Query::All).await else {
        panic!("no answer")
    };
    assert_eq!(tally.notes, (0..2000).map(|note| (note, 1)).collect());
}

#[tokio::test]
async fn a_leader_leads_on_though_what_its_clients_ask_for_takes_long_to_encode() {
    let cluster = Cluster::start(3).await;
    // A machine that stands still for a moment costs it the lead, too, but not each time.
    eventually("that the leader stays", || async {
        let leader = cluster.leader().await;
        let node = &cluster.nodes[&leader];
        let ballot = node.status().ballot;
        let gate = Gate::shut();
        let query = Query::Hold(gate.number());
        let answer = Ok(Answer::Held(gate.number()));
        let client: Client<Tally> =
            Client::connect([cluster.addresses[&leader].clone()], "quorate").unwrap();
        let client = client.with_patience(PATIENCE);
        let read = tokio::spawn(async move { client.read(Read::Local, &query).await });
        eventually("that it is encoded", || async { gate.is_reached().then_some(()) }).await;
        // Whatever it still has to do for that: others are served, and followers are led.
        let added = timeout(PATIENCE / 10, node.propose(Command::Add(1))).await;
        let leads_on = matches!(added, Ok(Ok(_)))
            && node.status().serving
            && cluster.nodes.values().all(|node| node.status().ballot == ballot);
        gate.open();
        assert_eq!(read.await.unwrap(), answer);
        leads_on.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_gets_each_command_done_once_though_leaders_stop() {
    let mut cluster = Cluster::start(3).await;
    cluster.leader().await;
    let client = client(&cluster);
    let writer = tokio::spawn(async move {
        for note in 0..600 {
            client.propose(&Command::Note(note)).await.unwrap();
        }
        client
    });
    for round in 0..4 {
        let leader = cluster.leader().await;
        if round % 2 == 0 {
            cluster.down(leader).await;
        } else {
            cluster.nodes.remove(&leader);
        }
        cluster.up(leader).await;
    }
    let client = writer.await.unwrap();
    let Ok(Answer::All(tally)) = client.read(Read::Linearizable, &Query::All).await else {
        panic!("no answer")
    };
    assert_eq!(tally.notes, (0..600).map(|note| (note, 1)).collect());
}

#[tokio::test]
async fn a_session_gets_each_command_done_once_though_the_leader_changes() {
    let settings = Settings { request_timeout: Duration::from_millis(400), ..Settings::default() };
    let mut cluster = Cluster::start_with(3, settings).await;
    let home = cluster.follower().await;
    let node = &cluster.nodes[&home];
    let session = eventually("a session", || async { node.session().await.ok() }).await;
    let (mut done, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    let (begun, mut note) = (Instant::now(), 0);
    // While nobody leads none is proposed, however long that is on this machine.
    while note < 300 || done.len() <= 200 {
        let is_in_time = note < 300 || begun.elapsed() < PATIENCE;
        assert!(is_in_time, "{} done, {unknown:?} unknown", done.len());
        if note % 100 == 50 {
            let leader = cluster.leader().await;
            if leader != home {
                cluster.nodes.remove(&leader);
                cluster.up(leader).await;
            }
        }
        match session.propose(Command::Note(note)).await {
            Ok(_) => _ = done.insert(note),
            Err(RequestError::NotProposed(NotProposed::NoLeader)) => {}
            Err(RequestError::Unknown) => _ = unknown.insert(note),
            Err(error) => panic!("{error}"),
        }
        note += 1;
    }
    add(&cluster.nodes[&home], 1).await;
    let tally = local(&cluster.nodes[&home]).await;
    let noted: BTreeSet<u64> = tally.notes.keys().copied().collect();
    assert!(noted.is_superset(&done), "{done:?} were done, {noted:?} are there");
    assert!(noted.difference(&done).all(|note| unknown.contains(note)), "{noted:?}, {unknown:?}");
    assert!(tally.notes.values().all(|times| *times == 1), "{tally:?}");
}

#[tokio::test]
async fn an_evicted_session_is_told_so() {
    let settings = Settings { max_sessions: 2, ..Settings::default() };
    let cluster = Cluster::start_with(1, settings).await;
    let node = &cluster.nodes[&1];
    let first = eventually("a session", || async { node.session().await.ok() }).await;
    first.propose(Command::Add(1)).await.unwrap();
    node.session().await.unwrap();
    node.session().await.unwrap();
    let expired = Err(RequestError::Session(SessionError::Expired));
    assert_eq!(first.propose(Command::Add(1)).await, expired);
}

#[tokio::test]
async fn a_client_whose_patience_ends_says_what_is_known() {
    let held = crate::common::HeldPorts::new(1);
    let address = format!("127.0.0.1:{}", held.ports[0]);
    let nobody = Client::<Tally>::connect([address], "quorate").unwrap();
    let nobody = nobody.with_patience(Duration::from_millis(200));
    let unsent = Err(RequestError::NotProposed(NotProposed::NoLeader));
    assert_eq!(nobody.propose(&Command::Add(1)).await, unsent);
    let unread = nobody.read(Read::Local, &Query::Total).await;
    assert_eq!(unread, Err(ReadError::Unreachable));
}

#[tokio::test]
async fn a_client_of_other_types_cannot_harm_the_cluster() {
    #[derive(Default, Clone, serde::Serialize, serde::Deserialize)]
    struct Other;
    impl quorate::StateMachine for Other {
        type Command = (u8, u64);
        type Response = ();
        type Query = (u8, u64);
        type Answer = ();
        fn apply(&mut self, _: &quorate::At, _: (u8, u64)) {}
        fn query(&self, _: &quorate::At, _: (u8, u64)) {}
    }
    let cluster = Cluster::start(1).await;
    add(&cluster.nodes[&1], 1).await;
    let other = Client::<Other>::connect([cluster.addresses[&1].clone()], "quorate").unwrap();
    let refused = Err(RequestError::NotProposed(NotProposed::Unreadable));
    assert_eq!(other.propose(&(99, 1)).await, refused);
    assert_eq!(other.read(Read::Local, &(99, 1)).await, Err(ReadError::Unreadable));
    add(&cluster.nodes[&1], 1).await;
}

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::loopback::Loopback;

async fn listening() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn nothing_is_kept_of_a_client_that_has_left() {
    let (listener, address) = listening().await;
    let shared = Shared::new(&ServerOptions::default());
    let (_stop_clients, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let asked_and_left = async {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"QUIT\r\n").await.unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(shared.clients.load(Ordering::Relaxed), 1);
        drop(client);
        while shared.clients.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        // The task that gave its place up has ended; the one that serves has its turn.
        tokio::task::yield_now().await;
    };
    accept(&listener, &Loopback::default(), &shared, &stopping, &mut tasks, asked_and_left).await;
    assert_eq!(tasks.len(), 0);
}

#[tokio::test]
async fn whether_a_silent_client_is_still_there_is_found_out_by_the_system() {
    let (listener, address) = listening().await;
    let _client = TcpStream::connect(address).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    prepare(&stream).unwrap();
    assert!(rustix::net::sockopt::socket_keepalive(&stream).unwrap());
    assert!(stream.nodelay().unwrap());
}

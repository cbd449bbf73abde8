//! The server without a cluster behind it: what clients could get at most.
//!
//! `cargo run --release -p quorate-kv --example loopback -- 127.0.0.1:6101`

use quorate_kv::{Loopback, ServerOptions, serve};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:6101".to_owned());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("listening on {address}; nothing is kept or replicated");
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    serve(listener, Loopback::default(), ServerOptions::default(), stop).await;
    Ok(())
}

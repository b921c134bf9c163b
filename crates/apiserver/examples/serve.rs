//! Serves an empty cluster and prints a kubeconfig for it: `cargo run -p salvor-apiserver --example serve`.

use salvor_apiserver::{ApiServer, Options};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    let handle = ApiServer::memory(Options::default()).serve(listener)?;
    print!("{}", handle.kubeconfig("salvor"));
    tokio::signal::ctrl_c().await?;
    handle.shutdown().await;
    Ok(())
}

//! What the ephemeral container does: it stays for as long as somebody reads in it, and no longer.
//!
//! Whoever reads connects to it and keeps the connection. The kernel closes that when the reader ends, also when it is
//! killed, so there is nothing that could be forgotten. The socket has no file: the container's file system may be
//! read-only. Containers of the pod share such names; one that connects to ours can make an export fail and no more.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as Listener, UnixStream as Stream};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// How long it waits for somebody who reads.
pub const WAITS: Duration = Duration::from_secs(300);
/// How long it stays when the reader has gone: with its end everything in the container ends, and the node has to tell
/// first how the reader ended.
const LINGERS: Duration = Duration::from_secs(5);
/// How long a reader looks for who stays: the node says that a container runs before its program listens.
const LOOKS: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Says that somebody reads, until it is dropped or its process ends. A process that tells something by its exit code
/// leaves it to its end: it would be ended before.
#[derive(Debug)]
pub struct Reading {
    _connection: Stream,
}

impl Reading {
    /// Until the process has ended.
    pub fn to_the_end(self) {
        std::mem::forget(self);
    }
}

/// Stays until the first reader has come and gone, nobody has come for [`WAITS`], `limit` is over, or it is cancelled.
///
/// # Errors
/// The name is taken, or the kernel gives no socket.
pub async fn stay(name: &str, limit: Duration, cancel: &CancellationToken) -> io::Result<()> {
    let listener = Listener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let staying = async {
        let Ok(accepted) = tokio::time::timeout(WAITS, listener.accept()).await else {
            return Ok(());
        };
        let (mut reader, _) = accepted?;
        // Nothing is ever sent; the end is what is waited for, however it comes.
        let _ = reader.read_u8().await;
        tokio::time::sleep(LINGERS).await;
        Ok(())
    };
    tokio::select! {
        () = cancel.cancelled() => Ok(()),
        ended = tokio::time::timeout(limit, staying) => ended.unwrap_or(Ok(())),
    }
}

/// Comes to who stays under a name.
///
/// # Errors
/// Nobody stays there.
pub async fn come(name: &str) -> io::Result<Reading> {
    let address = SocketAddr::from_abstract_name(name)?;
    let looking = async {
        loop {
            match Stream::connect_addr(&address) {
                Ok(connection) => {
                    return Ok(Reading {
                        _connection: connection,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    };
    tokio::time::timeout(LOOKS, looking)
        .await
        .unwrap_or_else(|_| Err(io::Error::other(format!("nobody stays as `{name}`"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn name(of: &str) -> String {
        format!("salvor-test-{of}-{}", std::process::id())
    }

    #[tokio::test]
    async fn it_stays_until_the_reader_has_gone() {
        let name = name("goes");
        let (stays, asked) = (name.clone(), CancellationToken::new());
        let staying = tokio::spawn(async move { stay(&stays, LONG, &asked).await });
        let reading = come(&name).await.expect("it stays");
        assert!(!staying.is_finished());
        drop(reading);
        staying.await.expect("no panic").expect("ends well");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_nobody_comes_and_when_the_time_is_up() {
        let never = CancellationToken::new();
        stay(&name("alone"), LONG, &never).await.expect("ends");
        let second = Duration::from_secs(1);
        stay(&name("short"), second, &never).await.expect("ends");
        never.cancel();
        stay(&name("told"), LONG, &never).await.expect("ends");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_reads_where_nobody_stays() {
        let error = come(&name("nobody")).await.expect_err("nobody");
        assert!(error.to_string().contains("nobody stays as"), "{error}");
    }
}

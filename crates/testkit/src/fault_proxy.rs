//! A proxy in front of an HTTP server that loses, refuses and breaks off what it is told to.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A request, as the proxy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `GET`, `PUT` and so on.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The head of the request, with lower-case header names.
    pub head: String,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server never sees it; the client gets this status.
    Answer {
        /// HTTP status.
        status: u16,
        /// Seconds for `Retry-After`.
        retry_after: Option<u64>,
        /// Body of the answer.
        body: &'static str,
    },
    /// The server never sees it, and the connection breaks.
    CutBefore,
    /// The server does it, and the connection breaks before the answer.
    CutAfter,
    /// The server does it, and the client gets this status: a gateway that gave up.
    ReplaceAnswer(u16),
    /// The answer breaks off after so many bytes of its body.
    CutBody(usize),
}

type Plan = Box<dyn FnMut(&Seen) -> Option<Fault> + Send>;

#[derive(Default)]
struct State {
    plan: Option<Plan>,
    seen: Vec<Seen>,
}

/// A running proxy. Dropping it closes it with all its connections.
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts a proxy on a free port in front of `server` (`host:port`).
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(server: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        let (shared, server) = (Arc::clone(&state), server.to_owned());
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (state, server) = (Arc::clone(&shared), server.clone());
                connections.spawn(async move {
                    // A broken connection is what this proxy is for; its client sees it.
                    let _ = serve(client, &server, state).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            address,
            state,
            accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Decides over every request from now on; `None` lets it through.
    pub fn plan(&self, plan: impl FnMut(&Seen) -> Option<Fault> + Send + 'static) {
        lock(&self.state).plan = Some(Box::new(plan));
    }

    /// Fails the next `times` requests of which `matches` is true.
    pub fn fail(
        &self,
        mut times: usize,
        fault: Fault,
        matches: impl Fn(&Seen) -> bool + Send + 'static,
    ) {
        self.plan(move |seen| {
            if times == 0 || !matches(seen) {
                return None;
            }
            times -= 1;
            Some(fault.clone())
        });
    }

    /// Takes the requests that were seen so far.
    #[must_use]
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut lock(&self.state).seen)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Longest head of a request or an answer.
const HEAD: usize = 64 << 10;

/// One request per connection, so that every answer ends with its connection.
async fn serve(mut client: TcpStream, server: &str, state: Arc<Mutex<State>>) -> io::Result<()> {
    let (head, body_start) = read_head(&mut client).await?;
    let seen = parse(&head)?;
    let length = header(&seen.head, "content-length")
        .and_then(|value| value.parse().ok())
        .unwrap_or(0usize);
    let mut body = body_start;
    let rest = length.saturating_sub(body.len()) as u64;
    (&mut client).take(rest).read_to_end(&mut body).await?;

    // A plan may block, for example to send a request of its own. On a worker it could keep the runtime from
    // looking at sockets, that request's among them.
    let decided = tokio::task::spawn_blocking(move || {
        let mut state = lock(&state);
        state.seen.push(seen.clone());
        state.plan.as_mut().and_then(|plan| plan(&seen))
    });
    let fault = decided.await.map_err(io::Error::other)?;
    match fault {
        Some(Fault::CutBefore) => return Ok(()),
        Some(Fault::Answer {
            status,
            retry_after,
            body,
        }) => return answer(&mut client, status, retry_after, body).await,
        None | Some(Fault::CutAfter | Fault::ReplaceAnswer(_) | Fault::CutBody(_)) => {}
    }

    let mut upstream = TcpStream::connect(server).await?;
    upstream.write_all(closing(&head).as_bytes()).await?;
    upstream.write_all(&body).await?;
    let (answer_head, start) = read_head(&mut upstream).await?;
    match fault {
        Some(Fault::CutAfter) => {
            drain(&mut upstream).await?;
            return Ok(());
        }
        Some(Fault::ReplaceAnswer(status)) => {
            drain(&mut upstream).await?;
            return answer(&mut client, status, None, "").await;
        }
        _ => {}
    }
    client.write_all(closing(&answer_head).as_bytes()).await?;
    if let Some(Fault::CutBody(bytes)) = fault {
        let mut part = start;
        let rest = bytes.saturating_sub(part.len()) as u64;
        (&mut upstream).take(rest).read_to_end(&mut part).await?;
        part.truncate(bytes);
        return client.write_all(&part).await;
    }
    client.write_all(&start).await?;
    tokio::io::copy(&mut upstream, &mut client).await?;
    client.shutdown().await
}

async fn drain(upstream: &mut TcpStream) -> io::Result<()> {
    tokio::io::copy(upstream, &mut tokio::io::sink()).await?;
    Ok(())
}

async fn answer(
    client: &mut TcpStream,
    status: u16,
    retry_after: Option<u64>,
    body: &str,
) -> io::Result<()> {
    let wait =
        retry_after.map_or_else(String::new, |seconds| format!("Retry-After: {seconds}\r\n"));
    let text = format!(
        "HTTP/1.1 {status} Injected\r\n{wait}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    client.write_all(text.as_bytes()).await?;
    client.shutdown().await
}

/// The head of a message, and what of its body came along.
async fn read_head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            let head = String::from_utf8_lossy(&bytes).into_owned();
            return Ok((head, body));
        }
        if bytes.len() > HEAD || stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn parse(head: &str) -> io::Result<Seen> {
    let (first, headers) = head.split_once("\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let lines: Vec<String> = headers
        .lines()
        .map(|line| match line.split_once(':') {
            Some((name, value)) => format!("{}:{value}", name.to_ascii_lowercase()),
            None => line.to_owned(),
        })
        .collect();
    Ok(Seen {
        method,
        target,
        head: lines.join("\n"),
    })
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

/// The head with `Connection: close` instead of what it says.
fn closing(head: &str) -> String {
    let kept: Vec<&str> = head
        .trim_end()
        .split("\r\n")
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"))
        .collect();
    format!("{}\r\nConnection: close\r\n\r\n", kept.join("\r\n"))
}

//! A proxy in front of any TCP server, whose network can be cut or made to swallow everything.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// They arrive.
    Open,
    /// Connections are closed, and new ones too.
    Cut,
    /// Connections stay, and nothing arrives: what was sent meanwhile arrives when it is open again.
    BlackHole,
}

struct State {
    network: Network,
    streams: Vec<TcpStream>,
    is_over: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A running proxy. Dropping it closes it with all its connections.
pub struct TcpProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl TcpProxy {
    /// Starts an open proxy on a free port in front of `server` (`host:port`).
    ///
    /// # Errors
    /// No port is free.
    pub fn start(server: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                network: Network::Open,
                streams: Vec::new(),
                is_over: false,
            }),
            changed: Condvar::new(),
        });
        let (server, ours) = (server.to_owned(), Arc::clone(&shared));
        let accepting = std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if ours.lock().is_over {
                    return;
                }
                // A server that does not answer is seen by the client.
                let _ = connect(client, &server, &ours);
            }
        });
        Ok(Self {
            address,
            shared,
            accepting: Some(accepting),
        })
    }

    /// `http://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the network.
    pub fn set(&self, network: Network) {
        let mut state = self.shared.lock();
        state.network = network;
        if network == Network::Cut {
            state.close();
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.set(Network::Cut);
        // The one that wakes it.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            // It ends, or panicked: it is over either way.
            let _ = accepting.join();
        }
    }
}

impl State {
    fn close(&mut self) {
        for stream in self.streams.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while everything is swallowed; whether bytes arrive then.
    fn arrives(&self) -> bool {
        let waited = self.changed.wait_while(self.lock(), |state| {
            state.network == Network::BlackHole && !state.is_over
        });
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        state.network == Network::Open && !state.is_over
    }
}

fn connect(client: TcpStream, server: &str, shared: &Arc<Shared>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    {
        let mut state = shared.lock();
        if state.network == Network::Cut {
            return Ok(());
        }
        state
            .streams
            .extend([client.try_clone()?, server.try_clone()?]);
    }
    let ways = [(client.try_clone()?, server.try_clone()?), (server, client)];
    for (from, to) in ways {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A broken connection is what this proxy is for; both ends see it.
            let _ = pump(&from, &to, &shared);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

fn pump(mut from: &TcpStream, mut to: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut piece)?;
        if read == 0 || !shared.arrives() {
            return Ok(());
        }
        to.write_all(&piece[..read])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_connection_ends_and_a_swallowed_one_goes_on() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = listener.local_addr().expect("bound").to_string();
        let echo = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            }
        });
        let proxy = TcpProxy::start(&server).expect("it starts");
        let mut client = TcpStream::connect(proxy.address).expect("it listens");
        let mut byte = [0];
        client.write_all(b"a").expect("sent");
        client.read_exact(&mut byte).expect("back");
        assert_eq!(&byte, b"a");
        proxy.set(Network::BlackHole);
        client.write_all(b"b").expect("sent");
        proxy.set(Network::Open);
        client.read_exact(&mut byte).expect("back, late");
        assert_eq!(&byte, b"b");
        proxy.set(Network::Cut);
        assert!(client.read_exact(&mut byte).is_err());
        proxy.set(Network::Open);
        let mut client = TcpStream::connect(proxy.address).expect("it listens");
        client.write_all(b"c").expect("sent");
        client.read_exact(&mut byte).expect("back");
        drop((client, proxy));
        echo.join().expect("it ends");
    }
}

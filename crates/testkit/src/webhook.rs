//! An HTTP endpoint in this process that answers as a test wants it to, also wrongly.

use std::io::{self, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// 200 with this document.
    Json(Value),
    /// 200 with this text.
    Text(String),
    /// Another status with this text.
    Status(u16, String),
    /// Nothing, for as long as the other side waits.
    Never,
    /// 200 with bytes that do not end.
    Endless,
    /// The connection is closed without an answer.
    HangUp,
}

/// An endpoint; it ends when this is dropped.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Value>>>,
    ended: Arc<AtomicBool>,
}

impl Webhook {
    /// Answers every POST with JSON by `answer`.
    ///
    /// # Panics
    /// There is no free port.
    pub fn start(answer: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let webhook = Self {
            address,
            asked: Arc::clone(&asked),
            ended: Arc::clone(&ended),
        };
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
                std::thread::spawn(move || {
                    let note = |question: &Value| {
                        asked
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(question.clone());
                        answer(question)
                    };
                    // That the other side goes away is its right.
                    let _ = serve(&stream, note);
                });
            }
        });
        webhook
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The questions so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Value> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the listener up.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: &TcpStream, answer: impl Fn(&Value) -> Reply) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut writer = stream;
        if !exchange(&mut reader, &mut writer, &answer)? {
            return Ok(());
        }
    }
}

/// One request and its answer; false when the connection ends.
///
/// # Errors
/// The other side is gone.
pub fn exchange(
    reader: &mut impl io::BufRead,
    writer: &mut impl Write,
    answer: impl Fn(&Value) -> Reply,
) -> io::Result<bool> {
    let Some(question) = question(reader)? else {
        return Ok(false);
    };
    let (status, body) = match answer(&question) {
        Reply::Json(value) => (200, value.to_string()),
        Reply::Text(text) => (200, text),
        Reply::Status(status, text) => (status, text),
        Reply::HangUp => return Ok(false),
        Reply::Never => {
            // Ends when the other side closes.
            reader.read_exact(&mut [0])?;
            return Ok(false);
        }
        Reply::Endless => {
            write!(writer, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            loop {
                writer.write_all(&[b' '; 64 << 10])?;
            }
        }
    };
    write!(
        writer,
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    writer.flush()?;
    Ok(true)
}

/// The body of a request; `None` when the connection has ended.
fn question(reader: &mut impl io::BufRead) -> io::Result<Option<Value>> {
    let mut length = 0;
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    while !line.trim().is_empty() {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
        reader.read_line(&mut line)?;
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    Ok(Some(serde_json::from_slice(&body).unwrap_or_default()))
}

//! What every provider needs: reading a question, writing an answer, as a program and as an endpoint. Copy this
//! file to begin one of your own; the contract is docs/formats/providers.md.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 8 << 20;
/// Longest chunk, in bytes.
const MAX_CHUNK: usize = 1 << 20;

/// Why something cannot be done: a code of the contract, and words for people.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) &'static str, pub(crate) String);

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::NotFound => "NotFound",
            io::ErrorKind::AlreadyExists => "AlreadyExists",
            io::ErrorKind::PermissionDenied => "Denied",
            io::ErrorKind::StorageFull => "Full",
            _ => "Other",
        };
        Self(code, error.to_string())
    }
}

/// What is answered: a result, and the body behind it if there is one.
pub(crate) struct Answer {
    pub(crate) result: Value,
    pub(crate) body: Option<Box<dyn Read>>,
}

impl From<Value> for Answer {
    fn from(result: Value) -> Self {
        Self { result, body: None }
    }
}

/// A question that has arrived; its body may still be on its way.
pub(crate) struct Question<'a> {
    pub(crate) head: Value,
    source: &'a mut dyn BufRead,
}

impl Question<'_> {
    /// A text among the arguments; empty when it is not there.
    pub(crate) fn text(&self, name: &str) -> String {
        let value = self.head["arguments"][name].as_str();
        value.unwrap_or_default().to_owned()
    }

    /// Copies the body. Success means that it is whole and the bytes are those that were sent: only then may
    /// anything become of them.
    pub(crate) fn copy_body(&mut self, to: &mut dyn Write) -> Result<u64, Refusal> {
        let broken = |what: &str| Refusal("Invalid", format!("the body {what}"));
        let (mut bytes, mut hash) = (0, Sha256::new());
        loop {
            let length = read_line(self.source)?;
            let length: usize = String::from_utf8(length)
                .ok()
                .and_then(|text| text.parse().ok())
                .filter(|length| *length <= MAX_CHUNK)
                .ok_or_else(|| broken("breaks off or is not in chunks"))?;
            if length == 0 {
                break;
            }
            let mut chunk = vec![0; length];
            self.source
                .read_exact(&mut chunk)
                .map_err(|_| broken("breaks off"))?;
            hash.update(&chunk);
            to.write_all(&chunk)?;
            bytes += length as u64;
        }
        let end: Value =
            serde_json::from_slice(&read_line(self.source)?).map_err(|_| broken("has no end"))?;
        let whole = end["complete"] == json!(true)
            && end["bytes"] == json!(bytes)
            && end["sha256"] == json!(hex(&hash.finalize()));
        if whole {
            Ok(bytes)
        } else {
            Err(broken("is not what was sent"))
        }
    }
}

pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_line(source: &mut dyn BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    source.take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(line)
}

/// Answers one question.
fn answer(
    source: &mut dyn BufRead,
    to: &mut dyn Write,
    handle: &dyn Fn(&mut Question<'_>) -> Result<Answer, Refusal>,
) -> io::Result<()> {
    let line = read_line(source)?;
    let head: Value = serde_json::from_slice(&line).unwrap_or_default();
    let version = head["version"].as_str().unwrap_or_default().to_owned();
    let mut question = Question {
        head,
        source: &mut *source,
    };
    let handled = match version.as_str() {
        "v1" => handle(&mut question),
        other => Err(Refusal(
            "Unsupported",
            format!("version `{other}`: only v1 is understood"),
        )),
    };
    // It is read to its end before anything is answered: a client that still writes may never see an answer.
    io::copy(source, &mut io::sink())?;
    match handled {
        Err(Refusal(code, message)) => {
            let error = json!({"code": code, "message": message});
            writeln!(to, "{}", json!({"version": "v1", "error": error}))?;
        }
        Ok(Answer { result, body: None }) => {
            writeln!(to, "{}", json!({"version": "v1", "result": result}))?;
        }
        Ok(Answer {
            result,
            body: Some(mut body),
        }) => {
            writeln!(
                to,
                "{}",
                json!({"version": "v1", "result": result, "body": true})
            )?;
            write_body(to, &mut *body)?;
        }
    }
    to.flush()
}

/// A body that cannot be read to its end says so: its receiver must not take it for whole.
fn write_body(to: &mut dyn Write, body: &mut dyn Read) -> io::Result<()> {
    let (mut bytes, mut hash) = (0_u64, Sha256::new());
    let mut chunk = vec![0; 64 << 10];
    let end = loop {
        match body.read(&mut chunk) {
            Ok(0) => {
                break json!({"complete": true, "bytes": bytes, "sha256": hex(&hash.finalize())});
            }
            Ok(length) => {
                hash.update(&chunk[..length]);
                bytes += length as u64;
                writeln!(to, "{length}")?;
                to.write_all(&chunk[..length])?;
            }
            Err(error) => {
                let error = json!({"code": "Other", "message": error.to_string()});
                break json!({"complete": false, "error": error});
            }
        }
    };
    write!(to, "0\n{end}\n")
}

/// Answers one question of standard input, or with an address those of an endpoint for ever.
/// (In a cluster it needs a certificate: let a sidecar or a service mesh end TLS, or use your HTTP library's.)
pub(crate) fn serve(
    address: Option<&str>,
    handle: impl Fn(&mut Question<'_>) -> Result<Answer, Refusal> + Send + Sync + 'static,
) -> io::Result<()> {
    let Some(address) = address else {
        return answer(&mut io::stdin().lock(), &mut io::stdout().lock(), &handle);
    };
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let handle = Arc::new(handle);
    for stream in listener.incoming() {
        let (stream, handle) = (stream?, Arc::clone(&handle));
        std::thread::spawn(move || respond(&stream, &*handle));
    }
    Ok(())
}

/// One request; enough of HTTP/1.1 for an example. The answer ends with the connection, and it need not be
/// trusted that it did so in good order: a body says itself whether it is whole.
fn respond(
    stream: &TcpStream,
    handle: &dyn Fn(&mut Question<'_>) -> Result<Answer, Refusal>,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = None;
    loop {
        let line = String::from_utf8_lossy(&read_line(&mut reader)?)
            .trim()
            .to_owned();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok();
        }
    }
    let mut body: Box<dyn BufRead> = match length {
        Some(length) => Box::new((&mut reader).take(length)),
        None => Box::new(BufReader::new(Chunked {
            from: &mut reader,
            left: 0,
            ended: false,
        })),
    };
    let mut writer = io::BufWriter::new(stream);
    write!(writer, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
    answer(&mut *body, &mut writer, handle)
}

/// `transfer-encoding: chunked`.
struct Chunked<'a> {
    from: &'a mut dyn BufRead,
    left: usize,
    ended: bool,
}

impl Read for Chunked<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            let line = read_line(self.from)?;
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            self.left = usize::from_str_radix(&text, 16)
                .map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            self.ended = self.left == 0;
        }
        if self.ended {
            return Ok(0);
        }
        let most = to.len().min(self.left);
        let length = self.from.read(&mut to[..most])?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= length;
        if self.left == 0 {
            read_line(self.from)?;
        }
        Ok(length)
    }
}

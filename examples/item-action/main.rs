//! A worked example of an item action: it masks the values of Secrets that ask for it.
//!
//! As a program it reads one question from standard input and writes the answer to standard output:
//!
//! ```text
//! item-action-example < question.json
//! ```
//!
//! As an endpoint it answers `POST` requests, one question each: `item-action-example --listen 127.0.0.1:8080`.
//! (In a cluster it needs a certificate: let a sidecar or a service mesh end TLS, or use your HTTP library's.)

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

/// Longest question that is read, in bytes.
const MAX_QUESTION: u64 = 16 << 20;
/// `masked`, as Secrets are written.
const MASK: &str = "bWFza2Vk";

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => {
            let mut question = Vec::new();
            io::stdin().take(MAX_QUESTION).read_to_end(&mut question)?;
            println!("{}", answer_text(&question));
            Ok(())
        }
        [flag, address] if flag == "--listen" => {
            let listener = TcpListener::bind(address)?;
            println!("listening on {}", listener.local_addr()?);
            for stream in listener.incoming() {
                let stream = stream?;
                std::thread::spawn(move || serve(&stream));
            }
            Ok(())
        }
        _ => Err(io::Error::other(
            "usage: item-action-example [--listen IP:PORT]",
        )),
    }
}

fn answer_text(question: &[u8]) -> Value {
    match serde_json::from_slice(question) {
        Ok(question) => answer(&question),
        Err(error) => json!({"version": "v1", "error": format!("not a question: {error}")}),
    }
}

/// The same question always gets the same answer: a restore asks twice and compares.
fn answer(question: &Value) -> Value {
    let mut object = question["object"].clone();
    let annotation = |name: &str| {
        let name = format!("example.com/{name}");
        question["object"]["metadata"]["annotations"][&name]
            .as_str()
            .map(str::to_owned)
    };
    if question["version"] != "v1" {
        return json!({"version": "v1", "error": "only version v1 is understood"});
    }
    match question["kind"].as_str() {
        Some("BackupItemAction") => {
            if annotation("mask").as_deref() == Some("never-back-up") {
                return json!({"version": "v1", "skip": {"reason": "its owner does not want it"}});
            }
            if annotation("mask").is_some()
                && let Some(data) = object["data"].as_object_mut()
            {
                data.values_mut().for_each(|value| *value = json!(MASK));
            }
            let with = annotation("with").map(|name| {
                json!({"resource": "configmaps", "namespace": question["item"]["namespace"], "name": name})
            });
            let additional: Vec<Value> = with.into_iter().collect();
            json!({"version": "v1", "object": object, "additionalItems": additional})
        }
        Some("RestoreItemAction") => {
            object["metadata"]["annotations"]["example.com/restored-from"] =
                question["run"]["backup"].clone();
            json!({"version": "v1", "object": object})
        }
        Some("DeleteItemAction") if annotation("keep").is_some() => {
            json!({"version": "v1", "error": "its owner wants every backup of it kept"})
        }
        _ => json!({"version": "v1"}),
    }
}

/// Answers one request; enough of HTTP/1.1 for an example.
fn serve(stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        while line.trim() != "" {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
            line.clear();
            reader.read_line(&mut line)?;
        }
        let mut question = Vec::new();
        (&mut reader)
            .take(MAX_QUESTION.min(length))
            .read_to_end(&mut question)?;
        let answer = answer_text(&question).to_string();
        let mut writer = stream;
        write!(
            writer,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
}

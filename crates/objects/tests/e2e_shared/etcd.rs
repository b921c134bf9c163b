//! The etcd of a test bed, over its JSON gateway: what was there at the start is there again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Everything that Kubernetes stores lies between these keys.
const ALL: [&str; 2] = ["/registry/", "/registry0"];
/// What its parts write all the time, and nobody compares.
const VOLATILE: [&str; 4] = [
    "/registry/leases/",
    "/registry/masterleases/",
    "/registry/events/",
    "/registry/apiregistration.k8s.io/",
];
/// Controllers answer a removal with writes of their own, so it is looked at again.
const ROUNDS: usize = 20;

/// An etcd, and what was in it at the start.
pub(crate) struct Etcd {
    address: String,
    start: BTreeMap<String, String>,
}

impl Etcd {
    pub(crate) fn new(endpoint: &str) -> Self {
        let address = endpoint.trim_start_matches("http://").to_owned();
        let mut this = Self {
            address,
            start: BTreeMap::new(),
        };
        this.start = this.contents();
        this
    }

    /// Removes what was added, writes again what was changed or removed.
    pub(crate) fn bring_back(&self) {
        for _ in 0..ROUNDS {
            let now = self.contents();
            let keys: BTreeSet<&String> = now.keys().chain(self.start.keys()).collect();
            let mut changes = 0;
            for key in keys {
                let (was, is) = (self.start.get(key), now.get(key));
                if was == is {
                    continue;
                }
                changes += 1;
                let name = STANDARD.encode(key);
                match was {
                    Some(value) => self.post("put", &json!({"key": name, "value": value})),
                    None => self.post("deleterange", &json!({"key": name})),
                };
            }
            if changes == 0 {
                return;
            }
        }
        panic!("something goes on writing into the test bed");
    }

    /// Keys as text, values as they come.
    fn contents(&self) -> BTreeMap<String, String> {
        let [first, end] = ALL.map(|key| STANDARD.encode(key));
        let found = self.post("range", &json!({"key": first, "range_end": end}));
        let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
        found["kvs"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|kv| {
                let key = STANDARD.decode(text(kv, "key")).expect("base64");
                let key = String::from_utf8(key).expect("keys are text");
                (key, text(kv, "value"))
            })
            .filter(|(key, _)| !VOLATILE.iter().any(|start| key.starts_with(start)))
            .collect()
    }

    fn post(&self, operation: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).expect("etcd listens");
        // Of this version the answer ends with the connection and comes in one piece.
        let request = format!(
            "POST /v3/kv/{operation} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered");
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(" 200 "), "{operation}: {answer}");
        serde_json::from_str(body).expect("JSON")
    }
}

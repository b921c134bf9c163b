//! Requests as data, for any server: one line per request, one line per answer.
//!
//! A line is `METHOD[:media] PATH [BODY] [-> WHAT...]`; `UNTIL PATH` reads until the answer
//! is 200 and no condition in it is false. `media` is `merge`, `strategic`, `json` (patches),
//! `table` (accept) or `yaml`. WHAT is a path such as `.spec.replicas` that is printed, or `name=.path` that is kept
//! and put in place of `${name}` in later lines. A refusal prints reason, message and causes.

use serde_json::Value;

/// One request.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: String,
    shows: Vec<String>,
    until_ok: bool,
}

/// Something that answers requests.
pub(crate) trait Target {
    /// Code and body of the answer.
    async fn answer(&self, step: &Step) -> (u16, Value);
}

/// One request and its answer.
#[derive(Debug)]
#[allow(dead_code, reason = "each test binary uses its part")]
pub(crate) struct Outcome {
    /// The line of the script.
    pub(crate) request: String,
    code: u16,
    reason: String,
    message: String,
    causes: String,
    shown: Vec<String>,
}

#[allow(dead_code, reason = "each test binary uses its part")]
impl Outcome {
    /// Code, refusal with its message, and what was asked for.
    pub(crate) fn full(&self) -> String {
        let Self {
            request: _,
            code,
            reason,
            message,
            causes,
            shown,
        } = self;
        let refusal = if *code >= 400 {
            format!(" {reason}: {message}{causes}")
        } else {
            String::new()
        };
        let shown: String = shown.iter().map(|one| format!(" {one}")).collect();
        format!("{code}{refusal}{shown}")
    }

    /// As [`Outcome::full`] without the message, which is for people.
    pub(crate) fn comparable(&self) -> String {
        let Self {
            request: _,
            code,
            reason,
            message: _,
            causes,
            shown,
        } = self;
        let refusal = if *code >= 400 {
            format!(" {reason}{causes}")
        } else {
            String::new()
        };
        let refusal = refusal.trim_end();
        let shown: String = shown.iter().map(|one| format!(" {one}")).collect();
        format!("{code}{refusal}{shown}")
    }
}

/// Sends the requests of a script one after the other.
pub(crate) async fn run(target: &impl Target, script: &str) -> Vec<Outcome> {
    let mut kept: Vec<(String, String)> = Vec::new();
    let mut outcomes = Vec::new();
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let mut text = line.to_owned();
        for (name, value) in &kept {
            text = text.replace(&format!("${{{name}}}"), value);
        }
        let step = parse(&text);
        let (mut code, mut body) = target.answer(&step).await;
        if step.until_ok {
            // A definition is served a moment after it was written; every turn is a request.
            let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
            while (code != 200 || is_waiting(&body)) && std::time::Instant::now() < patience {
                (code, body) = target.answer(&step).await;
            }
        }
        let mut shown = Vec::new();
        for what in &step.shows {
            match what.split_once('=') {
                Some((name, path)) => {
                    let value = at(&body, path);
                    let value = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    kept.push((name.to_owned(), value));
                }
                None => {
                    let mut value = at(&body, what);
                    value.sort_all_objects();
                    shown.push(format!("{what}={value}"));
                }
            }
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        outcomes.push(Outcome {
            request: line.to_owned(),
            code,
            reason: text(&body["reason"]),
            message: text(&body["message"]),
            causes: causes(&body),
            shown,
        });
    }
    outcomes
}

fn parse(line: &str) -> Step {
    let (line, shows) = match line.rsplit_once(" -> ") {
        Some((line, shows)) => (line, shows.split_whitespace().map(str::to_owned).collect()),
        None => (line, Vec::new()),
    };
    let mut words = line.splitn(3, ' ');
    let method = words.next().expect("a method");
    let path = words.next().expect("a path").to_owned();
    let body = words.next().unwrap_or_default().trim().to_owned();
    let (method, media) = method.split_once(':').unwrap_or((method, ""));
    let header = match media {
        "merge" => ("content-type", "application/merge-patch+json"),
        "strategic" => ("content-type", "application/strategic-merge-patch+json"),
        "json" => ("content-type", "application/json-patch+json"),
        "apply" => ("content-type", "application/apply-patch+yaml"),
        "yaml" => ("content-type", "application/yaml"),
        "text" => ("content-type", "text/plain"),
        "table" => (
            "accept",
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        ),
        _ => ("content-type", "application/json"),
    };
    let until_ok = method == "UNTIL";
    Step {
        method: if until_ok { "GET" } else { method }.to_owned(),
        until_ok,
        path,
        headers: vec![header],
        body,
        shows,
    }
}

/// Whether a condition of the object does not hold yet.
fn is_waiting(body: &Value) -> bool {
    let conditions = body["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|condition| condition["status"] == "False"))
}

fn causes(body: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let causes = body["details"]["causes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let causes: Vec<String> = causes
        .iter()
        .map(|cause| format!("{}@{}", text(&cause["reason"]), text(&cause["field"])))
        .collect();
    if causes.is_empty() {
        String::new()
    } else {
        format!(" [{}]", causes.join(", "))
    }
}

/// The value at `.a.b[0].c`; `.items[].metadata.name` lists over an array.
pub(crate) fn at(value: &Value, path: &str) -> Value {
    let path = path.trim_start_matches('.');
    if path.is_empty() {
        return value.clone();
    }
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    match head.split_once('[') {
        None => at(&value[head.replace('~', ".")], rest),
        Some((key, index)) => {
            let list = if key.is_empty() { value } else { &value[key] };
            match index.trim_end_matches(']').parse::<usize>() {
                Ok(index) => at(&list[index], rest),
                Err(_) => list
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|one| at(one, rest))
                    .collect(),
            }
        }
    }
}

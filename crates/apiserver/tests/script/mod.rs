//! Requests as data, for any server: one line per request, one line per answer.
//!
//! A line is `METHOD[:media] PATH [BODY] [-> WHAT...]`. `media` is `merge`, `strategic`, `json` (patches),
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
}

/// Something that answers requests.
pub(crate) trait Target {
    /// Code and body of the answer.
    async fn answer(&self, step: &Step) -> (u16, Value);
}

/// Sends the requests of a script one after the other; answers one line each.
pub(crate) async fn run(target: &impl Target, script: &str) -> Vec<String> {
    let mut kept: Vec<(String, String)> = Vec::new();
    let mut lines = Vec::new();
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
        let (code, body) = target.answer(&step).await;
        let mut shown = vec![code.to_string()];
        if code >= 400 {
            shown.push(refusal(&body));
        }
        for what in &step.shows {
            match what.split_once('=') {
                Some((name, path)) => {
                    let value = at(&body, path);
                    let value = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    kept.push((name.to_owned(), value));
                }
                None => shown.push(format!("{what}={}", at(&body, what))),
            }
        }
        lines.push(shown.join(" "));
    }
    lines
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
    Step {
        method: method.to_owned(),
        path,
        headers: vec![header],
        body,
        shows,
    }
}

fn refusal(body: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let causes = body["details"]["causes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let causes: Vec<String> = causes
        .iter()
        .map(|cause| format!("{}@{}", text(&cause["reason"]), text(&cause["field"])))
        .collect();
    let causes = if causes.is_empty() {
        String::new()
    } else {
        format!(" [{}]", causes.join(", "))
    };
    format!(
        "{}: {}{causes}",
        text(&body["reason"]),
        text(&body["message"])
    )
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

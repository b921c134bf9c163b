//! What helm does, as far as the templates need it.

use super::*;

pub(super) struct Release<'a> {
    pub(super) namespace: &'a str,
    pub(super) values: Value,
}

impl Release<'_> {
    /// Documents of all templates.
    pub(super) fn documents(&self) -> Vec<Value> {
        let mut documents = Vec::new();
        for entry in std::fs::read_dir(chart().join("templates")).expect("templates") {
            let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("text");
            let lines: Vec<&str> = text.lines().collect();
            let mut out = Vec::new();
            self.lines(&lines, None, &mut out);
            let text = out.join("\n");
            let given = text.split("\n---").map(str::trim).filter(|text| {
                text.lines()
                    .any(|line| !line.starts_with('#') && !line.trim().is_empty())
            });
            documents.extend(given.map(yaml));
        }
        documents
    }

    fn lines(&self, lines: &[&str], dot: Option<&Value>, out: &mut Vec<String>) {
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at];
            let Some(directive) = line
                .trim()
                .strip_prefix("{{- ")
                .and_then(|l| l.strip_suffix(" }}"))
            else {
                out.push(self.line(line, dot));
                at += 1;
                continue;
            };
            let end = at + matching_end(&lines[at..]);
            let body = &lines[at + 1..end];
            if let Some(condition) = directive.strip_prefix("if ") {
                let mut branches = branches(condition, body).into_iter();
                if let Some((_, body)) = branches.find(|(condition, _)| self.holds(condition, dot))
                {
                    self.lines(body, dot, out);
                }
            } else if let Some(map) = directive.strip_prefix("range $key, $value := ") {
                for (key, value) in self.term(map, dot).as_object().expect("a map") {
                    let value = Value::String(shown(value)).to_string();
                    let put = |line: &&str| {
                        let line = line.replace("{{ $key }}", key);
                        line.replace("{{ $value | quote }}", &value)
                    };
                    let body: Vec<String> = body.iter().map(put).collect();
                    self.lines(
                        &body.iter().map(String::as_str).collect::<Vec<_>>(),
                        dot,
                        out,
                    );
                }
            } else if let Some(list) = directive.strip_prefix("range ") {
                for item in self.term(list, dot).as_array().expect("a list") {
                    self.lines(body, Some(item), out);
                }
            } else {
                panic!("unknown directive: {line}");
            }
            at = end + 1;
        }
    }

    fn line(&self, line: &str, dot: Option<&Value>) -> String {
        let mut text = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("{{ ") {
            let (expression, after) = after.split_once(" }}").expect("it ends");
            text.push_str(before);
            text.push_str(&shown(&self.pipeline(expression, dot)));
            rest = after;
        }
        text + rest
    }

    fn holds(&self, condition: &str, dot: Option<&Value>) -> bool {
        let words: Vec<&str> = condition.split_whitespace().collect();
        match words.as_slice() {
            ["not", name] => !is_true(&self.term(name, dot)),
            ["eq", name, text] => self.term(name, dot) == yaml(text),
            ["ne", name, text] => self.term(name, dot) != yaml(text),
            ["gt", "(int", name, number] => {
                let value = self.term(name.trim_end_matches(')'), dot);
                value.as_i64() > number.parse().ok()
            }
            // A cluster of today.
            // `else`.
            [] => true,
            [".Capabilities.APIVersions.Has", _] => true,
            [name] => is_true(&self.term(name, dot)),
            _ => panic!("unknown condition: {condition}"),
        }
    }

    fn pipeline(&self, expression: &str, dot: Option<&Value>) -> Value {
        let mut parts = expression.split(" | ");
        let first = parts.next().expect("an expression");
        let words: Vec<&str> = first.splitn(3, ' ').collect();
        let value = match words.as_slice() {
            ["toJson", name] => Value::String(self.term(name, dot).to_string()),
            [".Files.Get", file] => {
                let path = chart().join(file.trim_matches('"'));
                Value::String(std::fs::read_to_string(path).expect("a file"))
            }
            ["printf", format, name] => {
                let value = shown(&self.term(name, dot));
                Value::String(format.trim_matches('"').replace("%s", &value))
            }
            [name] => self.term(name, dot),
            _ => panic!("unknown expression: {expression}"),
        };
        parts.fold(value, |value, filter| match filter {
            "quote" => Value::String(Value::String(shown(&value)).to_string()),
            "toJson" => Value::String(value.to_string()),
            "fromYaml" => yaml(&shown(&value)),
            "b64enc" => Value::String(base64(shown(&value).as_bytes())),
            other => panic!("unknown filter: {other}"),
        })
    }

    fn term(&self, name: &str, dot: Option<&Value>) -> Value {
        let name = name.strip_prefix('$').unwrap_or(name);
        match name {
            "." => return dot.expect("in a range").clone(),
            ".Release.Namespace" => return json!(self.namespace),
            _ => {}
        }
        let Some(path) = name.strip_prefix(".Values.") else {
            let key = name
                .strip_prefix('.')
                .unwrap_or_else(|| panic!("unknown: {name}"));
            // What an element of a list does not say is nothing.
            return dot
                .expect("in a range")
                .get(key)
                .cloned()
                .unwrap_or_default();
        };
        let value = path.split('.').fold(&self.values, |value, key| {
            value.get(key).unwrap_or_else(|| panic!("no value {name}"))
        });
        value.clone()
    }
}

/// The branches of an `if`, each with its condition.
fn branches<'a>(first: &'a str, body: &'a [&'a str]) -> Vec<(&'a str, &'a [&'a str])> {
    let mut branches = Vec::new();
    let (mut condition, mut begin, mut depth) = (first, 0, 0);
    for (at, line) in body.iter().enumerate() {
        let line = line.trim();
        if line.starts_with("{{- if ") || line.starts_with("{{- range ") {
            depth += 1;
        } else if line == "{{- end }}" {
            depth -= 1;
        } else if let Some(next) = line.strip_prefix("{{- else")
            && depth == 0
        {
            branches.push((condition, &body[begin..at]));
            condition = next.trim_end_matches("}}").trim().trim_start_matches("if ");
            begin = at + 1;
        }
    }
    branches.push((condition, &body[begin..]));
    branches
}

fn matching_end(lines: &[&str]) -> usize {
    let mut depth = 0;
    for (at, line) in lines.iter().enumerate() {
        let line = line.trim();
        if line.starts_with("{{- if ") || line.starts_with("{{- range ") {
            depth += 1;
        } else if line == "{{- end }}" {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    panic!("no end: {}", lines[0]);
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at)) as usize & 63] as char;
            text.push(if at <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

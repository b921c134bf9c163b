//! Command lines as units of systemd, shells and pods write them, and the settings that they come to.

use std::collections::BTreeMap;

use serde_json::Value;

/// Names and values of variables.
pub(super) type Variables = BTreeMap<String, String>;

/// Programs whose argument behind `-c` is a command line of its own.
const SHELLS: [&str; 4] = ["sh", "bash", "dash", "ash"];

/// Splits a line into words: blanks separate, quotes keep together, a backslash takes the next character as it is.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => {
                let next = chars.next().map(escaped).unwrap_or('\\');
                word.get_or_insert_default().push(next);
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn escaped(c: char) -> char {
    match c {
        'n' => '\n',
        't' => '\t',
        's' => ' ',
        c => c,
    }
}

/// Fills in variables between `open` and `close`; one that is not known stays as it is written.
pub(super) fn filled(text: &str, open: &str, close: char, variables: &Variables) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(open) {
        done.push_str(before);
        let found = behind.split_once(close);
        let value = found.and_then(|(name, after)| Some((variables.get(name)?, after)));
        match value {
            Some((value, after)) => {
                done.push_str(value);
                rest = after;
            }
            None => {
                done.push_str(open);
                rest = behind;
            }
        }
    }
    done + rest
}

/// The name behind a `$` that is all of a word.
pub(super) fn variable(word: &str) -> Option<&str> {
    let name = word.strip_prefix('$')?;
    let name = name
        .strip_prefix('{')
        .and_then(|name| name.strip_suffix('}'))
        .unwrap_or(name);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// The last part of a path.
pub(super) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The program and its arguments from where its name stands, also inside of a shell's command line.
pub(super) fn from_program(argv: &[String], names: &[&str], variables: &Variables) -> Vec<String> {
    let is_it = |word: &String| names.contains(&base(word));
    let shell = argv.first().is_some_and(|one| SHELLS.contains(&base(one)));
    let script = argv
        .iter()
        .position(|word| word.starts_with('-') && word.ends_with('c') && !word.starts_with("--"));
    if let (true, Some(script)) = (shell, script)
        && let Some(text) = argv.get(script + 1)
    {
        let mut words = Vec::new();
        for word in split(&text.replace("\\\n", " ")) {
            match variable(&word).and_then(|name| variables.get(name)) {
                Some(value) => words.extend(split(value)),
                None => words.push(filled(&word, "${", '}', variables)),
            }
        }
        if let Some(at) = words.iter().position(is_it) {
            return words.split_off(at);
        }
    }
    match argv.iter().position(is_it) {
        Some(at) => argv[at..].to_vec(),
        None => argv.to_vec(),
    }
}

/// What a component was told: `data-dir` and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Of flags; those that come later win.
    pub(super) fn of_flags(argv: &[String]) -> Self {
        let mut all = BTreeMap::new();
        let mut words = argv.iter().skip(1).peekable();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
            let Some(name) = name.filter(|name| !name.is_empty()) else {
                continue;
            };
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => {
                    let value = words.next_if(|next| !next.starts_with('-'));
                    (name, value.cloned().unwrap_or_else(|| "true".to_owned()))
                }
            };
            // Some manifests quote values once too often.
            let value = value.trim_matches('"').to_owned();
            all.insert(name.to_owned(), value);
        }
        Self(all)
    }

    /// Of etcd: `ETCD_DATA_DIR` is `--data-dir`, and flags win.
    pub(super) fn of_etcd(argv: &[String], variables: &Variables) -> Self {
        let mut all = BTreeMap::new();
        for (name, value) in variables {
            if let Some(name) = name.strip_prefix("ETCD_") {
                all.insert(name.to_lowercase().replace('_', "-"), value.clone());
            }
        }
        all.extend(Self::of_flags(argv).0);
        Self(all)
    }

    /// Of etcd's configuration file, beside which neither flags nor variables count.
    pub(super) fn of_file(text: &str) -> Result<Self, String> {
        let file: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let mut all = BTreeMap::new();
        for (name, value) in file.as_object().into_iter().flatten() {
            all.extend(text_of(value).map(|value| (name.clone(), value)));
        }
        for (section, prefix) in [
            ("client-transport-security", ""),
            ("peer-transport-security", "peer-"),
        ] {
            for (name, value) in file[section].as_object().into_iter().flatten() {
                all.extend(text_of(value).map(|value| (format!("{prefix}{name}"), value)));
            }
        }
        Ok(Self(all))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// A list, with commas between its parts.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let parts = self.get(name).unwrap_or_default().split(',');
        let parts = parts.map(str::trim).filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    }
}

/// A scalar as text.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn words_are_those_of_a_shell() {
        assert_eq!(
            split(r#"  /usr/bin/etcd --name "a b" 'c $d' e\ f "" "g\"h" "#),
            strings(&["/usr/bin/etcd", "--name", "a b", "c $d", "e f", "", "g\"h"])
        );
        assert_eq!(split("open 'quote"), strings(&["open", "quote"]));
    }

    #[test]
    fn a_value_stands_behind_an_equals_sign_or_in_the_next_word() {
        let argv =
            "etcd --name=m1 -data-dir /d --debug --listen-client-urls https://a:1, --name m2";
        let settings = Settings::of_flags(&split(argv));
        assert_eq!(settings.get("name"), Some("m2"));
        assert_eq!(settings.get("data-dir"), Some("/d"));
        assert_eq!(settings.get("debug"), Some("true"));
        assert_eq!(settings.list("listen-client-urls"), ["https://a:1"]);
    }

    #[test]
    fn a_shell_around_the_program_is_looked_through() {
        let script =
            "GOMAXPROCS=$(nproc) exec /usr/bin/etcd --name=${ETCD_NAME} \\\n $MORE >>log 2>&1";
        let variables = Variables::from([
            ("ETCD_NAME".to_owned(), "m1".to_owned()),
            ("MORE".to_owned(), "--data-dir /d".to_owned()),
        ]);
        let argv = from_program(
            &strings(&["/bin/bash", "-ec", script]),
            &["etcd"],
            &variables,
        );
        assert_eq!(
            argv[..4],
            strings(&["/usr/bin/etcd", "--name=m1", "--data-dir", "/d"])
        );
        let plain = strings(&["etcd", "--name=c"]);
        assert_eq!(from_program(&plain, &["etcd"], &variables), plain);
    }

    #[test]
    fn what_is_not_known_stays_as_it_is_written() {
        let variables = Variables::from([("A".to_owned(), "1".to_owned())]);
        assert_eq!(filled("${A}-${B}-${A", "${", '}', &variables), "1-${B}-${A");
    }
}

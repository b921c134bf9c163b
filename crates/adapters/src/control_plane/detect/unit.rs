//! Units of systemd: the command line that one comes to, with its variables filled in.

use super::words::{Variables, filled, from_program, split, variable};

/// What of a unit and its drop-ins matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    exec: Option<String>,
    environment: Variables,
    /// Files with more variables.
    pub(super) files: Vec<File>,
    /// Where relative paths begin.
    pub(super) folder: Option<String>,
}

/// A file with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Its path.
    pub(super) path: String,
    /// Whether it may be missing.
    pub(super) optional: bool,
}

impl Unit {
    /// Reads a unit and then its drop-ins, in their order. `name` is that of the unit, `host` that of the machine.
    pub(super) fn read(texts: &[String], name: &str, host: &str) -> Self {
        let mut unit = Self::default();
        for text in texts {
            let mut section = String::new();
            for line in lines(text, " ") {
                if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                    section = name.to_owned();
                } else if section == "Service"
                    && let Some((key, value)) = line.split_once('=')
                {
                    let value = specified(value.trim(), name, host);
                    unit.take(key.trim(), &value);
                }
            }
        }
        unit
    }

    fn take(&mut self, key: &str, value: &str) {
        match (key, value) {
            // An empty value takes back what was said before.
            ("ExecStart", "") => self.exec = None,
            ("Environment", "") => self.environment.clear(),
            ("EnvironmentFile", "") => self.files.clear(),
            ("ExecStart", line) => self.exec = Some(line.to_owned()),
            ("WorkingDirectory", folder) => self.folder = Some(folder.to_owned()),
            ("Environment", line) => {
                for word in split(line) {
                    if let Some((name, value)) = word.split_once('=') {
                        self.environment.insert(name.to_owned(), value.to_owned());
                    }
                }
            }
            ("EnvironmentFile", path) => {
                let optional = path.starts_with('-');
                let path = path.trim_start_matches('-').trim_matches('"').to_owned();
                self.files.push(File { path, optional });
            }
            _ => {}
        }
    }

    /// Program, arguments and variables. `files` are the texts of [`Unit::files`], whose variables win.
    pub(super) fn command(&self, files: &[String], program: &[&str]) -> (Vec<String>, Variables) {
        let mut variables = self.environment.clone();
        for text in files {
            variables.extend(assignments(text));
        }
        let line = self.exec.as_deref().unwrap_or_default();
        // `-` ignores failures, `+` and `!` are about rights, `:` keeps variables, `@` names the program otherwise.
        let prefix = |c: char| matches!(c, '-' | '@' | ':' | '+' | '!');
        let renamed = line.chars().take_while(|c| prefix(*c)).any(|c| c == '@');
        let mut argv = Vec::new();
        for word in split(line.trim_start_matches(prefix)) {
            match variable(&word).filter(|_| !word.starts_with("${")) {
                // Alone it is split into words, and none where it is not set.
                Some(name) => argv.extend(variables.get(name).into_iter().flat_map(|v| split(v))),
                None => argv.push(filled(&word, "${", '}', &variables).replace("$$", "$")),
            }
        }
        if renamed && argv.len() > 1 {
            argv.remove(1);
        }
        (from_program(&argv, program, &variables), variables)
    }

    /// Whether it starts anything.
    pub(super) fn starts(&self) -> bool {
        self.exec.is_some()
    }
}

/// Lines without comments; one that ends with a backslash goes on in the next.
fn lines(text: &str, between: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) || (line.is_empty() && open.is_none()) {
            continue;
        }
        let mut whole = open.take().unwrap_or_default();
        match line.strip_suffix('\\') {
            Some(line) => {
                whole.push_str(line.trim_end());
                whole.push_str(between);
                open = Some(whole);
            }
            None => {
                whole.push_str(line);
                lines.push(whole);
            }
        }
    }
    lines.extend(open);
    lines
}

/// Variables of a file of `NAME=VALUE`.
fn assignments(text: &str) -> Variables {
    let mut all = Variables::new();
    for line in lines(text, "") {
        if let Some((name, value)) = line.split_once('=') {
            let value = value.trim();
            let quoted = value.starts_with(['"', '\'']);
            let value = match quoted {
                true => split(value).into_iter().next().unwrap_or_default(),
                false => value.to_owned(),
            };
            all.insert(name.trim().to_owned(), value);
        }
    }
    all
}

/// The specifiers that have a place in the command line of a component.
fn specified(value: &str, name: &str, host: &str) -> String {
    let mut done = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            done.push(c);
            continue;
        }
        match chars.next() {
            Some('%') => done.push('%'),
            Some('H' | 'l' | 'q') => done.push_str(host),
            Some('n') => done.push_str(&format!("{name}.service")),
            Some('N' | 'p') => done.push_str(name),
            Some(other) => done.extend(['%', other]),
            None => done.push('%'),
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(texts: &[&str], files: &[&str]) -> Vec<String> {
        let own = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let unit = Unit::read(&own(texts), "etcd", "m1");
        unit.command(&own(files), &["etcd"]).0
    }

    #[test]
    fn lines_go_on_and_comments_between_them_do_not_count() {
        let unit = "[Unit]\nExecStart=/no\n[Service]\nExecStart=/usr/bin/etcd \\\n  --name %H \\\n# a comment\n  \
                    --data-dir=/var/lib/etcd\n\nRestart=always\n";
        assert_eq!(
            argv(&[unit], &[]),
            ["/usr/bin/etcd", "--name", "m1", "--data-dir=/var/lib/etcd"]
        );
    }

    #[test]
    fn variables_are_filled_in_alone_and_in_words() {
        let unit = "[Service]\nEnvironment=NAME=a \"ARGS=--debug --data-dir '/a b'\"\nEnvironmentFile=-/etc/etcd.env\n\
                    ExecStart=-/usr/bin/etcd --name=${NAME} $ARGS $NONE --x=$$1 ${NAME}\n";
        let file = "# a file\nNAME=\"b c\"\n; more\nOTHER = 'x' \n";
        assert_eq!(
            argv(&[unit], &[file]),
            [
                "/usr/bin/etcd",
                "--name=b c",
                "--debug",
                "--data-dir",
                "/a b",
                "--x=$1",
                "b c"
            ]
        );
        let read = Unit::read(&[unit.to_owned()], "etcd", "m1");
        assert_eq!(
            read.files,
            [File {
                path: "/etc/etcd.env".to_owned(),
                optional: true
            }]
        );
    }

    #[test]
    fn a_drop_in_takes_back_and_says_anew() {
        let unit = "[Service]\nEnvironment=A=1\nExecStart=/usr/bin/etcd --name=${A}${B}\n";
        let drop_in =
            "[Service]\nEnvironment=B=2\nExecStart=\nExecStart=@/opt/etcd etcd --name=${A}${B}\n";
        assert_eq!(argv(&[unit], &[]), ["/usr/bin/etcd", "--name=1${B}"]);
        assert_eq!(argv(&[unit, drop_in], &[]), ["/opt/etcd", "--name=12"]);
        assert!(!Unit::read(&[String::new()], "etcd", "m1").starts());
    }

    #[test]
    fn the_shell_of_a_distribution_is_looked_through() {
        let unit = "[Service]\nEnvironmentFile=-/etc/etcd/etcd.conf\nExecStart=/bin/bash -c \"GOMAXPROCS=$(nproc) /usr/bin/etcd \
                    --name=\\\"${ETCD_NAME}\\\" --data-dir=\\\"${ETCD_DATA_DIR}\\\"\"\n";
        let file = "ETCD_NAME=default\nETCD_DATA_DIR=\"/var/lib/etcd/default.etcd\"\n";
        assert_eq!(
            argv(&[unit], &[file]),
            [
                "/usr/bin/etcd",
                "--name=default",
                "--data-dir=/var/lib/etcd/default.etcd"
            ]
        );
    }
}

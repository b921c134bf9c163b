//! Another machine, by the `ssh` program with the user's own configuration, agent and known hosts.

use std::path::PathBuf;

use async_trait::async_trait;
use salvor_location::RunId;
use serde::{Deserialize, Serialize};

use super::{Command, Ended, Exit, Host, HostError, local};

/// Seconds until an address that does not answer is given up.
const CONNECT: u32 = 15;
/// Seconds between questions whether the other side is still there, and how many may stay without an answer.
const ALIVE: (u32, u32) = (5, 4);

/// Runs `$2...` on the other side and says on the errors, behind the mark `$1`, what came of it: the status of `ssh` is its own
/// for a connection that broke and the program's otherwise, and both use 255. When the connection has ended, our parent has:
/// whatever still runs is ended then.
const WRAPPER: &str = r#"mark=$1; shift
command -v -- "$1" >/dev/null 2>&1 || { echo "$mark missing" >&2; exit 0; }
( while read -r a b c parent rest <"/proc/$$/stat"; do
    test "$parent" = "$PPID" || { kill -KILL "-$$"; exit; }
    sleep 1
  done ) </dev/null >/dev/null 2>&1 &
watch=$!
"$@"
code=$?
kill "$watch" 2>/dev/null
echo "$mark $code" >&2"#;

/// How to get to a machine by ssh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SshAddress {
    /// `HOST` or `USER@HOST`, or a name of the user's ssh configuration.
    pub address: String,
    /// Its port, where it is not that of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// File with the key, where it is not one of the agent or configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// File with the keys of known hosts, where it is not the user's. A host that is not in it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<PathBuf>,
}

/// Another machine. Its login shell is one of the Bourne family, and it has `/proc`.
///
/// A program that a signal ended has the code that its shell gives that: 128 and the signal's number.
#[derive(Clone, Debug)]
pub struct Ssh {
    name: String,
    to: SshAddress,
}

impl Ssh {
    /// Under this name, there.
    #[must_use]
    pub fn new(name: impl Into<String>, to: SshAddress) -> Self {
        let name = name.into();
        Self { name, to }
    }

    /// `ssh` with everything but what is to be run.
    fn program(&self) -> Vec<String> {
        let mut argv = vec!["ssh".to_owned(), "-T".to_owned()];
        let mut option = |text: String| argv.extend(["-o".to_owned(), text]);
        for text in [
            // Nobody is there to type.
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            // A connection of its own for each program: a shared one would break for all at once, and would outlive us.
            "ControlMaster=no",
            "ControlPath=none",
            "ForwardAgent=no",
            "ForwardX11=no",
            "ClearAllForwardings=yes",
            "RequestTTY=no",
            "LogLevel=ERROR",
        ] {
            option(text.to_owned());
        }
        option(format!("ConnectTimeout={CONNECT}"));
        option(format!("ServerAliveInterval={}", ALIVE.0));
        option(format!("ServerAliveCountMax={}", ALIVE.1));
        if let Some(file) = &self.to.known_hosts {
            // A value in quotes may have spaces.
            option(format!("UserKnownHostsFile=\"{}\"", file.display()));
            option("GlobalKnownHostsFile=/dev/null".to_owned());
        }
        if let Some(key) = &self.to.key {
            option("IdentitiesOnly=yes".to_owned());
            argv.extend(["-i".to_owned(), key.to_string_lossy().into_owned()]);
        }
        if let Some(port) = self.to.port {
            argv.extend(["-p".to_owned(), port.to_string()]);
        }
        argv.extend(["--".to_owned(), self.to.address.clone()]);
        argv
    }
}

#[async_trait]
impl Host for Ssh {
    fn name(&self) -> &str {
        &self.name
    }

    async fn run(&self, command: Command<'_>) -> Result<Ended, HostError> {
        let text = command.describe();
        let mark = format!("salvor-{}", RunId::generate());
        let there = remote(&mark, &command.argv).map_err(|why| HostError::NotRun {
            host: self.name.clone(),
            command: text.clone(),
            source: why.into(),
        })?;
        let mut argv = self.program();
        argv.push(there);
        let limit = command.limit;
        let ran = local::run(&self.name, Command { argv, ..command }).await;
        let ended = ran.map_err(|error| self.told(error, text.clone(), limit))?;
        self.judge(ended, &mark, text)
    }
}

impl Ssh {
    /// What the mark in the errors says.
    fn judge(&self, ended: Ended, mark: &str, command: String) -> Result<Ended, HostError> {
        let Some((said, outcome)) = ended.stderr.rsplit_once(mark) else {
            let detail = match ended.stderr.trim() {
                "" => format!("ssh ended with {} and said nothing", ended.exit),
                said => said.to_owned(),
            };
            return Err(HostError::Connection {
                host: self.name.clone(),
                command,
                detail,
            });
        };
        // What it started may have said more behind the mark.
        let (outcome, later) = outcome.split_once('\n').unwrap_or((outcome, ""));
        let code = match outcome.trim() {
            "missing" => {
                return Err(HostError::NotRun {
                    host: self.name.clone(),
                    command,
                    source: "there is no such program, or it may not be run".into(),
                });
            }
            code => code.parse(),
        };
        match code {
            Ok(code) => Ok(Ended {
                exit: Exit::Code(code),
                stdout: ended.stdout,
                stderr: format!("{said}{later}"),
            }),
            Err(_) => Err(HostError::Connection {
                host: self.name.clone(),
                command,
                detail: "it broke while the status was told".to_owned(),
            }),
        }
    }

    /// An error of the `ssh` program as one of what was run by it.
    fn told(&self, error: HostError, command: String, limit: std::time::Duration) -> HostError {
        let host = self.name.clone();
        match error {
            HostError::TooLong { .. } => HostError::TooLong {
                host,
                command,
                limit,
                then: "the connection was closed, which ends it there within some seconds, unless the machine does not answer \
                       any more: then it may still run"
                    .to_owned(),
            },
            HostError::Cut { what, source, .. } => HostError::Cut {
                host,
                command,
                what,
                source,
            },
            HostError::TooMuch { .. } => HostError::TooMuch { host, command },
            HostError::NotRun { source, .. } => HostError::NotRun {
                host,
                command: format!("ssh, and by it {command},"),
                source,
            },
            other => other,
        }
    }
}

/// The one line for the login shell of the other side.
fn remote(mark: &str, argv: &[String]) -> Result<String, &'static str> {
    if argv.is_empty() {
        return Err("no program is named");
    }
    let head = ["sh", "-c", WRAPPER, "sh", mark];
    let words = head.into_iter().chain(argv.iter().map(String::as_str));
    // The shell of ours takes the place of the login shell, so that its parent is the connection.
    let mut line = "exec".to_owned();
    for word in words {
        if word.contains('\0') {
            return Err("an argument holds a zero byte");
        }
        line.push(' ');
        line.push_str(&quoted(word));
    }
    Ok(line)
}

/// A word that every shell of the Bourne family takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh() -> Ssh {
        let to = SshAddress {
            address: "root@10.0.0.1".to_owned(),
            port: Some(2222),
            key: None,
            known_hosts: None,
        };
        Ssh::new("m1", to)
    }

    fn ended(exit: i32, stderr: &str) -> Ended {
        Ended {
            exit: Exit::Code(exit),
            stdout: bytes::Bytes::new(),
            stderr: stderr.to_owned(),
        }
    }

    #[test]
    fn only_the_mark_is_a_status() {
        let judge = |exit, stderr| ssh().judge(ended(exit, stderr), "MARK", "x".to_owned());
        let told = judge(0, "no newlineMARK 255\nlate\n").expect("a status");
        assert_eq!(told.exit, Exit::Code(255));
        assert_eq!(told.stderr, "no newlinelate\n");
        for (exit, stderr) in [
            (255, "Connection refused"),
            (0, ""),
            (255, "MARK "),
            (255, "MARK 2x"),
        ] {
            let error = judge(exit, stderr).expect_err("no status");
            assert!(matches!(error, HostError::Connection { .. }), "{error}");
        }
        let error = judge(0, "MARK missing\n").expect_err("no program");
        assert!(matches!(error, HostError::NotRun { .. }), "{error}");
    }

    #[test]
    fn words_are_quoted_and_a_zero_byte_is_refused() {
        assert_eq!(quoted("it's $HOME\n"), "'it'\\''s $HOME\n'");
        assert!(remote("m", &["a\0b".to_owned()]).is_err());
        assert!(remote("m", &[]).is_err());
    }

    #[test]
    fn an_address_is_never_an_option() {
        let argv = ssh().program();
        assert_eq!(argv[argv.len() - 2..], ["--", "root@10.0.0.1"]);
    }
}

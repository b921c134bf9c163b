//! What opens a repository: a password from a file, standard input or a terminal, or the key that it follows from.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use salvor_seal::repository_key::{SECRET, SECRET_KEY, VELERO_SECRET};
use salvor_seal::{KeyMaterial, RepositoryKey, Secret};
use salvor_volume::Domain;
use salvor_volume::cluster_key::{self, KeyError};

use crate::args::repository::{PasswordArgs, RepositoryArgs};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Names the file with the password, where no flag says what opens the repository.
const PASSWORD_FILE: &str = "SALVOR_PASSWORD_FILE";
/// Names the file with the key in the same way.
const KEY_FILE: &str = "SALVOR_KEY_FILE";

/// How often a password is asked for on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To open what is there: a mistake shows at once.
    Once,
    /// For something new: a mistake would show on the day of the restore.
    Twice,
}

/// Where the password comes from.
pub(super) enum Source {
    /// From the password itself.
    Password(Secret),
    /// From a key, or from the one password of a cluster.
    Material(KeyMaterial),
    /// From a person.
    Terminal,
}

impl Source {
    /// What the flags say.
    pub(super) async fn of(args: &PasswordArgs, session: &Session) -> Result<Self, Failure> {
        if let Some(path) = &args.key_file {
            return key_from_file(path).map(|key| Self::Material(KeyMaterial::Key(key)));
        }
        if args.key_from_cluster {
            return of_cluster(session).await.map(Self::Material);
        }
        if let Some(path) = &args.password_file {
            return from_file(path).map(Self::Password);
        }
        if args.password_stdin {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map_err(|e| {
                Failure::caused(Exit::Usage, "read the password from standard input", e)
            })?;
            return first_line(line, "standard input").map(Self::Password);
        }
        Self::of_environment()
    }

    /// What the environment says, where no flag does.
    fn of_environment() -> Result<Self, Failure> {
        let named = |name: &str| {
            std::env::var_os(name)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        };
        match (named(KEY_FILE), named(PASSWORD_FILE)) {
            (Some(_), Some(_)) => Err(Failure::usage(format!(
                "{KEY_FILE} and {PASSWORD_FILE} are both set, and the repository opens with one of them"
            ))
            .hint("say which with --key-file or --password-file, or unset the other")),
            (Some(path), None) => {
                key_from_file(&path).map(|key| Self::Material(KeyMaterial::Key(key)))
            }
            (None, Some(path)) => from_file(&path).map(Self::Password),
            (None, None) => Ok(Self::Terminal),
        }
    }
}

/// A password, and whether it is known to be random.
pub(super) struct Given {
    pub(super) password: Secret,
    pub(super) is_random: bool,
}

/// The password of the repository that is meant.
pub(super) async fn of(
    args: &RepositoryArgs,
    session: &Session,
    asked: Asked,
) -> Result<Given, Failure> {
    let (password, is_random) = match Source::of(&args.password, session).await? {
        Source::Password(password) => (password, false),
        Source::Material(KeyMaterial::Password(password)) => (password, false),
        Source::Material(material) => (material.password_of(domain(args)?.as_str()), true),
        Source::Terminal => (ask(session, asked).await?, false),
    };
    Ok(Given {
        password,
        is_random,
    })
}

/// The domain, which a key needs.
pub(super) fn domain(args: &RepositoryArgs) -> Result<Domain, Failure> {
    match &args.domain {
        Some(domain) => super::domain_of(domain),
        None => Err(Failure::usage(
            "a key gives each domain a password of its own: name the domain with --domain",
        )
        .hint("a repository at an address of its own is opened with --password-file")),
    }
}

/// The key of a file.
pub(crate) fn key_from_file(path: &Path) -> Result<RepositoryKey, Failure> {
    let doing = || format!("read the key from {}", path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::caused(Exit::Usage, doing(), error))?;
    let text = Secret::new(text);
    RepositoryKey::from_text(text.expose())
        .map_err(|error| Failure::caused(Exit::Usage, doing(), error))
}

/// The first line of a file.
pub(super) fn from_file(path: &Path) -> Result<Secret, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        let doing = format!("read the password from {}", path.display());
        Failure::caused(Exit::Usage, doing, e)
    })?;
    first_line(text, &path.display().to_string())
}

fn first_line(text: String, from: &str) -> Result<Secret, Failure> {
    let whole = Secret::new(text);
    let line = whole.expose().lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::usage(format!(
            "the first line of {from} is empty: it should be the password"
        )));
    }
    Ok(Secret::new(line.to_owned()))
}

/// The key that the server of the cluster works with.
async fn of_cluster(session: &Session) -> Result<KeyMaterial, Failure> {
    let cluster = session.cluster(None).await?;
    let namespace = session.namespace();
    let found = cluster_key::find(&cluster, namespace).await;
    let found = found.map_err(|error| key_failure(error, namespace))?;
    found.ok_or_else(|| {
        let text = format!(
            "namespace `{namespace}` has neither a Secret `{SECRET}` with `{SECRET_KEY}` nor Velero's `{VELERO_SECRET}`"
        );
        Failure::new(Exit::NotFound, text).hint("name the server's namespace with --namespace")
    })
}

/// A key in the cluster that cannot be had, or put there.
pub(crate) fn key_failure(error: KeyError, namespace: &str) -> Failure {
    match error {
        KeyError::Cluster(source) => Failure::from(source),
        error => {
            let doing = format!("use the repository key of namespace `{namespace}`");
            Failure::caused(Exit::Usage, doing, error)
        }
    }
}

/// Asks a person, without showing what is typed.
async fn ask(session: &Session, asked: Asked) -> Result<Secret, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("no password was given").hint(
            "name a file with --password-file or SALVOR_PASSWORD_FILE, a key with --key-file, or pass --password-stdin",
        ));
    }
    let first = typed(session, &session.messages.type_the_password()).await?;
    if first.expose().is_empty() {
        return Err(Failure::usage("no password was typed"));
    }
    if asked == Asked::Twice {
        let again = typed(session, &session.messages.type_the_password_again()).await?;
        if again != first {
            return Err(Failure::usage(
                "the two passwords are not the same: nothing was made",
            ));
        }
    }
    Ok(first)
}

/// One line from the terminal, which is silent meanwhile.
async fn typed(session: &Session, question: &str) -> Result<Secret, Failure> {
    session.printer.ask(question);
    let silence = Silence::begin()
        .map_err(|error| Failure::caused(Exit::Usage, "make the terminal silent", error))?;
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        read.map(|_| Secret::new(line.trim_end_matches(['\r', '\n']).to_owned()))
    });
    let line = tokio::select! {
        line = line => line,
        () = session.cancel.cancelled() => {
            return Err(Failure::new(Exit::Cancelled, session.messages.not_confirmed()));
        }
    };
    drop(silence);
    session.printer.ask("\n");
    match line {
        Ok(Ok(line)) => Ok(line),
        Ok(Err(error)) => Err(Failure::caused(Exit::Usage, "read the password", error)),
        Err(error) => Err(Failure::caused(Exit::Internal, "read the password", error)),
    }
}

/// The terminal shows nothing of what is typed until this is dropped.
struct Silence(rustix::termios::Termios);

impl Silence {
    fn begin() -> std::io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        let restored = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
        if let Err(error) = restored {
            tracing::warn!(%error, "the terminal stays silent: type `stty echo`");
        }
    }
}

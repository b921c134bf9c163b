//! What a command works with: the resolved global options, the printer, the way to locations and clusters.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use salvor_api::limits::TransferLimits;
use salvor_api::velero::Backup;
use salvor_cluster::{Cluster, ConnectOptions};
use salvor_extension::ProviderKind;
use salvor_location::{Location, Profile, Trust};
use salvor_storage::url::EXTENSION;
use salvor_storage::{Distance, ObjectStore, RetryPolicy, RetryStore, StoreUrl, open_url};
use salvor_text::{Language, Messages};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::args::Global;
use crate::command::read;
use crate::config::{Config, default_path};
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use crate::served::Served;

/// Namespace of backups and restores when none is given, as in Velero.
const NAMESPACE: &str = "velero";
/// What a backup says of a location that was given as a URL, which is no name of Velero's.
const UNNAMED: &str = "default";

/// One run of the program.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Global options as given.
    pub(crate) global: Global,
    /// What is said.
    pub(crate) messages: Messages,
    /// Where it goes.
    pub(crate) printer: Printer,
    /// Cancelled by the first Ctrl-C.
    pub(crate) cancel: CancellationToken,
    served: Arc<OnceCell<Option<Served>>>,
    /// Why the cluster did not let us see whether a server is at work.
    unseen: Arc<OnceLock<String>>,
}

impl Session {
    /// From the global options and the environment.
    pub(crate) fn new(global: Global) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let language = global.lang.unwrap_or_else(|| {
            let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].map(variable);
            Language::from_locale(locale.iter().map(Option::as_deref))
        });
        let messages = Messages::new(language);
        let refuse_color = global.no_color || variable("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self {
            printer: Printer::new(messages, refuse_color),
            messages,
            global,
            cancel: CancellationToken::new(),
            served: Arc::default(),
            unseen: Arc::default(),
        }
    }

    /// The namespace that backups and restores belong to.
    pub(crate) fn namespace(&self) -> &str {
        self.global.namespace.as_deref().unwrap_or(NAMESPACE)
    }

    /// The server to ask, if one is to be asked; looked for once.
    pub(crate) async fn served(&self) -> Result<Option<Served>, Failure> {
        let found = self.served.get_or_try_init(|| Served::find(self)).await?;
        Ok(found.clone())
    }

    /// Notes that the cluster refused to say whether a server is at work.
    pub(crate) fn server_is_not_seen(&self, reason: String) {
        // Looked for once; of two reasons either will do.
        let _ = self.unseen.set(reason);
    }

    /// A failure for want of a server or a location, with the reason why no server was seen, if that is known.
    fn without_server(&self, failure: Failure, hint: &str) -> Failure {
        let unseen = self.unseen.get();
        let told = unseen.map(|reason| self.messages.server_is_not_seen(self.namespace(), reason));
        match told {
            Some(told) => failure.hint(format!("{hint}; {told}")),
            None => failure.hint(hint),
        }
    }

    /// The server in the cluster, for commands that only work through one.
    pub(crate) async fn server(&self, what: &str) -> Result<Served, Failure> {
        if let Some(served) = self.served().await? {
            return Ok(served);
        }
        let text = format!("{what} need a server in the cluster, and none is at work there");
        Err(self.without_server(
            Failure::usage(text),
            "start one (see docs/guides/server.md), or pass --server to write the objects all the same",
        ))
    }

    /// The location in use, for commands that read or write a store themselves. Where a server is asked, it is
    /// the one that the server keeps the backup in, or its default one when no backup is named.
    pub(crate) async fn location_of(&self, backup: Option<&str>) -> Result<Location, Failure> {
        let Some(served) = self.served().await? else {
            return self.location(None);
        };
        let name = match backup {
            Some(backup) => served.named::<Backup>(backup).await?.spec.storage_location,
            None => served.default_location().await?,
        };
        served.open(&name).await
    }

    /// The same session where `-n` does not name the server's namespace but that of an object.
    pub(crate) fn without_namespace(&self) -> Self {
        let mut session = self.clone();
        session.global.namespace = None;
        session
    }

    /// The time that ages are counted from.
    #[allow(clippy::unused_self, reason = "a session has one clock")]
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Path of the configuration file.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.global.config.clone().unwrap_or_else(|| {
            let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
            default_path(path("XDG_CONFIG_HOME"), path("HOME"))
        })
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        Config::read(&self.config_path(), self.global.config.is_some())
    }

    /// The location in use: `--location`, then `--storage-location`, then the configured default.
    pub(crate) fn location(&self, storage_location: Option<&str>) -> Result<Location, Failure> {
        self.open(self.profile(storage_location)?)
    }

    /// The location in use, not opened.
    pub(crate) fn profile(&self, storage_location: Option<&str>) -> Result<Profile, Failure> {
        let given = self
            .global
            .location
            .as_deref()
            .filter(|text| !text.is_empty());
        if let (Some(text), Some(name)) = (given, storage_location)
            && is_url(text)
        {
            return profile(name.to_owned(), text, false);
        }
        let config = self.config_of(given)?;
        let name = given
            .or(storage_location)
            .or(config.default_location.as_deref());
        let Some(name) = name else {
            let path = self.config_path().display().to_string();
            let failure = Failure::usage(self.messages.no_location());
            let hint = self.messages.how_to_give_location(&path);
            return Err(self.without_server(failure, &hint));
        };
        self.profile_called(name)
    }

    /// The configuration, which a URL needs nothing of.
    fn config_of(&self, given: Option<&str>) -> Result<Config, Failure> {
        match given {
            Some(text) if is_url(text) => Ok(Config::default()),
            _ => self.config(),
        }
    }

    fn profile_called(&self, name: &str) -> Result<Profile, Failure> {
        if is_url(name) {
            // It is called by its address, without options, which may hold what nobody should read.
            let url = parse("", name)?;
            return Ok(Profile {
                name: url.to_string(),
                url,
                read_only: false,
            });
        }
        let config = self.config()?;
        let Some(found) = config.locations.get(name) else {
            let known: Vec<&str> = config.locations.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "it names none".to_owned()
            } else {
                format!("it names {}", known.join(", "))
            };
            let path = self.config_path();
            return Err(Failure::new(
                Exit::NotFound,
                format!("location `{name}` is not in {}: {known}", path.display()),
            )
            .hint(
                self.messages
                    .how_to_give_location(&path.display().to_string()),
            ));
        };
        profile(name.to_owned(), &found.url, found.read_only)
    }

    /// The location that a flag names: a URL, a path, or a name of the configuration.
    pub(crate) fn location_called(&self, text: &str) -> Result<Location, Failure> {
        self.open(self.profile_called(text)?)
    }

    /// Opens a location of the configuration.
    pub(crate) fn named_location(
        &self,
        name: &str,
        url: &str,
        read_only: bool,
    ) -> Result<Location, Failure> {
        self.open(profile(name.to_owned(), url, read_only)?)
    }

    /// Opens the store of a profile with retries, which every remote store needs, and its limits.
    fn open(&self, profile: Profile) -> Result<Location, Failure> {
        let limits = self.limits_of(&profile)?;
        let trust = self.trust_of(&profile)?;
        let store = store_at(&profile.url)?.map_err(|error| {
            let hint = error.advice();
            Failure::caused(Exit::Usage, format!("location `{}`", profile.name), error).hint(hint)
        })?;
        let store: Arc<dyn ObjectStore> = Arc::new(RetryStore::new(store, RetryPolicy::default()));
        let location = Location::new(store, profile).with_trust(trust);
        Ok(location.limited(&limits))
    }

    /// What the configuration pins about a location. Nothing is pinned about one that is given by URL.
    fn trust_of(&self, profile: &Profile) -> Result<Trust, Failure> {
        if is_url(&profile.name) {
            return Ok(Trust::default());
        }
        let config = self.config()?;
        let Some(found) = config.locations.get(&profile.name) else {
            return Ok(Trust::default());
        };
        let keys = found.verification_keys.iter().map(String::as_str);
        let recipients = found.recipients.iter().map(String::as_str);
        let trust = Trust::parse(keys, recipients).map_err(|reason| {
            Failure::usage(format!("keys of location `{}`: {reason}", profile.name))
        })?;
        Ok(Trust {
            id: found.id.clone(),
            ..trust
        })
    }

    /// How fast the configuration lets a location be used. One that is given by URL has no limits but those
    /// of a command's flags.
    pub(crate) fn limits_of(&self, profile: &Profile) -> Result<TransferLimits, Failure> {
        if is_url(&profile.name) {
            return Ok(TransferLimits::default());
        }
        let config = self.config()?;
        match config.locations.get(&profile.name) {
            Some(found) => TransferLimits::of(&found.limits.annotations()).map_err(|reason| {
                Failure::usage(format!("limits of location `{}`: {reason}", profile.name))
            }),
            None => Ok(TransferLimits::default()),
        }
    }

    /// The cluster of the kubeconfig.
    pub(crate) async fn cluster(&self, concurrency: Option<usize>) -> Result<Cluster, Failure> {
        let options = ConnectOptions {
            kubeconfig: self.global.kubeconfig.clone(),
            context: self.global.context.clone(),
            max_concurrency: concurrency,
            ..ConnectOptions::default()
        };
        Ok(Cluster::connect(&options).await?)
    }

    /// Says so when backups of this location are lost with what they protect.
    pub(crate) fn note_if_temporary(&self, location: &Location) {
        let url = location.url();
        let mut shown = vec![url.to_string()];
        shown.extend(url.endpoint());
        // One that has no name of its own is called by its URL.
        shown.retain(|text| text != location.name());
        let shown = shown.join(", ");
        let name = location.name();
        let note = match url.distance() {
            Distance::Machine if url.is_local() => self.messages.temporary_note(name, &shown),
            Distance::Machine | Distance::Cluster => self.messages.near_note(name, &shown),
            Distance::PrivateNetwork | Distance::Elsewhere => return,
        };
        self.printer.note(&note);
    }

    /// What people call the durability of a location.
    pub(crate) fn durability(&self, distance: Distance) -> String {
        match distance {
            Distance::Machine | Distance::Cluster => self.messages.temporary(),
            Distance::PrivateNetwork => self.messages.private_network(),
            Distance::Elsewhere => self.messages.off_site(),
        }
    }

    /// Goes on only when `--yes` was given or the name is typed on a terminal. What will be touched was
    /// printed before.
    pub(crate) async fn confirm(&self, yes: bool, name: &str) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(
                Failure::new(Exit::Refused, self.messages.confirmation_needed())
                    .hint(self.messages.pass_yes()),
            );
        }
        self.printer.ask(&self.messages.type_name_to_confirm(name));
        let answer = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let answer = tokio::select! {
            answer = answer => answer,
            () = self.cancel.cancelled() => {
                return Err(Failure::new(Exit::Cancelled, self.messages.not_confirmed()));
            }
        };
        match answer {
            Ok(Ok(line)) if line.trim() == name => Ok(()),
            _ => Err(Failure::new(Exit::Refused, self.messages.not_confirmed())),
        }
    }
}

/// The name of a location as the objects of Velero have it.
pub(crate) fn spec_name(location: &Location) -> &str {
    if is_url(location.name()) {
        UNNAMED
    } else {
        location.name()
    }
}

/// The store of a URL. One that an extension serves names the file with its definition, and the provider where
/// that defines several.
fn store_at(url: &StoreUrl) -> Result<salvor_storage::Result<Arc<dyn ObjectStore>>, Failure> {
    let mut url = url.clone();
    let definition = (url.scheme == EXTENSION)
        .then(|| url.options.remove("definition"))
        .flatten();
    let Some(definition) = definition else {
        return Ok(open_url(&url));
    };
    let providers = read::providers(Path::new(&definition))?;
    let mut stores = providers
        .iter()
        .filter(|one| one.kind() == ProviderKind::ObjectStore);
    if let (Some(only), None) = (stores.next(), stores.next()) {
        let name = salvor_extension_store::PROVIDER.to_owned();
        url.options
            .entry(name)
            .or_insert_with(|| only.name().to_owned());
    }
    Ok(salvor_extension_store::open(&url, &providers))
}

/// A URL or path, as opposed to a name of the configuration.
pub(crate) fn is_url(text: &str) -> bool {
    text.contains("://") || text.starts_with(['/', '.'])
}

fn profile(name: String, url: &str, read_only: bool) -> Result<Profile, Failure> {
    let url = parse(&format!("location `{name}`"), url)?;
    Ok(Profile {
        name,
        url,
        read_only,
    })
}

fn parse(doing: &str, url: &str) -> Result<StoreUrl, Failure> {
    StoreUrl::parse(url).map_err(|error| Failure::caused(Exit::Usage, doing, error))
}

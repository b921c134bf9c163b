//! `backup browse`.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_apiserver::{ApiServer, Options};
use salvor_archive::limits::Limits;
use salvor_objects::source;

use crate::args::backup::BrowseArgs;
use crate::args::etcd_objects::ServeArgs;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Serves a backup over the Kubernetes API, on this machine only, until Ctrl-C.
pub(crate) async fn run(args: &BrowseArgs, session: &Session) -> Result<Exit, Failure> {
    let BrowseArgs { name, serve } = args;
    let location = session.location_of(Some(name)).await?;
    let record = location.backup(&read::backup_name(name)?).await?;
    let opened = source::open(&location, &record, Limits::default()).await?;
    if let Some(problem) = &opened.index_problem {
        let text = session.messages.index_unusable(name, problem);
        session.printer.warning(&text);
    }
    let version = record
        .backup
        .metadata
        .annotations
        .get(labels::SOURCE_GIT_VERSION)
        .cloned();
    let server = tokio::task::spawn_blocking(move || {
        let defaults = Options::default();
        let options = Options {
            version: version.unwrap_or(defaults.version),
            ..defaults
        };
        ApiServer::archive(opened.archive, options)
    })
    .await
    .map_err(|error| Failure::caused(Exit::Internal, "open the backup", error))?
    .map_err(|error| read::damaged(&format!("backup `{name}`"), error))?;
    let name = &record.name;
    self::serve(server, name, serve, session).await
}

/// Serves an API on this machine only, until Ctrl-C, and says how kubectl reaches it.
pub(super) async fn serve(
    server: ApiServer,
    name: &BackupName,
    args: &ServeArgs,
    session: &Session,
) -> Result<Exit, Failure> {
    let ServeArgs {
        port,
        write_kubeconfig,
    } = args;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|error| {
            Failure::caused(Exit::Internal, format!("listen on {address}"), error)
                .hint("choose another port with --port, or leave it out")
        })?;
    let handle = server
        .serve(listener)
        .map_err(|error| Failure::caused(Exit::Internal, "serve the backup", error))?;
    let kubeconfig = Kubeconfig::write(
        write_kubeconfig.as_deref(),
        &handle.kubeconfig(&format!("salvor-{name}")),
    )?;
    let path = kubeconfig.path.display();
    session
        .printer
        .remark(&session.messages.browsing(name.as_str()));
    session.printer.remark(&session.messages.try_this());
    session.printer.result(&format!(
        "kubectl --kubeconfig {path} get all --all-namespaces\n"
    ))?;
    session.cancel.cancelled().await;
    handle.shutdown().await;
    Ok(Exit::Done)
}

/// The file that kubectl is pointed at; removed at the end.
struct Kubeconfig {
    path: PathBuf,
}

impl Kubeconfig {
    fn write(path: Option<&Path>, text: &str) -> Result<Self, Failure> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => std::env::temp_dir().join(format!("salvor-browse-{}", std::process::id())),
        };
        let doing = format!("write kubeconfig {}", path.display());
        let failed = |error: std::io::Error| {
            let hint = if error.kind() == std::io::ErrorKind::AlreadyExists {
                "name another file with --write-kubeconfig"
            } else {
                ""
            };
            Failure::caused(Exit::Internal, doing.clone(), error).hint(hint)
        };
        // Created anew, so that no link of another user is followed.
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)?;
        Ok(Self { path })
    }
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

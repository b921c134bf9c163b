//! `backup export`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use salvor_api::filter::IncludesExcludes;
use salvor_api::resource::GroupResource;
use salvor_archive::ArchiveError;
use salvor_archive::archive::Archive;
use salvor_objects::restore::Source;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::args::backup::ExportArgs;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::output::progress::Progress;
use crate::output::structured;
use crate::session::Session;

/// What the server sets and what means nothing elsewhere.
const SERVER_FIELDS: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// Writes the objects of a backup as YAML.
pub(crate) async fn run(args: &ExportArgs, session: &Session) -> Result<Exit, Failure> {
    let ExportArgs {
        name,
        output,
        include_namespaces,
        include_resources,
        raw,
        damage,
    } = args;
    let location = session.location_of(Some(name)).await?;
    let backup = read::backup_name(name)?;
    let selection = Selection {
        namespaces: compile("--include-namespaces", include_namespaces)?,
        resources: compile("--include-resources", include_resources)?,
        raw: *raw,
    };
    let source = read::source(&location, &backup, *damage, session).await?;
    for oddity in &source.oddities {
        let text = session.messages.archive_is_odd(name, oddity);
        session.printer.warning(&text);
    }
    let lost = lost_of(&source, &selection);
    let to_stdout = output.as_os_str() == "-";
    let folder = output.clone();
    let cancel = session.cancel.clone();
    let archive = source.archive.clone();
    let written = tokio::task::spawn_blocking(move || {
        if to_stdout {
            let mut sink = StandardOutput { first: true };
            write_all(&archive, &selection, &mut sink, &cancel)
        } else {
            let mut sink = Folder::new(&folder)?;
            write_all(&archive, &selection, &mut sink, &cancel)?;
            Ok(sink.finish()?)
        }
    })
    .await
    .map_err(|error| Failure::caused(Exit::Internal, "export", error))?;
    let written = match written {
        Ok(written) => written,
        Err(Stopped::Archive(error)) => return Err(source.stopped_by(error).await.into()),
        Err(Stopped::Otherwise(failure)) => return Err(failure),
    };
    if !to_stdout {
        let text = session
            .messages
            .exported(written, &output.display().to_string());
        session.printer.remark(&text);
    }
    for object in &lost {
        session
            .printer
            .warning(&session.messages.not_exported(object));
    }
    let is_whole = source.damage.as_ref().is_none_or(|d| d.is_exact) && lost.is_empty();
    Ok(if is_whole { Exit::Done } else { Exit::Partial })
}

/// Objects that were asked for and are lost in a damaged archive, each with the reason.
fn lost_of(source: &Source, selection: &Selection) -> Vec<String> {
    let lost = source.damage.iter().flat_map(|damage| &damage.lost);
    lost.filter(|lost| {
        selection.wants(
            &lost.key.resource,
            lost.key.namespace.as_deref(),
            &lost.key.name,
        )
    })
    .map(|lost| {
        format!(
            "{} {}: {}",
            lost.key.resource,
            lost.key.scoped_name(),
            lost.reason
        )
    })
    .collect()
}

/// What ended an export before its end.
enum Stopped {
    /// The archive cannot be read.
    Archive(ArchiveError),
    /// Anything else.
    Otherwise(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Otherwise(failure)
    }
}

struct Selection {
    namespaces: IncludesExcludes,
    resources: IncludesExcludes,
    raw: bool,
}

impl Selection {
    fn wants(&self, resource: &GroupResource, namespace: Option<&str>, name: &str) -> bool {
        let resource = resource.to_string();
        self.resources.should_include(&resource)
            && match namespace {
                Some(namespace) => self.namespaces.should_include(namespace),
                None if resource == "namespaces" => self.namespaces.should_include(name),
                None => self.namespaces.includes_everything(),
            }
    }
}

fn compile(flag: &str, globs: &[String]) -> Result<IncludesExcludes, Failure> {
    IncludesExcludes::new(globs, &[]).map_err(|error| Failure::usage(format!("{flag}: {error}")))
}

/// Receives documents in order of resource, namespace and name.
trait Sink {
    fn document(
        &mut self,
        resource: &str,
        namespace: Option<&str>,
        yaml: &str,
    ) -> Result<(), Failure>;
}

fn write_all(
    archive: &Archive,
    selection: &Selection,
    sink: &mut dyn Sink,
    cancel: &CancellationToken,
) -> Result<u64, Stopped> {
    let index = archive.index();
    let total = index.object_count();
    let mut progress = Progress::begin("export");
    let mut written = 0;
    for entry in index.iter().filter(salvor_archive::index::Entry::preferred) {
        if cancel.is_cancelled() {
            return Err(Failure::new(Exit::Cancelled, "export: cancelled").into());
        }
        if !selection.wants(entry.resource(), entry.namespace(), entry.name()) {
            continue;
        }
        let resource = entry.resource().to_string();
        let bytes = archive.get(&entry).map_err(Stopped::Archive)?;
        let mut object: Value = serde_json::from_slice(&bytes).map_err(|error| {
            let what = format!("read {resource} {}", entry.key().scoped_name());
            Failure::caused(Exit::VerificationFailed, what, error)
        })?;
        if !selection.raw {
            neaten(&mut object);
        }
        sink.document(&resource, entry.namespace(), &structured::yaml(&object)?)?;
        written += 1;
        progress.update(written, total, &resource);
    }
    Ok(written)
}

/// Drops status, what the server sets, and owners, which have other UIDs elsewhere.
fn neaten(object: &mut Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    map.remove("status");
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in SERVER_FIELDS {
            metadata.remove(field);
        }
        metadata.remove("ownerReferences");
        let applied = "kubectl.kubernetes.io/last-applied-configuration";
        let empty = match metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
        {
            Some(annotations) => {
                annotations.remove(applied);
                Map::is_empty(annotations)
            }
            None => false,
        };
        if empty {
            metadata.remove("annotations");
        }
    }
}

struct StandardOutput {
    first: bool,
}

impl Sink for StandardOutput {
    fn document(&mut self, _: &str, _: Option<&str>, yaml: &str) -> Result<(), Failure> {
        let separator = if self.first { "" } else { "---\n" };
        self.first = false;
        let mut out = io::stdout().lock();
        let written = out
            .write_all(separator.as_bytes())
            .and_then(|()| out.write_all(yaml.as_bytes()));
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            other => other.map_err(|error| {
                Failure::caused(Exit::Internal, "write to standard output", error)
            }),
        }
    }
}

/// `cluster/<resource>.yaml` and `namespaces/<namespace>/<resource>.yaml`, private to the user.
struct Folder {
    root: PathBuf,
    open: Option<(PathBuf, BufWriter<File>)>,
    written: u64,
}

impl Folder {
    fn new(root: &Path) -> Result<Self, Failure> {
        let doing = format!("export to {}", root.display());
        let failed = |error: io::Error| Failure::caused(Exit::Internal, doing.clone(), error);
        make_folder(root).map_err(failed)?;
        if std::fs::read_dir(root).map_err(failed)?.next().is_some() {
            return Err(
                Failure::new(Exit::Refused, format!("{doing}: the folder is not empty"))
                    .hint("choose a new folder"),
            );
        }
        Ok(Self {
            root: root.to_owned(),
            open: None,
            written: 0,
        })
    }

    fn finish(mut self) -> Result<u64, Failure> {
        self.close()?;
        Ok(self.written)
    }

    fn close(&mut self) -> Result<(), Failure> {
        if let Some((path, mut file)) = self.open.take() {
            file.flush()
                .and_then(|()| file.get_ref().sync_all())
                .map_err(|error| write_failed(&path, error))?;
        }
        Ok(())
    }
}

impl Sink for Folder {
    fn document(
        &mut self,
        resource: &str,
        namespace: Option<&str>,
        yaml: &str,
    ) -> Result<(), Failure> {
        // Names in an archive may be hostile: a part of a path must stay a part.
        for part in [resource, namespace.unwrap_or_default()] {
            if part == "." || part == ".." || part.contains(['/', '\0']) {
                return Err(Failure::new(
                    Exit::VerificationFailed,
                    format!("export: `{part}` cannot be a file name"),
                ));
            }
        }
        let folder = match namespace {
            Some(namespace) => self.root.join("namespaces").join(namespace),
            None => self.root.join("cluster"),
        };
        let path = folder.join(format!("{resource}.yaml"));
        let mut separator = "---\n";
        if self.open.as_ref().is_none_or(|(open, _)| *open != path) {
            self.close()?;
            make_folder(&folder).map_err(|error| write_failed(&folder, error))?;
            let existed = path.exists();
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&path)
                .map_err(|error| write_failed(&path, error))?;
            if !existed {
                separator = "";
            }
            self.open = Some((path.clone(), BufWriter::new(file)));
        }
        if let Some((_, file)) = &mut self.open {
            file.write_all(separator.as_bytes())
                .and_then(|()| file.write_all(yaml.as_bytes()))
                .map_err(|error| write_failed(&path, error))?;
        }
        self.written += 1;
        Ok(())
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write_failed(path: &Path, error: io::Error) -> Failure {
    Failure::caused(Exit::Internal, format!("write {}", path.display()), error)
}

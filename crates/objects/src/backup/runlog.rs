//! The log of a run, as it is stored beside the backup: JSON lines, compressed as they come, with the run's
//! id in each. Warnings and errors are counted here and kept for the results file.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_archive::files::{ResultSet, Results};
use salvor_seal::{Spool, SpoolReader};
use serde::Serialize;

/// Messages of one weight that the results file holds; the log holds all.
const MOST_RESULTS: usize = 20_000;

/// What a message is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum About<'a> {
    /// The run itself.
    Run,
    /// A resource, in one namespace or in all.
    Resource(&'a GroupResource, Option<&'a str>),
    /// A namespace.
    Namespace(&'a str),
    /// One object.
    Object(&'a ObjectKey),
}

/// What a run is of, with its namespace and name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Subject {
    /// A backup.
    Backup(String),
    /// A restore.
    Restore(String),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Backup(name) | Self::Restore(name)) = self;
        f.write_str(name)
    }
}

/// The log.
#[derive(Debug)]
pub(crate) struct RunLog {
    subject: Subject,
    run: String,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    out: GzEncoder<Spool>,
    broken: Option<io::Error>,
    warnings: u64,
    errors: u64,
    results: Results,
}

/// What a log amounts to.
#[derive(Debug)]
pub(crate) struct FinishedLog {
    /// The compressed text, from its start.
    pub(crate) file: SpoolReader,
    pub(crate) warnings: u64,
    pub(crate) errors: u64,
    pub(crate) results: Results,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'static str,
    msg: &'a str,
    #[serde(flatten)]
    subject: &'a Subject,
    run: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl RunLog {
    /// An empty log in a spool: messages of a cluster may quote what nobody else should read.
    pub(crate) fn new(subject: Subject, run: String) -> io::Result<Self> {
        Ok(Self {
            subject,
            run,
            inner: Mutex::new(Inner {
                out: GzEncoder::new(Spool::new()?, Compression::fast()),
                broken: None,
                warnings: 0,
                errors: 0,
                results: Results::default(),
            }),
        })
    }

    pub(crate) fn info(&self, about: About<'_>, msg: &str) {
        self.write("info", about, msg);
    }

    pub(crate) fn warn(&self, about: About<'_>, msg: &str) {
        tracing::warn!(subject = %self.subject, run = %self.run, "{}", say(about, msg));
        self.write("warning", about, msg);
        let mut inner = self.lock();
        inner.warnings += 1;
        let first = inner.warnings as usize <= MOST_RESULTS;
        keep(&mut inner.results.warnings, about, msg, first);
    }

    pub(crate) fn error(&self, about: About<'_>, msg: &str) {
        tracing::error!(subject = %self.subject, run = %self.run, "{}", say(about, msg));
        self.write("error", about, msg);
        let mut inner = self.lock();
        inner.errors += 1;
        let first = inner.errors as usize <= MOST_RESULTS;
        keep(&mut inner.results.errors, about, msg, first);
    }

    /// Errors so far.
    pub(crate) fn errors(&self) -> u64 {
        self.lock().errors
    }

    fn write(&self, level: &'static str, about: About<'_>, msg: &str) {
        let (resource, namespace, name) = match about {
            About::Run => (None, None, None),
            About::Resource(resource, namespace) => (Some(resource.to_string()), namespace, None),
            About::Namespace(namespace) => (None, Some(namespace), None),
            About::Object(key) => (
                Some(key.resource.to_string()),
                key.namespace.as_deref(),
                Some(key.name.as_str()),
            ),
        };
        let line = Line {
            time: jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
                .to_string(),
            level,
            msg,
            subject: &self.subject,
            run: &self.run,
            resource,
            namespace,
            name,
        };
        let mut inner = self.lock();
        let written = serde_json::to_writer(&mut inner.out, &line)
            .map_err(io::Error::from)
            .and_then(|()| inner.out.write_all(b"\n"));
        if let Err(error) = written {
            // Told when the log is finished; the backup itself goes on.
            inner.broken.get_or_insert(error);
        }
    }

    /// Ends the log.
    ///
    /// # Errors
    /// The temporary file could not be written.
    pub(crate) fn finish(&self) -> io::Result<FinishedLog> {
        let mut inner = self.lock();
        let empty = GzEncoder::new(Spool::new()?, Compression::fast());
        let out = std::mem::replace(&mut inner.out, empty);
        if let Some(error) = inner.broken.take() {
            return Err(error);
        }
        let file = out.finish()?.into_reader();
        let mut results = std::mem::take(&mut inner.results);
        for (count, set) in [
            (inner.warnings, &mut results.warnings),
            (inner.errors, &mut results.errors),
        ] {
            let more = count.saturating_sub(MOST_RESULTS as u64);
            if more > 0 {
                set.add_velero(format!("and {more} more, which are in the log"));
            }
        }
        Ok(FinishedLog {
            file,
            warnings: inner.warnings,
            errors: inner.errors,
            results,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic between two statements here leaves at worst a line cut short.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn say(about: About<'_>, msg: &str) -> String {
    match about {
        About::Run => msg.to_owned(),
        About::Resource(resource, None) => format!("{resource}: {msg}"),
        About::Resource(resource, Some(namespace)) => {
            format!("{resource} in namespace {namespace}: {msg}")
        }
        About::Namespace(namespace) => format!("namespace {namespace}: {msg}"),
        About::Object(key) => format!("{key}: {msg}"),
    }
}

fn keep(set: &mut ResultSet, about: About<'_>, msg: &str, room: bool) {
    if !room {
        return;
    }
    let text = say(about, msg);
    match about {
        About::Run => set.add_velero(text),
        About::Resource(_, namespace) => set.add(namespace, text),
        About::Namespace(namespace) => set.add(Some(namespace), text),
        About::Object(key) => set.add(key.namespace.as_deref(), text),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn every_line_has_the_run_and_results_hold_what_is_not_information() {
        let log = RunLog::new(Subject::Backup("velero/b".into()), "run-1".into())
            .expect("temporary file");
        let key = ObjectKey::namespaced(GroupResource::new("pods", ""), "shop", "web");
        log.info(About::Run, "began");
        log.warn(About::Object(&key), "odd \"name\"");
        log.error(About::Resource(&key.resource, None), "forbidden");
        let finished = log.finish().expect("finish");
        assert_eq!((finished.warnings, finished.errors), (1, 1));
        assert_eq!(
            finished.results.warnings.namespaces["shop"],
            ["pods shop/web: odd \"name\""]
        );
        assert_eq!(finished.results.errors.cluster, ["pods: forbidden"]);
        let mut text = String::new();
        flate2::read::GzDecoder::new(finished.file)
            .read_to_string(&mut text)
            .expect("gzip");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).expect("JSON line"))
            .collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines
                .iter()
                .all(|l| l["run"] == "run-1" && l["backup"] == "velero/b")
        );
        assert_eq!(lines[1]["name"], "web");
    }
}

//! `etcd install`: files that make a host or a cluster take snapshots and capture changes by itself. Nothing is started here.

mod calendar;
mod pods;
mod units;

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::args::etcd_install::{EtcdInstallArgs, Form, Job};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Variables by which the clouds' libraries find credentials.
const CREDENTIALS: [&str; 3] = [
    "AWS_SHARED_CREDENTIALS_FILE",
    "AZURE_CREDENTIALS_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// A file.
#[derive(Debug)]
struct Rendered {
    name: &'static str,
    text: String,
}

impl Rendered {
    fn new(name: &'static str, text: String) -> Self {
        Self { name, text }
    }
}

/// What is to run.
struct Jobs<'a> {
    args: &'a EtcdInstallArgs,
    location: &'a str,
    namespace: Option<&'a str>,
}

/// Prints the files, or writes them.
pub(super) fn run(args: &EtcdInstallArgs, session: &Session) -> Result<Exit, Failure> {
    let location = session.global.location.as_deref().ok_or_else(|| {
        Failure::usage("no location is named")
            .hint("name one of the configuration that the jobs will have, with --location")
    })?;
    let jobs = Jobs {
        args,
        location,
        namespace: session.global.namespace.as_deref(),
    };
    jobs.check()?;
    let files = match args.form {
        Form::Timer => units::rendered(&jobs)?,
        Form::StaticPod => pods::of_kubelet(&jobs)?,
        Form::Cronjob => pods::of_cluster(&jobs, session.namespace())?,
    };
    match &args.output_dir {
        Some(folder) => {
            for file in &files {
                write(folder, file, args.replace)?;
                let path = folder.join(file.name).display().to_string();
                session.printer.result(&format!("{path}\n"))?;
            }
        }
        None => session.printer.result(&printed(&files, args.form))?,
    }
    let next = session.messages.etcd_install_next(match args.form {
        Form::Timer => "/etc/systemd/system: systemctl daemon-reload && systemctl enable --now salvor-etcd-snapshot.timer salvor-etcd-stream.service",
        Form::StaticPod => "/etc/kubernetes/manifests",
        Form::Cronjob => "kubectl apply -f",
    });
    session.printer.note(&next);
    Ok(Exit::Done)
}

fn printed(files: &[Rendered], form: Form) -> String {
    let texts: Vec<String> = files
        .iter()
        .map(|file| match form {
            Form::Timer => format!("# {}\n{}", file.name, file.text),
            Form::StaticPod | Form::Cronjob => file.text.clone(),
        })
        .collect();
    texts.join(match form {
        Form::Timer => "\n",
        Form::StaticPod | Form::Cronjob => "---\n",
    })
}

/// Writes a file beside its place and renames it; one that is there with other content is kept unless it may be replaced.
fn write(folder: &Path, file: &Rendered, replace: bool) -> Result<(), Failure> {
    let path = folder.join(file.name);
    let failed =
        |error| Failure::caused(Exit::Internal, format!("write {}", path.display()), error);
    match std::fs::read_to_string(&path) {
        Ok(there) if there == file.text => return Ok(()),
        Ok(_) if !replace => {
            let text = format!("{} is there with other content", path.display());
            return Err(Failure::new(Exit::Refused, text)
                .hint("look at what differs, and replace it with --replace"));
        }
        _ => {}
    }
    std::fs::create_dir_all(folder).map_err(failed)?;
    // A kubelet passes over names that begin with a dot.
    let beside = folder.join(format!(".{}.part", file.name));
    let written = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&beside)
        .and_then(|mut open| {
            open.write_all(file.text.as_bytes())
                .and_then(|()| open.sync_all())
        })
        .and_then(|()| std::fs::rename(&beside, &path));
    written.map_err(failed)
}

impl Jobs<'_> {
    /// Refuses what would not work, or would show a secret.
    fn check(&self) -> Result<(), Failure> {
        let credentials = &self.args.access.credentials;
        if credentials
            .user
            .as_deref()
            .is_some_and(|user| user.contains(':'))
        {
            return Err(Failure::usage(
                "a password would stand in the files: give --user NAME and --password-file",
            ));
        }
        let own = [self.args.settings.as_path(), self.args.program.as_path()];
        for path in self.files().chain(own) {
            if !path.is_absolute() {
                return Err(Failure::usage(format!(
                    "{} must be a whole path: the jobs run elsewhere",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// Files that the jobs read.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let access = &self.args.access;
        let files = [
            &access.credentials.cacert,
            &access.credentials.cert,
            &access.credentials.key,
            &access.credentials.password_file,
        ];
        files.into_iter().filter_map(|file| file.as_deref())
    }

    fn has_snapshot(&self) -> bool {
        self.args.jobs.contains(&Job::Snapshot)
    }

    fn has_stream(&self) -> bool {
        self.args.jobs.contains(&Job::Stream)
    }

    fn snapshot(&self, schedule: Option<&str>) -> Vec<String> {
        let mut words = self.words(&["snapshot", "save", "--reason", "scheduled"]);
        words.extend(schedule.map(|schedule| format!("--schedule={schedule}")));
        words
    }

    fn stream(&self) -> Vec<String> {
        self.words(&["stream"])
    }

    fn words(&self, command: &[&str]) -> Vec<String> {
        let config = self.args.settings.join("config.yaml").display().to_string();
        let mut words = vec!["--config-file".to_owned(), config];
        words.extend(["--location", self.location, "etcd"].map(str::to_owned));
        words.extend(command.iter().map(|word| (*word).to_owned()));
        let access = &self.args.access;
        words.extend(["--endpoints".to_owned(), access.endpoints.join(",")]);
        for (flag, file) in [
            ("--cacert", &access.credentials.cacert),
            ("--cert", &access.credentials.cert),
            ("--key", &access.credentials.key),
            ("--password-file", &access.credentials.password_file),
        ] {
            if let Some(file) = file {
                words.extend([flag.to_owned(), file.display().to_string()]);
            }
        }
        if let Some(user) = &access.credentials.user {
            words.extend(["--user".to_owned(), user.clone()]);
        }
        let work = match self.args.form {
            Form::Timer => units::WORK,
            Form::StaticPod | Form::Cronjob => self.work(),
        };
        words.extend(["--work-dir".to_owned(), work.to_owned()]);
        words
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let file = self.args.credentials.as_ref();
        let file = file.map(|name| self.args.settings.join(name).display().to_string());
        file.map_or_else(Vec::new, |file| {
            CREDENTIALS.map(|name| (name, file.clone())).into()
        })
    }

    fn no_interval(&self) -> Failure {
        let text = format!(
            "`{}` is an interval, and what starts the jobs knows times of the day",
            self.args.schedule
        );
        Failure::usage(text)
            .hint("write it as five fields, such as `0 */6 * * *`, or take --as static-pod")
    }
}

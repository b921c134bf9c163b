//! Backup, restore and browse of many objects, measured against what the same API servers can do.
//!
//! A real API server is filled, which measures its capacity of creates; its lists are paged raw, which is
//! the limit of a backup; then the release binary backs it up, restores into a second API server, and serves
//! the backup to kubectl. Programs are measured from outside, by what the kernel counts for their process.
//!
//! What is compared is checked first: a backup that is not `Completed` with every object in it, or a restore
//! that leaves one out, is an error and no figure. Nothing here fails because of a figure.

mod browse;
mod client;
mod fill;
mod generate;
mod options;
mod paging;
mod process;
mod report;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::client::Plain;
use crate::fill::Filled;
use crate::generate::{COLLECTIONS, Recipe};
use crate::options::Options;
use crate::paging::Paged;
use crate::process::Used;
use crate::report::{Circumstances, Goal, Line};

/// An error is a sentence for the person at the terminal.
pub(crate) type Outcome<T> = Result<T, String>;

/// Lists that a backup reads at once.
const PAGERS: usize = 4;
/// Creates that measure the capacity when the first cluster was filled by an earlier run.
const SAMPLE: u64 = 5_000;
const MEBIBYTE: f64 = 1_048_576.0;

fn main() -> ExitCode {
    let outcome = Options::parse(std::env::args().skip(1)).and_then(|options| {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("start the runtime: {error}"))?
            .block_on(Box::pin(bench(&options)))
    });
    match outcome {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that the steps share.
struct Bench {
    options: Options,
    recipe: Recipe,
    salvor: PathBuf,
    folder: PathBuf,
}

/// Medians of the backups and of the raw pagings between them.
struct BackedUp {
    paged: Paged,
    used: Used,
    archive_bytes: u64,
    name: String,
}

async fn bench(options: &Options) -> Outcome<String> {
    let circumstances = Circumstances::now();
    let kubeconfig = |variable: &str| {
        std::env::var_os(variable).map(PathBuf::from).ok_or(format!(
            "{variable} is not set: run with --testbed, or name a cluster that may be filled\n\n{}",
            options::USAGE
        ))
    };
    let first = kubeconfig("SALVOR_E2E_KUBECONFIG")?;
    let second = match options.restore {
        true => Some(kubeconfig("SALVOR_E2E_KUBECONFIG_2")?),
        false => None,
    };
    let temporary = tempfile::tempdir().map_err(|error| format!("make a folder: {error}"))?;
    let folder = match &options.folder {
        Some(folder) => std::path::absolute(folder)
            .and_then(|folder| std::fs::create_dir_all(&folder).map(|()| folder))
            .map_err(|error| format!("make folder {}: {error}", folder.display()))?,
        None => temporary.path().to_path_buf(),
    };
    let bench = Bench {
        options: options.clone(),
        recipe: Recipe {
            prefix: "bench".to_owned(),
            large_every: options.large_every,
        },
        salvor: match &options.salvor {
            Some(program) => program.clone(),
            None => build()?,
        },
        folder,
    };
    let mut data = Vec::new();
    let mut lines = Vec::new();

    let cluster = Plain::from_kubeconfig(&first)?;
    let mut capacity = None;
    if options.reuse {
        data.push(("objects", format!("{} of an earlier run", options.count)));
    } else {
        let filled = bench.fill(&cluster, 0..options.count).await?;
        data.push(("objects", describe(&filled, options)));
        capacity = Some(filled.capacity);
    }
    bench.check_objects("the first cluster", &cluster).await?;

    let backed_up = bench.back_up(&cluster, &first).await?;
    data.push(("lists", describe_lists(&backed_up, options)));
    lines.extend(backup_lines(&backed_up));
    if options.browse {
        let (salvor, folder) = (&bench.salvor, &bench.folder);
        let browsed = browse::measure(salvor, &bench.location()?, &backed_up.name, folder).await?;
        lines.extend(browse_lines(&browsed));
    }

    if let Some(second) = &second {
        let cluster = Plain::from_kubeconfig(second)?;
        let capacity = match capacity {
            Some(capacity) => capacity,
            None => bench.sample_capacity(&cluster).await?,
        };
        let used = bench.restore(&backed_up.name, second).await?;
        bench.check_objects("the second cluster", &cluster).await?;
        lines.extend(restore_lines(&used, options.count, capacity));
    }
    Ok(report::render(
        &circumstances,
        &data,
        &lines,
        !options.smoke,
    ))
}

impl Bench {
    async fn fill(&self, cluster: &Plain, numbers: std::ops::Range<u64>) -> Outcome<Filled> {
        say(&format!("creating {} objects", numbers.end - numbers.start));
        fill::prepare(cluster, &self.recipe).await?;
        fill::fill(cluster, &self.recipe, numbers).await
    }

    /// The rate of creates in the second cluster, by objects that the backup does not have.
    async fn sample_capacity(&self, cluster: &Plain) -> Outcome<f64> {
        let recipe = Recipe {
            prefix: "sample".to_owned(),
            ..self.recipe.clone()
        };
        say("measuring how fast objects can be created");
        fill::prepare(cluster, &recipe).await?;
        let filled = fill::fill(cluster, &recipe, 0..SAMPLE.min(self.options.count)).await?;
        // The restore shall find neither the definition nor the objects.
        let crd = format!(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}",
            generate::CRD_NAME
        );
        let namespaces = recipe
            .namespaces()
            .map(|name| format!("/api/v1/namespaces/{name}"));
        let paths: Vec<String> = namespaces.chain([crd]).collect();
        for path in &paths {
            cluster.delete(path).await?;
        }
        for path in &paths {
            let is_gone = async || cluster.is_missing(path).await;
            fill::wait_until(&format!("{path} is gone"), is_gone).await?;
        }
        Ok(filled.capacity)
    }

    /// Counts the objects of the benchmark that a cluster holds; all must be there.
    async fn check_objects(&self, what: &str, cluster: &Plain) -> Outcome<()> {
        let mut found = 0;
        let mut counts = Vec::new();
        for collection in &COLLECTIONS {
            let mut count = 0;
            for namespace in self.recipe.namespaces() {
                let path = collection.path(&namespace);
                count += cluster.count(&path, collection.made_by_cluster).await?;
            }
            found += count;
            counts.push(format!("{count} {}s", collection.kind));
        }
        let counts = counts.join(", ");
        if found == self.options.count {
            say(&format!("{what} holds {counts}"));
            Ok(())
        } else {
            Err(format!(
                "{what} holds {found} objects of the benchmark instead of {} ({counts})",
                self.options.count
            ))
        }
    }

    /// Backups and raw pagings in turn, so that both see the same machine.
    async fn back_up(&self, cluster: &Plain, kubeconfig: &Path) -> Outcome<BackedUp> {
        let lists = paging::lists(kubeconfig).await?;
        let mut pagings = Vec::new();
        let mut backups = Vec::new();
        let mut last = String::new();
        for round in 1..=self.options.rounds {
            say(&format!("round {round} of {}", self.options.rounds));
            let paged = paging::page(cluster, &lists, PAGERS).await?;
            say(&format!("raw paging: {:.2} s", paged.elapsed.as_secs_f64()));
            pagings.push(paged);
            if !last.is_empty() {
                let backup = self.folder.join("location/backups").join(&last);
                std::fs::remove_dir_all(&backup)
                    .map_err(|error| format!("remove {}: {error}", backup.display()))?;
            }
            last = format!("bench-{round}");
            let mut command = self.salvor_on(kubeconfig)?;
            command.args(["backup", "create", &last]);
            let used = process::run(&mut command, &self.folder.join("backup.log")).await?;
            say(&format!("backup: {:.2} s", used.wall.as_secs_f64()));
            backups.push(used);
        }
        self.check_backup(&last)?;
        let archive = self
            .folder
            .join(format!("location/backups/{last}/{last}.tar.gz"));
        let archive_bytes = std::fs::metadata(&archive)
            .map_err(|error| format!("look at {}: {error}", archive.display()))?
            .len();
        pagings.sort_by_key(|paged| paged.elapsed);
        backups.sort_by_key(|used| used.wall);
        let peak = backups.iter().map(|used| used.peak_rss_bytes).max();
        let median = pagings.len() / 2;
        Ok(BackedUp {
            paged: pagings[median],
            used: Used {
                peak_rss_bytes: peak.unwrap_or_default(),
                ..backups[median]
            },
            archive_bytes,
            name: last,
        })
    }

    /// A fast backup that left something out is no backup.
    fn check_backup(&self, name: &str) -> Outcome<()> {
        let path = self
            .folder
            .join(format!("location/backups/{name}/velero-backup.json"));
        let text =
            std::fs::read(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
        let backup: salvor_api::velero::Backup = serde_json::from_slice(&text)
            .map_err(|error| format!("read {}: {error}", path.display()))?;
        let phase = backup.status.phase;
        let items = backup.status.progress.map_or(0, |p| p.items_backed_up);
        if phase == salvor_api::velero::BackupPhase::Completed
            && u64::try_from(items).is_ok_and(|items| items >= self.options.count)
        {
            Ok(())
        } else {
            Err(format!(
                "the backup is {phase} with {items} objects; log:\n{}",
                process::tail(&self.folder.join("backup.log"))
            ))
        }
    }

    async fn restore(&self, backup: &str, kubeconfig: &Path) -> Outcome<Used> {
        let mut command = self.salvor_on(kubeconfig)?;
        command.args([
            "restore",
            "create",
            "bench",
            "--from-backup",
            backup,
            "--yes",
        ]);
        process::run(&mut command, &self.folder.join("restore.log")).await
    }

    fn location(&self) -> Outcome<String> {
        let folder = self.folder.join("location");
        let folder = folder
            .to_str()
            .ok_or_else(|| format!("{} is not UTF-8", folder.display()))?;
        Ok(format!("file://{folder}"))
    }

    fn salvor_on(&self, kubeconfig: &Path) -> Outcome<Command> {
        let mut command = Command::new(&self.salvor);
        command.arg("--kubeconfig").arg(kubeconfig);
        command.args(["--location", &self.location()?, "--lang", "en"]);
        Ok(command)
    }
}

/// Builds the binary that users get, with the cargo and the folder that built this program.
fn build() -> Outcome<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args([
        "build",
        "--release",
        "--package",
        "salvor",
    ]);
    // What cargo told this program about its package is no reason to build dependencies anew.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let status = command
        .status()
        .map_err(|error| format!("start cargo: {error}"))?;
    if !status.success() {
        return Err(format!("build salvor: {status}"));
    }
    let this = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    // An example is built into `release/examples`, the binary into `release`.
    let release = this.ancestors().find(|folder| folder.ends_with("release"));
    let program = release
        .map(|release| release.join("salvor"))
        .filter(|program| program.is_file());
    program.ok_or_else(|| {
        format!(
            "no `salvor` beside {}: name it with --salvor",
            this.display()
        )
    })
}

fn describe(filled: &Filled, options: &Options) -> String {
    let Filled {
        capacity,
        concurrency,
        bytes,
        repeated,
        trials,
    } = filled;
    let trials: Vec<String> = trials
        .iter()
        .map(|(concurrency, rate)| format!("{concurrency}: {rate:.0}/s"))
        .collect();
    format!(
        "{} in {} namespaces, every {}th of 1 MB, {:.1} MB as sent; {capacity:.0} creates/s at {concurrency} \
         at once ({}), {repeated} repeated",
        options.count,
        generate::NAMESPACES,
        options.large_every,
        *bytes as f64 / 1e6,
        trials.join(", ")
    )
}

fn describe_lists(backed_up: &BackedUp, options: &Options) -> String {
    format!(
        "{:.3} GB of JSON in {} pages, {PAGERS} lists at once; median of {} rounds, most memory of all; \
         archive of {:.3} GB",
        backed_up.paged.bytes as f64 / 1e9,
        backed_up.paged.pages,
        options.rounds,
        backed_up.archive_bytes as f64 / 1e9,
    )
}

fn backup_lines(backed_up: &BackedUp) -> Vec<Line> {
    let BackedUp { paged, used, .. } = backed_up;
    let (ours, limit) = (used.wall.as_secs_f64(), paged.elapsed.as_secs_f64());
    let gigabytes = paged.bytes as f64 / 1e9;
    vec![
        Line {
            what: "backup, time",
            ours: format!("{ours:.2} s"),
            limit: format!("raw paging {limit:.2} s"),
            figure: ours / limit,
            unit: "x",
            goal: Some(Goal::AtMost(1.3)),
        },
        Line {
            what: "backup, processor",
            ours: format!("{:.2} core-s", used.cpu_seconds),
            limit: format!("{gigabytes:.3} GB"),
            figure: used.cpu_seconds / gigabytes,
            unit: " core-s/GB",
            goal: Some(Goal::AtMost(6.0)),
        },
        memory_line("backup, peak memory", used.peak_rss_bytes),
    ]
}

fn restore_lines(used: &Used, objects: u64, capacity: f64) -> Vec<Line> {
    let rate = objects as f64 / used.wall.as_secs_f64();
    vec![
        Line {
            what: "restore, objects",
            ours: format!("{rate:.0}/s ({:.2} s)", used.wall.as_secs_f64()),
            limit: format!("creates {capacity:.0}/s"),
            figure: rate / capacity,
            unit: "x",
            goal: Some(Goal::AtLeast(0.8)),
        },
        Line {
            what: "restore, processor",
            ours: format!("{:.2} core-s", used.cpu_seconds),
            limit: String::new(),
            figure: used.cpu_seconds * 1e3 / objects as f64,
            unit: " core-ms/object",
            goal: None,
        },
        memory_line("restore, peak memory", used.peak_rss_bytes),
    ]
}

fn browse_lines(browsed: &browse::Browsed) -> Vec<Line> {
    let seconds = browsed.first_answer.as_secs_f64();
    vec![
        Line {
            what: "browse, first `kubectl get`",
            ours: format!(
                "{seconds:.2} s (serving after {:.2} s)",
                browsed.serving.as_secs_f64()
            ),
            limit: String::new(),
            figure: seconds,
            unit: " s",
            goal: Some(Goal::AtMost(2.0)),
        },
        memory_line("browse, peak memory", browsed.peak_rss_bytes),
    ]
}

fn memory_line(what: &'static str, bytes: u64) -> Line {
    Line {
        what,
        ours: format!("{:.1} MB", bytes as f64 / 1e6),
        limit: String::new(),
        figure: bytes as f64 / MEBIBYTE,
        unit: " MiB",
        goal: what.starts_with("backup").then_some(Goal::AtMost(200.0)),
    }
}

/// A line of progress, with the time since the program began.
fn say(text: &str) {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let elapsed: Duration = START.get_or_init(Instant::now).elapsed();
    eprintln!("[{:6.1} s] {text}", elapsed.as_secs_f64());
}

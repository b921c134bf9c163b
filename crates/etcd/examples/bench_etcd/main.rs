//! `cargo xtask bench etcd`: snapshots here and by etcd's own tools, in paired runs whose order alternates.
//!
//! `--megabytes N` (default 1024), `--rounds N` (default 5), `--folder DIR` (default the system's temporary folder),
//! `--limit-megabytes N` (default a sixteenth of the data, at least 32): after the rounds each step runs once more with so
//! much memory, page cache included, in a memory cgroup; where there is none, with so much data (`ulimit -d`), which the
//! report says. Figures are for the data described in the report; nothing is judged.

mod data;
mod measured;
mod ours;

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use salvor_testkit::process::Server;

use measured::{Limit, Used, measure, median};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A start of etcd on a database of some gigabytes reads all of it.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is measured. The tools have no changes.
const STEPS: [Step; 5] = [
    Step::Save,
    Step::Status,
    Step::Verify,
    Step::Restore,
    Step::Changes,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Save,
    Status,
    Verify,
    Restore,
    Changes,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Save => "save",
            Self::Status => "status",
            Self::Verify => "verify",
            Self::Restore => "restore",
            Self::Changes => "restore with changes, out of a location",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            step => step.name(),
        }
    }

    fn has_peer(self) -> bool {
        !matches!(self, Self::Verify | Self::Changes)
    }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = arguments.as_slice()
        && first == "ours"
    {
        return ours::run(rest);
    }
    Bench::from(&arguments)?.run()
}

struct Bench {
    megabytes: u64,
    rounds: usize,
    folder: PathBuf,
    limit: Option<u64>,
    etcd: PathBuf,
    etcdctl: PathBuf,
    etcdutl: PathBuf,
}

/// What the runs of one side of a step used.
#[derive(Clone, Default)]
struct Figures(Vec<Used>);

impl Figures {
    fn row(&self) -> String {
        let of = |number: fn(&Used) -> f64| median(self.0.iter().map(number).collect());
        let most = |number: fn(&Used) -> u64| self.0.iter().map(number).max().unwrap_or(0);
        format!(
            "{:.2} | {:.2} | {} | {}",
            of(|used| used.wall.as_secs_f64()),
            of(|used| used.cpu_seconds),
            most(|used| used.peak_megabytes),
            most(|used| used.own_megabytes),
        )
    }

    fn seconds(&self) -> f64 {
        median(self.0.iter().map(|used| used.wall.as_secs_f64()).collect())
    }
}

/// What the steps work with.
struct Place {
    work: PathBuf,
    snapshot: PathBuf,
    endpoint: String,
}

impl Bench {
    fn from(arguments: &[String]) -> Outcome<Self> {
        let program = |variable: &str| {
            let path = std::env::var_os(variable).map(PathBuf::from);
            path.ok_or(format!("{variable} does not say where the program is"))
        };
        let mut bench = Self {
            megabytes: 1024,
            rounds: 5,
            folder: std::env::temp_dir(),
            limit: None,
            etcd: program("SALVOR_ETCD_3_5_16")?,
            etcdctl: program("SALVOR_ETCDCTL_3_5_16")?,
            etcdutl: program("SALVOR_ETCDUTL_3_5_16")?,
        };
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--megabytes" => bench.megabytes = value()?.parse()?,
                "--rounds" => bench.rounds = value()?.parse()?,
                "--folder" => bench.folder = value()?.into(),
                "--limit-megabytes" => bench.limit = Some(value()?.parse()?),
                other => return Err(format!("unknown option `{other}`").into()),
            }
        }
        Ok(bench)
    }

    fn run(&self) -> Outcome<()> {
        let work = tempfile::Builder::new()
            .prefix("salvor-bench")
            .tempdir_in(&self.folder)?;
        let work = work.path().to_owned();
        let source = work.join("source.db");
        data::snapshot(&source, self.megabytes << 20)?;
        let (_server, endpoint) = self.start(&work, &source)?;
        std::fs::remove_file(&source)?;
        let place = Place {
            snapshot: work.join("snapshot.db"),
            endpoint,
            work,
        };
        let changes = ours::prepare(&place)?;
        let mut steps = vec![[Figures::default(), Figures::default()]; STEPS.len()];
        for round in 0..self.rounds {
            for (step, figures) in STEPS.iter().zip(&mut steps) {
                let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
                for side in order {
                    if side == 1 && !step.has_peer() {
                        continue;
                    }
                    let used = self.step(*step, side, &place, None)?;
                    let wall = used.wall.as_secs_f64();
                    eprintln!(
                        "round {} {} {}: {wall:.2} s",
                        round + 1,
                        step.name(),
                        SIDES[side]
                    );
                    figures[side].0.push(used);
                }
            }
        }
        let megabytes = self.limit.unwrap_or((self.megabytes / 16).max(32));
        let limit = Limit::of(megabytes);
        let mut limited = Vec::new();
        for step in STEPS {
            for side in [0, 1] {
                if side == 0 || step.has_peer() {
                    let done = self.step(step, side, &place, Some(&limit));
                    let said = done.as_ref().map_or_else(ToString::to_string, |used| {
                        format!("{:.2} s", used.wall.as_secs_f64())
                    });
                    eprintln!("limited: {} {}: {said}", step.name(), SIDES[side]);
                    limited.push((step, side, said));
                }
            }
        }
        self.report(&place, changes, &steps, &limit, &limited);
        Ok(())
    }

    /// Starts etcd on the data. It takes a member's directory, which is made here.
    fn start(&self, work: &Path, source: &Path) -> Outcome<(Server, String)> {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0"));
        let [client, peer] = listeners.map(|listener| {
            let port = listener.and_then(|listener| listener.local_addr())?.port();
            Ok::<_, std::io::Error>(format!("http://127.0.0.1:{port}"))
        });
        let (client, peer) = (client?, peer?);
        let data = work.join("etcd");
        ours::restore(source, &data, "default", &peer)?;
        let mut arguments: Vec<OsString> = vec!["--data-dir".into(), data.into()];
        let rest = [
            ["--listen-client-urls", &client],
            ["--advertise-client-urls", &client],
            ["--listen-peer-urls", &peer],
            ["--initial-advertise-peer-urls", &peer],
            ["--initial-cluster", &format!("default={peer}")],
            ["--quota-backend-bytes", "17179869184"],
        ];
        arguments.extend(rest.as_flattened().iter().map(OsString::from));
        let ready = |line: &str| {
            line.contains("ready to serve client requests")
                .then_some(())
        };
        let program = self.etcd.display().to_string();
        let (server, ()) = Server::start(&program, &arguments, &[], PATIENCE, ready)?;
        Ok((server, client))
    }

    fn step(&self, step: Step, side: usize, place: &Place, limit: Option<&Limit>) -> Outcome<Used> {
        let target = place.work.join("target");
        let mut arguments: Vec<OsString> = Vec::new();
        let program = match side {
            0 => {
                arguments.extend(["ours".into(), step.word().into()]);
                arguments.extend([place.work.clone().into(), place.endpoint.clone().into()]);
                std::env::current_exe()?
            }
            _ => {
                let snapshot = || place.snapshot.clone().into_os_string();
                match step {
                    Step::Save => {
                        let words = ["--endpoints", &place.endpoint, "snapshot", "save"];
                        arguments.extend(words.map(OsString::from));
                        // A gigabyte takes longer than its five seconds.
                        arguments.extend([snapshot(), "--command-timeout=600s".into()]);
                        self.etcdctl.clone()
                    }
                    Step::Status => {
                        arguments.extend(["snapshot".into(), "status".into(), snapshot()]);
                        self.etcdutl.clone()
                    }
                    _ => {
                        arguments.extend(["snapshot".into(), "restore".into(), snapshot()]);
                        arguments.extend(["--data-dir".into(), target.clone().into()]);
                        self.etcdutl.clone()
                    }
                }
            }
        };
        let used = match limit {
            None => measure(Command::new(program).args(arguments)),
            Some(limit) => limit.run(&program, &arguments),
        };
        if target.exists() {
            std::fs::remove_dir_all(&target)?;
        }
        used
    }

    fn report(
        &self,
        place: &Place,
        changes: u64,
        steps: &[[Figures; 2]],
        limit: &Limit,
        limited: &[(Step, usize, String)],
    ) {
        let size = std::fs::metadata(&place.snapshot).map_or(0, |file| file.len() >> 20);
        println!(
            "- data: a snapshot of {size} MiB (values of 3 KiB, half of it noise), {changes} changes behind it; {} paired rounds, \
             order alternated, medians; peaks are the highest",
            self.rounds
        );
        println!(
            "- peer: {}",
            Command::new(&self.etcdutl)
                .arg("version")
                .output()
                .map_or_else(
                    |error| error.to_string(),
                    |said| String::from_utf8_lossy(&said.stdout)
                        .lines()
                        .next()
                        .unwrap_or_default()
                        .to_owned()
                )
        );
        println!(
            "\n| step | by | s | core-s | peak MiB | of it its own MiB |\n|---|---|---|---|---|---|"
        );
        for (step, figures) in STEPS.iter().zip(steps) {
            for (side, figures) in SIDES.iter().zip(figures) {
                if !figures.0.is_empty() {
                    println!("| {} | {side} | {} |", step.name(), figures.row());
                }
            }
        }
        println!("\n| step | times as fast |\n|---|---|");
        for (step, [ours, theirs]) in STEPS.iter().zip(steps) {
            if step.has_peer() {
                println!(
                    "| {} | {:.2} |",
                    step.name(),
                    theirs.seconds() / ours.seconds()
                );
            }
        }
        println!("\nWith {limit}:\n\n| step | by | |\n|---|---|---|");
        for (step, side, said) in limited {
            println!("| {} | {} | {said} |", step.name(), SIDES[*side]);
        }
    }
}

const SIDES: [&str; 2] = ["ours", "etcd's"];

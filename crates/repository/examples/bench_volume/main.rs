//! `cargo xtask bench volume`: this engine against restic, in paired runs whose order alternates.
//!
//! `--restic PROGRAM` (default `restic`; may be given several times), `--megabytes N` (default 2048), `--rounds N` (default 3),
//! `--folder DIR` (default the system's temporary folder), `--no-verify` (do not open what was sealed before it is stored;
//! for restic releases that do not do that either), `--latency MILLISECONDS` (the same data in a store in memory whose every
//! call takes so long, without a peer), `--synthetic files:N|bytes:N` (nothing but this: so many tiny files, or one file of so
//! many bytes, made up and into a store that keeps nothing, for the memory that it takes), `--interop N` (nothing but this: N real
//! files, written by each engine and checked and restored by the others). Figures are for the data described in
//! the report; nothing is judged.

mod data;
mod interop;
mod ours;
#[path = "../../tests/it/synthetic.rs"]
mod synthetic;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const PASSWORD: &str = "0123456789abcdef0123456789abcdef";

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
    restics: Vec<String>,
    megabytes: usize,
    rounds: usize,
    folder: PathBuf,
    verify: bool,
    latency: Option<String>,
    synthetic: Option<String>,
    interop: Option<usize>,
}

/// What one process used.
#[derive(Clone, Copy, Default)]
struct Used {
    wall: Duration,
    /// Processor time, user and system, up to the last look.
    cpu_seconds: f64,
    peak_megabytes: u64,
}

/// Between two looks at the peak memory, which never falls.
const LOOK: Duration = Duration::from_millis(5);

/// What is measured, and what the engines call it.
const STEPS: [(&str, &str); 5] = [
    ("first backup", "backup"),
    ("unchanged", "backup"),
    ("1 % changed", "backup"),
    ("restore", "restore"),
    ("check, all data", "check"),
];

/// What the machine does without any engine: copying the tree, packing and compressing it, writing as many bytes.
const LIMITS: [(&str, &str); 3] = [
    ("cp -a, sync", "cp -a \"$0\" \"$1\" && sync -f \"$1\""),
    (
        "tar | zstd -1",
        "tar -C \"$0\" -c . | zstd -q -1 -T0 -o \"$1\" && sync -f \"$1\"",
    ),
    (
        "dd, fsync",
        "dd if=/dev/zero of=\"$1\" bs=1M count=\"$2\" conv=fsync status=none",
    ),
];

/// Wall times and the highest peak of one engine in one step.
#[derive(Clone, Default)]
struct Figures {
    seconds: Vec<f64>,
    cpu_seconds: Vec<f64>,
    peak_megabytes: u64,
}

impl Bench {
    fn from(arguments: &[String]) -> Outcome<Self> {
        let mut bench = Self {
            restics: Vec::new(),
            megabytes: 2048,
            rounds: 3,
            folder: std::env::temp_dir(),
            verify: true,
            latency: None,
            synthetic: None,
            interop: None,
        };
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--restic" => bench.restics.push(value()?.clone()),
                "--megabytes" => bench.megabytes = value()?.parse()?,
                "--rounds" => bench.rounds = value()?.parse()?,
                "--folder" => bench.folder = value()?.into(),
                "--no-verify" => bench.verify = false,
                "--latency" => bench.latency = Some(value()?.clone()),
                "--interop" => bench.interop = Some(value()?.parse()?),
                "--synthetic" => bench.synthetic = Some(value()?.clone()),
                other => return Err(format!("unknown option `{other}`").into()),
            }
        }
        if bench.restics.is_empty() {
            let restic = std::env::var("SALVOR_RESTIC_0_14");
            bench
                .restics
                .push(restic.unwrap_or_else(|_| "restic".to_owned()));
        }
        Ok(bench)
    }

    fn run(&self) -> Outcome<()> {
        if let Some(what) = &self.synthetic {
            let mut command = Command::new(std::env::current_exe()?);
            let used = measure(command.args(["ours", "synthetic", what]))?;
            println!(
                "- {what}, into a store that keeps nothing: {:.1} s, {} MiB at most",
                used.wall.as_secs_f64(),
                used.peak_megabytes
            );
            return Ok(());
        }
        let work = tempfile::Builder::new()
            .prefix("salvor-bench")
            .tempdir_in(&self.folder)?;
        let tree = work.path().join("tree");
        if let Some(files) = self.interop {
            return interop::run(self, work.path(), &tree, files);
        }
        data::make(&tree, self.megabytes)?;
        if let Some(latency) = &self.latency {
            println!(
                "- {} MiB, every call of the store takes {latency} ms",
                self.megabytes
            );
            println!("\n| step | ours s |\n|---|---|");
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["ours", "latency"]).arg(&tree).arg(latency);
            let used = measure(command.stdout(Stdio::inherit()))?;
            println!("\npeak with the store in it: {} MiB", used.peak_megabytes);
            return Ok(());
        }
        let mut steps = vec![vec![Figures::default(); self.engines()]; STEPS.len()];
        let mut limits = vec![Figures::default(); LIMITS.len()];
        for round in 0..self.rounds {
            self.round(round, work.path(), &tree, &mut steps)?;
            self.limits(work.path(), &tree, &mut limits)?;
        }
        self.report(&steps, &limits);
        Ok(())
    }

    fn engines(&self) -> usize {
        1 + self.restics.len()
    }

    fn name(&self, engine: usize) -> String {
        match engine {
            0 => "ours".to_owned(),
            other => version(&self.restics[other - 1]),
        }
    }

    fn round(
        &self,
        round: usize,
        work: &Path,
        tree: &Path,
        steps: &mut [Vec<Figures>],
    ) -> Outcome<()> {
        let mut order: Vec<usize> = (0..self.engines()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        let place = |engine: usize, what: &str| work.join(format!("{what}-{engine}"));
        for engine in &order {
            let repository = place(*engine, "repository");
            let _ = std::fs::remove_dir_all(&repository);
            std::fs::create_dir(&repository)?;
            self.step(*engine, "init", &repository, tree)?;
        }
        for ((step, action), figures) in STEPS.iter().zip(steps) {
            if *step == "1 % changed" {
                data::change(tree, round as u64)?;
            }
            for engine in &order {
                let back = place(*engine, "back");
                let path = if *action == "restore" { &back } else { tree };
                let used = self.step(*engine, action, &place(*engine, "repository"), path)?;
                let seconds = used.wall.as_secs_f64();
                eprintln!(
                    "round {} {step} {}: {seconds:.2} s, {:.2} s of processors, {} MiB",
                    round + 1,
                    self.name(*engine),
                    used.cpu_seconds,
                    used.peak_megabytes
                );
                let figures = &mut figures[*engine];
                figures.seconds.push(seconds);
                figures.cpu_seconds.push(used.cpu_seconds);
                figures.peak_megabytes = figures.peak_megabytes.max(used.peak_megabytes);
                if *action == "restore" {
                    std::fs::remove_dir_all(&back)?;
                }
            }
        }
        Ok(())
    }

    fn limits(&self, work: &Path, tree: &Path, limits: &mut [Figures]) -> Outcome<()> {
        let target = work.join("limit");
        for ((name, script), figures) in LIMITS.iter().zip(limits) {
            let mut command = Command::new("sh");
            command.args(["-c", script]).arg(tree).arg(&target);
            let used = measure(command.arg(self.megabytes.to_string()))?;
            eprintln!("{name}: {:.2} s", used.wall.as_secs_f64());
            figures.seconds.push(used.wall.as_secs_f64());
            if target.is_dir() {
                std::fs::remove_dir_all(&target)?;
            } else {
                std::fs::remove_file(&target)?;
            }
        }
        Ok(())
    }

    fn step(&self, engine: usize, action: &str, repository: &Path, path: &Path) -> Outcome<Used> {
        if engine == 0 {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["ours", action]).arg(repository).arg(path);
            return measure(command.arg(self.verify.to_string()));
        }
        let mut command = Command::new(&self.restics[engine - 1]);
        command
            .env("RESTIC_PASSWORD", PASSWORD)
            .args(["--quiet", "--cache-dir"])
            .arg(repository.with_extension("cache"))
            .arg("-r")
            .arg(repository);
        measure(match action {
            "init" => command.args(["init", "--repository-version", "2"]),
            "backup" => command.arg("backup").arg(path),
            "restore" => command.args(["restore", "latest", "--target"]).arg(path),
            _ => command.args(["check", "--read-data"]),
        })
    }

    fn report(&self, steps: &[Vec<Figures>], limits: &[Figures]) {
        println!(
            "- data: {} MiB (40 % noise, 32 % text, 18 % files of 18 kB, 10 % holes), {} paired rounds, order alternated, medians",
            self.megabytes, self.rounds
        );
        println!(
            "- what is sealed is opened before it is stored: {}",
            self.verify
        );
        for engine in 1..self.engines() {
            println!(
                "\n| step | ours s | {} s | times as fast | ours core-s | its core-s | ours MiB | its MiB |\n|---|---|---|---|---|---|---|---|",
                self.name(engine)
            );
            for ((step, _), figures) in STEPS.iter().zip(steps) {
                let (ours, theirs) = (&figures[0], &figures[engine]);
                println!(
                    "| {step} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} |",
                    median(&ours.seconds),
                    median(&theirs.seconds),
                    median(&theirs.seconds) / median(&ours.seconds),
                    median(&ours.cpu_seconds),
                    median(&theirs.cpu_seconds),
                    ours.peak_megabytes,
                    theirs.peak_megabytes
                );
            }
        }
        println!("\n| limit | s |\n|---|---|");
        for ((name, _), figures) in LIMITS.iter().zip(limits) {
            println!("| {name} | {:.2} |", median(&figures.seconds));
        }
    }
}

/// Runs a process to its good end.
fn measure(command: &mut Command) -> Outcome<Used> {
    let begin = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn()?;
    let status_file = format!("/proc/{}/status", child.id());
    let stat_file = format!("/proc/{}/stat", child.id());
    let (mut peak, mut cpu_seconds) = (0, 0.0);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let status = std::fs::read_to_string(&status_file).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|text| {
            text.trim()
                .trim_end_matches("kB")
                .trim()
                .parse::<u64>()
                .ok()
        });
        peak = peak.max(kibibytes.unwrap_or(0) >> 10);
        cpu_seconds = std::fs::read_to_string(&stat_file)
            .ok()
            .and_then(|stat| processors(&stat))
            .unwrap_or(cpu_seconds)
            .max(cpu_seconds);
        std::thread::park_timeout(LOOK);
    };
    if !status.success() {
        return Err(format!("{command:?} ended with {status}").into());
    }
    Ok(Used {
        wall: begin.elapsed(),
        cpu_seconds,
        peak_megabytes: peak,
    })
}

/// User and system time of `/proc/PID/stat`, whose ticks are hundredths of a second on every Linux that counts.
fn processors(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// `restic 0.14.0`.
fn version(restic: &str) -> String {
    let said = Command::new(restic).arg("version").output();
    said.map_or_else(
        |error| error.to_string(),
        |out| {
            let text = String::from_utf8_lossy(&out.stdout);
            text.split(' ').take(2).collect::<Vec<_>>().join(" ")
        },
    )
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

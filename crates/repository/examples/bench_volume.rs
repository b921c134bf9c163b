//! `cargo xtask bench volume`: this engine against restic, in paired runs whose order alternates.
//!
//! `--restic PROGRAM` (default `restic`), `--megabytes N` (default 2048), `--rounds N` (default 3), `--folder DIR`
//! (default the system's temporary folder), `--no-verify` (do not open what was sealed before it is stored; for
//! restic releases that do not do that either). Figures are for the data described in the report; nothing is judged.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use salvor_repository::backup::{self, BackupOptions};
use salvor_repository::check::{self, Depth};
use salvor_repository::lock::{Holder, Lock};
use salvor_repository::restore::{self, RestoreOptions};
use salvor_repository::source::tree::{TreeOptions, TreeSource};
use salvor_repository::{Files, InitOptions, Progress, Repository, Work};
use salvor_seal::Secret;
use salvor_storage::FsStore;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const PASSWORD: &str = "0123456789abcdef0123456789abcdef";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = arguments.as_slice()
        && first == "ours"
    {
        return ours(rest);
    }
    Bench::from(&arguments)?.run()
}

/// One step of this engine, in a process of its own, so that its memory is its own.
fn ours(arguments: &[String]) -> Outcome<()> {
    let [step, repository, path, verify] = arguments else {
        return Err("ours STEP REPOSITORY PATH VERIFY".into());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let files = Files::new(Arc::new(FsStore::new(repository)), runtime.handle().clone());
    let secret = Secret::new(PASSWORD.to_owned());
    if step == "init" {
        let options = InitOptions {
            work: Work::Machine,
            who: ("bench".to_owned(), "bench".to_owned()),
            restic_boundaries: false,
        };
        Repository::init(files, &secret, &options)?;
        return Ok(());
    }
    let repository = Arc::new(Repository::open(files, &secret)?);
    let progress = Progress::new();
    match step.as_str() {
        "backup" => {
            let holder = Holder {
                hostname: "bench".to_owned(),
                username: "bench".to_owned(),
            };
            let lock = Lock::take(&repository, false, &holder)?;
            let options = BackupOptions {
                parent: repository.snapshots()?.pop().map(|(id, _)| id),
                verify: verify == "true",
                ..BackupOptions::default()
            };
            let mut source = TreeSource::open(Path::new(path), TreeOptions::default())?;
            let written = backup::run(&repository, &lock, &mut source, &options, &progress)?;
            if written.missing() > 0 {
                return Err(format!("{:?}", written.failures).into());
            }
        }
        "restore" => {
            let index = repository.load_index()?;
            let (_, snapshot) = repository.snapshot("latest")?;
            let restored = restore::run(
                &repository,
                &index,
                &snapshot.tree,
                Path::new(path),
                &RestoreOptions::default(),
                &progress,
            )?;
            if restored.failed > 0 {
                return Err(format!("{:?}", restored.failures).into());
            }
        }
        "check" => {
            let checked = check::run(&repository, Depth::Data, &progress)?;
            if !checked.is_whole() {
                return Err(format!("{:?}", checked.findings).into());
            }
        }
        other => return Err(format!("no step `{other}`").into()),
    }
    Ok(())
}

struct Bench {
    restic: String,
    megabytes: usize,
    rounds: usize,
    folder: PathBuf,
    verify: bool,
}

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Engine {
    Ours,
    Restic,
}

/// What one process used.
#[derive(Clone, Copy, Default)]
struct Used {
    wall: Duration,
    peak_megabytes: u64,
}

/// Between two looks at the peak memory, which never falls.
const LOOK: Duration = Duration::from_millis(5);

const STEPS: [&str; 5] = [
    "first backup",
    "unchanged",
    "1 % changed",
    "restore",
    "check, all data",
];

impl Bench {
    fn from(arguments: &[String]) -> Outcome<Self> {
        let mut bench = Self {
            restic: std::env::var("SALVOR_RESTIC_0_14").unwrap_or_else(|_| "restic".to_owned()),
            megabytes: 2048,
            rounds: 3,
            folder: std::env::temp_dir(),
            verify: true,
        };
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--restic" => bench.restic = value()?.clone(),
                "--megabytes" => bench.megabytes = value()?.parse()?,
                "--rounds" => bench.rounds = value()?.parse()?,
                "--folder" => bench.folder = value()?.into(),
                "--no-verify" => bench.verify = false,
                other => return Err(format!("unknown option `{other}`").into()),
            }
        }
        Ok(bench)
    }

    fn run(&self) -> Outcome<()> {
        let work = tempfile::Builder::new()
            .prefix("salvor-bench")
            .tempdir_in(&self.folder)?;
        let tree = work.path().join("tree");
        self.make(&tree)?;
        let mut seconds = vec![[Vec::new(), Vec::new()]; STEPS.len()];
        let mut peaks = [[0_u64; 2]; STEPS.len()];
        for round in 0..self.rounds {
            let mut order = [Engine::Ours, Engine::Restic];
            if round % 2 == 1 {
                order.reverse();
            }
            let place = |engine: Engine, what: &str| {
                work.path().join(format!("{what}-{}", engine as usize))
            };
            for engine in order {
                let _ = std::fs::remove_dir_all(place(engine, "repository"));
                std::fs::create_dir(place(engine, "repository"))?;
                self.step(engine, "init", &place(engine, "repository"), &tree)?;
            }
            for (number, step) in STEPS.iter().enumerate() {
                if *step == "1 % changed" {
                    change(&tree, round as u64)?;
                }
                for engine in order {
                    let action = ["backup", "backup", "backup", "restore", "check"][number];
                    let path = if action == "restore" {
                        place(engine, "back")
                    } else {
                        tree.clone()
                    };
                    let used = self.step(engine, action, &place(engine, "repository"), &path)?;
                    eprintln!(
                        "round {} {step} {}: {:.2} s, {} MiB",
                        round + 1,
                        engine.name(),
                        used.wall.as_secs_f64(),
                        used.peak_megabytes
                    );
                    seconds[number][engine as usize].push(used.wall.as_secs_f64());
                    peaks[number][engine as usize] =
                        peaks[number][engine as usize].max(used.peak_megabytes);
                    if action == "restore" {
                        std::fs::remove_dir_all(path)?;
                    }
                }
            }
        }
        self.report(&seconds, &peaks);
        Ok(())
    }

    fn step(&self, engine: Engine, action: &str, repository: &Path, path: &Path) -> Outcome<Used> {
        let mut command = match engine {
            Engine::Ours => {
                let mut command = Command::new(std::env::current_exe()?);
                command
                    .args(["ours", action])
                    .arg(repository)
                    .arg(path)
                    .arg(self.verify.to_string());
                command
            }
            Engine::Restic => {
                let mut command = Command::new(&self.restic);
                command
                    .env("RESTIC_PASSWORD", PASSWORD)
                    .args(["--quiet", "--cache-dir"]);
                command
                    .arg(repository.with_file_name("restic-cache"))
                    .arg("-r")
                    .arg(repository);
                match action {
                    "init" => command.args(["init", "--repository-version", "2"]),
                    "backup" => command.arg("backup").arg(path),
                    "restore" => command.args(["restore", "latest", "--target"]).arg(path),
                    _ => command.args(["check", "--read-data"]),
                };
                command
            }
        };
        let begin = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let status_file = format!("/proc/{}/status", child.id());
        let mut peak = 0;
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
            std::thread::park_timeout(LOOK);
        };
        if !status.success() {
            return Err(format!("{action} of {} ended with {status}", engine.name()).into());
        }
        Ok(Used {
            wall: begin.elapsed(),
            peak_megabytes: peak,
        })
    }

    /// 40 % noise, 32 % text, 18 % small files, 10 % holes.
    fn make(&self, tree: &Path) -> Outcome<()> {
        let bytes = self.megabytes << 20;
        for i in 0..2 {
            write(
                &tree.join(format!("noise-{i}")),
                &mut Noise(i + 1),
                bytes / 5,
            )?;
            write(
                &tree.join(format!("log-{i}")),
                &mut Log(i as usize),
                bytes * 16 / 100,
            )?;
        }
        let file = std::fs::File::create(tree.join("sparse"))?;
        file.set_len(bytes as u64 / 10)?;
        let small = bytes * 18 / 100 / 18_000;
        for i in 0..small {
            let path = tree.join(format!("small/{:03}/{i}", i / 200));
            if i % 2 == 0 {
                write(&path, &mut Noise(i as u64 + 10), 18_000)?;
            } else {
                write(&path, &mut Log(i), 18_000)?;
            }
        }
        Ok(())
    }

    fn report(&self, seconds: &[[Vec<f64>; 2]], peaks: &[[u64; 2]; STEPS.len()]) {
        let restic = Command::new(&self.restic).arg("version").output();
        let version = restic.map_or_else(
            |e| e.to_string(),
            |out| String::from_utf8_lossy(&out.stdout).trim().to_owned(),
        );
        println!("- peer: {version}");
        println!(
            "- data: {} MiB (40 % noise, 32 % text, 18 % files of 18 kB, 10 % holes), {} paired rounds, order alternated, medians",
            self.megabytes, self.rounds
        );
        println!(
            "- what is sealed is opened before it is stored: {}",
            self.verify
        );
        println!(
            "\n| step | ours s | restic s | times as fast | ours MiB | restic MiB |\n|---|---|---|---|---|---|"
        );
        for (number, step) in STEPS.iter().enumerate() {
            let [ours, theirs] = [0, 1].map(|engine: usize| median(&seconds[number][engine]));
            println!(
                "| {step} | {ours:.2} | {theirs:.2} | {:.2} | {} | {} |",
                theirs / ours,
                peaks[number][0],
                peaks[number][1]
            );
        }
    }
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Restic => "restic",
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Rewrites one small file in a hundred, and a spot in each large one.
fn change(tree: &Path, round: u64) -> Outcome<()> {
    let mut small: Vec<PathBuf> = Vec::new();
    for folder in std::fs::read_dir(tree.join("small"))? {
        for file in std::fs::read_dir(folder?.path())? {
            small.push(file?.path());
        }
    }
    small.sort();
    for (i, path) in small.iter().enumerate().filter(|(i, _)| i % 100 == 0) {
        write(path, &mut Noise(round * 1_000_003 + i as u64 + 77), 18_000)?;
    }
    for name in ["noise-0", "noise-1", "log-0", "log-1"] {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(tree.join(name))?;
        let length = file.metadata()?.len();
        let mut spot = vec![0; usize::try_from(length / 100)?];
        Noise(round + 999).fill(&mut spot);
        std::os::unix::fs::FileExt::write_all_at(&file, &spot, length / 3)?;
    }
    Ok(())
}

trait Fill {
    fn fill(&mut self, buffer: &mut [u8]);
}

struct Noise(u64);

impl Fill for Noise {
    fn fill(&mut self, buffer: &mut [u8]) {
        let mut state = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for chunk in buffer.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
        }
        self.0 = state;
    }
}

struct Log(usize);

impl Fill for Log {
    fn fill(&mut self, buffer: &mut [u8]) {
        let mut at = 0;
        while at < buffer.len() {
            self.0 += 1;
            let line = format!(
                "2026-11-21T10:{:02}:{:02}Z INFO request id={:x} path=/api/v1/orders/{} status=200 took={}ms\n",
                self.0 / 60 % 60,
                self.0 % 60,
                self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15),
                self.0 * 7 % 100_003,
                self.0 * 31 % 997
            );
            let length = line.len().min(buffer.len() - at);
            buffer[at..at + length].copy_from_slice(&line.as_bytes()[..length]);
            at += length;
        }
    }
}

fn write(path: &Path, source: &mut dyn Fill, length: usize) -> Outcome<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::fs::File::create(path)?;
    let mut left = length;
    let mut buffer = vec![0; (1 << 20).min(length.max(1))];
    while left > 0 {
        let part = buffer.len().min(left);
        source.fill(&mut buffer[..part]);
        std::io::Write::write_all(&mut file, &buffer[..part])?;
        left -= part;
    }
    Ok(())
}

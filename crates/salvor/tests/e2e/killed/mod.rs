//! The binary is killed (SIGKILL) at seeded points of a backup and of a restore, against a real API server.
//!
//! How far a run is says the number of its requests to the API server, of its requests to the store, or of the
//! files that it made. An unkilled run is counted first; the points are spread over what it came to. A killed
//! run's claim is respected for three minutes of silence: here its files are made older instead.

mod backup;
mod restore;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use salvor_testkit::velero_check::check_location;

use crate::clusters::{FIRST, Real};
use crate::counted::{Counted, Ended, Point};
use crate::fixture::Fixture;
use crate::support::Run;

/// Names another set of points. The one in use is printed when a test fails.
const SEED: &str = "SALVOR_TEST_SEED";
/// Longer than a silent claim is respected.
const LONG_AGO: Duration = Duration::from_secs(3600);

fn seed() -> u64 {
    let given = std::env::var(SEED).ok();
    given.map_or(1, |text| text.parse().expect("a number"))
}

/// SplitMix64: any two numbers that follow each other give unrelated ones.
fn scatter(number: u64) -> u64 {
    let mut z = number
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One point in each of `many` equal parts of a run that came to `total`.
fn points(total: u64, many: u64, seed: u64) -> Vec<Point> {
    assert!(total >= many, "only {total} steps were counted");
    let begin = |part: u64| 1 + total * part / many;
    (0..many)
        .map(|part| {
            let random = scatter(seed.wrapping_mul(1000) + part);
            let width = begin(part + 1) - begin(part);
            Point {
                number: begin(part) + random % width,
                arrives: random >> 63 == 1,
            }
        })
        .collect()
}

/// A real cluster behind a counting proxy, a fixture in it, and a folder as the location.
struct Stage {
    real: Real,
    api: Counted,
    kubeconfig: PathBuf,
    fixture: Fixture,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn set(what: &str) -> Option<Self> {
        let real = Real::connect(FIRST).await?;
        let api = Counted::api_server(&real.kubeconfig).await?;
        let fixture = Fixture::new(what);
        fixture.fill(&real.cluster).await;
        real.settled().await;
        let folder = tempfile::tempdir().expect("a folder");
        Some(Self {
            kubeconfig: api.write_kubeconfig(folder.path()),
            real,
            api,
            fixture,
            folder,
        })
    }

    /// The location's folder.
    fn files(&self) -> PathBuf {
        self.folder.path().join("location")
    }

    fn location(&self) -> String {
        format!("file://{}", self.files().display())
    }

    /// The binary through the counting proxy.
    fn counted(&self, location: &str, line: &str) -> Command {
        let mut command = self.real.command(location, line);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    fn run(&self, line: &str) -> Run {
        self.real.run(&self.location(), line)
    }

    fn backup(&self, name: &str) -> String {
        format!(
            "backup create {name} --snapshot-volumes=false --include-namespaces {},{} --include-cluster-resources=true",
            self.fixture.shop, self.fixture.data
        )
    }
}

/// What the output of a killed run, and of what came after it, belongs to.
fn context(name: &str, point: Point, ended: &Ended) -> String {
    format!(
        "seed {} (set {SEED} to repeat), {name}, killed at {point:?}: `{}`; it said: {}{}",
        seed(),
        ended.at,
        ended.run.out,
        ended.run.err
    )
}

/// Whether a killed run left a claim under this name: then the name is taken until the lease is over. Makes
/// the claim that old.
fn outlive_claim(location: &Path, kind: &str, name: &str) -> bool {
    let folder = location.join(format!("plugins/salvor/claims/{kind}s/{name}"));
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return false;
    };
    let (mut claimed, mut closed) = (false, false);
    for entry in entries {
        let path = entry.expect("readable").path();
        claimed |= path.extension().is_some_and(|ending| ending == "json");
        closed |= path.extension().is_some_and(|ending| ending == "closed");
        let file = std::fs::File::options()
            .write(true)
            .open(&path)
            .expect("ours");
        file.set_modified(SystemTime::now() - LONG_AGO)
            .expect("a time");
    }
    claimed && !closed
}

/// What Velero's rules say against a location, read by a checker that shares no code with the writer. A folder may
/// hold the temporary file that a killed writer had open, which the store neither lists nor reads.
fn violations(files: &Path) -> Vec<String> {
    let is_temporary =
        |line: &String| line.contains(": .salvor-") && line.contains(".part is no file");
    let found = check_location(files).into_iter();
    found.filter(|line| !is_temporary(line)).collect()
}

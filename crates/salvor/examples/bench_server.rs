//! What a server costs while nothing happens: memory, processor time and requests, with few and with many
//! backups and locations.
//!
//! The backups lie in folders, in Velero's format; the server finds them by its sync, which is measured too. It
//! is measured from outside: by what the kernel counts for its process and by its own metrics.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use salvor_cluster::{ApiResource, Cluster, ConnectOptions, ListOptions, WriteOptions};
use serde_json::{Value, json};

type Outcome<T> = Result<T, String>;

const VARIABLE: &str = "SALVOR_E2E_KUBECONFIG";
const NAMESPACE: &str = "bench-server";
/// Where the server's metrics are read.
const METRICS: &str = "127.0.0.1:18085";
/// A multiple of the minute after which locations are looked at and synced.
const WINDOW: Duration = Duration::from_secs(120);
/// Until the server knows all backups.
const IMPORT: Duration = Duration::from_secs(900);

/// How much there is.
#[derive(Clone, Copy)]
struct Size {
    locations: usize,
    backups: usize,
}

const FEW: Size = Size {
    locations: 1,
    backups: 20,
};
const MANY: Size = Size {
    locations: 50,
    backups: 2_000,
};

/// What was measured.
struct Cost {
    imported: Duration,
    resident: u64,
    peak: u64,
    processor: f64,
    requests: f64,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("runtime: {error}"));
    match runtime.and_then(|runtime| runtime.block_on(bench())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn bench() -> Outcome<()> {
    let kubeconfig = std::env::var_os(VARIABLE)
        .map(PathBuf::from)
        .ok_or(format!(
            "{VARIABLE} is not set: run with --testbed, or name a cluster that nobody needs"
        ))?;
    let salvor = binary()?;
    let options = ConnectOptions {
        kubeconfig: Some(kubeconfig.clone()),
        ..ConnectOptions::default()
    };
    let cluster = Cluster::connect(&options).await;
    let cluster = cluster.map_err(|error| format!("connect: {error}"))?;
    let mut rows = Vec::new();
    for (number, size) in [FEW, MANY].into_iter().enumerate() {
        let namespace = format!("{NAMESPACE}-{number}");
        let folder = tempfile::tempdir().map_err(|error| format!("a folder: {error}"))?;
        rows.push((
            size,
            measure(
                &cluster,
                &salvor,
                &kubeconfig,
                &namespace,
                folder.path(),
                size,
            )
            .await?,
        ));
    }
    println!(
        "| locations | backups | imported in | resident | peak | processor | requests to the API server |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (size, cost) in &rows {
        println!(
            "| {} | {} | {:.1} s | {:.0} MiB | {:.0} MiB | {:.1} % of a core | {:.2}/s |",
            size.locations,
            size.backups,
            cost.imported.as_secs_f64(),
            cost.resident as f64 / 1024.0,
            cost.peak as f64 / 1024.0,
            cost.processor * 100.0,
            cost.requests,
        );
    }
    Ok(())
}

/// The program beside this one, as the same profile builds it.
fn binary() -> Outcome<PathBuf> {
    let own = std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
    let folder = own.parent().and_then(Path::parent);
    let salvor = folder.map(|folder| folder.join("salvor"));
    salvor
        .filter(|path| path.exists())
        .ok_or("build the program first: cargo build --release -p salvor".to_owned())
}

async fn measure(
    cluster: &Cluster,
    salvor: &Path,
    kubeconfig: &Path,
    namespace: &str,
    folder: &Path,
    size: Size,
) -> Outcome<Cost> {
    eprintln!("{} locations, {} backups", size.locations, size.backups);
    let mut install = Command::new(salvor);
    install
        .args(["install", "--crds-only"])
        .env("KUBECONFIG", kubeconfig);
    let installed = install.stdout(Stdio::null()).status();
    if !installed.is_ok_and(|status| status.success()) {
        return Err("the definitions cannot be installed".to_owned());
    }
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    create(cluster, &ApiResource::namespaces(), None, &object).await?;
    let locations = velero("BackupStorageLocation", "backupstoragelocations");
    for number in 0..size.locations {
        let name = format!("l{number}");
        store(&folder.join(&name), &name, number, size)?;
        let object = json!({"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"provider": "salvor.dev/file", "default": number == 0,
                "objectStorage": {"bucket": name}, "config": {"path": folder}}});
        create(cluster, &locations, Some(namespace), &object).await?;
    }
    let begun = Instant::now();
    let server = Server::start(salvor, kubeconfig, namespace)?;
    let backups = velero("Backup", "backups");
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while count(cluster, &backups, namespace).await? < size.backups {
        ticks.tick().await;
        if begun.elapsed() > IMPORT {
            return Err("the server does not import the backups".to_owned());
        }
    }
    let imported = begun.elapsed();
    // Until what the import has caused has settled.
    wait(WINDOW / 2).await;
    let (processor, requests) = (server.processor()?, requests()?);
    wait(WINDOW).await;
    let window = WINDOW.as_secs_f64();
    Ok(Cost {
        imported,
        resident: server.memory("VmRSS:")?,
        peak: server.memory("VmHWM:")?,
        processor: (server.processor()? - processor) / window,
        requests: (self::requests()? - requests) / window,
    })
}

async fn wait(time: Duration) {
    let mut ticks = tokio::time::interval(time);
    ticks.tick().await;
    ticks.tick().await;
}

fn velero(kind: &str, plural: &str) -> ApiResource {
    ApiResource::known("velero.io", "v1", kind, plural, true)
}

async fn create(
    cluster: &Cluster,
    resource: &ApiResource,
    namespace: Option<&str>,
    object: &Value,
) -> Outcome<()> {
    let body = object.to_string();
    let options = WriteOptions::default();
    let made = cluster.create(resource, namespace, body.as_bytes(), &options);
    made.await.map(drop).map_err(|error| error.to_string())
}

async fn count(cluster: &Cluster, resource: &ApiResource, namespace: &str) -> Outcome<usize> {
    let mut pager = cluster.pager(resource, Some(namespace), ListOptions::default());
    let mut found = 0;
    while let Some(page) = pager.next_page().await.map_err(|error| error.to_string())? {
        found += page.items().count();
    }
    Ok(found)
}

/// A location's share of the backups, as Velero writes them.
fn store(folder: &Path, location: &str, number: usize, size: Size) -> Outcome<()> {
    let share = size.backups / size.locations;
    for at in 0..share {
        let name = format!("daily-{number}-{at}");
        let path = folder.join("backups").join(&name);
        let record = json!({"kind": "Backup", "apiVersion": "velero.io/v1",
            "metadata": {"name": name, "namespace": "velero",
                "labels": {"velero.io/storage-location": location,
                    "velero.io/schedule-name": format!("daily-{number}")},
                "annotations": {"velero.io/source-cluster-k8s-gitversion": "v1.33.1"}},
            "spec": {"includedNamespaces": ["production", "staging"], "ttl": "720h0m0s",
                "storageLocation": location, "hooks": {}},
            "status": {"version": 1, "formatVersion": "1.1.0", "phase": "Completed",
                "startTimestamp": "2026-01-02T03:04:05Z",
                "completionTimestamp": "2026-01-02T03:04:15Z",
                "expiration": "2126-01-02T03:04:05Z",
                "progress": {"totalItems": 1200, "itemsBackedUp": 1200}}});
        let written = std::fs::create_dir_all(&path).and_then(|()| {
            std::fs::write(path.join(format!("{name}.tar.gz")), [0u8; 64])?;
            std::fs::write(path.join("velero-backup.json"), record.to_string())
        });
        written.map_err(|error| format!("write backup `{name}`: {error}"))?;
    }
    Ok(())
}

/// All requests to the API server that the server has counted.
fn requests() -> Outcome<f64> {
    let failed = |error: std::io::Error| format!("read the metrics of the server: {error}");
    let mut stream = TcpStream::connect(METRICS).map_err(failed)?;
    let request = "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(failed)?;
    let lines = text
        .lines()
        .filter(|line| line.starts_with("salvor_cluster_requests_total{"));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    let values: Vec<f64> = values.collect();
    if values.is_empty() {
        return Err("the metrics have no salvor_cluster_requests_total".to_owned());
    }
    Ok(values.iter().sum())
}

/// A running server; killed when dropped.
struct Server(Child);

impl Server {
    fn start(salvor: &Path, kubeconfig: &Path, namespace: &str) -> Outcome<Self> {
        let mut command = Command::new(salvor);
        command
            .args(["-n", namespace, "server", "--metrics-address", METRICS])
            .env("KUBECONFIG", kubeconfig)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn();
        child
            .map(Self)
            .map_err(|error| format!("start the server: {error}"))
    }

    /// A line of the kernel's account of the process, in KiB.
    fn memory(&self, line: &str) -> Outcome<u64> {
        let text = self.read("status")?;
        let found = text.lines().find_map(|text| text.strip_prefix(line));
        let number = found.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.ok_or(format!("the kernel says no {line}"))
    }

    /// Seconds of processor time so far.
    fn processor(&self) -> Outcome<f64> {
        let text = self.read("stat")?;
        // The name in parentheses may have spaces; user and system time are fields 14 and 15.
        let rest = text.rsplit(')').next().unwrap_or_default();
        let ticks: Vec<f64> = rest
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse().ok())
            .collect();
        Ok(ticks.iter().sum::<f64>() / 100.0)
    }

    fn read(&self, file: &str) -> Outcome<String> {
        let path = format!("/proc/{}/{file}", self.0.id());
        std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Of one that has ended already, both fail.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

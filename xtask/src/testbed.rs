//! `cargo xtask testbed`: a real Kubernetes API server for tests.
//!
//! A test bed is etcd, kube-apiserver and kube-controller-manager on free loopback ports, with all
//! its state in one folder. Without a node pods are stored, never run; with one (`--node`: containerd,
//! kubelet, scheduler) it is a whole cluster, of which a machine has room for one. Without the controllers
//! (`--no-controllers`) namespaces do not finish being deleted and no service account is made.

mod bed;
mod node;
mod options;
mod process;

use std::path::PathBuf;

use crate::{Outcome, debian, kubernetes, paths, tools};

pub(crate) use bed::{Bed, Settings};
pub(crate) use node::require as require_node;
use options::Options;

const USAGE: &str = "\
usage: cargo xtask testbed <command> [options]

  build                build and fetch the programs of the test bed, those that are missing
  up                   start a test bed, wait until it is ready, print its kubeconfig
  down                 stop it and delete its folder
  status               list the test beds of the folder
  env                  print `export` lines for a shell

options:
  --name N             which test bed (default: main); several run side by side
  --dir D              the folder that holds the test beds' folders (default: in the cache folder)
  --etcd-quota SIZE    up: etcd's space quota in bytes, or with the suffix MiB or GiB
  --etcd-data D        up: start on this etcd data directory, which is used in place and kept
  --apiserver-flag F   up: one more flag for kube-apiserver; may be repeated
  --no-controllers     up: API server and etcd alone; namespaces then stay Terminating
  --node               up: with a node, as root; pods run from images that were imported
  --keep               down: stop, but keep the folder with data and logs
  --all                down: every test bed of the folder

The kubeconfig has two contexts: `admin` (current) and `restricted`, a user without any right.

A node has the images localhost/busybox:1 and localhost/pause:1 and pulls none; others are brought in with
  ctr --address <folder>/containerd.sock --namespace k8s.io images import FILE
Pods reach the API server at its service address. No other service address works, and there is no DNS.
";

/// Runs `cargo xtask testbed`.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let Some((command, rest)) = arguments.split_first() else {
        return Err(format!("no command\n\n{USAGE}"));
    };
    let options = Options::parse(rest).map_err(|error| format!("{error}\n\n{USAGE}"))?;
    match command.as_str() {
        "build" => build(),
        "up" => {
            // Before a build of minutes that would be in vain.
            if options.settings.node {
                node::require()?;
            }
            build()?;
            let bed = bed_of(&options)?;
            bed.up(&options.settings)?;
            println!("{}", bed.kubeconfig().display());
            Ok(())
        }
        "down" if options.all => beds(&folder_of(&options)?)?
            .iter()
            .try_for_each(|bed| bed.down(options.keep)),
        "down" => {
            if options.after_stdin_closes {
                wait_for_end_of_stdin();
            }
            bed_of(&options)?.down(options.keep)
        }
        "status" => status(&options),
        "env" => env(&options),
        "help" | "-h" | "--help" => {
            eprint!("{USAGE}");
            Ok(())
        }
        other => Err(format!("no command `{other}`\n\n{USAGE}")),
    }
}

/// Makes sure that every program of a test bed is in the cache folder or installed.
///
/// # Errors
/// Names what is missing and how to get it.
pub(crate) fn build() -> Outcome {
    let cache = paths::cache()?;
    debian::install(&["etcd-server", "etcd-client", "openssl"])?;
    tools::ensure(&cache)?;
    kubernetes::ensure(&cache)?;
    Ok(())
}

/// The test bed of that name in the default folder.
///
/// # Errors
/// When there is no cache folder.
pub(crate) fn named(name: &str) -> Result<Bed, String> {
    let cache = paths::cache()?;
    Ok(Bed::new(&cache, cache.join("testbeds").join(name)))
}

fn folder_of(options: &Options) -> Result<PathBuf, String> {
    match &options.folder {
        Some(folder) => {
            paths::create_folder(folder)?;
            folder
                .canonicalize()
                .map_err(|error| format!("resolve {}: {error}", folder.display()))
        }
        None => Ok(paths::cache()?.join("testbeds")),
    }
}

fn bed_of(options: &Options) -> Result<Bed, String> {
    Ok(Bed::new(
        &paths::cache()?,
        folder_of(options)?.join(&options.name),
    ))
}

fn beds(folder: &std::path::Path) -> Result<Vec<Bed>, String> {
    let cache = paths::cache()?;
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    let mut folders: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    Ok(folders
        .into_iter()
        .map(|folder| Bed::new(&cache, folder))
        .collect())
}

fn status(options: &Options) -> Outcome {
    let folder = folder_of(options)?;
    let beds = beds(&folder)?;
    if beds.is_empty() {
        eprintln!("no test bed in {}", folder.display());
    }
    for bed in beds {
        println!(
            "{:<12}  {:<8}  {}",
            bed.name(),
            bed.state(),
            bed.kubeconfig().display()
        );
    }
    Ok(())
}

fn env(options: &Options) -> Outcome {
    let bed = bed_of(options)?;
    if bed.state() != "ready" {
        return Err(format!(
            "test bed `{}` is {}: start it with `cargo xtask testbed up --name {0}`",
            bed.name(),
            bed.state()
        ));
    }
    let kubeconfig = bed.kubeconfig();
    println!("export KUBECONFIG='{}'", kubeconfig.display());
    println!("export SALVOR_E2E_KUBECONFIG='{}'", kubeconfig.display());
    if let Ok(endpoint) = bed.etcd_endpoint() {
        println!("export SALVOR_E2E_ETCD='{endpoint}'");
    }
    for (name, path) in tools::variables(&paths::cache()?) {
        println!("export {name}='{}'", path.display());
    }
    Ok(())
}

/// Returns when the other end of stdin is closed, however its owner ended.
fn wait_for_end_of_stdin() {
    // A broken pipe ends the wait as well as a closed one does.
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
}

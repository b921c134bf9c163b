//! `cargo xtask e2e`: the test targets called `e2e`, against real API servers.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::testbed::{self, Bed, Settings};
use crate::{Outcome, command, image, paths, requirements, workspace};

const USAGE: &str = "\
usage: cargo xtask e2e [options] [-- arguments of the tests]

  --kubeconfig F       use this cluster instead of the first test bed
  --kubeconfig-2 F     use this cluster, which should be empty, instead of the second
  --suite NAME         only the test targets of that name: e2e, e2e_shared or e2e_node
  --keep               leave the test beds running

The target e2e_node runs the server as a pod, on a test bed with a node (as root) and nowhere else.

The tests create and delete namespaces, custom resource definitions and cluster-wide objects: give
them clusters that nobody needs. KUBECONFIG is therefore not looked at. They find the clusters in
SALVOR_E2E_KUBECONFIG and SALVOR_E2E_KUBECONFIG_2, which are taken as given when they are set.
";

const FIRST: &str = "SALVOR_E2E_KUBECONFIG";
const SECOND: &str = "SALVOR_E2E_KUBECONFIG_2";
const NODE: &str = "SALVOR_E2E_NODE_KUBECONFIG";
/// The image of the server in the store of the node.
const IMAGE: &str = "localhost/salvor:test";

/// The test targets: `e2e_shared` takes its clusters back to what it found there, which must not be what others
/// were just removing, and `e2e_node` needs pods that run. Each has test beds of its own.
const SUITES: [&str; 3] = ["e2e", "e2e_shared", "e2e_node"];

/// Runs `cargo xtask e2e`.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let options = Options::parse(arguments)?;
    let packages = workspace::packages()?;
    let is_e2e =
        |target: &workspace::Target| target.kind == "test" && target.name.starts_with("e2e");
    if !packages
        .iter()
        .any(|package| package.targets.iter().any(is_e2e))
    {
        eprintln!("no package has a test target called `e2e`");
        return Ok(());
    }
    requirements::prepare_e2e()?;
    let given = [options.first, options.second];
    // Each runs whatever came of the others.
    let chosen = SUITES
        .iter()
        .filter(|suite| options.suite.as_deref().is_none_or(|only| only == **suite));
    let results = chosen.map(|suite| {
        let body = |variables: &[(String, String)]| test(suite, &options.test_arguments, variables);
        match *suite {
            "e2e_node" => with_node(options.keep, body),
            _ => with_clusters(given.clone(), &Settings::default(), options.keep, body),
        }
    });
    // All of them run before the first error is returned.
    results.collect::<Vec<Outcome>>().into_iter().collect()
}

fn test(target: &str, arguments: &[String], variables: &[(String, String)]) -> Outcome {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--release", "--workspace", "--no-fail-fast"]);
    cargo.args(["--test", target, "--"]).args(arguments);
    cargo
        .envs(requirements::variables()?)
        .envs(variables.iter().cloned());
    command::run(&mut cargo)
}

/// Runs `body` with the variables that name a cluster with a node and the server's image there. Where a node
/// cannot be had, which is said aloud, the tests skip themselves.
fn with_node(keep: bool, body: impl FnOnce(&[(String, String)]) -> Outcome) -> Outcome {
    if let Err(reason) = testbed::require_node() {
        if requirements::is_ci() {
            return Err(format!("CI may not skip: {reason}"));
        }
        eprintln!("skipped: a cluster with a node: {reason}");
        return body(&[]);
    }
    let archive = image::build_for_tests(IMAGE, &paths::cache()?.join("image-test"))?;
    let settings = Settings {
        node: true,
        ..Settings::default()
    };
    let name = format!("e2e-{}-node", std::process::id());
    let started = RunningBed::start(&name, &settings, keep)?;
    let result = started.bed.import(&archive).and_then(|()| {
        let kubeconfig = started.bed.kubeconfig().display().to_string();
        body(&[
            (NODE.to_owned(), kubeconfig),
            ("SALVOR_E2E_IMAGE".to_owned(), IMAGE.to_owned()),
        ])
    });
    let stopped = started.stop();
    result.and(stopped)
}

/// Runs `body` with the variables that name two clusters: given ones, else those of the
/// environment, else test beds that are stopped at the end, however this program ends.
///
/// # Errors
/// When a test bed does not start or stop, or as `body` says.
pub(crate) fn with_clusters(
    given: [Option<PathBuf>; 2],
    settings: &Settings,
    keep: bool,
    body: impl FnOnce(&[(String, String)]) -> Outcome,
) -> Outcome {
    let mut variables = Vec::new();
    let mut started = Vec::new();
    let result = (|| {
        for (number, (variable, given)) in [FIRST, SECOND].into_iter().zip(given).enumerate() {
            let set = std::env::var_os(variable).filter(|value| !value.is_empty());
            let kubeconfig = match given.or_else(|| set.map(PathBuf::from)) {
                Some(kubeconfig) => kubeconfig,
                None => {
                    let name = format!("e2e-{}-{}", std::process::id(), number + 1);
                    let started_bed = RunningBed::start(&name, settings, keep)?;
                    let kubeconfig = started_bed.bed.kubeconfig();
                    let etcd = ["SALVOR_E2E_ETCD", "SALVOR_E2E_ETCD_2"][number];
                    variables.push((etcd.to_owned(), started_bed.bed.etcd_endpoint()?));
                    started.push(started_bed);
                    kubeconfig
                }
            };
            variables.push((variable.to_owned(), kubeconfig.display().to_string()));
        }
        body(&variables)
    })();
    let stopped: Vec<Outcome> = started.into_iter().map(RunningBed::stop).collect();
    result.and_then(|()| stopped.into_iter().collect())
}

/// A test bed with a watchman: a child process that stops the test bed when the pipe from this
/// process closes, so that Ctrl-C or a kill leaves no server behind.
struct RunningBed {
    bed: Bed,
    watchman: Option<Child>,
}

impl RunningBed {
    fn start(name: &str, settings: &Settings, keep: bool) -> Result<RunningBed, String> {
        let bed = testbed::named(name)?;
        let watchman = if keep { None } else { Some(watchman(name)?) };
        let running = RunningBed { bed, watchman };
        if let Err(error) = running.bed.up(settings) {
            return Err(match running.stop() {
                Ok(()) => error,
                Err(second) => format!("{error}\nand then: {second}"),
            });
        }
        eprintln!("test bed `{name}`: {}", running.bed.kubeconfig().display());
        Ok(running)
    }

    fn stop(self) -> Outcome {
        let Some(mut watchman) = self.watchman else {
            return Ok(());
        };
        drop(watchman.stdin.take());
        let status = watchman
            .wait()
            .map_err(|error| format!("stop a test bed: {error}"))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("stop a test bed: {status}"))
        }
    }
}

fn watchman(name: &str) -> Result<Child, String> {
    use std::os::unix::process::CommandExt;
    let program = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    Command::new(program)
        .args(["testbed", "down", "--after-stdin-closes", "--name", name])
        .stdin(Stdio::piped())
        // Ctrl-C goes to a terminal's whole process group; this one stays to clean up.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("start the watchman of test bed `{name}`: {error}"))
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    first: Option<PathBuf>,
    second: Option<PathBuf>,
    suite: Option<String>,
    keep: bool,
    test_arguments: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options, String> {
        let (own, after) = match arguments.iter().position(|argument| argument == "--") {
            Some(position) => (&arguments[..position], &arguments[position + 1..]),
            None => (arguments, &[][..]),
        };
        let mut options = Options {
            first: None,
            second: None,
            suite: None,
            keep: false,
            test_arguments: after.to_vec(),
        };
        if !after
            .iter()
            .any(|argument| argument.starts_with("--test-threads"))
        {
            // The tests share two clusters and look at all of them.
            options.test_arguments.push("--test-threads=1".to_owned());
        }
        let mut rest = own.iter();
        while let Some(argument) = rest.next() {
            let mut value = || {
                rest.next()
                    .ok_or(format!("{argument} needs a value\n\n{USAGE}"))
            };
            let mut file = || {
                let file = value()?;
                std::path::absolute(file).map_err(|error| format!("path `{file}`: {error}"))
            };
            match argument.as_str() {
                "--kubeconfig" => options.first = Some(file()?),
                "--kubeconfig-2" => options.second = Some(file()?),
                "--suite" => options.suite = Some(suite(value()?)?),
                "--keep" => options.keep = true,
                _ => return Err(format!("no option `{argument}`\n\n{USAGE}")),
            }
        }
        Ok(options)
    }
}

fn suite(name: &str) -> Result<String, String> {
    if SUITES.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!(
        "no suite `{name}`: there are {}",
        SUITES.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&arguments)
    }

    #[test]
    fn runs_one_test_at_a_time_unless_told_otherwise() {
        for (line, expected) in [
            ("", vec!["--test-threads=1"]),
            ("--keep -- restore", vec!["restore", "--test-threads=1"]),
            ("-- --test-threads=2", vec!["--test-threads=2"]),
        ] {
            assert_eq!(
                parse(line).expect("valid").test_arguments,
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn takes_clusters_as_files_and_refuses_the_rest() {
        let options = parse("--kubeconfig /a --kubeconfig-2 /b").expect("valid");
        assert_eq!(
            (options.first, options.second),
            (Some("/a".into()), Some("/b".into()))
        );
        let options = parse("--suite e2e_node").expect("valid");
        assert_eq!(options.suite.as_deref(), Some("e2e_node"));
        for line in ["--kubeconfig", "restore", "--context x", "--suite node"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}

//! `cargo xtask e2e`: the test targets called `e2e`, against real API servers.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::testbed::{self, Bed, Settings};
use crate::{Outcome, command, requirements, workspace};

const USAGE: &str = "\
usage: cargo xtask e2e [options] [-- arguments of the tests]

  --kubeconfig F       use this cluster instead of the first test bed
  --kubeconfig-2 F     use this cluster, which should be empty, instead of the second
  --keep               leave the test beds running

The tests create and delete namespaces, custom resource definitions and cluster-wide objects: give
them clusters that nobody needs. KUBECONFIG is therefore not looked at. They find the clusters in
SALVOR_E2E_KUBECONFIG and SALVOR_E2E_KUBECONFIG_2, which are taken as given when they are set.
";

const FIRST: &str = "SALVOR_E2E_KUBECONFIG";
const SECOND: &str = "SALVOR_E2E_KUBECONFIG_2";

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
    // `e2e_shared` takes its clusters back to what it found there, which must not be what others were just
    // removing: it has test beds of its own, and runs whatever came of the others.
    let results = ["e2e", "e2e_shared"].map(|target| {
        with_clusters(
            given.clone(),
            &Settings::default(),
            options.keep,
            |variables| {
                let mut cargo = workspace::cargo();
                cargo.args(["test", "--release", "--workspace", "--no-fail-fast"]);
                cargo.args(["--test", target, "--"]);
                cargo.args(&options.test_arguments);
                cargo
                    .envs(requirements::variables()?)
                    .envs(variables.iter().cloned());
                command::run(&mut cargo)
            },
        )
    });
    results.into_iter().collect()
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
            let mut file = || {
                let file = rest
                    .next()
                    .ok_or(format!("{argument} needs a file\n\n{USAGE}"))?;
                std::path::absolute(file).map_err(|error| format!("path `{file}`: {error}"))
            };
            match argument.as_str() {
                "--kubeconfig" => options.first = Some(file()?),
                "--kubeconfig-2" => options.second = Some(file()?),
                "--keep" => options.keep = true,
                _ => return Err(format!("no option `{argument}`\n\n{USAGE}")),
            }
        }
        Ok(options)
    }
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
        for line in ["--kubeconfig", "restore", "--context x"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}

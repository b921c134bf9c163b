//! `cargo xtask bench` and `cargo xtask soak`: long programs, which are examples or binaries of the
//! crates named `bench_NAME` and `soak_NAME` (or with a dash).

use crate::testbed::Settings;
use crate::{Outcome, command, e2e, requirements, workspace};

/// Runs `cargo xtask bench`.
pub(crate) fn bench(arguments: &[String]) -> Outcome {
    run("bench", arguments)
}

/// Runs `cargo xtask soak`.
pub(crate) fn soak(arguments: &[String]) -> Outcome {
    run("soak", arguments)
}

/// etcd's default of 2 GiB is too small for 300,000 objects.
const ETCD_QUOTA_BYTES: u64 = 8 << 30;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    name: String,
    package: String,
    target: String,
    /// `example` or `bin`, as cargo's option is called.
    kind: String,
}

fn run(task: &str, arguments: &[String]) -> Outcome {
    let programs = programs(task, &workspace::packages()?);
    let names: Vec<&str> = programs
        .iter()
        .map(|program| program.name.as_str())
        .collect();
    let usage = format!(
        "usage: cargo xtask {task} NAME [--testbed] [arguments of the program]\n\n\
         --testbed starts two test beds with a large etcd quota; the program finds them in\n\
         SALVOR_E2E_KUBECONFIG and SALVOR_E2E_KUBECONFIG_2\n\n\
         names: {}",
        if names.is_empty() {
            "none is built yet".to_owned()
        } else {
            names.join(", ")
        }
    );
    let Some((name, rest)) = arguments.split_first() else {
        return Err(usage);
    };
    let Some(program) = programs.iter().find(|program| program.name == *name) else {
        return Err(format!("no such {task}: `{name}`\n\n{usage}"));
    };
    let (own, passed): (Vec<_>, Vec<_>) =
        rest.iter().partition(|argument| *argument == "--testbed");
    let start = |clusters: &[(String, String)]| {
        let mut cargo = workspace::cargo();
        cargo.args(["run", "--release", "--package", &program.package]);
        cargo
            .args([&format!("--{}", program.kind), &program.target, "--"])
            .args(passed);
        cargo
            .envs(requirements::variables()?)
            .envs(clusters.iter().cloned());
        command::run(&mut cargo)
    };
    if own.is_empty() {
        return start(&[]);
    }
    requirements::prepare_e2e()?;
    let settings = Settings {
        etcd_quota_bytes: Some(ETCD_QUOTA_BYTES),
        ..Settings::default()
    };
    e2e::with_clusters([None, None], &settings, false, start)
}

fn programs(task: &str, packages: &[workspace::Package]) -> Vec<Program> {
    let mut programs = Vec::new();
    for package in packages {
        for target in &package.targets {
            let name = target
                .name
                .strip_prefix(task)
                .and_then(|rest| rest.strip_prefix(['_', '-']));
            if let (Some(name), "example" | "bin") = (name, target.kind.as_str()) {
                programs.push(Program {
                    name: name.to_owned(),
                    package: package.name.clone(),
                    target: target.name.clone(),
                    kind: target.kind.clone(),
                });
            }
        }
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_examples_and_binaries_by_their_prefix() {
        let target = |name: &str, kind: &str| workspace::Target {
            name: name.to_owned(),
            kind: kind.to_owned(),
            tested: false,
            root_file: "src/main.rs".into(),
        };
        let package = workspace::Package {
            name: "salvor-objects".to_owned(),
            dependencies: Vec::new(),
            targets: vec![
                target("bench_objects", "example"),
                target("bench-archive", "bin"),
                target("bench_kinds", "test"),
                target("benchmark", "bin"),
                target("soak_kill", "example"),
            ],
        };
        let names = |task| -> Vec<String> {
            programs(task, std::slice::from_ref(&package))
                .into_iter()
                .map(|p| p.name)
                .collect()
        };
        assert_eq!(names("bench"), ["objects", "archive"]);
        assert_eq!(names("soak"), ["kill"]);
    }
}

//! Development tasks, run as `cargo xtask <task>`.
//!
//! This file is only a dispatch: each task is a module with `USAGE` and `run(arguments)`.
//! Nothing here is shipped; tasks may install Debian packages and start servers on loopback ports.

mod codegen;
mod command;
mod debian;
mod e2e;
mod image;
mod kubernetes;
mod paths;
mod programs;
mod requirements;
mod test;
mod testbed;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

/// What every task returns: an error is a sentence for the person at the terminal.
type Outcome = Result<(), String>;

type Task = fn(&[String]) -> Outcome;

/// Name, the task, and one line of help.
const TASKS: &[(&str, Task, &str)] = &[
    (
        "test",
        test::run,
        "all tests up to child processes; arguments go to cargo test",
    ),
    (
        "e2e",
        e2e::run,
        "the end-to-end tests, against real API servers",
    ),
    ("tidy", tidy::run, "check walls, words, links, features"),
    (
        "testbed",
        testbed::run,
        "a real Kubernetes API server: build, up, down, status, env",
    ),
    (
        "bench",
        programs::bench,
        "measure against a limit or a peer",
    ),
    (
        "soak",
        programs::soak,
        "the long forms of fault and crash tests",
    ),
    (
        "image",
        image::run,
        "a container image of the static binary, with a list of what is in it",
    ),
    ("codegen", codegen::run, "write the generated source files"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        eprint!("{}", help());
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "help" | "-h" | "--help") {
        eprint!("{}", help());
        return ExitCode::SUCCESS;
    }
    let Some((_, task, _)) = TASKS.iter().find(|(known, _, _)| known == name) else {
        eprintln!("error: no task `{name}`\n\n{}", help());
        return ExitCode::from(2);
    };
    match task(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let mut text = String::from("usage: cargo xtask <task> [arguments]\n\ntasks:\n");
    for (name, _, line) in TASKS {
        text.push_str(&format!("  {name:<8}  {line}\n"));
    }
    text
}

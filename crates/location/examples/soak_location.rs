//! Kills writers at a thousand seeded moments, and lets eight processes race fifty times.
//!
//! `cargo xtask soak location [POINTS] [FIRST SEED]`. Each point must leave a whole backup or none, and the
//! next writer must succeed after the lease; the first that does not ends the program with its seed.

#[path = "../tests/it/hook.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod hook;
#[path = "../tests/it/killed.rs"]
mod killed;
#[path = "../tests/it/world.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod world;

use std::path::Path;
use std::process::Command;

fn this_program() -> Command {
    Command::new(std::env::current_exe().expect("this program has a path"))
}

fn number(argument: Option<String>, default: u64) -> u64 {
    match argument {
        Some(text) => text.parse().expect("arguments are numbers"),
        None => default,
    }
}

#[tokio::main]
async fn main() {
    if let Some(folder) = std::env::var_os(killed::FOLDER) {
        killed::child(Path::new(&folder)).await;
        return;
    }
    let mut arguments = std::env::args().skip(1);
    let points = number(arguments.next(), 1000);
    let first = number(arguments.next(), 0);
    for seed in first..first.saturating_add(points) {
        killed::kill_somewhere(this_program(), seed).await;
        if (seed + 1 - first).is_multiple_of(100) {
            eprintln!("{} of {points} points hold", seed + 1 - first);
        }
    }
    let rounds = points.div_ceil(20);
    for round in 0..rounds {
        killed::race(this_program, round).await;
    }
    eprintln!("{points} kills and {rounds} races: every backup was whole or absent");
}

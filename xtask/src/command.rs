//! Child processes: every command that changes something is echoed to stderr before it runs.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a command with inherited output.
///
/// # Errors
/// When it cannot be started or does not exit with 0.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    eprintln!("+ {}", line(command));
    let status = command
        .status()
        .map_err(|error| format!("start `{}`: {error}", program(command)))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{}` ended with {status}", line(command)))
    }
}

/// Runs a command without echo and returns what it wrote to stdout.
///
/// # Errors
/// When it cannot be started or does not exit with 0; the message ends with its stderr.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("start `{}`: {error}", program(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "`{}` ended with {}: {}",
        line(command),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

/// True when the effective user is root, as apt needs it.
pub(crate) fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Asks `done` ten times a second until it says yes.
///
/// # Errors
/// When `done` fails, or after `limit`; the message names `what` was waited for.
pub(crate) fn wait_until(
    what: &str,
    limit: Duration,
    mut done: impl FnMut() -> Result<bool, String>,
) -> Result<(), String> {
    let start = Instant::now();
    while !done()? {
        if start.elapsed() > limit {
            return Err(format!("{what}: not within {} s", limit.as_secs()));
        }
        pause();
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "polling a child process from a plain program"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn line(command: &Command) -> String {
    let mut line = program(command);
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

//! `salvor`: Kubernetes backup and disaster recovery in one binary.
//!
//! [`args`] says what can be asked for, [`command`] does it with a [`session::Session`], [`output`] shows
//! it, [`exit`] ends it. Commands make no decisions about stored data or objects: those live in the
//! crates below.
//!
//! Invariants:
//! - results go to standard output, everything else to standard error;
//! - nothing is removed or changed without `--yes` or a typed name;
//! - every failure is one line with its whole chain, a hint where there is one, and an exit code of the
//!   help text.

mod args;
mod command;
mod config;
mod debug;
mod demo;
mod exit;
mod explain;
mod output;
mod served;
mod session;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Arguments;
use crate::exit::{Exit, Failure};
use crate::session::Session;

fn main() -> ExitCode {
    let Arguments { global, command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            // A closed pipe behind `--help` is no failure.
            let _ = error.print();
            return code.into();
        }
    };
    let serves = matches!(
        command,
        args::Command::Server(_) | args::Command::NodeAgent(_) | args::Command::Mover(_)
    );
    log_to_stderr(global.verbose, serves);
    // Refused when a library was faster, which is as good: there is one provider to choose from.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let session = Session::new(global);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::caused(Exit::Internal, "start the runtime", error);
            session.printer.failure(&failure);
            return failure.exit.into();
        }
    };
    let outcome = runtime.block_on(async {
        let watcher = tokio::spawn(cancel_on_interrupt(session.clone()));
        let outcome = Box::pin(command::run(command, &session)).await;
        watcher.abort();
        outcome
    });
    // A blocked read of standard input must not keep the process.
    runtime.shutdown_background();
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            session.printer.failure(&failure);
            failure.exit.into()
        }
    }
}

/// The first Ctrl-C or SIGTERM asks the command to stop at a safe point, the second ends the process.
async fn cancel_on_interrupt(session: Session) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    let mut told = async || {
        tokio::select! {
            told = interrupt.recv() => told,
            told = terminate.recv() => told,
        }
    };
    if told().await.is_none() {
        return;
    }
    session.cancel.cancel();
    session.printer.note(&session.messages.stopping());
    if told().await.is_some() {
        std::process::exit(Exit::Cancelled as i32);
    }
}

fn log_to_stderr(verbose: u8, serves: bool) {
    let level = match verbose {
        // A server is looked at through its log.
        0 if serves => "salvor=info,warn",
        0 => "off",
        1 => "salvor=info,warn",
        2 => "salvor=debug,info",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("SALVOR_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
}

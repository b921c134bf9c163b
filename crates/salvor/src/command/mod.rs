//! What each command does. One file per command: explicit inputs, a session, an exit status.

mod backup_archive;
mod backup_browse;
mod backup_copy;
mod backup_create;
mod backup_delete;
mod backup_describe;
mod backup_diff;
mod backup_download;
mod backup_export;
mod backup_get;
mod backup_hold;
mod backup_logs;
mod backup_repair;
mod backup_verify;
mod data_mover;
mod debug;
mod etcd;
mod explain;
mod extension_check;
mod install;
mod kept_snapshots;
mod location_check;
mod location_config;
mod location_files;
mod location_get;
mod location_init;
mod location_mirror;
mod mover;
mod node_agent;
mod point;
pub(crate) mod private_file;
mod pv;
mod pvc;
pub(crate) mod read;
mod reader;
mod records;
mod repository;
mod restore_create;
mod restore_delete;
mod restore_describe;
mod restore_get;
mod restore_logs;
mod restore_wait;
mod retention_plan;
mod runs;
mod runs_list;
mod schedule;
mod served;
mod server;
mod snapshotters;
mod transfer;
mod undelete;
mod uninstall;
mod unknown_resources;
mod version;

use clap::CommandFactory as _;

use crate::args::backup::BackupCommand;
use crate::args::claims::{PvCommand, PvcCommand};
use crate::args::extension::ExtensionCommand;
use crate::args::location::{CreateArgs as CreateLocation, LocationCommand};
use crate::args::restore::RestoreCommand;
use crate::args::retention::RetentionCommand;
use crate::args::{Arguments, Command, CreateCommand, DeleteCommand, DescribeCommand, GetCommand};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Runs a command to its end.
///
/// # Errors
/// It could not do what it was asked to.
pub(crate) async fn run(command: Command, session: &Session) -> Result<Exit, Failure> {
    match command {
        Command::Backup(command) => backup(command, session).await,
        Command::Restore(command) => restore(command, session).await,
        Command::Schedule(command) => schedule::run(command, session).await,
        Command::BackupLocation(command) => location(command, session).await,
        Command::Retention(RetentionCommand::Plan(args)) => {
            retention_plan::run(&args, session).await
        }
        Command::Repo(command) => repository::run(command, session).await,
        Command::Volume(command) => repository::run_volume(command, session).await,
        Command::Point(command) => point::run(command, session).await,
        Command::Etcd(command) => Box::pin(etcd::run(command, session)).await,
        Command::ControlPlane(command) => {
            Box::pin(etcd::control_plane::run(command, session)).await
        }
        Command::Pv(PvCommand::Released(args)) => pv::released::run(&args, session).await,
        Command::Pv(PvCommand::Rebind(args)) => pv::rebind::run(&args, session).await,
        Command::Pvc(PvcCommand::Check(args)) => pvc::check::run(&args, session).await,
        Command::Extension(ExtensionCommand::Check(args)) => {
            extension_check::run(&args, session).await
        }
        Command::Create(CreateCommand::Backup(args)) => backup_create::run(&args, session).await,
        Command::Create(CreateCommand::Restore(args)) => restore_create::run(&args, session).await,
        Command::Create(CreateCommand::Schedule(args)) => schedule::create(&args, session).await,
        Command::Create(CreateCommand::BackupLocation(args)) => {
            create_location(&args, session).await
        }
        Command::Get(GetCommand::Backups(args)) => backup_get::run(&args, session).await,
        Command::Get(GetCommand::Restores(args)) => restore_get::run(&args, session).await,
        Command::Get(GetCommand::Schedules(args)) => schedule::get(&args, session).await,
        Command::Get(GetCommand::BackupLocations(args)) => location_get::get(&args, session).await,
        Command::Describe(DescribeCommand::Backups(args)) => {
            backup_describe::run(&args, session).await
        }
        Command::Describe(DescribeCommand::Restores(args)) => {
            restore_describe::run(&args, session).await
        }
        Command::Describe(DescribeCommand::Schedules(args)) => {
            schedule::describe(&args, session).await
        }
        Command::Describe(DescribeCommand::BackupLocations(args)) => {
            location_get::describe(&args, session).await
        }
        Command::Delete(DeleteCommand::Backup(args)) => backup_delete::run(&args, session).await,
        Command::Delete(DeleteCommand::Restore(args)) => restore_delete::run(&args, session).await,
        Command::Delete(DeleteCommand::Schedule(args)) => schedule::delete(&args, session).await,
        Command::Delete(DeleteCommand::BackupLocation(args)) => {
            served::location::delete(&args, session).await
        }
        Command::Undelete(args) => undelete::run(&args, session).await,
        Command::RestoreWait(args) => restore_wait::run(&args, session).await,
        Command::Server(args) => server::run(&args, session).await,
        Command::NodeAgent(args) => node_agent::run(&args, session).await,
        Command::Mover(args) => mover::run(&args, session).await,
        Command::Hold => mover::hold(session).await,
        Command::Reader(command) => reader::run(command, session).await,
        Command::Install(args) => install::run(&args, session).await,
        Command::Uninstall(args) => uninstall::run(&args, session).await,
        Command::Debug(args) => debug::run(&args, session).await,
        Command::Explain(args) => explain::run(&args, session),
        Command::Demo(args) => crate::demo::run(&args, session).await,
        Command::Version(args) => version::run(&args, session).await,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "salvor", &mut script);
            session.printer.bytes(&script)?;
            Ok(Exit::Done)
        }
    }
}

async fn backup(command: BackupCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        BackupCommand::Create(args) => backup_create::run(&args, session).await,
        BackupCommand::Get(args) => backup_get::run(&args, session).await,
        BackupCommand::Describe(args) => backup_describe::run(&args, session).await,
        BackupCommand::Logs(args) => backup_logs::run(&args, session).await,
        BackupCommand::Download(args) => backup_download::run(&args, session).await,
        BackupCommand::Delete(args) => backup_delete::run(&args, session).await,
        BackupCommand::Archive(args) => backup_archive::archive(&args, session).await,
        BackupCommand::Thaw(args) => backup_archive::thaw(&args, session).await,
        BackupCommand::Hold(args) => backup_hold::hold(&args, session).await,
        BackupCommand::Release(args) => backup_hold::release(&args, session).await,
        BackupCommand::Verify(args) => backup_verify::run(&args, session).await,
        BackupCommand::Copy(args) => backup_copy::run(&args, session).await,
        BackupCommand::Copies(args) => backup_copy::show(&args, session).await,
        BackupCommand::Repair(args) => backup_repair::run(&args, session).await,
        BackupCommand::Export(args) => backup_export::run(&args, session).await,
        BackupCommand::Diff(args) => backup_diff::run(&args, session).await,
        BackupCommand::Browse(args) => backup_browse::run(&args, session).await,
    }
}

async fn restore(command: RestoreCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        RestoreCommand::Create(args) => restore_create::run(&args, session).await,
        RestoreCommand::Get(args) => restore_get::run(&args, session).await,
        RestoreCommand::Describe(args) => restore_describe::run(&args, session).await,
        RestoreCommand::Logs(args) => restore_logs::run(&args, session).await,
        RestoreCommand::Delete(args) => restore_delete::run(&args, session).await,
    }
}

async fn location(command: LocationCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        LocationCommand::Create(args) => create_location(&args, session).await,
        LocationCommand::Set(args) => served::location::set(&args, session).await,
        LocationCommand::Delete(args) => served::location::delete(&args, session).await,
        LocationCommand::Get(args) => location_get::get(&args, session).await,
        LocationCommand::Describe(args) => location_get::describe(&args, session).await,
        LocationCommand::Check(args) => location_check::run(&args, session).await,
        LocationCommand::Init(args) => location_init::run(&args, session).await,
        LocationCommand::SetDefault(args) => location_config::set_default(&args, session),
        LocationCommand::Mirror(args) => location_mirror::run(&args, session).await,
        LocationCommand::Files(command) => location_files::run(command, session).await,
    }
}

/// A URL names a location for this program, a provider describes one for the server.
async fn create_location(args: &CreateLocation, session: &Session) -> Result<Exit, Failure> {
    match &args.url {
        Some(url) => location_config::create(args, url, session),
        None => served::location::create(args, session).await,
    }
}

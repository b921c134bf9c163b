//! `schedule`: its commands write and read Schedules, which a server follows.

use salvor_api::go::Time;
use salvor_api::schedule;
use salvor_api::velero::Schedule;
use salvor_text::duration::from_now;
use salvor_text::{DescribeWriter, ObjectDone, Table};

use super::backup_create;
use super::served::structured;
use crate::args::choice::{ChoiceArgs, DemandArgs};
use crate::args::schedule::{
    CreateArgs, DeleteArgs, GetArgs, PauseArgs, ScheduleCommand, UnpauseArgs,
};
use crate::exit::{Exit, Failure};
use crate::output::{describe_backup, phase};
use crate::served::Served;
use crate::session::Session;

const WHAT: &str = "schedules";

/// Runs a command.
pub(crate) async fn run(command: ScheduleCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        ScheduleCommand::Create(args) => create(&args, session).await,
        ScheduleCommand::Get(args) => get(&args, session).await,
        ScheduleCommand::Describe(args) => describe(&args, session).await,
        ScheduleCommand::Delete(args) => delete(&args, session).await,
        ScheduleCommand::Pause(args) => pause(&args, session).await,
        ScheduleCommand::Unpause(args) => unpause(&args, session).await,
    }
}

/// Creates a schedule, or prints it.
pub(crate) async fn create(args: &CreateArgs, session: &Session) -> Result<Exit, Failure> {
    if args.template.volumes.resource_policies_file.is_some() {
        let text = "--resource-policies-file is read here, and the backups are made by the server";
        let hint = "create a ConfigMap and name it with --resource-policies-configmap";
        return Err(Failure::usage(text).hint(hint));
    }
    salvor_api::name::check_dns_subdomain("schedule", &args.name)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let mut schedule = Schedule::named(session.namespace(), &args.name);
    let filters = &args.template.filters;
    schedule.metadata.labels = filters.label_map().map_err(Failure::usage)?;
    schedule.metadata.annotations = filters.annotation_map().map_err(Failure::usage)?;
    let copies = backup_create::copy_annotations(&args.template)?;
    schedule.metadata.annotations.extend(copies);
    let spec = &mut schedule.spec;
    spec.template = backup_create::spec(&args.template)?;
    spec.schedule.clone_from(&args.schedule);
    spec.use_owner_references_in_backup = args.use_owner_references_in_backup.then_some(true);
    spec.paused = args.paused;
    spec.skip_immediately = args.skip_immediately;
    // Said here rather than by the server later, where nobody looks.
    let errors = schedule::validate(&schedule);
    if !errors.is_empty() {
        let (name, reasons) = (&args.name, errors.join("; "));
        return Err(Failure::usage(format!(
            "schedule `{name}` is not valid: {reasons}"
        )));
    }
    if let Some(done) = structured(&[schedule.clone()], 1, args.output, session) {
        return done.map(|()| Exit::Done);
    }
    let served = session.server(WHAT).await?;
    let created = served.kinds().create(&schedule).await?;
    said(&created, ObjectDone::Created, session)
}

/// Lists schedules in Velero's columns.
pub(crate) async fn get(args: &GetArgs, session: &Session) -> Result<Exit, Failure> {
    let schedules = chosen(&args.choice, session).await?;
    let named = args.choice.names.len();
    if let Some(done) = structured(&schedules, named, args.format.output, session) {
        return done.map(|()| Exit::Done);
    }
    if schedules.is_empty() {
        let text = session.messages.none_in_namespace(session.namespace());
        session.printer.remark(&text);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        "NAME",
        "STATUS",
        "CREATED",
        "SCHEDULE",
        "BACKUP TTL",
        "LAST BACKUP",
        "SELECTOR",
        "PAUSED",
    ]);
    for schedule in &schedules {
        let Schedule {
            metadata,
            spec,
            status,
            ..
        } = schedule;
        let created = metadata.creation_timestamp;
        table.row(&[
            metadata.name.clone(),
            phase(status.phase.as_str(), session.printer.color),
            created.map_or_else(|| "<nil>".to_owned(), Time::go_display),
            spec.schedule.clone(),
            spec.template.ttl.to_string(),
            from_now(status.last_backup.map(Time::timestamp), session.now()),
            describe_backup::selector(spec.template.label_selector.as_ref()),
            spec.paused.to_string(),
        ]);
    }
    session.printer.result(&table.to_string())?;
    Ok(Exit::Done)
}

/// Describes schedules in Velero's layout.
pub(crate) async fn describe(args: &ChoiceArgs, session: &Session) -> Result<Exit, Failure> {
    for (at, schedule) in chosen(args, session).await?.iter().enumerate() {
        let separator = if at > 0 { "\n\n" } else { "" };
        let text = text(schedule, session.printer.color);
        session.printer.result(&format!("{separator}{text}"))?;
    }
    Ok(Exit::Done)
}

fn text(schedule: &Schedule, color: bool) -> String {
    let Schedule {
        metadata,
        spec,
        status,
        ..
    } = schedule;
    let mut d = DescribeWriter::new();
    d.field("Name", &metadata.name);
    d.field("Namespace", &metadata.namespace);
    d.map("Labels", &metadata.labels);
    d.map("Annotations", &metadata.annotations);
    d.blank();
    d.field("Phase", phase(status.phase.as_str(), color));
    if !status.validation_errors.is_empty() {
        d.blank();
        d.list(0, "Validation errors", &status.validation_errors);
    }
    d.blank();
    d.field("Paused", spec.paused);
    d.blank();
    d.field("Schedule", &spec.schedule);
    d.blank();
    d.line("Backup Template:");
    let mut template = DescribeWriter::new();
    describe_backup::spec(&mut template, &spec.template);
    for line in template.finish().lines() {
        d.line(if line.is_empty() {
            String::new()
        } else {
            format!("\t{line}")
        });
    }
    d.blank();
    let last = status.last_backup;
    d.field(
        "Last Backup",
        last.map_or_else(|| "<never>".to_owned(), Time::go_display),
    );
    d.finish()
}

/// Deletes schedules after asking.
pub(crate) async fn delete(args: &DeleteArgs, session: &Session) -> Result<Exit, Failure> {
    let (served, schedules) = demanded(&args.which, session).await?;
    for schedule in &schedules {
        let name = &schedule.metadata.name;
        let text = session.messages.will_be_deleted("schedule", name);
        session.printer.remark(&text);
    }
    let typed = match schedules.as_slice() {
        [] => return Ok(Exit::Done),
        [one] => &one.metadata.name,
        _ => &served.namespace,
    };
    session.confirm(args.confirm.yes, typed).await?;
    for schedule in &schedules {
        served.kinds().delete(schedule).await?;
        said(schedule, ObjectDone::Deleted, session)?;
    }
    Ok(Exit::Done)
}

async fn pause(args: &PauseArgs, session: &Session) -> Result<Exit, Failure> {
    let pause = |schedule: &mut Schedule| schedule.spec.paused = true;
    change(&args.which, pause, ObjectDone::Paused, session).await
}

async fn unpause(args: &UnpauseArgs, session: &Session) -> Result<Exit, Failure> {
    let unpause = |schedule: &mut Schedule| {
        schedule.spec.paused = false;
        if args.skip_immediately.is_some() {
            schedule.spec.skip_immediately = args.skip_immediately;
        }
    };
    change(&args.which, unpause, ObjectDone::Unpaused, session).await
}

async fn change(
    which: &DemandArgs,
    change: impl Fn(&mut Schedule),
    done: ObjectDone,
    session: &Session,
) -> Result<Exit, Failure> {
    let (served, schedules) = demanded(which, session).await?;
    for schedule in &schedules {
        let name = &schedule.metadata.name;
        let changed = served.change(name, |schedule: &mut Schedule| {
            change(schedule);
            Ok(())
        });
        let done = if changed.await? {
            done
        } else {
            ObjectDone::Unchanged
        };
        said(schedule, done, session)?;
    }
    Ok(Exit::Done)
}

fn said(schedule: &Schedule, done: ObjectDone, session: &Session) -> Result<Exit, Failure> {
    let name = &schedule.metadata.name;
    let text = session.messages.object_done("Schedule", name, done);
    session.printer.result(&format!("{text}\n"))?;
    Ok(Exit::Done)
}

async fn chosen(args: &ChoiceArgs, session: &Session) -> Result<Vec<Schedule>, Failure> {
    let served = session.server(WHAT).await?;
    served.chosen(&args.names, args.selector.as_ref()).await
}

async fn demanded(
    which: &DemandArgs,
    session: &Session,
) -> Result<(Served, Vec<Schedule>), Failure> {
    let served = session.server(WHAT).await?;
    let schedules = served.chosen(&which.names, which.selector.as_ref()).await?;
    if schedules.is_empty() {
        let text = session.messages.none_in_namespace(&served.namespace);
        session.printer.remark(&text);
    }
    Ok((served, schedules))
}

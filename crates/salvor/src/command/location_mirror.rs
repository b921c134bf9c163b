//! `backup-location mirror`: an existing location, or a plain folder, to a location.

use std::path::Path;
use std::time::Instant;

use salvor_location::Location;
use salvor_location::copy::{CopyOptions, Transfer, mirror, rate, tree};
use salvor_text::ByteCount;
use salvor_text::duration::elapsed;
use serde_json::{Value, json};

use crate::args::Format;
use crate::args::location::{MirrorArgs, Prune};
use crate::command::backup_copy::expiry;
use crate::command::{read, transfer};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Below this a transfer is over before its time was estimated.
const ESTIMATED: u64 = 16 << 20;

/// Brings what is missing at the target.
pub(crate) async fn run(args: &MirrorArgs, session: &Session) -> Result<Exit, Failure> {
    if let Some(folder) = &args.from_directory {
        let [target] = args.places.as_slice() else {
            return Err(Failure::usage(
                "with --from-directory name one location: the target",
            ));
        };
        let target = transfer::location(target, session).await?;
        return mirror_folder(args, folder, &target, session).await;
    }
    let [source, target] = args.places.as_slice() else {
        return Err(Failure::usage(
            "name two locations: the source, then the target",
        ));
    };
    let source = transfer::location(source, session).await?;
    let target = transfer::location(target, session).await?;
    read::assert_folder(&source)?;
    mirror_location(args, &source, &target, session).await
}

async fn mirror_location(
    args: &MirrorArgs,
    source: &Location,
    target: &Location,
    session: &Session,
) -> Result<Exit, Failure> {
    let prune = args.prune == Prune::Deleted;
    let plan = mirror::plan(source, target, prune).await?;
    for (name, reason) in plan.left_out() {
        session
            .printer
            .warning(&session.messages.mirror_leaves(name, reason));
    }
    if !plan.left.is_empty() {
        let folders = plan.left.join(", ");
        session
            .printer
            .warning(&session.messages.mirror_leaves_folders(&folders));
    }
    let left_out = plan.left_out().next().is_some();
    let at_the_end = if left_out { Exit::Partial } else { Exit::Done };
    if args.dry_run {
        match args.format.output {
            Format::Json => session.printer.json(&value(&plan))?,
            Format::Yaml => session.printer.yaml(&value(&plan))?,
            _ => session.printer.result(&plan.to_string())?,
        }
        session.printer.note(&session.messages.dry_run());
        return Ok(at_the_end);
    }
    if plan.steps() == 0 {
        session
            .printer
            .remark(&session.messages.mirror_is_current());
        return Ok(at_the_end);
    }
    let removals: Vec<&str> = plan.removals().collect();
    if !removals.is_empty() {
        let text = session
            .messages
            .mirror_removes(&removals.join(", "), target.name());
        session.printer.remark(&text);
        session.confirm(args.confirm.yes, target.name()).await?;
    }
    let total = plan.bytes();
    let copied: Vec<&str> = plan
        .backups
        .iter()
        .filter(|(_, action)| matches!(action, mirror::Action::Copy(_)))
        .map(|(name, _)| name.as_str())
        .collect();
    let measured = match total >= ESTIMATED {
        true => rate::measure(source, &copied, target, true).await?,
        false => None,
    };
    let size = ByteCount(total).to_string();
    let estimate = transfer::estimate(total, measured, session);
    let text = session
        .messages
        .mirror_begins(plan.steps(), &size, &estimate);
    session.printer.remark(&text);
    let options = CopyOptions {
        expiry: expiry(args.ttl),
        transfer: Transfer::default(),
    };
    let began = Instant::now();
    let work = mirror::apply(source, target, &plan, &options);
    let done = transfer::follow("mirror", total, &options.transfer, session, work).await?;
    let count = (done.done.len() + done.removed.len()) as u64;
    let all = done.failed.is_empty();
    for (name, error) in done.failed {
        let reason = Failure::from(error).chain();
        session
            .printer
            .warning(&session.messages.mirror_leaves(&name, &reason));
    }
    let (sent, took) = (
        ByteCount(options.transfer.sent()).to_string(),
        elapsed(began.elapsed()),
    );
    let line = session.messages.mirror_done(count, &sent, &took);
    session.printer.result(&format!("{line}\n"))?;
    session.note_if_temporary(target);
    Ok(match all {
        true => at_the_end,
        false => Exit::Partial,
    })
}

fn value(plan: &mirror::MirrorPlan) -> Value {
    let entries = |all: &std::collections::BTreeMap<String, mirror::Action>| -> Vec<Value> {
        let one = |(name, action): (&String, &mirror::Action)| match action {
            mirror::Action::Copy(bytes) => json!({"name": name, "action": "copy", "bytes": bytes}),
            mirror::Action::Leave(why) => json!({"name": name, "action": "leave", "reason": why}),
            other => json!({"name": name, "action": other.to_string()}),
        };
        all.iter().map(one).collect()
    };
    json!({
        "backups": entries(&plan.backups),
        "restores": entries(&plan.restores),
        "repositories": entries(&plan.repositories),
        "points": entries(&plan.points),
        "notMirrored": plan.left,
        "bytes": plan.bytes(),
        "stopped": plan.stopped,
    })
}

async fn mirror_folder(
    args: &MirrorArgs,
    folder: &Path,
    target: &Location,
    session: &Session,
) -> Result<Exit, Failure> {
    let tree_name = match &args.tree {
        Some(name) => name.clone(),
        None => name_of(folder)?,
    };
    let size = tree::measure(folder).await?;
    let total = ByteCount(size.bytes).to_string();
    if args.dry_run {
        let text = session.messages.folder_has(size.files, &total);
        session.printer.result(&format!("{tree_name}: {text}\n"))?;
        session.printer.note(&session.messages.dry_run());
        return Ok(Exit::Done);
    }
    let moved = Transfer::default();
    let work = tree::mirror_folder(folder, target, &tree_name, &moved);
    let record = transfer::follow(&tree_name, size.bytes, &moved, session, work).await?;
    let name = format!("{tree_name} {}", record.generation);
    let (bytes, sent) = (
        ByteCount(record.bytes).to_string(),
        ByteCount(moved.sent()).to_string(),
    );
    match args.format.output {
        Format::Json => session.printer.json(&record)?,
        Format::Yaml => session.printer.yaml(&record)?,
        _ => {
            let line = session
                .messages
                .folder_mirrored(&name, record.files, &bytes, &sent);
            session.printer.result(&format!("{line}\n"))?;
        }
    }
    if record.missing == 0 {
        return Ok(Exit::Done);
    }
    for path in &record.missing_paths {
        session.printer.warning(path);
    }
    session
        .printer
        .warning(&session.messages.files_missing(record.missing));
    Ok(Exit::Partial)
}

/// A folder is kept under its own name, unless another is given.
fn name_of(folder: &Path) -> Result<String, Failure> {
    let whole = std::path::absolute(folder);
    let name = whole
        .ok()
        .and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    name.filter(|name| tree::assert_tree_name(name).is_ok())
        .ok_or_else(|| {
            Failure::usage(format!("{} has no name that can be used", folder.display()))
                .hint("name it with --tree")
        })
}

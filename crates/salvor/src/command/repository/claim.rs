//! `volume restore --point`: a claim of a cluster brought back to a recovery point.

use std::time::Duration;

use salvor_api::resource::GroupResource;
use salvor_cluster::{ApiResource, Cluster, WriteOptions};
use salvor_location::Location;
use salvor_objects::restore::Source;
use salvor_text::duration::about;
use salvor_text::{ByteCount, Messages};
use salvor_volume::claims::like::like;
use salvor_volume::in_place::{InPlace, InPlaceError, IntoClaim, Step};
use salvor_volume::standstill::{StandstillError, Users, Workload, users_of};
use salvor_volume::{AgentMover, Claim, MoveError, Moving, Part};
use serde_json::Value;
use tokio::sync::watch;

use super::point::{self, Point};
use crate::args::DamageArgs;
use crate::args::repository::VolumeRestoreArgs;
use crate::command::{data_mover, pvc, read};
use crate::exit::{Exit, Failure};
use crate::output::progress::Progress;
use crate::session::Session;

/// Pods of an application that are named; the rest is counted.
const NAMED: usize = 5;

fn claims() -> ApiResource {
    ApiResource::known(
        "",
        "v1",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        true,
    )
}

/// The claim that is filled.
struct Target {
    claim: Claim,
    /// What is to be made when it is not there.
    missing: Option<Value>,
    users: Users,
}

impl Target {
    fn name(&self) -> String {
        format!("{}/{}", self.claim.namespace, self.claim.name)
    }
}

/// Brings a claim back to a recovery point.
pub(super) async fn restore(
    args: &VolumeRestoreArgs,
    point: &str,
    session: &Session,
) -> Result<Exit, Failure> {
    let (namespace, name) = pvc::claim_name(&args.from)?;
    let part = part(args)?;
    let location = session.location_of(None).await?;
    let point = point::find(point, (&namespace, &name), &location, session).await?;
    let cluster = session.cluster(None).await?;
    let (agents, known_as) = agents(&cluster, &location, session).await?;
    let target = target(
        args,
        (&namespace, &name),
        &point,
        &location,
        &cluster,
        session,
    )
    .await?;
    session
        .printer
        .remark(&told(&target, &point, &part, session.messages));
    if args.claim.dry_run {
        session.printer.note(&session.messages.dry_run());
        return Ok(Exit::Done);
    }
    match &target.missing {
        Some(claim) => make(claim, &cluster).await?,
        None => session.confirm(args.confirm.yes, &target.name()).await?,
    }
    let (moving, seen) = watch::channel(Moving::default());
    let agents = agents.telling(moving);
    let into = IntoClaim {
        cluster: &cluster,
        agents: &agents,
        server: session.namespace(),
        claim: &target.claim,
        location: &known_as,
        domain: point.domain.clone(),
        snapshot: &point.snapshot.id,
        source_namespace: &namespace,
        // How much a part has is not known before.
        bytes: if part.only.is_empty() {
            point.snapshot.bytes
        } else {
            0
        },
        part,
        stop_application: args.in_place,
        stay_stopped: args.claim.stay_stopped,
        stop_timeout: args.claim.stop_timeout.0,
        timeout: args.claim.timeout.0,
    };
    let done = carry_out(&into, seen, session).await?;
    ended(&done, &target, &point, session)
}

/// The paths of the volume that come back.
fn part(args: &VolumeRestoreArgs) -> Result<Part, Failure> {
    let only = args.to.iter().map(|path| {
        let text = path
            .to_str()
            .filter(|text| !text.split('/').any(|part| part == ".."));
        text.map(str::to_owned).ok_or_else(|| {
            Failure::usage(format!("{}: this is no path in a volume", path.display())).hint(
                "name it as `volume ls` shows it, from the volume's root, such as conf/app.yaml",
            )
        })
    });
    Ok(Part {
        only: only.collect::<Result<_, _>>()?,
        delete_extra: args.delete_extra,
    })
}

async fn agents(
    cluster: &Cluster,
    location: &Location,
    session: &Session,
) -> Result<(AgentMover, String), Failure> {
    let found = Box::pin(data_mover::agents(cluster, location, session)).await;
    found.ok_or_else(|| {
        let text = session.messages.no_agents_for_claim(session.namespace(), location.name());
        Failure::new(Exit::NotFound, text).hint(
            "install them with `salvor install --use-node-agent`; into a directory of this machine: `salvor volume \
             restore SNAPSHOT DIRECTORY --domain ...`",
        )
    })
}

/// The claim that is filled, looked at.
async fn target(
    args: &VolumeRestoreArgs,
    (namespace, name): (&str, &str),
    point: &Point,
    location: &Location,
    cluster: &Cluster,
    session: &Session,
) -> Result<Target, Failure> {
    let (in_namespace, called) = match &args.claim.into {
        Some(other) => pvc::claim_name(other)?,
        None => (namespace.to_owned(), name.to_owned()),
    };
    let Some(found) = get(cluster, &in_namespace, &called).await? else {
        let model = match get(cluster, namespace, name).await? {
            Some(model) => model,
            None => of_backup((namespace, name), point, location, session).await?,
        };
        return Ok(Target {
            missing: Some(like(&model, &in_namespace, &called)),
            claim: Claim {
                namespace: in_namespace,
                name: called,
                ..Claim::default()
            },
            users: Users::default(),
        });
    };
    let shown = format!("{in_namespace}/{called}");
    if args.claim.into.is_none() && !args.in_place {
        let text = session.messages.claim_has_data(&shown);
        return Err(Failure::new(Exit::Refused, text).hint(format!(
            "--in-place brings it to the state of the point, with its application stopped meanwhile; --into \
             {shown}-restored puts the data beside it"
        )));
    }
    let users = users_of(cluster, &in_namespace, &called).await?;
    if args.in_place && !users.others.is_empty() {
        let (claim, others) = (shown, users.others);
        return Err(StandstillError::NotScalable { claim, others }.into());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Target {
        claim: Claim {
            namespace: in_namespace,
            name: called,
            uid: text(&found["metadata"]["uid"]),
            volume: text(&found["spec"]["volumeName"]),
        },
        missing: None,
        users,
    })
}

async fn get(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<Value>, Failure> {
    let found = cluster.get(&claims(), Some(namespace), name).await?;
    Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// A claim as the backup has it.
async fn of_backup(
    (namespace, name): (&str, &str),
    point: &Point,
    location: &Location,
    session: &Session,
) -> Result<Value, Failure> {
    let backup = read::backup_name(&point.backup)?;
    let damage = DamageArgs {
        skip_damaged: false,
    };
    let source: Source = read::source(location, &backup, damage, session).await?;
    let (archive, namespace, name) = (source.archive, namespace.to_owned(), name.to_owned());
    let read = tokio::task::spawn_blocking(move || {
        let resource = GroupResource::new("persistentvolumeclaims", "");
        let index = archive.index();
        for entry in index.range(&resource, Some(namespace.as_str())) {
            let what = || format!("`{}` of the backup", entry.key());
            let bytes = archive
                .get(&entry)
                .map_err(|error| read::damaged(&what(), error))?;
            let object: Value = serde_json::from_slice(&bytes).map_err(|error| {
                Failure::caused(
                    Exit::VerificationFailed,
                    format!("understand {}", what()),
                    error,
                )
            })?;
            if object["metadata"]["name"] == name.as_str() {
                return Ok(object);
            }
        }
        let text = format!("neither the cluster nor the backup has claim {namespace}/{name}");
        Err(Failure::new(Exit::NotFound, text)
            .hint("make a claim for the data, then name it with --into"))
    });
    match read.await {
        Ok(found) => found,
        Err(error) => Err(Failure::caused(
            Exit::Internal,
            "read the claim of the backup",
            error,
        )),
    }
}

/// A claim of that name that somebody made meanwhile is not taken.
async fn make(claim: &Value, cluster: &Cluster) -> Result<(), Failure> {
    let namespace = claim["metadata"]["namespace"].as_str();
    let body = claim.to_string();
    let options = WriteOptions::default();
    cluster
        .create(&claims(), namespace, body.as_bytes(), &options)
        .await?;
    Ok(())
}

/// What will be done, before the question.
fn told(target: &Target, point: &Point, part: &Part, messages: Messages) -> String {
    let time = point.time.map(|time| time.to_string()).unwrap_or_default();
    let size = ByteCount(point.snapshot.bytes).to_string();
    let mut lines = vec![messages.point_chosen(&point.backup, &time, &size, point.snapshot.unread)];
    let name = target.name();
    lines.push(match (&target.missing, part.only.as_slice()) {
        (Some(_), []) => messages.claim_is_made(&name),
        (Some(_), only) => format!("{}: {}", messages.claim_is_made(&name), only.join(", ")),
        (None, []) => messages.claim_is_overwritten(&name, part.delete_extra),
        (None, only) => messages.paths_are_overwritten(&name, &only.join(", "), part.delete_extra),
    });
    for workload in &target.users.workloads {
        lines.push(messages.workload_is_stopped(&shown(workload), workload.replicas));
    }
    let pods = &target.users.pods;
    if !pods.is_empty() {
        let some: Vec<&str> = pods.iter().take(NAMED).map(String::as_str).collect();
        lines.push(messages.pods_end(pods.len(), &some.join(", "), target.users.grace));
    }
    if !target.users.workloads.is_empty() {
        let copying = point.whole.filter(|_| part.only.is_empty());
        let time = copying.map(|took| about(took + Duration::from_secs(target.users.grace)));
        lines.push(messages.standstill_time(time.as_deref()));
    }
    lines.join("\n")
}

fn shown(workload: &Workload) -> String {
    format!("{} {}", workload.kind, workload.name)
}

/// Does it and shows how far it is.
async fn carry_out(
    into: &IntoClaim<'_>,
    mut seen: watch::Receiver<Moving>,
    session: &Session,
) -> Result<InPlace, Failure> {
    let messages = session.messages;
    let printer = session.printer.clone();
    let mut step = move |step: Step<'_>| match step {
        Step::Waiting(holder) => printer.note(&messages.claim_is_busy(holder)),
        Step::Stopping(users) => {
            for workload in &users.workloads {
                printer.remark(&messages.workload_stops(&shown(workload)));
            }
        }
        Step::Filling => {}
        Step::Starting(users) => {
            for workload in &users.workloads {
                printer.remark(&messages.workload_starts(&shown(workload), workload.replicas));
            }
        }
        Step::LeftStopped(users) => {
            let workloads: Vec<String> = users.workloads.iter().map(self::shown).collect();
            let commands = users.workloads.iter();
            let commands: Vec<String> = commands
                .map(|w| w.start_command(&into.claim.namespace))
                .collect();
            let (workloads, commands) = (workloads.join(", "), commands.join("\n  "));
            printer.warning(&messages.workloads_left_stopped(&workloads, &commands));
        }
    };
    let work = into.run(&mut step, &session.cancel);
    tokio::pin!(work);
    let mut shown: Option<Progress> = None;
    loop {
        tokio::select! {
            done = &mut work => return Ok(done?),
            Ok(()) = seen.changed() => {
                let Moving { bytes, total } = *seen.borrow_and_update();
                let begin = || Progress::begin(&messages.restoring_files()).with_remaining(messages);
                let detail = ByteCount(bytes).to_string();
                shown.get_or_insert_with(begin).update(bytes, total, &detail);
                if total > 0 && bytes >= total {
                    shown = None;
                }
            }
        }
    }
}

fn ended(
    done: &InPlace,
    target: &Target,
    point: &Point,
    session: &Session,
) -> Result<Exit, Failure> {
    let (filled, messages) = (&done.filled, session.messages);
    for problem in &filled.problems {
        session.printer.warning(problem);
    }
    let written = ByteCount(filled.bytes).to_string();
    let (name, backup) = (target.name(), &point.backup);
    let text = match filled.failed {
        0 => messages.claim_restored(&name, backup, filled.entries, &written),
        _ => messages.claim_restored_in_part(&name, backup, &written),
    };
    session.printer.result(&format!("{text}\n"))?;
    if filled.failed > 0 {
        session
            .printer
            .warning(&messages.entries_missing(filled.failed));
        return Ok(Exit::Partial);
    }
    Ok(Exit::Done)
}

impl From<StandstillError> for Failure {
    fn from(error: StandstillError) -> Self {
        match error {
            StandstillError::Cluster { doing, source } => Self::from(source).while_doing(&doing),
            error @ StandstillError::NotScalable { .. } => Self::caused(Exit::Refused, "", error)
                .hint(
                    "or put the data into another claim with --into, which touches no application",
                ),
        }
    }
}

impl From<InPlaceError> for Failure {
    fn from(error: InPlaceError) -> Self {
        use InPlaceError as E;
        let doing = error.to_string();
        match error {
            E::NotStopped { source, .. } => Self::from(source).while_doing(&doing),
            E::NotStarted { source, .. } => Self::from(source).while_doing(&doing).hint(
                "run the same command again, which starts it at its end; or scale it up: its annotation \
                 salvor.dev/replicas-before says how many replicas it had",
            ),
            E::Cluster { source, .. } => Self::from(source).while_doing(&doing),
            E::NotFilled { began, source, .. } => not_filled(source, began).while_doing(&doing),
            error @ E::Cancelled => Self::caused(Exit::Cancelled, "", error),
            error @ (E::Busy { .. } | E::TakenOver { .. }) => Self::caused(Exit::Refused, "", error),
            error @ E::InUse { .. } => Self::caused(Exit::Refused, "", error).hint(
                "stop what uses it, or bring it back with --in-place, which stops it and starts it again",
            ),
        }
    }
}

fn not_filled(source: MoveError, began: bool) -> Failure {
    let exit = match &source {
        MoveError::Cancelled => Exit::Cancelled,
        MoveError::TimedOut { .. } => Exit::TimedOut,
        MoveError::NoAgent { .. } => Exit::Unavailable,
        MoveError::Unfit { .. } | MoveError::NotHeld { .. } => Exit::Refused,
        MoveError::Failed { .. } => Exit::Internal,
        MoveError::Cluster { .. } => Exit::Unavailable,
    };
    let failure = Failure::caused(exit, "", source);
    match began {
        true => failure.hint(
            "the volume may hold files of before beside files of the point: run the same command again, it goes on \
             with what differs",
        ),
        false => failure.hint("nothing was written into the volume"),
    }
}

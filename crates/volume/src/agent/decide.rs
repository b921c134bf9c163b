//! What a node agent does next: a pure function of the objects and the mover pods of its node.
//!
//! Everything that must survive stands in the objects, so that an agent that was killed goes on where it was.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use salvor_api::velero::DataPhase;
use serde_json::Value;

use crate::ask::STUCK_PATIENCE;
use crate::objects::{Direction, Movement};

/// How long a mover may take to begin, as in Velero.
pub(super) const PREPARE: SignedDuration = SignedDuration::from_mins(30);
/// The same where its events say that waiting does not help.
const STUCK: SignedDuration = SignedDuration::from_secs(STUCK_PATIENCE.as_secs().cast_signed());
/// How long a mover pod stays that has said its end and does not end: its process closes what it has open.
const LINGER: SignedDuration = SignedDuration::from_mins(1);

/// A mover pod, as far as decisions need it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pod {
    /// UID of its object.
    pub(super) owner: String,
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub(super) phase: String,
    /// Whether it is to go.
    pub(super) is_leaving: bool,
    /// Why it does not begin, or what it said at its end.
    pub(super) said: String,
    /// Why its volume will not be mounted however long is waited; empty when nothing says so.
    pub(super) stuck: String,
    /// When its container ended.
    pub(super) ended: Option<Timestamp>,
}

impl Pod {
    pub(super) fn read(object: &Value) -> Self {
        let (metadata, status) = (&object["metadata"], &object["status"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let state = &status["containerStatuses"][0]["state"];
        let terminated = &state["terminated"];
        let said = [
            &terminated["message"],
            &state["waiting"]["message"],
            &terminated["reason"],
            &state["waiting"]["reason"],
            &status["message"],
            &status["reason"],
        ];
        let said = said.into_iter().map(text).find(|text| !text.is_empty());
        let owners = metadata["ownerReferences"].as_array();
        let owner = owners.and_then(|owners| owners.first());
        Self {
            owner: owner.map(|owner| text(&owner["uid"])).unwrap_or_default(),
            phase: text(&status["phase"]),
            is_leaving: !metadata["deletionTimestamp"].is_null(),
            said: said.unwrap_or_default().trim().to_owned(),
            stuck: String::new(),
            ended: terminated["finishedAt"]
                .as_str()
                .and_then(|at| at.parse().ok()),
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        self.phase == "Pending"
    }

    fn is_over(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Take it up.
    Accept,
    /// Make its mover.
    Create,
    /// Its mover runs.
    Prepared,
    /// Its mover shall stop.
    Stop,
    /// It was stopped.
    Canceled,
    /// It will not be done.
    Fail(String),
    /// Its mover has done its part.
    Remove,
}

/// What to do with each object of the node, at most one thing each. `mine` are the objects of this node.
pub(super) fn decide(
    mine: &[Movement],
    pods: &BTreeMap<String, Pod>,
    at_once: usize,
    now: Timestamp,
) -> Vec<(Direction, String, Action)> {
    let mut actions = Vec::new();
    let is_busy = |movement: &&Movement| !movement.phase.is_final() && !is_new(movement);
    let mut free = at_once.saturating_sub(mine.iter().filter(is_busy).count());
    let mut ordered: Vec<&Movement> = mine.iter().collect();
    ordered.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    for movement in ordered {
        let pod = pods
            .get(&movement.name)
            .filter(|pod| pod.owner == movement.uid);
        let action = match movement {
            _ if movement.phase.is_final() => ended(pod, now),
            _ if movement.cancel || movement.phase == DataPhase::Canceling => stop(movement, pod),
            _ if is_new(movement) => {
                let taken = free > 0;
                free = free.saturating_sub(1);
                taken.then_some(Action::Accept)
            }
            _ => under_way(movement, pod, now),
        };
        if let Some(action) = action {
            actions.push((movement.direction, movement.name.clone(), action));
        }
    }
    actions
}

fn is_new(movement: &Movement) -> bool {
    movement.phase.is_unset() || movement.phase == DataPhase::New
}

fn ended(pod: Option<&Pod>, now: Timestamp) -> Option<Action> {
    let pod = pod.filter(|pod| !pod.is_leaving)?;
    // Its last word is written before its process ends.
    let lingers = pod.ended.is_some_and(|at| now.duration_since(at) > LINGER);
    (pod.is_over() || lingers || pod.phase == "Pending").then_some(Action::Remove)
}

fn stop(movement: &Movement, pod: Option<&Pod>) -> Option<Action> {
    match pod {
        Some(pod) if !pod.is_over() => (!pod.is_leaving).then_some(Action::Stop),
        // It is gone, has ended, or never was.
        _ if is_new(movement) || movement.phase == DataPhase::Canceling => Some(Action::Canceled),
        _ => Some(Action::Canceled),
    }
}

fn under_way(movement: &Movement, pod: Option<&Pod>, now: Timestamp) -> Option<Action> {
    let waited = movement.accepted.map(|at| now.duration_since(at));
    let is_late = waited.is_some_and(|waited| waited > PREPARE);
    let is_stuck = waited.is_some_and(|waited| waited > STUCK);
    let is_accepted = movement.phase == DataPhase::Accepted;
    let begun = movement.phase == DataPhase::InProgress;
    let late = |why: &str| {
        let why = if why.is_empty() {
            "nothing says why"
        } else {
            why
        };
        Action::Fail(format!(
            "the mover did not begin within {} minutes: {why}",
            PREPARE.as_mins()
        ))
    };
    match pod {
        None if is_accepted && !is_late => Some(Action::Create),
        None if is_accepted => Some(late(&movement.message)),
        None => Some(Action::Fail(
            "the mover pod is gone before it said how it ended: it was deleted, or its node is lost".to_owned(),
        )),
        Some(pod) if pod.is_over() => Some(Action::Fail(match pod.said.as_str() {
            "" => "the mover pod ended without a word".to_owned(),
            said => format!("the mover pod ended: {said}"),
        })),
        Some(pod) if is_accepted && pod.phase == "Running" => Some(Action::Prepared),
        Some(pod) if !begun && !pod.stuck.is_empty() && is_stuck => Some(Action::Fail(format!(
            "the mover cannot mount the volume: {}",
            pod.stuck
        ))),
        Some(pod) if !begun && is_late => Some(late(&pod.said)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minutes * 60).expect("a time")
    }

    fn movement(name: &str, phase: &str, cancel: bool) -> Movement {
        let object = json!({
            "metadata": {"name": name, "uid": format!("u-{name}"), "creationTimestamp": at(0).to_string()},
            "spec": {"node": "n1", "cancel": cancel},
            "status": {"phase": phase, "acceptedTimestamp": at(0).to_string()},
        });
        Movement::read(Direction::Backup, &object).expect("an object")
    }

    fn pod(name: &str, phase: &str, said: &str) -> (String, Pod) {
        let pod = Pod {
            owner: format!("u-{name}"),
            phase: phase.to_owned(),
            said: said.to_owned(),
            ..Pod::default()
        };
        (name.to_owned(), pod)
    }

    fn one(movement: Movement, pods: &[(String, Pod)], minutes: i64) -> Option<Action> {
        let pods = pods.iter().cloned().collect();
        let mut actions = decide(&[movement], &pods, 2, at(minutes));
        assert!(actions.len() <= 1);
        actions.pop().map(|(_, _, action)| action)
    }

    #[test]
    fn a_movement_goes_its_way() {
        let failed = |action: Option<Action>| match action {
            Some(Action::Fail(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(one(movement("a", "", false), &[], 1), Some(Action::Accept));
        assert_eq!(
            one(movement("a", "New", false), &[], 1),
            Some(Action::Accept)
        );
        assert_eq!(
            one(movement("a", "Accepted", false), &[], 1),
            Some(Action::Create)
        );
        let pending = [pod("a", "Pending", "ContainerCreating")];
        assert_eq!(one(movement("a", "Accepted", false), &pending, 1), None);
        let why = failed(one(movement("a", "Accepted", false), &pending, 31));
        assert!(why.contains("30 minutes: ContainerCreating"), "{why}");
        let mut stuck = pending.clone();
        stuck[0].1.stuck = "FailedMount: /x does not exist".to_owned();
        assert_eq!(one(movement("a", "Accepted", false), &stuck, 1), None);
        let why = failed(one(movement("a", "Accepted", false), &stuck, 2));
        assert!(why.ends_with("FailedMount: /x does not exist"), "{why}");
        let running = [pod("a", "Running", "")];
        assert_eq!(
            one(movement("a", "Accepted", false), &running, 1),
            Some(Action::Prepared)
        );
        assert_eq!(one(movement("a", "Prepared", false), &running, 1), None);
        // However long it takes.
        assert_eq!(one(movement("a", "InProgress", false), &running, 600), None);
        let ended = [pod("a", "Failed", "OOMKilled")];
        let why = failed(one(movement("a", "InProgress", false), &ended, 2));
        assert!(why.contains("OOMKilled"), "{why}");
        let why = failed(one(movement("a", "InProgress", false), &[], 2));
        assert!(why.contains("gone"), "{why}");
        failed(one(movement("a", "Prepared", false), &[], 2));
        assert_eq!(
            one(
                movement("a", "Completed", false),
                &[pod("a", "Succeeded", "")],
                2
            ),
            Some(Action::Remove)
        );
        assert_eq!(one(movement("a", "Completed", false), &running, 2), None);
        assert_eq!(one(movement("a", "Completed", false), &[], 2), None);
    }

    #[test]
    fn what_shall_stop_stops_wherever_it_is() {
        let running = [pod("a", "Running", "")];
        assert_eq!(
            one(movement("a", "New", true), &[], 1),
            Some(Action::Canceled)
        );
        assert_eq!(
            one(movement("a", "Accepted", true), &[], 1),
            Some(Action::Canceled)
        );
        assert_eq!(
            one(movement("a", "InProgress", true), &running, 1),
            Some(Action::Stop)
        );
        let mut leaving = running.clone();
        leaving[0].1.is_leaving = true;
        assert_eq!(one(movement("a", "Canceling", false), &leaving, 1), None);
        assert_eq!(
            one(movement("a", "Canceling", false), &[], 1),
            Some(Action::Canceled)
        );
        assert_eq!(one(movement("a", "Canceled", true), &[], 1), None);
    }

    #[test]
    fn no_more_run_than_may_and_the_oldest_come_first() {
        let mut old = movement("z", "New", false);
        old.created = Some(at(-5));
        let mine = [
            movement("a", "New", false),
            movement("b", "InProgress", false),
            old,
        ];
        let pods = [pod("b", "Running", "")].into_iter().collect();
        let accepted = |at_once| -> Vec<String> {
            let actions = decide(&mine, &pods, at_once, at(1));
            actions.into_iter().map(|(_, name, _)| name).collect()
        };
        assert_eq!(accepted(1), Vec::<String>::new());
        assert_eq!(accepted(2), ["z"]);
        assert_eq!(accepted(3), ["z", "a"]);
    }

    #[test]
    fn a_pod_of_an_object_of_the_same_name_that_is_gone_is_not_its_mover() {
        let mut pods = [pod("a", "Running", "")];
        pods[0].1.owner = "another".to_owned();
        assert_eq!(
            one(movement("a", "Accepted", false), &pods, 1),
            Some(Action::Create)
        );
    }
}

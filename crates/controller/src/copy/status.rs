//! How the copies of a backup stand, as its annotations say.

use std::collections::BTreeMap;

use salvor_api::copies::{CopyRequest, CopyStanding, CopyState};
use salvor_api::labels;
use salvor_api::meta::StringMap;
use salvor_api::velero::Backup;
use serde::{Deserialize, Serialize};

/// One copy, as the annotation has it. No times and counts: each would be a write, and the records beside the backup
/// have them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct One {
    state: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    message: String,
}

/// The copies of a backup by location.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct States(BTreeMap<String, One>);

impl States {
    /// As the backup says; nothing is known when that cannot be read, and everything is looked at again.
    pub(super) fn of(backup: &Backup) -> Self {
        let text = backup.metadata.annotations.get(labels::COPIES);
        Self(
            text.and_then(|text| serde_json::from_str(text).ok())
                .unwrap_or_default(),
        )
    }

    pub(super) fn set(&mut self, target: &str, state: CopyState, message: String) {
        let state = match state {
            CopyState::Pending => "pending",
            CopyState::Done => "done",
            CopyState::Failed => "failed",
        };
        let one = One {
            state: state.to_owned(),
            message,
        };
        self.0.insert(target.to_owned(), one);
    }

    fn state(&self, target: &str) -> CopyState {
        match self.0.get(target).map(|one| one.state.as_str()) {
            Some("done") => CopyState::Done,
            Some("failed") => CopyState::Failed,
            _ => CopyState::Pending,
        }
    }

    pub(super) fn first_missing(&self, request: &CopyRequest) -> Option<String> {
        self.next_missing(request, &[])
    }

    pub(super) fn next_missing(&self, request: &CopyRequest, but: &[String]) -> Option<String> {
        let missing =
            |target: &&String| self.state(target) != CopyState::Done && !but.contains(target);
        request.to.iter().find(missing).cloned()
    }
}

/// What is written about the copies of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// How they stand under the rule; `None` when that cannot be said.
    pub(super) standing: Option<CopyStanding>,
    /// The same for people: `satisfied 2/2`.
    pub(super) status: String,
    copies: Option<States>,
}

impl Stored {
    pub(super) fn new(request: &CopyRequest, states: &States) -> Self {
        let by_name = |target: &String| (target.clone(), states.state(target));
        let map: BTreeMap<_, _> = request.to.iter().map(by_name).collect();
        let standing = request.judge(&map);
        let done = map
            .values()
            .filter(|state| **state == CopyState::Done)
            .count();
        // What is no longer asked for is no longer said.
        let asked = States(
            request
                .to
                .iter()
                .filter_map(|target| Some((target.clone(), states.0.get(target)?.clone())))
                .collect(),
        );
        Self {
            standing: Some(standing),
            status: format!("{standing} {done}/{}", request.to.len()),
            copies: Some(asked),
        }
    }

    pub(super) fn invalid(why: &str) -> Self {
        Self {
            standing: None,
            status: format!("invalid: {why}"),
            copies: None,
        }
    }

    /// The same for copies that nobody wants any more.
    pub(super) fn cancelled(mut self) -> Self {
        if self.standing != Some(CopyStanding::Satisfied) {
            self.status = format!("cancelled, was {}", self.status);
            self.standing = Some(CopyStanding::Pending);
        }
        self
    }

    pub(super) fn write(&self, annotations: &mut StringMap) {
        annotations.insert(labels::COPY_STATUS.to_owned(), self.status.clone());
        let text = self.copies.as_ref().filter(|copies| !copies.0.is_empty());
        match text.and_then(|copies| serde_json::to_string(&copies.0).ok()) {
            Some(text) => annotations.insert(labels::COPIES.to_owned(), text),
            None => annotations.remove(labels::COPIES),
        };
    }
}

/// The locations that lack a copy which this server is to make, for the metrics.
pub(crate) fn missing(backup: &Backup) -> Vec<String> {
    let annotations = &backup.metadata.annotations;
    let status = annotations.get(labels::COPY_STATUS);
    let open = |status: &&String| {
        status.starts_with("pending")
            || status.starts_with("failed")
            || status.starts_with("satisfied")
    };
    if !backup.status.phase.is_restorable() || status.filter(open).is_none() {
        return Vec::new();
    }
    let Ok(Some(request)) = CopyRequest::of(annotations) else {
        return Vec::new();
    };
    let states = States::of(backup);
    let here = &backup.spec.storage_location;
    let lacks = |target: &String| target != here && states.state(target) != CopyState::Done;
    request.to.into_iter().filter(lacks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_says_what_is_missing() {
        let mut backup = Backup::named("velero", "b");
        backup.status.phase = salvor_api::velero::BackupPhase::Completed;
        let annotations = &mut backup.metadata.annotations;
        annotations.insert(labels::COPY_TO.to_owned(), "a,b".to_owned());
        annotations.insert(labels::COPY_RULE.to_owned(), "any".to_owned());
        let request = CopyRequest::of(annotations).expect("valid").expect("asked");
        let mut states = States::default();
        states.set("a", CopyState::Done, String::new());
        states.set("b", CopyState::Pending, "down".to_owned());
        states.set("no-longer", CopyState::Done, String::new());
        let stored = Stored::new(&request, &states);
        assert_eq!(stored.status, "satisfied 1/2");
        stored.write(annotations);
        let read = States::of(&backup);
        assert_eq!(read.first_missing(&request).as_deref(), Some("b"));
        assert_eq!(read.next_missing(&request, &["b".to_owned()]), None);
        assert!(!backup.metadata.annotations[labels::COPIES].contains("no-longer"));
        assert_eq!(missing(&backup), ["b"]);
        backup.spec.storage_location = "b".to_owned();
        assert_eq!(missing(&backup), Vec::<String>::new());
        let mut annotations = backup.metadata.annotations;
        Stored::invalid("why").write(&mut annotations);
        assert!(!annotations.contains_key(labels::COPIES));
    }
}

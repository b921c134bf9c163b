//! What admission answers: pure.
//!
//! - Who creates a request is its requester, whatever the object says.
//! - Who changes what a request asks for becomes its requester: otherwise it would be carried out in the name of
//!   somebody who asked for something else. To pause a schedule, to cancel, and to change what does not concern the
//!   server, changes no requester.
//! - Nobody writes the annotation himself, but for [`ME`], by which somebody takes a request over as it is.
//! - The server writes what it wants: it keeps the seals itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use salvor_api::labels::{CANCEL, REQUESTED_BY};
use salvor_api::velero::{Backup, DeleteBackupRequest, DownloadRequest, Kind, Restore, Schedule};
use salvor_seal::SealKey;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::ME;
use crate::authorize::{Requester, asked, sealed_by};

const REVIEW: &str = "admission.k8s.io/v1";

/// What is decided by.
pub(super) struct Desk {
    pub(super) key: SealKey,
    /// Namespace of the server.
    pub(super) namespace: String,
    /// Its user; empty when that is not known, and then nobody is it.
    pub(super) server_user: String,
}

/// What becomes of a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is stored as it is.
    Leave,
    /// It is stored with this annotation.
    Annotate(String),
    /// It is refused, with this reason.
    Refuse(String),
}

/// The answer to an AdmissionReview; `None` for what is none.
pub(super) fn review(desk: &Desk, question: &Value) -> Option<Value> {
    let request = question
        .get("request")
        .filter(|request| request.is_object())?;
    if question["apiVersion"] != REVIEW || question["kind"] != "AdmissionReview" {
        return None;
    }
    let mut response = json!({"uid": request["uid"], "allowed": true});
    match decide(desk, request) {
        Verdict::Leave => {}
        Verdict::Annotate(text) => {
            let patch = patch(&request["object"], &text).to_string();
            response["patchType"] = "JSONPatch".into();
            response["patch"] = BASE64.encode(patch).into();
        }
        Verdict::Refuse(reason) => {
            response["allowed"] = false.into();
            response["status"] = json!({"code": 403, "reason": "Forbidden", "message": reason});
        }
    }
    Some(json!({"apiVersion": REVIEW, "kind": "AdmissionReview", "response": response}))
}

fn patch(object: &Value, text: &str) -> Value {
    let key = format!("/metadata/annotations/{}", REQUESTED_BY.replace('/', "~1"));
    let mut steps = Vec::new();
    if !object["metadata"]["annotations"].is_object() {
        steps.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    steps.push(json!({"op": "add", "path": key, "value": text}));
    Value::Array(steps)
}

pub(super) fn decide(desk: &Desk, request: &Value) -> Verdict {
    if request["namespace"].as_str() != Some(desk.namespace.as_str()) {
        return Verdict::Leave;
    }
    let user = match Requester::deserialize(&request["userInfo"]) {
        Ok(user) if !user.username.is_empty() => Requester {
            // Whatever the question says: only we say that of ourselves.
            server: false,
            ..user
        },
        _ => return Verdict::Refuse("the API server does not say who asks".to_owned()),
    };
    if !desk.server_user.is_empty() && user.username == desk.server_user {
        return Verdict::Leave;
    }
    let (before, after) = (&request["oldObject"], &request["object"]);
    let stamp = || match seal(desk, request, &user) {
        Ok(text) => Verdict::Annotate(text),
        Err(reason) => Verdict::Refuse(reason),
    };
    match request["operation"].as_str() {
        Some("CREATE") => stamp(),
        Some("UPDATE") => {
            let (was, is) = (annotation(before), annotation(after));
            match is {
                Some(ME) => stamp(),
                Some(_) if is != was => Verdict::Refuse(format!(
                    "annotation {REQUESTED_BY} is written at admission: set it to `{ME}` to take the request over"
                )),
                _ if asks(before) != asks(after) => stamp(),
                // It was left out, as by who replaces an object.
                None => was.map_or(Verdict::Leave, |was| Verdict::Annotate(was.to_owned())),
                Some(_) => Verdict::Leave,
            }
        }
        _ => Verdict::Leave,
    }
}

fn annotation(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][REQUESTED_BY].as_str()
}

/// Everything of an object that decides what the server does.
fn asks(object: &Value) -> Value {
    let kind = object["kind"].as_str().unwrap_or_default();
    let spec = asked(kind, object["spec"].clone());
    let ours = |marks: &Value| -> Vec<(String, Value)> {
        let marks = marks.as_object().into_iter().flatten();
        let decides = |key: &str| {
            let group = key.split('/').next().unwrap_or_default();
            let ours = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
            (ours("salvor.dev") || ours("velero.io")) && key != REQUESTED_BY && key != CANCEL
        };
        let mut kept: Vec<_> = marks
            .filter(|(key, _)| decides(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        kept.sort_by(|a, b| a.0.cmp(&b.0));
        kept
    };
    let metadata = &object["metadata"];
    json!([
        spec,
        object["status"],
        ours(&metadata["labels"]),
        ours(&metadata["annotations"])
    ])
}

/// The annotation by which this user asks for the object of a request.
fn seal(desk: &Desk, request: &Value, user: &Requester) -> Result<String, String> {
    match request["object"]["kind"].as_str().unwrap_or_default() {
        Backup::KIND => seal_as::<Backup>(desk, request, user),
        Restore::KIND => seal_as::<Restore>(desk, request, user),
        Schedule::KIND => seal_as::<Schedule>(desk, request, user),
        DownloadRequest::KIND => seal_as::<DownloadRequest>(desk, request, user),
        DeleteBackupRequest::KIND => seal_as::<DeleteBackupRequest>(desk, request, user),
        kind => Err(format!("admission knows nothing of kind `{kind}`")),
    }
}

fn seal_as<K: Kind>(desk: &Desk, request: &Value, user: &Requester) -> Result<String, String> {
    let mut object = K::deserialize(&request["object"])
        .map_err(|error| format!("this is no {}: {error}", K::KIND))?;
    let metadata = object.metadata_mut();
    // In the body they may be left out.
    metadata.namespace.clone_from(&desk.namespace);
    if metadata.name.is_empty() {
        request["name"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut metadata.name);
    }
    sealed_by(&desk.key, &object, user).ok_or_else(|| "the request cannot be sealed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorize::take;

    fn desk() -> Desk {
        Desk {
            key: SealKey::new(&[9; 32]).expect("a key"),
            namespace: "velero".to_owned(),
            server_user: "system:serviceaccount:velero:salvor".to_owned(),
        }
    }

    fn restore(annotations: Value) -> Value {
        json!({"apiVersion": "velero.io/v1", "kind": "Restore",
            "metadata": {"name": "r", "annotations": annotations},
            "spec": {"backupName": "b", "ofTomorrow": true}})
    }

    fn question(user: &str, operation: &str, before: &Value, after: &Value) -> Value {
        json!({"uid": "1", "operation": operation, "namespace": "velero", "name": "r",
            "userInfo": {"username": user, "uid": "u", "groups": ["g"],
                         "extra": {"scopes": ["a"]}, "server": true},
            "oldObject": before, "object": after})
    }

    /// Who asks for an object after admission; `None` when it was refused.
    fn asked_by(user: &str, before: &Value, after: &Value) -> Option<Option<String>> {
        let operation = if before.is_null() { "CREATE" } else { "UPDATE" };
        let mut stored = after.clone();
        match decide(&desk(), &question(user, operation, before, after)) {
            Verdict::Refuse(_) => return None,
            Verdict::Leave => {}
            Verdict::Annotate(text) => {
                stored["metadata"]["annotations"][REQUESTED_BY] = text.into();
            }
        }
        stored["metadata"]["namespace"] = "velero".into();
        let object = Restore::deserialize(&stored).expect("a restore");
        let requester = take(&desk().key, &object);
        Some(requester.map(|requester| {
            assert!(!requester.server);
            requester.username
        }))
    }

    fn by(name: &str) -> Option<Option<String>> {
        Some(Some(name.to_owned()))
    }

    /// A restore as `ann` made it.
    fn of_ann() -> Value {
        let object = restore(json!({}));
        let Verdict::Annotate(text) =
            decide(&desk(), &question("ann", "CREATE", &Value::Null, &object))
        else {
            panic!("it is annotated");
        };
        restore(json!({REQUESTED_BY: text}))
    }

    #[test]
    fn who_creates_asks_whatever_the_object_says() {
        let forged = of_ann();
        assert_eq!(asked_by("bob", &Value::Null, &forged), by("bob"));
        assert_eq!(
            asked_by("bob", &Value::Null, &restore(Value::Null)),
            by("bob")
        );
        assert_eq!(
            asked_by("bob", &Value::Null, &restore(json!({REQUESTED_BY: ME}))),
            by("bob")
        );
        // The server seals for itself.
        let server = desk().server_user;
        assert_eq!(
            asked_by(&server, &Value::Null, &restore(json!({}))),
            Some(None)
        );
        assert_eq!(asked_by("", &Value::Null, &forged), None);
    }

    #[test]
    fn who_changes_what_is_asked_for_asks_for_it() {
        let before = of_ann();
        let with = |change: &dyn Fn(&mut Value)| {
            let mut after = before.clone();
            change(&mut after);
            asked_by("bob", &before, &after)
        };
        for (change, expected) in [
            (
                &(|o: &mut Value| o["spec"]["backupName"] = "c".into()) as &dyn Fn(&mut Value),
                "bob",
            ),
            (&|o| o["status"]["phase"] = "InProgress".into(), "bob"),
            (
                &|o| o["metadata"]["annotations"]["salvor.dev/open-hooks"] = "[]".into(),
                "bob",
            ),
            (
                &|o| o["metadata"]["labels"]["velero.io/schedule-name"] = "s".into(),
                "bob",
            ),
            (
                &|o| o["metadata"]["annotations"][REQUESTED_BY] = ME.into(),
                "bob",
            ),
            (
                &|o| o["metadata"]["annotations"][CANCEL] = "true".into(),
                "ann",
            ),
            (&|o| o["metadata"]["labels"]["team"] = "a".into(), "ann"),
            (&|o| o["metadata"]["finalizers"] = json!([]), "ann"),
            (&|o| o["metadata"]["annotations"] = json!({"a": "b"}), "ann"),
            (&|_| (), "ann"),
        ] {
            assert_eq!(with(change), by(expected));
        }
        for forged in ["", "{}", "{\"username\":\"root\",\"seal\":\"\"}"] {
            let change = |o: &mut Value| o["metadata"]["annotations"][REQUESTED_BY] = forged.into();
            assert_eq!(with(&change), None, "{forged}");
        }
    }

    #[test]
    fn a_paused_schedule_stays_its_makers() {
        let schedule = |paused: bool, cron: &str| {
            json!({"kind": "Schedule", "metadata": {"name": "r", "annotations": {REQUESTED_BY: "x"}},
                "spec": {"schedule": cron, "paused": paused, "template": {}}})
        };
        let before = schedule(false, "@daily");
        let answer = |after: &Value| decide(&desk(), &question("bob", "UPDATE", &before, after));
        assert_eq!(answer(&schedule(true, "@daily")), Verdict::Leave);
        assert!(matches!(
            answer(&schedule(true, "@hourly")),
            Verdict::Annotate(_)
        ));
    }

    #[test]
    fn other_namespaces_and_other_questions_are_left_alone() {
        let mut question = question("ann", "CREATE", &Value::Null, &restore(json!({})));
        question["namespace"] = "other".into();
        assert_eq!(decide(&desk(), &question), Verdict::Leave);
        let review_of = |version: &str| {
            let asked =
                json!({"apiVersion": version, "kind": "AdmissionReview", "request": question});
            review(&desk(), &asked)
        };
        let answer = review_of(REVIEW).expect("an answer");
        assert_eq!(answer["response"], json!({"uid": "1", "allowed": true}));
        assert_eq!(review_of("admission.k8s.io/v1beta1"), None);
        for hostile in [
            json!(null),
            json!([]),
            json!({"request": 1}),
            json!({"apiVersion": REVIEW}),
        ] {
            assert_eq!(review(&desk(), &hostile), None);
        }
    }
}

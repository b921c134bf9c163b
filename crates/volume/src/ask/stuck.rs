//! What events say of a pod that does not begin: which says most, and whether it passes by waiting.

use serde_json::Value;

/// What a kubelet says of a mount that nothing but a change by hand makes possible. Everything else may pass: a driver that
/// registers, a disk that is detached elsewhere.
const FOR_GOOD: [&str; 6] = [
    "does not exist",
    "no such file or directory",
    "hostpath type check failed",
    "is not a directory",
    "wrong fs type",
    "access denied by server",
];
/// Reasons of events about mounts, by how much they say.
const ABOUT_MOUNTS: [&str; 3] = ["FailedMount", "FailedMapVolume", "FailedAttachVolume"];
/// A kubelet says this beside what is wrong, every two minutes.
const SUMS_UP: &str = "timed out waiting for the condition";

/// The reason of the newest event that says that the pod's volume will not be mounted however long is waited.
pub(crate) fn for_good(events: &[Value]) -> Option<String> {
    let mut newest: Vec<&Value> = events.iter().filter(|event| is_for_good(event)).collect();
    newest.sort_by_key(|event| time(event));
    newest.last().map(|event| said(event))
}

/// The event that says most: of a mount that fails before one of the scheduler, of those the newest.
pub(crate) fn telling(events: &[Value]) -> Option<String> {
    let warnings = events.iter().filter(|event| event["type"] == "Warning");
    let best = warnings.max_by_key(|event| (rank(event), time(event)));
    best.map(said)
}

fn rank(event: &Value) -> u8 {
    let is_mount = ABOUT_MOUNTS
        .iter()
        .any(|reason| event["reason"] == **reason);
    let sums_up = text(&event["message"]).contains(SUMS_UP);
    match (is_mount, sums_up) {
        (true, false) if is_for_good(event) => 3,
        (true, false) => 2,
        (true, true) => 1,
        (false, _) => 0,
    }
}

fn is_for_good(event: &Value) -> bool {
    let is_mount = event["reason"] == ABOUT_MOUNTS[0] || event["reason"] == ABOUT_MOUNTS[1];
    let message = text(&event["message"]).to_lowercase();
    is_mount && FOR_GOOD.iter().any(|sign| message.contains(sign))
}

/// When an event was last seen. Those of newer senders have another field for it.
fn time(event: &Value) -> String {
    let times = [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["firstTimestamp"],
        &event["metadata"]["creationTimestamp"],
    ];
    let found = times.into_iter().map(text).find(|time| !time.is_empty());
    found.unwrap_or_default()
}

fn said(event: &Value) -> String {
    format!("{}: {}", text(&event["reason"]), text(&event["message"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(reason: &str, message: &str, at: Value) -> Value {
        let mut event = json!({"type": "Warning", "reason": reason, "message": message});
        for (field, value) in at.as_object().into_iter().flatten() {
            event[field] = value.clone();
        }
        event
    }

    #[test]
    fn the_mount_is_quoted_and_not_what_was_said_before_or_beside_it() {
        let path = "MountVolume.NewMounter initialization failed for volume \"pv-1\" : path \"/disk/1\" does not exist";
        let events = [
            event(
                "FailedMount",
                path,
                json!({"lastTimestamp": "2026-11-22T08:00:10Z"}),
            ),
            event(
                "FailedMount",
                "Unable to attach or mount volumes: unmounted volumes=[volume]: timed out waiting for the condition",
                json!({"lastTimestamp": "2026-11-22T08:02:00Z"}),
            ),
            event(
                "FailedScheduling",
                "0/1 nodes",
                json!({"eventTime": "2026-11-22T08:03:00.000000Z", "lastTimestamp": null}),
            ),
            json!({"type": "Normal", "reason": "Pulled", "message": "x", "lastTimestamp": "2026-11-22T08:04:00Z"}),
        ];
        let wanted = format!("FailedMount: {path}");
        assert_eq!(telling(&events), Some(wanted.clone()));
        assert_eq!(for_good(&events), Some(wanted));
        assert_eq!(
            telling(&events[1..]).as_deref().map(|said| &said[..19]),
            Some("FailedMount: Unable")
        );
        assert_eq!(for_good(&events[1..]), None);
        assert_eq!(
            telling(&events[2..]).as_deref(),
            Some("FailedScheduling: 0/1 nodes")
        );
        assert_eq!(telling(&events[3..]), None);
    }

    #[test]
    fn what_may_pass_is_waited_for() {
        let passes = [
            (
                "FailedMount",
                "MountVolume.MountDevice failed: driver name csi.x not found in the list of registered CSI drivers",
            ),
            (
                "FailedAttachVolume",
                "Multi-Attach error for volume \"pv\": volume is already used by pod web",
            ),
            ("FailedAttachVolume", "volume vol-1 does not exist"),
            (
                "FailedScheduling",
                "persistentvolumeclaim \"data\" does not exist",
            ),
        ];
        for (reason, message) in passes {
            assert_eq!(
                for_good(&[event(reason, message, json!({}))]),
                None,
                "{message}"
            );
        }
        let stays = [
            "MountVolume.SetUp failed for volume \"d\" : hostPath type check failed: /x is not a directory",
            "MountVolume.SetUp failed for volume \"nfs\" : mount failed: exit status 32: mount.nfs: mounting srv:/gone failed, reason given by server: No such file or directory",
            "MountVolume.SetUp failed: mount: wrong fs type, bad option, bad superblock",
        ];
        for message in stays {
            assert!(
                for_good(&[event("FailedMount", message, json!({}))]).is_some(),
                "{message}"
            );
        }
    }
}

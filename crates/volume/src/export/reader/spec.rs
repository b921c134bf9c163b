//! What the ephemeral container is: pure, from the pod that it goes into.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::pod::Found;
use super::ReaderOptions;
use super::stay::WAITS;

/// Where the container's volumes are mounted in ours: below it they are where the container has them.
const VOLUMES: &str = "/salvor-reader";

/// An ephemeral container before it is added.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) name: String,
    pub(super) spec: Value,
    /// Where the container's files are, seen from ours.
    root: Root,
}

/// Where the container's files are.
#[derive(Debug, PartialEq, Eq)]
enum Root {
    /// In volumes that ours mounts too: nothing but the right to read the files is needed.
    Volumes,
    /// In the file system of the container's processes, which takes the right to look into those.
    Processes {
        /// The container's id, without the runtime's name before it.
        id: String,
        /// Processes of other containers are seen as well.
        shared: bool,
    },
}

impl Reader {
    /// `random` makes the name unique in the pod; `limit` is how long the archive may take.
    pub(super) fn new(
        found: &Found,
        path: &str,
        options: &ReaderOptions,
        random: &str,
        limit: Duration,
    ) -> Self {
        let name = format!("salvor-reader-{random}");
        let mounts = mounts(&found.container, path);
        let by_volumes = mounts.is_some();
        let whole = limit + WAITS;
        let mut spec = json!({
            "name": name,
            "image": options.image,
            "args": ["reader", "stay", "--name", name, "--limit", format!("{}s", whole.as_secs())],
            // What it says before it ends is told where it does not run.
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": security(found, options.user, by_volumes),
        });
        let root = match mounts {
            Some(mounts) => {
                spec["volumeMounts"] = mounts.into();
                Root::Volumes
            }
            None => {
                spec["targetContainerName"] = found.name().into();
                let id = found.status()["containerID"].as_str().unwrap_or_default();
                let of_pod = &found.pod["spec"];
                Root::Processes {
                    id: id.rsplit('/').next().unwrap_or_default().to_owned(),
                    shared: of_pod["shareProcessNamespace"] == true || of_pod["hostPID"] == true,
                }
            }
        };
        Self { name, spec, root }
    }

    /// What reads the path, to be run in the container.
    pub(super) fn command(&self, program: &str, path: &str, stall: Duration) -> Vec<String> {
        let stall = format!("{}s", stall.as_secs().max(1));
        let mut words = vec![program, "reader", "read", "--name", &self.name];
        words.extend(["--stall", &stall]);
        match &self.root {
            Root::Volumes => words.extend(["--root", VOLUMES]),
            Root::Processes { id, shared } => {
                words.extend(["--container-id", id]);
                if *shared {
                    words.push("--shared-processes");
                }
            }
        }
        words.extend(["--", path]);
        words.into_iter().map(str::to_owned).collect()
    }
}

/// The parts of an absolute path; `None` where it goes up again, which only the container's own files can say where to.
fn parts(path: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    (!parts.contains(&"..")).then_some(parts)
}

/// The volumes in which the path and all below it lie; `None` where they do not, or where one of them is mounted in
/// part only, which ephemeral containers cannot do.
fn mounts(container: &Value, path: &str) -> Option<Vec<Value>> {
    let path = parts(path)?;
    let mounts = container["volumeMounts"].as_array()?;
    let mounts: Vec<(Vec<&str>, &Value)> = mounts
        .iter()
        .filter_map(|mount| Some((parts(mount["mountPath"].as_str()?)?, mount)))
        .collect();
    let around = mounts
        .iter()
        .filter(|(at, _)| path.starts_with(at))
        .max_by_key(|(at, _)| at.len())?;
    let below = mounts
        .iter()
        .filter(|(at, _)| at.len() > path.len() && at.starts_with(&path));
    let needed: Vec<_> = std::iter::once(around).chain(below).collect();
    let is_part = |mount: &Value| {
        ["subPath", "subPathExpr"]
            .iter()
            .any(|field| mount[field].as_str().is_some_and(|text| !text.is_empty()))
    };
    if needed.iter().any(|(_, mount)| is_part(mount)) {
        return None;
    }
    let mounted = |(at, mount): &(Vec<&str>, &Value)| json!({"name": mount["name"], "mountPath": format!("{VOLUMES}/{}", at.join("/")), "readOnly": true});
    Some(needed.into_iter().map(mounted).collect())
}

/// Ours may do what the container may, so that whatever admits the one admits the other, and less where its volumes
/// are enough.
fn security(found: &Found, user: Option<i64>, by_volumes: bool) -> Value {
    let of_pod = &found.pod["spec"]["securityContext"];
    let mut own = match &found.container["securityContext"] {
        Value::Object(own) => own.clone(),
        _ => serde_json::Map::new(),
    };
    if by_volumes {
        own.remove("privileged");
        own.remove("procMount");
        if let Some(capabilities) = own.get_mut("capabilities").and_then(Value::as_object_mut) {
            capabilities.remove("add");
        }
    }
    if let Some(user) = user {
        own.insert("runAsUser".to_owned(), user.into());
        if user == 0 {
            own.insert("runAsNonRoot".to_owned(), false.into());
        }
        return own.into();
    }
    let is_named = own.contains_key("runAsUser") || of_pod["runAsUser"].is_i64();
    let seen = &found.status()["user"]["linux"];
    let must_not_be_root = own
        .get("runAsNonRoot")
        .unwrap_or(&of_pod["runAsNonRoot"])
        .as_bool();
    if is_named {
        // The container's own, or the pod's, which holds for ours too.
    } else if let Some(uid) = seen["uid"].as_i64() {
        own.insert("runAsUser".to_owned(), uid.into());
        if let Some(gid) = seen["gid"].as_i64() {
            own.insert("runAsGroup".to_owned(), gid.into());
        }
    } else if must_not_be_root != Some(true) {
        // Only the image knows its user. Root reads files of all.
        own.insert("runAsUser".to_owned(), 0.into());
        own.insert("runAsNonRoot".to_owned(), false.into());
        if !by_volumes && own.get("privileged") != Some(&Value::Bool(true)) {
            // Without it the processes of another user are closed also to root.
            let capabilities = own.entry("capabilities").or_insert_with(|| json!({}));
            let mut added = capabilities["add"].as_array().cloned().unwrap_or_default();
            if !added.contains(&json!("SYS_PTRACE")) {
                added.push(json!("SYS_PTRACE"));
            }
            capabilities["add"] = added.into();
        }
    }
    own.into()
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;

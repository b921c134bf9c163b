//! Which commands a backup runs in a pod. Pure.

use std::time::Duration;

use salvor_api::filter::IncludesExcludes;
use salvor_api::meta::LabelSelector;
use salvor_api::selector::Selector;
use salvor_api::validate;
use salvor_api::velero::{BackupHook, ExecHook, HookErrorMode, Hooks};

use super::{Pod, annotation};

/// How long a command may run when nothing is said.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// What an annotation is called in messages, as Velero calls it.
pub(super) const FROM_ANNOTATION: &str = "<from-annotation>";
/// In every annotation that asks for a hook around a backup.
const MARK: &[u8] = b"hook.backup.velero.io/";
const PODS: [&str; 3] = ["pods", "pod", "po"];

/// The hooks of a backup's spec, compiled.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackupHooks {
    specs: Vec<Spec>,
    /// Those of annotations do not count either.
    off: bool,
}

#[derive(Clone, Debug)]
struct Spec {
    pods: PodFilter,
    pre: Vec<Command>,
    post: Vec<Command>,
}

/// Which pods a hook is for.
#[derive(Clone, Debug)]
pub(crate) struct PodFilter {
    namespaces: IncludesExcludes,
    labels: Option<Selector>,
}

/// A command to run in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The hook's name, for messages.
    pub(crate) hook: String,
    /// Empty means the pod's first container.
    pub(crate) container: String,
    pub(crate) words: Vec<String>,
    /// True when a failure keeps the pod out of the backup.
    pub(crate) fails: bool,
    pub(crate) timeout: Duration,
}

/// The commands of one pod, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodHooks {
    pub(crate) pre: Vec<Command>,
    pub(crate) post: Vec<Command>,
    /// What is odd about the annotations.
    pub(crate) problems: Vec<String>,
}

impl BackupHooks {
    /// Compiles the hooks of a spec.
    ///
    /// # Errors
    /// Every rule that they break.
    pub(crate) fn compile(hooks: &Hooks) -> Result<Self, Vec<String>> {
        let errors = validate::backup_hooks(hooks);
        if !errors.is_empty() {
            return Err(errors);
        }
        let specs = hooks
            .for_backup()
            .map_err(|error| vec![error.to_string()])?;
        let mut compiled = Vec::new();
        for spec in specs {
            let pods = PodFilter::compile(
                [&spec.included_resources, &spec.excluded_resources],
                [&spec.included_namespaces, &spec.excluded_namespaces],
                spec.label_selector.as_ref(),
            );
            let Some(pods) = pods.map_err(|error| vec![error])? else {
                continue;
            };
            let commands = |hooks: &[BackupHook]| {
                let execs = hooks.iter().filter_map(|hook| hook.exec.as_ref());
                execs.map(|exec| Command::new(&spec.name, exec)).collect()
            };
            compiled.push(Spec {
                pods,
                pre: commands(&spec.pre),
                post: commands(&spec.post),
            });
        }
        Ok(Self {
            specs: compiled,
            off: false,
        })
    }

    /// None, whatever annotations of pods say.
    pub(crate) fn none() -> Self {
        Self {
            specs: Vec::new(),
            off: true,
        }
    }

    /// True when the spec has none.
    pub(crate) fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// False when no pod with this body can have hooks: a quick look that spares reading most pods.
    pub(crate) fn may_concern(&self, body: &[u8]) -> bool {
        !self.off
            && (!self.specs.is_empty() || body.windows(MARK.len()).any(|window| window == MARK))
    }

    /// The commands of a pod. Those of its annotations take the place of the spec's, phase by phase.
    pub(crate) fn of(&self, pod: &Pod) -> PodHooks {
        let mut problems = Vec::new();
        let labels = pod.labels();
        let matching: Vec<&Spec> = self
            .specs
            .iter()
            .filter(|spec| spec.pods.matches(&pod.metadata.namespace, &labels))
            .collect();
        let mut phase = |prefixes: &[&str], of: fn(&Spec) -> &[Command]| {
            let annotated = prefixes
                .iter()
                .find_map(|prefix| annotated(pod, prefix, &mut problems));
            match annotated {
                Some(command) => vec![command],
                None => matching.iter().flat_map(|spec| of(spec).to_vec()).collect(),
            }
        };
        let pre = phase(
            &["pre.hook.backup.velero.io", "hook.backup.velero.io"],
            |spec| &spec.pre,
        );
        let post = phase(&["post.hook.backup.velero.io"], |spec| &spec.post);
        PodHooks {
            pre,
            post,
            problems,
        }
    }
}

impl PodHooks {
    pub(crate) fn is_empty(&self) -> bool {
        self.pre.is_empty() && self.post.is_empty()
    }
}

impl Command {
    fn new(hook: &str, exec: &ExecHook) -> Self {
        Self {
            hook: hook.to_owned(),
            container: exec.container.clone(),
            words: exec.command.clone(),
            fails: exec.on_error != HookErrorMode::Continue,
            timeout: or_default(exec.timeout.0),
        }
    }
}

impl PodFilter {
    /// Compiles a filter: resources and namespaces to include and to exclude, labels. `None` when the resources leave
    /// no pods in.
    ///
    /// # Errors
    /// A pattern or the selector is not valid.
    pub(super) fn compile(
        resources: [&[String]; 2],
        [included, excluded]: [&[String]; 2],
        labels: Option<&LabelSelector>,
    ) -> Result<Option<Self>, String> {
        if !selects_pods(resources) {
            return Ok(None);
        }
        Ok(Some(Self {
            namespaces: IncludesExcludes::new(included, excluded).map_err(|e| e.to_string())?,
            labels: labels
                .map(Selector::compile)
                .transpose()
                .map_err(|error| error.to_string())?,
        }))
    }

    pub(crate) fn matches(&self, namespace: &str, labels: &salvor_api::meta::StringMap) -> bool {
        self.namespaces.should_include(namespace)
            && self
                .labels
                .as_ref()
                .is_none_or(|selector| selector.matches(labels))
    }
}

/// True when lists of resources to include and to exclude leave pods in, by whatever name.
fn selects_pods([included, excluded]: [&[String]; 2]) -> bool {
    let lower = |list: &[String]| {
        list.iter()
            .map(|name| name.to_lowercase())
            .collect::<Vec<_>>()
    };
    let Ok(filter) = IncludesExcludes::new(&lower(included), &lower(excluded)) else {
        return false;
    };
    PODS.iter().any(|name| filter.should_include(name))
        && !PODS.iter().any(|name| filter.is_excluded(name))
}

/// Zero means the default.
pub(crate) fn or_default(timeout: Duration) -> Duration {
    match timeout {
        Duration::ZERO => DEFAULT_TIMEOUT,
        given => given,
    }
}

fn annotated(pod: &Pod, prefix: &str, problems: &mut Vec<String>) -> Option<Command> {
    let command = annotation::text(pod, prefix, "command")?;
    let timeout = annotation::duration(pod, prefix, "timeout", problems);
    let container = annotation::text(pod, prefix, "container").unwrap_or_default();
    Some(Command {
        hook: FROM_ANNOTATION.to_owned(),
        container: container.to_owned(),
        words: annotation::command(command),
        fails: annotation::on_error(pod, prefix) != HookErrorMode::Continue,
        timeout: or_default(timeout.unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(annotations: Value) -> Pod {
        let body = json!({"metadata": {"name": "db", "namespace": "shop",
            "labels": {"app": "db"}, "annotations": annotations},
            "spec": {"containers": [{"name": "main"}, {"name": "side"}]}});
        Pod::read(body.to_string().as_bytes()).expect("a pod")
    }

    fn hooks(specs: Value) -> BackupHooks {
        let hooks = serde_json::from_value(json!({"resources": specs})).expect("hooks");
        BackupHooks::compile(&hooks).expect("valid")
    }

    fn said(commands: &[Command]) -> Vec<String> {
        let say = |c: &Command| {
            let (hook, container, words) = (&c.hook, &c.container, c.words.join(" "));
            format!(
                "{hook} {container} {words} {} {}s",
                c.fails,
                c.timeout.as_secs()
            )
        };
        commands.iter().map(say).collect()
    }

    #[test]
    fn annotations_take_the_place_of_the_spec_phase_by_phase() {
        let spec = json!([
            {"name": "a", "pre": [{"exec": {"command": ["freeze"]}}, {"exec": {"command": ["x"], "onError": "Continue", "timeout": "2m", "container": "side"}}],
             "post": [{"exec": {"command": ["thaw"]}}]},
            {"name": "b", "pre": [{"exec": {"command": ["late"]}}]}]);
        let all = [
            "a  freeze true 30s",
            "a side x false 120s",
            "b  late true 30s",
        ];
        for (annotations, pre, post) in [
            (json!({}), all.to_vec(), vec!["a  thaw true 30s"]),
            (
                json!({"pre.hook.backup.velero.io/command": "[\"/bin/sync\",\"-f\"]",
                    "pre.hook.backup.velero.io/container": "side",
                    "pre.hook.backup.velero.io/on-error": "Continue",
                    "pre.hook.backup.velero.io/timeout": "5s"}),
                vec!["<from-annotation> side /bin/sync -f false 5s"],
                vec!["a  thaw true 30s"],
            ),
            (
                json!({"hook.backup.velero.io/command": "old", "post.hook.backup.velero.io/command": "new"}),
                vec!["<from-annotation>  old true 30s"],
                vec!["<from-annotation>  new true 30s"],
            ),
            (
                json!({"pre.hook.backup.velero.io/container": "side", "pre.hook.backup.velero.io/command": ""}),
                all.to_vec(),
                vec!["a  thaw true 30s"],
            ),
        ] {
            let found = hooks(spec.clone()).of(&pod(annotations.clone()));
            assert_eq!(said(&found.pre), pre, "{annotations}");
            assert_eq!(said(&found.post), post, "{annotations}");
        }
        let odd = json!({"pre.hook.backup.velero.io/command": "x", "pre.hook.backup.velero.io/timeout": "soon"});
        let found = hooks(json!([])).of(&pod(odd));
        assert_eq!(said(&found.pre), ["<from-annotation>  x true 30s"]);
        assert!(
            found.problems[0].contains("`soon` is not a duration"),
            "{:?}",
            found.problems
        );
    }

    #[test]
    fn specs_are_for_the_pods_that_their_filters_choose() {
        for (filter, expected) in [
            (json!({}), true),
            (json!({"includedNamespaces": ["shop"]}), true),
            (json!({"includedNamespaces": ["sh*"]}), true),
            (json!({"includedNamespaces": ["other"]}), false),
            (json!({"excludedNamespaces": ["shop"]}), false),
            (json!({"includedResources": ["pods"]}), true),
            (json!({"includedResources": ["Po"]}), true),
            (json!({"includedResources": ["deployments.apps"]}), false),
            (json!({"excludedResources": ["pods"]}), false),
            (
                json!({"labelSelector": {"matchLabels": {"app": "db"}}}),
                true,
            ),
            (
                json!({"labelSelector": {"matchLabels": {"app": "web"}}}),
                false,
            ),
        ] {
            let mut spec = json!({"name": "a", "pre": [{"exec": {"command": ["x"]}}]});
            let fields = filter.as_object().expect("an object").clone();
            spec.as_object_mut().expect("an object").extend(fields);
            let found = hooks(json!([spec])).of(&pod(json!({})));
            assert_eq!(!found.is_empty(), expected, "{filter}");
        }
    }

    #[test]
    fn most_pods_are_known_to_have_no_hooks_without_reading_them() {
        let none = hooks(json!([]));
        assert!(!none.may_concern(br#"{"metadata":{"name":"a"}}"#));
        assert!(
            none.may_concern(
                br#"{"metadata":{"annotations":{"hook.backup.velero.io/command":"x"}}}"#
            )
        );
        let some = hooks(json!([{"name": "a", "pre": [{"exec": {"command": ["x"]}}]}]));
        assert!(some.may_concern(b"{}"));
    }
}

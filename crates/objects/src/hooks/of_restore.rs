//! Which init containers a restore adds to a pod, and which commands it runs in it. Pure.

use std::time::Duration;

use salvor_api::validate;
use salvor_api::velero::{ExecRestoreHook, HookErrorMode, Hooks, RestoreHook};
use serde_json::{Value, json};

use super::of_backup::{Command, FROM_ANNOTATION, PodFilter, or_default};
use super::{Pod, annotation};

const EXEC: &str = "post.hook.restore.velero.io";
const INIT: &str = "init.hook.restore.velero.io";
/// Name of an init container whose annotation names none; Velero takes a random one.
const INIT_NAME: &str = "velero-restore-init";

/// The hooks of a restore's spec, compiled.
#[derive(Clone, Debug, Default)]
pub(crate) struct RestoreHooks {
    specs: Vec<Spec>,
}

#[derive(Clone, Debug)]
struct Spec {
    name: String,
    pods: PodFilter,
    hooks: Vec<RestoreHook>,
}

/// A command to run in a restored pod, once its container is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RestoreCommand {
    pub(crate) command: Command,
    /// How long to wait for the container; `None` means as long as the restore waits for anything.
    pub(crate) wait: Option<Duration>,
    /// Wait until the container is ready, not only running.
    pub(crate) ready: bool,
}

impl RestoreHooks {
    /// Compiles the hooks of a spec.
    ///
    /// # Errors
    /// Every rule that they break.
    pub(crate) fn compile(hooks: &Hooks) -> Result<Self, Vec<String>> {
        let errors = validate::restore_hooks(hooks);
        if !errors.is_empty() {
            return Err(errors);
        }
        let specs = hooks
            .for_restore()
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
            compiled.push(Spec {
                name: spec.name,
                pods,
                hooks: spec.post_hooks,
            });
        }
        Ok(Self { specs: compiled })
    }

    /// The hooks for a pod as it stands in the backup. `namespace` is the one that it is restored into.
    fn of<'a>(
        &'a self,
        pod: &Pod,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a RestoreHook)> {
        let labels = pod.labels();
        self.specs
            .iter()
            .filter(move |spec| spec.pods.matches(namespace, &labels))
            .flat_map(|spec| spec.hooks.iter().map(|hook| (spec.name.as_str(), hook)))
    }

    /// The init containers to add, in order. Those of annotations take the place of the spec's.
    pub(crate) fn init_containers(&self, pod: &Pod, namespace: &str) -> Vec<Value> {
        let image = annotation::text(pod, INIT, "container-image");
        let command = annotation::text(pod, INIT, "command");
        if let (Some(image), Some(command)) = (image, command) {
            let name = annotation::text(pod, INIT, "container-name").unwrap_or(INIT_NAME);
            let command = annotation::command(command);
            return vec![json!({"name": name, "image": image, "command": command})];
        }
        let inits = self
            .of(pod, namespace)
            .filter_map(|(_, hook)| hook.init.as_ref());
        inits
            .flat_map(|init| init.init_containers.clone())
            .collect()
    }

    /// The commands to run, in order, and what is odd about the annotations. Those of annotations take the place
    /// of the spec's.
    pub(crate) fn commands(
        &self,
        pod: &Pod,
        namespace: &str,
    ) -> (Vec<RestoreCommand>, Vec<String>) {
        let mut problems = Vec::new();
        if let Some(command) = annotated(pod, &mut problems) {
            return (vec![command], problems);
        }
        let commands = self
            .of(pod, namespace)
            .filter_map(|(name, hook)| Some(RestoreCommand::new(name, hook.exec.as_ref()?)))
            .collect();
        (commands, problems)
    }
}

impl RestoreCommand {
    fn new(hook: &str, exec: &ExecRestoreHook) -> Self {
        Self {
            command: Command {
                hook: hook.to_owned(),
                container: exec.container.clone(),
                words: exec.command.clone(),
                fails: exec.on_error != HookErrorMode::Continue,
                timeout: or_default(exec.exec_timeout.0),
            },
            wait: not_zero(exec.wait_timeout.0),
            ready: exec.wait_for_ready == Some(true),
        }
    }
}

fn not_zero(wait: Duration) -> Option<Duration> {
    (!wait.is_zero()).then_some(wait)
}

fn annotated(pod: &Pod, problems: &mut Vec<String>) -> Option<RestoreCommand> {
    let words = annotation::text(pod, EXEC, "command")?;
    let timeout = annotation::duration(pod, EXEC, "exec-timeout", problems);
    let wait = annotation::duration(pod, EXEC, "wait-timeout", problems);
    let container = annotation::text(pod, EXEC, "container").unwrap_or_default();
    Some(RestoreCommand {
        command: Command {
            hook: FROM_ANNOTATION.to_owned(),
            container: container.to_owned(),
            words: annotation::command(words),
            fails: annotation::on_error(pod, EXEC) != HookErrorMode::Continue,
            timeout: or_default(timeout.unwrap_or_default()),
        },
        wait: not_zero(wait.unwrap_or_default()),
        ready: annotation::text(pod, EXEC, "wait-for-ready") == Some("true"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(annotations: Value) -> Pod {
        let body = json!({"metadata": {"name": "db", "namespace": "shop",
            "labels": {"app": "db"}, "annotations": annotations},
            "spec": {"containers": [{"name": "main"}]}});
        Pod::read(body.to_string().as_bytes()).expect("a pod")
    }

    fn hooks(specs: Value) -> RestoreHooks {
        let hooks = serde_json::from_value(json!({"resources": specs})).expect("hooks");
        RestoreHooks::compile(&hooks).expect("valid")
    }

    fn said(commands: &[RestoreCommand]) -> Vec<String> {
        let say = |c: &RestoreCommand| {
            let (hook, words) = (&c.command.hook, c.command.words.join(" "));
            let wait = c.wait.map(|wait| wait.as_secs());
            let (fails, timeout) = (c.command.fails, c.command.timeout.as_secs());
            format!("{hook} {words} {fails} {timeout} {wait:?} {}", c.ready)
        };
        commands.iter().map(say).collect()
    }

    #[test]
    fn annotations_take_the_place_of_the_spec() {
        let init = json!({"name": "from-spec", "image": "i", "command": ["x"], "volumeMounts": []});
        let spec = json!([{"name": "a", "postHooks": [
            {"exec": {"command": ["load"], "waitTimeout": "5m", "execTimeout": "1m", "waitForReady": true}},
            {"init": {"initContainers": [init]}},
            {"exec": {"command": ["tell"], "onError": "Continue"}}]}]);
        for (annotations, commands, inits) in [
            (
                json!({}),
                vec![
                    "a load true 60 Some(300) true",
                    "a tell false 30 None false",
                ],
                vec![init.clone()],
            ),
            (
                json!({"post.hook.restore.velero.io/command": "[\"/bin/load\",\"all\"]",
                    "post.hook.restore.velero.io/on-error": "Continue",
                    "post.hook.restore.velero.io/exec-timeout": "10s",
                    "post.hook.restore.velero.io/wait-timeout": "20s",
                    "post.hook.restore.velero.io/wait-for-ready": "true",
                    "init.hook.restore.velero.io/container-image": "busybox",
                    "init.hook.restore.velero.io/command": "sync"}),
                vec!["<from-annotation> /bin/load all false 10 Some(20) true"],
                vec![
                    json!({"name": "velero-restore-init", "image": "busybox", "command": ["sync"]}),
                ],
            ),
            (
                json!({"init.hook.restore.velero.io/container-image": "busybox"}),
                vec![
                    "a load true 60 Some(300) true",
                    "a tell false 30 None false",
                ],
                vec![init.clone()],
            ),
        ] {
            let hooks = hooks(spec.clone());
            let pod = pod(annotations.clone());
            assert_eq!(
                said(&hooks.commands(&pod, "shop").0),
                commands,
                "{annotations}"
            );
            assert_eq!(hooks.init_containers(&pod, "shop"), inits, "{annotations}");
        }
    }

    #[test]
    fn filters_are_of_the_namespace_that_a_pod_is_restored_into() {
        let spec = json!([{"name": "a", "includedNamespaces": ["copy"],
            "postHooks": [{"exec": {"command": ["x"]}}]}]);
        let hooks = hooks(spec);
        assert_eq!(hooks.commands(&pod(json!({})), "copy").0.len(), 1);
        assert_eq!(hooks.commands(&pod(json!({})), "shop").0.len(), 0);
    }
}

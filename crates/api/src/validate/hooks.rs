//! Hooks of backups and restores.

use serde_json::Value;

use crate::filter::IncludesExcludes;
use crate::meta::LabelSelector;
use crate::selector::Selector;
use crate::velero::{HookErrorMode, Hooks};

/// What is wrong with the hooks of a backup.
#[must_use]
pub fn backup_hooks(hooks: &Hooks) -> Vec<String> {
    let mut errors = Vec::new();
    of_backup(hooks, &mut errors);
    errors
}

/// What is wrong with the hooks of a restore.
#[must_use]
pub fn restore_hooks(hooks: &Hooks) -> Vec<String> {
    let mut errors = Vec::new();
    of_restore(hooks, &mut errors);
    errors
}

/// Checks the hooks of a backup.
pub(super) fn of_backup(hooks: &Hooks, errors: &mut Vec<String>) {
    let specs = match hooks.for_backup() {
        Ok(specs) => specs,
        Err(error) => return errors.push(format!("{error}: {}", error.source)),
    };
    for spec in specs {
        let mut wrong = Vec::new();
        pods(
            &spec.name,
            [&spec.included_namespaces, &spec.excluded_namespaces],
            [&spec.included_resources, &spec.excluded_resources],
            spec.label_selector.as_ref(),
            &mut wrong,
        );
        for (list, hooks) in [("pre", &spec.pre), ("post", &spec.post)] {
            for (position, hook) in (1..).zip(hooks) {
                let at = format!("{list} hook {position}");
                match &hook.exec {
                    None => wrong.push(format!("{at}: exec is missing")),
                    Some(exec) => command(&at, &exec.command, &exec.on_error, &mut wrong),
                }
            }
        }
        errors.extend(
            wrong
                .into_iter()
                .map(|wrong| format!("hook `{}`: {wrong}", spec.name)),
        );
    }
}

/// Checks the hooks of a restore.
pub(super) fn of_restore(hooks: &Hooks, errors: &mut Vec<String>) {
    let specs = match hooks.for_restore() {
        Ok(specs) => specs,
        Err(error) => return errors.push(format!("{error}: {}", error.source)),
    };
    for spec in specs {
        let mut wrong = Vec::new();
        pods(
            &spec.name,
            [&spec.included_namespaces, &spec.excluded_namespaces],
            [&spec.included_resources, &spec.excluded_resources],
            spec.label_selector.as_ref(),
            &mut wrong,
        );
        for (position, hook) in (1..).zip(&spec.post_hooks) {
            let at = format!("hook {position}");
            match (&hook.exec, &hook.init) {
                (Some(exec), None) => command(&at, &exec.command, &exec.on_error, &mut wrong),
                (None, Some(init)) => containers(&at, &init.init_containers, &mut wrong),
                _ => wrong.push(format!("{at}: give either exec or init")),
            }
        }
        errors.extend(
            wrong
                .into_iter()
                .map(|wrong| format!("hook `{}`: {wrong}", spec.name)),
        );
    }
}

/// Checks which pods a hook is for.
fn pods(
    name: &str,
    namespaces: [&[String]; 2],
    resources: [&[String]; 2],
    selector: Option<&LabelSelector>,
    wrong: &mut Vec<String>,
) {
    if name.is_empty() {
        wrong.push("its name is missing".to_owned());
    }
    for (what, [includes, excludes]) in [("namespaces", namespaces), ("resources", resources)] {
        if let Err(error) = IncludesExcludes::new(includes, excludes) {
            wrong.push(error.to_string());
        }
        let both = |entry: &&String| *entry != "*" && excludes.contains(entry);
        for entry in includes.iter().filter(both) {
            wrong.push(format!("{what}: `{entry}` is both included and excluded"));
        }
    }
    if let Some(Err(error)) = selector.map(Selector::compile) {
        wrong.push(error.to_string());
    }
}

fn command(at: &str, command: &[String], on_error: &HookErrorMode, wrong: &mut Vec<String>) {
    if command.first().is_none_or(String::is_empty) {
        wrong.push(format!("{at}: the command is missing"));
    }
    if let HookErrorMode::Other(mode) = on_error {
        wrong.push(format!("{at}: onError is `{mode}`: use Continue or Fail"));
    }
}

fn containers(at: &str, containers: &[Value], wrong: &mut Vec<String>) {
    if containers.is_empty() {
        wrong.push(format!("{at}: there is no init container"));
    }
    for (position, container) in (1..).zip(containers) {
        let given = |field: &str| match &container[field] {
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => false,
        };
        for field in ["name", "image", "command"] {
            if !given(field) {
                wrong.push(format!("{at}: init container {position} has no {field}"));
            }
        }
    }
}

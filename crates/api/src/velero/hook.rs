//! Hooks: commands that run in pods around a backup or after a restore.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::phase::words;
use crate::go::GoDuration;
use crate::meta::{LabelSelector, null_is_default};

/// Hook specifications of a backup or restore, as written.
///
/// They stay JSON: a restore's init containers may hold any field of a container, and one hook that
/// cannot be read must not make a backup unreadable. Who runs hooks asks for the typed form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hooks {
    /// One entry per set of pods.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub resources: Vec<Value>,
}

/// A hook that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read hook {position} (`{name}`) of spec.hooks.resources")]
pub struct HookError {
    /// Position in the list, from 1.
    pub position: usize,
    /// Its name, empty when it has none.
    pub name: String,
    /// What is wrong with it.
    #[source]
    pub source: serde_json::Error,
}

impl Hooks {
    /// The hooks of a backup, typed.
    ///
    /// # Errors
    /// The first hook that cannot be read.
    pub fn for_backup(&self) -> Result<Vec<BackupHookSpec>, HookError> {
        self.typed()
    }

    /// The hooks of a restore, typed.
    ///
    /// # Errors
    /// The first hook that cannot be read.
    pub fn for_restore(&self) -> Result<Vec<RestoreHookSpec>, HookError> {
        self.typed()
    }

    fn typed<T: DeserializeOwned>(&self) -> Result<Vec<T>, HookError> {
        let read = |(position, hook): (usize, &Value)| {
            T::deserialize(hook).map_err(|source| HookError {
                position,
                name: hook["name"].as_str().unwrap_or_default().to_owned(),
                source,
            })
        };
        (1..).zip(&self.resources).map(read).collect()
    }
}

macro_rules! hook_spec {
    ($(#[$doc:meta])* $type:ident { $($fields:tt)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $type {
            /// Name, for messages.
            pub name: String,
            /// Namespaces of the pods; empty means all.
            #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
            pub included_namespaces: Vec<String>,
            /// Namespaces whose pods are left alone.
            #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
            pub excluded_namespaces: Vec<String>,
            /// Resources; empty means all. Only pods can run anything.
            #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
            pub included_resources: Vec<String>,
            /// Resources that are left alone.
            #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
            pub excluded_resources: Vec<String>,
            /// Labels of the pods; absent means any.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub label_selector: Option<LabelSelector>,
            $($fields)*
        }
    };
}

hook_spec! {
    /// Hooks of a backup for one set of pods.
    BackupHookSpec {
        /// Run before the pod is taken.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
        pub pre: Vec<BackupHook>,
        /// Run after the pod and its volumes are taken.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
        pub post: Vec<BackupHook>,
    }
}

hook_spec! {
    /// Hooks of a restore for one set of pods.
    RestoreHookSpec {
        /// Run in the restored pods, in this order.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
        pub post_hooks: Vec<RestoreHook>,
    }
}

/// One hook of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupHook {
    /// The command; the only form there is.
    pub exec: Option<ExecHook>,
}

/// A command in a container of a pod that is backed up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecHook {
    /// Container; empty means the pod's first.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// Program and arguments; no shell unless named.
    #[serde(deserialize_with = "null_is_default")]
    pub command: Vec<String>,
    /// What a failure means; unset means [`HookErrorMode::Fail`].
    #[serde(skip_serializing_if = "HookErrorMode::is_unset")]
    pub on_error: HookErrorMode,
    /// How long it may run; zero means 30 seconds.
    pub timeout: GoDuration,
}

words! {
    /// What a failed hook means.
    HookErrorMode, unset: "", {
        /// The pod is taken all the same; the error counts.
        Continue,
        /// The pod is not taken, or its remaining hooks are not run.
        Fail,
    }
}

/// One hook of a restore: a command or init containers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestoreHook {
    /// A command in a container that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecRestoreHook>,
    /// Init containers that are added to the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<InitRestoreHook>,
}

/// A command in a container of a restored pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecRestoreHook {
    /// Container; empty means the pod's first.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// Program and arguments; no shell unless named.
    #[serde(deserialize_with = "null_is_default")]
    pub command: Vec<String>,
    /// What a failure means; unset means [`HookErrorMode::Fail`].
    #[serde(skip_serializing_if = "HookErrorMode::is_unset")]
    pub on_error: HookErrorMode,
    /// How long it may run; zero means 30 seconds.
    pub exec_timeout: GoDuration,
    /// How long to wait for the container; zero means without end.
    pub wait_timeout: GoDuration,
    /// Whether to wait until the container is ready, not only running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_for_ready: Option<bool>,
}

/// Init containers for a restored pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InitRestoreHook {
    /// Containers as a pod spells them; `name`, `image` and `command` are needed.
    #[serde(deserialize_with = "null_is_default")]
    pub init_containers: Vec<Value>,
    /// How long they may take.
    pub timeout: GoDuration,
}

/// Hooks of a backup or restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HookStatus {
    /// How many were run.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub hooks_attempted: i64,
    /// How many failed.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub hooks_failed: i64,
}

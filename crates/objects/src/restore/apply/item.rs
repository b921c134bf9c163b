//! One object of the plan: what is sent, what the answer means.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use salvor_api::resource::{GroupVersion, ObjectKey};
use salvor_archive::archive::Archive;
use salvor_cluster::{
    ApiResource, Cluster, DeleteOptions, Discovery, Error, ErrorKind, Propagation, Wait,
    WriteOptions,
};
use salvor_volume::native::Snapshotters;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::journal::Done;
use super::ports;
use crate::restore::body;
use crate::restore::endpoints;
use crate::restore::error::chain;
use crate::restore::existing::{self, ExistingPolicy};
use crate::restore::mapping::is_namespace;
use crate::restore::normalise;
use crate::restore::plan::{Action, PlanEntry, PlanHeader};
use crate::restore::planner::{blank_namespace, is_made_by, is_service_account, parse};
use crate::restore::status::StatusSelection;
use crate::restore::transform::{Refusal, Transformed, transform};
use crate::restore::version::{Route, convert};

/// What an attempt came to.
#[derive(Debug)]
pub(super) enum Attempt {
    /// It is settled.
    Settled {
        done: Done,
        message: String,
        warnings: Vec<String>,
    },
    /// It may work later.
    Later { why: Why, message: String },
}

/// Why an object waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its kind is not served yet.
    NoKind,
    /// Its namespace is not there, or going.
    NoNamespace,
    /// An admission webhook said no or could not be asked.
    Webhook,
    /// A quota is used up.
    Quota,
    /// It, or what it refers to, is in motion.
    Conflict,
    /// The server answered that it failed, or asked for patience.
    Server,
    /// Nobody answered for the server.
    Unanswered,
}

/// Everything that attempts share.
pub(super) struct Hands {
    pub(super) cluster: Cluster,
    pub(super) archive: Archive,
    pub(super) header: Arc<PlanHeader>,
    pub(super) discovery: RwLock<Arc<Discovery>>,
    pub(super) status: StatusSelection,
    /// Who makes volumes of snapshots.
    pub(super) snapshotters: Snapshotters,
    pub(super) timeout: Duration,
    pub(super) cancel: CancellationToken,
}

/// An object found in the target.
struct Live {
    object: Value,
    uid: String,
    version: String,
    terminating: bool,
}

impl Hands {
    pub(super) fn discovery(&self) -> Arc<Discovery> {
        self.discovery
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Transforms an entry of the plan once more.
    pub(super) async fn remake(&self, entry: &PlanEntry) -> Result<Transformed, String> {
        let source = entry.source();
        let to = entry.destination().clone();
        let version = entry.version.clone();
        let blank = entry.is_blank_namespace();
        let archive = self.archive.clone();
        let header = self.header.clone();
        let made = tokio::task::spawn_blocking(move || {
            let object = if blank {
                blank_namespace(&source.name)
            } else {
                let found = archive.index().get(&source, Some(&version));
                let found = found.ok_or("it is not in the archive any more")?;
                parse(&archive.get(&found).map_err(|error| chain(&error))?)
            };
            let from = GroupVersion::parse(body::text_at(&object, &["apiVersion"]));
            let route = if from == to.group_version {
                Route::Direct
            } else {
                convert::find(&source.resource, &from, &to.group_version)
                    .map(Route::Convert)
                    .ok_or("its version cannot be converted as the plan says")?
            };
            transform(&source, &object, route, &header.rules).map_err(|refusal| match refusal {
                Refusal::Skip(skip) => skip.to_string(),
                Refusal::Unusable(reason) => reason,
            })
        });
        made.await.unwrap_or_else(|error| {
            if error.is_panic() {
                std::panic::resume_unwind(error.into_panic());
            }
            Err("the program is ending".to_owned())
        })
    }

    /// Tries to restore one object. Looks before it repeats anything, so it may be called again.
    pub(super) async fn attempt(&self, entry: &PlanEntry) -> Attempt {
        let sent = match self.remake(entry).await {
            Ok(sent) => sent,
            Err(reason) => return failed(reason),
        };
        if Some(sent.digest) != entry.digest {
            return failed(
                "the object made now is not the one that was planned: the backup, the program or the answer of \
                 an item action changed in between; plan again",
            );
        }
        let to = entry.destination();
        let discovery = self.discovery();
        let Some(api) = discovery.find_version(&to.resource, &to.group_version.version) else {
            return Attempt::Later {
                why: Why::NoKind,
                message: format!(
                    "the target does not serve {} in {}",
                    to.resource, to.group_version
                ),
            };
        };
        let sent = match self.with_volume(api, entry, sent).await {
            Ok(Ok(sent)) => sent,
            Ok(Err(attempt)) => return attempt,
            Err(error) => return self.judge(&entry.target(&self.header.rules), &error).await,
        };
        let result = match entry.action {
            Action::Create => self.create(api, entry, &sent).await,
            Action::Update => self.update(api, entry, &sent).await,
            Action::Recreate => self.recreate(api, entry, &sent).await,
            // Only entries that change something are attempted.
            Action::Unchanged | Action::Conflict | Action::Skip | Action::Blocked => {
                return settled(Done::Skipped);
            }
        };
        let mut attempt = match result {
            Ok(attempt) => attempt,
            Err(error) => self.judge(&sent.key, &error).await,
        };
        if let Attempt::Settled {
            done: Done::Created | Done::Updated,
            message,
            warnings,
        } = &mut attempt
        {
            *message = sent.problems.join("; ");
            warnings.extend(sent.notes.iter().cloned());
            if let Some(problem) = self.restore_status(api, &sent).await {
                warnings.push(problem);
            }
        }
        attempt
    }

    async fn create(
        &self,
        api: &ApiResource,
        entry: &PlanEntry,
        sent: &Transformed,
    ) -> Result<Attempt, Error> {
        let bytes = body::as_go_writes(&sent.body);
        let (namespace, name) = (sent.key.namespace.as_deref(), sent.key.name.as_str());
        let restore = &self.header.rules.restore;
        let created = self
            .cluster
            .create_once(
                api,
                namespace,
                name,
                bytes.as_bytes(),
                &WriteOptions::default(),
                |found| is_made_by(restore, &parse(found)),
            )
            .await;
        match created {
            Ok(_) => Ok(settled(Done::Created)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.on_existing(api, entry, sent).await
            }
            Err(error) if ports::are_taken(&error) => match self.look(api, &sent.key).await? {
                Some(_) => self.on_existing(api, entry, sent).await,
                None => self.on_taken_ports(api, sent, &error).await,
            },
            Err(error) => Err(error),
        }
    }

    /// True for what the control plane has made meanwhile, and keeps.
    async fn is_kept_by_a_controller(&self, entry: &PlanEntry, sent: &Transformed) -> bool {
        let (archive, source) = (self.archive.clone(), entry.source());
        let object = sent.body.clone();
        let kept =
            tokio::task::spawn_blocking(move || endpoints::are_kept(&archive, &source, &object));
        kept.await.unwrap_or(false)
    }

    /// An object that was to be created is there.
    async fn on_existing(
        &self,
        api: &ApiResource,
        entry: &PlanEntry,
        sent: &Transformed,
    ) -> Result<Attempt, Error> {
        let Some(live) = self.look(api, &sent.key).await? else {
            return Ok(Attempt::Later {
                why: Why::Conflict,
                message: "it was there and is gone".to_owned(),
            });
        };
        if live.terminating {
            return Ok(Attempt::Later {
                why: Why::Conflict,
                message: format!("{} is being deleted", sent.key),
            });
        }
        if is_made_by(&self.header.rules.restore, &live.object) {
            return Ok(settled(Done::Created));
        }
        if is_namespace(&sent.key) || self.is_equal(&live, sent) {
            return Ok(settled(Done::Skipped));
        }
        if is_service_account(&sent.key) {
            return self.patch(api, sent, &live, entry).await;
        }
        if self.is_kept_by_a_controller(entry, sent).await {
            return Ok(settled(Done::Skipped));
        }
        Ok(warned(format!(
            "could not restore, {} already exists. Warning: the in-cluster version is different than the \
             backed-up version; it appeared after the plan was made",
            sent.key
        )))
    }

    async fn update(
        &self,
        api: &ApiResource,
        entry: &PlanEntry,
        sent: &Transformed,
    ) -> Result<Attempt, Error> {
        let Some(live) = self.look(api, &sent.key).await? else {
            return Ok(warned(format!(
                "{} was deleted after the plan was made",
                sent.key
            )));
        };
        if self.is_equal(&live, sent) {
            // Either a run before this one has patched it, or somebody else did the same.
            let ours = is_made_by(&self.header.rules.restore, &live.object);
            return Ok(settled(if ours { Done::Updated } else { Done::Skipped }));
        }
        if !is_service_account(&sent.key) && self.digest(&live, sent) != entry.live {
            return Ok(warned(format!(
                "{} was changed after the plan was made; it is left alone",
                sent.key
            )));
        }
        self.patch(api, sent, &live, entry).await
    }

    async fn patch(
        &self,
        api: &ApiResource,
        sent: &Transformed,
        live: &Live,
        entry: &PlanEntry,
    ) -> Result<Attempt, Error> {
        let keep_ports = self.header.rules.preserve_node_ports;
        let mut patch = if is_service_account(&sent.key) {
            match existing::service_account_patch(&live.object, &sent.body) {
                Some(patch) => patch,
                // Merged already, by an earlier attempt of this restore or by somebody else.
                None if entry.action == Action::Update => return Ok(settled(Done::Updated)),
                None => return Ok(settled(Done::Skipped)),
            }
        } else {
            existing::update_patch(&sent.key.resource, &live.object, &sent.body, keep_ports)
        };
        // Conditional: a change that we have not looked at is not overwritten.
        body::set_at(
            &mut patch,
            &["metadata", "resourceVersion"],
            json!(live.version),
        );
        match self.send_patch(api, &sent.key, None, &patch).await {
            Ok(_) => Ok(settled(Done::Updated)),
            Err(error) if error.kind() == ErrorKind::Invalid => {
                let labels = existing::labels_patch(&sent.body);
                self.send_patch(api, &sent.key, None, &labels).await?;
                Ok(warned(format!(
                    "{} could not be updated, only its labels were: {}",
                    sent.key,
                    error.reason()
                )))
            }
            Err(error) => Err(error),
        }
    }

    async fn recreate(
        &self,
        api: &ApiResource,
        entry: &PlanEntry,
        sent: &Transformed,
    ) -> Result<Attempt, Error> {
        if let Some(live) = self.look(api, &sent.key).await? {
            if is_made_by(&self.header.rules.restore, &live.object) && self.is_equal(&live, sent) {
                return Ok(settled(Done::Updated));
            }
            if self.is_equal(&live, sent) {
                return Ok(settled(Done::Skipped));
            }
            if !live.terminating && self.digest(&live, sent) != entry.live {
                return Ok(warned(format!(
                    "{} was changed after the plan was made; it is left alone",
                    sent.key
                )));
            }
            let options = DeleteOptions {
                uid: Some(live.uid),
                propagation: Some(Propagation::Background),
                ..DeleteOptions::default()
            };
            let (namespace, name) = (sent.key.namespace.as_deref(), sent.key.name.as_str());
            self.cluster.delete(api, namespace, name, &options).await?;
            self.cluster
                .wait_gone(api, namespace, name, &self.wait())
                .await?;
        }
        Ok(match self.create(api, entry, sent).await? {
            Attempt::Settled {
                done: Done::Created,
                message,
                warnings,
            } => Attempt::Settled {
                done: Done::Updated,
                message,
                warnings,
            },
            other => other,
        })
    }

    /// Writes the status when it is selected. A failure is a warning: the object itself is there.
    async fn restore_status(&self, api: &ApiResource, sent: &Transformed) -> Option<String> {
        let status = sent.status.as_ref()?;
        let names = api.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if !self.status.selects(&names, &sent.body) {
            return None;
        }
        let patch = json!({ "status": status });
        let subresource = api.has_subresource("status").then_some("status");
        match self.send_patch(api, &sent.key, subresource, &patch).await {
            Ok(_) => None,
            Err(error) => Some(format!(
                "its status could not be restored: {}",
                error.reason()
            )),
        }
    }

    async fn send_patch(
        &self,
        api: &ApiResource,
        key: &ObjectKey,
        subresource: Option<&str>,
        patch: &Value,
    ) -> Result<Bytes, Error> {
        self.cluster
            .merge_patch(
                api,
                key.namespace.as_deref(),
                &key.name,
                subresource,
                patch.to_string().as_bytes(),
                &WriteOptions::default(),
            )
            .await
    }

    async fn look(&self, api: &ApiResource, key: &ObjectKey) -> Result<Option<Live>, Error> {
        let found = self
            .cluster
            .get(api, key.namespace.as_deref(), &key.name)
            .await?;
        Ok(found.map(|bytes| {
            let object = parse(&bytes);
            Live {
                uid: body::text_at(&object, &["metadata", "uid"]).to_owned(),
                version: body::text_at(&object, &["metadata", "resourceVersion"]).to_owned(),
                terminating: !body::text_at(&object, &["metadata", "deletionTimestamp"]).is_empty(),
                object,
            }
        }))
    }

    fn digest(&self, live: &Live, sent: &Transformed) -> Option<normalise::Digest> {
        let keep_ports = self.header.rules.preserve_node_ports;
        Some(normalise::digest(
            &sent.key.resource,
            live.object.clone(),
            keep_ports,
        ))
    }

    fn is_equal(&self, live: &Live, sent: &Transformed) -> bool {
        self.digest(live, sent) == Some(sent.normal)
    }

    pub(super) fn wait(&self) -> Wait {
        Wait {
            timeout: self.timeout,
            cancel: self.cancel.clone(),
        }
    }

    /// What an error means for the object.
    async fn judge(&self, key: &ObjectKey, error: &Error) -> Attempt {
        let why = match error.kind() {
            ErrorKind::NoSuchKind => Why::NoKind,
            ErrorKind::NamespaceMissing | ErrorKind::NamespaceTerminating => Why::NoNamespace,
            ErrorKind::WebhookDenied | ErrorKind::WebhookUnavailable => Why::Webhook,
            ErrorKind::QuotaExceeded => Why::Quota,
            ErrorKind::Conflict | ErrorKind::AlreadyExists => Why::Conflict,
            // Admission looks for service accounts, priority classes and the like, and calls their
            // absence forbidden.
            ErrorKind::Forbidden if error.reason().contains("not found") => Why::Conflict,
            ErrorKind::Cancelled => Why::Conflict,
            ErrorKind::Transport | ErrorKind::Timeout | ErrorKind::Unavailable => Why::Unanswered,
            _ if error.is_retryable() => Why::Server,
            _ => return failed(error.reason()),
        };
        Attempt::Later {
            why,
            message: format!("{key}: {}", error.reason()),
        }
    }
}

pub(super) fn settled(done: Done) -> Attempt {
    Attempt::Settled {
        done,
        message: String::new(),
        warnings: Vec::new(),
    }
}

fn warned(warning: String) -> Attempt {
    Attempt::Settled {
        done: Done::Skipped,
        message: String::new(),
        warnings: vec![warning],
    }
}

pub(super) fn failed(message: impl Into<String>) -> Attempt {
    Attempt::Settled {
        done: Done::Failed,
        message: message.into(),
        warnings: Vec::new(),
    }
}

/// What a conflict of the plan is called in the results, in Velero's words.
pub(super) fn conflict_warning(key: &ObjectKey, policy: ExistingPolicy, reason: &str) -> String {
    let detail = if policy == ExistingPolicy::None {
        String::new()
    } else {
        format!(" ({reason})")
    };
    format!(
        "could not restore, {key} already exists. Warning: the in-cluster version is different than the \
         backed-up version{detail}"
    )
}

//! Making a plan: a fold over the archive against the state of the target.
//!
//! First the target is asked what it serves, then names decide which objects are looked at and in which
//! version, then the target's objects of those resources become digests, and then each body is read once,
//! in archive order, transformed and compared.

mod fold;
mod lost;
mod native;
mod picks;
pub(crate) mod volumes;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use salvor_api::labels::CLUSTER_UID;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_api::resource_policy::FilterPolicies;
use salvor_api::velero::RestoreSpec;
use salvor_archive::archive::Archive;
use salvor_cluster::{ApiResource, Cluster, DiscoverOptions, Discovery, ListOptions};
use salvor_location::RunId;
use salvor_volume::csi::{Snapshots, restored_name};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::error::{Doing as _, RestoreError};
use super::existing;
use super::fits::{self, Demands, Facts, Finding, SELECTION, Severity};
use super::plan::{Action, Destination, Interner, PlanHeader, PlannedCluster, RestorePlan};
use super::request::RestoreRequest;
use super::rules::Rules;
use super::settings::Settings;
use super::target::{Interest, TargetIndex};
use super::transform::transform;
use super::version::{NoVersion, ServedResource, Serving};
use super::volume_data::wanted::Wish;
use super::volume_data::{ClaimSource, DataRules, VolumeData, WaitContainer, settle};
use super::{body, strip};

use fold::Fold;
use picks::{Pick, Picks};
use volumes::{LiveVolume, Storage};

const CLASSES: &str = "storageclasses.storage.k8s.io";

/// Plans a restore. Nothing is changed.
///
/// # Errors
/// The request is not valid, the cluster or the archive cannot be read, or it was cancelled.
pub async fn plan(
    request: &RestoreRequest,
    cancel: &CancellationToken,
) -> Result<RestorePlan, RestoreError> {
    tokio::select! {
        () = cancel.cancelled() => Err(RestoreError::cancelled()),
        plan = Box::pin(make_plan(request)) => match plan {
            Ok(plan) => Ok(plan),
            Err(error) => Err(request.source.explained(error).await),
        },
    }
}

async fn make_plan(request: &RestoreRequest) -> Result<RestorePlan, RestoreError> {
    let compiled = request.compile()?;
    let cluster = &request.cluster;
    let spec = &request.restore.spec;
    let identity = cluster
        .identity()
        .await
        .doing(|| "ask the target who it is".to_owned())?;
    let discovery = cluster
        .discover(DiscoverOptions { all_versions: true })
        .await
        .doing(|| "ask the target what it serves".to_owned())?;
    let settings = Settings::load(cluster, &request.restore, &request.options.actions).await?;
    let archive = request.source.archive.clone();

    let selection = compiled.selection.clone();
    let priorities = settings.version_priorities.clone();
    let mut serving = serving_of(&discovery);
    let (serving, picks) = blocking({
        let archive = archive.clone();
        move || {
            for crd in picks::definitions(&archive, &selection)? {
                serving.add_definition(&crd);
            }
            let picks = Picks::make(&archive, &selection, &serving, &priorities)?;
            Ok((serving, picks))
        }
    })
    .await?;

    let storage = Storage {
        volumes: live(cluster, &discovery, "persistentvolumes", LiveVolume::of).await?,
        classes: live(cluster, &discovery, CLASSES, provisioner).await?,
        mapped: settings.storage_classes.clone(),
        namespaces: spec.namespace_mapping.clone(),
    };
    let restored_classes = picks.names_of(CLASSES, archive.index());
    let snapshots = Snapshots::of(cluster, &discovery).is_some();
    let (wish, wait) = wish(request, &settings, snapshots).await;
    let data = request.source.data(wish);
    let snapshots = match spec.restore_pvs {
        Some(false) => Vec::new(),
        _ => request.source.snapshots.clone(),
    };
    let zones = match snapshots.is_empty() {
        true => BTreeMap::new(),
        false => live(cluster, &discovery, "nodes", native::zone_of_node).await?,
    };
    let mark = mark_of(request);
    let (storage, volumes, native, mut data) = blocking({
        let (archive, infos) = (archive.clone(), request.source.volumes.clone());
        let (mut storage, mut data) = (storage, data);
        move || {
            volumes::add_classes(&mut storage, &archive, restored_classes)?;
            let mut fates = volumes::fates(&archive, &infos, &mut data, &storage)?;
            let target = native::Target {
                volumes: storage.volumes.keys().cloned().collect(),
                zones: zones
                    .into_values()
                    .filter(|zone| !zone.is_empty())
                    .collect(),
                namespaces: &storage.namespaces,
                mark: &mark,
            };
            let native = native::decide(&archive, &snapshots, &target, &mut data, &mut fates)?;
            Ok((storage, fates, native, data))
        }
    })
    .await?;
    let rules = Rules {
        backup: request.source.name.to_string(),
        restore: request.restore.metadata.name.clone(),
        namespaces: spec.namespace_mapping.clone(),
        preserve_node_ports: spec.preserve_node_ports == Some(true),
        restore_volumes: spec.restore_pvs,
        storage_classes: settings.storage_classes,
        known_storage_classes: storage.classes.into_keys().collect(),
        image_names: settings.image_names,
        actions_fingerprint: settings.actions.fingerprint(),
        actions: settings.actions,
        nodes: settings.nodes,
        volumes,
        native,
        modifiers: request
            .options
            .modifiers
            .clone()
            .unwrap_or(settings.modifiers),
        hooks: spec.hooks.clone(),
        data: data_rules(request, &mut data, wait),
    };

    let interests = interests(&picks, &archive, &rules, &discovery);
    let target = TargetIndex::read(cluster, interests, rules.preserve_node_ports).await?;
    let namespaces = live(cluster, &discovery, "namespaces", |_| ()).await?;
    let namespaces: BTreeSet<String> = namespaces.into_keys().collect();

    let fold = Fold {
        rules: Arc::new(rules),
        labels: compiled.selection.labels(),
        filters: match request.options.only {
            Some(_) => FilterPolicies::default(),
            None => settings.filters,
        },
        policy: compiled.policy,
        serving: Arc::new(serving),
        picks,
        target,
        interner: Interner::default(),
        entries: Vec::new(),
        demands: Demands::default(),
        not_selected: BTreeMap::new(),
        taken: HashMap::new(),
        needed_namespaces: BTreeSet::new(),
        related: HashSet::new(),
        additional: Vec::new(),
        missing: BTreeSet::new(),
    };
    let mut folded = blocking({
        let archive = archive.clone();
        move || fold.run(&archive)
    })
    .await?;
    look_closer_at_service_accounts(cluster, &discovery, &archive, &mut folded).await?;
    let mut folded = blocking({
        let archive = archive.clone();
        move || {
            folded.add_namespaces(&archive, &namespaces)?;
            Ok(folded)
        }
    })
    .await?;
    if let Some(damage) = &request.source.damage {
        folded.add_lost(&damage.lost, &compiled.selection, &discovery);
    }

    let facts = Facts::read(cluster, &discovery, &folded.demands).await?;
    let mut findings = fits::judge(&folded.demands, &facts);
    findings.extend(folded.own_findings(&settings.problems, &discovery));
    let native = &folded.rules.native;
    findings.extend(native::findings(native, &request.options.snapshotters));
    findings.extend(unmatched(spec, &archive, folded.entries.is_empty()));
    findings.sort();
    let mut plan = RestorePlan {
        header: PlanHeader {
            cluster: PlannedCluster {
                uid: identity.uid,
                name: identity.name,
                git_version: identity.version.git_version,
            },
            source_cluster_uid: request
                .source
                .backup
                .metadata
                .annotations
                .get(CLUSTER_UID)
                .cloned()
                .unwrap_or_default(),
            policy: folded.policy,
            status: spec.restore_status.clone(),
            relink_owners: request.options.relink_owners,
            rules: Arc::unwrap_or_clone(folded.rules),
            findings,
            not_selected: folded.not_selected,
            ..PlanHeader::current()
        },
        entries: folded.entries,
    };
    plan.sort();
    let unfilled = settle::unfilled(cluster, &discovery, &data, &plan).await?;
    let has_mover = request.options.data_mover.is_some();
    blocking(move || {
        settle::settle(&mut plan, data, &unfilled, has_mover, &archive)?;
        native::leave_unclaimed(&mut plan);
        Ok(plan)
    })
    .await
}

/// What of the backup's volumes is wanted, and the container that waits in pods.
async fn wish(
    request: &RestoreRequest,
    settings: &Settings,
    snapshots: bool,
) -> (Wish, WaitContainer) {
    let mut wait = settings.wait_container.clone();
    if let Some(mover) = &request.options.data_mover
        && wait.image.is_empty()
    {
        wait.image = mover.image().await.unwrap_or_default();
    }
    // Twice, because it begins to wait before the data begins to come.
    wait.seconds = 2 * request.options.data_timeout.as_secs();
    let wish = Wish {
        volumes: request.restore.spec.restore_pvs != Some(false),
        snapshots,
        can_wait: request.options.data_mover.is_some() && !wait.image.is_empty(),
    };
    (wish, wait)
}

/// What makes a volume that is made of a snapshot this restore's: its UID. One that has no object has none, and its name
/// may have been used before.
fn mark_of(request: &RestoreRequest) -> String {
    match request.restore.metadata.uid.as_str() {
        "" => RunId::generate().to_string(),
        uid => uid.to_owned(),
    }
}

/// What transformations have to know of the volumes that are to be filled.
fn data_rules(request: &RestoreRequest, data: &mut [VolumeData], wait: WaitContainer) -> DataRules {
    let mut rules = DataRules::default();
    let restore = &request.restore.metadata;
    let id = match restore.uid.as_str() {
        "" => format!("{}/{}", restore.name, request.source.name),
        uid => uid.to_owned(),
    };
    let mapping = &request.restore.spec.namespace_mapping;
    for data in data.iter_mut().filter(|data| data.action.fills()) {
        let claim = data.claim_key();
        let namespace = data.target_namespace(mapping).to_owned();
        if let Some(csi) = &mut data.csi {
            // The claim too: a record may name one snapshot for several.
            csi.made_as = restored_name(&format!("{id}{claim}"), &namespace, &csi.name);
            let source = ClaimSource {
                snapshot: csi.made_as.clone(),
                bytes: csi.restore_size,
            };
            rules.snapshots.insert(claim, source);
        }
        if data.is_of_pod() {
            let pod = format!("{}/{}", data.namespace, data.pod);
            let volumes = rules.pods.entry(pod).or_default();
            volumes.push(data.pod_volume.clone());
        } else {
            rules.claims.insert(data.claim_key());
        }
    }
    if !rules.is_empty() {
        rules.mark = match restore.uid.as_str() {
            "" => restore.name.clone(),
            uid => uid.to_owned(),
        };
        rules.wait = wait;
    }
    rules
}

/// What the filters name and the backup does not hold: most often a name that was mistyped. Without this a
/// restore of nothing looks like one that found everything in place.
fn unmatched(spec: &RestoreSpec, archive: &Archive, selects_nothing: bool) -> Vec<Finding> {
    let index = archive.index();
    let is_held = |name: &String| {
        let key = ObjectKey::cluster(GroupResource::new("namespaces", ""), name.clone());
        index.namespaces().contains(name) || index.get(&key, None).is_some()
    };
    let mut findings: Vec<Finding> = spec
        .included_namespaces
        .iter()
        .filter(|name| !name.contains(['*', '?', '[']))
        .chain(spec.namespace_mapping.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter(|name| !is_held(name))
        .map(|name| {
            let text = format!("the backup holds nothing of namespace {name}");
            Finding::new(Severity::Warning, SELECTION, text)
        })
        .collect();
    if selects_nothing && !index.is_empty() {
        let text = "the filters select no object of the backup; nothing is restored";
        findings.push(Finding::new(Severity::Warning, SELECTION, text));
    }
    findings
}

/// Runs archive work, which blocks, on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, RestoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(RestoreError::cancelled()),
    }
}

/// What the target serves, by resource.
pub(crate) fn serving_of(discovery: &Discovery) -> Serving {
    let mut serving = Serving::default();
    for resource in &discovery.resources {
        let served = serving
            .resources
            .entry(resource.group_resource())
            .or_insert_with(|| ServedResource {
                versions: Vec::new(),
                namespaced: resource.namespaced,
                names: resource.names(),
                has_status: false,
                present: true,
            });
        served.has_status |= resource.has_subresource("status");
        if resource.preferred {
            served.versions.insert(0, resource.version.clone());
        } else {
            served.versions.push(resource.version.clone());
        }
    }
    serving
}

/// What makes the volumes of a storage class.
fn provisioner(class: &Value) -> String {
    body::text_at(class, &["provisioner"]).to_owned()
}

/// What is wanted of the target's objects of a cluster-scoped resource, by name; empty when it has none or hides them.
async fn live<T>(
    cluster: &Cluster,
    discovery: &Discovery,
    resource: &str,
    read: impl Fn(&Value) -> T,
) -> Result<BTreeMap<String, T>, RestoreError> {
    let mut names = BTreeMap::new();
    let known = resource
        .parse()
        .ok()
        .and_then(|r: GroupResource| discovery.find(&r).cloned());
    let Some(api) = known else {
        return Ok(names);
    };
    let mut pager = cluster.pager(&api, None, ListOptions::default());
    loop {
        match pager.next_page().await {
            Ok(None) => return Ok(names),
            Ok(Some(page)) => names.extend(page.items().filter_map(|item| {
                let object: Value = serde_json::from_slice(item).ok()?;
                // What is being deleted does not count as there.
                let stays = body::text_at(&object, &["metadata", "deletionTimestamp"]).is_empty();
                let name = body::text_at(&object, &["metadata", "name"]).to_owned();
                stays.then(|| (name, read(&object)))
            })),
            Err(error) if error.kind() == salvor_cluster::ErrorKind::Forbidden => return Ok(names),
            Err(error) => return Err(error).doing(|| format!("list {resource} of the target")),
        }
    }
}

/// Which of the target's objects are compared.
fn interests(
    picks: &Picks,
    archive: &Archive,
    rules: &Rules,
    discovery: &Discovery,
) -> Vec<(ApiResource, Interest)> {
    let mut interests: BTreeMap<Destination, Interest> = BTreeMap::new();
    for (at, entry) in archive.index().in_archive_order().enumerate() {
        if let Pick::Take { to, .. } | Pick::Related { to, .. } = picks.get(at) {
            let moved = ObjectKey {
                resource: to.resource.clone(),
                ..entry.key()
            };
            let key = rules.target_key(&moved);
            if let Some(interest) = interests.get_mut(to) {
                interest.add(&key);
            } else {
                interests.entry(to.clone()).or_default().add(&key);
            }
        }
    }
    interests
        .into_iter()
        .filter_map(|(to, interest)| {
            let api = discovery.find_version(&to.resource, &to.group_version.version)?;
            Some((api.clone(), interest))
        })
        .collect()
}

/// A namespace that the backup has objects of, but not itself.
pub(crate) fn blank_namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// A body as JSON; what is not JSON becomes null, which every later step refuses with a reason.
pub(crate) fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

pub(crate) fn is_service_account(key: &ObjectKey) -> bool {
    key.resource.group.is_empty() && key.resource.resource == "serviceaccounts"
}

/// Service accounts are merged, which a digest cannot tell from a difference: those that differ are read,
/// and when nothing is missing there is nothing to do.
async fn look_closer_at_service_accounts(
    cluster: &Cluster,
    discovery: &Discovery,
    archive: &Archive,
    fold: &mut Fold,
) -> Result<(), RestoreError> {
    let accounts = GroupResource::new("serviceaccounts", "");
    let Some(api) = discovery.find(&accounts) else {
        return Ok(());
    };
    for entry in &mut fold.entries {
        if *entry.resource != accounts || entry.action != Action::Update {
            continue;
        }
        let target = entry.target(&fold.rules);
        let live = cluster
            .get(api, target.namespace.as_deref(), &target.name)
            .await
            .doing(|| format!("read {target}"))?;
        let Some(live) = live else { continue };
        let source = entry.source();
        let rules = fold.rules.clone();
        let archive = archive.clone();
        let version = entry.version.clone();
        let missing = blocking(move || {
            let Some(found) = archive.index().get(&source, Some(&version)) else {
                return Ok(true);
            };
            let object = parse(&archive.get(&found).doing(|| format!("read {source}"))?);
            let route = super::version::Route::Direct;
            Ok(
                transform(&source, &object, route, &rules).map_or(true, |sent| {
                    existing::service_account_patch(&parse(&live), &sent.body).is_some()
                }),
            )
        })
        .await?;
        if !missing {
            entry.action = Action::Unchanged;
            entry.reason = None;
            entry.digest = None;
        }
    }
    Ok(())
}

impl NoVersion {
    /// True when the resource itself is missing, not only a version of it.
    #[must_use]
    pub fn is_missing_resource(&self) -> bool {
        matches!(self, Self::NoResource { .. })
    }
}

/// Labels by which a restore recognises what it made.
pub(crate) fn is_made_by(restore: &str, object: &Value) -> bool {
    let label = salvor_api::labels::label_value(restore);
    body::text_at(object, &["metadata", "labels", strip::RESTORE_LABELS[2]]) == label
}

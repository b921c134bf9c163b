//! Amazon's Elastic Block Store, by EC2's query API: what Velero's plugin `velero.io/aws` does.
//!
//! EC2 knows a token for volumes and none for snapshots, so both carry it as a tag, and are looked for by it first.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use salvor_api::meta::StringMap;
use salvor_storage::remote::{AwsQuery, Element};
use serde_json::{Value, json};

use super::{MakeVolume, NativeError, RUN_TAG, Snapshotter, TOKEN_TAG, Take, Taken, VolumeKind};

/// The version of EC2's API.
const VERSION: &str = "2016-11-15";
/// The CSI driver whose volumes these are as well.
const DRIVER: &str = "ebs.csi.aws.com";
/// Types whose operations per second are chosen.
const WITH_IOPS: [&str; 3] = ["io1", "io2", "gp3"];
/// Tag of a snapshot: the throughput of its volume, which Velero's list of snapshots has no field for.
const THROUGHPUT_TAG: &str = "salvor.dev/throughput";
/// Most tags that EC2 takes, and the longest keys and values, in characters.
const TAGS: usize = 50;
const KEY: usize = 128;
const VALUE: usize = 256;
/// How long a volume may take until it can be used; its blocks come later, as they are read.
const AVAILABLE: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_secs(2);
/// Times that what may have been made is looked for: EC2 shows it within seconds.
const SEARCHES: u32 = 5;
const SEARCH_PAUSE: Duration = Duration::from_secs(2);

/// Volumes of EBS in one region.
#[derive(Debug)]
pub struct Ebs {
    ec2: AwsQuery,
    /// The cluster whose volumes they are to be, for their tags.
    cluster: Option<String>,
}

/// A snapshot or volume as EC2 describes it.
#[derive(Debug, Default)]
struct Described {
    id: String,
    state: String,
    progress: String,
    gibibytes: Option<u64>,
    volume_type: String,
    iops: Option<i64>,
    throughput: Option<u64>,
    tags: StringMap,
}

/// What is asked for: snapshots or volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Snapshots,
    Volumes,
}

impl Of {
    fn action(self) -> &'static str {
        match self {
            Self::Snapshots => "DescribeSnapshots",
            Self::Volumes => "DescribeVolumes",
        }
    }

    fn set(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshotSet",
            Self::Volumes => "volumeSet",
        }
    }

    fn id(self) -> &'static str {
        match self {
            Self::Snapshots => "SnapshotId.1",
            Self::Volumes => "VolumeId.1",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshot",
            Self::Volumes => "volume",
        }
    }
}

impl Described {
    fn read(of: Of, element: &Element) -> Self {
        let text = |name: &str| element.text_of(name).unwrap_or_default().to_owned();
        let tags = element.child("tagSet").into_iter();
        let tags = tags.flat_map(|set| set.all("item")).filter_map(|tag| {
            let value = tag.text_of("value").unwrap_or_default();
            Some((tag.text_of("key")?.to_owned(), value.to_owned()))
        });
        Self {
            // Each names the other as well.
            id: text(match of {
                Of::Snapshots => "snapshotId",
                Of::Volumes => "volumeId",
            }),
            state: text("status"),
            progress: text("progress"),
            gibibytes: element.number_of("volumeSize"),
            volume_type: text("volumeType"),
            iops: element.text_of("iops").and_then(|iops| iops.parse().ok()),
            throughput: element.number_of("throughput"),
            tags: tags.collect(),
        }
    }

    fn taken(self) -> Result<Taken, NativeError> {
        if matches!(self.state.as_str(), "error" | "recoverable") {
            return Err(NativeError::Lost {
                what: format!("snapshot {}", self.id),
                message: format!("it is in state {}", self.state),
            });
        }
        Ok(Taken {
            ready: self.state == "completed",
            bytes: self.gibibytes.and_then(|size| size.checked_mul(1 << 30)),
            progress: self.progress,
            id: self.id,
        })
    }
}

type Parameters = Vec<(String, String)>;

fn pair(key: impl Into<String>, value: impl Into<String>) -> (String, String) {
    (key.into(), value.into())
}

impl Ebs {
    /// The volumes of a region. `options` are as for [`AwsQuery::new`]: those of a VolumeSnapshotLocation of Velero's
    /// provider `velero.io/aws` among them. No request is sent.
    ///
    /// # Errors
    /// An option cannot be used, or no region is known.
    pub fn new(options: &BTreeMap<String, String>) -> Result<Self, NativeError> {
        let ec2 = AwsQuery::new("ec2", VERSION, options);
        let ec2 = ec2.map_err(NativeError::of("prepare", "requests to EC2"))?;
        let cluster = std::env::var("AWS_CLUSTER_NAME").ok();
        Ok(Self {
            ec2,
            cluster: cluster.filter(|name| !name.is_empty()),
        })
    }

    async fn describe(
        &self,
        of: Of,
        about: &str,
        parameters: &[(String, String)],
    ) -> Result<Vec<Described>, NativeError> {
        let answer = self.ec2.ask(of.action(), about, parameters).await;
        let answer = answer.map_err(NativeError::of("look at", about))?;
        let items = answer.child(of.set()).into_iter();
        Ok(items
            .flat_map(|set| set.all("item"))
            .map(|item| Described::read(of, item))
            .collect())
    }

    /// One snapshot or volume, by its id.
    async fn by_id(&self, of: Of, id: &str) -> Result<Described, NativeError> {
        let what = format!("{} {id}", of.word());
        let found = self.describe(of, &what, &[pair(of.id(), id)]).await?;
        let found = found.into_iter().find(|one| one.id == id);
        found.ok_or_else(|| NativeError::Unfit {
            reason: "EC2 describes another one".to_owned(),
            what,
        })
    }

    /// What carries a tag; what the storage has lost does not count.
    async fn tagged_with(
        &self,
        of: Of,
        tag: &str,
        value: &str,
    ) -> Result<Vec<Described>, NativeError> {
        let mut parameters = vec![
            pair("Filter.1.Name", format!("tag:{tag}")),
            pair("Filter.1.Value.1", value),
        ];
        if of == Of::Snapshots {
            parameters.push(pair("Owner.1", "self"));
        }
        let what = format!("{}s of {value}", of.word());
        let found = self.describe(of, &what, &parameters).await?;
        Ok(found
            .into_iter()
            .filter(|one| !matches!(one.state.as_str(), "error" | "deleting" | "deleted"))
            .filter(|one| one.tags.get(tag).is_some_and(|found| found == value))
            .collect())
    }

    /// What was made under a token, if anything was.
    async fn by_token(&self, of: Of, token: &str) -> Result<Option<Described>, NativeError> {
        let mut living = self.tagged_with(of, TOKEN_TAG, token).await?;
        // Whoever looks twice sees the same one.
        living.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(living.into_iter().next())
    }

    /// Makes what is not there yet under its token. A making that may or may not have happened is looked for.
    async fn make(
        &self,
        of: Of,
        token: &str,
        action: &'static str,
        about: &str,
        parameters: &[(String, String)],
    ) -> Result<Described, NativeError> {
        if let Some(made) = self.by_token(of, token).await? {
            return Ok(made);
        }
        let error = match self.ec2.ask(action, about, parameters).await {
            Ok(answer) => {
                let made = Described::read(of, &answer);
                let made = (!made.id.is_empty()).then_some(made);
                return made.ok_or_else(|| NativeError::Unfit {
                    what: about.to_owned(),
                    reason: format!("the answer to {action} names none"),
                });
            }
            Err(error) => error,
        };
        if error.may_have_happened() {
            for _ in 0..SEARCHES {
                if let Some(made) = self.by_token(of, token).await? {
                    return Ok(made);
                }
                tokio::time::sleep(SEARCH_PAUSE).await;
            }
        }
        Err(NativeError::of(
            match of {
                Of::Snapshots => "take a snapshot of",
                Of::Volumes => "make a volume of",
            },
            about,
        )(error))
    }

    /// Tags of a volume that is made of a snapshot: those of the snapshot, and those of this cluster in place of the
    /// former one's, as Velero's plugin has them.
    fn volume_tags(&self, of_snapshot: &StringMap) -> StringMap {
        let mut tags = of_snapshot.clone();
        tags.remove(TOKEN_TAG);
        tags.remove(RUN_TAG);
        if let Some(cluster) = &self.cluster {
            tags.retain(|key, _| {
                !key.starts_with("kubernetes.io/cluster/") && key != "KubernetesCluster"
            });
            tags.insert(
                format!("kubernetes.io/cluster/{cluster}"),
                "owned".to_owned(),
            );
            tags.insert("KubernetesCluster".to_owned(), cluster.clone());
        }
        tags
    }

    async fn until_available(&self, mut volume: Described) -> Result<String, NativeError> {
        let until = tokio::time::Instant::now() + AVAILABLE;
        loop {
            let what = || format!("volume {}", volume.id);
            match volume.state.as_str() {
                "available" | "in-use" => return Ok(volume.id),
                "creating" if tokio::time::Instant::now() < until => {}
                "creating" => {
                    return Err(NativeError::TimedOut {
                        what: what(),
                        seconds: AVAILABLE.as_secs(),
                        seen: volume.state,
                    });
                }
                state => {
                    return Err(NativeError::Lost {
                        what: what(),
                        message: format!("it is in state `{state}`"),
                    });
                }
            }
            tokio::time::sleep(LOOK).await;
            volume = self.by_id(Of::Volumes, &volume.id).await?;
        }
    }
}

/// Parameters that tag what is made: ours first, then the others as far as EC2 takes them.
fn tagged(resource: Of, token: &str, first: &StringMap, then: &StringMap) -> Parameters {
    let ours = [(TOKEN_TAG, token)].into_iter();
    let given = first.iter().chain(
        then.iter()
            .filter(|(key, _)| !first.contains_key(*key) && *key != TOKEN_TAG),
    );
    let given = given
        .map(|(key, value)| (key.as_str(), value.as_str()))
        // Those are AWS's own.
        .filter(|(key, _)| !key.is_empty() && !key.starts_with("aws:"))
        .filter(|(key, _)| key.chars().count() <= KEY);
    let mut parameters = vec![pair("TagSpecification.1.ResourceType", resource.word())];
    for (at, (key, value)) in ours.chain(given).take(TAGS).enumerate() {
        let at = at + 1;
        let value: String = value.chars().take(VALUE).collect();
        parameters.push(pair(format!("TagSpecification.1.Tag.{at}.Key"), key));
        parameters.push(pair(format!("TagSpecification.1.Tag.{at}.Value"), value));
    }
    parameters
}

/// The id in a handle of EBS, such as `aws://eu-west-1a/vol-1` or `vol-1`.
fn id_in(handle: &str) -> Option<&str> {
    let id = &handle[handle.find("vol-")?..];
    let usable = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    usable.then_some(id)
}

/// The handle of a PersistentVolume of EBS; `None` when it is none of EBS.
fn handle(volume: &Value) -> Option<&str> {
    let spec = &volume["spec"];
    if spec["csi"]["driver"] == DRIVER {
        return Some(spec["csi"]["volumeHandle"].as_str().unwrap_or_default());
    }
    let source = spec.get("awsElasticBlockStore")?;
    Some(source["volumeID"].as_str().unwrap_or_default())
}

#[async_trait]
impl Snapshotter for Ebs {
    async fn volume_id(&self, volume: &Value) -> Result<Option<String>, NativeError> {
        let Some(handle) = handle(volume) else {
            return Ok(None);
        };
        match id_in(handle) {
            Some(id) => Ok(Some(id.to_owned())),
            None => Err(NativeError::Unfit {
                what: format!(
                    "persistent volume {}",
                    volume["metadata"]["name"].as_str().unwrap_or_default()
                ),
                reason: format!("`{handle}` names no volume of EBS, such as vol-0a1b2c3d4e5f"),
            }),
        }
    }

    async fn kind(&self, volume: &str, _zone: &str) -> Result<VolumeKind, NativeError> {
        let found = self.by_id(Of::Volumes, volume).await?;
        let chosen = WITH_IOPS.contains(&found.volume_type.as_str());
        Ok(VolumeKind {
            iops: found.iops.filter(|_| chosen),
            volume_type: found.volume_type,
        })
    }

    async fn take(&self, ask: Take<'_>) -> Result<Taken, NativeError> {
        let volume = self.by_id(Of::Volumes, ask.volume).await?;
        let mut tags = ask.tags.clone();
        if let Some(throughput) = volume.throughput {
            tags.insert(THROUGHPUT_TAG.to_owned(), throughput.to_string());
        }
        let mut parameters = vec![pair("VolumeId", ask.volume)];
        parameters.extend(tagged(Of::Snapshots, ask.token, &tags, &volume.tags));
        let about = format!("volume {}", ask.volume);
        let action = "CreateSnapshot";
        let made = self
            .make(Of::Snapshots, ask.token, action, &about, &parameters)
            .await?;
        made.taken()
    }

    async fn look(&self, snapshot: &str) -> Result<Taken, NativeError> {
        self.by_id(Of::Snapshots, snapshot).await?.taken()
    }

    async fn taken_in(&self, run: &str) -> Result<Vec<String>, NativeError> {
        let found = self.tagged_with(Of::Snapshots, RUN_TAG, run).await?;
        Ok(found.into_iter().map(|snapshot| snapshot.id).collect())
    }

    async fn make_volume(&self, ask: MakeVolume<'_>) -> Result<String, NativeError> {
        let snapshot = self.by_id(Of::Snapshots, ask.snapshot).await?;
        let mut parameters = vec![
            pair("SnapshotId", ask.snapshot),
            pair("AvailabilityZone", ask.zone),
            pair("ClientToken", ask.token),
        ];
        if !ask.kind.volume_type.is_empty() {
            parameters.push(pair("VolumeType", &ask.kind.volume_type));
        }
        if let Some(iops) = ask.kind.iops
            && WITH_IOPS.contains(&ask.kind.volume_type.as_str())
        {
            parameters.push(pair("Iops", iops.to_string()));
        }
        let throughput = snapshot.tags.get(THROUGHPUT_TAG);
        if let Some(throughput) = throughput.and_then(|text| text.parse::<u32>().ok())
            && ask.kind.volume_type == "gp3"
        {
            parameters.push(pair("Throughput", throughput.to_string()));
        }
        let tags = self.volume_tags(&snapshot.tags);
        parameters.extend(tagged(Of::Volumes, ask.token, &tags, &StringMap::new()));
        let about = format!("snapshot {}", ask.snapshot);
        let action = "CreateVolume";
        let made = self
            .make(Of::Volumes, ask.token, action, &about, &parameters)
            .await?;
        self.until_available(made).await
    }

    async fn delete(&self, snapshot: &str) -> Result<(), NativeError> {
        let parameters = [pair("SnapshotId", snapshot)];
        let mut in_doubt = SEARCHES;
        loop {
            let what = format!("snapshot {snapshot}");
            let deleted = self.ec2.ask("DeleteSnapshot", &what, &parameters).await;
            match deleted.map_err(|error| {
                let again = error.is_retryable();
                (again, NativeError::of("delete", &what)(error))
            }) {
                Ok(_) | Err((_, NativeError::NotFound { .. })) => return Ok(()),
                // To delete twice is to delete.
                Err((true, _)) if in_doubt > 0 => in_doubt -= 1,
                Err((_, error)) => return Err(error),
            }
            tokio::time::sleep(SEARCH_PAUSE).await;
        }
    }

    async fn set_volume_id(&self, volume: &Value, id: &str) -> Result<Value, NativeError> {
        let mut changed = volume.clone();
        let spec = &mut changed["spec"];
        if spec["csi"]["driver"] == DRIVER {
            spec["csi"]["volumeHandle"] = json!(id);
            return Ok(changed);
        }
        if spec.get("awsElasticBlockStore").is_none() {
            return Err(NativeError::Unfit {
                what: format!("persistent volume of volume {id}"),
                reason: "it is not of EBS".to_owned(),
            });
        }
        // The kubelet of old reads the zone there.
        let zone = super::zone_of(volume);
        let named = match zone.as_str() {
            "" => id.to_owned(),
            zone => format!("aws://{zone}/{id}"),
        };
        changed["spec"]["awsElasticBlockStore"]["volumeID"] = json!(named);
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_out_of_handles_of_ebs_only() {
        let csi = |driver: &str, handle: &str| json!({"spec": {"csi": {"driver": driver, "volumeHandle": handle}}});
        let tree = |id: &str| json!({"spec": {"awsElasticBlockStore": {"volumeID": id}}});
        for (volume, found) in [
            (csi(DRIVER, "vol-0a1"), Some("vol-0a1")),
            (tree("aws://eu-west-1a/vol-0a1"), Some("vol-0a1")),
            (tree("vol-0a1"), Some("vol-0a1")),
            (tree("vol-0a1&Action=x"), None),
            (tree(""), None),
        ] {
            let handle = handle(&volume).expect("of EBS");
            assert_eq!(id_in(handle), found, "{volume}");
        }
        for volume in [
            csi("pd.csi.storage.gke.io", "vol-0a1"),
            json!({"spec": {"nfs": {}}}),
        ] {
            assert_eq!(handle(&volume), None, "{volume}");
        }
    }

    #[test]
    fn tags_keep_to_what_ec2_takes_and_the_token_is_always_there() {
        let many: StringMap = (0..60)
            .map(|n| (format!("k{n:02}"), "v".repeat(300)))
            .chain([("aws:ours".to_owned(), "x".to_owned())])
            .collect();
        let first = StringMap::from([("velero.io/pv".to_owned(), "pv".to_owned())]);
        let parameters = tagged(Of::Snapshots, "t", &first, &many);
        let keys: Vec<&str> = parameters
            .iter()
            .filter(|(name, _)| name.ends_with(".Key"))
            .map(|(_, key)| key.as_str())
            .collect();
        assert_eq!(keys.len(), 50);
        assert_eq!(keys[..2], [TOKEN_TAG, "velero.io/pv"]);
        assert!(!keys.contains(&"aws:ours"));
        assert!(parameters.iter().all(|(_, value)| value.len() <= 256));
    }
}

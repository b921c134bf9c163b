//! Somebody who copies volumes and restores nothing: says what was asked of him, and does as a test wants it.

use std::sync::{Arc, Mutex};

use salvor_archive::files::SalvorVolumes;
use salvor_volume::{BackUpVolume, DataMover, FillVolume, Filled, MoveError, Stored, VolumePlace};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::world;

/// What comes of a copy.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// It is stored.
    Done,
    /// It is stored but for so many entries.
    Unread(u64),
    /// It cannot be copied.
    Unfit,
    /// It fails.
    Fails,
    /// It goes on until it is cancelled.
    Hangs,
    /// It waits until all who are to be there are there.
    Meets(Arc<tokio::sync::Barrier>),
}

type Decide = dyn Fn(&BackUpVolume) -> Fate + Send + Sync;
type Before = dyn Fn(BackUpVolume) -> futures::future::BoxFuture<'static, ()> + Send + Sync;

/// The mover of a test. Clones are the same.
#[derive(Clone)]
pub(crate) struct Movers {
    jobs: Arc<Mutex<Vec<BackUpVolume>>>,
    decide: Arc<Decide>,
    before: Arc<Before>,
    /// Cancelled when a copy has begun that hangs.
    pub(crate) hanging: CancellationToken,
    /// Cancelled when such a copy was told to end.
    pub(crate) ended: CancellationToken,
}

impl std::fmt::Debug for Movers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Movers")
    }
}

impl Movers {
    pub(crate) fn new(decide: impl Fn(&BackUpVolume) -> Fate + Send + Sync + 'static) -> Self {
        Self {
            jobs: Arc::default(),
            decide: Arc::new(decide),
            before: Arc::new(|_| Box::pin(std::future::ready(()))),
            hanging: CancellationToken::new(),
            ended: CancellationToken::new(),
        }
    }

    /// Everything is stored.
    pub(crate) fn good() -> Self {
        Self::new(|_| Fate::Done)
    }

    /// Does something before each copy.
    pub(crate) fn after<F>(self, act: impl Fn(BackUpVolume) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            before: Arc::new(move |job| Box::pin(act(job))),
            ..self
        }
    }

    /// What was asked for.
    pub(crate) fn jobs(&self) -> Vec<BackUpVolume> {
        self.jobs.lock().expect("no panic").clone()
    }

    /// Where: `shop/data in pod shop/db`, sorted.
    pub(crate) fn places(&self) -> Vec<String> {
        let mut places: Vec<String> = self.jobs().iter().map(place).collect();
        places.sort();
        places
    }
}

/// `shop/data in pod shop/db`, `shop/data by itself`, `emptyDir e in pod shop/db`.
pub(crate) fn place(job: &BackUpVolume) -> String {
    match &job.place {
        VolumePlace::Pod {
            namespace,
            name,
            volume,
            claim,
            ..
        } => match claim {
            Some(claim) => format!(
                "{}/{} in pod {namespace}/{name}",
                claim.namespace, claim.name
            ),
            None => format!("`{volume}` of pod {namespace}/{name}"),
        },
        VolumePlace::Claim { claim, .. } => format!("{}/{} by itself", claim.namespace, claim.name),
    }
}

#[async_trait::async_trait]
impl DataMover for Movers {
    async fn back_up(
        &self,
        job: &BackUpVolume,
        cancel: &CancellationToken,
    ) -> Result<Stored, MoveError> {
        self.jobs.lock().expect("no panic").push(job.clone());
        (self.before)(job.clone()).await;
        let stored = Stored {
            domain: format!("ns-{}", job.source_namespace()),
            snapshot: "ab".repeat(32),
            bytes: 1000,
            new_bytes: 10,
            entries: 5,
            node: "node-1".to_owned(),
            ..Stored::default()
        };
        match (self.decide)(job) {
            Fate::Done => Ok(stored),
            Fate::Unread(unread) => Ok(Stored {
                unread,
                problems: ["a: permission denied", "b: gone", "c: gone", "d: gone"]
                    .iter()
                    .take(usize::try_from(unread).unwrap_or(usize::MAX))
                    .map(|text| (*text).to_owned())
                    .collect(),
                ..stored
            }),
            Fate::Unfit => Err(MoveError::Unfit {
                reason: "it is nothing with files".to_owned(),
            }),
            Fate::Fails => Err(MoveError::Failed {
                message: "the disk is on fire".to_owned(),
            }),
            Fate::Hangs => {
                self.hanging.cancel();
                cancel.cancelled().await;
                self.ended.cancel();
                Err(MoveError::Cancelled)
            }
            Fate::Meets(barrier) => {
                barrier.wait().await;
                Ok(stored)
            }
        }
    }

    async fn fill(&self, _: &FillVolume, _: &CancellationToken) -> Result<Filled, MoveError> {
        Err(MoveError::Failed {
            message: "no backup fills volumes".to_owned(),
        })
    }
}

/// The record of volumes, a line each: `shop/data: protected files application via db/data: reason`.
pub(crate) fn lines(volumes: &SalvorVolumes) -> String {
    let mut text = String::new();
    for volume in &volumes.volumes {
        let json = serde_json::to_value(volume).expect("a value");
        let field = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        let name = match (field("claim").as_str(), field("pod").as_str()) {
            ("", "") => field("persistentVolume"),
            ("", pod) => format!("{}/{pod}[{}]", field("namespace"), field("podVolume")),
            (claim, _) => format!("{}/{claim}", field("namespace")),
        };
        let mut words = vec![field("outcome"), field("method"), field("consistency")];
        if !volume.claim.is_empty() && !volume.pod.is_empty() {
            words.push(format!("via {}/{}", volume.pod, volume.pod_volume));
        }
        words.retain(|word| !word.is_empty());
        text.push_str(&format!("{name}: {}", words.join(" ")));
        match volume.reason.as_str() {
            "" => text.push('\n'),
            reason => text.push_str(&format!(": {reason}\n")),
        }
    }
    text
}

/// What an upstream Velero reads of volumes: `pv-1 shop/data: reason`.
pub(crate) fn velero_lines(stored: &world::Stored) -> String {
    let infos = stored.json("volumeinfo.json.gz");
    let line = |info: &Value| {
        let field = |name: &str| info[name].as_str().unwrap_or_default().to_owned();
        let word = match info["skipped"].as_bool() {
            Some(true) => "skipped",
            _ => "not skipped",
        };
        format!(
            "{} {}/{}: {word}: {}\n",
            field("pvName"),
            field("pvcNamespace"),
            field("pvcName"),
            field("skippedReason")
        )
    };
    infos.as_array().expect("a list").iter().map(line).collect()
}

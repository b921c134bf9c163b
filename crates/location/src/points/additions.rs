//! What is said of a point after it was committed: verdicts of verifications, holds and their release. Each is a record
//! of its own beside `point.json`; nothing is ever replaced.
//!
//! ```text
//! .../<id>/verified-<run>-sound.json | verified-<run>-damaged.json     the last one by its run counts
//! .../<id>/hold-<hold>.json          who holds it and why
//! .../<id>/release-<hold>.json       it no longer counts
//! ```
//!
//! A hold takes the claim of whoever collects the garbage of the source: one of the two comes first.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use salvor_storage::{Key, PutMode};
use serde::Serialize;

use super::{POINT_RECORD, Point, SegmentInfo};
use crate::error::{Error, Result};
use crate::hold::{HOLD_VERSION, Hold};
use crate::layout;
use crate::location::Location;
use crate::record;
use crate::run::RunId;

/// What is said of one point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Additions {
    /// Whether the last verification found it sound; `None` when there was none.
    pub sound: Option<bool>,
    /// Holds that count.
    pub holds: Vec<Hold>,
    /// All objects in the folder of the point, its record among them.
    pub objects: Vec<SegmentInfo>,
}

/// The content of a verdict; its name says the same.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    version: u64,
    sound: bool,
    found: Option<String>,
    verified: Timestamp,
    tool: String,
}

impl Point {
    /// The folder of its records.
    fn folder(&self) -> Result<String> {
        let key = self.key()?;
        let folder = key.as_str().strip_suffix(POINT_RECORD).unwrap_or_default();
        Ok(folder.trim_end_matches('/').to_owned())
    }

    /// Where its commit record stands.
    ///
    /// # Errors
    /// Its source is no name.
    pub fn record_key(&self) -> Result<String> {
        self.key().map(|key| key.to_string())
    }
}

impl Location {
    /// What is said of the points of a source, by id. A hold that cannot be read holds.
    ///
    /// # Errors
    /// The store fails.
    pub async fn additions(&self, source: &str) -> Result<BTreeMap<String, Additions>> {
        let listed = self
            .list_below(&format!("{}/{source}", layout::POINTS))
            .await?;
        let mut all: BTreeMap<String, Additions> = BTreeMap::new();
        for info in listed {
            let Some(id) = info.key.rsplit('/').nth(1) else {
                continue;
            };
            all.entry(id.to_owned()).or_default().objects.push(info);
        }
        for additions in all.values_mut() {
            self.read_additions(additions).await?;
        }
        Ok(all)
    }

    async fn read_additions(&self, additions: &mut Additions) -> Result<()> {
        let names = || additions.objects.iter().map(SegmentInfo::file_name);
        // Ids of runs begin with their time.
        let verdicts = names().filter_map(|name| name.strip_prefix("verified-"));
        additions.sound = verdicts.max().map(|last| last.ends_with("-sound.json"));
        let released: Vec<String> = names()
            .filter_map(|name| name.strip_prefix("release-"))
            .map(str::to_owned)
            .collect();
        let mut holds = Vec::new();
        for info in &additions.objects {
            let Some(file) = info.file_name().strip_prefix("hold-") else {
                continue;
            };
            if released.iter().any(|released| released == file) {
                continue;
            }
            let key = super::object::key_of(&info.key)?;
            holds.push(
                match record::read::<Hold>(&self.store, &key, HOLD_VERSION).await {
                    Ok(hold) => hold,
                    Err(error) if error.is_not_found() => continue,
                    Err(error @ (Error::BadRecord { .. } | Error::NewerFormat { .. })) => Hold {
                        version: HOLD_VERSION,
                        id: file.trim_end_matches(".json").to_owned(),
                        reason: format!("a hold that cannot be read: {error}"),
                        by: String::new(),
                        created: None,
                    },
                    Err(error) => return Err(error),
                },
            );
        }
        additions.holds = holds;
        Ok(())
    }

    /// Holds a point: nothing of Salvor's removes it until the hold is released.
    ///
    /// # Errors
    /// [`Error::Busy`] while garbage is collected; the point is gone, or the store fails.
    pub async fn hold_point(&self, point: &Point, reason: &str, by: &str) -> Result<Hold> {
        let run = RunId::generate();
        let collector = self.collector(&point.source, &run).await?;
        let hold = Hold {
            version: HOLD_VERSION,
            id: run.to_string(),
            reason: reason.to_owned(),
            by: by.to_owned(),
            created: Some(Timestamp::now()),
        };
        let held = async {
            let record = point.key()?;
            let head = self.store.head(&record).await;
            head.map_err(Error::store(format!("hold point `{}`", point.id)))?;
            let body = record::encode("hold", &hold)?;
            let key = format!("{}/hold-{}.json", point.folder()?, hold.id);
            self.create_small(&key, body).await
        };
        let held = held.await;
        collector.close().await;
        held.map(|()| hold)
    }

    /// Releases a hold of a point. One that is released already is no error.
    ///
    /// # Errors
    /// The id is none of a hold of it, or the store fails.
    pub async fn release_point(&self, point: &Point, hold: &str) -> Result<()> {
        self.prepare().await?;
        let folder = point.folder()?;
        let file = format!("release-{hold}.json");
        let there = Key::new(format!("{folder}/hold-{hold}.json"));
        let known = match &there {
            Ok(key) => self.store.head(key).await.is_ok(),
            Err(_) => false,
        };
        if !known || file.contains('/') {
            return Err(Error::BadRecord {
                key: folder,
                reason: format!("`{hold}` is no id of a hold of this point"),
            });
        }
        let key = layout::key(format!("{folder}/{file}"));
        let body = Bytes::from_static(b"{}\n");
        let put = self.store.put(&key, body, PutMode::Overwrite).await;
        put.map(drop)
            .map_err(Error::store(format!("release point `{}`", point.id)))
    }

    /// Reads every object of a point, compares it with the record, and writes down what was found: the reason why it is
    /// damaged, or `None`. No identity is needed.
    ///
    /// # Errors
    /// The store fails, which says nothing of the point.
    pub async fn verify_point(&self, point: &Point) -> Result<Option<String>> {
        let mut found = None;
        for object in &point.objects {
            match self.check_point_object(object).await {
                Ok(()) => {}
                Err(error @ Error::BadRecord { .. }) => found = Some(error.to_string()),
                Err(error) if error.is_not_found() => {
                    found = Some(format!("`{}` is gone", object.key));
                }
                Err(error) => return Err(error),
            }
        }
        let verdict = Verdict {
            version: 1,
            sound: found.is_none(),
            found: found.clone(),
            verified: Timestamp::now(),
            tool: format!("salvor {}", env!("CARGO_PKG_VERSION")),
        };
        self.prepare().await?;
        let body = record::encode("verification", &verdict)?;
        let word = if verdict.sound { "sound" } else { "damaged" };
        let run = RunId::generate();
        let key = format!("{}/verified-{run}-{word}.json", point.folder()?);
        self.create_small(&key, body).await?;
        Ok(found)
    }
}

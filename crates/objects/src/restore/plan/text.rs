//! A plan for people and for programs: a table, JSON, YAML.

use std::fmt::Write as _;
use std::str::FromStr;

use serde_json::{Value, json};

use super::{Action, RestorePlan};
use crate::restore::order::Stage;
use crate::restore::volume_data::VolumeData;

/// Hexadecimal digits by which a snapshot is named to people, as restic does.
const SHORT_ID: usize = 8;

/// How a plan is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlanForm {
    /// A table with a summary.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// The same document as YAML.
    Yaml,
}

impl FromStr for PlanForm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "table" | "wide" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            other => Err(format!("output `{other}` is not one of table, json, yaml")),
        }
    }
}

impl RestorePlan {
    /// The plan as text. Equal plans give equal text.
    #[must_use]
    pub fn render(&self, form: PlanForm) -> String {
        match form {
            PlanForm::Table => self.table(),
            PlanForm::Json => format!("{:#}\n", self.document()),
            PlanForm::Yaml => {
                let mut text = serde_saphyr::to_string(&self.document())
                    .expect("a JSON document with string keys is YAML");
                if !text.ends_with('\n') {
                    text.push('\n');
                }
                text
            }
        }
    }

    fn table(&self) -> String {
        let mut rows = vec![[
            "STAGE".to_owned(),
            "ACTION".to_owned(),
            "RESOURCE".to_owned(),
            "NAME".to_owned(),
            "REASON".to_owned(),
        ]];
        let mut data_rows = self.data_rows();
        for entry in &self.entries {
            if entry.stage() > Stage::Data {
                rows.append(&mut data_rows);
            }
            let target = entry.target(&self.header.rules);
            let source = entry.source();
            let name = if source.scoped_name() == target.scoped_name() {
                target.scoped_name()
            } else {
                format!("{} -> {}", source.scoped_name(), target.scoped_name())
            };
            rows.push([
                entry.stage().to_string(),
                entry.action.to_string(),
                target.resource.to_string(),
                name,
                entry.reason.as_deref().unwrap_or_default().to_owned(),
            ]);
        }
        rows.append(&mut data_rows);
        let widths: Vec<usize> = (0..4)
            .map(|column| {
                let longest = rows.iter().map(|row| row[column].chars().count()).max();
                longest.unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in &rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:width$}  ");
            }
            line.push_str(&row[4]);
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out.push('\n');
        out.push_str(&self.summary());
        out.push('\n');
        for finding in &self.header.findings {
            let _ = writeln!(out, "{finding}");
        }
        out
    }

    fn data_rows(&self) -> Vec<[String; 5]> {
        let mapping = &self.header.rules.namespaces;
        let row = |data: &VolumeData| {
            let namespace = data.target_namespace(mapping);
            let (resource, name) = match data.is_of_pod() {
                true => (
                    "pods",
                    format!("{namespace}/{}:{}", data.pod, data.pod_volume),
                ),
                false => (
                    "persistentvolumeclaims",
                    format!("{namespace}/{}", data.claim),
                ),
            };
            let mut told: Vec<String> = Vec::new();
            if data.action.fills()
                && let Some(snapshot) = &data.snapshot
            {
                let id: String = snapshot.id.chars().take(SHORT_ID).collect();
                let (bytes, domain) = (snapshot.bytes, &snapshot.domain);
                told.push(format!("{bytes} bytes of snapshot {id} in {domain}"));
            }
            if data.action.fills()
                && let Some(csi) = &data.csi
            {
                told.push(format!("snapshot {} of driver {}", csi.handle, csi.driver));
            }
            if !data.reason.is_empty() {
                told.push(data.reason.clone());
            }
            let action = data.action.to_string();
            [
                Stage::Data.to_string(),
                action,
                resource.to_owned(),
                name,
                told.join("; "),
            ]
        };
        self.header.data.iter().map(row).collect()
    }

    /// One line with the number of objects of each action.
    #[must_use]
    pub fn summary(&self) -> String {
        let counts = self.counts();
        let mut parts: Vec<String> = Action::ALL
            .iter()
            .filter_map(|action| {
                let count = counts.get(action)?;
                Some(format!("{count} {action}"))
            })
            .collect();
        let filled = self.header.data.iter().filter(|data| data.action.fills());
        match filled.count() {
            0 => {}
            1 => parts.push("1 volume filled".to_owned()),
            n => parts.push(format!("{n} volumes filled")),
        }
        let left_out: u64 = self.header.not_selected.values().sum();
        if left_out > 0 {
            parts.push(format!("{left_out} not selected"));
        }
        if parts.is_empty() {
            parts.push("nothing to restore".to_owned());
        }
        parts.join(", ")
    }

    fn document(&self) -> Value {
        let header = &self.header;
        let items: Vec<Value> = self
            .entries
            .iter()
            .map(|entry| {
                let source = entry.source();
                let target = entry.target(&header.rules);
                let mut item = json!({
                    "stage": entry.stage(),
                    "action": entry.action,
                    "resource": target.resource.to_string(),
                    "apiVersion": entry.to.group_version.to_string(),
                    "name": target.name,
                });
                if let Some(namespace) = &target.namespace {
                    item["namespace"] = json!(namespace);
                }
                if source != target {
                    item["source"] = json!({
                        "resource": source.resource.to_string(),
                        "namespace": source.namespace,
                        "name": source.name,
                    });
                }
                if let Some(reason) = &entry.reason {
                    item["reason"] = json!(**reason);
                }
                if let Some(digest) = &entry.digest {
                    item["digest"] = json!(digest.to_string());
                }
                item
            })
            .collect();
        let summary: serde_json::Map<String, Value> = self
            .counts()
            .into_iter()
            .map(|(action, count)| (action.to_string(), json!(count)))
            .collect();
        let mut document = json!({
            "apiVersion": "salvor.dev/v1alpha1",
            "kind": "RestorePlan",
            "restore": header.rules.restore,
            "backup": header.rules.backup,
            "cluster": header.cluster,
            "existingResourcePolicy": header.policy,
            "summary": summary,
            "findings": header.findings,
            "notSelected": header.not_selected.iter()
                .map(|(resource, count)| (resource.to_string(), json!(count)))
                .collect::<serde_json::Map<_, _>>(),
            "items": items,
        });
        if !header.data.is_empty() {
            document["volumes"] = header.data.iter().map(|data| self.volume(data)).collect();
        }
        document
    }

    fn volume(&self, data: &VolumeData) -> Value {
        let mapping = &self.header.rules.namespaces;
        let users = data
            .users
            .iter()
            .filter_map(|at| self.entries.get(*at as usize));
        let users: Vec<String> = users
            .map(|entry| entry.target(&self.header.rules).to_string())
            .collect();
        let mut item = json!({
            "action": data.action,
            "namespace": data.target_namespace(mapping),
            "source": {"namespace": data.namespace, "persistentVolume": data.persistent_volume},
            "priority": data.priority,
        });
        for (field, value) in [
            ("claim", &data.claim),
            ("pod", &data.pod),
            ("podVolume", &data.pod_volume),
            ("reason", &data.reason),
        ] {
            if !value.is_empty() {
                item[field] = json!(value);
            }
        }
        if data.action.fills() {
            item["snapshot"] = match &data.csi {
                Some(csi) => json!(csi),
                None => json!(data.snapshot),
            };
            item["binding"] = json!(data.binding);
        }
        if !users.is_empty() {
            item["before"] = json!(users);
        }
        item
    }
}

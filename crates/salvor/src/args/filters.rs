//! The filters that `backup create` and `restore create` share.

use std::collections::BTreeMap;

use clap::Args;
use salvor_api::meta::LabelSelector;

use super::values;

/// What to take, by namespace, resource and label.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    /// Namespaces to include; globs, `*` for all.
    #[arg(long, value_delimiter = ',', default_value = "*", value_name = "NAMES")]
    pub(crate) include_namespaces: Vec<String>,
    /// Namespaces to exclude.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) exclude_namespaces: Vec<String>,
    /// Resources to include, such as deployments.apps; `*` for all.
    #[arg(long, value_delimiter = ',', value_name = "RESOURCES")]
    pub(crate) include_resources: Vec<String>,
    /// Resources to exclude.
    #[arg(long, value_delimiter = ',', value_name = "RESOURCES")]
    pub(crate) exclude_resources: Vec<String>,
    /// Include cluster-scoped resources [default: those that belong].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) include_cluster_resources: Option<bool>,
    /// Only objects with these labels.
    #[arg(short = 'l', long, value_parser = values::selector, value_name = "SELECTOR")]
    pub(crate) selector: Option<LabelSelector>,
    /// Only objects that match any of these selectors, joined by ` or `.
    #[arg(long, value_name = "SELECTORS", conflicts_with = "selector")]
    pub(crate) or_selector: Option<String>,
    /// Labels of the new object.
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub(crate) labels: Option<String>,
    /// Annotations of the new object.
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub(crate) annotations: Option<String>,
}

impl FilterArgs {
    /// `--labels` as a map.
    pub(crate) fn label_map(&self) -> Result<BTreeMap<String, String>, String> {
        values::pairs(self.labels.as_deref().unwrap_or_default())
            .map_err(|error| format!("--labels: {error}"))
    }

    /// `--annotations` as a map.
    pub(crate) fn annotation_map(&self) -> Result<BTreeMap<String, String>, String> {
        values::pairs(self.annotations.as_deref().unwrap_or_default())
            .map_err(|error| format!("--annotations: {error}"))
    }

    /// `--or-selector` as selectors.
    pub(crate) fn or_selectors(&self) -> Result<Vec<LabelSelector>, String> {
        match &self.or_selector {
            Some(text) => {
                values::or_selectors(text).map_err(|error| format!("--or-selector: {error}"))
            }
            None => Ok(Vec::new()),
        }
    }
}

//! Resource policies where users leave them: in a ConfigMap that a backup or restore names, or in a file.

use salvor_api::meta::TypedLocalObjectReference;
use salvor_api::resource_policy::{ResourcePolicies, Use, only_value};
use salvor_api::validate::ConfigMapFound;
use salvor_cluster::{Cluster, Error};
use serde_json::Value;

use crate::config_map;

/// Longest document that is read, in bytes: the limit of a ConfigMap.
pub const MAX_DOCUMENT: usize = 1 << 20;

/// What became of the policies that a specification names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// For the checks of [`salvor_api::validate`].
    pub state: ConfigMapFound,
    /// The policies; without any rule when none are named or they cannot be used.
    pub policies: ResourcePolicies,
}

/// Reads the policies that `reference` names from a namespace.
///
/// # Errors
/// The cluster fails. That the ConfigMap is missing or broken is part of the answer.
pub async fn find(
    cluster: &Cluster,
    namespace: &str,
    reference: Option<&TypedLocalObjectReference>,
    purpose: Use,
) -> Result<Found, Error> {
    let named = reference
        .filter(|named| named.kind.eq_ignore_ascii_case("configmap") && !named.name.is_empty());
    let Some(named) = named else {
        return Ok(Found::default());
    };
    let data = config_map::read(cluster, namespace, &named.name).await?;
    let (state, policies) = match data {
        None => (ConfigMapFound::Missing, ResourcePolicies::default()),
        Some(data) => match only_value(&data)
            .map_err(|error| vec![error])
            .and_then(|text| parse(text, purpose))
        {
            Ok(policies) => (ConfigMapFound::Good, policies),
            Err(errors) => {
                let reason = errors.join("; ");
                (
                    ConfigMapFound::Broken { reason },
                    ResourcePolicies::default(),
                )
            }
        },
    };
    Ok(Found { state, policies })
}

/// Reads a document of policies: YAML or JSON.
///
/// # Errors
/// Everything that is wrong with it, one sentence each.
pub fn parse(text: &str, purpose: Use) -> Result<ResourcePolicies, Vec<String>> {
    if text.len() > MAX_DOCUMENT {
        return Err(vec![format!(
            "it is {} bytes long, at most 1 MiB is read",
            text.len()
        )]);
    }
    let json: Value = serde_saphyr::from_str(text).map_err(|error| {
        // Its later lines are an excerpt of the document, which a status has no room for.
        let error = error.to_string();
        let reason = error.lines().next().unwrap_or_default();
        vec![format!("it is not YAML: {reason}")]
    })?;
    ResourcePolicies::read(json, purpose)
}

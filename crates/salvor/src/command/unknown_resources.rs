//! Names of resources that a cluster does not have, noticed before anything is written.

use salvor_api::velero::BackupSpec;
use salvor_cluster::{Cluster, DiscoverOptions, Discovery};

use crate::exit::Failure;

/// Near misses that are named.
const NAMED: usize = 3;

/// Refuses a backup that can hold nothing because the cluster has none of the resources that it names. When it
/// has some of them the others are warnings of the backup, as in Velero.
pub(crate) async fn refuse(
    cluster: &Cluster,
    backup: &str,
    spec: &BackupSpec,
) -> Result<(), Failure> {
    let named: Vec<&String> = [
        &spec.included_resources,
        &spec.included_cluster_scoped_resources,
        &spec.included_namespace_scoped_resources,
    ]
    .into_iter()
    .flatten()
    .collect();
    if named.is_empty() || named.iter().any(|name| name.contains(['*', '?', '['])) {
        return Ok(());
    }
    let discovery = cluster.discover(DiscoverOptions::default()).await?;
    let is_known = |name: &&String| discovery.resolve(name).is_some();
    // What an aggregated API would serve is not known while it is down.
    if !discovery.failures.is_empty() || named.iter().any(is_known) {
        return Ok(());
    }
    let shown: Vec<String> = named.iter().map(|name| format!("`{name}`")).collect();
    let what = format!(
        "backup `{backup}` would hold nothing: the cluster has no resource {}",
        shown.join(", ")
    );
    let near: Vec<String> = named
        .iter()
        .flat_map(|name| near(name, &discovery))
        .collect();
    let hint = if near.is_empty() {
        "`kubectl api-resources` lists what the cluster serves".to_owned()
    } else {
        format!("did you mean {}?", near.join(", "))
    };
    Err(Failure::usage(what).hint(hint))
}

/// Resources whose names are close, the closest first.
fn near(name: &str, discovery: &Discovery) -> Vec<String> {
    let name = name.to_lowercase();
    let mut found: Vec<(usize, String)> = discovery
        .resources
        .iter()
        .filter(|resource| resource.preferred)
        .filter_map(|resource| {
            let names = resource.names();
            let distance = names.iter().map(|known| distance(&name, known)).min()?;
            let is_close = distance <= 1 + name.chars().count() / 4;
            is_close.then(|| (distance, resource.group_resource().to_string()))
        })
        .collect();
    found.sort();
    found.dedup();
    found
        .into_iter()
        .take(NAMED)
        .map(|(_, name)| name)
        .collect()
}

/// How many characters must be put in, left out or replaced to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("pods", "pods", 0),
            ("pod", "pods", 1),
            ("deploymnets", "deployments", 2),
            ("", "abc", 3),
            ("비밀", "비일", 1),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }
}

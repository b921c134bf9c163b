//! Azure Blob Storage.

use std::collections::BTreeMap;

use opendal::Operator;
use opendal::raw::Servicer;
use opendal::services::Azblob;
use salvor_seal::Secret;

use super::options::{Options, endpoint};
use super::tls::Trust;

/// A container and how to reach it.
#[derive(Clone, Debug)]
pub(super) struct AzureRecipe {
    container: String,
    endpoint: String,
    on_azure: bool,
    account: String,
    key: Option<Secret>,
}

impl AzureRecipe {
    /// The endpoint, where it is not Azure's.
    pub(super) fn own_endpoint(&self) -> Option<&str> {
        (!self.on_azure).then_some(self.endpoint.as_str())
    }

    /// Reads the options of a location.
    ///
    /// # Errors
    /// Which option cannot be used and why, for people.
    pub(super) fn new(
        container: &str,
        given: &BTreeMap<String, String>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<(Self, Trust), String> {
        let mut options = Options::new(given);
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        let trust = options.trust()?;
        let file = match options.text(&["credentialsFile"]) {
            Some(file) => read_file(&file)?,
            None => BTreeMap::new(),
        };
        let account = options
            .text(&["storageAccount", "account"])
            .or_else(|| environment("AZURE_STORAGE_ACCOUNT_NAME"))
            .or_else(|| environment("AZURE_STORAGE_ACCOUNT"))
            .ok_or("the storage account is missing: give it with storageAccount=NAME")?;
        let key_name = options
            .text(&["storageAccountKeyEnvVar"])
            .unwrap_or_else(|| "AZURE_STORAGE_ACCOUNT_ACCESS_KEY".to_owned());
        let key = file
            .get(&key_name)
            .cloned()
            .or_else(|| environment(&key_name));
        let given_endpoint = options.text(&["endpoint", "storageAccountURI"]);
        let endpoint = match &given_endpoint {
            Some(text) => endpoint(text)?,
            None => format!("https://{account}.blob.core.windows.net"),
        };
        for velero in [
            "resourceGroup",
            "subscriptionId",
            "blockSizeInBytes",
            "useAAD",
            "activeDirectoryAuthorityURI",
        ] {
            options.ignore(&[velero]);
        }
        options.finish()?;
        let recipe = Self {
            container: container.to_owned(),
            on_azure: is_azure(&endpoint),
            endpoint,
            account,
            key: key.map(Secret::new),
        };
        Ok((recipe, trust))
    }

    /// Conditional headers of Azure cover single blobs and the end of block uploads; of a store that merely
    /// speaks the protocol nothing is known.
    pub(super) fn excludes(&self) -> bool {
        self.on_azure
    }

    pub(super) fn build(&self) -> opendal::Result<Servicer> {
        let mut builder = Azblob::default()
            .container(&self.container)
            .endpoint(&self.endpoint)
            .account_name(&self.account);
        if let Some(key) = &self.key {
            builder = builder.account_key(key.expose());
        }
        Ok(Operator::new(builder)?.into_parts().1)
    }
}

fn is_azure(endpoint: &str) -> bool {
    let host = url::Url::parse(endpoint)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default();
    [
        ".blob.core.windows.net",
        ".blob.core.usgovcloudapi.net",
        ".blob.core.chinacloudapi.cn",
    ]
    .iter()
    .any(|suffix| host.ends_with(suffix))
}

/// Lines of the form `NAME=value`, as Velero's secrets hold them.
fn read_file(file: &str) -> Result<BTreeMap<String, String>, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("the credentials file `{file}` cannot be read: {error}"))?;
    Ok(text
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(name, _)| !name.starts_with('#'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(query: &[(&str, &str)]) -> Result<AzureRecipe, String> {
        let given = query
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        AzureRecipe::new("container", &given, |_| None).map(|(recipe, _)| recipe)
    }

    #[test]
    fn the_account_names_the_endpoint() {
        let plain = recipe(&[("storageAccount", "acc"), ("resourceGroup", "rg")]).expect("valid");
        assert_eq!(plain.endpoint, "https://acc.blob.core.windows.net");
        assert!(plain.excludes());
        plain.build().expect("usable");
        let other = recipe(&[
            ("account", "acc"),
            ("endpoint", "http://127.0.0.1:10000/acc"),
        ]);
        assert!(!other.expect("valid").excludes());
        assert!(
            recipe(&[])
                .expect_err("no account")
                .contains("storageAccount")
        );
        assert!(recipe(&[("account", "a"), ("bogus", "1")]).is_err());
    }

    #[test]
    fn the_key_of_a_file_is_used_and_never_shown() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("credentials");
        std::fs::write(
            &file,
            "# comment=1\nAZURE_STORAGE_ACCOUNT_ACCESS_KEY=aHVudGVyMg==\n",
        )
        .expect("written");
        let path = file.to_string_lossy().into_owned();
        let recipe = recipe(&[("storageAccount", "acc"), ("credentialsFile", &path)]);
        let recipe = recipe.expect("valid");
        let key = recipe.key.as_ref().map(Secret::expose);
        assert_eq!(key, Some("aHVudGVyMg=="));
        assert!(!format!("{recipe:?}").contains("aHVudGVyMg"));
        recipe.build().expect("usable");
    }
}

//! S3 and what speaks its protocol.

use std::collections::BTreeMap;

use opendal::raw::Servicer;
use opendal::services::S3;
use opendal::{HttpTransporter, Operator};
use reqsign_aws_v4::{
    Credential, DefaultCredentialProvider, RequestSigner, StaticCredentialProvider,
};
use reqsign_core::{Context, OsEnv, ProvideCredentialChain, Signer};
use reqsign_file_read_tokio::TokioFileRead;
use salvor_seal::Secret;

use super::options::{Options, endpoint};
use super::s3_bucket::Requests;
use super::tls::Trust;
use super::trace::Trace;
use super::transport::Client;

/// Environment variables by which the client library, too, is told of another endpoint.
const ENDPOINT_VARIABLES: [&str; 4] = [
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT",
    "AWS_S3_ENDPOINT",
];

/// A bucket and how to reach it.
#[derive(Clone, Debug)]
pub(super) struct S3Recipe {
    bucket: String,
    endpoint: Option<String>,
    /// Where those who have no way to the endpoint read what was signed for them.
    public_url: Option<String>,
    region: Option<String>,
    path_style: bool,
    profile: Option<String>,
    static_keys: Option<StaticKeys>,
    encryption: Encryption,
    checksum: Option<&'static str>,
    storage_class: Option<String>,
}

/// Keys out of a credentials file.
#[derive(Clone, Debug)]
pub(super) struct StaticKeys {
    id: String,
    key: Secret,
    token: Option<Secret>,
}

#[derive(Clone, Debug)]
enum Encryption {
    /// As the bucket says.
    Bucket,
    /// Keys of the store.
    Store,
    /// A key of the key management service; its default key when none is named.
    Kms(Option<String>),
    /// A key that the store does not keep, 32 bytes.
    Customer(CustomerKey),
}

#[derive(Clone)]
struct CustomerKey([u8; 32]);

impl std::fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl S3Recipe {
    /// The endpoint that was given.
    pub(super) fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// Reads the options of a location.
    ///
    /// # Errors
    /// Which option cannot be used and why, for people.
    pub(super) fn new(
        bucket: &str,
        given: &BTreeMap<String, String>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<(Self, Trust), String> {
        let mut options = Options::new(given);
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        let mut trust = options.trust()?;
        trust.ca = trust.ca.or_else(|| environment("AWS_CA_BUNDLE"));
        let url = options
            .text(&["endpoint", "s3Url"])
            .or_else(|| ENDPOINT_VARIABLES.iter().find_map(|name| environment(name)));
        let endpoint = url.as_deref().map(endpoint).transpose()?;
        let on_aws = endpoint.as_deref().is_none_or(is_aws);
        let region = options
            .text(&["region"])
            .or_else(|| environment("AWS_REGION"))
            .or_else(|| environment("AWS_DEFAULT_REGION"))
            // Stores of one's own sign with whatever region they are told; this one is their usual default.
            .or_else(|| (!on_aws).then(|| "us-east-1".to_owned()));
        let path_style = options
            .flag(&["pathStyle", "s3ForcePathStyle"])?
            // A certificate for *.host does not cover a bucket with dots, and few stores of one's own have
            // names for their buckets.
            .unwrap_or(!on_aws || bucket.contains('.'));
        if !path_style && bucket.contains('.') {
            return Err(format!(
                "bucket `{bucket}` has a dot: it needs pathStyle=true"
            ));
        }
        let profile = options.text(&["profile"]);
        let static_keys = match options.text(&["credentialsFile"]) {
            Some(file) => Some(StaticKeys::read(&file, profile.as_deref())?),
            None => None,
        };
        let checksum = checksum(
            options.given_text(&["checksumAlgorithm"]).as_deref(),
            on_aws,
        )?;
        let storage_class = options.text(&["storageClass"]);
        let encryption = Encryption::read(&mut options)?;
        match options.text(&["signatureVersion"]).as_deref() {
            None | Some("1" | "4") => {}
            Some(other) => {
                return Err(format!(
                    "signatureVersion {other} is not supported: only 4 is"
                ));
            }
        }
        let public_url = options.text(&["publicUrl"]);
        let public_url = public_url.as_deref().map(self::endpoint).transpose()?;
        options.ignore(&["enableSharedConfig"]);
        options.refuse("tagging", "objects are stored without tags; leave it out")?;
        options.finish()?;
        let recipe = Self {
            bucket: bucket.to_owned(),
            endpoint,
            public_url,
            region,
            path_style,
            profile,
            static_keys,
            encryption,
            checksum,
            storage_class,
        };
        Ok((recipe, trust))
    }

    /// Conditional writes of AWS cover single requests and the end of multipart uploads; of a store that
    /// merely speaks the protocol nothing is known.
    pub(super) fn excludes(&self) -> bool {
        self.endpoint.as_deref().is_none_or(is_aws)
    }

    /// The bucket whose region must be asked for before [`S3Recipe::build`].
    pub(super) fn region_unknown(&self) -> Option<&str> {
        self.region.is_none().then_some(self.bucket.as_str())
    }

    /// The same bucket as those see it who are given signed URLs; `None` when it is no other.
    pub(super) fn public(&self) -> Option<Self> {
        let endpoint = self.public_url.clone()?;
        Some(Self {
            endpoint: Some(endpoint),
            public_url: None,
            ..self.clone()
        })
    }

    /// How to send requests that the library does not know, by the same address and credentials.
    pub(super) fn requests(&self, found_region: Option<&str>, client: &Client) -> Requests {
        let region = self
            .region
            .as_deref()
            .or(found_region)
            .unwrap_or("us-east-1");
        let profile = self.profile.as_deref();
        let keys = self.static_keys.as_ref();
        let kms = |key: &Option<String>| {
            let header = ("x-amz-server-side-encryption-aws-kms-key-id", key.clone()?);
            Some(header)
        };
        let encryption = |algorithm: &str| ("x-amz-server-side-encryption", algorithm.to_owned());
        let write_headers = match &self.encryption {
            Encryption::Bucket | Encryption::Customer(_) => Vec::new(),
            Encryption::Store => vec![encryption("AES256")],
            Encryption::Kms(key) => [Some(encryption("aws:kms")), kms(key)]
                .into_iter()
                .flatten()
                .collect(),
        };
        Requests {
            signer: signer(client, profile, keys, RequestSigner::new("s3", region)),
            address: self.address(region),
            bucket: self.bucket.clone(),
            write_headers,
            customer_key: matches!(self.encryption, Encryption::Customer(_)),
        }
    }

    /// The address of the bucket.
    fn address(&self, region: &str) -> String {
        let endpoint = match self.endpoint.as_deref() {
            // AWS answers for a bucket in its own region only.
            None | Some("https://s3.amazonaws.com") => {
                let china = if region.starts_with("cn-") { ".cn" } else { "" };
                format!("https://s3.{region}.amazonaws.com{china}")
            }
            Some(endpoint) => endpoint.to_owned(),
        };
        match endpoint.split_once("://") {
            Some((scheme, host)) if !self.path_style => {
                format!("{scheme}://{}.{host}", self.bucket)
            }
            _ => format!("{endpoint}/{}", self.bucket),
        }
    }

    pub(super) fn build(&self, found_region: Option<&str>) -> opendal::Result<Servicer> {
        let region = self.region.as_deref().or(found_region);
        let mut builder = S3::default()
            .bucket(&self.bucket)
            .region(region.unwrap_or("us-east-1"))
            // Given always, so that the library does not look for another one by itself.
            .endpoint(
                self.endpoint
                    .as_deref()
                    .unwrap_or("https://s3.amazonaws.com"),
            )
            .profile(self.profile.as_deref().unwrap_or_default())
            .default_storage_class(self.storage_class.as_deref().unwrap_or_default());
        if !self.path_style {
            builder = builder.enable_virtual_host_style();
        }
        if let Some(keys) = &self.static_keys {
            builder = builder
                .disable_config_load()
                .disable_ec2_metadata()
                .access_key_id(&keys.id)
                .secret_access_key(keys.key.expose());
            if let Some(token) = &keys.token {
                builder = builder.session_token(token.expose());
            }
        }
        if let Some(checksum) = self.checksum {
            builder = builder.checksum_algorithm(checksum);
        }
        builder = match &self.encryption {
            Encryption::Bucket => builder,
            Encryption::Store => builder.server_side_encryption_with_s3_key(),
            Encryption::Kms(None) => builder.server_side_encryption_with_aws_managed_kms_key(),
            Encryption::Kms(Some(key)) => {
                builder.server_side_encryption_with_customer_managed_kms_key(key)
            }
            Encryption::Customer(key) => {
                builder.server_side_encryption_with_customer_key("AES256", &key.0)
            }
        };
        Ok(Operator::new(builder)?.into_parts().1)
    }
}

/// Signs requests to a service of AWS: with the keys that were given, and otherwise with those of the environment, of
/// configuration files, of a web identity or of the machine.
pub(super) fn signer(
    client: &Client,
    profile: Option<&str>,
    keys: Option<&StaticKeys>,
    requests: RequestSigner,
) -> Signer<Credential> {
    let transport = HttpTransporter::new(client.traced(Trace::default()));
    let context = Context::new()
        .with_file_read(TokioFileRead)
        .with_env(OsEnv)
        .with_http_send(transport);
    let mut provider = DefaultCredentialProvider::builder();
    if let Some(profile) = profile {
        provider = provider.with_profile(profile);
    }
    let mut chain = ProvideCredentialChain::new().push(provider.build());
    if let Some(keys) = keys {
        let mut given = StaticCredentialProvider::new(&keys.id, keys.key.expose());
        if let Some(token) = &keys.token {
            given = given.with_session_token(token.expose());
        }
        chain = ProvideCredentialChain::new().push(given);
    }
    Signer::new(context, chain, requests)
}

fn is_aws(endpoint: &str) -> bool {
    let host = url::Url::parse(endpoint)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default();
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

/// The checksum that goes with every request. Some stores refuse checksums, so only AWS gets one unasked;
/// Velero's default, CRC32, and CRC32C are the same promise and the latter is what the library computes.
fn checksum(given: Option<&str>, on_aws: bool) -> Result<Option<&'static str>, String> {
    match given.map(str::to_ascii_uppercase).as_deref() {
        None => Ok(on_aws.then_some("crc32c")),
        Some("") => Ok(None),
        Some("CRC32" | "CRC32C") => Ok(Some("crc32c")),
        Some(other) => Err(format!(
            "checksumAlgorithm `{other}` is not supported: CRC32C, or empty for none"
        )),
    }
}

impl Encryption {
    fn read(options: &mut Options) -> Result<Self, String> {
        let algorithm = options.text(&["sse", "serverSideEncryption"]);
        let kms_key = options.text(&["kmsKeyId"]);
        let customer_key = options.text(&["customerKeyEncryptionFile"]);
        options.refuse(
            "customerKeyEncryptionSecret",
            "put the key into a file and name it with customerKeyEncryptionFile",
        )?;
        match (algorithm.as_deref(), kms_key, customer_key) {
            (None, None, None) => Ok(Self::Bucket),
            (None, None, Some(file)) => {
                let bytes = std::fs::read(&file)
                    .map_err(|error| format!("the key file `{file}` cannot be read: {error}"))?;
                let key = bytes.get(..32).and_then(|key| key.try_into().ok());
                key.map(|key| Self::Customer(CustomerKey(key)))
                    .ok_or_else(|| format!("the key file `{file}` holds fewer than 32 bytes"))
            }
            (_, _, Some(_)) => {
                Err("customerKeyEncryptionFile excludes the other kinds of encryption".to_owned())
            }
            (Some("AES256"), None, None) => Ok(Self::Store),
            (None | Some("aws:kms"), key, None) => Ok(Self::Kms(key)),
            (Some("AES256"), Some(_), None) => Err("kmsKeyId goes with sse=aws:kms".to_owned()),
            (Some(other), _, None) => {
                Err(format!("sse `{other}` is not supported: AES256 or aws:kms"))
            }
        }
    }
}

impl StaticKeys {
    /// Reads a profile of a file in the form of `~/.aws/credentials`, as Velero's secrets hold it.
    pub(super) fn read(file: &str, profile: Option<&str>) -> Result<Self, String> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("the credentials file `{file}` cannot be read: {error}"))?;
        let wanted = profile.unwrap_or("default");
        let mut section = String::new();
        let mut values = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                section = name.trim().trim_start_matches("profile ").to_owned();
            } else if let Some((name, value)) = line.split_once('=')
                && section == wanted
                && !line.starts_with(['#', ';'])
            {
                values.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
            }
        }
        let mut take = |name: &str| values.remove(name).filter(|value| !value.is_empty());
        match (take("aws_access_key_id"), take("aws_secret_access_key")) {
            (Some(id), Some(key)) => Ok(Self {
                id,
                key: Secret::new(key),
                token: take("aws_session_token").map(Secret::new),
            }),
            _ => Err(format!(
                "the credentials file `{file}` has no aws_access_key_id and aws_secret_access_key \
                 in section [{wanted}]"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(query: &[(&str, &str)]) -> Result<S3Recipe, String> {
        recipe_in(query, &[])
    }

    fn recipe_in(query: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<S3Recipe, String> {
        let given = query
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let lookup = |name: &str| {
            environment
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        S3Recipe::new("bucket", &given, lookup).map(|(recipe, _)| recipe)
    }

    #[test]
    fn the_words_of_velero_and_ours_mean_the_same() {
        let ours = recipe(&[
            ("endpoint", "http://h:1"),
            ("region", "r"),
            ("pathStyle", "true"),
        ]);
        let theirs = recipe(&[
            ("s3Url", "http://h:1"),
            ("region", "r"),
            ("s3ForcePathStyle", "true"),
        ]);
        assert_eq!(
            format!("{:?}", ours.expect("valid")),
            format!("{:?}", theirs.expect("valid"))
        );
    }

    #[test]
    fn aws_is_known_to_exclude_and_nobody_else_is() {
        assert!(recipe(&[]).expect("valid").excludes());
        let regional = recipe(&[("endpoint", "https://s3.eu-west-1.amazonaws.com")]);
        assert!(regional.expect("valid").excludes());
        assert!(
            !recipe(&[("endpoint", "http://minio")])
                .expect("valid")
                .excludes()
        );
        let lookalike = recipe(&[("endpoint", "http://x.amazonaws.com.example")]);
        assert!(!lookalike.expect("valid").excludes());
        let by_environment = recipe_in(&[], &[("AWS_ENDPOINT_URL", "http://minio")]);
        assert!(!by_environment.expect("valid").excludes());
    }

    #[test]
    fn every_combination_that_is_accepted_can_be_built() {
        for query in [
            &[][..],
            &[("sse", "AES256")],
            &[("sse", "aws:kms"), ("kmsKeyId", "key")],
            &[("kmsKeyId", "key")],
            &[("checksumAlgorithm", "")],
            &[("checksumAlgorithm", "CRC32")],
            &[("endpoint", "minio:9000"), ("pathStyle", "false")],
            &[("profile", "p"), ("storageClass", "STANDARD_IA")],
            &[
                ("publicUrl", "http://x"),
                ("enableSharedConfig", "true"),
                ("signatureVersion", "4"),
            ],
        ] {
            let recipe = recipe(query).unwrap_or_else(|error| panic!("{query:?}: {error}"));
            recipe
                .build(None)
                .unwrap_or_else(|error| panic!("{query:?}: {error}"));
        }
    }

    #[test]
    fn what_would_be_stored_otherwise_than_asked_is_refused() {
        for query in [
            &[("tagging", "a=b")][..],
            &[("sse", "rot13")],
            &[("sse", "AES256"), ("kmsKeyId", "key")],
            &[("checksumAlgorithm", "SHA256")],
            &[("signatureVersion", "2")],
            &[("customerKeyEncryptionFile", "/no/such/file")],
            &[("credentialsFile", "/no/such/file")],
            &[("pathStyle", "perhaps")],
            &[("bogus", "1")],
        ] {
            assert!(recipe(query).is_err(), "{query:?}");
        }
    }

    #[test]
    fn keys_of_a_file_are_used_and_never_shown() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("credentials");
        let text = "[default]\naws_access_key_id = AK\naws_secret_access_key=hunter2\n\
                    [profile other]\naws_access_key_id=AK2\n#aws_secret_access_key=x\n";
        std::fs::write(&file, text).expect("written");
        let path = file.to_string_lossy().into_owned();
        let recipe = recipe(&[("credentialsFile", &path)]).expect("valid");
        let keys = recipe.static_keys.as_ref().expect("keys");
        assert_eq!((keys.id.as_str(), keys.key.expose()), ("AK", "hunter2"));
        assert!(!format!("{recipe:?}").contains("hunter2"));
        let half = StaticKeys::read(&path, Some("other")).expect_err("no secret key");
        assert!(half.contains("[other]"), "{half}");
    }
}

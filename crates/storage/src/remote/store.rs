//! [`ObjectStore`] over the client library.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use jiff::Timestamp;
use opendal::raw::{OpDelete, OpPresign, OpRead, OpStat, OpWrite, PresignOperation, Servicer};
use opendal::{Buffer, BytesRange, Executor, HttpTransporter, Metadata, OperationContext, options};
use tokio::sync::OnceCell;

use super::azure::AzureRecipe;
use super::failure::explain;
use super::gcs::GcsRecipe;
use super::s3::S3Recipe;
use super::s3_bucket::Requests;
use super::trace::{Failure, Trace};
use super::transport::{Client, bucket_region};
use super::upload::RemoteUpload;
use super::{list, read};
use crate::bucket::{Access, BucketRules, Tier};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::retry::RetryPolicy;
use crate::store::{
    Folder, GetOptions, MetaStream, Object, ObjectInfo, ObjectStore, PutMode, Upload, VersionInfo,
};

/// What S3 is asked for when an object is to be thawed: a week to read it in, at the speed that costs least of those
/// that both cold classes have.
const THAW: &str = "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Days>7</Days>\
<GlacierJobParameters><Tier>Standard</Tier></GlacierJobParameters></RestoreRequest>";

/// Which store, and how to reach it.
pub(super) enum Recipe {
    S3(S3Recipe),
    Azure(AzureRecipe),
    Gcs(GcsRecipe),
}

impl Recipe {
    fn build(&self, region: Option<&str>) -> opendal::Result<Servicer> {
        match self {
            Self::S3(recipe) => recipe.build(region),
            Self::Azure(recipe) => recipe.build(),
            Self::Gcs(recipe) => recipe.build(),
        }
    }

    fn excludes(&self) -> bool {
        match self {
            Self::S3(recipe) => recipe.excludes(),
            Self::Azure(recipe) => recipe.excludes(),
            Self::Gcs(recipe) => recipe.excludes(),
        }
    }

    /// How those reach the store who are given signed URLs, where that is another way.
    fn public(&self) -> Option<Self> {
        match self {
            Self::S3(recipe) => recipe.public().map(Self::S3),
            Self::Azure(_) | Self::Gcs(_) => None,
        }
    }

    /// The endpoint, where it is not the provider's own.
    fn endpoint(&self) -> Option<&str> {
        match self {
            Self::S3(recipe) => recipe.endpoint(),
            Self::Azure(recipe) => recipe.own_endpoint(),
            Self::Gcs(recipe) => recipe.endpoint(),
        }
    }

    fn region_unknown(&self) -> Option<&str> {
        match self {
            Self::S3(recipe) => recipe.region_unknown(),
            Self::Azure(_) | Self::Gcs(_) => None,
        }
    }
}

/// A bucket or container. Clones share connections and credentials.
#[derive(Clone)]
pub(super) struct RemoteStore(Arc<Inner>);

struct Inner {
    recipe: Recipe,
    client: Client,
    name: String,
    /// The name with the endpoint, for errors.
    place: String,
    excludes: bool,
    service: OnceCell<Servicer>,
    public: OnceCell<Servicer>,
    requests: OnceCell<Requests>,
    policy: RetryPolicy,
}

impl fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteStore")
            .field("name", &self.0.name)
            .field("excludes", &self.0.excludes)
            .finish_non_exhaustive()
    }
}

/// What one operation works with.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) service: Servicer,
    pub(super) context: OperationContext,
    pub(super) trace: Trace,
}

impl RemoteStore {
    /// Checks that the recipe works out; sends nothing.
    pub(super) fn new(recipe: Recipe, client: Client, name: String) -> opendal::Result<Self> {
        let service = recipe.build(None)?;
        let service = match recipe.region_unknown() {
            Some(_) => OnceCell::new(),
            None => OnceCell::new_with(Some(service)),
        };
        Ok(Self(Arc::new(Inner {
            excludes: recipe.excludes(),
            place: match recipe.endpoint() {
                Some(endpoint) => format!("{name} at {endpoint}"),
                None => name.clone(),
            },
            recipe,
            client,
            name,
            service,
            public: OnceCell::new(),
            requests: OnceCell::new(),
            policy: RetryPolicy::default(),
        })))
    }

    /// How often and how patiently to repeat what cannot be repeated from outside.
    pub(super) fn policy(&self) -> &RetryPolicy {
        &self.0.policy
    }

    /// Begins an operation.
    pub(super) async fn call(&self, operation: &'static str, key: &str) -> Result<Call> {
        let inner = &*self.0;
        let service = inner
            .service
            .get_or_try_init(|| self.build(&inner.recipe, operation, key))
            .await?;
        Ok(self.with_service(service))
    }

    /// Begins an operation of those who are given signed URLs.
    async fn public_call(&self, operation: &'static str, key: &str) -> Result<Call> {
        let Some(recipe) = self.0.recipe.public() else {
            return self.call(operation, key).await;
        };
        let public = &self.0.public;
        let service = public
            .get_or_try_init(|| self.build(&recipe, operation, key))
            .await?;
        Ok(self.with_service(service))
    }

    fn with_service(&self, service: &Servicer) -> Call {
        let trace = Trace::default();
        let transport = HttpTransporter::new(self.0.client.traced(trace.clone()));
        Call {
            service: Arc::clone(service),
            context: OperationContext::from_parts(transport, Executor::default()),
            trace,
        }
    }

    async fn build(&self, recipe: &Recipe, operation: &'static str, key: &str) -> Result<Servicer> {
        let region = match recipe.region_unknown() {
            Some(bucket) => bucket_region(&self.0.client, bucket)
                .await
                .map(Some)
                .map_err(|failure| self.no_region(operation, key, &failure))?,
            None => None,
        };
        recipe.build(region.as_deref()).map_err(|error| {
            self.refusal(ErrorKind::Invalid, operation, key)
                .with_detail(error.message())
        })
    }

    fn no_region(&self, operation: &'static str, key: &str, failure: &Failure) -> Error {
        let (kind, reason) = match failure {
            Failure::Broken(reason) => (ErrorKind::Transient, reason.clone()),
            Failure::Refused(refusal) if refusal.status == 404 => {
                (ErrorKind::NotFound, "no such bucket".to_owned())
            }
            Failure::Refused(refusal) => (ErrorKind::Other, format!("HTTP {}", refusal.status)),
        };
        self.refusal(kind, operation, key).with_detail(format!(
            "the bucket's region is not known: {reason}; give it with region=NAME"
        ))
    }

    /// How to send requests that the library does not know.
    pub(super) async fn requests(&self, operation: &'static str, key: &str) -> Result<&Requests> {
        let Recipe::S3(recipe) = &self.0.recipe else {
            return Err(self.refusal(ErrorKind::Unsupported, operation, key));
        };
        let made = self.0.requests.get_or_try_init(|| async {
            let region = match self.0.recipe.region_unknown() {
                Some(bucket) => bucket_region(&self.0.client, bucket)
                    .await
                    .map(Some)
                    .map_err(|failure| self.no_region(operation, key, &failure))?,
                None => None,
            };
            Ok(recipe.requests(region.as_deref(), &self.0.client))
        });
        made.await
    }

    pub(super) fn client(&self) -> &Client {
        &self.0.client
    }

    /// The name with the endpoint, for errors.
    pub(super) fn place(&self) -> &str {
        &self.0.place
    }

    fn only_s3(&self, operation: &'static str, key: &Key) -> Error {
        let error = self.refusal(ErrorKind::Unsupported, operation, key.as_str());
        error.with_detail("storage classes are changed on S3 only; use a lifecycle rule or the provider's tools here")
    }

    /// An error of ours, before or after the store's answer.
    pub(super) fn refusal(&self, kind: ErrorKind, operation: &'static str, key: &str) -> Error {
        Error::new(kind, operation, key).in_store(self.0.place.as_str())
    }

    /// The error that an operation ended with.
    pub(super) fn failed(
        &self,
        operation: &'static str,
        key: &str,
        call: &Call,
        cause: &opendal::Error,
    ) -> Error {
        explain(operation, key, &self.0.place, &call.trace, cause)
    }

    /// What the store knows of an object, and the marks that were put on it.
    pub(super) async fn stat(&self, key: &Key) -> Result<(ObjectInfo, Metadata)> {
        let call = self.call("look up", key.as_str()).await?;
        let answer = call
            .service
            .stat_dyn(&call.context, key.as_str(), OpStat::default())
            .await
            .map_err(|cause| self.failed("look up", key.as_str(), &call, &cause))?;
        let metadata = answer.into_metadata();
        Ok((object_info(key.clone(), &metadata), metadata))
    }

    /// Arguments of a write.
    pub(super) fn write_arguments(
        &self,
        call: &Call,
        key: &Key,
        mode: PutMode,
        given: options::WriteOptions,
    ) -> Result<OpWrite> {
        let options = options::WriteOptions {
            if_not_exists: mode == PutMode::Create,
            ..given
        };
        OpWrite::from_options(&call.service.capability_dyn(), options)
            .map(|(arguments, _)| arguments)
            .map_err(|cause| self.failed(verb(mode), key.as_str(), call, &cause))
    }
}

/// The name of a write in errors.
pub(super) fn verb(mode: PutMode) -> &'static str {
    match mode {
        PutMode::Create => "create",
        PutMode::Overwrite => "write",
    }
}

/// Our words for the library's.
pub(super) fn object_info(key: Key, metadata: &Metadata) -> ObjectInfo {
    ObjectInfo {
        key,
        size: metadata.content_length(),
        modified: metadata
            .last_modified()
            .map(opendal::raw::Timestamp::into_inner),
        etag: metadata.etag().map(str::to_owned),
        version: metadata.version().map(str::to_owned),
    }
}

#[async_trait]
impl ObjectStore for RemoteStore {
    fn describe(&self) -> String {
        self.0.name.clone()
    }

    fn excludes(&self) -> bool {
        self.0.excludes
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
        let call = self.call(verb(mode), key.as_str()).await?;
        let given = options::WriteOptions::default();
        let arguments = self.write_arguments(&call, key, mode, given)?;
        let size = body.len() as u64;
        let written = async {
            let mut writer = call
                .service
                .write_dyn(&call.context, key.as_str(), arguments)?;
            if !body.is_empty() {
                writer.write_dyn(Buffer::from(body)).await?;
            }
            writer.close_dyn().await
        };
        let metadata = written
            .await
            .map_err(|cause| self.failed(verb(mode), key.as_str(), &call, &cause))?;
        Ok(ObjectInfo {
            size,
            ..object_info(key.clone(), &metadata)
        })
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        Ok(Box::new(
            RemoteUpload::begin(self.clone(), key.clone(), mode).await?,
        ))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        read::open(self, key, options).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        self.stat(key).await.map(|(info, _)| info)
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        Ok(list::objects(self, prefix).await?.boxed())
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        list::folder(self, folder).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let call = self.call("delete", key.as_str()).await?;
        let deleted = async {
            let mut deleter = call.service.delete_dyn(&call.context)?;
            deleter
                .delete_dyn(key.as_str(), OpDelete::default())
                .await?;
            deleter.close_dyn().await
        };
        deleted
            .await
            .map_err(|cause| self.failed("delete", key.as_str(), &call, &cause))?;
        match call.trace.failure() {
            // The library takes every "not found" for an object that is gone already.
            Some(Failure::Refused(refusal))
                if matches!(refusal.code.as_str(), "NoSuchBucket" | "ContainerNotFound") =>
            {
                Err(self
                    .refusal(ErrorKind::NoBucket, "delete", key.as_str())
                    .with_detail(refusal.code))
            }
            _ => Ok(()),
        }
    }

    async fn presign(&self, key: &Key, lasts: Duration) -> Result<Option<String>> {
        let call = self.public_call("sign", key.as_str()).await?;
        let arguments = read_arguments(None, None);
        let operation = PresignOperation::Read(BytesRange::default(), arguments);
        let signed = call
            .service
            .presign_dyn(
                &call.context,
                key.as_str(),
                OpPresign::new(operation, lasts),
            )
            .await;
        match signed {
            Ok(signed) => {
                let signed = signed.into_presigned_request();
                // Who has only the URL cannot send a header, such as the key of the customer.
                let is_plain = signed
                    .header()
                    .keys()
                    .all(|name| name == http::header::HOST);
                Ok(is_plain.then(|| signed.uri().to_string()))
            }
            // Nothing was sent: these credentials cannot sign, which another way of reading makes up for.
            Err(cause) if call.trace.failure().is_none() => {
                tracing::debug!(%cause, store = self.0.name, "no URL can be signed");
                Ok(None)
            }
            Err(cause) => Err(self.failed("sign", key.as_str(), &call, &cause)),
        }
    }

    async fn rules(&self) -> Result<Option<BucketRules>> {
        match &self.0.recipe {
            Recipe::S3(_) => self.bucket_rules().await.map(Some),
            Recipe::Azure(_) | Recipe::Gcs(_) => Ok(None),
        }
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<Timestamp>> {
        match &self.0.recipe {
            Recipe::S3(_) => self.object_retained_until(key).await,
            Recipe::Azure(_) | Recipe::Gcs(_) => Ok(None),
        }
    }

    async fn retain(&self, key: &Key, mode: &str, until: Timestamp) -> Result<()> {
        match &self.0.recipe {
            Recipe::S3(_) => self.retain_until(key, mode, until).await,
            Recipe::Azure(_) | Recipe::Gcs(_) => Err(self.only_s3("extend the retention of", key)),
        }
    }

    async fn tier(&self, key: &Key) -> Result<Tier> {
        match &self.0.recipe {
            Recipe::S3(_) => self.object_tier(key).await,
            // Their classes are all read at once, but for Azure's archive tier, which a read then says.
            Recipe::Azure(_) | Recipe::Gcs(_) => self.head(key).await.map(|_| Tier {
                class: String::new(),
                access: Access::Now,
            }),
        }
    }

    async fn set_class(&self, key: &Key, class: &str) -> Result<()> {
        match &self.0.recipe {
            Recipe::S3(_) => self.move_to_class(key, class).await,
            Recipe::Azure(_) | Recipe::Gcs(_) => {
                Err(self.only_s3("move to another storage class", key))
            }
        }
    }

    async fn thaw(&self, key: &Key) -> Result<()> {
        match &self.0.recipe {
            Recipe::S3(_) => self.ask_to_thaw(key, THAW).await,
            Recipe::Azure(_) | Recipe::Gcs(_) => Err(self.only_s3("thaw", key)),
        }
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<VersionInfo>> {
        match &self.0.recipe {
            Recipe::S3(_) => list::versions(self, prefix).await,
            Recipe::Azure(_) | Recipe::Gcs(_) => {
                Err(self.refusal(ErrorKind::Unsupported, "list versions of", prefix))
            }
        }
    }
}

/// Arguments of a read.
pub(super) fn read_arguments(version: Option<String>, etag: Option<String>) -> OpRead {
    let options = options::ReaderOptions {
        version,
        if_match: etag,
        ..options::ReaderOptions::default()
    };
    let (arguments, _) = options.into();
    arguments
}

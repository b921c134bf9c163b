//! What a cloud's account needs for one bucket, and nothing else.

use salvor_api::velero::BackupStorageLocation;
use serde_json::{Value, json};

use super::DefaultLocation;

/// The smallest policy or role for a location, in the cloud's own form: an IAM policy (AWS), a custom role
/// definition (Azure), a custom role (Google Cloud). `None` for providers that have no such thing.
#[must_use]
pub fn iam_policy(location: &DefaultLocation) -> Option<Value> {
    let mut object = BackupStorageLocation::named("", "default");
    object.spec.provider.clone_from(&location.provider);
    object
        .spec
        .object_storage
        .bucket
        .clone_from(&location.bucket);
    let url = crate::location_url(&object).ok()?;
    match url.scheme.as_str() {
        "s3" => Some(aws(location)),
        "azure" => Some(azure(location)),
        "gs" => Some(google()),
        _ => None,
    }
}

fn aws(location: &DefaultLocation) -> Value {
    let bucket = format!("arn:aws:s3:::{}", location.bucket);
    let prefix = location.prefix.trim_matches('/');
    let mut list = json!({
        "Sid": "List", "Effect": "Allow",
        "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
        "Resource": [bucket],
    });
    // To warn of a lifecycle that would delete backups.
    let rules = json!({
        "Sid": "Rules", "Effect": "Allow",
        "Action": [
            "s3:GetBucketObjectLockConfiguration", "s3:GetBucketVersioning",
            "s3:GetLifecycleConfiguration",
        ],
        "Resource": [bucket],
    });
    let objects = match prefix {
        "" => format!("{bucket}/*"),
        prefix => {
            list["Condition"] =
                json!({"StringLike": {"s3:prefix": [prefix, format!("{prefix}/*")]}});
            format!("{bucket}/{prefix}/*")
        }
    };
    json!({
        "Version": "2012-10-17",
        "Statement": [
            list,
            {
                "Sid": "Objects", "Effect": "Allow",
                "Action": [
                    "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject",
                    "s3:GetObjectRetention", "s3:ListMultipartUploadParts", "s3:PutObject",
                    "s3:PutObjectRetention",
                ],
                "Resource": [objects],
            },
            rules,
        ],
    })
}

fn azure(location: &DefaultLocation) -> Value {
    let config = |key: &str, otherwise: &str| {
        let value = location.config.get(key).map(String::as_str);
        value.unwrap_or(otherwise).to_owned()
    };
    let scope = format!(
        "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Storage/storageAccounts/{}",
        config("subscriptionId", "SUBSCRIPTION"),
        config("resourceGroup", "RESOURCE-GROUP"),
        config("storageAccount", "ACCOUNT"),
    );
    let blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs";
    json!({
        "Name": "Salvor",
        "IsCustom": true,
        "Description": format!("Backups in container {}", location.bucket),
        "Actions": ["Microsoft.Storage/storageAccounts/blobServices/containers/read"],
        "DataActions": [
            format!("{blobs}/add/action"), format!("{blobs}/delete"),
            format!("{blobs}/read"), format!("{blobs}/write"),
        ],
        "AssignableScopes": [scope],
    })
}

fn google() -> Value {
    json!({
        "title": "Salvor",
        "description": "Backups in one bucket: bind the role to the account on that bucket",
        "stage": "GA",
        "includedPermissions": [
            "storage.multipartUploads.abort", "storage.multipartUploads.create",
            "storage.multipartUploads.listParts", "storage.objects.create",
            "storage.objects.delete", "storage.objects.get", "storage.objects.list",
        ],
    })
}

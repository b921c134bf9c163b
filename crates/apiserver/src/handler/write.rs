//! Requests that change something.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode, header};
use serde_json::{Map, Value};

use super::answer::{bytes_answer, content_type, json_answer};
use super::{Answer, Handler, Received, verb_of};
use crate::body::View;
use crate::patch::Patch;
use crate::registry::Resource;
use crate::request::{Query, ResourcePath};
use crate::status::{Failure, FieldError, deleted};
use crate::store::{Action, DeleteOptions, Propagation, Write, Written};
use crate::{crd, protobuf, scale};

impl Handler {
    pub(super) async fn write(
        &self,
        request: Received,
        path: ResourcePath,
        query: &Query,
        view: View,
    ) -> Answer {
        let body = request.body?;
        let media = media_type(&request.headers);
        let verb = verb_of(&request.method, &path, query);
        let mut dry_run = query.dry_run()?;
        let action = match verb {
            "create" => Action::Create(read_object(media, &body)?),
            "update" => Action::Update(read_object(media, &body)?),
            "patch" => Action::Patch(Patch::parse(media, &body)?),
            "delete" | "deletecollection" => {
                let (options, dry) = delete_options(media, &body, query)?;
                dry_run |= dry;
                if verb == "delete" {
                    Action::Delete(options)
                } else {
                    let selection = query.selection()?;
                    selection.fields.check(&view.resource, &view.version)?;
                    Action::DeleteCollection(options, selection)
                }
            }
            _ => return Err(Failure::method_not_allowed()),
        };
        let written = self
            .store
            .write(Write {
                resource: Arc::clone(&view.resource),
                version: view.version.clone(),
                namespace: path.namespace.clone(),
                name: path.name.clone(),
                subresource: path.subresource.clone(),
                dry_run,
                strict: query.text("fieldValidation") == "Strict",
                action,
            })
            .await?;
        Ok(match written {
            Written::Created(entry) => bytes_answer(StatusCode::CREATED, view.object(&entry)),
            Written::Updated(entry) if path.subresource.as_deref() == Some("scale") => {
                let version = view.resource.version(&view.version);
                let paths = version.and_then(|one| one.schema.as_ref()?.scale.clone());
                json_answer(
                    StatusCode::OK,
                    &Value::Object(scale::read(&entry, paths.as_deref())),
                )
            }
            Written::Updated(entry) => bytes_answer(StatusCode::OK, view.object(&entry)),
            Written::Deleted { entry, gone } => {
                if gone && !answers_deleted_object(&view.resource) {
                    let name = &view.resource.name;
                    json_answer(
                        StatusCode::OK,
                        &deleted(name, &entry.meta.name, &entry.meta.uid),
                    )
                } else {
                    bytes_answer(StatusCode::OK, view.object(&entry))
                }
            }
            Written::DeletedCollection(entries) => {
                let listing = crate::store::Listing {
                    revision: entries
                        .iter()
                        .map(|one| one.meta.resource_version)
                        .max()
                        .unwrap_or(0),
                    continue_token: None,
                    remaining: None,
                    entries: Box::pin(futures::stream::iter(entries.into_iter().map(Ok))),
                };
                let mut response = Response::new(view.list(listing, None));
                content_type(&mut response, "application/json");
                response
            }
        })
    }
}

/// Kinds whose deletion answers the object and not a `Status`.
fn answers_deleted_object(resource: &Resource) -> bool {
    const CORE: [&str; 8] = [
        "pods",
        "services",
        "serviceaccounts",
        "persistentvolumes",
        "persistentvolumeclaims",
        "resourcequotas",
        "podtemplates",
        "namespaces",
    ];
    let name = &resource.name;
    (name.group.is_empty() && CORE.contains(&name.resource.as_str()))
        || resource.is(crd::GROUP, crd::PLURAL)
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    value
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
}

fn read_object(media: &str, body: &[u8]) -> Result<Map<String, Value>, Failure> {
    let value: Value = match media {
        "" | "application/json" => serde_json::from_slice(body).map_err(|error| {
            Failure::bad_request(format!("the object provided is unrecognized: {error}"))
        })?,
        protobuf::CONTENT_TYPE => return protobuf::read(body),
        "application/yaml" | "application/x-yaml" => {
            serde_saphyr::from_slice(body).map_err(|error| {
                Failure::bad_request(format!("error converting YAML to JSON: {error}"))
            })?
        }
        other => {
            return Err(Failure::unsupported_media_type(format!(
                "the body of the request was in an unknown format ({other}) - accepted media types include: application/json, application/yaml"
            )));
        }
    };
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Failure::bad_request(
            "the object provided is not a JSON object",
        )),
    }
}

fn delete_options(
    media: &str,
    body: &[u8],
    query: &Query,
) -> Result<(DeleteOptions, bool), Failure> {
    let given = if body.is_empty() {
        Map::new()
    } else {
        read_object(media, body)?
    };
    let text = |key: &str| {
        given
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut policy = text("propagationPolicy");
    if policy.is_empty() {
        query.text("propagationPolicy").clone_into(&mut policy);
    }
    let orphan = given.get("orphanDependents").and_then(Value::as_bool);
    let orphan = orphan.or_else(|| {
        query
            .has("orphanDependents")
            .then(|| query.flag("orphanDependents"))
    });
    let propagation = match (policy.as_str(), orphan) {
        ("Background", None) => Some(Propagation::Background),
        ("Foreground", None) => Some(Propagation::Foreground),
        ("Orphan", None) | ("", Some(true)) => Some(Propagation::Orphan),
        ("", Some(false)) => Some(Propagation::Background),
        ("", None) => None,
        (other, _) => {
            let allowed =
                ["Foreground", "Background", "Orphan", "nil"].map(|one| format!("\"{one}\""));
            let error = FieldError::unsupported("propagationPolicy", &other.into(), &allowed);
            return Err(Failure::invalid(
                "meta.k8s.io",
                "DeleteOptions",
                "",
                &[error],
            ));
        }
    };
    let precondition = |key: &str| {
        let value = given.get("preconditions").and_then(|all| all.get(key));
        value.and_then(Value::as_str).map(str::to_owned)
    };
    let dry_run = given
        .get("dryRun")
        .and_then(Value::as_array)
        .is_some_and(|all| all.iter().any(|one| one == "All"));
    let options = DeleteOptions {
        propagation,
        uid: precondition("uid"),
        resource_version: precondition("resourceVersion"),
    };
    Ok((options, dry_run))
}

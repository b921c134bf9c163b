//! From an HTTP request to the store and back.

mod answer;
mod backup;
mod fault;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use salvor_api::resource::{GroupResource, ObjectKey};
use serde_json::{Value, json};

use crate::body::{self, ResponseBody, View};
use crate::exec::{ExecHandler, Requested};
use crate::faults::{Faults, InFlight, RequestRecord, Requests};
use crate::options::Options;
use crate::registry::Resource;
use crate::request::{Form, Path, Query, ResourcePath, negotiate};
use crate::status::Failure;
use crate::store::{ListQuery, Store, WatchQuery};
use crate::{discovery, openapi, scale};

use answer::{aggregated_answer, bytes_answer, content_type, json_answer, refusal};
use fault::Effect;

/// Everything that answering a request needs.
pub(crate) struct Handler {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) options: Options,
    pub(crate) faults: Faults,
    pub(crate) requests: Requests,
}

/// A request whose body was read.
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) uri: http::Uri,
    pub(crate) headers: HeaderMap,
    /// The body, or why it was not taken.
    pub(crate) body: Result<Bytes, Failure>,
    /// Gives the connection itself, where there is one.
    pub(crate) upgrade: Option<hyper::upgrade::OnUpgrade>,
}

/// The connection breaks, as an injected fault wants it.
#[derive(Debug, thiserror::Error)]
#[error("the connection was cut by an injected fault")]
pub struct ConnectionCut;

type Answer = Result<Response<ResponseBody>, Failure>;

impl Handler {
    /// Answers a request.
    pub(crate) async fn handle(
        &self,
        request: Received,
    ) -> Result<Response<ResponseBody>, ConnectionCut> {
        let path = Path::parse(request.uri.path());
        let query = Query::parse(request.uri.query().unwrap_or_default());
        let mut flight = self.requests.begin();
        flight.record = record(&request, &path, &query);
        let faults = self.faults.strike(&flight.record);
        let mut cut = None;
        let mut lost = false;
        for fault in faults {
            match self.meet(&flight.record, fault).await {
                Effect::None => {}
                Effect::Refuse(failure) => return Ok(finish(&mut flight, refusal(&failure))),
                Effect::Break => return Err(ConnectionCut),
                Effect::LoseAnswer => lost = true,
                Effect::CutAfter(count) => cut = Some(count),
            }
        }
        let answer = self.route(request, path, &query, cut).await;
        if lost {
            return Err(ConnectionCut);
        }
        Ok(finish(
            &mut flight,
            answer.unwrap_or_else(|failure| refusal(&failure)),
        ))
    }

    async fn route(
        &self,
        request: Received,
        path: Path,
        query: &Query,
        cut: Option<usize>,
    ) -> Answer {
        let accept = request
            .headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok());
        let accept = accept.unwrap_or_default().to_owned();
        let accept = accept.as_str();
        let registry = self.store.registry();
        match path {
            Path::Resource(path) => return self.resource(request, path, query, accept, cut).await,
            _ if request.method != Method::GET && request.method != Method::HEAD => {
                return Err(Failure::method_not_allowed());
            }
            _ => {}
        }
        let aggregated = || {
            self.options.aggregated_discovery && matches!(negotiate(accept), Ok(Form::Aggregated))
        };
        let document = match path {
            Path::Root => json!({"paths": [
                "/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/readyz", "/version",
            ]}),
            Path::Version => self.version(),
            Path::Health => {
                let mut response = Response::new(body::full("ok"));
                content_type(&mut response, "text/plain; charset=utf-8");
                return Ok(response);
            }
            Path::OpenApiV2 => {
                if !accept.contains("proto-openapi.spec.v2") && !accept.contains("*/*") {
                    return Err(Failure::not_acceptable());
                }
                let document = openapi::document(&registry, &self.options.version);
                let mut response = Response::new(body::full(document));
                content_type(&mut response, openapi::CONTENT_TYPE);
                return Ok(response);
            }
            Path::CoreVersions if aggregated() => {
                return Ok(aggregated_answer(&discovery::aggregated(
                    &registry,
                    true,
                    |_| false,
                )));
            }
            Path::Groups if aggregated() => {
                let stale = |group: &str| self.faults.is_stale(group);
                return Ok(aggregated_answer(&discovery::aggregated(
                    &registry, false, stale,
                )));
            }
            Path::CoreVersions => discovery::core_versions(&registry),
            Path::Groups => discovery::group_list(&registry),
            Path::Group(name) if !name.is_empty() => {
                discovery::group(registry.group(&name).ok_or_else(Failure::no_such_path)?)
            }
            Path::GroupVersion(group, version)
                if registry
                    .group(&group)
                    .is_some_and(|one| one.versions.contains(&version)) =>
            {
                discovery::resource_list(&registry, &group, &version)
            }
            Path::GroupVersion(group, _) if registry.group(&group).is_some() => {
                return Err(Failure::no_such_path());
            }
            Path::Group(_) | Path::GroupVersion(..) | Path::Unknown | Path::Resource(_) => {
                return Err(Failure::page_not_found());
            }
        };
        Ok(json_answer(StatusCode::OK, &document))
    }

    fn version(&self) -> Value {
        let text = &self.options.version;
        let mut parts = text.trim_start_matches('v').split('.');
        json!({
            "major": parts.next().unwrap_or_default(),
            "minor": parts.next().unwrap_or_default(),
            "gitVersion": text,
            "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
        })
    }

    async fn resource(
        &self,
        request: Received,
        path: ResourcePath,
        query: &Query,
        accept: &str,
        cut: Option<usize>,
    ) -> Answer {
        let form = negotiate(accept)?;
        if let Some(answer) = self.asked_of_a_backup(&request, &path) {
            return answer;
        }
        let registry = self.store.registry();
        let name = GroupResource::new(&path.plural, &path.group);
        let resource = registry
            .get(&name)
            .filter(|one| one.version(&path.version).is_some())
            .cloned();
        let resource = resource.ok_or_else(|| match registry.group(&path.group) {
            Some(group) if group.versions.contains(&path.version) => Failure::no_such_path(),
            Some(_) | None => Failure::page_not_found(),
        })?;
        let scoped_right = match (&path.namespace, &path.name) {
            (Some(_), _) => resource.namespaced,
            (None, Some(_)) => !resource.namespaced,
            (None, None) => true,
        };
        if !scoped_right {
            return Err(Failure::no_such_path());
        }
        let view = View {
            resource: Arc::clone(&resource),
            version: path.version.clone(),
            form,
            include: query.text("includeObject").to_owned(),
            now: (self.options.clock)(),
        };
        let verb = verb_of(&request.method, &path, query);
        if let (Some(why), false) = (self.store.read_only(), is_read(verb)) {
            return Err(Failure::new(405, "MethodNotAllowed", why));
        }
        if let Some(exec) = &self.options.exec
            && is_exec(&path)
        {
            return self.exec(exec, request, &path, query).await;
        }
        check_allowed(&resource, &path, verb)?;
        match verb {
            "get" => self.get(&path, view).await,
            "list" => self.list(&path, query, view, cut).await,
            "watch" => self.watch(&path, query, view, cut),
            _ => self.write(request, path, query, view).await,
        }
    }

    /// Questions to a running cluster that a backup can answer or must refuse with its own reason.
    fn asked_of_a_backup(&self, request: &Received, path: &ResourcePath) -> Option<Answer> {
        self.store.read_only()?;
        if request.method == Method::POST
            && let Ok(body) = &request.body
            && let Some(reviewed) = backup::review(path, body)
        {
            return Some(reviewed.map(|review| json_answer(StatusCode::CREATED, &review)));
        }
        let is_of_pods = path.group.is_empty();
        let subresource = path.subresource.as_deref().filter(|_| is_of_pods)?;
        let why = backup::why_not(subresource)?;
        Some(Err(Failure::new(405, "MethodNotAllowed", why)))
    }

    async fn get(&self, path: &ResourcePath, view: View) -> Answer {
        let key = key(path);
        let entry = self.store.get(&key, &view.version).await?;
        let entry = entry.ok_or_else(|| Failure::not_found(&key.resource, &key.name))?;
        if path.subresource.as_deref() == Some("scale") {
            let version = view.resource.version(&view.version);
            let paths = version.and_then(|one| one.schema.as_ref()?.scale.clone());
            let scale = Value::Object(scale::read(&entry, paths.as_deref()));
            return Ok(json_answer(StatusCode::OK, &scale));
        }
        Ok(bytes_answer(StatusCode::OK, view.object(&entry)))
    }

    /// Hands a command to who runs commands for this server.
    async fn exec(
        &self,
        exec: &ExecHandler,
        request: Received,
        path: &ResourcePath,
        query: &Query,
    ) -> Answer {
        let key = key(path);
        let Some(entry) = self.store.get(&key, &path.version).await? else {
            return Err(Failure::not_found(&key.resource, &key.name));
        };
        let pod = Value::Object(entry.full("v1", "Pod"));
        let command = Query::all(request.uri.query().unwrap_or_default(), "command");
        let namespace = path.namespace.as_deref().unwrap_or_default();
        let wanted = Requested::check(namespace, &pod, query.text("container"), command)?;
        exec.begin(wanted, &request.headers, request.upgrade)
    }

    async fn list(
        &self,
        path: &ResourcePath,
        query: &Query,
        view: View,
        cut: Option<usize>,
    ) -> Answer {
        let mut selection = query.selection()?;
        selection.fields.check(&view.resource, &view.version)?;
        let revision = query.number("resourceVersion")?;
        let exact = query.text("resourceVersionMatch") == "Exact";
        let limit = query.number("limit")?.filter(|limit| *limit > 0);
        let mut namespace = path.namespace.clone();
        if namespace.is_none() && view.resource.namespaced {
            namespace = selection
                .fields
                .exact("metadata.namespace")
                .map(str::to_owned);
        }
        if let Some(name) = &path.name {
            selection.fields.require_name(name);
        }
        let continue_token = query.text("continue").to_owned();
        if !continue_token.is_empty() && revision.is_some_and(|revision| revision != 0) {
            return Err(Failure::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let listing = self
            .store
            .list(ListQuery {
                resource: Arc::clone(&view.resource),
                version: view.version.clone(),
                namespace,
                selection,
                limit: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
                continue_token,
                exact_revision: revision.filter(|_| exact),
                not_older_than: revision.filter(|_| !exact),
            })
            .await?;
        let mut response = Response::new(view.list(listing, cut));
        content_type(&mut response, "application/json");
        Ok(response)
    }

    fn watch(&self, path: &ResourcePath, query: &Query, view: View, cut: Option<usize>) -> Answer {
        let mut selection = query.selection()?;
        selection.fields.check(&view.resource, &view.version)?;
        if let Some(name) = &path.name {
            selection.fields.require_name(name);
        }
        let send_initial_events = query.flag("sendInitialEvents");
        if send_initial_events && query.text("resourceVersionMatch") != "NotOlderThan" {
            return Err(Failure::new(
                422,
                "Invalid",
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        let revision = query.number("resourceVersion")?;
        let events = self.store.watch(WatchQuery {
            resource: Arc::clone(&view.resource),
            version: view.version.clone(),
            namespace: path.namespace.clone(),
            selection,
            after: revision.filter(|revision| *revision > 0),
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events,
            timeout: query.number("timeoutSeconds")?.map(Duration::from_secs),
        })?;
        let mut response = Response::new(view.watch(events, cut));
        content_type(&mut response, "application/json");
        Ok(response)
    }
}

fn verb_of(method: &Method, path: &ResourcePath, query: &Query) -> &'static str {
    let named = path.name.is_some();
    match *method {
        Method::GET | Method::HEAD if query.flag("watch") && path.subresource.is_none() => "watch",
        Method::GET | Method::HEAD if named => "get",
        Method::GET | Method::HEAD => "list",
        Method::POST if !named || path.subresource.is_some() => "create",
        Method::PUT if named => "update",
        Method::PATCH if named => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => "unknown",
    }
}

fn is_exec(path: &ResourcePath) -> bool {
    path.group.is_empty() && path.plural == "pods" && path.subresource.as_deref() == Some("exec")
}

fn is_read(verb: &str) -> bool {
    matches!(verb, "get" | "list" | "watch")
}

fn check_allowed(resource: &Resource, path: &ResourcePath, verb: &str) -> Result<(), Failure> {
    let version = resource
        .version(&path.version)
        .ok_or_else(Failure::no_such_path)?;
    let Some(subresource) = &path.subresource else {
        let in_all_namespaces = resource.namespaced && path.namespace.is_none();
        if !resource.allows(verb) || (in_all_namespaces && !matches!(verb, "list" | "watch")) {
            return Err(Failure::method_not_allowed());
        }
        let stored = resource.custom || resource.allows("get") && resource.allows("delete");
        if !stored && verb == "create" {
            return Err(Failure::not_implemented(format!(
                "{} are questions to a running cluster; this server stores objects and decides nothing",
                resource.name
            )));
        }
        return Ok(());
    };
    let known = version
        .subresources
        .iter()
        .find(|sub| sub.name == *subresource);
    let known = known.ok_or_else(Failure::no_such_path)?;
    if !known.verbs.iter().any(|one| one == verb) {
        return Err(Failure::method_not_allowed());
    }
    if matches!(
        subresource.as_str(),
        "log" | "exec" | "attach" | "portforward" | "proxy"
    ) {
        return Err(Failure::not_implemented(format!(
            "{}/{subresource} needs a running cluster; this server stores objects and runs nothing",
            resource.name
        )));
    }
    Ok(())
}

fn key(path: &ResourcePath) -> ObjectKey {
    ObjectKey {
        resource: GroupResource::new(&path.plural, &path.group),
        namespace: path.namespace.clone(),
        name: path.name.clone().unwrap_or_default(),
    }
}

fn record(request: &Received, path: &Path, query: &Query) -> RequestRecord {
    let mut record = RequestRecord {
        method: request.method.to_string(),
        uri: request
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        verb: "discovery".to_owned(),
        ..RequestRecord::default()
    };
    match path {
        Path::Resource(path) => {
            verb_of(&request.method, path, query).clone_into(&mut record.verb);
            record.group = Some(path.group.clone());
            record.resource = Some(GroupResource::new(&path.plural, &path.group));
            record.namespace.clone_from(&path.namespace);
            record.name.clone_from(&path.name);
            if path.name.is_none()
                && record.verb == "create"
                && let Ok(body) = &request.body
                && let Ok(object) = serde_json::from_slice::<NameOnly>(body)
            {
                record.name = object.metadata.name;
            }
        }
        Path::Group(group) | Path::GroupVersion(group, _) => record.group = Some(group.clone()),
        _ => {}
    }
    record
}

#[derive(serde::Deserialize)]
struct NameOnly {
    #[serde(default)]
    metadata: NameOfMetadata,
}

#[derive(Default, serde::Deserialize)]
struct NameOfMetadata {
    name: Option<String>,
}

fn finish(flight: &mut InFlight, response: Response<ResponseBody>) -> Response<ResponseBody> {
    flight.record.code = response.status().as_u16();
    response
}

//! A world in strict mode: requests pass admission by HTTPS as the API server would have them pass, and a table
//! answers what users may do.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use salvor_api::labels::REQUESTED_BY;
use salvor_api::velero::{Backup, Kind, Restore};
use salvor_apiserver::{ApiServer, Options};
use salvor_cluster::{ApiResource, Body, Cluster};
use salvor_controller::tls::TlsSource;
use salvor_controller::{AuthorizeRequests, Downloads, ServerOptions};
use serde_json::{Value, json};
use tower::{BoxError, Service};

use crate::tls::{connect, free, published, send};
use crate::world::{NAMESPACE, Serving, World, until};

const SERVER: &str = "system:serviceaccount:velero:salvor";

/// What somebody may do: user, verb, resource with subresource and group, namespace or nothing.
pub(crate) type Rule = (&'static str, &'static str, &'static str, &'static str);
type Answer = http::Response<UnsyncBoxBody<bytes::Bytes, BoxError>>;

/// An API server that knows who may do what.
#[derive(Clone)]
struct Reviewing {
    api: ApiServer,
    rules: Arc<Mutex<Vec<Rule>>>,
}

impl Reviewing {
    fn answer(&self, question: &Value) -> Value {
        let spec = &question["spec"];
        let asked = &spec["resourceAttributes"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut resource = text(&asked["resource"]);
        for (mark, part) in [
            ("/", text(&asked["subresource"])),
            (".", text(&asked["group"])),
        ] {
            if !part.is_empty() {
                resource += &format!("{mark}{part}");
            }
        }
        let fits = |rule: &str, asked: &str| rule == "*" || rule == asked;
        let allowed = self.rules.lock().expect("not poisoned").iter().any(|rule| {
            let (user, verb, of, namespace) = *rule;
            spec["user"] == user
                && fits(verb, &text(&asked["verb"]))
                && fits(of, &resource)
                && fits(namespace, &text(&asked["namespace"]))
        });
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": spec, "status": {"allowed": allowed}})
    }
}

impl Service<http::Request<Body>> for Reviewing {
    type Response = Answer;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        if request.uri().path() == "/apis/authorization.k8s.io/v1/subjectaccessreviews" {
            return Box::pin(async move {
                let body = request.into_body().collect().await?.to_bytes();
                let answer = this.answer(&serde_json::from_slice(&body)?).to_string();
                let body = Full::new(answer.into()).map_err(|never| match never {});
                Ok(http::Response::builder()
                    .status(201)
                    .body(body.boxed_unsync())?)
            });
        }
        let answer = self.api.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
        })
    }
}

pub(crate) struct Tenants {
    pub(crate) world: World,
    pub(crate) rules: Arc<Mutex<Vec<Rule>>>,
    pub(crate) admission: SocketAddr,
    downloads: SocketAddr,
    pub(crate) metrics: Mutex<Option<SocketAddr>>,
}

impl Tenants {
    pub(crate) async fn new(rules: &[Rule]) -> Self {
        let api = ApiServer::memory(Options {
            seed: Some(3),
            ..Options::default()
        });
        let rules = Arc::new(Mutex::new(rules.to_vec()));
        let reviewing = Reviewing {
            api: api.clone(),
            rules: Arc::clone(&rules),
        };
        let world = World::over(api, Cluster::from_service(reviewing, "test")).await;
        let admission = free();
        // As it is installed for a server outside of the cluster.
        let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration", "metadata": {"name": "salvor-velero"},
            "webhooks": [{"name": "requests.salvor.dev", "admissionReviewVersions": ["v1"],
                "sideEffects": "None", "clientConfig": {"url": format!("https://{admission}")}}]});
        world.create(configurations(), None, configuration).await;
        Self {
            world,
            rules,
            admission,
            downloads: free(),
            metrics: Mutex::default(),
        }
    }

    pub(crate) fn serve(&self) -> Serving {
        let metrics = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        *self.metrics.lock().expect("not poisoned") = metrics.local_addr().ok();
        self.world.serve_with(|options: &mut ServerOptions| {
            options.authorize_requests = AuthorizeRequests::Strict;
            options.server_user = SERVER.to_owned();
            options.admission = Some(self.admission);
            options.tls = TlsSource::Generated;
            options.tls_look = Duration::from_millis(50);
            options.collect_every = Duration::from_secs(1);
            options.metrics = Some(Arc::new(metrics));
            options.downloads = Some(Downloads {
                listen: self.downloads,
                public_url: String::new(),
            });
        })
    }

    /// Where the API server would ask: the server has written it into the configuration.
    pub(crate) async fn path(&self) -> String {
        let look = async || {
            let found = self
                .world
                .cluster
                .get(&configurations(), None, "salvor-velero")
                .await;
            let object: Value = serde_json::from_slice(&found.ok()??).ok()?;
            let config = &object["webhooks"][0]["clientConfig"];
            config["caBundle"].as_str()?;
            let url = config["url"].as_str()?;
            let (_, path) = url.split_once("/admission/")?;
            Some(format!("/admission/{path}"))
        };
        until(look).await
    }

    /// What admission makes of an object; an error is its refusal.
    pub(crate) async fn admit<K: Kind>(
        &self,
        user: &str,
        before: Option<&K>,
        after: &K,
    ) -> Result<K, String> {
        let path = self.path().await;
        let authority = published(&self.world).await;
        let value = |object: &K| {
            let mut value = serde_json::to_value(object).expect("JSON");
            value["kind"] = K::KIND.into();
            value
        };
        let question = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "1", "namespace": NAMESPACE, "name": after.metadata().name,
                "operation": if before.is_some() { "UPDATE" } else { "CREATE" },
                "userInfo": {"username": user, "groups": ["system:authenticated"]},
                "oldObject": before.map(value), "object": value(after)}});
        let mut stream = connect(self.admission, "localhost", &authority, None)
            .await
            .expect("TLS");
        let question = question.to_string();
        let (status, body) = send(&mut stream, &format!("POST {path}"), &question)
            .await
            .expect("answered");
        assert_eq!(status, 200);
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        let response = &answer["response"];
        if response["allowed"] != true {
            return Err(response["status"]["message"].to_string());
        }
        let mut admitted = after.clone();
        if let Some(patch) = response["patch"].as_str() {
            let patch: Value =
                serde_json::from_slice(&BASE64.decode(patch).expect("base64")).expect("JSON");
            let step = patch.as_array().expect("steps").last().expect("a step");
            let text = step["value"].as_str().expect("a text").to_owned();
            admitted
                .metadata_mut()
                .annotations
                .insert(REQUESTED_BY.to_owned(), text);
        }
        Ok(admitted)
    }

    pub(crate) async fn create<K: Kind>(&self, user: &str, object: &K) {
        let admitted = self.admit(user, None, object).await.expect("admitted");
        self.world.kinds().create(&admitted).await.expect("created");
    }

    /// A backup of the shop by a user; its end.
    pub(crate) async fn backed_up(&self, user: &str, name: &str) -> Backup {
        self.create(user, &backup(name)).await;
        self.world
            .until(name, |b: &Backup| b.status.phase.is_final())
            .await
    }

    pub(crate) async fn ended(&self, name: &str) -> Restore {
        self.world
            .until(name, |r: &Restore| r.status.phase.is_final())
            .await
    }
}

fn configurations() -> ApiResource {
    ApiResource::known(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
    )
}

pub(crate) fn backup(name: &str) -> Backup {
    let mut backup = Backup::named(NAMESPACE, name);
    backup.spec.included_namespaces = vec!["shop".to_owned()];
    backup
}

pub(crate) fn restore(name: &str, mapped_to: Option<&str>) -> Restore {
    let mut restore = Restore::named(NAMESPACE, name);
    "b1".clone_into(&mut restore.spec.backup_name);
    if let Some(to) = mapped_to {
        restore
            .spec
            .namespace_mapping
            .insert("shop".to_owned(), to.to_owned());
    }
    restore
}

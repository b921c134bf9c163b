//! A cluster in this process with Velero's definitions, a location in memory, and servers that can be killed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use salvor_api::velero::{Backup, BackupStorageLocation, Kind, Restore};
use salvor_apiserver::{ApiServer, Options};
use salvor_cluster::{ApiResource, Body, Cluster, ListOptions, Look, Wait, WriteOptions};
use salvor_controller::{Kinds, Locations, Server, ServerOptions};
use salvor_location::claim::ClaimPolicy;
use salvor_location::{Location, Profile};
use salvor_storage::testing::FaultStore;
use salvor_storage::{GetOptions, Key, MemoryStore, ObjectStore, PrefixStore, PutMode, StoreUrl};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service};

pub(crate) const NAMESPACE: &str = "velero";
/// Path of a location that is not over the common store.
pub(crate) const ELSEWHERE: &str = "/in/elsewhere";
/// Longest wait of a test for something that happens within a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) api: ApiServer,
    pub(crate) cluster: Cluster,
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The store of locations whose path begins with [`ELSEWHERE`]; it can be made to fail.
    pub(crate) elsewhere: FaultStore,
}

impl World {
    /// A cluster with the definitions, an application in namespace `shop`, and location `default`.
    pub(crate) async fn new() -> Self {
        let api = ApiServer::memory(Options {
            seed: Some(3),
            ..Options::default()
        });
        let cluster = Cluster::from_service(api.clone(), "test");
        Self::over(api, cluster).await
    }

    /// The same over an API server of the test's.
    pub(crate) async fn over(api: ApiServer, cluster: Cluster) -> Self {
        let world = Self {
            cluster,
            api,
            store: Arc::new(MemoryStore::new()),
            // Another place by its name as well.
            elsewhere: FaultStore::new(PrefixStore::wrap(
                Arc::new(MemoryStore::new()),
                "elsewhere",
            )),
        };
        for crd in salvor_api::crds::all() {
            let crd: Value = serde_saphyr::from_str(crd.yaml).expect("YAML");
            world.create(definitions(), None, crd).await;
        }
        world
            .create(ApiResource::namespaces(), None, namespace(NAMESPACE))
            .await;
        world.fill("shop", 5).await;
        world.locate("default", |_| ()).await;
        world
    }

    /// Creates a namespace with ConfigMaps.
    pub(crate) async fn fill(&self, name: &str, config_maps: usize) {
        self.create(ApiResource::namespaces(), None, namespace(name))
            .await;
        for number in 0..config_maps {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": format!("c{number}")}, "data": {"k": number.to_string()}});
            self.create(config_maps_resource(), Some(name), object)
                .await;
        }
    }

    pub(crate) async fn create(
        &self,
        resource: ApiResource,
        namespace: Option<&str>,
        object: Value,
    ) {
        let body = object.to_string();
        self.cluster
            .create(
                &resource,
                namespace,
                body.as_bytes(),
                &WriteOptions::default(),
            )
            .await
            .expect("created");
    }

    /// Creates a BackupStorageLocation over this world's store.
    pub(crate) async fn locate(&self, name: &str, change: impl FnOnce(&mut BackupStorageLocation)) {
        let mut object = BackupStorageLocation::named(NAMESPACE, name);
        object.spec.provider = "file".to_owned();
        object.spec.object_storage.bucket = "bucket".to_owned();
        object
            .spec
            .config
            .insert("path".to_owned(), "/in/memory".to_owned());
        change(&mut object);
        self.kinds().create(&object).await.expect("created");
    }

    pub(crate) async fn back_up(&self, name: &str, change: impl FnOnce(&mut Backup)) {
        let mut object = Backup::named(NAMESPACE, name);
        object.spec.included_namespaces = vec!["shop".to_owned()];
        change(&mut object);
        self.kinds().create(&object).await.expect("created");
    }

    pub(crate) async fn restore(&self, name: &str, backup: &str) {
        let mut object = Restore::named(NAMESPACE, name);
        object.spec.backup_name = backup.to_owned();
        self.kinds().create(&object).await.expect("created");
    }

    pub(crate) fn kinds<K: Kind>(&self) -> Kinds<K> {
        Kinds::new(&self.cluster, NAMESPACE)
    }

    pub(crate) async fn get<K: Kind>(&self, name: &str) -> Option<K> {
        self.kinds().get(name).await.expect("read")
    }

    /// Waits until an object is as `wanted`.
    pub(crate) async fn until<K: Kind>(&self, name: &str, wanted: impl Fn(&K) -> bool) -> K {
        let resource = ApiResource::known(K::GROUP, K::VERSION, K::KIND, K::PLURAL, true);
        let wait = Wait {
            timeout: PATIENCE,
            cancel: CancellationToken::new(),
        };
        let decode = |value: &Value| serde_json::from_value::<K>(value.clone()).expect("decoded");
        let look = |value: Option<&Value>| match value.map(decode) {
            Some(object) if wanted(&object) => Look::Done,
            seen => Look::NotYet(format!("{seen:?}")),
        };
        let found = self
            .cluster
            .wait_until(&resource, Some(NAMESPACE), name, &wait, look)
            .await;
        let bytes = found.expect("in time").expect("there");
        serde_json::from_slice(&bytes).expect("decoded")
    }

    /// Waits until an object is gone.
    pub(crate) async fn until_gone<K: Kind>(&self, name: &str) {
        let resource = ApiResource::known(K::GROUP, K::VERSION, K::KIND, K::PLURAL, true);
        let wait = Wait {
            timeout: PATIENCE,
            cancel: CancellationToken::new(),
        };
        let look = |value: Option<&Value>| match value {
            None => Look::Done,
            Some(seen) => Look::NotYet(seen.to_string()),
        };
        let gone = self
            .cluster
            .wait_until(&resource, Some(NAMESPACE), name, &wait, look);
        gone.await.expect("in time");
    }

    /// Reasons and messages of the events about an object, oldest first.
    pub(crate) async fn events(&self, name: &str) -> Vec<(String, String)> {
        let events = ApiResource::known("", "v1", "Event", "events", true);
        let page = self
            .cluster
            .list_page(&events, Some(NAMESPACE), &ListOptions::default())
            .await
            .expect("listed");
        let mut found: Vec<(u64, String, String)> = page
            .items()
            .map(|item| serde_json::from_slice::<Value>(item).expect("JSON"))
            .filter(|event| event["involvedObject"]["name"] == name)
            .map(|event| {
                let version = event["metadata"]["resourceVersion"].as_str();
                let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
                let version = version.unwrap_or("0").parse().expect("number");
                (version, text("reason"), text("message"))
            })
            .collect();
        found.sort();
        found
            .into_iter()
            .map(|(_, reason, text)| (reason, text))
            .collect()
    }

    /// The first message of an event about an object that is as `wanted`.
    pub(crate) async fn until_event(
        &self,
        name: &str,
        reason: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> String {
        let look = async || {
            let events = self.events(name).await;
            let found = events
                .into_iter()
                .find(|(r, text)| r == reason && wanted(text));
            found.map(|(_, text)| text)
        };
        until(look).await
    }

    /// Waits until a folder of the store is empty.
    pub(crate) async fn until_files_gone(&self, backup: &str) {
        let folder = format!("backups/{backup}");
        let look = async || {
            let listed = self.store.list_folder(&folder).await.expect("listed");
            listed.objects.is_empty().then_some(())
        };
        until(look).await;
    }

    /// Writes an object into the store.
    pub(crate) async fn put(&self, key: &str, text: String) {
        let key = Key::new(key).expect("key");
        let put = self.store.put(&key, text.into(), PutMode::Overwrite);
        put.await.expect("written");
    }

    /// Reads an object of the store.
    pub(crate) async fn read(&self, key: &str) -> Vec<u8> {
        let key = Key::new(key).expect("key");
        let object = self.store.get(&key, GetOptions::default()).await;
        let bytes = object.expect("there").bytes(1 << 20).await.expect("read");
        bytes.to_vec()
    }

    /// Sets an annotation of an object that others write as well.
    pub(crate) async fn annotate<K: Kind>(&self, name: &str, key: &str, value: &str) {
        loop {
            let before: K = self.get(name).await.expect("there");
            let mut after = before.clone();
            let annotations = &mut after.metadata_mut().annotations;
            annotations.insert(key.to_owned(), value.to_owned());
            match self.kinds().update(&before, &after).await {
                Ok(_) => return,
                Err(error) if error.is_stale() => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// A server on this cluster that reaches it through `cluster`.
    pub(crate) fn server(&self, cluster: &Cluster, identity: &str) -> Server {
        let store = Arc::clone(&self.store);
        let elsewhere: Arc<dyn ObjectStore> = Arc::new(self.elsewhere.clone());
        let locations = Locations::with_stores(
            cluster,
            NAMESPACE,
            Arc::new(move |url| {
                let far = url.path.starts_with(ELSEWHERE);
                Ok(Arc::clone(if far { &elsewhere } else { &store }))
            }),
        )
        .with_claims(ClaimPolicy {
            lease: Duration::from_millis(1500),
            heartbeat: Duration::from_millis(200),
            settle: Duration::from_millis(50),
        });
        Server::new(cluster, options(identity))
            .with_locations(locations)
            .with_lease(|lease| {
                lease.lasts = Duration::from_secs(1);
                lease.renew_within = Duration::from_millis(700);
                lease.retry_every = Duration::from_millis(50);
            })
    }

    /// Runs a server until the guard is dropped.
    pub(crate) fn serve(&self) -> Serving {
        self.serve_with(|_| ())
    }

    pub(crate) fn serve_with(&self, change: impl FnOnce(&mut ServerOptions)) -> Serving {
        self.serve_at(jiff::Timestamp::now, change)
    }

    /// The same, with another clock.
    pub(crate) fn serve_at(
        &self,
        clock: impl Fn() -> jiff::Timestamp + Send + Sync + 'static,
        change: impl FnOnce(&mut ServerOptions),
    ) -> Serving {
        let mut options = options("server");
        change(&mut options);
        let server = self
            .server(&self.cluster, "server")
            .with_options(options)
            .with_clock(Arc::new(clock));
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let task = tokio::spawn(async move { server.run(&stop).await });
        Serving { cancel, task }
    }

    /// Runs a server that is killed when it sends request `requests + 1`, and waits for that. False when it
    /// was idle before, as `idle` tells.
    pub(crate) async fn serve_until_killed(
        &self,
        requests: usize,
        idle: impl Future<Output = ()>,
    ) -> bool {
        let mortal = Mortal {
            api: self.api.clone(),
            left: Arc::new(AtomicUsize::new(requests)),
            dead: Arc::new(Notify::new()),
        };
        let dead = Arc::clone(&mortal.dead);
        // A runtime of its own: what is killed is everything, tasks and threads.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime");
        let cluster = {
            let _inside = runtime.enter();
            Cluster::from_service(mortal, "test")
        };
        let server = self.server(&cluster, &format!("killed-{requests}"));
        runtime.spawn(async move { server.run(&CancellationToken::new()).await });
        let killed = tokio::select! {
            () = dead.notified() => true,
            () = idle => false,
        };
        runtime.shutdown_background();
        killed
    }
}

/// Waits for something that is looked at.
pub(crate) async fn until<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let found = async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        loop {
            looks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .expect("in time")
}

/// Options whose pauses a test can wait out.
fn options(identity: &str) -> ServerOptions {
    ServerOptions {
        resume_pause: Duration::from_millis(200),
        sync_every: Duration::from_secs(1),
        sync_confirm: Duration::from_millis(200),
        pause_look: Duration::from_millis(200),
        leftover_look: Duration::from_millis(200),
        copy_pause: Duration::from_millis(200),
        ..ServerOptions::new(NAMESPACE, identity)
    }
}

/// The location behind `default`, as a command line opens it.
pub(crate) fn location(world: &World) -> Location {
    let profile = Profile {
        name: "default".to_owned(),
        url: StoreUrl::parse("file:///in/memory").expect("URL"),
        read_only: false,
    };
    Location::new(Arc::clone(&world.store), profile)
}

pub(crate) struct Serving {
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), salvor_controller::ServerError>>,
}

impl Serving {
    /// Stops the server in good order.
    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        self.task.await.expect("no panic").expect("served");
    }
}

/// Answers a number of requests; then it is as if the process were gone.
#[derive(Clone)]
struct Mortal {
    api: ApiServer,
    left: Arc<AtomicUsize>,
    dead: Arc<Notify>,
}

impl Service<http::Request<Body>> for Mortal {
    type Response = <ApiServer as Service<http::Request<Body>>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let one_less = |left: usize| left.checked_sub(1);
        let alive = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .is_ok();
        if !alive {
            self.dead.notify_one();
            return Box::pin(std::future::pending());
        }
        let answer = self.api.call(request);
        Box::pin(async move { answer.await.map_err(Into::into) })
    }
}

pub(crate) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

pub(crate) fn config_maps_resource() -> ApiResource {
    ApiResource::known("", "v1", "ConfigMap", "configmaps", true)
}

fn definitions() -> ApiResource {
    ApiResource::known(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        false,
    )
}

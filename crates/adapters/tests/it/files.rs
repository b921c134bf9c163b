//! A cluster that is files: data directories with real logs, a file for each process that runs, and lists of members that are
//! changed as etcd changes them. No data passes between its members; that real ones catch up is shown with real ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use salvor_adapters::control_plane::members::{Ask, Setting, recover, replace};
use salvor_adapters::control_plane::{Member, Plane};
use salvor_etcd::client::{Error, Hash, Status};
use salvor_etcd::membership::{self, Cluster};
use salvor_etcd::wal;
use salvor_runbook::Runbook;
use salvor_runbook::testing::World;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::real::NAMES;

pub(crate) struct Fake {
    folder: TempDir,
    lost: Vec<&'static str>,
    plane: Arc<Plane>,
}

#[derive(Debug)]
struct Files {
    folder: PathBuf,
    names: Vec<String>,
}

fn url(name: &str) -> String {
    format!("http://{name}:2380")
}

fn cluster() -> Cluster {
    let all: Vec<_> = NAMES
        .iter()
        .map(|name| format!("{name}={}", url(name)))
        .collect();
    Cluster::new(&all.join(","), "t").unwrap()
}

impl Fake {
    /// Where these are lost: they do not run, and what they had is no use.
    pub(crate) fn losing(lost: &[&'static str]) -> Self {
        // In memory where that can be had: files are flushed thousands of times.
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => tempfile::tempdir_in(memory).unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        let path = folder.path();
        let cluster = cluster();
        for own in cluster.members() {
            let contents = path.join(&own.name).join("member");
            fs::create_dir_all(contents.join("wal")).unwrap();
            fs::write(
                contents.join("wal").join(wal::FIRST_FILE),
                wal::initial(&cluster, own),
            )
            .unwrap();
            fs::write(contents.join("mark"), &own.name).unwrap();
            save(&contents, 3, cluster.members());
            fs::write(path.join(format!("kube-apiserver-{}", own.name)), "").unwrap();
            if !lost.contains(&own.name.as_str()) {
                fs::write(path.join(format!("etcd-{}", own.name)), "").unwrap();
            }
        }
        let commands = |component: &str| {
            let file = path.join(format!("{component}-{{member}}"));
            let file = file.display();
            format!(
                "{component}: {{start: [touch, '{file}'], stop: [rm, -f, '{file}'], isRunning: [test, -e, '{file}']}}"
            )
        };
        let members = NAMES.map(|name| {
            let data = path.join(name);
            format!(
                "- {{name: {name}, reach: {{local: {{}}}}, peerUrls: ['{}'], clientUrls: ['http://{name}:2379'], dataDirectory: '{}'}}\n",
                url(name),
                data.display()
            )
        });
        let text = format!(
            "cluster: test\nflavour: {{commands: {{components: {{{}, {}}}}}}}\nmembers:\n{}",
            commands("etcd"),
            commands("kube-apiserver"),
            members.concat()
        );
        let plane = Arc::new(Plane::from_yaml(&text).unwrap());
        Self {
            folder,
            lost: lost.to_vec(),
            plane,
        }
    }

    fn files(&self) -> Files {
        Files {
            folder: self.folder.path().to_owned(),
            names: NAMES.map(str::to_owned).to_vec(),
        }
    }

    pub(crate) fn setting(&self) -> Setting {
        Setting {
            plane: self.plane.clone(),
            etcd: Arc::new(self.files()),
        }
    }
}

#[async_trait]
impl World for Fake {
    fn runbook(&self) -> Runbook {
        // Folders of worlds differ, and so do their planes: nothing here compares parameters across worlds.
        match self.lost.as_slice() {
            [one] => replace(&self.setting(), one, false).unwrap(),
            // One that is lost is not rebuilt now.
            _ => recover(&self.setting(), "m2", &["m3".to_owned()], false).unwrap(),
        }
    }

    async fn state(&self) -> Value {
        let files = self.files();
        let old = cluster();
        let old = old
            .members()
            .iter()
            .filter(|one| self.lost.contains(&one.name.as_str()));
        let old: Vec<u64> = old.map(|one| one.id).collect();
        let seen = NAMES.iter().find_map(|name| files.view(name));
        let listed = seen.map(|seen| seen.1).unwrap_or_default();
        // An id that was taken out does not come back, so those that were lost do not count.
        let listed = listed.iter().filter(|one| !old.contains(&one.id));
        let mut listed: Vec<_> = listed
            .map(|one| format!("{} {}", one.peer_urls[0], one.is_learner))
            .collect();
        listed.sort();
        let machines = NAMES.map(|name| {
            let contents = self.folder.path().join(name).join("member");
            json!({
                "etcd": files.runs(name),
                "api": self.folder.path().join(format!("kube-apiserver-{name}")).exists(),
                "own data": contents.join("mark").exists(),
                "log": files.log(name).map(|log| log.commit),
            })
        });
        json!({ "members": listed, "machines": machines })
    }
}

fn save(contents: &Path, upto: u64, members: &[membership::Member]) {
    fs::write(
        contents.join("list.json"),
        json!([upto, members]).to_string(),
    )
    .unwrap();
}

fn refused(message: &str) -> Error {
    Error::Refused {
        call: "a fake",
        endpoint: "a fake".to_owned(),
        code: 9,
        message: message.to_owned(),
    }
}

type View = (u64, Vec<membership::Member>);

impl Files {
    fn contents(&self, name: &str) -> PathBuf {
        self.folder.join(name).join("member")
    }

    fn runs(&self, name: &str) -> bool {
        self.folder.join(format!("etcd-{name}")).exists()
    }

    fn log(&self, name: &str) -> Option<wal::Tail> {
        let bytes = fs::read(self.contents(name).join("wal").join(wal::FIRST_FILE)).ok()?;
        Some(wal::tail(wal::FIRST_FILE, &bytes).unwrap())
    }

    /// Its id, and the members that it knows, where it runs.
    fn view(&self, name: &str) -> Option<View> {
        if !self.runs(name) {
            return None;
        }
        let log = self.log(name)?;
        let id = log.member;
        let Ok(text) = fs::read_to_string(self.contents(name).join("list.json")) else {
            // It joined: the others tell it.
            let others = self.names.iter().filter(|other| *other != name);
            let told = others.filter(|other| self.contents(other).join("list.json").exists());
            let told = told.filter_map(|other| self.view(other)).map(|view| view.1);
            let told = told
                .into_iter()
                .find(|list| list.iter().any(|one| one.id == id));
            return told.map(|list| (id, list));
        };
        let (upto, mut list): (u64, Vec<membership::Member>) = serde_json::from_str(&text).unwrap();
        if log.commit > upto {
            // Its log says that the others have left.
            list.retain(|one| one.id == id);
            save(&self.contents(name), log.commit, &list);
        }
        Some((id, list))
    }

    fn of(&self, member: &Member) -> Result<View, Error> {
        self.view(&member.name)
            .ok_or_else(|| refused("connection refused"))
    }

    fn with_majority(&self, member: &Member) -> Result<View, Error> {
        let (id, list) = self.of(member)?;
        let voters: Vec<_> = list.iter().filter(|one| !one.is_learner).collect();
        let running = self.names.iter().filter_map(|name| self.view(name));
        let running: Vec<u64> = running.map(|view| view.0).collect();
        let there = voters
            .iter()
            .filter(|one| running.contains(&one.id))
            .count();
        match there * 2 > voters.len() && list.iter().any(|one| one.id == id) {
            true => Ok((id, list)),
            false => Err(refused("no leader")),
        }
    }

    fn keep(&self, list: &[membership::Member]) {
        for name in &self.names {
            let contents = self.contents(name);
            if self.runs(name) && contents.join("list.json").exists() {
                let (upto, _) = self.written(name);
                save(&contents, upto, list);
            }
        }
    }

    fn written(&self, name: &str) -> (u64, Vec<membership::Member>) {
        let text = fs::read_to_string(self.contents(name).join("list.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

#[async_trait]
impl Ask for Files {
    async fn status(&self, of: &Member) -> Result<Status, Error> {
        let (member, list) = self.of(of)?;
        let leader = match self.with_majority(of) {
            Ok(_) => list
                .iter()
                .find(|one| !one.is_learner)
                .map_or(0, |one| one.id),
            Err(_) => 0,
        };
        Ok(Status {
            cluster: cluster().id(),
            member,
            leader,
            ..Status::default()
        })
    }

    async fn majority(&self, of: &Member) -> Result<u64, Error> {
        self.with_majority(of).map(|_| 7)
    }

    async fn members(&self, of: &Member) -> Result<Vec<membership::Member>, Error> {
        Ok(self.of(of)?.1)
    }

    async fn add_learner(
        &self,
        of: &Member,
        peer_urls: &[String],
    ) -> Result<membership::Member, Error> {
        let (_, mut list) = self.with_majority(of)?;
        if list
            .iter()
            .any(|one| one.peer_urls == peer_urls || one.is_learner)
        {
            return Err(refused("Peer URLs already exists, or too many learners"));
        }
        let most = list.iter().map(|one| one.id).max().unwrap_or_default();
        let added = membership::Member {
            id: most.wrapping_add(1).max(1),
            peer_urls: peer_urls.to_vec(),
            is_learner: true,
            name: String::new(),
            client_urls: Vec::new(),
        };
        list.push(added.clone());
        self.keep(&list);
        Ok(added)
    }

    async fn promote(&self, of: &Member, id: u64) -> Result<(), Error> {
        let (_, mut list) = self.with_majority(of)?;
        let started = self.names.iter().filter_map(|name| self.view(name));
        if !started.map(|view| view.0).any(|started| started == id) {
            return Err(refused("it was not started before it was promoted"));
        }
        for one in list.iter_mut().filter(|one| one.id == id) {
            one.is_learner = false;
        }
        self.keep(&list);
        Ok(())
    }

    async fn remove(&self, of: &Member, id: u64) -> Result<(), Error> {
        let (_, mut list) = self.with_majority(of)?;
        list.retain(|one| one.id != id);
        self.keep(&list);
        Ok(())
    }

    async fn hash(&self, of: &Member, _revision: u64) -> Result<Hash, Error> {
        self.with_majority(of).map(|_| Hash::default())
    }
}

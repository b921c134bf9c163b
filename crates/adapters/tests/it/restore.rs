//! The restore of a control plane in a world whose components are files: what is stopped, moved and written is real, what
//! etcd and the API would answer is made up from these files.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use salvor_adapters::control_plane::restore::{
    Live, Loss, MemberStatus, Origin, Restoration, Running,
};
use salvor_adapters::control_plane::{Member, Plane};
use salvor_etcd::bolt::Writer;
use salvor_etcd::client::Hash;
use salvor_etcd::membership::Cluster;
use salvor_etcd::restore::Revisions;
use salvor_etcd::snapshot::Snapshot;
use salvor_runbook::testing::{World, prove};
use salvor_runbook::{Runbook, StepError};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const COMPONENTS: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kubelet",
];

/// Two members.
struct Files {
    folder: TempDir,
    plane: Plane,
    snapshot: Arc<Snapshot>,
    /// Whether it is the majority that is lost.
    quorum: bool,
}

/// A member of 3.4 with nothing in it.
fn snapshot(path: &Path) -> Snapshot {
    let mut options = fs::File::options();
    options.read(true).write(true).create_new(true);
    let mut writer = Writer::create(options.open(path).unwrap(), 4096).unwrap();
    for name in ["key", "members", "meta"] {
        let mut bucket = writer.bucket(name.as_bytes());
        if name == "members" {
            bucket
                .push(b"1", b"{\"id\":1,\"peerURLs\":[\"http://a:1\"]}")
                .unwrap();
        }
        if name == "meta" {
            bucket
                .push(b"consistent_index", &9_u64.to_be_bytes())
                .unwrap();
        }
        bucket.finish().unwrap();
    }
    writer.finish().unwrap();
    Snapshot::open(path).unwrap()
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let at = root.display();
        let mut text = format!(
            "cluster: shop\ntoken: again\nrecoveryMode: {{enter: [touch, '{at}/blocked'], leave: [rm, -f, '{at}/blocked']}}\n\
             probes: [{{name: it scrapes, command: [test, -e, '{at}/kubelet-b']}}]\nflavour:\n  commands:\n    components:\n"
        );
        for component in COMPONENTS {
            let flag = format!("'{at}/{component}-{{member}}'");
            text += &format!(
                "      {component}: {{start: [touch, {flag}], stop: [rm, {flag}], isRunning: [test, -e, {flag}]}}\n"
            );
        }
        text += "members:\n";
        for name in ["a", "b"] {
            let data = root.join(name);
            fs::create_dir_all(data.join("member/wal")).unwrap();
            fs::write(data.join("member/old"), "old").unwrap();
            for component in COMPONENTS {
                fs::write(root.join(format!("{component}-{name}")), "").unwrap();
            }
            text += &format!(
                "- {{name: {name}, reach: {{local: {{}}}}, peerUrls: ['http://{name}:1'], clientUrls: ['http://{name}:2'], \
                 dataDirectory: '{}'}}\n",
                data.display()
            );
        }
        let snapshot = Arc::new(snapshot(&root.join("snapshot.db")));
        fs::create_dir(root.join("work")).unwrap();
        Self {
            plane: Plane::from_yaml(&text).unwrap(),
            snapshot,
            folder,
            quorum: false,
        }
    }

    /// Of the two, one does not run any more.
    fn without_majority() -> Self {
        let mut files = Self::new();
        files.quorum = true;
        fs::remove_file(files.folder.path().join("etcd-b")).unwrap();
        files
    }

    fn restoration(&self) -> Restoration {
        Restoration {
            plane: self.plane.clone(),
            origin: Origin {
                snapshot: Some(Arc::clone(&self.snapshot)),
                name: "a file".to_owned(),
                cluster: None,
                taken: None,
                etcd_version: None,
                skip_digest: true,
            },
            revisions: Revisions::Raise(1000),
            into_other_cluster: false,
            left_out: Vec::new(),
            work: self.folder.path().join("work"),
            running: Arc::new(Answers {
                root: self.folder.path().to_owned(),
                quorum: self.quorum,
                new: Cluster::new(&self.plane.initial_cluster(), "again")
                    .unwrap()
                    .id(),
            }),
        }
    }
}

#[async_trait]
impl World for Files {
    fn runbook(&self) -> Runbook {
        let parameters = json!({"from": "a file"});
        match self.quorum {
            true => self.restoration().quorum_runbook(parameters, false),
            false => self.restoration().runbook(parameters),
        }
    }

    async fn state(&self) -> Value {
        let root = self.folder.path();
        let mut state = Map::new();
        for name in ["a", "b"] {
            let data = root.join(name);
            let found = match (
                data.join("member/old").exists(),
                data.join("member/snap/db").exists(),
            ) {
                (true, false) => "old",
                (false, true) => "restored",
                _ => "something else",
            };
            state.insert(name.to_owned(), found.into());
            // What is put aside has another name in each run.
            let rest = fs::read_dir(&data).unwrap();
            let rest = rest.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let rest = rest.filter(|name| !name.starts_with("member"));
            state.insert(format!("{name}/rest"), rest.collect::<Vec<_>>().into());
            for component in COMPONENTS {
                let flag = format!("{component}-{name}");
                let is_there = root.join(&flag).exists();
                state.insert(flag, is_there.into());
            }
        }
        state.insert("blocked".to_owned(), root.join("blocked").exists().into());
        let work = fs::read_dir(root.join("work")).unwrap().count();
        state.insert("work".to_owned(), work.into());
        state.into()
    }
}

/// Answers as etcd and the API would, by what the files say.
#[derive(Debug)]
struct Answers {
    root: std::path::PathBuf,
    new: u64,
    quorum: bool,
}

impl Answers {
    fn runs(&self, component: &str, member: &str) -> bool {
        self.root.join(format!("{component}-{member}")).exists()
    }
}

#[async_trait]
impl Running for Answers {
    async fn member(&self, member: &Member) -> Result<MemberStatus, StepError> {
        if !self.runs("etcd", &member.name) {
            return Err("nobody is there".into());
        }
        let restored = member.data_directory.join("member/snap/db").exists();
        Ok(MemberStatus {
            cluster: if restored { self.new } else { 77 },
            member: 1,
            revision: 5,
            version: "3.5.16".to_owned(),
            has_leader: !self.quorum || (self.runs("etcd", "a") && self.runs("etcd", "b")),
        })
    }

    async fn hash(&self, _: &Member, _: u64) -> Result<Hash, StepError> {
        Ok(Hash::default())
    }

    async fn loss(&self, _: &[Member], _: &Arc<Snapshot>) -> Result<Loss, StepError> {
        Ok(Loss::default())
    }

    async fn keep(&self, _: &[Member], _: &str) -> Result<Value, StepError> {
        Ok(json!({"kept": true}))
    }

    async fn api(&self) -> Result<(), StepError> {
        // A server does not outlive its store.
        let serves =
            |member: &str| self.runs("kube-apiserver", member) && self.runs("etcd", member);
        match serves("a") && serves("b") {
            true => Ok(()),
            false => Err("no API".into()),
        }
    }

    async fn unready(&self, _: Timestamp) -> Result<Option<Vec<String>>, StepError> {
        Ok(Some(Vec::new()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_it_fails_or_is_killed_a_restore_is_gone_on_with_or_undone() {
    let held = prove(async || Files::new()).await.unwrap();
    // 16 steps, four faults, forward and back; the undoing killed behind each; undisturbed once.
    assert_eq!(held, 16 * 9 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_majority_is_made_of_a_snapshot_wherever_that_fails_or_is_killed() {
    let held = prove(async || Files::without_majority()).await.unwrap();
    // 13 steps.
    assert_eq!(held, 13 * 9 + 1);
}

#[tokio::test]
async fn what_speaks_against_a_restore_is_found_before_anything_is_stopped() {
    let world = Files::new();
    let against = async |restoration: &Restoration| {
        let facts = restoration.look().await.unwrap();
        let texts: Vec<String> = facts.against.into_iter().map(|one| one.0).collect();
        texts.join("; ")
    };
    let good = world.restoration();
    assert_eq!(against(&good).await, "");
    let question = good.look().await.unwrap().question(&good);
    assert!(question.contains("cluster 000000000000004d"), "{question}");

    let mut other = world.restoration();
    other.origin.cluster = Some(78);
    assert!(against(&other).await.contains("--into-other-cluster"));
    other.into_other_cluster = true;
    assert_eq!(against(&other).await, "");

    let mut newer = world.restoration();
    newer.origin.etcd_version = Some("3.6.1".to_owned());
    assert!(against(&newer).await.contains("upgrade it first"));

    fs::remove_dir(world.plane.members[1].data_directory.join("member/wal")).unwrap();
    assert!(against(&world.restoration()).await.contains("has no wal"));

    let mut wrong = world.restoration();
    wrong.plane.flavour = salvor_adapters::control_plane::Flavour::Commands {
        components: Default::default(),
    };
    assert!(against(&wrong).await.contains("nothing would be stopped"));
}

#[tokio::test]
async fn a_member_that_is_not_there_is_told_within_its_patience() {
    let world = Files::new();
    let live = Live {
        access: salvor_etcd::client::Access {
            authorities: None,
            identity: None,
            user: None,
            patience: std::time::Duration::from_secs(1),
        },
        api: None,
        location: None,
        folder: world.folder.path().join("kept"),
        work: world.folder.path().to_owned(),
    };
    let mut member = world.plane.members[0].clone();
    member.client_urls = vec!["http://127.0.0.1:1".to_owned()];
    let error = live.member(&member).await.unwrap_err();
    assert!(error.to_string().contains("connect to"), "{error}");
    assert_eq!(live.unready(Timestamp::now()).await.unwrap(), None);
}

//! Snapshots of running clusters: with TLS and passwords, from several members, and what happens when they fail.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use salvor_etcd::client::{Access, Endpoint, Error as Refusal, Member as Client};
use salvor_etcd::restore::Revisions;
use salvor_etcd::save::{Error, Saved, save};
use salvor_etcd::snapshot::{Snapshot, status};
use salvor_seal::Secret;
use tokio_util::sync::CancellationToken;

use crate::real::{Member, Plan, Version, free_ports, run, wait_for_quorum, with_history};
use crate::support::{GO_ON, chain};

fn access() -> Access {
    Access {
        authorities: None,
        identity: None,
        user: None,
        patience: Duration::from_secs(20),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

fn saved(endpoints: &[&str], access: &Access, path: &Path) -> Result<Saved, Error> {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|endpoint| (*endpoint).to_owned())
        .collect();
    runtime().block_on(save(&endpoints, access, path, &CancellationToken::new()))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("there");
    entries
        .map(|entry| {
            entry
                .expect("listed")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

#[test]
fn what_is_saved_is_what_the_tools_save() {
    for version in Version::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = with_history(&version, folder.path());
        let target = tempfile::tempdir().expect("a folder");
        let path = target.path().join("ours.db");
        std::fs::write(&path, "an older one").expect("a file");
        let ours = saved(&[&source.client], &access(), &path).expect("saved");
        assert_eq!(names(target.path()), ["ours.db"]);
        let theirs = folder.path().join("theirs.db");
        source.ctl(&["snapshot", "save", &theirs.display().to_string()]);
        let theirs =
            status(&Snapshot::open(&theirs).expect("a snapshot"), true, &GO_ON).expect("counted");
        assert_eq!(
            (ours.status.hash, ours.status.revision),
            (theirs.hash, theirs.revision)
        );
        assert_eq!(ours.newest_before, Some(source.revision()));
        assert_eq!(ours.size, std::fs::metadata(&path).expect("there").len());
        assert!(ours.member.version.starts_with("3."), "{ours:?}");
        assert_eq!(ours.remarks, Vec::<String>::new());
        run(
            version.tool(),
            &["snapshot", "status", &path.display().to_string()],
            "",
        )
        .expect("the tools take it");
    }
}

#[test]
fn of_several_members_a_follower_is_asked_and_the_next_one_when_it_is_gone() {
    let Some(version) = Version::of("3_5_16") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let source = with_history(&version, folder.path());
    let snapshot = folder.path().join("first.db");
    saved(&[&source.client], &access(), &snapshot).expect("saved");
    let plan = Plan::new::<3>();
    for index in 0..3 {
        plan.restore(index, &snapshot, folder.path(), Revisions::Exact);
    }
    let mut members: Vec<Member<'_>> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..3)
            .map(|index| {
                let (plan, version, folder) = (&plan, &version, folder.path());
                scope.spawn(move || plan.start(index, version, folder))
            })
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().expect("started"))
            .collect()
    });
    members.iter().for_each(wait_for_quorum);
    let endpoints: Vec<String> = members.iter().map(|member| member.client.clone()).collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let path = folder.path().join("second.db");
    let done = saved(&endpoints, &access(), &path).expect("saved");
    assert_ne!(done.member.member, done.member.leader, "a follower");

    // One member is gone: the others are asked, and it is said.
    let gone = members
        .iter()
        .position(|member| member.client == done.endpoint)
        .expect("one of them");
    drop(members.remove(gone));
    members.iter().for_each(wait_for_quorum);
    let done = saved(&endpoints, &access(), &path).expect("saved from another one");
    assert_ne!(done.endpoint, endpoints[gone]);
    assert!(done.remarks[0].contains("connect to"), "{:?}", done.remarks);

    // Without a majority there is still a snapshot, and it says what is not known.
    drop(members.remove(0));
    let short = Access {
        patience: Duration::from_secs(8),
        ..access()
    };
    let done = saved(&endpoints, &short, &path).expect("saved from the last one");
    assert_eq!(done.newest_before, None);
    assert!(
        done.remarks
            .iter()
            .any(|remark| remark.contains("no majority")),
        "{:?}",
        done.remarks
    );

    // Members of different clusters are not mixed.
    let mixed = saved(&[&members[0].client, &source.client], &access(), &path);
    assert!(matches!(mixed, Err(Error::OtherCluster { .. })));
    drop(members);
    let none = saved(&endpoints, &access(), &path);
    assert!(matches!(none, Err(Error::NoMember { .. })));
    assert!(
        names(folder.path())
            .iter()
            .all(|name| !name.ends_with(".part"))
    );
}

#[test]
fn passwords_are_sent_and_wrong_ones_refused() {
    for version in Version::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = with_history(&version, folder.path());
        for line in [
            "user add root:secret",
            "user grant-role root root",
            "user add weak:weak",
            "role add reader",
            "role grant-permission reader read --prefix=true \"\"",
            "user grant-role weak reader",
            "auth enable",
        ] {
            let words: Vec<&str> = line
                .split(' ')
                .map(|word| if word == "\"\"" { "" } else { word })
                .collect();
            source.ctl(&words);
        }
        let path = folder.path().join("snapshot.db");
        let with = |user: &str, password: &str| Access {
            user: Some((user.to_owned(), Secret::new(password.to_owned()))),
            ..access()
        };
        saved(&[&source.client], &with("root", "secret"), &path).expect("root may");
        for refused in [with("root", "wrong"), with("weak", "weak"), access()] {
            let error = saved(&[&source.client], &refused, &path).expect_err("refused");
            let Error::NoMember { last, .. } = &error else {
                panic!("{error}")
            };
            let denied = last.client().is_some_and(Refusal::is_denied);
            assert!(denied, "{}", chain(&error));
            assert!(!chain(&error).contains("secret"));
        }
    }
}

/// Certificates of an authority, a member and a client.
struct Certificates {
    authority: String,
    server: (String, String),
    client: (String, String),
}

fn certificates() -> Certificates {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(authority, key).expect("an authority");
    let issue = |names: Vec<String>| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &authority).expect("signed");
        (certificate.pem(), key.serialize_pem())
    };
    Certificates {
        server: issue(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]),
        client: issue(vec!["backup".to_owned()]),
        authority: authority.pem(),
    }
}

#[test]
fn both_sides_show_certificates() {
    let Some(version) = Version::of("3_5_16") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let pem = certificates();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let [client, peer] = free_ports();
    let url = format!("https://127.0.0.1:{client}");
    let flags = [
        "--cert-file",
        &file("server.crt", &pem.server.0),
        "--key-file",
        &file("server.key", &pem.server.1),
        "--trusted-ca-file",
        &file("ca.crt", &pem.authority),
        "--client-cert-auth",
    ];
    let peer = format!("http://127.0.0.1:{peer}");
    let started = Member::start_at(
        &version,
        "tls",
        &folder.path().join("tls"),
        &url,
        &peer,
        &format!("tls={peer}"),
        &flags,
    );
    let member = started.expect("started");
    let good = Access {
        authorities: Some(pem.authority.clone().into_bytes()),
        identity: Some((
            pem.client.0.clone().into_bytes(),
            Secret::new(pem.client.1.clone()),
        )),
        ..access()
    };
    let path = folder.path().join("snapshot.db");
    // Without a scheme the certificates say that TLS is meant.
    saved(&[&format!("127.0.0.1:{client}")], &good, &path).expect("both are trusted");
    let stranger = certificates();
    let strange = Access {
        authorities: Some(stranger.authority.into_bytes()),
        ..good.clone()
    };
    let nobody = Access {
        identity: None,
        ..good.clone()
    };
    for refused in [strange, nobody] {
        let error = saved(&[&member.client], &refused, &path).expect_err("refused");
        assert!(matches!(error, Error::NoMember { .. }), "{}", chain(&error));
    }
    for unusable in [
        Access {
            authorities: Some(b"no PEM".to_vec()),
            ..good.clone()
        },
        Access {
            identity: Some((pem.client.0.into_bytes(), Secret::new("no key".to_owned()))),
            ..good
        },
    ] {
        let endpoint = Endpoint::new(&member.client, &unusable).expect("an endpoint");
        let error = runtime()
            .block_on(Client::connect(&endpoint, &unusable))
            .map(drop)
            .expect_err("unusable");
        assert!(error.is_usage(), "{}", chain(&error));
    }
}

#[test]
fn something_else_that_answers_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let server = std::thread::spawn(move || {
        use std::io::Write as _;
        let (mut stream, _) = listener.accept().expect("a caller");
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .expect("it listens");
    });
    let folder = tempfile::tempdir().expect("a folder");
    let error = saved(&[&endpoint], &access(), &folder.path().join("x.db")).expect_err("no etcd");
    assert!(matches!(error, Error::NoMember { .. }), "{}", chain(&error));
    server.join().expect("ended");
    assert_eq!(names(folder.path()), Vec::<String>::new());
    assert!(matches!(
        saved(&[], &access(), &folder.path().join("x.db")),
        Err(Error::NoEndpoint)
    ));
}

#[test]
fn a_stop_leaves_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let stop = CancellationToken::new();
    stop.cancel();
    // Nobody listens at a port that was free a moment ago, and nobody is asked.
    let [port] = free_ports();
    let endpoints = [format!("http://127.0.0.1:{port}")];
    let path = folder.path().join("x.db");
    let access = access();
    let done = runtime().block_on(async {
        let work = save(&endpoints, &access, &path, &stop);
        work.await
    });
    assert!(done.is_err());
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

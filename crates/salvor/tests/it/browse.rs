//! `backup browse`: yesterday, over the Kubernetes API.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Place, command, connect, read};

#[test]
fn a_backup_is_served_read_only_until_interrupted() {
    let place = Place::with_cluster();
    place.run("backup create first").expect(0);
    place.delete("namespace", None, "shop");
    let mut child = command(place.home.path())
        .args(["backup", "browse", "first", "--location"])
        .arg(place.location())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let out = child.stdout.take().expect("piped");
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).expect("a line");
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["kubectl", "--kubeconfig", kubeconfig, "get", ..] = words.as_slice() else {
        panic!("not a kubectl line: {line}");
    };
    let kubeconfig = Path::new(kubeconfig);
    place.block_on(async {
        let cluster = connect(kubeconfig).await;
        let web = read(&cluster, "deployment", Some("shop"), "web").await;
        assert_eq!(web.expect("still there")["spec"]["replicas"], 2);
        let discovery = cluster
            .discover(salvor_cluster::DiscoverOptions::default())
            .await
            .expect("discovery");
        let services = discovery.resolve("services").expect("known");
        let options = salvor_cluster::DeleteOptions::default();
        let refused = cluster
            .delete(services, Some("shop"), "web", &options)
            .await;
        assert!(refused.is_err(), "a backup was changed");
    });
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(interrupted.success());
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(!kubeconfig.exists(), "the kubeconfig stays behind");
}

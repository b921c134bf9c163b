use std::fs;
use std::path::Path;
use std::sync::Arc;

use salvor_adapters::control_plane::{Component, Plane, Services, State};
use salvor_adapters::host::Local;

fn services(flavour: &str) -> Services {
    let text = format!(
        "cluster: test\nflavour: {flavour}\nmembers:\n- name: m1\n  reach: {{local: {{}}}}\n  \
         peerUrls: [http://127.0.0.1:1]\n  clientUrls: [http://127.0.0.1:2]\n"
    );
    let plane = Plane::from_yaml(&text).unwrap();
    Services::new(Arc::new(Local::new("m1")), plane.flavour)
}

#[tokio::test]
async fn commands_of_another_supervisor_stop_and_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("running-m1");
    let path = folder.path().join("running-{member}");
    let path = path.display();
    let flavour = format!(
        "{{commands: {{components: {{etcd: {{start: [touch, '{path}'], stop: [rm, '{path}'], isRunning: [test, -e, '{path}']}}}}}}}}"
    );
    let services = services(&flavour);
    assert_eq!(
        services.state(Component::Kubelet).await.unwrap(),
        State::Absent
    );
    services.stop(Component::Kubelet).await.unwrap();
    for _ in 0..2 {
        services.start(Component::Etcd).await.unwrap();
        assert_eq!(
            services.state(Component::Etcd).await.unwrap(),
            State::Running
        );
        assert!(file.exists());
    }
    for _ in 0..2 {
        services.stop(Component::Etcd).await.unwrap();
        assert_eq!(
            services.state(Component::Etcd).await.unwrap(),
            State::Stopped
        );
    }
}

#[tokio::test]
async fn a_question_that_cannot_be_asked_is_no_answer() {
    let flavour = "{commands: {components: {etcd: {start: ['true'], stop: ['true'], isRunning: [sh, -c, no-such-program]}}}}";
    let error = services(flavour).state(Component::Etcd).await.unwrap_err();
    assert!(error.to_string().contains("exit code 127"), "{error}");
}

fn manifest(folder: &Path, place: &str) -> bool {
    folder.join(place).join("kube-scheduler.yaml").exists()
}

#[tokio::test]
async fn a_static_pod_stops_out_of_the_kubelets_sight_and_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("manifests")).unwrap();
    fs::write(folder.join("manifests/kube-scheduler.yaml"), "kind: Pod").unwrap();
    let services = services(&format!(
        "{{kubeadm: {{manifests: '{}'}}}}",
        folder.join("manifests").display()
    ));
    let scheduler = Component::KubeScheduler;
    assert_eq!(
        services
            .state(Component::KubeControllerManager)
            .await
            .unwrap(),
        State::Absent
    );
    for _ in 0..2 {
        services.stop(scheduler).await.unwrap();
        assert_eq!(services.state(scheduler).await.unwrap(), State::Stopped);
        assert!(!manifest(folder, "manifests") && manifest(folder, "salvor-stopped"));
    }
    for _ in 0..2 {
        services.start(scheduler).await.unwrap();
        assert_eq!(services.state(scheduler).await.unwrap(), State::Running);
        assert!(manifest(folder, "manifests") && !manifest(folder, "salvor-stopped"));
    }
}

#[test]
fn a_description_that_cannot_be_says_why() {
    let member = |name: &str, rest: &str| {
        format!(
            "- {{name: {name}, reach: {{local: {{}}}}, peerUrls: ['http://a:1'], clientUrls: ['http://a:2']{rest}}}\n"
        )
    };
    let cases = [
        (String::new(), "no members"),
        (member("a", "") + &member("a", ""), "two members are called"),
        (member("a", ", dataDirectory: var/lib"), "is not absolute"),
        (member("a", ", colour: red"), "colour"),
    ];
    for (members, says) in cases {
        let members = if members.is_empty() {
            "[]".to_owned()
        } else {
            format!("\n{members}")
        };
        let text = format!("cluster: c\nflavour: {{systemd: {{}}}}\nmembers: {members}\n");
        let error = Plane::from_yaml(&text).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

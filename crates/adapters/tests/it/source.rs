use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;
use salvor_adapters::control_plane::Plane;
use salvor_adapters::control_plane::source::{differences, pack, paths, put_back};

#[tokio::test]
async fn files_of_a_control_plane_come_back_with_their_modes_and_only_where_they_differ() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let pki = root.join("pki");
    fs::create_dir_all(pki.join("etcd")).unwrap();
    fs::create_dir(root.join("manifests")).unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(root.join(name), text).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    write("pki/ca.key", "a key", 0o600);
    write("pki/etcd/ca.crt", "a certificate", 0o644);
    write("enc.yaml", "kind: EncryptionConfiguration", 0o600);
    let flag = format!(
        "    - --encryption-provider-config={}/enc.yaml\n",
        root.display()
    );
    write("manifests/kube-apiserver.yaml", &flag, 0o600);
    let text = format!(
        "cluster: c\nflavour: {{kubeadm: {{manifests: {0}/manifests}}}}\nfiles: [{0}/pki, {0}/manifests, {0}/none]\n\
         members: [{{name: m, reach: {{local: {{}}}}, peerUrls: ['http://a:1'], clientUrls: ['http://a:2']}}]\n",
        root.display()
    );
    let plane = Plane::from_yaml(&text).unwrap();
    let member = &plane.members[0];
    let all = paths(&plane, member).await.unwrap();
    let ours: Vec<_> = all
        .iter()
        .filter(|path| path.starts_with(root))
        .cloned()
        .collect();
    assert_eq!(
        ours,
        [root.join("enc.yaml"), root.join("manifests"), pki.clone()]
    );

    let mut archive = Vec::new();
    pack(member, &ours, &mut archive).await.unwrap();
    let archive = Bytes::from(archive);
    assert_eq!(differences(member, &archive).await.unwrap(), []);

    fs::remove_dir_all(pki.join("etcd")).unwrap();
    write("pki/ca.key", "b key", 0o600);
    write("enc.yaml", "kind: EncryptionConfiguration", 0o644);
    let kept = root.join("aside/before.tar");
    for _ in 0..2 {
        let found = differences(member, &archive).await.unwrap();
        let told: Vec<String> = found
            .iter()
            .map(|one| format!("{} {}", one.path, one.how))
            .collect();
        assert!(!told.join("\n").contains("key\n"), "{told:?}");
        if found.is_empty() {
            break;
        }
        assert_eq!(found.len(), 4, "{told:?}");
        put_back(member, &archive, &found, &kept).await.unwrap();
    }
    assert_eq!(differences(member, &archive).await.unwrap(), []);
    assert_eq!(fs::read_to_string(pki.join("ca.key")).unwrap(), "a key");
    let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("enc.yaml"), mode("pki/etcd/ca.crt")), (0o600, 0o644));
    assert_eq!(mode("aside/before.tar"), 0o600);
    let before = std::process::Command::new("tar")
        .args(["-tf"])
        .arg(&kept)
        .output()
        .unwrap();
    let before = String::from_utf8(before.stdout).unwrap();
    assert!(
        before.contains("ca.key") && before.contains("enc.yaml"),
        "{before}"
    );

    let error = differences(member, &Bytes::from_static(b"no archive at all, but text")).await;
    assert!(error.is_err());
}

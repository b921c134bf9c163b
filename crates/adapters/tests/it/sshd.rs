//! A real sshd on a free port of this machine, with keys of its own.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use salvor_adapters::host::{Ssh, SshAddress};
use salvor_testkit::process::Server;
use salvor_testkit::skipped;
use tempfile::TempDir;

const PROGRAM: &str = "/usr/sbin/sshd";
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Sshd {
    folder: TempDir,
    address: String,
    port: u16,
    _server: Server,
}

impl Sshd {
    /// `None`, said aloud, where the program is not installed.
    pub(crate) fn start() -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            skipped("sshd is not there: install openssh-server and openssh-client");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["host", "user", "stranger"] {
            let file = folder.path().join(name);
            run(
                "ssh-keygen",
                &[
                    "-q",
                    "-t",
                    "ed25519",
                    "-N",
                    "",
                    "-f",
                    file.to_str().unwrap(),
                ],
            );
        }
        let user = run("id", &["-un"]);
        if user == "root" {
            // Where it locks itself into for who has not logged in yet; made at boot, elsewhere.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let path = folder.path().display();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {path}/host\nAuthorizedKeysFile {path}/user.pub\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nMaxStartups 100\n"
        );
        let file = folder.path().join("sshd_config");
        fs::write(&file, config).unwrap();
        let known = |name: &str| {
            let key = fs::read_to_string(folder.path().join(format!("{name}.pub"))).unwrap();
            fs::write(
                folder.path().join(format!("known by {name}")),
                format!("[127.0.0.1]:{port} {key}"),
            )
            .unwrap();
        };
        known("host");
        known("stranger");
        let arguments = ["-D".into(), "-e".into(), "-f".into(), file.into_os_string()];
        let (server, ()) = Server::start(PROGRAM, &arguments, &[], PATIENCE, |line| {
            line.contains("Server listening on").then_some(())
        })
        .unwrap();
        Some(Self {
            folder,
            address: format!("{user}@127.0.0.1"),
            port,
            _server: server,
        })
    }

    pub(crate) fn host(&self) -> Ssh {
        Ssh::new("there", self.address("host"))
    }

    /// How to get there, when the host is taken to have this key.
    pub(crate) fn address(&self, key: &str) -> SshAddress {
        SshAddress {
            address: self.address.clone(),
            port: Some(self.port),
            key: Some(self.folder.path().join("user")),
            known_hosts: Some(self.folder.path().join(format!("known by {key}"))),
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

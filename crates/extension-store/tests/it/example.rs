//! The worked example, as a program and as an endpoint.

use std::time::Duration;

use salvor_extension::{Origin, Providers};
use salvor_testkit::process::Server;

pub(crate) const NAME: &str = "example.com/folder";
const PROGRAM: &str = env!("CARGO_BIN_EXE_object-store-example");

pub(crate) struct Example {
    pub(crate) providers: Providers,
    _folder: tempfile::TempDir,
    _server: Option<Server>,
}

/// One provider that is reached by `transport`, a line of YAML.
pub(crate) fn providers(transport: &str, timeout: &str) -> Providers {
    let text = format!(
        "version: v1\nproviders:\n- name: {NAME}\n  kind: ObjectStore\n  timeout: {timeout}\n  {transport}\n"
    );
    Providers::parse(&text, Origin::File).expect("valid")
}

impl Example {
    pub(crate) fn program() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let exec = format!(
            "exec: {{command: ['{PROGRAM}', '{}']}}",
            folder.path().display()
        );
        Self {
            providers: providers(&exec, "30s"),
            _folder: folder,
            _server: None,
        }
    }

    pub(crate) fn endpoint() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments = [
            folder.path().as_os_str(),
            "--listen".as_ref(),
            "127.0.0.1:0".as_ref(),
        ];
        let arguments = arguments.map(ToOwned::to_owned);
        let ready = |line: &str| line.strip_prefix("listening on ").map(str::to_owned);
        let patience = Duration::from_secs(60);
        let (server, address) =
            Server::start(PROGRAM, &arguments, &[], patience, ready).expect("it starts");
        Self {
            providers: providers(&format!("webhook: {{url: 'http://{address}/'}}"), "30s"),
            _folder: folder,
            _server: Some(server),
        }
    }
}

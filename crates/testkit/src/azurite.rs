//! Azurite, Azure's own emulator of its blob store, as a child process.

use std::process::Command;
use std::time::Duration;

use crate::process::{self, Server, StartError};

/// Set to the program `azurite-blob` where it is not in the cache folder.
pub const VARIABLE: &str = "SALVOR_AZURITE";
/// Where the test runner installs it, below the cache folder.
pub const IN_CACHE: &str = "tools/azurite-3.37.0/node_modules/.bin/azurite-blob";
/// The account that every Azurite has.
pub const ACCOUNT: &str = "devstoreaccount1";
/// The key of [`ACCOUNT`], which is public.
pub const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Creates a container by a signed request; Azurite comes with Node, which can sign.
const CREATE_CONTAINER: &str = r"
const [address, account, key, container] = process.argv.slice(1);
const date = new Date().toUTCString();
const headers = `x-ms-date:${date}\nx-ms-version:2022-11-02`;
const resource = `/${account}/${account}/${container}\nrestype:container`;
const text = `PUT\n\n\n\n\n\n\n\n\n\n\n\n${headers}\n${resource}`;
const signature = require('crypto')
  .createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64');
fetch(`http://${address}/${account}/${container}?restype=container`, {
  method: 'PUT',
  headers: {
    'x-ms-date': date,
    'x-ms-version': '2022-11-02',
    Authorization: `SharedKey ${account}:${signature}`,
  },
}).then(async (answer) => {
  if (answer.status !== 201) { console.error(await answer.text()); process.exit(1); }
});
";

/// A running blob store that keeps everything in memory.
#[derive(Debug)]
pub struct Azurite {
    address: String,
    _server: Server,
}

impl Azurite {
    /// Starts a server on a free port.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub fn start() -> Result<Self, StartError> {
        let program = process::find_program("Azurite, an Azure blob store", VARIABLE, IN_CACHE)?;
        let arguments = [
            "--inMemoryPersistence",
            "--disableTelemetry",
            "--skipApiVersionCheck",
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            "0",
        ]
        .map(Into::into);
        let (server, address) = Server::start(
            &program.to_string_lossy(),
            &arguments,
            &[],
            Duration::from_secs(120),
            |line| {
                let (_, address) = line.split_once("listen")?.1.split_once("http://")?;
                Some(address.trim().trim_end_matches('/').to_owned())
            },
        )?;
        Ok(Self {
            address,
            _server: server,
        })
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Makes a container.
    ///
    /// # Errors
    /// What the server or Node said.
    pub fn create_container(&self, container: &str) -> Result<(), String> {
        let output = Command::new("node")
            .args(["-e", CREATE_CONTAINER, &self.address, ACCOUNT, KEY])
            .arg(container)
            .output()
            .map_err(|error| format!("node: {error}"))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

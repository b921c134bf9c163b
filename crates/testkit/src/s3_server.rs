//! moto, an S3 server in Python, as a child process.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{self, Server, StartError};

/// Set to the program `moto_server` where it is not in the cache folder.
pub const VARIABLE: &str = "SALVOR_MOTO";
/// Where the test runner installs it, below the cache folder.
pub const IN_CACHE: &str = "tools/moto-5.2.5/bin/moto_server";

/// moto answers requests in parallel but looks at a condition and writes in two steps, so that of several
/// create-only writers more than one may win. One request after the other, its answers are S3's.
const ONE_AT_A_TIME: &str = "
import moto.server
serve = moto.server.run_simple
moto.server.run_simple = lambda *a, **k: serve(*a, **{**k, 'threaded': False})
moto.server.main()
";

/// A certificate for 127.0.0.1 that signs itself.
const CERTIFICATE: &str = "
import datetime, ipaddress, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'test')])
now = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)
address = x509.IPAddress(ipaddress.ip_address('127.0.0.1'))
certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
    .public_key(key.public_key()).serial_number(x509.random_serial_number())
    .not_valid_before(now - day).not_valid_after(now + day)
    .add_extension(x509.SubjectAlternativeName([address]), critical=False)
    .sign(key, hashes.SHA256()))
pem = serialization.Encoding.PEM
with open(sys.argv[1], 'wb') as file:
    file.write(certificate.public_bytes(pem))
with open(sys.argv[2], 'wb') as file:
    file.write(key.private_bytes(pem, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))
";

/// A running S3 server that keeps everything in memory. It takes any credentials.
#[derive(Debug)]
pub struct S3Server {
    address: String,
    _server: Server,
}

impl S3Server {
    /// Starts a server on a free port.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub fn start() -> Result<Self, StartError> {
        Self::start_at("127.0.0.1")
    }

    /// Starts a server on a free port of one of this machine's addresses, which pods may reach.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub fn start_at(host: &str) -> Result<Self, StartError> {
        Self::start_with(&python()?, host, &[])
    }

    /// Starts a server that speaks TLS, with a certificate of its own that is put into `folder`; returns the
    /// certificate's file. [`S3Server::create_bucket`] and its like speak no TLS and fail.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub fn start_tls(folder: &Path) -> Result<(Self, PathBuf), StartError> {
        let python = python()?;
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        let made = Command::new(&python)
            .args(["-c", CERTIFICATE])
            .args([&certificate, &key])
            .output();
        match made {
            Ok(output) if output.status.success() => {}
            other => {
                return Err(StartError::Failed {
                    program: python.display().to_string(),
                    reason: "no certificate".to_owned(),
                    output: format!("{other:?}"),
                });
            }
        }
        let options = [
            "--ssl-cert".into(),
            certificate.clone().into(),
            "--ssl-key".into(),
            key.into(),
        ];
        let server = Self::start_with(&python, "127.0.0.1", &options)?;
        Ok((server, certificate))
    }

    fn start_with(python: &Path, host: &str, options: &[OsString]) -> Result<Self, StartError> {
        let mut arguments: Vec<OsString> = ["-c", ONE_AT_A_TIME, "-H", host, "-p", "0"]
            .map(Into::into)
            .into();
        arguments.extend_from_slice(options);
        let (server, address) = Server::start(
            &python.to_string_lossy(),
            &arguments,
            &[("PYTHONUNBUFFERED", "1")],
            Duration::from_secs(120),
            |line| {
                let (_, address) = line.split_once("Running on http")?;
                let address = address.trim_start_matches('s').trim_start_matches("://");
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

    /// Makes a bucket, with versions where asked.
    ///
    /// # Errors
    /// The server refuses.
    pub fn create_bucket(&self, bucket: &str, versioned: bool) -> io::Result<()> {
        self.request("PUT", &format!("/{bucket}"), "")?;
        if versioned {
            let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
            self.request("PUT", &format!("/{bucket}?versioning"), on)?;
        }
        Ok(())
    }

    /// Sets a configuration of a bucket: its query, such as `?lifecycle`, and its document.
    ///
    /// # Errors
    /// The server refuses.
    pub fn configure(&self, bucket: &str, query: &str, document: &str) -> io::Result<()> {
        self.request("PUT", &format!("/{bucket}{query}"), document)?;
        Ok(())
    }

    /// Number of multipart uploads of a bucket that were begun and neither completed nor given up.
    ///
    /// # Errors
    /// The server refuses.
    pub fn open_uploads(&self, bucket: &str) -> io::Result<usize> {
        let answer = self.request("GET", &format!("/{bucket}?uploads"), "")?;
        Ok(answer.matches("<UploadId>").count())
    }

    /// Writes an empty object under a key that need not be one of ours.
    ///
    /// # Errors
    /// The server refuses.
    pub fn create_object(&self, bucket: &str, key: &str) -> io::Result<()> {
        self.request("PUT", &format!("/{bucket}/{key}"), "")?;
        Ok(())
    }

    /// Keys of a bucket below a prefix, with the bytes of each: the first thousand.
    ///
    /// # Errors
    /// The server refuses.
    pub fn keys(&self, bucket: &str, prefix: &str) -> io::Result<Vec<(String, u64)>> {
        let target = format!("/{bucket}?list-type=2&prefix={prefix}");
        let answer = self.request("GET", &target, "")?;
        let field = |object: &str, name: &str| {
            let (_, rest) = object.split_once(&format!("<{name}>"))?;
            Some(rest.split_once("</")?.0.to_owned())
        };
        let objects = answer.split("<Contents>").skip(1);
        let read = objects.map(|object| {
            let size = field(object, "Size").and_then(|size| size.parse().ok());
            field(object, "Key").zip(size)
        });
        read.collect::<Option<_>>()
            .ok_or_else(|| io::Error::other(format!("GET {target}: {answer}")))
    }

    /// Writes a text under a key, over what is there.
    ///
    /// # Errors
    /// The server refuses.
    pub fn overwrite(&self, bucket: &str, key: &str, text: &str) -> io::Result<()> {
        self.request("PUT", &format!("/{bucket}/{key}"), text)?;
        Ok(())
    }

    fn request(&self, method: &str, target: &str, body: &str) -> io::Result<String> {
        self.ask(method, target, "us-east-1/s3", body)
    }

    /// The body of the answer to one request, which must succeed. `scope` is region and service of its signature.
    pub(crate) fn ask(
        &self,
        method: &str,
        target: &str,
        scope: &str,
        body: &str,
    ) -> io::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        // The server picks the service by the signature's scope and checks nothing else.
        let signature = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{scope}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let form = match scope.ends_with("/s3") {
            true => "",
            false => "Content-Type: application/x-www-form-urlencoded\r\n",
        };
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: {signature}\r\n{form}\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
            _ => Err(io::Error::other(format!("{method} {target}: {answer}"))),
        }
    }
}

/// The interpreter that moto is installed for: the first line of its program names it.
fn python() -> Result<PathBuf, StartError> {
    let program = process::find_program("moto, an S3 server", VARIABLE, IN_CACHE)?;
    let failed = |reason: String| StartError::Failed {
        program: program.display().to_string(),
        reason,
        output: String::new(),
    };
    let script = std::fs::read(&program).map_err(|error| failed(error.to_string()))?;
    let first = script
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    match first.strip_prefix("#!").map(str::trim) {
        Some(python) if python.contains("python") => Ok(python.into()),
        _ => Err(failed("it is no Python program".to_owned())),
    }
}

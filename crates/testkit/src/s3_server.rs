//! moto, an S3 server in Python, as a child process.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::process::{self, Server, StartError};

/// Set to the program `moto_server` where it is not in the cache folder.
pub const VARIABLE: &str = "SALVOR_MOTO";
/// Where the test runner installs it, below the cache folder.
pub const IN_CACHE: &str = "tools/moto-5.2.5/bin/moto_server";

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
        let program = process::find_program("moto, an S3 server", VARIABLE, IN_CACHE)?;
        let arguments = ["-H", "127.0.0.1", "-p", "0"].map(Into::into);
        let (server, address) = Server::start(
            &program.to_string_lossy(),
            &arguments,
            &[("PYTHONUNBUFFERED", "1")],
            Duration::from_secs(120),
            |line| {
                let (_, address) = line.split_once("Running on http://")?;
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

    /// The body of the answer to one request, which must succeed.
    fn request(&self, method: &str, target: &str, body: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        // The server picks the service by the signature's scope and checks nothing else.
        let scope = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, \
                     SignedHeaders=host, Signature=0";
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: {scope}\r\n\
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

//! moto's EC2, a protocol server in Python, as a child process: it speaks EC2's query API, checks no signature and keeps
//! no bytes of volumes.

use std::collections::BTreeMap;
use std::io;

use crate::process::StartError;
use crate::s3_server::S3Server;

/// A running EC2 server that keeps everything in memory. It takes any credentials, and each region by itself.
#[derive(Debug)]
pub struct Ec2Server {
    server: S3Server,
    region: String,
}

impl Ec2Server {
    /// Starts a server on a free port; what is asked here is asked of `region`.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub fn start(region: &str) -> Result<Self, StartError> {
        Ok(Self {
            server: S3Server::start()?,
            region: region.to_owned(),
        })
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        self.server.address()
    }

    /// Makes a volume; its id.
    ///
    /// # Errors
    /// The server refuses.
    pub fn create_volume(&self, zone: &str, gibibytes: u64, kind: &str) -> io::Result<String> {
        let form = format!(
            "Action=CreateVolume&AvailabilityZone={zone}&Size={gibibytes}&VolumeType={kind}"
        );
        let answer = self.ask(&form)?;
        let id = elements(&answer, "volumeId").next();
        id.ok_or_else(|| io::Error::other(answer.clone()))
    }

    /// The zone of a volume.
    ///
    /// # Errors
    /// The server refuses.
    pub fn zone_of(&self, volume: &str) -> io::Result<String> {
        let answer = self.ask(&format!("Action=DescribeVolumes&VolumeId.1={volume}"))?;
        let zone = elements(&answer, "availabilityZone").next();
        zone.ok_or_else(|| io::Error::other(answer.clone()))
    }

    /// The snapshots that we made, sorted; the server has others from its start.
    ///
    /// # Errors
    /// The server refuses.
    pub fn snapshots(&self) -> io::Result<Vec<String>> {
        let form =
            "Action=DescribeSnapshots&Filter.1.Name=tag-key&Filter.1.Value.1=salvor.dev/token";
        let answer = self.ask(form)?;
        let mut ids: Vec<String> = elements(&answer, "snapshotId").collect();
        ids.sort();
        Ok(ids)
    }

    /// The tags of a volume or snapshot.
    ///
    /// # Errors
    /// The server refuses.
    pub fn tags(&self, resource: &str) -> io::Result<BTreeMap<String, String>> {
        let form =
            format!("Action=DescribeTags&Filter.1.Name=resource-id&Filter.1.Value.1={resource}");
        let answer = self.ask(&form)?;
        let keys = elements(&answer, "key");
        Ok(keys.zip(elements(&answer, "value")).collect())
    }

    fn ask(&self, form: &str) -> io::Result<String> {
        let scope = format!("{}/ec2", self.region);
        let form = format!("{form}&Version=2016-11-15");
        self.server.ask("POST", "/", &scope, &form)
    }
}

/// The texts of the elements of this name.
fn elements<'a>(xml: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, found) = rest.split_once(&open)?;
        let (text, behind) = found.split_once(&close)?;
        rest = behind;
        Some(text.to_owned())
    })
}

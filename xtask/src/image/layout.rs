//! The two forms of an image: what `docker save` writes, and the OCI layout, each as one archive.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::archive::{self, Entry, sha256};
use crate::Outcome;

/// The time of everything.
const BEGINNING: &str = "1970-01-01T00:00:00Z";

/// An image of one layer.
pub(crate) struct Image<'a> {
    /// As Go calls it: `amd64`, `arm64`.
    pub(crate) architecture: &'a str,
    /// Name and tag.
    pub(crate) tag: &'a str,
    /// What a container runs: user, entry point, environment, labels, by their names in the format.
    pub(crate) config: Value,
    /// Contents of the layer.
    pub(crate) entries: &'a [Entry],
}

/// What a container of the product's image runs; `user` is `user:group` by number.
pub(super) fn server_config(user: &str, version: &str) -> Value {
    json!({
        "User": user,
        "Entrypoint": ["/salvor"],
        "WorkingDir": "/",
        "Env": ["PATH=/", "HOME=/tmp", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
        "Labels": {
            "org.opencontainers.image.title": "salvor",
            "org.opencontainers.image.version": version,
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.source": "https://github.com/salvor-dr/salvor",
        },
    })
}

/// A part of an image: its bytes and their digest.
struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    /// `scratch` is a file that may be overwritten.
    fn new(bytes: Vec<u8>, scratch: &Path) -> Result<Self, String> {
        std::fs::write(scratch, &bytes)
            .map_err(|error| format!("write {}: {error}", scratch.display()))?;
        let digest = sha256(scratch)?;
        Ok(Self { digest, bytes })
    }

    fn json(value: &Value, scratch: &Path) -> Result<Self, String> {
        Self::new(value.to_string().into_bytes(), scratch)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.digest),
               "size": self.bytes.len()})
    }
}

impl Image<'_> {
    /// Writes `salvor.docker.tar` and `salvor.oci.tar`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn write(&self, out: &Path) -> Outcome {
        let scratch = out.join("part.tmp");
        let (config, layer) = self.parts(&scratch)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
        });
        let manifest = Blob::json(&manifest, &scratch)?;
        std::fs::remove_file(&scratch)
            .map_err(|error| format!("remove {}: {error}", scratch.display()))?;
        store(out.join("salvor.docker.tar"), &self.docker(&config, &layer))?;
        store(
            out.join("salvor.oci.tar"),
            &self.oci(&manifest, &config, &layer),
        )
    }

    /// Writes what `docker load` and `ctr images import` read; beside it a scratch file comes and goes.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn write_docker(&self, file: &Path) -> Outcome {
        let scratch = file.with_extension("tmp");
        let (config, layer) = self.parts(&scratch)?;
        std::fs::remove_file(&scratch)
            .map_err(|error| format!("remove {}: {error}", scratch.display()))?;
        store(file.to_owned(), &self.docker(&config, &layer))
    }

    /// Configuration and layer.
    fn parts(&self, scratch: &Path) -> Result<(Blob, Blob), String> {
        let mut layer = Vec::new();
        archive::write(self.entries, &mut layer)?;
        let layer = Blob::new(layer, scratch)?;
        Ok((
            Blob::json(&self.image_config(&layer.digest), scratch)?,
            layer,
        ))
    }

    fn image_config(&self, layer: &str) -> Value {
        json!({
            "created": BEGINNING,
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
            "history": [{"created": BEGINNING, "created_by": "cargo xtask image"}],
        })
    }

    fn docker(&self, config: &Blob, layer: &Blob) -> Vec<Entry> {
        let (config_name, layer_name) = (
            format!("{}.json", config.digest),
            format!("{}.tar", layer.digest),
        );
        let manifest =
            json!([{"Config": config_name, "RepoTags": [self.tag], "Layers": [layer_name]}]);
        vec![
            Entry::file("manifest.json", 0o644, manifest.to_string().into_bytes()),
            Entry::file(&config_name, 0o644, config.bytes.clone()),
            Entry::file(&layer_name, 0o644, layer.bytes.clone()),
        ]
    }

    fn oci(&self, manifest: &Blob, config: &Blob, layer: &Blob) -> Vec<Entry> {
        let mut described = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
        let short = self.tag.rsplit(':').next().unwrap_or_default();
        described["platform"] = json!({"architecture": self.architecture, "os": "linux"});
        described["annotations"] = json!({
            "io.containerd.image.name": self.tag,
            "org.opencontainers.image.ref.name": short,
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [described],
        });
        let mut entries = vec![
            Entry::file(
                "oci-layout",
                0o644,
                br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
            ),
            Entry::file("index.json", 0o644, index.to_string().into_bytes()),
            Entry::folder("blobs", 0o755),
            Entry::folder("blobs/sha256", 0o755),
        ];
        let mut blobs = [manifest, config, layer];
        blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        for blob in blobs {
            let path = format!("blobs/sha256/{}", blob.digest);
            entries.push(Entry::file(&path, 0o644, blob.bytes.clone()));
        }
        entries
    }
}

fn store(path: PathBuf, entries: &[Entry]) -> Outcome {
    let failed = |error: std::io::Error| format!("write {}: {error}", path.display());
    let part = path.with_extension("part");
    let mut file = BufWriter::new(File::create(&part).map_err(failed)?);
    archive::write(entries, &mut file)?;
    file.into_inner()
        .map_err(|error| failed(error.into_error()))?;
    std::fs::rename(&part, &path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn unpack(&self, archive: &Path) {
            let mut tar = Command::new("tar");
            tar.arg("-xf").arg(archive).arg("-C").arg(&self.0);
            crate::command::output(&mut tar).expect("tar reads it");
        }

        fn json(&self, path: &str) -> Value {
            let text = std::fs::read_to_string(self.0.join(path)).expect(path);
            serde_json::from_str(&text).expect("JSON")
        }

        /// The blob of a descriptor, whose digest and size are right.
        fn blob(&self, descriptor: &Value) -> PathBuf {
            let digest = descriptor["digest"].as_str().expect("a digest");
            let digest = digest.strip_prefix("sha256:").expect("sha256");
            let path = self.0.join("blobs/sha256").join(digest);
            assert_eq!(sha256(&path).as_deref(), Ok(digest));
            let size = std::fs::metadata(&path).expect("there").len();
            assert_eq!(descriptor["size"], size);
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn written(name: &str) -> Folder {
        let folder = Folder::new(name);
        let entries = [
            Entry::file("salvor", 0o755, b"a program".to_vec()),
            Entry::folder("tmp", 0o1777),
        ];
        let image = Image {
            architecture: "amd64",
            tag: "registry.example.com/salvor:v1",
            config: server_config("65532:65532", "1"),
            entries: &entries,
        };
        image.write(&folder.0).expect("written");
        folder
    }

    #[test]
    fn an_oci_layout_has_what_its_digests_say() {
        let (out, unpacked) = (written("oci"), Folder::new("oci-unpacked"));
        unpacked.unpack(&out.0.join("salvor.oci.tar"));
        assert_eq!(unpacked.json("oci-layout")["imageLayoutVersion"], "1.0.0");
        let described = &unpacked.json("index.json")["manifests"][0];
        assert_eq!(
            described["annotations"]["org.opencontainers.image.ref.name"],
            "v1"
        );
        let manifest = unpacked.blob(described);
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(manifest).expect("there")).expect("JSON");
        let config = unpacked.blob(&manifest["config"]);
        let config: Value =
            serde_json::from_slice(&std::fs::read(config).expect("there")).expect("JSON");
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/salvor"]));
        let layer = unpacked.blob(&manifest["layers"][0]);
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            manifest["layers"][0]["digest"]
        );
        let root = Folder::new("oci-root");
        root.unpack(&layer);
        assert_eq!(
            std::fs::read(root.0.join("salvor")).expect("there"),
            b"a program"
        );
    }

    #[test]
    fn a_docker_archive_names_its_parts() {
        let (out, unpacked) = (written("docker"), Folder::new("docker-unpacked"));
        unpacked.unpack(&out.0.join("salvor.docker.tar"));
        let manifest = &unpacked.json("manifest.json")[0];
        assert_eq!(
            manifest["RepoTags"],
            json!(["registry.example.com/salvor:v1"])
        );
        let name = |value: &Value| value.as_str().expect("a name").to_owned();
        let (config, layer) = (name(&manifest["Config"]), name(&manifest["Layers"][0]));
        let digest = sha256(&unpacked.0.join(&layer)).expect("there");
        assert_eq!(layer, format!("{digest}.tar"));
        let ids = &unpacked.json(&config)["rootfs"]["diff_ids"];
        assert_eq!(*ids, json!([format!("sha256:{digest}")]));
    }

    #[test]
    fn the_same_contents_give_the_same_bytes() {
        let (one, other) = (written("same-1"), written("same-2"));
        for name in ["salvor.docker.tar", "salvor.oci.tar"] {
            assert_eq!(
                sha256(&one.0.join(name)),
                sha256(&other.0.join(name)),
                "{name}"
            );
        }
    }
}

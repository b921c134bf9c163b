//! Static pods: what a component is told, and where its paths are on the machine.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::words::{Variables, filled, from_program, text_of};

/// The container of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pod {
    /// Program and arguments.
    pub(super) argv: Vec<String>,
    /// Its variables.
    pub(super) variables: Variables,
    /// Its image.
    pub(super) image: String,
    /// Paths inside of it, and those of the machine that they are.
    mounts: Vec<(PathBuf, PathBuf)>,
}

impl Pod {
    /// Reads a manifest.
    ///
    /// # Errors
    /// It is no pod, and what it is instead.
    pub(super) fn read(text: &str, component: &str) -> Result<Self, String> {
        let pod: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if pod["kind"] != "Pod" {
            return Err(format!("its kind is {}, not Pod", pod["kind"]));
        }
        let spec = &pod["spec"];
        let containers = spec["containers"]
            .as_array()
            .ok_or("it has no containers")?;
        let named = containers.iter().find(|one| one["name"] == component);
        let container = named.or(containers.first()).ok_or("it has no container")?;
        let variables = variables(container);
        let mut argv = Vec::new();
        for part in ["command", "args"] {
            let words = container[part].as_array().into_iter().flatten();
            argv.extend(words.filter_map(text_of));
        }
        let argv: Vec<String> = argv
            .iter()
            .map(|word| filled(word, "$(", ')', &variables))
            .collect();
        Ok(Self {
            argv: from_program(&argv, &[component], &variables),
            image: text_of(&container["image"]).unwrap_or_default(),
            mounts: mounts(spec, container),
            variables,
        })
    }

    /// Where a path of the container is on the machine; `None` where it is only in the container.
    pub(super) fn on_host(&self, inside: &Path) -> Option<PathBuf> {
        let longest = self
            .mounts
            .iter()
            .filter(|(mount, _)| inside.starts_with(mount))
            .max_by_key(|(mount, _)| mount.components().count());
        let (mount, host) = longest?;
        let rest = inside.strip_prefix(mount).ok()?;
        Some(match rest.as_os_str().is_empty() {
            true => host.clone(),
            false => host.join(rest),
        })
    }

    /// The version in the image's tag: `3.5.16` of `registry.k8s.io/etcd:3.5.16-0`.
    pub(super) fn version(&self) -> Option<String> {
        let image = self.image.split('@').next()?;
        let name = image.rsplit('/').next()?;
        let (_, tag) = name.split_once(':')?;
        version(tag)
    }
}

/// A version from a text that begins with one: `v1.29.0+k3s1`, `3.5.16-0`.
pub(super) fn version(text: &str) -> Option<String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let text = &text[..end.unwrap_or(text.len())];
    (text.split('.').filter(|part| !part.is_empty()).count() >= 2).then(|| text.to_owned())
}

fn variables(container: &Value) -> Variables {
    let all = container["env"].as_array().into_iter().flatten();
    let pair = |one: &Value| Some((text_of(&one["name"])?, text_of(&one["value"])?));
    all.filter_map(pair).collect()
}

fn mounts(spec: &Value, container: &Value) -> Vec<(PathBuf, PathBuf)> {
    let volumes = spec["volumes"].as_array();
    let host = |name: &Value| {
        let volume = volumes?.iter().find(|volume| volume["name"] == *name)?;
        volume["hostPath"]["path"].as_str()
    };
    let all = container["volumeMounts"].as_array().into_iter().flatten();
    let pair = |mount: &Value| {
        let mut path = PathBuf::from(host(&mount["name"])?);
        if let Some(below) = mount["subPath"].as_str() {
            path.push(below);
        }
        Some((PathBuf::from(mount["mountPath"].as_str()?), path))
    };
    all.filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_what_tags_begin_with() {
        for (image, version) in [
            ("k8s.gcr.io/etcd:3.4.13-0", Some("3.4.13")),
            ("registry.k8s.io/kube-apiserver:v1.33.1", Some("1.33.1")),
            ("localhost:5000/etcd:3.5.16-0@sha256:00", Some("3.5.16")),
            ("localhost:5000/etcd", None),
            ("etcd:latest", None),
            ("etcd@sha256:3.5", None),
        ] {
            let pod = Pod {
                image: image.to_owned(),
                ..Pod::default()
            };
            assert_eq!(pod.version().as_deref(), version, "{image}");
        }
    }

    #[test]
    fn a_path_is_that_of_the_longest_mount() {
        let text = "kind: Pod\nspec:\n  containers:\n  - name: etcd\n    command: [etcd, '--name=$(NODE)', --v, 2]\n    env: [{name: NODE, value: n1}]\n    \
                    volumeMounts: [{mountPath: /data, name: a}, {mountPath: /data/wal, name: b, subPath: x}]\n  \
                    volumes: [{name: a, hostPath: {path: /mnt/a}}, {name: b, hostPath: {path: /mnt/b}}]\n";
        let pod = Pod::read(text, "etcd").expect("a pod");
        assert_eq!(pod.argv, ["etcd", "--name=n1", "--v", "2"]);
        let on_host = |path: &str| pod.on_host(Path::new(path));
        assert_eq!(on_host("/data"), Some("/mnt/a".into()));
        assert_eq!(on_host("/data/db"), Some("/mnt/a/db".into()));
        assert_eq!(on_host("/data/wal"), Some("/mnt/b/x".into()));
        assert_eq!(on_host("/datas"), None);
    }

    #[test]
    fn what_is_no_pod_is_told() {
        for (text, says) in [
            ("kind: Deployment", "Deployment"),
            ("kind: Pod", "no containers"),
            ("kind: Pod\nspec: {containers: []}", "no container"),
            ("\t{", ""),
            ("", "not Pod"),
        ] {
            let error = Pod::read(text, "etcd").expect_err("no pod");
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }
}

//! Which crate may know which: the walls of ARCHITECTURE.md, as tables.

use super::Finding;
use crate::workspace::{Dependency, Package};

/// Every crate with the crates of ours that it may depend on. `*` is every other library.
const EDGES: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("text", &[]),
    ("seal", &[]),
    ("storage", &["seal"]),
    ("location", &["api", "storage", "seal"]),
    ("archive", &["api"]),
    ("cluster", &["api"]),
    // seal: endpoints are shown credentials.
    ("extension", &["api", "seal"]),
    // Extensions know Kubernetes' objects, stores know none: what makes a store of an extension stands between.
    ("extension-store", &["storage", "extension"]),
    // storage: a journal is objects of a store, also where there is no location.
    ("runbook", &["location", "storage"]),
    ("repository", &["storage", "seal"]),
    ("apiserver", &["api", "archive"]),
    // seal and storage: it opens repositories with their passwords, in folders of a location.
    (
        "volume",
        &[
            "api",
            "location",
            "repository",
            "cluster",
            "seal",
            "storage",
        ],
    ),
    ("etcd", &["api", "location", "archive", "seal"]),
    (
        "adapters",
        &[
            "api",
            "location",
            "repository",
            "cluster",
            "etcd",
            "runbook",
        ],
    ),
    (
        "objects",
        // seal: what waits on a local disk is encrypted.
        &[
            "api",
            "archive",
            "location",
            "cluster",
            "volume",
            "seal",
            "extension",
        ],
    ),
    ("posture", &["api", "text", "location", "cluster"]),
    ("notify", &["api", "text", "seal"]),
    ("report", &["api", "text", "location", "posture"]),
    (
        "recovery",
        &[
            "api",
            "text",
            "seal",
            "storage",
            "location",
            "archive",
            "cluster",
            "runbook",
            "repository",
            "apiserver",
            "volume",
            "etcd",
            "adapters",
            "objects",
            "posture",
            "notify",
            "report",
        ],
    ),
    (
        "controller",
        &[
            "api",
            "text",
            "seal",
            "storage",
            "location",
            "archive",
            "cluster",
            "runbook",
            "repository",
            "apiserver",
            "volume",
            "etcd",
            "adapters",
            "extension",
            "extension-store",
            "objects",
            "posture",
            "notify",
            "report",
            "recovery",
        ],
    ),
    (
        "dashboard",
        &[
            "api",
            "text",
            "location",
            "archive",
            "cluster",
            "posture",
            "report",
            "objects",
            "repository",
            "etcd",
        ],
    ),
    ("salvor", &["*"]),
    ("testkit", &[]),
];

/// What tests may know beyond that: helpers, and the in-process API server as a fake.
const TEST_EDGES: &[&str] = &["testkit", "apiserver", "storage"];

/// Crates whose tests know no Kubernetes either.
const BELOW_KUBERNETES: &[&str] = &["text", "seal", "storage", "repository"];

/// Dependencies of others that only some of our crates may have, and why.
const OUTSIDE: &[(&[&str], Rule, &str)] = &[
    (
        &["k8s-openapi", "kube"],
        Rule::NotIn(&["text", "seal", "storage", "repository", "notify"]),
        "bytes below, Kubernetes above",
    ),
    (
        &["tokio", "hyper", "kube", "reqwest", "opendal"],
        Rule::NotIn(&["api", "text"]),
        "kinds and messages do no I/O",
    ),
    (
        &[
            "age",
            "aes",
            "aes-gcm",
            "chacha20",
            "chacha20poly1305",
            "poly1305",
            "salsa20",
            "ctr",
            "ring",
        ],
        // Formats of others have ciphers of their own: repositories, and what API servers store in etcd.
        Rule::OnlyIn(&["seal", "repository", "etcd"]),
        "ciphers are named in one place",
    ),
    (
        &["opendal", "object_store"],
        Rule::OnlyIn(&["storage"]),
        "others see only the ObjectStore trait",
    ),
    (
        &["miette"],
        Rule::OnlyIn(&["salvor"]),
        "libraries have error enums; the edge renders them",
    ),
];

enum Rule {
    NotIn(&'static [&'static str]),
    OnlyIn(&'static [&'static str]),
}

/// Every dependency that crosses a wall.
pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Finding> {
    let name = short(&package.name);
    if name == "xtask" {
        let ours = package
            .dependencies
            .iter()
            .filter(|d| d.name.starts_with("salvor"));
        return ours
            .map(|d| format!("xtask: may not depend on {}", d.name))
            .collect();
    }
    let Some((_, allowed)) = EDGES.iter().find(|(known, _)| *known == name) else {
        return vec![format!(
            "{}: not in the table of xtask/src/tidy/walls.rs",
            package.name
        )];
    };
    let mut findings = Vec::new();
    for Dependency {
        name: target,
        only_tests,
    } in &package.dependencies
    {
        let reason = if target.starts_with("salvor") {
            let target = short(target);
            let permitted = allowed.contains(&target)
                || allowed.contains(&"*") && target != "testkit"
                || *only_tests && tests_may_use(name, target);
            if permitted {
                None
            } else {
                Some("not an edge of the map")
            }
        } else if *only_tests {
            None
        } else {
            OUTSIDE
                .iter()
                .find(|(names, rule, _)| names.contains(&&**target) && !rule.permits(name))
                .map(|(_, _, why)| *why)
        };
        if let Some(reason) = reason {
            let kind = if *only_tests {
                "tests may not depend on"
            } else {
                "may not depend on"
            };
            findings.push(format!("{}: {kind} {target}: {reason}", package.name));
        }
    }
    findings.extend(check_targets(package));
    findings
}

fn check_targets(package: &Package) -> Vec<Finding> {
    let mut findings = Vec::new();
    for target in package
        .targets
        .iter()
        .filter(|target| target.kind == "test")
    {
        match target.name.as_str() {
            "it" => {}
            "e2e" | "e2e_shared" | "e2e_node" if !target.tested => {}
            "e2e" | "e2e_shared" | "e2e_node" => findings.push(format!(
                "{}: test target `e2e` needs `test = false` in a [[test]] section, so that only \
                 `cargo xtask e2e` runs it",
                package.name
            )),
            other => findings.push(format!(
                "{}: test target `{other}`: one binary, tests/it/main.rs (and e2e)",
                package.name
            )),
        }
    }
    findings
}

fn tests_may_use(name: &str, target: &str) -> bool {
    let kubernetes = target == "apiserver" && BELOW_KUBERNETES.contains(&name);
    TEST_EDGES.contains(&target) && !kubernetes
}

impl Rule {
    fn permits(&self, name: &str) -> bool {
        match self {
            Rule::NotIn(names) => !names.contains(&name),
            Rule::OnlyIn(names) => names.contains(&name),
        }
    }
}

fn short(package: &str) -> &str {
    package.strip_prefix("salvor-").unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Target;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependency = |text: &&str| Dependency {
            name: text.trim_start_matches("dev ").to_owned(),
            only_tests: text.starts_with("dev "),
        };
        Package {
            name: name.to_owned(),
            dependencies: dependencies.iter().map(dependency).collect(),
            targets: Vec::new(),
        }
    }

    #[test]
    fn permits_edges_of_the_map_and_helpers_in_tests() {
        for (name, dependencies) in [
            (
                "salvor-storage",
                &["salvor-seal", "tokio", "dev salvor-testkit", "opendal"][..],
            ),
            (
                "salvor-cluster",
                &["salvor-api", "kube", "dev salvor-apiserver"],
            ),
            (
                "salvor",
                &[
                    "salvor-objects",
                    "salvor-apiserver",
                    "miette",
                    "dev salvor-testkit",
                ],
            ),
            ("xtask", &["serde_json"]),
        ] {
            assert_eq!(check(&[package(name, dependencies)]), Vec::<String>::new());
        }
    }

    #[test]
    fn names_every_edge_that_crosses_a_wall() {
        for (name, dependency, finding) in [
            (
                "salvor-repository",
                "salvor-api",
                "salvor-repository: may not depend on salvor-api: not an edge of the map",
            ),
            (
                "salvor-storage",
                "dev salvor-apiserver",
                "salvor-storage: tests may not depend on salvor-apiserver: not an edge of the map",
            ),
            (
                "salvor-storage",
                "k8s-openapi",
                "salvor-storage: may not depend on k8s-openapi: bytes below, Kubernetes above",
            ),
            (
                "salvor-objects",
                "opendal",
                "salvor-objects: may not depend on opendal: others see only the ObjectStore trait",
            ),
            (
                "salvor",
                "salvor-testkit",
                "salvor: may not depend on salvor-testkit: not an edge of the map",
            ),
            ("xtask", "salvor-api", "xtask: may not depend on salvor-api"),
            (
                "salvor-new",
                "serde",
                "salvor-new: not in the table of xtask/src/tidy/walls.rs",
            ),
        ] {
            assert_eq!(check(&[package(name, &[dependency])]), [finding]);
        }
    }

    #[test]
    fn keeps_end_to_end_targets_out_of_plain_cargo_test() {
        let mut package = package("salvor-objects", &[]);
        let target = |name: &str, tested| Target {
            name: name.to_owned(),
            kind: "test".to_owned(),
            tested,
            root_file: format!("tests/{name}/main.rs").into(),
        };
        package.targets = vec![target("it", true), target("e2e", false)];
        assert_eq!(check(std::slice::from_ref(&package)), Vec::<String>::new());
        package.targets = vec![target("e2e", true), target("faults", true)];
        assert_eq!(check(&[package]).len(), 2);
    }

    #[test]
    fn edges_point_up_the_table_so_that_the_map_has_no_cycle() {
        for (position, (name, targets)) in EDGES.iter().enumerate() {
            for target in targets.iter().filter(|target| **target != "*") {
                let above = EDGES[..position].iter().any(|(known, _)| known == target);
                assert!(above, "{name} -> {target}");
            }
        }
    }

    #[test]
    fn nobody_but_the_binary_knows_the_controller() {
        for (name, targets) in EDGES {
            assert!(!targets.contains(&"controller"), "{name}");
        }
    }
}

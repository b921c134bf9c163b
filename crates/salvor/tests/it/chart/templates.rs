//! Making templates of what `install` prints.

use super::*;

/// Replaces every occurrence; there must be one.
fn put(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "`{from}` is not in:\n{text}");
    text.replace(from, to)
}

/// Replaces the value of a key, with all lines that are indented below it, by an expression.
fn block(text: &str, key: &str, expression: &str) -> String {
    let mut lines = text.lines().peekable();
    let mut out: Vec<String> = Vec::new();
    let mut found = false;
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start_matches([' ', '-']);
        if !trimmed.starts_with(&format!("{key}:")) || found {
            out.push(line.to_owned());
            continue;
        }
        found = true;
        let depth = line.len() - trimmed.len();
        out.push(format!("{}{key}: {expression}", &line[..depth]));
        let deeper = |next: &&str| {
            let indent = next.len() - next.trim_start().len();
            indent > depth || (indent == depth && next.trim_start().starts_with("- "))
        };
        while lines.next_if(deeper).is_some() {}
    }
    assert!(found, "`{key}` is not in:\n{text}");
    out.join("\n")
}

fn only_if(condition: &str, text: &str) -> String {
    format!("{{{{- if {condition} }}}}\n{text}\n{{{{- end }}}}")
}

/// Lines that are only there under a condition, wherever they stand.
fn guard(text: &str, condition: &str, guarded: &[&str]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out: Vec<String> = Vec::new();
    let (mut at, mut found) = (0, 0);
    while at < lines.len() {
        let ahead = lines[at..]
            .iter()
            .take(guarded.len())
            .map(|line| line.trim());
        if !ahead.eq(guarded.iter().copied()) {
            out.push(lines[at].to_owned());
            at += 1;
            continue;
        }
        let pad = &lines[at][..lines[at].len() - lines[at].trim_start().len()];
        out.push(format!("{pad}{{{{- if {condition} }}}}"));
        out.extend(
            lines[at..at + guarded.len()]
                .iter()
                .map(|line| (*line).to_owned()),
        );
        out.push(format!("{pad}{{{{- end }}}}"));
        at += guarded.len();
        found += 1;
    }
    assert!(found > 0, "{guarded:?} is not in:\n{text}");
    out.join("\n")
}

const STRICT: &str = "eq .Values.authorizeRequests \"strict\"";

fn deployment(text: &str) -> String {
    let text = put(text, "--tls=generated", "--tls={{ .Values.tls }}");
    let text = guard(&text, ".Values.metricsTls", &["- --metrics-tls"]);
    let text = guard(&text, ".Values.metricsTls", &["scheme: HTTPS"]);
    let strict = [
        "- --authorize-requests=strict",
        "- --admission-address=0.0.0.0:8087",
        "- --server-user=system:serviceaccount:chart-namespace:salvor",
    ];
    let text = guard(&text, STRICT, &strict);
    let text = guard(&text, STRICT, &["- containerPort: 8087", "name: admission"]);
    let text = text.as_str();
    let text = put(text, "chart-image", "{{ .Values.image | quote }}");
    let text = put(&text, "replicas: 31337", "replicas: {{ .Values.replicas }}");
    let text = block(&text, "resources", "{{ toJson .Values.resources }}");
    let text = block(&text, "annotations", "{{ toJson .Values.podAnnotations }}");
    let url = "--download-url=chart-url";
    let default = "--download-url=SCHEME://salvor.{{ .Release.Namespace }}.svc:8086";
    let [plain, secure] = ["http", "https"].map(|scheme| default.replace("SCHEME", scheme));
    let indent = text.find(&format!("- {url}")).expect("the flag");
    let start = text[..indent].rfind('\n').expect("a line") + 1;
    let pad = &text[start..indent];
    let choice = format!(
        "{pad}{{{{- if .Values.downloadUrl }}}}\n{pad}- {{{{ printf \"--download-url=%s\" .Values.downloadUrl | quote }}}}\n\
         {pad}{{{{- end }}}}\n{pad}{{{{- if not .Values.downloadUrl }}}}\n\
         {pad}{{{{- if eq .Values.tls \"off\" }}}}\n{pad}- {plain}\n{pad}{{{{- end }}}}\n\
         {pad}{{{{- if ne .Values.tls \"off\" }}}}\n{pad}- {secure}\n{pad}{{{{- end }}}}\n\
         {pad}{{{{- end }}}}\n\
         {pad}{{{{- range .Values.extraArgs }}}}\n{pad}- {{{{ . | quote }}}}\n{pad}{{{{- end }}}}"
    );
    text.replacen(&format!("{pad}- {url}"), &choice, 1)
}

/// A line that is only there when a value of the location is.
fn optional(text: &str, line: &str, value: &str) -> String {
    assert!(text.contains(line), "`{line}` is not in:\n{text}");
    let indent = &line[..line.len() - line.trim_start().len()];
    text.replace(
        line,
        &format!("{indent}{{{{- if .{value} }}}}\n{line}\n{indent}{{{{- end }}}}"),
    )
}

/// The settings of a location: always texts, as Velero's chart makes them.
fn config(text: &str) -> String {
    let line = "  config: MAP";
    let lines = "  {{- if .config }}\n  config:\n    {{- range $key, $value := .config }}\n    \
                 {{ $key }}: {{ $value | quote }}\n    {{- end }}\n  {{- end }}";
    put(&block(text, "config", "MAP"), line, lines)
}

/// One document per element of a list, as helm's `range` makes them.
fn each(list: &str, text: &str) -> String {
    let text = text.replace("chart-namespace", "{{ $.Release.Namespace }}");
    format!("{{{{- range .Values.configuration.{list} }}}}\n---\n{text}\n{{{{- end }}}}")
}

fn storage_location(text: &str) -> String {
    let text = put(text, "name: default", "name: {{ .name | quote }}");
    let text = put(&text, "provider: aws", "provider: {{ .provider | quote }}");
    let text = put(&text, "chart-bucket", "{{ .bucket | quote }}");
    let text = put(&text, "chart-prefix", "{{ .prefix | quote }}");
    let text = optional(&text, "    prefix: {{ .prefix | quote }}", "prefix");
    let text = config(&text);
    let text = put(&text, "default: true", "default: {{ .default }}");
    let text = optional(&text, "  default: {{ .default }}", "default");
    let mode = "  {{- if .accessMode }}\n  accessMode: {{ .accessMode | quote }}\n  {{- end }}";
    let text = put(&text, "\nspec:\n", &format!("\nspec:\n{mode}\n"));
    let text = block(&text, "credential", "{{ toJson .credential }}");
    let line = "  credential: {{ toJson .credential }}";
    let secrets = "$.Values.credentials";
    let existing = format!(
        "  credential:\n    name: {{{{ {secrets}.existingSecret | quote }}}}\n    key: cloud"
    );
    let made = "  credential:\n    name: cloud-credentials\n    key: cloud";
    let otherwise = format!(
        "  {{{{- if .credential }}}}\n{line}\n  {{{{- else if {secrets}.existingSecret }}}}\n{existing}\n  \
         {{{{- else if {secrets}.secretContents.cloud }}}}\n{made}\n  {{{{- end }}}}"
    );
    each("backupStorageLocation", &put(&text, line, &otherwise))
}

fn snapshot_location(text: &str) -> String {
    let text = put(text, "name: default", "name: {{ .name | quote }}");
    let text = put(&text, "provider: aws", "provider: {{ .provider | quote }}");
    let text = config(&text);
    each("volumeSnapshotLocation", &text)
}

fn kind(text: &str) -> String {
    yaml(text)["kind"].as_str().expect("a kind").to_owned()
}

/// Files of the chart, by name.
pub(super) fn all() -> BTreeMap<String, String> {
    let flags = [
        "--image",
        "chart-image",
        "--replicas",
        "31337",
        "--download-url",
        "chart-url",
        "--pod-annotations",
        "a=b",
        "--sa-annotations",
        "a=b",
        "--provider",
        "aws",
        "--bucket",
        "chart-bucket",
        "--prefix",
        "chart-prefix",
        "--backup-location-config",
        "a=b",
        "--secret-file",
        "SECRET",
        "--snapshot-location-config",
        "a=b",
        "--prometheus-rule",
        "--authorize-requests",
        "strict",
        "--metrics-tls",
        "--role",
    ];
    let with_role = |role: &'static str| {
        let mut flags = flags.to_vec();
        flags.push(role);
        install("chart-namespace", &flags)
    };
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |file: &str, text: String| {
        let text = text.replace("chart-namespace", "{{ .Release.Namespace }}");
        files.entry(file.to_owned()).or_default().push(text);
    };
    for text in with_role("full") {
        let hooks = text.contains("salvor-chart-namespace-hooks");
        let requests = text.contains("salvor-chart-namespace-requests");
        match kind(&text).as_str() {
            // helm makes it: --create-namespace.
            "Namespace" => {}
            "ClusterRole" | "ClusterRoleBinding" if requests => {
                add("rbac.yaml", only_if(STRICT, &text));
            }
            "MutatingWebhookConfiguration" => add("server.yaml", only_if(STRICT, &text)),
            "ConfigMap" => add("server.yaml", text),
            "Secret" if text.contains("salvor-keys") => add("server.yaml", text),
            "ClusterRole" if !hooks => {
                for role in ["backup-only", "restore", "full"] {
                    let of_role = with_role(role)
                        .into_iter()
                        .find(|text| kind(text) == "ClusterRole");
                    let condition = format!("eq .Values.role \"{role}\"");
                    add("rbac.yaml", only_if(&condition, &of_role.expect("a role")));
                }
            }
            "ClusterRole" | "ClusterRoleBinding" if hooks => {
                add("rbac.yaml", only_if(".Values.hooks", &text));
            }
            "ServiceAccount" => {
                let annotations = "{{ toJson .Values.serviceAccount.annotations }}";
                add("rbac.yaml", block(&text, "annotations", annotations));
            }
            "ClusterRoleBinding" | "Role" | "RoleBinding" => add("rbac.yaml", text),
            "Secret" => {
                let encoded = "Y2hhcnQtY3JlZGVudGlhbHM=";
                let value = "{{ .Values.credentials.secretContents.cloud | b64enc | quote }}";
                add(
                    "location.yaml",
                    only_if(
                        ".Values.credentials.secretContents.cloud",
                        &put(&text, encoded, value),
                    ),
                );
            }
            "Deployment" => add("server.yaml", deployment(&without_mount(&text))),
            "Service" => {
                let port = ["- name: admission", "port: 8087", "targetPort: admission"];
                add("server.yaml", guard(&text, STRICT, &port));
            }
            "NetworkPolicy" => {
                let text = guard(&text, STRICT, &["- port: 8087", "protocol: TCP"]);
                add("server.yaml", only_if(".Values.networkPolicy", &text));
            }
            "PodDisruptionBudget" => {
                let version = "{{- if .Capabilities.APIVersions.Has \"policy/v1/PodDisruptionBudget\" }}\n\
                     apiVersion: policy/v1\n{{- else }}\napiVersion: policy/v1beta1\n{{- end }}";
                let text = put(&text, "apiVersion: policy/v1", version);
                add("server.yaml", only_if("gt (int .Values.replicas) 1", &text));
            }
            "BackupStorageLocation" => add("location.yaml", storage_location(&text)),
            "VolumeSnapshotLocation" => add("location.yaml", snapshot_location(&text)),
            "PrometheusRule" => {
                let rules = "{{ .Files.Get \"alerts.yaml\" | fromYaml | toJson }}";
                add(
                    "alerts.yaml",
                    only_if(".Values.prometheusRule", &block(&text, "spec", rules)),
                );
            }
            other => panic!("{other} has no place in the chart"),
        }
    }
    for text in node_agent() {
        add("node-agent.yaml", only_if(".Values.deployNodeAgent", &text));
    }
    let whole = |(file, texts): (String, Vec<String>)| {
        let head = "# Generated from `salvor install --dry-run -o yaml` by crates/salvor/tests/it/chart.rs.\n";
        (file, format!("{head}{}\n", texts.join("\n---\n")))
    };
    files.into_iter().map(whole).collect()
}

/// What node agents add.
fn node_agent() -> Vec<String> {
    let flags = ["--image", "chart-image", "--sa-annotations", "a=b"];
    let without = install("chart-namespace", &flags);
    let mut flags = flags.to_vec();
    flags.push("--use-node-agent");
    let with = install("chart-namespace", &flags).into_iter();
    let added = with.filter(|text| kind(text) != "Namespace" && !without.contains(text));
    added
        .map(|text| match kind(&text).as_str() {
            "ServiceAccount" => {
                let annotations = "{{ toJson .Values.serviceAccount.annotations }}";
                block(&text, "annotations", annotations)
            }
            "DaemonSet" => {
                let text = put(&text, "chart-image", "{{ .Values.image | quote }}");
                block(
                    &text,
                    "resources",
                    "{{ toJson .Values.nodeAgent.resources }}",
                )
            }
            _ => text,
        })
        .collect()
}

/// The chart's server reads credentials by the location alone: the file of Velero's is left out.
fn without_mount(_with: &str) -> String {
    let flags = [
        "--image",
        "chart-image",
        "--replicas",
        "31337",
        "--download-url",
        "chart-url",
        "--pod-annotations",
        "a=b",
        "--authorize-requests",
        "strict",
        "--metrics-tls",
    ];
    let mut documents = install("chart-namespace", &flags).into_iter();
    documents
        .find(|text| kind(text) == "Deployment")
        .expect("a deployment")
}

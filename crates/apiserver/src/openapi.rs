//! The small OpenAPI v2 document that kubectl needs: which kinds a `PATCH` knows, and that it takes
//! `dryRun` and `fieldValidation`.
//!
//! kubectl asks for the gnostic protobuf encoding only, so the few messages that matter are written here
//! by hand (openapiv2/OpenAPIv2.proto of gnostic). Without schemas `kubectl explain` says nothing.

use crate::registry::Registry;

/// Content type of the answer. In `Accept` the `@` form is used, in `Content-Type` this one.
pub(crate) const CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Field numbers of the messages that are written.
mod field {
    pub(super) mod document {
        pub(crate) const SWAGGER: u32 = 1;
        pub(crate) const INFO: u32 = 2;
        pub(crate) const PATHS: u32 = 8;
    }
    pub(super) mod info {
        pub(crate) const TITLE: u32 = 1;
        pub(crate) const VERSION: u32 = 2;
    }
    pub(super) mod paths {
        pub(crate) const PATH: u32 = 2;
    }
    pub(super) mod named {
        pub(crate) const NAME: u32 = 1;
        pub(crate) const VALUE: u32 = 2;
    }
    pub(super) mod path_item {
        pub(crate) const PATCH: u32 = 8;
    }
    pub(super) mod operation {
        pub(crate) const PARAMETERS: u32 = 8;
        pub(crate) const VENDOR_EXTENSION: u32 = 13;
    }
    pub(super) mod any {
        pub(crate) const YAML: u32 = 2;
    }
    pub(super) mod parameters_item {
        pub(crate) const PARAMETER: u32 = 1;
    }
    pub(super) mod parameter {
        pub(crate) const NON_BODY_PARAMETER: u32 = 2;
    }
    pub(super) mod non_body {
        pub(crate) const QUERY: u32 = 3;
    }
    pub(super) mod query {
        pub(crate) const IN: u32 = 2;
        pub(crate) const NAME: u32 = 4;
        pub(crate) const TYPE: u32 = 6;
    }
}

#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    fn message(self, field: u32, value: Message) -> Self {
        self.bytes(field, &value.0)
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The document for what is served now.
pub(crate) fn document(registry: &Registry, version: &str) -> Vec<u8> {
    let info = Message::default()
        .text(field::info::TITLE, "Kubernetes")
        .text(field::info::VERSION, version);
    let mut paths = Message::default();
    for resource in registry
        .resources()
        .filter(|resource| resource.allows("patch"))
    {
        for served in &resource.versions {
            let group = &resource.name.group;
            let root = if group.is_empty() {
                "/api".to_owned()
            } else {
                format!("/apis/{group}")
            };
            let scope = if resource.namespaced {
                "/namespaces/{namespace}"
            } else {
                ""
            };
            let path = format!(
                "{root}/{}{scope}/{}/{{name}}",
                served.name, resource.name.resource
            );
            let yaml = format!(
                "group: \"{group}\"\nversion: {}\nkind: {}\n",
                served.name, resource.kind
            );
            let any = Message::default().text(field::any::YAML, &yaml);
            let extension = Message::default()
                .text(field::named::NAME, "x-kubernetes-group-version-kind")
                .message(field::named::VALUE, any);
            let operation = Message::default()
                .message(field::operation::PARAMETERS, parameter("dryRun"))
                .message(field::operation::PARAMETERS, parameter("fieldValidation"))
                .message(field::operation::VENDOR_EXTENSION, extension);
            let item = Message::default().message(field::path_item::PATCH, operation);
            let named = Message::default()
                .text(field::named::NAME, &path)
                .message(field::named::VALUE, item);
            paths = paths.message(field::paths::PATH, named);
        }
    }
    Message::default()
        .text(field::document::SWAGGER, "2.0")
        .message(field::document::INFO, info)
        .message(field::document::PATHS, paths)
        .0
}

fn parameter(name: &str) -> Message {
    let query = Message::default()
        .text(field::query::IN, "query")
        .text(field::query::NAME, name)
        .text(field::query::TYPE, "string");
    let non_body = Message::default().message(field::non_body::QUERY, query);
    let parameter = Message::default().message(field::parameter::NON_BODY_PARAMETER, non_body);
    Message::default().message(field::parameters_item::PARAMETER, parameter)
}

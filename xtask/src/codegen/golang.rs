//! Type declarations of one Go package, as far as the API packages use the language.
//!
//! The files are formatted by gofmt, so a line is a unit: a comment, a field, the start or the end
//! of a declaration. Anything else (functions, constants, variables) is skipped. A declaration
//! this parser does not understand inside a struct is an error, never a guess.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One Go package that defines an API version.
pub(super) struct Package {
    /// Import path, for example `k8s.io/api/core/v1`.
    pub(super) import: String,
    /// Folder name of the group, for example `rbac`.
    pub(super) folder: String,
    /// Version, for example `v1beta1`.
    pub(super) version: String,
    /// API group from the package's `GroupName`; `None` for packages without one.
    pub(super) group: Option<String>,
    /// Declared types by name.
    pub(super) types: BTreeMap<String, Declaration>,
    /// Imports of all files: local name to import path.
    pub(super) imports: BTreeMap<String, String>,
    /// Text of `zz_generated.prerelease-lifecycle.go`, empty if there is none.
    pub(super) lifecycle: String,
}

/// One declared type with the `+` markers of its comments.
pub(super) struct Declaration {
    pub(super) markers: Vec<String>,
    pub(super) body: Body,
}

/// What is declared.
pub(super) enum Body {
    /// A struct with its fields in source order.
    Struct(Vec<Field>),
    /// Any other type expression: `string`, `[]Taint`, `map[string]string`.
    Alias(String),
}

/// One struct field.
pub(super) struct Field {
    /// Go name; for an embedded type the type's own name.
    pub(super) name: String,
    /// Type expression as written.
    pub(super) expression: String,
    /// Raw struct tag, without the back quotes.
    pub(super) tag: String,
    /// Markers of the field's comment, without the `+`.
    pub(super) markers: Vec<String>,
    /// Whether the field is embedded.
    pub(super) embedded: bool,
}

impl Field {
    /// The value of one key of the struct tag.
    pub(super) fn tag_value(&self, key: &str) -> Option<&str> {
        let start = self.tag.find(&format!("{key}:\""))? + key.len() + 2;
        let rest = self.tag.get(start..)?;
        rest.get(..rest.find('"')?)
    }

    /// The value of the marker `name=value`, empty for a marker without value.
    pub(super) fn marker(&self, name: &str) -> Option<&str> {
        marker(&self.markers, name)
    }
}

impl Declaration {
    /// The value of the marker `name=value`, empty for a marker without value.
    pub(super) fn marker(&self, name: &str) -> Option<&str> {
        marker(&self.markers, name)
    }

    /// Fields of a struct; none for other types.
    pub(super) fn fields(&self) -> &[Field] {
        match &self.body {
            Body::Struct(fields) => fields,
            Body::Alias(_) => &[],
        }
    }
}

/// Reads all hand-written files of the package in `directory`.
pub(super) fn parse_package(
    directory: &Path,
    import: String,
    folder: &str,
    version: &str,
) -> Result<Package, String> {
    let mut package = Package {
        import,
        folder: folder.to_owned(),
        version: version.to_owned(),
        group: None,
        types: BTreeMap::new(),
        imports: BTreeMap::new(),
        lifecycle: String::new(),
    };
    let failed = |error: std::io::Error| format!("read {}: {error}", directory.display());
    let mut files = fs::read_dir(directory)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    files.sort();
    for path in files {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name == "zz_generated.prerelease-lifecycle.go" {
            package.lifecycle = fs::read_to_string(&path).map_err(failed)?;
        }
        let generated = name.starts_with("zz_generated") || name.starts_with("generated.");
        if !name.ends_with(".go") || name.ends_with("_test.go") || generated {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(failed)?;
        package
            .parse(&text)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(package)
}

impl Package {
    fn parse(&mut self, text: &str) -> Result<(), String> {
        let mut lines = text.lines().enumerate();
        // Markers may stand in a comment of their own, an empty line above the type's comment.
        let mut markers: Vec<String> = Vec::new();
        while let Some((_, line)) = lines.next() {
            if let Some(comment) = line.strip_prefix("//") {
                markers.extend(marker_of(comment));
                continue;
            }
            if line.trim().is_empty() {
                continue;
            }
            let own = std::mem::take(&mut markers);
            if let Some(value) = line.strip_prefix("const GroupName = ") {
                self.group = Some(value.trim_matches('"').to_owned());
            } else if line == "import (" {
                for (_, line) in lines.by_ref().take_while(|(_, line)| *line != ")") {
                    self.add_import(line.trim());
                }
            } else if let Some(import) = line.strip_prefix("import ") {
                self.add_import(import);
            } else if line.starts_with("/*") && !line.contains("*/") {
                lines.by_ref().find(|(_, line)| line.contains("*/"));
            } else if let Some(declaration) = line.strip_prefix("type ") {
                let Some((name, rest)) = declaration.split_once(' ') else {
                    continue;
                };
                let body = if rest == "struct {" {
                    Body::Struct(fields(&mut lines)?)
                } else if rest.starts_with("struct") {
                    Body::Struct(Vec::new())
                } else if rest.ends_with('{') {
                    lines.by_ref().find(|(_, line)| *line == "}");
                    continue;
                } else {
                    Body::Alias(expression(rest.strip_prefix("= ").unwrap_or(rest)))
                };
                self.types
                    .insert(name.to_owned(), Declaration { markers: own, body });
            }
        }
        Ok(())
    }

    fn add_import(&mut self, line: &str) {
        let mut parts = line.split('"');
        let (Some(alias), Some(path)) = (parts.next(), parts.next()) else {
            return;
        };
        let alias = match alias.trim() {
            "" => path.rsplit('/').next().unwrap_or(path),
            alias => alias,
        };
        self.imports.insert(alias.to_owned(), path.to_owned());
    }
}

fn fields<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<Vec<Field>, String> {
    let mut fields = Vec::new();
    let mut markers: Vec<String> = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line == "}" {
            return Ok(fields);
        }
        let line = line.trim();
        if line.starts_with("/*") {
            if !line.contains("*/") {
                lines.find(|(_, line)| line.contains("*/"));
            }
            continue;
        }
        if let Some(comment) = line.strip_prefix("//") {
            markers.extend(marker_of(comment));
            continue;
        }
        if line.is_empty() {
            markers.clear();
            continue;
        }
        let unknown = || format!("line {}: cannot read the field `{line}`", number + 1);
        let (declaration, tag) = match line.split_once('`') {
            Some((declaration, rest)) => (
                declaration.trim(),
                rest.split('`').next().unwrap_or_default(),
            ),
            None => (line.split("//").next().unwrap_or_default().trim(), ""),
        };
        if declaration.replace("interface{}", "").contains('{') {
            return Err(unknown());
        }
        let mut words = declaration.split_whitespace();
        let first = words.next().ok_or_else(unknown)?;
        let rest = words.collect::<Vec<_>>().join(" ");
        let embedded = rest.is_empty();
        fields.push(Field {
            name: first.rsplit(['.', '*']).next().unwrap_or(first).to_owned(),
            expression: if embedded { first.to_owned() } else { rest },
            tag: tag.to_owned(),
            markers: std::mem::take(&mut markers),
            embedded,
        });
    }
    Err("the file ends inside a struct".to_owned())
}

fn expression(text: &str) -> String {
    text.split("//")
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn marker_of(comment: &str) -> Option<String> {
    comment
        .trim()
        .strip_prefix('+')
        .map(|marker| marker.trim().to_owned())
}

fn marker<'a>(markers: &'a [String], name: &str) -> Option<&'a str> {
    markers
        .iter()
        .find_map(|marker| match marker.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (marker == name).then_some(""),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const GroupName = "example.io"

// +notForTheType
const limit = 5

// +genclient
// +genclient:nonNamespaced

// Rack holds shelves.
type Rack struct {
	metav1.TypeMeta `json:""`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	/* Old string `json:"old"`
	 */
	// Detached comment.
	// +listType=set

	// +patchStrategy=merge
	// +listType=map
	// +listMapKey=port
	// +listMapKey=protocol
	Ports []Port `json:"ports,omitempty" patchStrategy:"merge" patchMergeKey:"port"` // trailing
	Owner *types.UID `json:"owner"`
}

type Port map[string]string // free

func (r *Rack) String() string {
	return "type Hidden struct {"
}
"#;

    fn parsed() -> Package {
        let mut package = Package {
            import: "example.io/api/v1".to_owned(),
            folder: "api".to_owned(),
            version: "v1".to_owned(),
            group: None,
            types: BTreeMap::new(),
            imports: BTreeMap::new(),
            lifecycle: String::new(),
        };
        package.parse(SOURCE).expect("the source is well formed");
        package
    }

    #[test]
    fn reads_group_imports_and_type_markers_across_an_empty_line() {
        let package = parsed();
        assert_eq!(package.group.as_deref(), Some("example.io"));
        assert_eq!(
            package.imports.get("types").map(String::as_str),
            Some("k8s.io/apimachinery/pkg/types")
        );
        let names: Vec<&str> = package.types.keys().map(String::as_str).collect();
        assert_eq!(names, ["Port", "Rack"]);
        let rack = package.types.get("Rack").expect("declared above");
        assert_eq!(rack.markers, ["genclient", "genclient:nonNamespaced"]);
    }

    #[test]
    fn reads_fields_with_their_own_markers_and_tags() {
        let package = parsed();
        let fields = package.types.get("Rack").expect("declared above").fields();
        let seen: Vec<(&str, &str, bool)> = fields
            .iter()
            .map(|field| {
                (
                    field.name.as_str(),
                    field.expression.as_str(),
                    field.embedded,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("TypeMeta", "metav1.TypeMeta", true),
                ("ObjectMeta", "metav1.ObjectMeta", true),
                ("Ports", "[]Port", false),
                ("Owner", "*types.UID", false),
            ]
        );
        let ports = fields.get(2).expect("four fields");
        assert_eq!(ports.marker("listType"), Some("map"));
        assert_eq!(ports.tag_value("patchMergeKey"), Some("port"));
        assert_eq!(ports.tag_value("json"), Some("ports,omitempty"));
        assert_eq!(ports.markers.len(), 4);
    }

    #[test]
    fn refuses_a_struct_it_cannot_read() {
        let mut package = parsed();
        let nested = "type A struct {\n\tB struct {\n\t\tC int\n\t} `json:\"b\"`\n}\n";
        let error = package
            .parse(nested)
            .expect_err("anonymous structs are not supported");
        assert!(error.contains("line 2"), "{error}");
        let error = package
            .parse("type A struct {\n")
            .expect_err("the end is missing");
        assert!(error.contains("ends inside"), "{error}");
    }
}

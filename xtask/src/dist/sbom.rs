// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask dist sbom DIR`: the bill of materials of the programs, in CycloneDX's JSON.
//!
//! `cargo tree` lists the crates of a build for arm64, by the rules of the build itself, and `Cargo.lock` has the
//! digests of their archives. The document has no time and no random number: the same lock file gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use toml::de::DeTable;

use super::source;
use crate::cache::{self, VERSION, Workspace};
use crate::progress::output;
use crate::tested::Outcome;
use crate::tools::Python;

/// Programs that are shipped.
const PROGRAMS: [&str; 3] = ["protheap-bind", "protheapctl", "protheapd"];
/// Target of the build.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Version of CycloneDX, in the document and in the API of its Python library.
const SPECIFICATION: (&str, &str) = ("1.6", "V1_6");
/// The Python library, which includes the schemas.
const VALIDATOR: [&str; 1] = ["cyclonedx-python-lib[json-validation]==11.12.0"];
/// Script that validates a file and prints the errors.
const VALIDATE: &str = "\
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
validator = JsonStrictValidator(SchemaVersion[sys.argv[2]])
error = validator.validate_str(open(sys.argv[1], encoding='utf-8').read())
sys.exit(error and f'{error.data.json_path}: {error.data.message}')
";

/// Writes the document into a directory; returns its path.
pub(crate) fn write(workspace: &Workspace, directory: &Path) -> Result<PathBuf> {
    let document = document(workspace)?;
    let name = format!("{}.cdx.json", source::name());
    let path = directory.join(name);
    cache::write(&path, text(&document)?)?;
    Ok(path)
}

/// Makes the document and validates it.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome> {
    let path = write(workspace, &workspace.checkout.join("sbom"))?;
    let python = match Python::prepare(workspace, "cyclonedx", &VALIDATOR) {
        Ok(python) => python,
        Err(error) => return Ok(Outcome::Skipped(format!("without the schema: {error:#}"))),
    };
    output(python.command().args(["-c", VALIDATE]).arg(&path).arg(SPECIFICATION.1))
        .with_context(|| format!("{} is not CycloneDX {}", path.display(), SPECIFICATION.0))?;
    Ok(Outcome::Good)
}

/// Returns the whole document.
fn document(workspace: &Workspace) -> Result<Value> {
    let built = Graph::parse(&tree(workspace, "normal")?)?;
    let linked = Graph::parse(&tree(workspace, "normal,no-proc-macro")?)?;
    let lock = Lock::parse(&cache::read(&workspace.root.join("Cargo.lock"))?)?;

    let mut components = Vec::new();
    let mut dependencies = vec![json!({ "ref": "protheap", "dependsOn": built.roots })];
    for (id, package) in &built.packages {
        components.push(component(id, package, linked.packages.contains_key(id), &lock)?);
        dependencies.push(json!({ "ref": id, "dependsOn": package.dependencies }));
    }
    let mut document = json!({
        "$schema": format!("http://cyclonedx.org/schema/bom-{}.schema.json", SPECIFICATION.0),
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION.0,
        "version": 1,
        "metadata": {
            // Phase of the lifecycle: the document describes the lock file, not an observed build.
            "lifecycles": [{ "phase": "pre-build" }],
            "tools": { "components": [
                { "type": "application", "name": "cargo xtask dist sbom", "version": VERSION },
            ] },
            "component": {
                "type": "application",
                "bom-ref": "protheap",
                "name": "protheap",
                "version": VERSION,
                "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
            },
            "properties": [
                { "name": "protheap:target", "value": TARGET },
                { "name": "protheap:unlisted", "value": "libc, libudev, Rust's standard library" },
            ],
        },
        "components": components,
        "dependencies": dependencies,
    });
    let serial = serial(workspace, &document)?;
    document["serialNumber"] = json!(format!("urn:uuid:{serial}"));
    Ok(document)
}

/// Returns the component of a crate.
fn component(id: &str, package: &Package, linked: bool, lock: &Lock) -> Result<Value> {
    let program = PROGRAMS.contains(&package.name.as_str());
    let mut component = json!({
        "type": if program { "application" } else { "library" },
        "bom-ref": id,
        "name": package.name,
        "version": package.version,
        // Macros generate code of the programs, and are not part of them.
        "scope": if linked { "required" } else { "excluded" },
        "licenses": [{ "expression": package.license }],
    });
    if !package.ours {
        let checksum = lock.checksum(package)?;
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        // In a package URL, a plus would be a space.
        let version = package.version.replace('+', "%2B");
        component["purl"] = json!(format!("pkg:cargo/{}@{version}", package.name));
    }
    Ok(component)
}

/// Returns a UUID of the document's content: version 8 of RFC 9562, whose other bits are ours.
fn serial(workspace: &Workspace, document: &Value) -> Result<String> {
    let path = workspace.checkout.join("sbom/unnumbered.json");
    cache::write(&path, text(document)?)?;
    let digest = output(Command::new("sha256sum").arg(&path))?;
    uuid(&digest).with_context(|| format!("sha256sum printed {digest:?}"))
}

/// Makes a UUID from the first hexadecimal digits of a digest.
fn uuid(digest: &str) -> Option<String> {
    let part = |from, to| digest.get(from..to);
    let variant = u8::from_str_radix(part(16, 17)?, 16).ok()? & 3 | 8;
    let (first, second, third) = (part(0, 8)?, part(8, 12)?, part(13, 16)?);
    Some(format!("{first}-{second}-8{third}-{variant:x}{}-{}", part(17, 20)?, part(20, 32)?))
}

fn text(document: &Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}

/// Returns the output of `cargo tree` for the programs, without its abbreviations.
fn tree(workspace: &Workspace, edges: &str) -> Result<String> {
    let mut tree = workspace.cargo();
    tree.args(["tree", "--locked", "--quiet", "--target", TARGET, "--edges", edges]);
    tree.args(["--no-dedupe", "--prefix", "depth", "--format", "|{p}|{l}"]);
    tree.args(PROGRAMS.iter().flat_map(|program| ["--package", program]));
    output(&mut tree)
}

/// A crate.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
    /// An SPDX expression.
    license: String,
    /// The crate is part of this checkout.
    ours: bool,
    dependencies: BTreeSet<String>,
}

/// Crates and their dependencies, by name and version.
#[derive(Debug, Default)]
struct Graph {
    packages: BTreeMap<String, Package>,
    roots: BTreeSet<String>,
}

impl Graph {
    /// Parses lines of `DEPTH|NAME vVERSION (WHAT)|LICENCE`, each below the crate that depends on it.
    fn parse(text: &str) -> Result<Self> {
        let mut graph = Self::default();
        let mut path: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (depth, package) =
                parse_line(line).with_context(|| format!("cargo tree printed {line:?}"))?;
            if package.license.is_empty() {
                bail!("{} {} has no licence", package.name, package.version);
            }
            let id = format!("{}@{}", package.name, package.version);
            path.truncate(depth);
            let parent = path.last().and_then(|parent| graph.packages.get_mut(parent));
            match parent {
                Some(parent) => parent.dependencies.insert(id.clone()),
                None => graph.roots.insert(id.clone()),
            };
            path.push(id.clone());
            graph.packages.entry(id).or_insert(package);
        }
        Ok(graph)
    }
}

fn parse_line(line: &str) -> Option<(usize, Package)> {
    let mut fields = line.split('|');
    let depth = fields.next()?.parse().ok()?;
    let (name, rest) = fields.next()?.split_once(" v")?;
    let (version, what) = rest.split_once(' ').unwrap_or((rest, ""));
    let package = Package {
        name: name.to_owned(),
        version: version.to_owned(),
        // The way of writing it before SPDX expressions.
        license: fields.next()?.replace('/', " OR "),
        ours: what.contains("(/"),
        dependencies: BTreeSet::new(),
    };
    Some((depth, package))
}

/// SHA-256 of the archives of crates outside of this checkout, by name and version.
#[derive(Debug)]
struct Lock(BTreeMap<(String, String), String>);

impl Lock {
    /// Reads Cargo.lock.
    fn parse(text: &str) -> Result<Self> {
        let table = DeTable::parse(text).context("failed to read Cargo.lock")?;
        let packages = table.get_ref().get("package").and_then(|p| p.get_ref().as_array());
        let mut checksums = BTreeMap::new();
        for package in packages.context("Cargo.lock lists no packages")? {
            let field =
                |name: &str| Some(package.get_ref().get(name)?.get_ref().as_str()?.to_owned());
            if let (Some(name), Some(version), Some(checksum)) =
                (field("name"), field("version"), field("checksum"))
            {
                checksums.insert((name, version), checksum);
            }
        }
        Ok(Self(checksums))
    }

    fn checksum(&self, package: &Package) -> Result<&str> {
        let key = (package.name.clone(), package.version.clone());
        let checksum = self.0.get(&key).map(String::as_str);
        checksum.with_context(|| format!("Cargo.lock has no checksum of {}", package.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
0|protheapd v0.1.0 (/src/daemon/service)|MIT OR Apache-2.0
1|serde v1.0.2|MIT/Apache-2.0
2|serde_derive v1.0.2 (proc-macro)|MIT OR Apache-2.0
1|toml v1.2.1+spec-1.1.0|MIT

0|protheap-bind v0.1.0 (/src/daemon/bind)|MIT OR Apache-2.0
1|toml v1.2.1+spec-1.1.0|MIT
";

    fn graph() -> Graph {
        Graph::parse(TREE).unwrap()
    }

    #[test]
    fn a_tree_becomes_a_graph() {
        let graph = graph();
        let names = |ids: &BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(names(&graph.roots), "protheap-bind@0.1.0 protheapd@0.1.0");
        let dependencies = |id: &str| names(&graph.packages[id].dependencies);
        assert_eq!(dependencies("protheapd@0.1.0"), "serde@1.0.2 toml@1.2.1+spec-1.1.0");
        assert_eq!(dependencies("serde@1.0.2"), "serde_derive@1.0.2");
        assert_eq!(graph.packages["serde@1.0.2"].license, "MIT OR Apache-2.0");
        assert!(graph.packages["protheapd@0.1.0"].ours);
        assert!(!graph.packages["serde_derive@1.0.2"].ours);
        assert!(Graph::parse("0|nameless|MIT").is_err());
        assert!(Graph::parse("0|unlicensed v1.0.0|").is_err());
    }

    #[test]
    fn external_crates_have_digest_and_url() {
        let lock = Lock::parse(
            "[[package]]\nname = \"toml\"\nversion = \"1.2.1+spec-1.1.0\"\nchecksum = \"c0ffee\"\n\
             [[package]]\nname = \"protheapd\"\nversion = \"0.1.0\"\n",
        )
        .unwrap();
        let graph = graph();
        let of = |id: &str, linked| component(id, &graph.packages[id], linked, &lock);
        let toml = of("toml@1.2.1+spec-1.1.0", true).unwrap();
        assert_eq!(toml["purl"], "pkg:cargo/toml@1.2.1%2Bspec-1.1.0");
        assert_eq!(toml["hashes"][0]["content"], "c0ffee");
        assert_eq!(toml["scope"], "required");
        let ours = of("protheapd@0.1.0", true).unwrap();
        assert_eq!(ours["type"], "application");
        assert!(ours.get("purl").is_none() && ours.get("hashes").is_none());
        // It is not in the lock file.
        assert!(of("serde_derive@1.0.2", false).is_err());
    }

    #[test]
    fn serial_number_is_a_uuid() {
        let digest = "ffffffffffffffffffffffffffffffffffffffff  file";
        let expected = "ffffffff-ffff-8fff-bfff-ffffffffffff";
        assert_eq!(uuid(digest).as_deref(), Some(expected));
        assert_eq!(uuid("00"), None);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vendored crates. Only those that a Linux build needs have contents.
//!
//! `Cargo.lock` has the crates for all systems, and cargo requires each with the checksum of its archive. For other
//! systems (import libraries for Windows, mostly), an empty library of the same name, version and features suffices, as
//! `cargo vendor-filterer` makes it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use toml::de::DeTable;

use crate::cache::{self, Workspace};
use crate::progress::output;

/// Systems of builds and of their hosts. The architectures of distributions differ from these in nothing that a crate
/// depends on.
pub(super) const TARGETS: [&str; 7] = [
    "aarch64-unknown-linux-gnu",
    "aarch64-unknown-linux-musl",
    "armv7-unknown-linux-gnueabihf",
    "i686-unknown-linux-gnu",
    "riscv64gc-unknown-linux-gnu",
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
];
/// Suffixes of binary libraries.
const LIBRARIES: [&str; 6] = [".a", ".dll", ".exe", ".lib", ".o", ".so"];

/// Files of an emptied crate.
const STUB: [&str; 3] = [".cargo-checksum.json", "Cargo.toml", "src/lib.rs"];
/// Name of the crates in messages.
const VENDORED: &str = "the vendored crates";

/// Name and version of a crate.
type Id = (String, String);

/// Empties the crates in a directory that no Linux needs; returns their number.
pub(super) fn filter(workspace: &Workspace, dir: &Path) -> Result<usize> {
    let needed = needed(workspace)?;
    let mut emptied = 0;
    for entry in fs::read_dir(dir).with_context(|| format!("failed to read {}", dir.display()))? {
        let path = entry?.path();
        if !needed.contains(&id(&path)?) {
            empty(&path).with_context(|| format!("failed to empty {}", path.display()))?;
            emptied += 1;
        }
    }
    Ok(emptied)
}

/// Checks that the crates have no binary library, and that those for other systems are empty.
pub(super) fn check(workspace: &Workspace, dir: &Path) -> Result<()> {
    let needed = needed(workspace)?;
    for path in cache::relative(dir)? {
        let name = path.to_string_lossy();
        if LIBRARIES.iter().any(|end| name.ends_with(end)) {
            bail!("{VENDORED} have the binary file {name}");
        }
    }
    for entry in fs::read_dir(dir).with_context(|| format!("failed to read {}", dir.display()))? {
        let path = entry?.path();
        if !needed.contains(&id(&path)?) {
            let files = cache::relative(&path)?;
            if files != STUB.map(PathBuf::from) || fs::metadata(path.join("src/lib.rs"))?.len() > 0
            {
                bail!("{VENDORED} have {}, which no Linux needs", path.display());
            }
        }
    }
    Ok(())
}

/// Returns the crates that a build, a test or a build script on one of [`TARGETS`] uses.
fn needed(workspace: &Workspace) -> Result<BTreeSet<Id>> {
    let mut needed = BTreeSet::new();
    for target in TARGETS {
        let mut cargo = workspace.cargo();
        cargo.args(["metadata", "--format-version=1", "--all-features", "--locked"]);
        let text = output(cargo.args(["--filter-platform", target]))?;
        needed.extend(resolved(&text).with_context(|| format!("crates of {target}"))?);
    }
    Ok(needed)
}

/// Returns the crates that `cargo metadata` has resolved.
fn resolved(text: &str) -> Result<Vec<Id>> {
    let metadata: Value =
        serde_json::from_str(text).context("failed to parse the output of cargo metadata")?;
    let list = |pointer| metadata.pointer(pointer).and_then(Value::as_array).context("no list");
    let ids: BTreeSet<_> =
        list("/resolve/nodes")?.iter().filter_map(|node| node["id"].as_str()).collect();
    let packages = list("/packages")?.iter();
    let packages =
        packages.filter(|package| package["id"].as_str().is_some_and(|id| ids.contains(id)));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    packages
        .map(|p| text(&p["name"]).zip(text(&p["version"])).context("a package without a name"))
        .collect()
}

/// Returns name and version of the crate in a directory.
fn id(path: &Path) -> Result<Id> {
    let path = path.join("Cargo.toml");
    let text = cache::read(&path)?;
    let manifest =
        DeTable::parse(&text).with_context(|| format!("failed to read {}", path.display()))?;
    let package =
        manifest.get_ref().get("package").and_then(|package| package.get_ref().as_table());
    let text = |key| Some(package?.get(key)?.get_ref().as_str()?.to_owned());
    text("name").zip(text("version")).with_context(|| format!("{} names no crate", path.display()))
}

/// Reduces a crate to what cargo resolves by, and an empty library.
fn empty(path: &Path) -> Result<()> {
    let checksum = path.join(".cargo-checksum.json");
    let old: Value = serde_json::from_str(&cache::read(&checksum)?)?;
    let manifest = emptied(&cache::read(&path.join("Cargo.toml"))?);
    cache::remove_dir(path)?;
    cache::write(&path.join("Cargo.toml"), manifest)?;
    cache::write(&path.join("src/lib.rs"), "")?;
    // Cargo compares the digest of the archive with Cargo.lock, and those of the listed files with the files.
    cache::write(&checksum, json!({ "files": {}, "package": old["package"] }).to_string())
}

/// Returns a manifest, as cargo writes it for an archive, without files and without what needs a build script.
fn emptied(manifest: &str) -> String {
    let (mut section, mut kept) = ("", String::new());
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let key = line.split(" = ").next().unwrap_or_default();
        let is_file = match section {
            "[[bench]]" | "[[bin]]" | "[[example]]" | "[[test]]" => true,
            "[package]" => matches!(key, "build" | "license-file" | "links" | "readme"),
            "[lib]" => key == "path",
            _ => false,
        };
        if !is_file {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_resolved_packages_are_needed() {
        let text = r#"{"packages": [{"id": "1", "name": "udev", "version": "0.9.3"},
            {"id": "2", "name": "windows-sys", "version": "0.61.2"}],
            "resolve": {"nodes": [{"id": "1"}]}}"#;
        assert_eq!(resolved(text).unwrap(), [("udev".to_owned(), "0.9.3".to_owned())]);
        assert!(resolved("{}").is_err());
    }

    #[test]
    fn emptied_crate_still_resolves() {
        let path = std::env::temp_dir().join(format!("xtask-vendored-{}", std::process::id()));
        cache::remove_dir(&path).unwrap();
        let toml = "[package]\nname = \"windows-sys\"\nversion = \"1.0.0\"\nbuild = \"build.rs\"\nlinks = \"windows\"\n\n[[test]]\n\
                    name = \"x\"\npath = \"tests/x.rs\"\n\n[lib]\nname = \"windows_sys\"\npath = \"src/windows.rs\"\n\n\
                    [features]\nA = [\n    \"B\",\n]\n";
        cache::write(&path.join("Cargo.toml"), toml).unwrap();
        cache::write(&path.join("lib/windows.lib"), "binary").unwrap();
        let checksum = r#"{"files": {"lib/windows.lib": "00"}, "package": "abcd"}"#;
        cache::write(&path.join(".cargo-checksum.json"), checksum).unwrap();
        empty(&path).unwrap();
        assert_eq!(id(&path).unwrap(), ("windows-sys".to_owned(), "1.0.0".to_owned()));
        assert_eq!(
            cache::read(&path.join("Cargo.toml")).unwrap(),
            "[package]\nname = \"windows-sys\"\nversion = \"1.0.0\"\n\n[lib]\nname = \"windows_sys\"\n\n\
             [features]\nA = [\n    \"B\",\n]\n"
        );
        let files = cache::relative(&path).unwrap();
        assert_eq!(files, STUB.map(PathBuf::from));
        let checksum = cache::read(&path.join(".cargo-checksum.json")).unwrap();
        assert_eq!(checksum, r#"{"files":{},"package":"abcd"}"#);
        cache::remove_dir(&path).unwrap();
    }
}

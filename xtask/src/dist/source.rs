// SPDX-License-Identifier: MIT OR Apache-2.0
//! The source for distributions: all files that git tracks, and the crates that the build needs, for a build without
//! the network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::cache::{self, Digest, VERSION, Workspace};
use crate::progress::{Step, output};
use crate::tools;

/// Newest version of cargo-vendor-filterer that was tested.
const FILTERER: &str = "0.5.18";
/// Systems of builds and of their hosts. The architectures of distributions differ from these in nothing that a crate
/// depends on.
const TARGETS: [&str; 7] = [
    "aarch64-unknown-linux-gnu",
    "aarch64-unknown-linux-musl",
    "armv7-unknown-linux-gnueabihf",
    "i686-unknown-linux-gnu",
    "riscv64gc-unknown-linux-gnu",
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
];
/// Suffixes of binary libraries.
const LIBRARIES: [&str; 6] = ["a", "dll", "exe", "lib", "o", "so"];
/// Directory of the crates in a tree.
const VENDOR: &str = "vendor";
/// Cargo's configuration, which the tree has already.
const CONFIG: &str = ".cargo/config.toml";
/// Text added to it, to build from the crates in the tree.
const VENDORED: &str =
    "\n[source.crates-io]\nreplace-with = \"vendor\"\n\n[source.vendor]\ndirectory = \"vendor\"\n";

/// Returns name and version, as in the names of archives.
pub(crate) fn name() -> String {
    format!("protheap-{VERSION}")
}

/// Writes both archives into `dir`; returns their paths. The same commit gives the same bytes.
pub(crate) fn archives(workspace: &Workspace, dir: &Path) -> Result<Vec<PathBuf>> {
    let _lock = workspace.lock()?;
    Ok(vec![own(workspace, dir)?, crates(workspace, dir)?])
}

/// Writes the archive of the tracked files. The caller has locked the cache.
pub(crate) fn own(workspace: &Workspace, dir: &Path) -> Result<PathBuf> {
    let name = name();
    let path = dir.join(format!("{name}.tar.xz"));
    archive(workspace, &workspace.root, &listed(workspace)?, &format!("{name}/"), &path)?;
    Ok(path)
}

/// Writes the archive of the crates, which is unpacked in the tree of the other. The caller has locked the cache.
pub(crate) fn crates(workspace: &Workspace, dir: &Path) -> Result<PathBuf> {
    let vendor = vendor(workspace)?;
    let path = dir.join(format!("{}-vendor.tar.xz", name()));
    archive(workspace, &vendor, &cache::relative(&vendor)?, &format!("{VENDOR}/"), &path)?;
    Ok(path)
}

/// Returns the existing files that git tracks, by their path in the checkout, sorted. The boards of tests include
/// links.
fn listed(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let list =
        workspace.git(&["ls-files", "-z"]).context("failed to list the files of the packages")?;
    let mut paths: Vec<_> = list.split_terminator('\0').map(PathBuf::from).collect();
    paths.retain(|path| workspace.root.join(path).symlink_metadata().is_ok());
    paths.sort();
    Ok(paths)
}

/// Returns the tracked files, without links to directories.
pub(crate) fn tracked(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let mut paths = listed(workspace)?;
    paths.retain(|path| workspace.root.join(path).is_file());
    Ok(paths)
}

/// Returns a digest of the tracked files below these paths and their contents.
pub(crate) fn digest(workspace: &Workspace, below: &[&str]) -> Result<Digest> {
    let mut digest = Digest::new();
    for path in tracked(workspace)? {
        if below.iter().any(|dir| path.starts_with(dir)) {
            digest.add(path.as_os_str().as_encoded_bytes());
            digest.add(&cache::bytes(&workspace.root.join(path))?);
        }
    }
    Ok(digest)
}

/// Makes a tree of the tracked files, with their crates and configured to use them. Unchanged files keep their time, so
/// that a build continues from the last one. The caller has locked the cache.
pub(crate) fn unpacked(workspace: &Workspace) -> Result<PathBuf> {
    let tree = workspace.checkout.join("source").join(name());
    let vendor = vendor(workspace)?;
    let paths: BTreeSet<_> = tracked(workspace)?.into_iter().collect();
    for path in &paths {
        let mut content = cache::bytes(&workspace.root.join(path))?;
        if path == Path::new(CONFIG) {
            content.extend_from_slice(VENDORED.as_bytes());
        }
        let copy = tree.join(path);
        if fs::read(&copy).is_ok_and(|old| old == content) {
            continue;
        }
        cache::write(&copy, content)?;
        let mode = fs::metadata(workspace.root.join(path))?.permissions();
        fs::set_permissions(&copy, mode)?;
    }
    for path in cache::relative(&tree)? {
        if !path.starts_with(VENDOR) && !paths.contains(&path) {
            let path = tree.join(path);
            fs::remove_file(&path)?;
        }
    }
    // The crates of another Cargo.lock have another directory.
    let (copy, stamp) = (tree.join(VENDOR), tree.with_extension("vendor"));
    let wanted = vendor.display().to_string();
    if cache::read(&stamp).ok().as_deref() != Some(&wanted) || !copy.is_dir() {
        cache::remove_dir(&copy)?;
        output(Command::new("cp").arg("-al").arg(&vendor).arg(&copy))?;
        cache::write(&stamp, wanted)?;
    }
    Ok(tree)
}

/// Returns the directory of the crates of Cargo.lock, vendored once for each. `Cargo.lock` has the crates for all
/// systems, and cargo requires each of them: those that no Linux needs are empty libraries.
fn vendor(workspace: &Workspace) -> Result<PathBuf> {
    let dir = workspace.cache.join("vendor").join(crates_digest(workspace)?);
    cache::once(&dir, |part| {
        // It makes the directory itself.
        cache::remove_dir(part)?;
        let mut filter = Command::new(tools::cargo(workspace, "cargo-vendor-filterer", FILTERER)?);
        filter.args(["--all-features", "--versioned-dirs"]);
        filter.args(TARGETS.iter().flat_map(|target| ["--platform", target]));
        filter.arg(part).current_dir(&workspace.root);
        Step::new("fetching the crates", 30).run(filter, &workspace.log("vendor"))
    })?;
    Ok(dir)
}

/// Checks that the vendored crates of a tree have no binary library, which crates for other systems have.
pub(super) fn check_vendored(tree: &Path) -> Result<()> {
    let is_binary =
        |path: &&PathBuf| path.extension().is_some_and(|e| LIBRARIES.iter().any(|l| e == *l));
    match cache::files(&tree.join(VENDOR))?.iter().find(is_binary) {
        Some(path) => bail!("the vendored crates have the binary file {}", path.display()),
        None => Ok(()),
    }
}

/// Returns a digest of the vendored crates.
pub(crate) fn crates_digest(workspace: &Workspace) -> Result<String> {
    let mut digest = Digest::new();
    digest.add(&cache::bytes(&workspace.root.join("Cargo.lock"))?);
    digest.add(FILTERER.as_bytes());
    TARGETS.iter().for_each(|target| digest.add(target.as_bytes()));
    Ok(digest.hex())
}

/// Returns the time of the last commit, in seconds since 1970.
pub(super) fn time(workspace: &Workspace) -> Result<String> {
    Ok(workspace.git(&["log", "-1", "--format=%ct"])?.trim().to_owned())
}

/// Writes an archive of files of `dir`, with `prefix` before their names, owned by root, with the time of the last
/// commit.
fn archive(
    workspace: &Workspace,
    dir: &Path,
    files: &[PathBuf],
    prefix: &str,
    to: &Path,
) -> Result<()> {
    let mut list = Vec::new();
    for file in files {
        list.extend_from_slice(file.as_os_str().as_encoded_bytes());
        list.push(0);
    }
    let names = workspace.checkout.join("archive.list");
    cache::write(&names, list)?;
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format=gnu", "--owner=root:0", "--group=root:0"]);
    tar.args(["--mode=u+rw,go=rX", "--use-compress-program=xz -T2"]);
    tar.arg(format!("--mtime=@{}", time(workspace)?));
    tar.arg(format!("--transform=flags=r;s,^,{prefix},"));
    tar.arg("--file").arg(to).arg("--directory").arg(dir);
    tar.args(["--null", "--verbatim-files-from", "--no-recursion", "--files-from"]).arg(&names);
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    Step::new(&format!("writing {name}"), 30).run(tar, &workspace.log("tar"))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Modules for Debian's kernel: dma-buf heaps and the TEE subsystem with heaps, which it lacks, and those of this checkout,
//! with panthor as `packaging/dkms` patches it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use super::metadata::Metadata;
use super::packages::Kernel;
use super::sysroot::Sysroot;
use crate::archive::Archive;
use crate::cache::{self, Workspace};
use crate::dist::source;
use crate::progress::{Step, output};

/// Modules that the build makes.
const MODULES: [&str; 6] = ["csfmodel", "dma-heap", "panthor", "protheap", "simtee", "tee"];
/// Modules of this checkout for tests, which are copied into the build.
const TESTING: [&str; 2] = ["csfmodel", "simtee"];
/// Paths of this checkout that the modules are made of.
const INPUTS: [&str; 5] =
    ["driver/module", "driver/patches", "driver/testing", "packaging/dkms", "packaging/install"];

/// Builds the modules, unless that was done. Returns an archive with them, and with those of the kernel that they need.
pub(super) fn prepare(
    workspace: &Workspace,
    sysroot: &Sysroot,
    kernel: &Kernel,
    metadata: &Metadata,
) -> Result<Archive> {
    let dir = workspace.checkout.join("stock").join(&kernel.release);
    let stamp = dir.join("complete");
    let digest = source::digest(workspace, &INPUTS)?.hex();
    if !cache::read(&stamp).is_ok_and(|stamped| stamped == digest) {
        cache::remove_dir(&dir)?;
        let tree = dir.join("tree");
        lay_out(workspace, kernel, metadata, &tree)?;
        let mut make = sysroot.make(&metadata.source, &metadata.build, &kernel.release)?;
        make.arg(format!("M={}", tree.display())).arg("modules");
        let what = format!("building modules for {}", kernel.release);
        Step::new(&what, 90).run(make, &workspace.log("stock-modules"))?;
        cache::write(&stamp, digest)?;
    }
    archive(kernel, &dir)
}

/// Makes the source tree of the build.
fn lay_out(workspace: &Workspace, kernel: &Kernel, metadata: &Metadata, tree: &Path) -> Result<()> {
    let testing = workspace.root.join("driver/testing");
    copy(&testing.join("stock"), tree)?;
    for name in TESTING {
        copy(&testing.join(name), &tree.join(name))?;
    }
    let linux = metadata.source.join("drivers");
    cache::copy(&linux.join("dma-buf/dma-heap.c"), &tree.join("dma-heap/linux.c"))?;
    for file in fs::read_dir(linux.join("tee"))? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "c" || extension == "h") {
            cache::copy_into(&path, &tree.join("tee"))?;
        }
    }

    // As DKMS does on a machine with the kernel.
    let installed = tree.with_extension("dkms");
    let mut install = Command::new(workspace.root.join("packaging/install"));
    output(install.arg("dkms").arg(&installed))?;
    let protheap = tree.join("protheap");
    fs::rename(installed.join("usr/src").join(source::name()), &protheap)?;
    let mut driver = Command::new(protheap.join("driver"));
    driver.arg("unpack").args([kernel.headers.as_os_str(), kernel.release.as_ref()]);
    driver.env("PROTHEAP_DRIVER_SOURCE", &metadata.source).current_dir(&protheap);
    output(&mut driver).context("failed to patch panthor")?;
    Ok(())
}

/// Copies all files below a directory.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for path in cache::relative(from)? {
        let copy = to.join(&path);
        cache::create_dir(copy.parent().unwrap_or(to))?;
        cache::copy(&from.join(&path), &copy)?;
    }
    Ok(())
}

/// Makes the guest's directory of modules: those that were built, and in place of the others the kernel's own.
fn archive(kernel: &Kernel, dir: &Path) -> Result<Archive> {
    let stage = dir.join("stage");
    cache::remove_dir(&stage)?;
    let lib = stage.join("lib/modules").join(&kernel.release);
    cache::create_dir(&lib)?;
    let built = modules_below(&dir.join("tree"))?;
    let theirs = modules_below(&kernel.modules()?)?;
    let (mut todo, mut done) = (MODULES.map(name_of).to_vec(), BTreeSet::new());
    while let Some(name) = todo.pop() {
        if !done.insert(name.clone()) {
            continue;
        }
        let Some(path) = built.get(&name).or_else(|| theirs.get(&name)) else {
            bail!("{} has no module {name}", kernel.release);
        };
        let module = lib.join(&name).with_extension("ko");
        if path.extension().is_some_and(|extension| extension == "xz") {
            let mut xz = Command::new("xz");
            xz.args(["--decompress", "--stdout"])
                .arg(path)
                .stdout(fs::File::create(&module)?.into_file());
            if !xz.status().context("failed to start xz")?.success() {
                bail!("failed to decompress {}", path.display());
            }
        } else {
            cache::copy(path, &module)?;
        }
        let depends = output(Command::new("/sbin/modinfo").arg("-Fdepends").arg(&module))?;
        todo.extend(depends.trim().split(',').filter(|name| !name.is_empty()).map(name_of));
    }
    // busybox reads dependencies and aliases; the lists of built-in modules are for messages of depmod only.
    output(Command::new("/sbin/depmod").arg("-b").arg(&stage).arg(&kernel.release))?;
    let mut archive = Archive::default();
    archive.tree(&stage, "usr")?;
    Ok(archive)
}

/// Returns the modules below a directory, by name.
fn modules_below(dir: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for path in cache::files(dir)? {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(name) = file.strip_suffix(".ko.xz").or_else(|| file.strip_suffix(".ko")) {
            found.insert(name_of(name), path);
        }
    }
    Ok(found)
}

/// Returns the name of a module in the kernel, where its file may have hyphens.
fn name_of(file: &str) -> String {
    file.replace('-', "_")
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Other builds of panthor than the test kernel's own, for scenarios: as Linux has it, and with what others propose.
//!
//! Each is built out of tree, from a copy of the kernel's sources from which `driver/patches` are taken back.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Digest, Workspace};
use crate::initrd::{self, Archive};
use crate::kernel::{self, Kernel};
use crate::modules;
use crate::progress::Step;
use crate::toolchain::Toolchain;

/// Where the driver is in a source tree.
const DRIVER: &str = "drivers/gpu/drm/panthor";
/// Its interface to user space.
const HEADER: &str = "include/uapi/drm/panthor_drm.h";

/// Names of the builds, and what each adds to Linux: the patches in a directory of the checkout.
const BUILDS: [(&str, Option<&str>); 2] =
    [("unmodified", None), ("parameter", Some("driver/testing/panthor"))];

/// Builds those whose sources changed; returns the files that a guest has of them.
pub(crate) fn prepare(
    workspace: &Workspace,
    tools: &Toolchain,
    kernel: &Kernel,
) -> Result<Archive> {
    let dir = workspace.checkout.join("panthor").join(&kernel.digest);
    let mut archive = Archive::default();
    for (name, patches) in BUILDS {
        let patches = match patches {
            Some(patches) => cache::files(&workspace.root.join(patches))?,
            None => Vec::new(),
        };
        let mut digest = Digest::new();
        digest.add(kernel.digest.as_bytes());
        digest.add_files(&patches)?;
        let digest = digest.hex();
        let (tree, out) = (dir.join(name).join("tree"), dir.join(name).join("out"));
        let (stamp, module) = (dir.join(name).join("complete"), out.join("panthor.ko"));
        if !cache::read(&stamp).is_ok_and(|stamped| stamped == digest) {
            cache::remove_dir(&dir.join(name))?;
            copy(kernel, &tree)?;
            for patch in &patches {
                kernel::patch(&tree, patch, &[])?;
            }
            build(workspace, tools, kernel, name, &tree, &out)?;
            cache::write(&stamp, digest)?;
        }
        if !module.is_file() {
            bail!("no {} was built: the kernel needs CONFIG_DRM_PANTHOR=m", module.display());
        }
        let copy = dir.join(name).join("signed.ko");
        fs::copy(&module, &copy).with_context(|| format!("copying {}", module.display()))?;
        modules::sign(kernel, std::slice::from_ref(&copy))?;
        archive.file(&format!("usr/lib/panthor/{name}/panthor.ko"), 0o644, &initrd::bytes(&copy)?);
    }
    Ok(archive)
}

/// Copies the driver's sources as Linux has them.
fn copy(kernel: &Kernel, tree: &Path) -> Result<()> {
    let about_it = |text: &str| text.contains(DRIVER) || text.contains(HEADER);
    let mut patches = Vec::new();
    let mut files = BTreeSet::from([PathBuf::from(HEADER)]);
    for path in kernel::applied(&kernel.source)? {
        let text = cache::read(&path)?;
        if about_it(&text) {
            let names = text.lines().filter_map(|line| line.strip_prefix("+++ b/"));
            files.extend(names.map(PathBuf::from));
            patches.push(path);
        }
    }
    for path in cache::files(&kernel.source.join(DRIVER))? {
        files.insert(path.strip_prefix(&kernel.source)?.to_owned());
    }
    for file in files {
        let (from, to) = (kernel.source.join(&file), tree.join(&file));
        cache::create_dir(to.parent().context("a file without a directory")?)?;
        fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
    }
    patches.iter().rev().try_for_each(|patch| kernel::patch(tree, patch, &["--reverse"]))
}

fn build(
    workspace: &Workspace,
    tools: &Toolchain,
    kernel: &Kernel,
    name: &str,
    tree: &Path,
    out: &Path,
) -> Result<()> {
    cache::create_dir(out)?;
    let mut make = kernel.make(tools);
    // The kernel's own directories come first, and its header may be patched; this one bars it by its guard.
    make.arg(format!(
        "KCFLAGS=-iquote {} -include {}",
        kernel.source.join("include/uapi/drm").display(),
        tree.join(HEADER).display()
    ));
    make.arg(format!("M={}", tree.join(DRIVER).display()))
        .arg(format!("MO={}", out.display()))
        .arg("modules");
    Step::new(&format!("building panthor ({name})"), Duration::from_secs(20))
        .run(make, &workspace.log(&format!("panthor-{name}")))
}

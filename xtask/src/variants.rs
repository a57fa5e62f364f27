// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds of drivers for scenarios that differ from those of the test kernel: as in Linux, with patches that others have
//! proposed, and with the interface that only Linux can assign numbers to.
//!
//! Each is built out of tree, from a copy of the kernel's sources without `driver/patches`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::archive::Archive;
use crate::cache::{self, Digest, Workspace};
use crate::kernel::{self, Kernel};
use crate::modules;
use crate::progress::{Step, output};
use crate::toolchain::{CROSS, Toolchain};

/// A build of a driver.
#[derive(Debug)]
struct Build {
    /// The driver's directory in a source tree.
    driver: &'static str,
    /// Name of its module.
    module: &'static str,
    /// Header of its interface to user space, which `driver/patches` change as well.
    header: Option<&'static str>,
    name: &'static str,
    /// Directories of this checkout with additional patches, in their order.
    patches: &'static [&'static str],
    /// C program of this checkout for the interface of this build, which becomes a program of the guest.
    program: Option<&'static str>,
}

const PANTHOR: Build = Build {
    driver: "drivers/gpu/drm/panthor",
    module: "panthor",
    header: Some("include/uapi/drm/panthor_drm.h"),
    name: "unmodified",
    patches: &[],
    program: None,
};
const OPTEE: Build = Build {
    driver: "drivers/tee/optee",
    module: "optee",
    header: None,
    name: "unmodified",
    patches: &[],
    program: None,
};
const BUILDS: [Build; 4] = [
    PANTHOR,
    Build { name: "parameter", patches: &["driver/testing/panthor"], ..PANTHOR },
    Build {
        name: "uapi",
        patches: &[
            "driver/patches/upstream/01-panthor-unplug",
            "driver/patches/upstream/08-panthor-protected",
            "driver/patches/upstream/09-panthor-protected-uapi",
        ],
        program: Some("driver/testing/igt/panthor_protected.c"),
        ..PANTHOR
    },
    OPTEE,
];

/// Builds the drivers whose sources changed; returns the files of a guest with them.
pub(crate) fn prepare(
    workspace: &Workspace,
    tools: &Toolchain,
    kernel: &Kernel,
) -> Result<Archive> {
    let all = workspace.checkout.join("variants").join(&kernel.digest);
    let mut archive = Archive::default();
    for build in BUILDS {
        let Build { module: driver, name, .. } = build;
        let mut patches = Vec::new();
        for series in build.patches {
            patches.extend(cache::files(&workspace.root.join(series))?);
        }
        patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
        let program = build.program.map(|program| workspace.root.join(program));
        let mut digest = Digest::new();
        digest.add(kernel.digest.as_bytes());
        digest.add_files(&patches)?;
        if let Some(directory) = program.as_deref().and_then(Path::parent) {
            digest.add_files(&cache::files(directory)?)?;
        }
        let digest = digest.hex();
        let dir = all.join(format!("{driver}-{name}"));
        let (tree, out) = (dir.join("tree"), dir.join("out"));
        let (stamp, module) = (dir.join("complete"), out.join(driver).with_extension("ko"));
        if !cache::read(&stamp).is_ok_and(|stamped| stamped == digest) {
            cache::remove_dir(&dir)?;
            copy(kernel, &build, &patches, &tree)?;
            for patch in &patches {
                kernel::patch(&tree, patch, &[])?;
            }
            build.make(workspace, tools, kernel, &tree, &out)?;
            if let Some(program) = &program {
                compile(kernel, program, &tree, &out.join("program"))?;
            }
            cache::write(&stamp, digest)?;
        }
        if !module.is_file() {
            bail!("no {} was built: the kernel needs that driver as a module", module.display());
        }
        let copy = dir.join("signed.ko");
        cache::copy(&module, &copy)?;
        modules::sign(kernel, std::slice::from_ref(&copy))?;
        let there = format!("usr/lib/{driver}/{name}/{driver}.ko");
        archive.file(&there, 0o644, &cache::bytes(&copy)?);
        if program.is_some() {
            let there = format!("usr/lib/{driver}/{name}/test");
            archive.file(&there, 0o755, &cache::bytes(&out.join("program"))?);
        }
    }
    Ok(archive)
}

/// Returns the names of the files that a patch changes.
fn names(patch: &str) -> impl Iterator<Item = PathBuf> {
    patch.lines().filter_map(|line| line.strip_prefix("+++ b/")).map(PathBuf::from)
}

/// Copies the sources of the driver, and those that `more` patches change, as Linux has them.
fn copy(kernel: &Kernel, build: &Build, more: &[PathBuf], tree: &Path) -> Result<()> {
    let about_it = |text: &str| {
        text.contains(build.driver) || build.header.is_some_and(|header| text.contains(header))
    };
    let mut patches = Vec::new();
    let mut files: BTreeSet<_> = build.header.into_iter().map(PathBuf::from).collect();
    for path in kernel::applied(&kernel.source)? {
        let text = cache::read(&path)?;
        if about_it(&text) {
            files.extend(names(&text));
            patches.push(path);
        }
    }
    for path in more {
        files.extend(names(&cache::read(path)?).filter(|name| kernel.source.join(name).is_file()));
    }
    for path in cache::files(&kernel.source.join(build.driver))? {
        files.insert(path.strip_prefix(&kernel.source)?.to_owned());
    }
    for file in files {
        let (from, to) = (kernel.source.join(&file), tree.join(&file));
        cache::create_dir(to.parent().context("file has no directory")?)?;
        cache::copy(&from, &to)?;
    }
    patches.iter().rev().try_for_each(|patch| kernel::patch(tree, patch, &["--reverse"]))
}

/// Compiles a static program with the header of the interface in `tree`.
fn compile(kernel: &Kernel, program: &Path, tree: &Path, out: &Path) -> Result<()> {
    let headers = kernel.source.join("include/uapi");
    let mut command = Command::new(format!("{CROSS}gcc"));
    command.args(["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-D__user="]);
    command.arg("-isystem").arg(tree.join("include/uapi"));
    command.arg("-iquote").arg(headers.join("drm")).arg("-idirafter").arg(headers);
    output(command.arg("-o").arg(out).arg(program))
        .with_context(|| format!("failed to compile {}", program.display()))?;
    Ok(())
}

impl Build {
    fn make(
        &self,
        workspace: &Workspace,
        tools: &Toolchain,
        kernel: &Kernel,
        tree: &Path,
        out: &Path,
    ) -> Result<()> {
        let Self { driver, module, header, name, .. } = *self;
        cache::create_dir(out)?;
        let mut make = kernel.make(tools);
        if let Some(header) = header {
            // The kernel's own directories are searched first, and their header may be patched: the guard of this one
            // excludes it.
            let directory = kernel.source.join(header);
            let directory = directory.parent().context("header has no directory")?;
            let header = tree.join(header);
            make.arg(format!(
                "KCFLAGS=-iquote {} -include {}",
                directory.display(),
                header.display()
            ));
        }
        make.arg(format!("M={}", tree.join(driver).display()))
            .arg(format!("MO={}", out.display()))
            .arg("modules");
        Step::new(&format!("building {module} ({name})"), 20)
            .run(make, &workspace.log(&format!("{module}-{name}")))
    }
}

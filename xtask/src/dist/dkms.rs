// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver's source, built by DKMS for a machine's own kernel: the modules, and the kernels that are skipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

use super::source;
use crate::archive::Archive;
use crate::cache::{self, VERSION, Workspace};
use crate::image;
use crate::kernel::{self, Flavor, Kernel, Linux};
use crate::progress::{Step, output};
use crate::stock::packages;
use crate::toolchain::{self, Toolchain};
use crate::vm::Image;
use crate::{host, scenario};

/// Modules that are built, and the scenario that runs with both.
const MODULES: [&str; 2] = ["protheap.ko", "panthor.ko"];
const SCENARIO: &str = "panthor-bound";
/// Exit status of dkms if a kernel is skipped.
const SKIPPED: i32 = 77;

/// Builds both modules with dkms for the test kernel, boots them, and checks that Debian's kernel is skipped.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let (modules, kernel) = {
        let _lock = workspace.lock()?;
        host::prepare(workspace, &["dkms"])?;
        let tools = toolchain::prepare(workspace)?;
        let kernel = kernel::prepare(workspace, &tools, Flavor::Plain)?;
        let modules = modules(workspace, &tools, &kernel)?;
        skipped(workspace, &packages::headers(workspace, Linux::default())?)?;
        (modules, kernel)
    };
    let image = boots(workspace, &kernel, &modules)?;
    if !scenario::run_on(workspace, &image, SCENARIO)? {
        bail!("{SCENARIO} failed with the modules that dkms built: see above");
    }
    Ok(())
}

/// A tree for dkms, with the source in it.
#[derive(Debug)]
struct Tree {
    root: PathBuf,
}

impl Tree {
    fn new(workspace: &Workspace, root: PathBuf) -> Result<Self> {
        cache::remove_dir(&root)?;
        for dir in ["tree", "modules"] {
            cache::create_dir(&root.join(dir))?;
        }
        let mut install = Command::new(workspace.root.join("packaging/install"));
        output(install.arg("dkms").arg(&root))?;
        let conf = cache::read(&root.join("usr/src").join(source::name()).join("dkms.conf"))?;
        if !conf.lines().any(|line| line == format!("PACKAGE_VERSION=\"{VERSION}\"")) {
            bail!("packaging/dkms/dkms.conf has another version than {VERSION}");
        }
        Ok(Self { root })
    }

    /// Returns a command of dkms for a kernel, whose build directory or headers are in `kernel`.
    fn dkms(&self, action: &str, release: &str, kernel: &Path) -> Command {
        let mut command = Command::new("nice");
        command.args(["-n", "10", "dkms", action, "-m", "protheap", "-v", VERSION]);
        command.args(["-k", release, "-a", "aarch64", "--kernelsourcedir"]).arg(kernel);
        command.arg("--dkmstree").arg(self.root.join("tree"));
        command.arg("--sourcetree").arg(self.root.join("usr/src"));
        command.arg("--installtree").arg(self.root.join("modules"));
        command.env("LC_ALL", "C.UTF-8").env_remove("MAKEFLAGS");
        command
    }
}

/// Builds the modules with dkms, unless that was done. Returns their paths.
fn modules(workspace: &Workspace, tools: &Toolchain, kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let dir = workspace.checkout.join("dkms").join(&kernel.digest);
    let below = ["packaging/dkms", "packaging/install", "driver/module", "driver/patches"];
    let digest = source::digest(workspace, &below)?.hex();
    let stamp = dir.join("complete");
    let built =
        dir.join("tree/protheap").join(VERSION).join(&kernel.release).join("aarch64/module");
    let modules: Vec<_> = MODULES.iter().map(|name| built.join(name)).collect();
    if !cache::read(&stamp).is_ok_and(|stamped| stamped == digest) {
        let tree = Tree::new(workspace, dir)?;
        let mut build = tree.dkms("build", &kernel.release, &kernel.build);
        build.env("ARCH", "arm64").env("CROSS_COMPILE", toolchain::CROSS);
        build.env("RUSTC", tools.rustc());
        // As in a distribution, although the kernel has its patches already.
        build.env("PROTHEAP_DRIVER_SOURCE", kernel::tarball(workspace, Linux::default())?);
        tools.environment(&mut build);
        Step::new("building the driver with dkms", 60).run(build, &workspace.log("dkms"))?;
        for module in &modules {
            let release = output(Command::new("/sbin/modinfo").arg("-Fvermagic").arg(module))?;
            if release.split_whitespace().next() != Some(&kernel.release) {
                bail!("{} is for {release}, not for {}", module.display(), kernel.release);
            }
        }
        cache::write(&stamp, digest)?;
    }
    Ok(modules)
}

/// Makes the image of the scenarios, with these modules in place of the kernel's.
fn boots(workspace: &Workspace, kernel: &Kernel, modules: &[PathBuf]) -> Result<Image> {
    let mut archive = Archive::default();
    for (name, module) in MODULES.iter().zip(modules) {
        let path = format!("usr/lib/modules/{}/{name}", kernel.release);
        archive.file(&path, 0o644, &cache::bytes(module)?);
    }
    image::prepare(workspace, Flavor::Plain)?.with(workspace, "dkms", archive)
}

/// Checks that Debian's kernel is skipped with one line that names what it lacks, and that this is no failure.
fn skipped(workspace: &Workspace, headers: &Path) -> Result<()> {
    let release = &packages::release(headers)?;
    let tree = Tree::new(workspace, workspace.checkout.join("dkms-skipped"))?;
    let run = |action| -> Result<Output> {
        let mut command = tree.dkms(action, release, headers);
        command.output().with_context(|| format!("failed to start dkms {action}"))
    };
    let build = run("build")?;
    let said = String::from_utf8_lossy(&build.stderr);
    let line = said.lines().find(|line| line.starts_with("protheap: "));
    say!("  {}", line.unwrap_or("dkms says nothing of protheap"));
    if build.status.code() != Some(SKIPPED) {
        bail!("dkms does not skip {release} ({}): {said}", build.status);
    }
    // The only requirement that it lacked in November 2026. A kernel that meets all of them would not be skipped.
    if !line.is_some_and(|line| line.contains("the headers have no Rust metadata")) {
        bail!("dkms skips {release} without naming the missing Rust metadata: {said}");
    }
    if line.is_some_and(|line| line.contains("CONFIG_")) {
        bail!("dkms skips {release} for an option that protheap.ko does not need: {said}");
    }
    let remove = run("remove")?;
    if !remove.status.success() {
        bail!("failed to remove the skipped driver: {}", String::from_utf8_lossy(&remove.stderr));
    }
    Ok(())
}

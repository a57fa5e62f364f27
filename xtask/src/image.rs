// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every boot boots: one kernel and one initrd, whatever the board.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::{self, Digest, Workspace};
use crate::initrd::Archive;
use crate::kernel::{Flavor, Kernel};
use crate::toolchain::Toolchain;
use crate::{host, initrd, kernel, modules, panthor, systemd, toolchain, userspace};

/// A kernel and its initrd.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// The kernel that QEMU boots.
    pub(crate) kernel: PathBuf,
    /// Its initrd.
    pub(crate) initrd: PathBuf,
    /// The disk with the root that follows the initrd, if there is one.
    pub(crate) disk: Option<PathBuf>,
    /// Names the contents of all of them.
    pub(crate) digest: String,
}

impl Image {
    /// The same image with further files, kept beside it as `name`.
    pub(crate) fn with(&self, workspace: &Workspace, name: &str, files: Archive) -> Result<Self> {
        let mut archive =
            fs::read(&self.initrd).with_context(|| format!("reading {}", self.initrd.display()))?;
        archive.extend(files.finish());
        let initrd = workspace.checkout.join(format!("{name}.cpio"));
        cache::write(&initrd, &archive)?;
        let mut digest = Digest::new();
        digest.add(self.digest.as_bytes());
        digest.add(&archive);
        Ok(Self {
            kernel: self.kernel.clone(),
            initrd,
            disk: self.disk.clone(),
            digest: digest.hex(),
        })
    }
}

/// What is built for the guest, whoever its init is.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) tools: Toolchain,
    pub(crate) kernel: Kernel,
    pub(crate) modules: Vec<PathBuf>,
    /// Builds of panthor beside the kernel's own, by name.
    pub(crate) panthors: Vec<(&'static str, PathBuf)>,
    pub(crate) programs: Vec<PathBuf>,
}

impl Parts {
    /// Builds what changed in this checkout.
    fn prepare(workspace: &Workspace, flavor: Flavor, packages: &[&str]) -> Result<Self> {
        host::prepare(workspace, &[flavor.packages(), packages].concat())?;
        let tools = toolchain::prepare(workspace)?;
        let kernel = kernel::prepare(workspace, &tools, flavor)?;
        let modules = modules::prepare(workspace, &tools, &kernel)?;
        let panthors = panthor::prepare(workspace, &tools, &kernel)?;
        let programs = userspace::prepare(workspace, &tools)?;
        fs::metadata(&kernel.image)
            .with_context(|| format!("looking for {}", kernel.image.display()))?;
        Ok(Self { tools, kernel, modules, panthors, programs })
    }
}

/// Makes all that a boot needs from this checkout, building what changed.
pub(crate) fn prepare(workspace: &Workspace, flavor: Flavor) -> Result<Image> {
    let _lock = workspace.lock()?;
    let parts = Parts::prepare(workspace, flavor, &[])?;
    let archive = initrd::build(workspace, &parts)?;
    let mut digest = Digest::new();
    digest.add(parts.kernel.digest.as_bytes());
    digest.add(&archive);
    let digest = digest.hex();
    let initrd = keep(workspace, "initrd", &digest, "cpio", |path| cache::write(path, &archive))?;
    Ok(Image { kernel: parts.kernel.image, initrd, disk: None, digest })
}

/// The same with systemd as init, in the initrd and in a root on a disk that follows it.
pub(crate) fn prepare_systemd(workspace: &Workspace, flavor: Flavor) -> Result<Image> {
    let _lock = workspace.lock()?;
    let parts = Parts::prepare(workspace, flavor, systemd::PACKAGES)?;
    let initrd = systemd::initrd(workspace, &parts)?.finish();
    let root = systemd::root(workspace, &parts)?;
    let mut digest = Digest::new();
    digest.add(parts.kernel.digest.as_bytes());
    digest.add(&initrd);
    root.digest(&mut digest);
    let digest = digest.hex();
    let disk = keep(workspace, "systemd-root", &digest, "erofs", |path| {
        systemd::disk(workspace, &root, path)
    })?;
    let initrd =
        keep(workspace, "systemd-initrd", &digest, "cpio", |path| cache::write(path, &initrd))?;
    Ok(Image { kernel: parts.kernel.image, initrd, disk: Some(disk), digest })
}

/// Makes a file that is named by its contents, unless it is there: a machine that runs keeps the one that it was
/// started with. Older ones go.
fn keep(
    workspace: &Workspace,
    kind: &str,
    digest: &str,
    extension: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let dir = workspace.checkout.join(kind);
    let path = dir.join(format!("{digest}.{extension}"));
    if !path.is_file() {
        cache::remove_dir(&dir)?;
        cache::create_dir(&dir)?;
        make(&path)?;
    }
    Ok(path)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every boot boots: one kernel and one initrd, whatever the board.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cache::{self, Digest, Workspace};
use crate::initrd::Archive;
use crate::kernel::Flavor;
use crate::{host, initrd, kernel, modules, panthor, toolchain, userspace};

/// A kernel and its initrd.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// The kernel that QEMU boots.
    pub(crate) kernel: PathBuf,
    /// Its initrd.
    pub(crate) initrd: PathBuf,
    /// Names the contents of both.
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
        Ok(Self { kernel: self.kernel.clone(), initrd, digest: digest.hex() })
    }
}

/// Makes all that a boot needs from this checkout, building what changed.
pub(crate) fn prepare(workspace: &Workspace, flavor: Flavor) -> Result<Image> {
    let _lock = workspace.lock()?;
    host::prepare(workspace, flavor.packages())?;
    let tools = toolchain::prepare(workspace)?;
    let kernel = kernel::prepare(workspace, &tools, flavor)?;
    let modules = modules::prepare(workspace, &tools, &kernel)?;
    let panthors = panthor::prepare(workspace, &tools, &kernel)?;
    let programs = userspace::prepare(workspace, &tools)?;
    let archive = initrd::build(workspace, &tools, &kernel, &modules, &panthors, &programs)?;

    let mut digest = Digest::new();
    digest.add(kernel.digest.as_bytes());
    digest.add(&archive);
    let digest = digest.hex();
    // Named by its contents: a machine that runs keeps the one that it was started with.
    let dir = workspace.checkout.join("initrd");
    let initrd = dir.join(format!("{digest}.cpio"));
    if !initrd.is_file() {
        cache::remove_dir(&dir)?;
        cache::write(&initrd, &archive)?;
    }
    fs::metadata(&kernel.image)
        .with_context(|| format!("looking for {}", kernel.image.display()))?;
    Ok(Image { kernel: kernel.image, initrd, digest })
}

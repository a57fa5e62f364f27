// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every boot boots: one kernel and one initrd, whatever the board.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cache::{Digest, Workspace};
use crate::{host, initrd, kernel, modules, toolchain, userspace};

/// A kernel and its initrd.
#[derive(Debug)]
pub(crate) struct Image {
    /// The kernel that QEMU boots.
    pub(crate) kernel: PathBuf,
    /// Its initrd.
    pub(crate) initrd: PathBuf,
    /// Names the contents of both.
    pub(crate) digest: String,
}

/// Makes all that a boot needs from this checkout, building what changed.
pub(crate) fn prepare(workspace: &Workspace) -> Result<Image> {
    let _lock = workspace.lock()?;
    host::prepare(workspace)?;
    let tools = toolchain::prepare(workspace)?;
    let kernel = kernel::prepare(workspace, &tools)?;
    let modules = modules::prepare(workspace, &tools, &kernel)?;
    let programs = userspace::prepare(workspace, &tools)?;
    let archive = initrd::build(workspace, &tools, &kernel, &modules, &programs)?;

    let mut digest = Digest::new();
    digest.add(kernel.digest.as_bytes());
    digest.add(&archive);
    let digest = digest.hex();
    // Named by its contents: a machine that runs keeps the one that it was started with.
    let dir = workspace.checkout.join("initrd");
    let initrd = dir.join(format!("{digest}.cpio"));
    if !initrd.is_file() {
        crate::cache::remove_dir(&dir)?;
        crate::cache::write(&initrd, &archive)?;
    }
    fs::metadata(&kernel.image)
        .with_context(|| format!("looking for {}", kernel.image.display()))?;
    Ok(Image { kernel: kernel.image, initrd, digest })
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real firmware for QEMU's `virt` machine: OP-TEE OS in the secure world, and TF-A, which starts it and then Linux.
//!
//! Sources and binaries come from Debian's archive. Each result is in the cache, named by a digest of source version,
//! flags and compiler.

mod os;
mod source;
mod tfa;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::cache::{self, Digest, Workspace};
use crate::host;
use crate::tee::Tee;

/// Debian packages that OP-TEE's build needs on the host.
const PACKAGES: &[&str] = &["python3-cryptography", "python3-pyelftools"];

/// Offset of the firmware image package in the flash: TF-A's `PLAT_QEMU_FIP_BASE`.
const FIP: u64 = 256 << 10;

/// Firmware that QEMU starts from its flash.
#[derive(Debug, Clone)]
pub(crate) struct Firmware {
    pub(crate) tee: Tee,
    /// Image of the flash.
    pub(crate) flash: PathBuf,
    /// Version of OP-TEE's package, or of the user's own tree.
    pub(crate) version: String,
    /// Digest of its inputs.
    pub(crate) digest: String,
}

/// Builds firmware with that TEE, unless it is in the cache.
pub(crate) fn prepare(workspace: &Workspace, tee: Tee) -> Result<Firmware> {
    let _lock = workspace.lock()?;
    host::prepare(workspace, PACKAGES)?;
    let os = os::prepare(workspace, tee)?;
    let tfa = tfa::prepare(workspace, tee.abi())?;
    let mut digest = Digest::new();
    digest.add(os.digest.as_bytes());
    digest.add(tfa.digest.as_bytes());
    let digest = digest.hex();
    let dir = source::place(workspace).join(format!("flash-{tee}-{digest}"));
    cache::once(&dir, |part| {
        let fip = part.join("fip");
        tfa.pack(&os, &fip)?;
        let mut flash = cache::bytes(&tfa.bl1)?;
        if flash.len() as u64 > FIP {
            bail!("{} has {} bytes, more than {FIP}", tfa.bl1.display(), flash.len());
        }
        flash.resize(usize::try_from(FIP)?, 0);
        flash.extend(cache::bytes(&fip)?);
        cache::write(&part.join("flash.bin"), flash)
    })?;
    Ok(Firmware { tee, flash: dir.join("flash.bin"), version: os.version, digest })
}

/// Returns whether the TEE can be built on this machine: the user's own tree must be named.
pub(crate) fn is_there(tee: Tee) -> bool {
    tee != Tee::Own || os::own_tree().is_some()
}

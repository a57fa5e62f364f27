// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real firmware for QEMU's `virt` machine: OP-TEE OS in the secure world, and TF-A, which starts it and then Linux.
//!
//! Sources and binaries come from Debian's archive. Each result is kept in the cache, named by a digest of source version,
//! flags and compiler.

mod os;
mod tfa;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::Client;
use crate::cache::{self, Digest, Workspace};
use crate::progress::{self, output};
use crate::tee::Tee;
use crate::{host, toolchain};

/// Debian packages that OP-TEE's build needs on the host.
const PACKAGES: &[&str] = &["python3-cryptography", "python3-pyelftools"];

/// Suites that are asked for a source package, the newest first: not every one has what its list says.
const SUITES: [&str; 3] = ["sid", "forky", "trixie"];

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
    /// Names what it is made of.
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
    let dir = place(workspace).join(format!("flash-{tee}-{digest}"));
    cache::once(&dir, |part| {
        let fip = part.join("fip");
        tfa.pack(&os, &fip)?;
        let mut flash =
            fs::read(&tfa.bl1).with_context(|| format!("reading {}", tfa.bl1.display()))?;
        if flash.len() as u64 > FIP {
            bail!("{} has {} bytes, more than {FIP}", tfa.bl1.display(), flash.len());
        }
        flash.resize(usize::try_from(FIP)?, 0);
        flash.extend(fs::read(&fip).with_context(|| format!("reading {}", fip.display()))?);
        cache::write(&part.join("flash.bin"), flash)
    })?;
    Ok(Firmware { tee, flash: dir.join("flash.bin"), version: os.version, digest })
}

/// Whether this machine has what the TEE is made of: the user's own tree has to be named.
pub(crate) fn is_there(tee: Tee) -> bool {
    tee != Tee::Own || os::own_tree().is_some()
}

/// Cache of firmware and its sources.
fn place(workspace: &Workspace) -> PathBuf {
    workspace.cache.join("optee")
}

/// A source package, unpacked.
#[derive(Debug)]
struct Source {
    tree: PathBuf,
    version: String,
}

impl Source {
    /// Fetches the newest one that can be had, unless one is in the cache.
    fn fetch(workspace: &Workspace, package: &str) -> Result<Self> {
        let dir = place(workspace).join(format!("source-{package}"));
        cache::once(&dir, |part| {
            let mut errors = Vec::new();
            for suite in SUITES {
                let client = Client::open_sources(workspace, suite)?;
                match client.source(workspace, package, &part.join("tree")) {
                    Ok(version) => return cache::write(&part.join("version"), version),
                    Err(error) => errors.push(format!("{error:#}")),
                }
                progress::remark(format_args!("{suite} has no source of {package}"));
                cache::remove_dir(&part.join("tree"))?;
            }
            bail!("no suite has the source of {package}:\n{}", errors.join("\n"));
        })?;
        Ok(Self { tree: dir.join("tree"), version: cache::read(&dir.join("version"))? })
    }
}

/// First line of what the cross compiler says of its version.
fn compiler() -> Result<String> {
    let mut gcc = Command::new(format!("{}gcc", toolchain::CROSS));
    let said = output(gcc.arg("--version")).context("looking for the cross compiler")?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// `make` in a tree, with no more of this process's environment than it needs.
fn make(tree: &Path) -> Command {
    let mut make = Command::new("nice");
    make.args(["-n", "10", "make", "-C"]).arg(tree);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    make.arg(format!("-j{processors}"));
    for variable in ["MAKEFLAGS", "CFLAGS", "CPPFLAGS", "LDFLAGS", "RUSTFLAGS"] {
        make.env_remove(variable);
    }
    make.env("LC_ALL", "C.UTF-8");
    make
}

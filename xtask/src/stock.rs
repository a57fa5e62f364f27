// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's own arm64 kernel, as its packages contain it, with the modules of this checkout for it.
//!
//! Its headers have no Rust metadata. [`metadata`] makes it once for each kernel, from Debian's source and configuration
//! with the compilers of Debian's build, which are in a [`sysroot`] of Debian's packages, and refuses metadata whose symbols
//! are not those of the kernel. [`modules`] builds what the kernel lacks and what is under test.

pub(crate) mod metadata;
mod modules;
pub(crate) mod packages;
mod sysroot;

use std::path::PathBuf;

use anyhow::Result;

use crate::archive::Archive;
use crate::cache::Workspace;
use crate::kernel::Linux;

/// Debian's kernel, and the files that a guest needs for it.
#[derive(Debug)]
pub(crate) struct Stock {
    /// Image of the kernel, with Debian's signature.
    pub(crate) image: PathBuf,
    /// Modules of the kernel and of this checkout.
    pub(crate) modules: Archive,
    /// `uname -r`.
    pub(crate) release: String,
}

/// Fetches the kernel and builds the modules, unless that was done. The caller has locked the cache.
pub(crate) fn prepare(workspace: &Workspace, linux: Linux) -> Result<Stock> {
    let kernel = packages::kernel(workspace, linux)?;
    let sysroot = sysroot::prepare(workspace)?;
    let metadata = metadata::prepare(workspace, &sysroot, &kernel)?;
    let modules = modules::prepare(workspace, &sysroot, &kernel, &metadata)?;
    Ok(Stock { image: kernel.image()?, modules, release: kernel.release })
}

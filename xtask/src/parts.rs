// SPDX-License-Identifier: MIT OR Apache-2.0
//! The toolchain, kernel, modules and programs that every image of the guest is made of.

use std::path::PathBuf;

use anyhow::Result;
use fs_err as fs;

use crate::cache::Workspace;
use crate::kernel::{self, Flavor, Kernel};
use crate::toolchain::{self, Toolchain};
use crate::userspace::{self, Linking};
use crate::{host, modules};

/// Parts of the guest that do not depend on its init.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) tools: Toolchain,
    pub(crate) kernel: Kernel,
    pub(crate) modules: Vec<PathBuf>,
    pub(crate) programs: Vec<PathBuf>,
}

impl Parts {
    /// Builds what changed in this checkout.
    pub(crate) fn prepare(
        workspace: &Workspace,
        flavor: Flavor,
        packages: &[&str],
        programs: &[&str],
    ) -> Result<Self> {
        host::prepare(workspace, &[flavor.packages(), packages].concat())?;
        let tools = toolchain::prepare(workspace)?;
        let kernel = kernel::prepare(workspace, &tools, flavor)?;
        let modules = modules::prepare(workspace, &tools, &kernel)?;
        userspace::bind(workspace, &tools, &kernel)?;
        let root = &workspace.root;
        let programs = userspace::build(workspace, &tools, root, Linking::Dynamic, programs)?;
        fs::metadata(&kernel.image)?;
        Ok(Self { tools, kernel, modules, programs })
    }
}

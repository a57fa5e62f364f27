// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel modules of this checkout, built out of tree: `driver/module` and every module in `driver/testing`, with their
//! signatures.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Digest, Workspace};
use crate::kernel::Kernel;
use crate::progress::{Step, output};
use crate::toolchain::Toolchain;

/// Builds the modules whose sources changed. Returns all `.ko` files.
pub(crate) fn prepare(
    workspace: &Workspace,
    tools: &Toolchain,
    kernel: &Kernel,
) -> Result<Vec<PathBuf>> {
    let driver = workspace.root.join("driver");
    let mut sources = vec![driver.join("module")];
    let testing = cache::files(&driver.join("testing"))?;
    sources.extend(
        testing
            .iter()
            .filter(|f| f.ends_with("Kbuild"))
            .filter_map(|f| Some(f.parent()?.to_owned())),
    );

    // They include one another's files, so a change affects all of them.
    let mut digest = Digest::new();
    digest.add(kernel.digest.as_bytes());
    for source in &sources {
        digest.add_files(&cache::files(source)?)?;
    }
    let digest = digest.hex();
    // Objects of another kernel are of no use.
    let objects = workspace.checkout.join("modules").join(&kernel.digest);
    let stamp = objects.join("complete");
    let fresh = cache::read(&stamp).is_ok_and(|stamped| stamped == digest);

    let mut modules = Vec::new();
    for source in &sources {
        let name = source.file_name().unwrap_or_default().to_string_lossy();
        let out = objects.join(&*name);
        if !fresh {
            cache::create_dir(&out)?;
            let mut make = kernel.make(tools);
            make.arg(format!("M={}", source.display()))
                .arg(format!("MO={}", out.display()))
                .arg("modules");
            let what = format!("building {}", source.strip_prefix(&workspace.root)?.display());
            Step::new(&what, 3).run(make, &workspace.log(&format!("module-{name}")))?;
        }
        let found = cache::files(&out)?;
        let before = modules.len();
        modules
            .extend(found.into_iter().filter(|path| path.extension().is_some_and(|e| e == "ko")));
        if modules.len() == before {
            bail!("{} builds no module: look at its Kbuild file", source.display());
        }
    }
    cache::write(&stamp, digest)?;
    Ok(modules)
}

/// Signs modules in place with the key that the kernel's build generated, which is the only one that the kernel trusts
/// under lockdown. Kernel: `Documentation/admin-guide/module-signing.rst`.
pub(crate) fn sign(kernel: &Kernel, modules: &[PathBuf]) -> Result<()> {
    let key = |extension: &str| kernel.build.join("certs/signing_key").with_extension(extension);
    for module in modules {
        let mut sign = Command::new(kernel.build.join("scripts/sign-file"));
        sign.arg("sha256").args([&key("pem"), &key("x509")]).arg(module);
        output(&mut sign).with_context(|| format!("failed to sign {}", module.display()))?;
    }
    Ok(())
}

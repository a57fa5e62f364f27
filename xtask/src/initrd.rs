// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's root: busybox, modules, programs, policies and scenarios.

use std::process::Command;

use anyhow::Result;

use crate::archive::Archive;
use crate::cache::{self, Workspace, bytes};
use crate::parts::Parts;
use crate::progress::output;
use crate::{apt, csffw, firmware, kernel, modules};

/// Libraries of programs that are not static, in the directory of libraries for arm64.
const SHARED: [&str; 5] =
    ["ld-linux-aarch64.so.1", "libc.so.6", "libcap.so.2", "libgcc_s.so.1", "libudev.so.1"];
/// Packages of these libraries.
const SHARED_OF: [&str; 4] = ["libc6", "libcap2", "libgcc-s1", "libudev1"];
const LIBRARIES: &str = "usr/lib/aarch64-linux-gnu";

/// Packs the initrd whose init is a script; the same inputs give the same bytes.
pub(crate) fn build(workspace: &Workspace, parts: &Parts) -> Result<Archive> {
    let mut archive = contents(workspace, parts, &[])?;
    archive.file("init", 0o755, &bytes(&workspace.root.join("tests/vm/guest/init.sh"))?);
    let packages = apt::guest_tree(workspace, &[], &SHARED_OF)?.join(LIBRARIES);
    for name in SHARED {
        archive.file(&format!("{LIBRARIES}/{name}"), 0o755, &bytes(&packages.join(name))?);
    }
    // Programs name their loader by this path.
    archive.link("usr/lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu/ld-linux-aarch64.so.1");
    Ok(archive)
}

/// Returns the files common to all roots of the guest, except the modules named in `without`.
pub(crate) fn contents(workspace: &Workspace, parts: &Parts, without: &[&str]) -> Result<Archive> {
    let Parts { tools, kernel, modules: built, programs } = parts;
    let mut archive = Archive::default();
    for dir in ["dev", "etc", "proc", "run", "sys", "tmp", "usr/bin", "usr/lib"] {
        archive.directory(dir);
    }
    // Distributions link these.
    for dir in ["bin", "lib"] {
        archive.link(dir, &format!("usr/{dir}"));
    }
    // The kernel opens the console for init before anything is mounted.
    archive.node("dev/console", 5, 1);
    archive.file("usr/bin/busybox", 0o755, &bytes(&tools.busybox)?);
    archive.link("usr/bin/sh", "busybox");
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("usr/bin/{name}"), 0o755, &bytes(program)?);
    }

    // depmod needs the directory as it will be.
    let stage = workspace.checkout.join("stage");
    cache::remove_dir(&stage)?;
    let lib = stage.join("lib/modules").join(&kernel.release);
    cache::create_dir(&lib)?;
    for module in built.iter().filter(|module| !kernel::is_one_of(module, without)) {
        cache::copy_into(module, &lib)?;
    }
    // The kernel's own modules.
    for module in kernel.modules(without)? {
        cache::copy_into(&kernel.build.join(module), &lib)?;
    }
    modules::sign(kernel, &cache::files(&lib)?)?;
    for name in ["modules.builtin", "modules.order"] {
        cache::copy_into(&kernel.build.join(name), &lib)?;
    }
    output(Command::new("/sbin/depmod").arg("-b").arg(&stage).arg(&kernel.release))?;
    archive.tree(&stage, "usr")?;

    // The modelled GPU's firmware in the directory that the kernel searches, and Debian's firmware, if it is here, in
    // another.
    for arch in csffw::directories(workspace)? {
        let path = format!("arm/mali/{arch}/mali_csffw.bin");
        archive.file(&format!("usr/lib/firmware/{path}"), 0o644, &csffw::image());
        if let Some(image) = firmware::cached(workspace, &arch) {
            archive.file(&format!("usr/lib/firmware-debian/{path}"), 0o644, &bytes(&image)?);
        }
    }

    archive.tree(&workspace.root.join("policies"), "usr/lib/protheap/policies")?;
    let vm = workspace.root.join("tests/vm");
    archive.file("scenario.sh", 0o644, &bytes(&vm.join("guest/scenario.sh"))?);
    archive.tree(&vm.join("scenarios"), "scenarios")?;
    for name in [
        "demo",
        "demo-optee",
        "demo-shell",
        "demo-stand-in",
        "demo-systemd",
        "demo-uki",
        "demo-uki-extras",
        "demo-uki-optee",
        "bench-uki",
        "generate",
    ] {
        let name = format!("{name}.sh");
        archive.file(&format!("scenarios/{name}"), 0o644, &bytes(&vm.join("guest").join(&name))?);
    }
    Ok(archive)
}

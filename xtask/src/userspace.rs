// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs for arm64: those under test and the scenarios' helper. Also programs that run on this machine.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{self, Workspace};
use crate::kernel::Kernel;
use crate::progress::{Step, output};
use crate::toolchain::{CROSS, Toolchain};

/// Programs of the guest. protheapd needs libudev, which is a shared library, so one build links all of them
/// dynamically.
pub(crate) const PROGRAMS: [&str; 4] =
    ["protheap-bind", "protheapctl", "protheap-guest", "protheapd"];
/// Programs of a demonstration without systemd.
pub(crate) const DEMO: [&str; 2] = ["protheap-bind", "protheap-guest"];
/// Example of a player, built as anybody would build it.
const PLAYER: [&str; 4] = ["-p", "protheap-client", "--example", "player"];
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Items of the kernel's headers that the client of panthor uses.
const ITEMS: &str = "(OPCODE|DRM_SYNCOBJ|DRM_PANTHOR|PANTHOR)_.*|drm_(version|gem_close|prime_handle|panthor_.*)|\
    drm_syncobj_(create|destroy|handle|wait)|panthor_protheap_.*|sync_file_info";

/// Linking of a program with its C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linking {
    /// Static, as a part of the program.
    Static,
    /// Dynamic, as in a package.
    Dynamic,
}

/// Builds the example of a player; returns its path.
pub(crate) fn player(workspace: &Workspace, tools: &Toolchain) -> Result<PathBuf> {
    let release = compile(workspace, tools, &workspace.root, Linking::Dynamic, &PLAYER)?;
    Ok(release.join("examples/player"))
}

/// Builds a program for this machine, as it is shipped; returns its path. `cold` is the duration of a cold build in
/// seconds.
pub(crate) fn for_host(workspace: &Workspace, program: &str, cold: u64) -> Result<PathBuf> {
    let target = workspace.checkout.join("target-host");
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "--package", program]);
    cargo.env("CARGO_TARGET_DIR", &target).env_remove("CARGO_BUILD_TARGET");
    let path = target.join("release").join(program);
    let seconds = if path.exists() { 2 } else { cold };
    Step::new(&format!("building {program}"), seconds).run(cargo, &workspace.log(program))?;
    Ok(path)
}

/// Makes the bindings of panthor's interface, from the headers of a kernel with Protheap's patches.
pub(crate) fn bind(workspace: &Workspace, tools: &Toolchain, kernel: &Kernel) -> Result<()> {
    let include = kernel.source.join("include/uapi");
    if !include.join("drm/panthor_protheap.h").is_file() {
        return Ok(());
    }
    let mut bindgen = tools.bindgen();
    bindgen.arg(workspace.root.join("tests/vm/guest/src/panthor/uapi.h"));
    bindgen.args(["--no-layout-tests", "--no-prepend-enum-name", "--no-doc-comments"]);
    bindgen.args(["--with-derive-default", "--use-core", "--allowlist-item", ITEMS]);
    bindgen.args(["--", "--target=aarch64-linux-gnu", "-nostdinc", "-D__user="]);
    // The last one has the headers that the build generates for arm64.
    let generated = kernel.build.join("arch/arm64/include/generated/uapi");
    for dir in [include, kernel.source.join("arch/arm64/include/uapi"), generated] {
        bindgen.arg("-I").arg(dir);
    }
    let made = output(&mut bindgen).context("failed to make the bindings of panthor")?;
    let path = workspace.bindings();
    // A file with another time would be compiled again.
    if cache::read(&path).is_ok_and(|old| old == made) {
        return Ok(());
    }
    cache::write(&path, made)
}

/// Builds programs of the cargo workspace at `root`; returns their paths.
pub(crate) fn build(
    workspace: &Workspace,
    tools: &Toolchain,
    root: &Path,
    linking: Linking,
    programs: &[&str],
) -> Result<Vec<PathBuf>> {
    let what: Vec<_> = programs.iter().flat_map(|program| ["-p", program]).collect();
    let release = compile(workspace, tools, root, linking, &what)?;
    Ok(programs.iter().map(|program| release.join(program)).collect())
}

/// Runs a cargo build with these arguments; returns its output directory.
fn compile(
    workspace: &Workspace,
    tools: &Toolchain,
    root: &Path,
    linking: Linking,
    what: &[&str],
) -> Result<PathBuf> {
    // Each way of linking has its flags, beside those of .cargo/config.toml.
    let (dir, feature) = match linking {
        Linking::Static => ("target", "+crt-static"),
        Linking::Dynamic => ("target-dynamic", "-crt-static"),
    };
    let feature = format!("target.{TARGET}.rustflags=['-C', 'target-feature={feature}']");
    let target = workspace.checkout.join(dir);
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--target", TARGET, "--config", &feature]);
    cargo.current_dir(root);
    if root == workspace.root {
        cargo.arg("--locked");
    }
    cargo
        .args(what)
        .env("RUSTC", tools.rustc())
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", format!("{CROSS}gcc"));
    // Variables of the outer cargo and its wrappers are for the host.
    for name in [
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
    ] {
        cargo.env_remove(name);
    }
    workspace.add_bindings(&mut cargo);
    tools.environment(&mut cargo);
    tools.pkg_config(&mut cargo);
    let cold = !target.join(TARGET).exists();
    Step::new("building arm64 user space", if cold { 60 } else { 2 })
        .run(cargo, &workspace.log("userspace"))?;
    Ok(target.join(TARGET).join("release"))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs for arm64: what is under test, and the scenarios' helper; and those that run on this machine.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::cache::Workspace;
use crate::progress::Step;
use crate::toolchain::{CROSS, Toolchain};

/// Programs of the guest. protheapd needs libudev, which is a shared library, and one build is for all of them.
pub(crate) const PROGRAMS: [&str; 4] =
    ["protheap-bind", "protheapctl", "protheap-guest", "protheapd"];
/// Those that a demonstration without systemd runs.
pub(crate) const DEMO: [&str; 2] = ["protheap-bind", "protheap-guest"];
/// What players begin with, as anybody would build it.
const PLAYER: [&str; 4] = ["-p", "protheap-client", "--example", "player"];
const TARGET: &str = "aarch64-unknown-linux-gnu";

/// How a program gets its C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linking {
    /// It is a part of the program.
    Static,
    /// It is the system's, as in a package.
    Dynamic,
}

/// Builds the example of a player; returns its path.
pub(crate) fn player(workspace: &Workspace, tools: &Toolchain) -> Result<PathBuf> {
    let release = compile(workspace, tools, &workspace.root, Linking::Dynamic, &PLAYER)?;
    Ok(release.join("examples/player"))
}

/// Builds a program for this machine, as it is shipped; returns its path. A cold build takes that many seconds.
pub(crate) fn for_host(workspace: &Workspace, program: &str, cold: u64) -> Result<PathBuf> {
    let target = workspace.checkout.join("target-host");
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "--package", program]);
    cargo.env("CARGO_TARGET_DIR", &target).env_remove("CARGO_BUILD_TARGET");
    let path = target.join("release").join(program);
    let seconds = if path.exists() { 2 } else { cold };
    Step::new(&format!("building {program}"), Duration::from_secs(seconds))
        .run(cargo, &workspace.log(program))?;
    Ok(path)
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

/// Has cargo build what its arguments say; returns the directory of what it made.
fn compile(
    workspace: &Workspace,
    tools: &Toolchain,
    root: &Path,
    linking: Linking,
    what: &[&str],
) -> Result<PathBuf> {
    // Each has its flags, beside those of .cargo/config.toml, which are of all that it is made of.
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
    // What the outer cargo and its wrappers say of the host is not true of this build.
    for name in [
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
    ] {
        cargo.env_remove(name);
    }
    tools.environment(&mut cargo);
    tools.pkg_config(&mut cargo);
    let cold = !target.join(TARGET).exists();
    Step::new("building arm64 user space", Duration::from_secs(if cold { 60 } else { 2 }))
        .run(cargo, &workspace.log("userspace"))?;
    Ok(target.join(TARGET).join("release"))
}

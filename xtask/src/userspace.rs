// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's own programs, linked statically for arm64.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::cache::Workspace;
use crate::progress::Step;
use crate::toolchain::{CROSS, Toolchain};

/// What is under test, and the scenarios' helper.
const PROGRAMS: [&str; 2] = ["protheap-bind", "protheap-guest"];
const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Builds the programs; returns their paths.
pub(crate) fn prepare(workspace: &Workspace, tools: &Toolchain) -> Result<Vec<PathBuf>> {
    let target = workspace.checkout.join("target");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--target", TARGET]).current_dir(&workspace.root);
    cargo.args(PROGRAMS.iter().flat_map(|program| ["-p", program]));
    cargo
        .env("RUSTC", tools.rustc())
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", format!("{CROSS}gcc"))
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    // What the outer cargo and its wrappers say of the host is not true of this build.
    for name in [
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
    ] {
        cargo.env_remove(name);
    }
    tools.environment(&mut cargo);
    let cold = !target.join(TARGET).exists();
    Step::new("building arm64 user space", Duration::from_secs(if cold { 60 } else { 2 }))
        .run(cargo, &workspace.log("userspace"))?;
    let release = target.join(TARGET).join("release");
    Ok(PROGRAMS.iter().map(|program| release.join(program)).collect())
}

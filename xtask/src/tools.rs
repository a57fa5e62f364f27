// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tools that check a release. They are installed from their own archives into the cache. If an archive cannot be
//! reached, their checks are skipped, and reported as skipped.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::cache::{self, Digest, Workspace};
use crate::host;
use crate::progress::Step;

/// Debian's Python, for which it has pip.
const PYTHON: &str = "/usr/bin/python3";
/// Expected seconds of building cargo-deny, on two busy cores.
const BUILD: u64 = 300;

/// Programs in Python, from one set of packages.
#[derive(Debug)]
pub(crate) struct Python(PathBuf);

impl Python {
    /// Installs packages of these versions into a directory of their own.
    pub(crate) fn prepare(workspace: &Workspace, name: &str, packages: &[&str]) -> Result<Self> {
        let mut digest = Digest::new();
        packages.iter().for_each(|package| digest.add(package.as_bytes()));
        let path = directory(workspace)?.join(format!("{name}-{}", digest.hex()));
        if path.exists() {
            return Ok(Self(path));
        }
        if !workspace.installs {
            bail!("{name} is not in the cache: install it, or run `cargo xtask test`");
        }
        // Not the lock of builds, which take long: `cargo xtask test` has installed pip already.
        let _lock = workspace.lock_for(name)?;
        cache::once(&path, |part| {
            host::prepare(workspace, &["python3-pip"])?;
            let mut pip = Command::new(PYTHON);
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
            pip.arg("--target").arg(part).args(packages);
            let what = format!("installing {name}");
            Step::new(&what, 20).run(pip, &workspace.log(name))
        })?;
        Ok(Self(path))
    }

    /// Returns Python with these packages in its path.
    pub(crate) fn command(&self) -> Command {
        let mut python = Command::new(PYTHON);
        python.env("PYTHONPATH", &self.0).env("PYTHONDONTWRITEBYTECODE", "1");
        python
    }
}

/// Builds the program of a crate with its lock file; returns the path of the program.
pub(crate) fn cargo(workspace: &Workspace, name: &str, version: &str) -> Result<PathBuf> {
    let path = directory(workspace)?.join(format!("{name}-{version}"));
    let _lock = workspace.lock_for(name)?;
    cache::once(&path, |part| {
        let mut cargo = workspace.cargo();
        cargo.args(["install", "--quiet", "--locked", name, "--version", version, "--root"]);
        // Outside of this checkout, whose .cargo/config.toml does not apply.
        cargo.arg(part).current_dir(part).env_remove("CARGO_TARGET_DIR");
        Step::new(&format!("building {name}"), BUILD).run(cargo, &workspace.log(name))
    })?;
    Ok(path.join("bin").join(name))
}

/// Directory of the tools.
fn directory(workspace: &Workspace) -> Result<PathBuf> {
    let path = workspace.cache.join("tools");
    cache::create_dir(&path)?;
    Ok(path)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reproducible programs: dpkg-buildpackage and rpmbuild must build the same bytes in different directories, before
//! either strips them.

use anyhow::{Result, bail};
use fs_err as fs;

use super::{deb, rpm};
use crate::cache::Workspace;

const PROGRAMS: [&str; 3] = ["protheap-bind", "protheapctl", "protheapd"];

/// Compares the programs byte for byte.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    deb::build(workspace)?;
    rpm::packages(workspace)?;
    for name in PROGRAMS {
        let [one, other] = [deb::target(workspace), rpm::target(workspace)]
            .map(|target| target.join(rpm::RELEASE).join(name));
        let read = |path| fs::read(path);
        if read(&one)? != read(&other)? {
            bail!("{} and {} differ: compare them with diffoscope", one.display(), other.display());
        }
    }
    Ok(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device trees of Debian's newest arm64 kernel.
//!
//! They are downloaded once, and again when `dtbs` is removed from the cache.
#![cfg_attr(not(test), expect(dead_code, reason = "no command reads them yet"))]

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::apt::{self, Client};
use crate::cache::{self, Workspace};

/// Those that get new kernels first; what testing has came from sid.
const SUITES: [&str; 3] = ["trixie-backports", "sid", "experimental"];
/// The packages that have had the trees; of one version, the last.
const KINDS: [&str; 2] = ["linux-image-", "linux-base-"];
const ARCH: &str = "arm64";

/// A package that may have the trees; the greatest is of the newest kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    /// The numbers that its release begins with.
    version: Vec<u64>,
    /// Its place in [`KINDS`].
    kind: usize,
    /// `7.3.4+deb13-arm64`
    release: String,
}

impl Package {
    /// Other flavours (`-rt-arm64`, `-arm64-16k`) have the same trees, and a package without a version has none.
    fn parse(name: &str) -> Option<Self> {
        let strip = |(kind, prefix): (usize, &&str)| Some((kind, name.strip_prefix(*prefix)?));
        let (kind, release) = KINDS.iter().enumerate().find_map(strip)?;
        let (version, arch) = release.split_once('-')?;
        let numbers = version.split('+').next()?.split('.');
        let version = numbers.map(|number| number.parse().ok()).collect::<Option<_>>()?;
        (arch == ARCH).then(|| Self { version, kind, release: release.to_owned() })
    }

    fn name(&self) -> String {
        KINDS[self.kind].to_owned() + &self.release
    }
}

/// All of them, sorted; the first directory is the release of their kernel.
pub(crate) fn all(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let _lock = workspace.lock()?;
    let dir = workspace.cache.join("dtbs");
    cache::once(&dir, |part| {
        let mut newest: Option<(Package, Client)> = None;
        for suite in SUITES {
            let client = Client::open(workspace, suite, "main", ARCH)?;
            let names = client.names(&format!("^linux-(image|base)-[0-9].*-{ARCH}$"))?;
            let Some(package) = names.iter().filter_map(|name| Package::parse(name)).max() else {
                continue;
            };
            if newest.as_ref().is_none_or(|(found, _)| package > *found) {
                newest = Some((package, client));
            }
        }
        let (package, client) = newest
            .with_context(|| format!("no kernel for {ARCH} in any of {}", SUITES.join(", ")))?;
        let (name, release) = (package.name(), &package.release);
        let unpacked = part.join("package");
        apt::unpack(&client.download(workspace, &name)?, &unpacked)?;
        // A directory, or since 7.2 a link to the one that has the modules.
        let trees = format!("usr/lib/linux-image-{release}");
        fs::canonicalize(unpacked.join(&trees))
            .and_then(|trees| fs::rename(trees, part.join(release)))
            .with_context(|| {
                format!("{name} has no {trees}: find the package that has, and name it here")
            })?;
        cache::remove_dir(&unpacked)
    })?;
    let mut files = cache::files(&dir)?;
    // The others are overlays.
    files.retain(|path| path.extension().is_some_and(|extension| extension == "dtb"));
    if files.is_empty() {
        bail!("{} has no device trees: remove it, and try again", dir.display());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_found_by_its_numbers() {
        let newest = |names: &[&str]| {
            names.iter().filter_map(|name| Package::parse(name)).max().map(|package| package.name())
        };
        let names = [
            "linux-base-7.3-arm64",
            "linux-base-7.3.10+deb13-arm64",
            "linux-base-7.3.10+deb13-arm64-16k",
            "linux-base-7.4.1+deb13-rt-arm64",
            "linux-base-arm64",
            "linux-image-7.3.10+deb13-arm64",
            "linux-image-7.4.1+deb13-arm64-dbg",
            "linux-image-7.3.9+deb13-arm64",
        ];
        assert_eq!(newest(&names).as_deref(), Some("linux-base-7.3.10+deb13-arm64"));
        let before = ["linux-image-6.19.8+deb13-arm64", "linux-image-6.9.12+bpo-arm64"];
        assert_eq!(newest(&before).as_deref(), Some(before[0]));
        assert_eq!(newest(&["linux-image-cloud-arm64", "linux-base-x.y-arm64"]), None);
    }

    #[test]
    #[ignore = "needs the network"]
    fn trees_of_debian() {
        let trees = all(&Workspace::open().unwrap()).unwrap();
        assert!(trees.iter().any(|path| path.ends_with("rockchip/rk3588-rock-5b.dtb")));
    }
}

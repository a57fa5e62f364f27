// SPDX-License-Identifier: MIT OR Apache-2.0
//! The packages of Debian's newest arm64 kernel of a series: headers, image and modules.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::apt::{self, Client};
use crate::cache::{self, Workspace};
use crate::kernel::Linux;

/// Suite of the kernel.
const SUITE: &str = "trixie-backports";
const ARCH: &str = "arm64";
/// Prefix of the packages of headers.
const PREFIX: &str = "linux-headers-";

/// Unpacked packages of a kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// `7.3.4+deb13-arm64`
    pub(crate) release: String,
    pub(super) linux: Linux,
    /// Its headers, with its configuration and `Module.symvers`.
    pub(crate) headers: PathBuf,
    /// Image and modules, unpacked.
    packages: PathBuf,
}

impl Kernel {
    /// Returns the path of the image, which Debian has moved from `/boot` to the directory of the modules.
    pub(crate) fn image(&self) -> Result<PathBuf> {
        let moved = self.packages.join("usr/lib/modules").join(&self.release).join("vmlinuz");
        let places = [moved, self.packages.join("boot").join(format!("vmlinuz-{}", self.release))];
        let found = places.into_iter().find(|path| path.is_file());
        found.with_context(|| format!("the packages of {} have no image", self.release))
    }

    /// Returns the directory of the modules.
    pub(crate) fn modules(&self) -> Result<PathBuf> {
        let below = |dir: &str| self.packages.join(dir).join(&self.release).join("kernel");
        let found = ["usr/lib/modules", "lib/modules"].map(below).into_iter().find(|d| d.is_dir());
        found.with_context(|| format!("the packages of {} have no modules", self.release))
    }
}

/// Returns the directory of the headers, unpacked once.
pub(crate) fn headers(workspace: &Workspace, linux: Linux) -> Result<PathBuf> {
    let dir = workspace.cache.join("headers").join(format!("{SUITE}-{}", linux.series()));
    cache::once(&dir, |part| {
        let client = Client::open(workspace, SUITE, "main", ARCH)?;
        let named =
            |packages: Vec<String>| packages.into_iter().filter(|name| name.starts_with(PREFIX));
        let names = client.names(&format!("^{PREFIX}[0-9.+a-z]+-{ARCH}$"))?;
        let package = newest(&names, linux)
            .with_context(|| format!("{SUITE} has no headers of Linux {}", linux.series()))?;
        for name in named(client.depends(&package)?).chain([package]) {
            apt::unpack(&client.download(workspace, &name)?, part)?;
        }
        Ok(())
    })?;
    // Only the headers of the architecture have a configuration.
    let found = fs::read_dir(dir.join("usr/src"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.join(".config").is_file());
    found.with_context(|| format!("{} has no headers: remove it, and try again", dir.display()))
}

/// Returns the package of the headers of the newest kernel of a series.
fn newest(names: &[String], linux: Linux) -> Option<String> {
    // linux-headers-7.3.4+deb13-arm64
    let sublevel = |name: &&String| -> Option<u64> {
        let rest = name.strip_prefix(PREFIX)?.strip_prefix(linux.series())?.strip_prefix('.')?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    names.iter().filter(|name| sublevel(name).is_some()).max_by_key(sublevel).cloned()
}

/// Returns the release of headers, which their directory has in its name.
pub(crate) fn release(headers: &Path) -> Result<String> {
    let name = headers.file_name().unwrap_or_default().to_string_lossy();
    match name.strip_prefix(PREFIX) {
        Some(release) => Ok(release.to_owned()),
        None => bail!("{} is no directory of headers", headers.display()),
    }
}

/// Returns the directory of everything that is made for a kernel.
pub(super) fn directory(workspace: &Workspace, release: &str) -> PathBuf {
    workspace.cache.join("stock").join(release)
}

/// Unpacks the packages of the kernel that the headers are for, once.
pub(super) fn kernel(workspace: &Workspace, linux: Linux) -> Result<Kernel> {
    let headers = headers(workspace, linux)?;
    let release = release(&headers)?;
    let packages = directory(workspace, &release).join("packages");
    cache::create_dir(&directory(workspace, &release))?;
    cache::once(&packages, |part| {
        let client = Client::open(workspace, SUITE, "main", ARCH)?;
        let image = format!("linux-image-{release}");
        let depends = client.depends(&image)?;
        let parts = depends.into_iter().filter(|name| is_part(name, &release));
        for name in parts.chain([image]) {
            apt::unpack(&client.download(workspace, &name)?, part)?;
        }
        Ok(())
    })?;
    Ok(Kernel { linux, release, headers, packages })
}

/// Returns whether a dependency of `linux-image-RELEASE` is a part of the kernel, which has been one package or several.
fn is_part(name: &str, release: &str) -> bool {
    name.strip_prefix("linux-").is_some_and(|rest| {
        rest.strip_suffix(release).is_some_and(|kind| ["binary-", "modules-"].contains(&kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_kernel_are_of_its_release() {
        let release = "7.3.4+deb13-arm64";
        let names = [
            "linux-base",
            "linux-base-7.3.4+deb13-arm64",
            "linux-binary-7.3.4+deb13-arm64",
            "linux-modules-7.3.4+deb13-arm64",
            "linux-modules-7.3.4+deb13-arm64-16k",
            "linux-modules-7.2.1+deb13-arm64",
        ];
        let parts: Vec<_> = names.into_iter().filter(|name| is_part(name, release)).collect();
        assert_eq!(parts, ["linux-binary-7.3.4+deb13-arm64", "linux-modules-7.3.4+deb13-arm64"]);
    }

    #[test]
    fn newest_headers_of_a_series_are_found() {
        let names = ["7.2.9+deb13", "7.2.12+deb13", "7.20.1+deb13", "7.3.4+deb13"];
        let names = names.map(|version| format!("{PREFIX}{version}-{ARCH}"));
        let newest = |linux| newest(&names, linux).unwrap();
        assert_eq!(newest(Linux::V7_2), "linux-headers-7.2.12+deb13-arm64");
        assert_eq!(newest(Linux::V7_3), "linux-headers-7.3.4+deb13-arm64");
        assert_eq!(super::newest(&names[3..], Linux::V7_2), None);
    }

    #[test]
    fn directory_of_headers_has_the_release() {
        let path = Path::new("/x/usr/src/linux-headers-7.3.4+deb13-arm64");
        assert_eq!(release(path).unwrap(), "7.3.4+deb13-arm64");
        assert!(release(Path::new("/x/usr/src/linux-7.3")).is_err());
    }
}

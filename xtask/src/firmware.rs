// SPDX-License-Identifier: MIT OR Apache-2.0
//! The firmware images of Debian, as `protheapctl` reads them.
//!
//! They are downloaded once for each suite, and again when `firmware` is removed from the cache.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::apt::{self, Client};
use crate::cache::{self, Workspace};
use crate::host;
use crate::progress::output;

/// Package with the images, by the archive's Contents-all; its licence is not free.
const PACKAGE: &str = "firmware-misc-nonfree";
const COMPONENT: &str = "non-free-firmware";
/// Directory of the images in the package.
const IMAGES: &str = "usr/lib/firmware/arm/mali";
/// Suites: the first has the oldest image, the last gets new ones first. bookworm-backports has the image of the first,
/// byte for byte, and forky that of the last.
const SUITES: [&str; 3] = ["trixie", "trixie-backports", "sid"];

/// The protected section of all known firmware: one, of 256 KiB at this address.
const PROTECTED: (u64, u64) = (0x0300_0000, 256 << 10);

/// Runs `protheapctl firmware --json` on every image.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    for image in images(workspace)? {
        let mut command = workspace.cargo();
        command.args(["run", "--quiet", "--locked", "--package", "protheapctl", "--"]);
        let json = output(command.args(["firmware", "--json"]).arg(&image))?;
        judge(&json).with_context(|| format!("protheapctl of {}", image.display()))?;
    }
    Ok(())
}

/// Downloads the images, unless that was done: at least one of each suite.
pub(crate) fn images(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let _lock = workspace.lock()?;
    let mut images = Vec::new();
    for suite in SUITES {
        let dir = workspace.cache.join("firmware").join(suite);
        cache::once(&dir, |part| {
            let client = Client::open(workspace, suite, COMPONENT, host::debian()?.arch)?;
            let package = part.join("package");
            apt::unpack(&client.download(workspace, PACKAGE)?, &package)?;
            fs::rename(package.join(IMAGES), part.join("mali")).with_context(|| {
                format!("{PACKAGE} of {suite} has no {IMAGES}: name the package that has")
            })?;
            cache::remove_dir(&package)
        })?;
        let found = cache::files(&dir)?;
        if found.is_empty() {
            bail!("{PACKAGE} of {suite} has no image in {IMAGES}");
        }
        images.extend(found);
    }
    Ok(images)
}

/// Returns the newest downloaded image for an architecture (`arch10.8`).
pub(crate) fn cached(workspace: &Workspace, arch: &str) -> Option<PathBuf> {
    let image = |suite: &&str| {
        workspace.cache.join("firmware").join(suite).join("mali").join(arch).join("mali_csffw.bin")
    };
    SUITES.iter().rev().map(image).find(|path| path.is_file())
}

/// Members of the output that are checked.
#[derive(Debug, Deserialize)]
struct Report {
    sections: Vec<Section>,
    protected_bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Section {
    va_start: u64,
    bytes: u64,
    flags: Vec<String>,
}

fn judge(json: &str) -> Result<()> {
    let report: Report = serde_json::from_str(json).context("failed to read its JSON")?;
    let protected =
        report.sections.iter().filter(|section| section.flags.iter().any(|f| f == "prot"));
    let protected: Vec<_> = protected.map(|section| (section.va_start, section.bytes)).collect();
    if protected != [PROTECTED] || report.protected_bytes != PROTECTED.1 {
        bail!("not one protected section of {PROTECTED:#x?}, as all known firmware has: {json}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_protected_section_passes() {
        let of = |sections: &[(u64, u64, &str)], bytes: u64| {
            let section = |&(va, bytes, flag): &(u64, u64, &str)| {
                format!(
                    r#"{{"va_start": {va}, "va_end": 0, "bytes": {bytes}, "flags": ["read", "{flag}"]}}"#
                )
            };
            let sections: Vec<_> = sections.iter().map(section).collect();
            judge(&format!(
                r#"{{"sections": [{}], "protected_bytes": {bytes}}}"#,
                sections.join(",")
            ))
        };
        let (good, other) = ((0x0300_0000, 0x4_0000, "prot"), (0, 0x1_0000, "exec"));
        of(&[other, good], 0x4_0000).unwrap();
        for sections in [
            &[][..],
            &[other],
            &[good, good],
            &[(0x0300_0000, 0x4_0000, "shared")],
            &[(0x0301_0000, 0x4_0000, "prot")],
            &[(0x0300_0000, 0x3_0000, "prot")],
        ] {
            assert!(of(sections, 0x4_0000).is_err(), "{sections:?}");
        }
        assert!(of(&[good], 0).is_err());
        assert!(judge("").is_err());
    }

    #[test]
    #[ignore = "needs the network: a step of `cargo xtask test`"]
    fn images_of_debian() {
        check(&Workspace::open().unwrap()).unwrap();
    }
}

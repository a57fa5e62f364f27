// SPDX-License-Identifier: MIT OR Apache-2.0
//! The firmware image of the modelled GPU: it describes its memory and has no code, because csfmodel.ko emulates it.
//!
//! Its format is that of `daemon/csf`, which reads it in a test.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::cache::{self, Workspace};

const MAGIC: u32 = 0xc3f1_3a6e;
/// Version: major 0, minor 3.
const VERSION: u32 = 3;
const HEADER_BYTES: u32 = 20;
/// Entry of a section: kind 0, and its size.
const SECTION_BYTES: u32 = 24;

const READ: u32 = 1 << 0;
const WRITE: u32 = 1 << 1;
const CACHED: u32 = 1 << 3;
/// Uncached, and coherent with the CPU: bits 3 and 4.
const UNCACHED: u32 = 3 << 3;
const PROTECTED: u32 = 1 << 5;
const SHARED: u32 = 1 << 30;
const ZERO: u32 = 1 << 31;

/// Flags, first address, and end address. The protected section is as in every known image.
const SECTIONS: [(u32, u32, u32); 2] = [
    (READ | WRITE | UNCACHED | SHARED | ZERO, 0x0400_0000, 0x0401_0000),
    (READ | WRITE | CACHED | PROTECTED, 0x0300_0000, 0x0304_0000),
];

/// Returns the image.
pub(crate) fn image() -> Vec<u8> {
    let mut table = Vec::new();
    for (flags, start, end) in SECTIONS {
        // No initial data.
        table.extend([SECTION_BYTES << 8, flags, start, end, 0, 0]);
    }
    let bytes = HEADER_BYTES + SECTION_BYTES * (SECTIONS.len() as u32);
    let header = [MAGIC, VERSION, 0, 0, bytes];
    header.into_iter().chain(table).flat_map(u32::to_le_bytes).collect()
}

/// Returns the directories below `arm/mali` that panthor searches for the GPUs of the boards: `arch10.8`.
pub(crate) fn directories(workspace: &Workspace) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for path in cache::files(&workspace.root.join("driver/testing/boards"))? {
        for id in cache::read(&path)?.lines().filter_map(gpu_id) {
            let id = id.with_context(|| format!("protheap,modelled-gpu in {}", path.display()))?;
            found.insert(directory(id));
        }
    }
    Ok(found)
}

/// Returns the GPU in a line of a device tree.
fn gpu_id(line: &str) -> Option<Result<u32, std::num::ParseIntError>> {
    let value = line.trim().strip_prefix("protheap,modelled-gpu = <0x")?.strip_suffix(">;")?;
    Some(u32::from_str_radix(value, 16))
}

/// Returns the directory for a GPU's identity by its highest bytes: architecture, major and minor.
fn directory(id: u32) -> String {
    format!("arch{}.{}", id >> 28, id >> 24 & 0xf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_has_one_protected_section() {
        let image = image();
        let image = protheap_csf::Image::parse(&image).unwrap();
        let flags: Vec<_> = image.sections().map(|section| section.flags.to_string()).collect();
        assert_eq!(flags, ["read write cached coherent shared zero", "read write cached prot"]);
        assert_eq!(image.protected_bytes(), 262_144);
    }

    #[test]
    fn firmware_directory_follows_from_the_gpu() {
        let id = gpu_id("\t\tprotheap,modelled-gpu = <0xa8670005>;").unwrap().unwrap();
        assert_eq!(directory(id), "arch10.8");
        assert_eq!(directory(0xd800_0000), "arch13.8");
        assert!(gpu_id("\t\tclocks = <&gpu_clock>;").is_none());
    }
}

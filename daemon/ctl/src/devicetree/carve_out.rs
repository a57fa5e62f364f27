// SPDX-License-Identifier: MIT OR Apache-2.0

//! Carve-outs: reserved regions of memory from which a protected heap can come.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{DeviceTree, Property, Region};

/// Maximum number of carve-outs that are returned.
const MOST: usize = 100;
/// Compatible strings of regions whose vendor's driver registers a heap or hands them to the GPU
/// driver: Linaro's and NXP's kernels, Arm's kernel driver, and MediaTek's and ChromeOS's kernels.
const KNOWN: [&str; 4] = [
    "linaro,restricted-heap",
    "linaro,secure-heap",
    "mali-reserved",
    "mediatek,dynamic-restricted-region",
];
/// Parts of names that vendors give to protected regions.
const WORDS: [&str; 5] = ["protected", "restricted", "secure", "svp", "vpr"];

/// A reserved region from which a protected heap can come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CarveOut {
    /// Path of the region, such as `/reserved-memory/svp@80000000`.
    pub path: String,
    /// Name of the region without its address, such as `svp`.
    pub name: String,
    /// Size of the region in bytes, if the tree has it.
    pub bytes: Option<u64>,
    /// Valid strings of `compatible`.
    pub compatible: Vec<String>,
    /// Status, as in [`Node`](super::Node).
    pub status: String,
    /// Whether the kernel does not map the region.
    pub no_map: bool,
    /// The device that allocates from the region, if a node names the region.
    pub allocator: Option<Allocator>,
}

/// A node that names a carve-out in its `memory-region`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allocator {
    /// Path of the node.
    pub path: String,
    /// Name of the kernel's device, such as `protected-memory-allocator`.
    pub device: String,
    /// Valid strings of `compatible`.
    pub compatible: Vec<String>,
}

impl DeviceTree {
    /// Returns the carve-outs: regions of a known driver, regions that an allocator's node names,
    /// and regions that the kernel does not map and whose name is common for protected memory.
    ///
    /// Pools of the kernel (`shared-dma-pool`) are not returned, unless an allocator's node names
    /// them. At most 100 carve-outs are returned.
    pub fn carve_outs(&self) -> Vec<CarveOut> {
        let allocators = self.allocators();
        let mut found = Vec::new();
        for (node, region) in self.regions() {
            let allocator = self.phandle(node).and_then(|phandle| allocators.get(&phandle));
            let Region { path, compatible, status, no_map, bytes, .. } = region;
            let name = path.rsplit('/').next().unwrap_or_default();
            let name = name.split('@').next().unwrap_or_default().to_owned();
            let has = |wanted: &str| compatible.iter().any(|one| one == wanted);
            let is_named = no_map && !has("shared-dma-pool") && is_common(&name);
            if allocator.is_some() || KNOWN.iter().any(|known| has(known)) || is_named {
                let allocator = allocator.cloned();
                found.push(CarveOut { path, name, bytes, compatible, status, no_map, allocator });
            }
            if found.len() == MOST {
                break;
            }
        }
        found
    }

    /// Returns the nodes of allocators by the phandles in their `memory-region`.
    fn allocators(&self) -> BTreeMap<u32, Allocator> {
        let mut allocators = BTreeMap::new();
        for node in 1..self.nodes.len() {
            let Some(regions) = self.property(node, Property::MemoryRegion) else { continue };
            let (compatible, _) = self.compatible(node);
            if !compatible.iter().any(|one| is_allocator(one)) {
                continue;
            }
            for phandle in regions.chunks_exact(4).take(MOST) {
                let Some(phandle) = phandle.first_chunk().copied() else { continue };
                allocators.entry(u32::from_be_bytes(phandle)).or_insert_with(|| Allocator {
                    path: self.path(node),
                    device: self.device(node),
                    compatible: compatible.clone(),
                });
            }
            if allocators.len() >= MOST {
                break;
            }
        }
        allocators
    }

    fn phandle(&self, node: usize) -> Option<u32> {
        let cell = self.property(node, Property::Phandle)?.first_chunk().copied();
        cell.map(u32::from_be_bytes)
    }
}

/// Returns whether a compatible string is that of a device which allocates memory, such as
/// `arm,protected-memory-allocator` or `mediatek,secure-heap`.
pub(super) fn is_allocator(compatible: &str) -> bool {
    let model = compatible.rsplit(',').next().unwrap_or_default();
    model.contains("protected-memory")
        || model.split(['-', '_']).any(|word| matches!(word, "heap" | "heaps"))
}

/// Returns whether the name of a region is common for protected memory.
fn is_common(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

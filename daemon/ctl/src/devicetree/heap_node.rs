// SPDX-License-Identifier: MIT OR Apache-2.0

//! Nodes from which drivers outside kernel.org register protected heaps, with the names of these
//! heaps.

use super::carve_out::is_allocator;
use super::{CarveOut, DeviceTree, OKAY, Property};

/// Maximum number of nodes that are returned.
const MOST: usize = 100;

/// How a driver names its heap.
#[derive(Debug, Clone, Copy)]
enum Naming {
    /// After the node, up to its `@`.
    Node,
    /// Always with this name.
    Fixed(&'static str),
    /// With this name, in kernels for boards with a compatible string of this vendor. Kernels of
    /// other vendors have another driver for the node.
    Vendor(&'static str, &'static str),
}

/// Compatible strings of nodes whose driver registers a heap with a known name, each from public
/// source:
///
/// - `linaro,secure-heap`: Linaro's proposal of 2022, in kernels of NXP;
/// - `linaro,restricted-heap`: its second version, of 2024;
/// - `mediatek,dynamic-restricted-region`: MediaTek's proposal of 2024, in kernels of ChromeOS;
/// - `arm,protected-memory-allocator`: the allocator of Arm's own GPU driver, which registers no
///   heap. NXP's kernels of 2025 add one for it.
const NAMINGS: [(&str, Naming); 4] = [
    ("linaro,secure-heap", Naming::Node),
    ("linaro,restricted-heap", Naming::Node),
    ("mediatek,dynamic-restricted-region", Naming::Fixed("restricted_mtk_cma")),
    ("arm,protected-memory-allocator", Naming::Vendor("fsl,", "protected")),
];
/// Compatible string of memory that MediaTek's kernels use for protected video. No public source
/// shows that a GPU uses it.
const VIDEO: &str = "mediatek,dynamic-restricted-region";

/// Node of a driver that may register a protected heap, or a carve-out that may be its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeapNode {
    /// Path of the node.
    pub path: String,
    /// Valid strings of `compatible`.
    pub compatible: Vec<String>,
    /// The compatible string for `provider`. `None` for reserved memory, for which the kernel
    /// creates no device: the module of the driver looks it up when it is loaded.
    pub provider: Option<String>,
    /// Name of the heap, if a driver that registers it is known.
    pub heap: Option<String>,
    /// Whether the memory is known to be for video, and not for a GPU.
    pub is_video: bool,
    /// Status of the node, as in [`Node`](super::Node).
    pub status: String,
    /// The reserved memory: the node itself, or the first that its `memory-region` refers to.
    pub carve_out: Option<CarveOut>,
}

impl DeviceTree {
    /// Returns the allocators, and the carve-outs that none of them refers to. At most 100 nodes
    /// are returned.
    pub fn heap_nodes(&self) -> Vec<HeapNode> {
        let carve_outs = self.carve_outs();
        let is_of = |carve_out: &&CarveOut, path: &str| {
            carve_out.allocator.as_ref().is_some_and(|allocator| allocator.path == path)
        };
        let mut found: Vec<_> = self
            .allocator_nodes()
            .take(MOST)
            .map(|node| {
                let path = self.path(node);
                let carve_out = carve_outs.iter().find(|one| is_of(one, &path)).cloned();
                let (compatible, _) = self.compatible(node);
                let memory = carve_out.as_ref();
                let of_memory =
                    |memory: &CarveOut| self.heap_name(&memory.name, &memory.compatible);
                let heap = self.heap_name(self.name(node), &compatible);
                HeapNode {
                    provider: compatible.iter().find(|one| is_allocator(one)).cloned(),
                    heap: heap.or_else(|| memory.and_then(of_memory)),
                    is_video: memory.is_some_and(is_video),
                    status: self.status(node),
                    path,
                    compatible,
                    carve_out,
                }
            })
            .collect();
        for carve_out in carve_outs.into_iter().filter(|one| one.allocator.is_none()) {
            found.push(HeapNode {
                path: carve_out.path.clone(),
                compatible: carve_out.compatible.clone(),
                provider: None,
                heap: self.heap_name(&carve_out.name, &carve_out.compatible),
                is_video: is_video(&carve_out),
                status: carve_out.status.clone(),
                carve_out: Some(carve_out),
            });
        }
        found.truncate(MOST);
        found
    }

    /// Returns the compatible string of the known driver that registers a heap called `name` on this
    /// board, unless the heap has the name of its node.
    pub fn driver_of_heap(&self, name: &str) -> Option<&'static str> {
        let is_it = |naming: &Naming| self.fixed_name(*naming) == Some(name);
        NAMINGS.iter().find(|(_, naming)| is_it(naming)).map(|(compatible, _)| *compatible)
    }

    /// Returns the nodes of allocators outside of the reserved memory.
    fn allocator_nodes(&self) -> impl Iterator<Item = usize> {
        (1..self.nodes.len()).filter(|node| {
            let is_reserved =
                self.parent(*node).is_some_and(|parent| self.name(parent) == "reserved-memory");
            self.property(*node, Property::Compatible).is_some()
                && !is_reserved
                && self.compatible(*node).0.iter().any(|one| is_allocator(one))
        })
    }

    /// Returns the name of the heap of a node with this name and `compatible`.
    fn heap_name(&self, node: &str, compatible: &[String]) -> Option<String> {
        let (_, naming) =
            NAMINGS.iter().find(|(known, _)| compatible.iter().any(|one| one == known))?;
        match naming {
            Naming::Node => node.split('@').next().map(str::to_owned),
            fixed => self.fixed_name(*fixed).map(str::to_owned),
        }
    }

    /// Returns the name of a driver's heap on this board, if it does not depend on a node.
    fn fixed_name(&self, naming: Naming) -> Option<&'static str> {
        match naming {
            Naming::Node => None,
            Naming::Fixed(name) => Some(name),
            Naming::Vendor(vendor, name) => {
                let (board, _) = self.compatible(0);
                board.iter().any(|one| one.starts_with(vendor)).then_some(name)
            }
        }
    }
}

impl HeapNode {
    /// Returns whether the kernel uses the node.
    pub fn is_okay(&self) -> bool {
        self.status == OKAY
    }
}

fn is_video(carve_out: &CarveOut) -> bool {
    carve_out.compatible.iter().any(|one| one == VIDEO)
}

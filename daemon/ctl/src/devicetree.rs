// SPDX-License-Identifier: MIT OR Apache-2.0

//! The device tree of a board: from a blob, or as the kernel shows it.
//!
//! It shows which devices the kernel would create on a board that is not running. Those of a
//! running board are read by [`platform`] and [`devices`](protheap_board::devices).

mod blob;
mod carve_out;
mod directory;
mod heap_node;
mod media;
pub(crate) mod overlay;
#[cfg(test)]
mod tests;

use std::ffi::CStr;
use std::iter::successors;
use std::ops::Range;

use protheap_board::platform::{self, BadString};
use protheap_core::facts::Platform;

pub use blob::BlobError;
pub use carve_out::{Allocator, CarveOut};
pub use heap_node::HeapNode;
pub use media::{MediaDevice, Role, role};

/// Maximum depth of the tree: `FDT_MAX_DEPTH` in `drivers/of/fdt.c`.
const DEEPEST: usize = 64;
/// Maximum number of nodes. The largest of Debian's arm64 trees has some 1,500.
const MOST_NODES: usize = 100_000;
/// Maximum size of a blob, or of all properties that are read from a directory, in bytes.
const MOST_BYTES: usize = 16 << 20;
/// Maximum length of a node's name, in bytes: that of a directory entry.
const LONGEST_NAME: usize = 255;
/// Maximum size of all `ranges` on one path, in bytes, because each address below is looked up in
/// all of them. The largest in Debian's arm64 trees is 1,224.
const MOST_RANGES: usize = 4096;

/// Status of a node that is enabled.
pub const OKAY: &str = "okay";
/// Status of a node whose `status` is not text. The kernel does not treat it as `okay`.
pub const INVALID: &str = "invalid";

/// A property that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Property {
    Compatible,
    Status,
    Reg,
    Ranges,
    AddressCells,
    SizeCells,
    DeviceType,
    Mask,
    Model,
    NoMap,
    Reusable,
    Size,
    Phandle,
    MemoryRegion,
}

impl Property {
    const NAMES: [(Self, &CStr); 14] = [
        (Self::Compatible, c"compatible"),
        (Self::Status, c"status"),
        (Self::Reg, c"reg"),
        (Self::Ranges, c"ranges"),
        (Self::AddressCells, c"#address-cells"),
        (Self::SizeCells, c"#size-cells"),
        (Self::DeviceType, c"device_type"),
        (Self::Mask, c"mask"),
        (Self::Model, c"model"),
        (Self::NoMap, c"no-map"),
        (Self::Reusable, c"reusable"),
        (Self::Size, c"size"),
        (Self::Phandle, c"phandle"),
        (Self::MemoryRegion, c"memory-region"),
    ];
}

/// A device tree. Only the properties that this program uses are kept.
#[derive(Debug, Clone, Default)]
pub struct DeviceTree {
    /// Nodes in an order in which the parent precedes its children. The root is the first.
    nodes: Vec<Entry>,
    properties: Vec<(Property, Range<usize>)>,
    /// Text that the ranges of [`Entry::name`] refer to.
    names: String,
    /// Bytes that the ranges of the properties refer to.
    values: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Entry {
    parent: Option<usize>,
    name: Range<usize>,
    properties: Range<usize>,
    /// Size of the node's `ranges` and of those above it, in bytes.
    ranges: usize,
    /// Address of the node's registers as the processor sees it.
    address: Option<u64>,
}

/// A node for which the kernel creates a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Path of the node, such as `/soc/gpu@4d900000`.
    pub path: String,
    /// Name of the kernel's device, such as `4d900000.gpu` or `firmware:optee`.
    pub device: String,
    /// `compatible` of the node, most specific first.
    pub compatible: Vec<String>,
    /// Strings of `compatible` that were dropped.
    pub bad: Vec<BadString>,
    /// [`OKAY`], or else the status of the node, or of the nearest parent that is not okay. The
    /// kernel creates no devices below such a node.
    pub status: String,
}

/// A child of `/reserved-memory`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Path of the region, such as `/reserved-memory/svp@80000000`.
    pub path: String,
    /// Valid strings of `compatible`.
    pub compatible: Vec<String>,
    /// Status, as in [`Node`].
    pub status: String,
    /// Whether the processor must not map the region.
    pub no_map: bool,
    /// Whether the kernel may use the region for other purposes.
    pub reusable: bool,
    /// Size of the region, in bytes: that of the first entry of `reg`, which the kernel uses
    /// (`drivers/of/of_reserved_mem.c`), or `size` for a region without a fixed address.
    pub bytes: Option<u64>,
}

impl DeviceTree {
    /// Returns the root's `compatible` and `model`, and the strings of `compatible` that were
    /// dropped. A `model` that is not UTF-8 counts as absent.
    pub fn platform(&self) -> (Platform, Vec<BadString>) {
        let (compatible, bad) = self.compatible(0);
        let model = self.property(0, Property::Model).and_then(|bytes| {
            let text = bytes.split(|byte| *byte == 0).next()?;
            std::str::from_utf8(text).ok().filter(|text| !text.is_empty()).map(str::to_owned)
        });
        (Platform { compatible, model }, bad)
    }

    /// Returns the nodes with one of the compatible strings in `wanted`, in the tree's order. A
    /// directory has no order, and yields them by name.
    pub fn nodes_compatible(&self, wanted: &[&str]) -> impl Iterator<Item = Node> {
        (1..self.nodes.len()).filter(|node| self.is_compatible(*node, wanted)).map(|node| {
            let (compatible, bad) = self.compatible(node);
            let (path, device) = (self.path(node), self.device(node));
            Node { path, device, compatible, bad, status: self.status(node) }
        })
    }

    /// Returns the regions of memory that the tree reserves.
    pub fn reserved_memory(&self) -> impl Iterator<Item = Region> {
        self.regions().map(|(_, region)| region)
    }

    /// Returns the regions of memory that the tree reserves, each with its node.
    fn regions(&self) -> impl Iterator<Item = (usize, Region)> {
        let is_child = |node: usize, parent| self.parent(node) == Some(parent);
        let of = (1..self.nodes.len())
            .find(|node| is_child(*node, 0) && self.name(*node) == "reserved-memory");
        let of = of.into_iter();
        of.flat_map(move |of| (of + 1..self.nodes.len()).map(move |node| (of, node)))
            .filter(move |(of, node)| is_child(*node, *of))
            .map(|(of, node)| {
                let region = Region {
                    path: self.path(node),
                    compatible: self.compatible(node).0,
                    status: self.status(node),
                    no_map: self.property(node, Property::NoMap).is_some(),
                    reusable: self.property(node, Property::Reusable).is_some(),
                    bytes: self.region_bytes(of, node),
                };
                (node, region)
            })
    }

    /// Adds a node, whose properties follow.
    fn open(&mut self, parent: Option<usize>, name: &str) -> usize {
        let start = self.names.len();
        self.names.push_str(name);
        let (name, next) = (start..self.names.len(), self.properties.len());
        let ranges = parent.and_then(|parent| self.nodes.get(parent)).map_or(0, |node| node.ranges);
        self.nodes.push(Entry { parent, name, properties: next..next, ranges, address: None });
        self.nodes.len() - 1
    }

    /// Adds a property of the node that was added last. Of duplicates, the first counts, as in the
    /// kernel. Returns false if the `ranges` exceed their maximum.
    fn keep(&mut self, property: Property, value: &[u8]) -> bool {
        let Some(node) = self.nodes.last_mut() else {
            return true;
        };
        let own = self.properties.get(node.properties.clone()).unwrap_or_default();
        if own.iter().any(|(kept, _)| *kept == property) {
            return true;
        }
        if property == Property::Ranges {
            if node.ranges + value.len() > MOST_RANGES {
                return false;
            }
            node.ranges += value.len();
        }
        let start = self.values.len();
        self.values.extend_from_slice(value);
        self.properties.push((property, start..self.values.len()));
        node.properties.end = self.properties.len();
        true
    }

    /// Translates all addresses, once for each node, which bounds the work for a hostile tree.
    fn translate_all(&mut self) {
        for node in 0..self.nodes.len() {
            let address = self.translate(node);
            if let Some(node) = self.nodes.get_mut(node) {
                node.address = address;
            }
        }
    }

    fn parent(&self, node: usize) -> Option<usize> {
        self.nodes.get(node)?.parent
    }

    /// Returns the node and its parents up to the root.
    fn upwards(&self, node: usize) -> impl Iterator<Item = usize> {
        successors(Some(node), |node| self.parent(*node))
    }

    fn name(&self, node: usize) -> &str {
        self.nodes.get(node).and_then(|node| self.names.get(node.name.clone())).unwrap_or_default()
    }

    fn property(&self, node: usize, wanted: Property) -> Option<&[u8]> {
        let own = self.properties.get(self.nodes.get(node)?.properties.clone())?;
        let (_, value) = own.iter().find(|(property, _)| *property == wanted)?;
        self.values.get(value.clone())
    }

    fn path(&self, node: usize) -> String {
        let mut names: Vec<_> = self.upwards(node).map(|node| self.name(node)).collect();
        names.reverse();
        names.join("/")
    }

    fn compatible(&self, node: usize) -> (Vec<String>, Vec<BadString>) {
        platform::compatible(self.property(node, Property::Compatible).unwrap_or_default())
    }

    fn is_compatible(&self, node: usize, wanted: &[&str]) -> bool {
        let bytes = self.property(node, Property::Compatible).unwrap_or_default();
        let any = bytes
            .split(|byte| *byte == 0)
            .any(|one| wanted.iter().any(|wanted| wanted.as_bytes() == one));
        // Only nodes with a match have their strings checked.
        any && self.compatible(node).0.iter().any(|one| wanted.contains(&one.as_str()))
    }

    /// Returns the status of the node and its parents, as `of_device_is_available()` in
    /// `drivers/of/base.c` does.
    fn status(&self, node: usize) -> String {
        let statuses = self.upwards(node).filter_map(|node| self.property(node, Property::Status));
        let mut not_okay = statuses.map(text).filter(|text| !matches!(*text, "okay" | "ok"));
        not_okay.next().unwrap_or(OKAY).to_owned()
    }

    /// Returns the name of the device, as `of_device_make_bus_id()` in `drivers/of/device.c` does.
    fn device(&self, node: usize) -> String {
        let mut parts = Vec::new();
        for node in self.upwards(node).filter(|node| self.parent(*node).is_some()) {
            let name = self.name(node);
            let Some(Entry { address: Some(address), .. }) = self.nodes.get(node) else {
                parts.push(name.to_owned());
                continue;
            };
            let name = name.split('@').next().unwrap_or_default();
            parts.push(match self.property(node, Property::Mask).and_then(|mask| mask.get(..4)) {
                // The number of the lowest set bit, or -1 if there is none.
                Some(mask) => match number(mask).trailing_zeros() {
                    64 => format!("{address:x}.{:x}.{name}", u32::MAX),
                    bit => format!("{address:x}.{bit:x}.{name}"),
                },
                None => format!("{address:x}.{name}"),
            });
            break;
        }
        parts.reverse();
        parts.join(":")
    }

    /// Translates the address of a node on plain buses, as `of_translate_address()` in
    /// `drivers/of/address.c` does.
    fn translate(&self, node: usize) -> Option<u64> {
        let reg = self.property(node, Property::Reg)?;
        let mut bus = self.parent(node)?;
        let (mut cells, mut size_cells) = self.bus(bus)?;
        let mut address = number(reg.get(..4 * cells)?);
        while let Some(parent) = self.parent(bus) {
            let (parent_cells, parent_size_cells) = self.bus(parent)?;
            let ranges = self.property(bus, Property::Ranges)?;
            // Empty `ranges` map each address to itself.
            if !ranges.is_empty() {
                let entry = 4 * (cells + parent_cells + size_cells);
                address = ranges.chunks_exact(entry).find_map(|range| {
                    let (child, rest) = range.split_at_checked(4 * cells)?;
                    let (to, size) = rest.split_at_checked(4 * parent_cells)?;
                    let (child, size) = (number(child), number(size));
                    let inside = address >= child && address < child.wrapping_add(size);
                    inside.then(|| number(to).wrapping_add(address - child))
                })?;
            }
            if parent_cells == 1 {
                address &= u64::from(u32::MAX);
            }
            (bus, cells, size_cells) = (parent, parent_cells, parent_size_cells);
        }
        // The kernel's `OF_BAD_ADDR`.
        (address != u64::MAX).then_some(address)
    }

    /// Returns the number of cells of an address and of a size below `node`, if it is a plain bus
    /// whose addresses can be the processor's: `of_match_bus()` and `OF_CHECK_COUNTS()` in
    /// `drivers/of`. No GPU is below PCI, ISA, or another bus whose addresses carry flags.
    fn bus(&self, node: usize) -> Option<(usize, usize)> {
        self.property(node, Property::AddressCells)?;
        let device_type = self.property(node, Property::DeviceType).map(text);
        let name = self.name(node).split('@').next();
        if matches!(device_type, Some("pci" | "pciex" | "vci" | "ht"))
            || matches!(name, Some("pcie" | "isa"))
        {
            return None;
        }
        match (self.cells(node, Property::AddressCells), self.cells(node, Property::SizeCells)) {
            // The kernel accepts sizes of any number of cells, but no tree has more than four.
            (cells @ (1 | 2 | 4), sizes @ 1..=4) => Some((cells as usize, sizes as usize)),
            _ => None,
        }
    }

    /// Returns the number of cells as `of_bus_n_addr_cells()` in `drivers/of/base.c` does: from the
    /// nearest parent that sets it, or else 1.
    fn cells(&self, node: usize, property: Property) -> u32 {
        let said = |node| self.property(node, property)?.first_chunk().copied();
        self.upwards(node).find_map(said).map_or(1, u32::from_be_bytes)
    }

    fn region_bytes(&self, of: usize, node: usize) -> Option<u64> {
        let (cells, sizes) = self.bus(of)?;
        match self.property(node, Property::Reg) {
            Some(reg) => reg.get(4 * cells..4 * (cells + sizes)).map(number),
            None => self.property(node, Property::Size)?.get(..4 * sizes).map(number),
        }
    }
}

/// Returns whether `name` can be the name of a node. The specification is stricter, but some trees
/// violate it.
fn is_node_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

/// Returns the text of a property with one string.
fn text(value: &[u8]) -> &str {
    let text = CStr::from_bytes_until_nul(value).ok().and_then(|text| text.to_str().ok());
    text.filter(|text| is_text(text)).unwrap_or(INVALID)
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns the last 64 bits of the number in big-endian cells, as `of_read_number()` does.
fn number(cells: &[u8]) -> u64 {
    cells.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

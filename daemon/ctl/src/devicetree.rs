// SPDX-License-Identifier: MIT OR Apache-2.0

//! A board's device tree: from a blob, or as the kernel shows it.
//!
//! It says what the kernel would make of a board that does not run. What runs is read from
//! [`platform`] and [`devices`](protheap_board::devices).

mod blob;
mod directory;
#[cfg(test)]
mod tests;

use std::ffi::CStr;
use std::iter::successors;
use std::ops::Range;

use protheap_board::platform::{self, BadString};
use protheap_core::facts::Platform;

pub use blob::BlobError;

/// How many nodes may be on one path: `FDT_MAX_DEPTH` in drivers/of/fdt.c.
const DEEPEST: usize = 64;
/// How many nodes a tree may have. The largest of Debian's arm64 trees has some 1,500.
const MOST_NODES: usize = 100_000;
/// How many bytes a blob, or the properties that are read from a directory, may have.
const MOST_BYTES: usize = 16 << 20;
/// The longest name of a node, in bytes: that of a directory's entry.
const LONGEST_NAME: usize = 255;
/// How many bytes the `ranges` on one path may have: each address below is looked up in all of them.
/// The longest of Debian's arm64 trees has 1,224.
const MOST_RANGES: usize = 4096;

/// The status of a node that can be used.
pub const OKAY: &str = "okay";
/// The status of a node whose `status` is no text: the kernel does not take it for `okay`.
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
}

impl Property {
    const NAMES: [(Self, &CStr); 12] = [
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
    ];
}

/// A device tree, of which only the properties are kept that are asked for here.
#[derive(Debug, Clone, Default)]
pub struct DeviceTree {
    /// A node stands behind its parent; the root is the first.
    nodes: Vec<Entry>,
    properties: Vec<(Property, Range<usize>)>,
    /// What [`Entry::name`] is a range of.
    names: String,
    /// What the ranges of the properties are of.
    values: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Entry {
    parent: Option<usize>,
    name: Range<usize>,
    properties: Range<usize>,
    /// How many bytes its `ranges` and those of the nodes above it have.
    ranges: usize,
    /// Where the processor sees the node's registers.
    address: Option<u64>,
}

/// A node that a device is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its path: `/soc/gpu@4d900000`.
    pub path: String,
    /// What the kernel calls its device: `4d900000.gpu`, `firmware:optee`.
    pub device: String,
    /// Its `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// The strings of its `compatible` that were dropped.
    pub bad: Vec<BadString>,
    /// [`OKAY`], or else its own status, or that of the nearest node above which is not okay: the
    /// kernel makes no devices below such a node.
    pub status: String,
}

/// A child of `/reserved-memory`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Its path: `/reserved-memory/svp@80000000`.
    pub path: String,
    /// Its `compatible`, without what cannot be one.
    pub compatible: Vec<String>,
    /// As that of a [`Node`].
    pub status: String,
    /// The processor may not map it.
    pub no_map: bool,
    /// The kernel uses it for other things meanwhile.
    pub reusable: bool,
    /// Its size: that of the first entry of `reg`, which is the one that the kernel takes
    /// (drivers/of/of_reserved_mem.c), or `size` of a region without a fixed place.
    pub bytes: Option<u64>,
}

impl DeviceTree {
    /// The root's `compatible` and `model`, and the strings of the former that were dropped. A
    /// `model` that is not UTF-8 counts as absent.
    pub fn platform(&self) -> (Platform, Vec<BadString>) {
        let (compatible, bad) = self.compatible(0);
        let model = self.property(0, Property::Model).and_then(|bytes| {
            let text = bytes.split(|byte| *byte == 0).next()?;
            std::str::from_utf8(text).ok().filter(|text| !text.is_empty()).map(str::to_owned)
        });
        (Platform { compatible, model }, bad)
    }

    /// The nodes that have one of the compatible strings in `wanted`, in the tree's order. A
    /// directory has none: there they come by name.
    pub fn nodes_compatible(&self, wanted: &[&str]) -> impl Iterator<Item = Node> {
        (1..self.nodes.len()).filter(|node| self.is_compatible(*node, wanted)).map(|node| {
            let (compatible, bad) = self.compatible(node);
            let (path, device) = (self.path(node), self.device(node));
            Node { path, device, compatible, bad, status: self.status(node) }
        })
    }

    /// The regions of memory that the tree sets aside.
    pub fn reserved_memory(&self) -> impl Iterator<Item = Region> {
        let is_child = |node: usize, parent| self.parent(node) == Some(parent);
        let of = (1..self.nodes.len())
            .find(|node| is_child(*node, 0) && self.name(*node) == "reserved-memory");
        let of = of.into_iter();
        of.flat_map(move |of| (of + 1..self.nodes.len()).map(move |node| (of, node)))
            .filter(move |(of, node)| is_child(*node, *of))
            .map(|(of, node)| Region {
                path: self.path(node),
                compatible: self.compatible(node).0,
                status: self.status(node),
                no_map: self.property(node, Property::NoMap).is_some(),
                reusable: self.property(node, Property::Reusable).is_some(),
                bytes: self.region_bytes(of, node),
            })
    }

    /// Adds a node, whose properties come next.
    fn open(&mut self, parent: Option<usize>, name: &str) -> usize {
        let start = self.names.len();
        self.names.push_str(name);
        let (name, next) = (start..self.names.len(), self.properties.len());
        let ranges = parent.and_then(|parent| self.nodes.get(parent)).map_or(0, |node| node.ranges);
        self.nodes.push(Entry { parent, name, properties: next..next, ranges, address: None });
        self.nodes.len() - 1
    }

    /// Adds a property of the node that was opened last. Of several, the kernel sees the first.
    /// False: it is one `ranges` too many.
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

    /// Looks up all addresses, once for each node, so that a hostile tree is no work without end.
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

    /// The node itself, and those above it up to the root.
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
        // Most nodes are not: only then are the strings judged.
        any && self.compatible(node).0.iter().any(|one| wanted.contains(&one.as_str()))
    }

    /// As `of_device_is_available()` in drivers/of/base.c judges the node and those above it.
    fn status(&self, node: usize) -> String {
        let statuses = self.upwards(node).filter_map(|node| self.property(node, Property::Status));
        let mut not_okay = statuses.map(text).filter(|text| !matches!(*text, "okay" | "ok"));
        not_okay.next().unwrap_or(OKAY).to_owned()
    }

    /// As `of_device_make_bus_id()` in drivers/of/device.c does it.
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
                // The number of the lowest bit, and -1 for none.
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

    /// As `of_translate_address()` in drivers/of/address.c does it for plain buses.
    fn translate(&self, node: usize) -> Option<u64> {
        let reg = self.property(node, Property::Reg)?;
        let mut bus = self.parent(node)?;
        let (mut cells, mut size_cells) = self.bus(bus)?;
        let mut address = number(reg.get(..4 * cells)?);
        while let Some(parent) = self.parent(bus) {
            let (parent_cells, parent_size_cells) = self.bus(parent)?;
            let ranges = self.property(bus, Property::Ranges)?;
            // Without entries, both sides have the same addresses.
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
        // The kernel's OF_BAD_ADDR.
        (address != u64::MAX).then_some(address)
    }

    /// The cells of an address and of a size below `node`, if it is a plain bus whose addresses can
    /// be the processor's: `of_match_bus()` and `OF_CHECK_COUNTS()` in drivers/of. No GPU is below
    /// PCI, ISA, or another bus whose addresses carry flags.
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
            // No more than four of a size: the kernel takes any number, but none is written so.
            (cells @ (1 | 2 | 4), sizes @ 1..=4) => Some((cells as usize, sizes as usize)),
            _ => None,
        }
    }

    /// As `of_bus_n_addr_cells()` in drivers/of/base.c: of the nearest node that says it, or 1.
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

/// What can be the name of a node. The specification allows less; some trees do not keep to it.
fn is_node_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

/// The text of a property that is one string.
fn text(value: &[u8]) -> &str {
    let text = CStr::from_bytes_until_nul(value).ok().and_then(|text| text.to_str().ok());
    text.filter(|text| is_text(text)).unwrap_or(INVALID)
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The number in big-endian cells; the last 64 bits of it, as `of_read_number()` gives them.
fn number(cells: &[u8]) -> u64 {
    cells.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

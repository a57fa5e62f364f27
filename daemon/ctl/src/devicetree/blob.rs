// SPDX-License-Identifier: MIT OR Apache-2.0

//! A flattened device tree, as in chapter 5 of the Devicetree Specification v0.4.

use std::ffi::CStr;

use super::{
    DEEPEST, DeviceTree, LONGEST_NAME, MOST_BYTES, MOST_NODES, MOST_RANGES, Property, is_node_name,
};

const MAGIC: u32 = 0xd00d_feed;
/// First version in which the names of nodes do not include their path.
const FIRST_VERSION: u32 = 16;
/// The version that adds the size of the structure block to the header. It is the last one.
const LAST_VERSION: u32 = 17;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Reason why a blob was rejected. Offsets are in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// The blob exceeds the maximum size.
    #[error("has {0} bytes, more than the maximum of {MOST_BYTES}")]
    TooLong(usize),
    /// The magic number is wrong.
    #[error("is not a device tree blob: magic is {0:#010x}, not {MAGIC:#010x}")]
    Magic(u32),
    /// The blob is truncated.
    #[error("is truncated at offset {end:#x}, inside its {block}; copy it again")]
    Cut {
        /// Offset of its end.
        end: usize,
        /// The incomplete part.
        block: &'static str,
    },
    /// The version of the format is not supported.
    #[error(
        "has version {version}, compatible with {compatible}, but only versions {FIRST_VERSION} \
         and {LAST_VERSION} are supported; rebuild it with dtc"
    )]
    Version {
        /// Version of the blob.
        version: u32,
        /// Oldest version that the blob is compatible with.
        compatible: u32,
    },
    /// A block exceeds the blob, or is not aligned to a cell.
    #[error("has an invalid {block} of {size} bytes at offset {offset:#x}")]
    Block {
        /// The block.
        block: &'static str,
        /// Offset of the block.
        offset: u32,
        /// Size of the block, in bytes.
        size: u32,
    },
    /// The structure block ends within a node.
    #[error("ends inside the structure block at offset {0:#x}")]
    Ends(usize),
    /// A token is unknown.
    #[error("has an unknown token {token:#x} at offset {offset:#x}")]
    Token {
        /// The token.
        token: u32,
        /// Offset of the token.
        offset: usize,
    },
    /// A token is not allowed at its position.
    #[error("has {what} at offset {offset:#x}, where none is allowed")]
    Misplaced {
        /// The token.
        what: &'static str,
        /// Offset of the token.
        offset: usize,
    },
    /// The name of a node is not valid.
    #[error(
        "has an invalid node name at offset {0:#x}; a node name has 1 to {LONGEST_NAME} printable \
         ASCII characters other than `/` and space"
    )]
    NodeName(usize),
    /// The name of a property is outside of the strings block.
    #[error("has a property at offset {0:#x} whose name is outside the strings block")]
    PropertyName(usize),
    /// The nodes are nested deeper than the kernel allows.
    #[error("has a node at offset {0:#x} that is nested deeper than {DEEPEST} levels")]
    Depth(usize),
    /// The blob exceeds the maximum number of nodes.
    #[error("has more than {MOST_NODES} nodes at offset {0:#x}")]
    Nodes(usize),
    /// The `ranges` on one path exceed their maximum size.
    #[error("has `ranges` of more than {MOST_RANGES} bytes on one path at offset {0:#x}")]
    Ranges(usize),
    /// The blob is an overlay, not a device tree.
    #[error("is an overlay; give its base tree with --dtb, and the overlay with --overlay")]
    Overlay,
}

impl DeviceTree {
    /// Parses a blob. Data after its end is ignored.
    ///
    /// # Errors
    ///
    /// Returns an error if the blob is not a device tree blob, is damaged, or is an overlay.
    pub fn of_blob(bytes: &[u8]) -> Result<Self, BlobError> {
        if bytes.len() > MOST_BYTES {
            return Err(BlobError::TooLong(bytes.len()));
        }
        let (mut structure, strings) = blocks(bytes)?;
        let mut tree = Self::default();
        // Nodes from the root to the one that the next property belongs to.
        let mut open: Vec<usize> = Vec::new();
        loop {
            let offset = structure.at;
            let misplaced = |what| BlobError::Misplaced { what, offset };
            match structure.cell()? {
                BEGIN_NODE => {
                    let mut name = structure.name()?;
                    match open.len() {
                        // The name of the root has no meaning.
                        0 => name = "",
                        DEEPEST => return Err(BlobError::Depth(offset)),
                        _ if tree.nodes.len() == MOST_NODES => {
                            return Err(BlobError::Nodes(offset));
                        }
                        _ if !is_node_name(name) => return Err(BlobError::NodeName(offset)),
                        2 if name == "__overlay__" => return Err(BlobError::Overlay),
                        _ => {}
                    }
                    open.push(tree.open(open.last().copied(), name));
                }
                PROP => {
                    let (length, name) = (structure.cell()?, structure.cell()?);
                    let value = structure.take(length as usize)?;
                    if open.last().is_none_or(|node| node + 1 != tree.nodes.len()) {
                        return Err(misplaced("a property"));
                    }
                    let name = strings.get(name as usize..).filter(|name| !name.is_empty());
                    let name = name.ok_or(BlobError::PropertyName(offset))?;
                    // Does not search for the terminator, which could be far away each time.
                    let is_named = |known: &CStr| name.starts_with(known.to_bytes_with_nul());
                    let property = Property::NAMES.iter().find(|(_, known)| is_named(known));
                    if let Some((property, _)) = property
                        && !tree.keep(*property, value)
                    {
                        return Err(BlobError::Ranges(offset));
                    }
                }
                END_NODE => {
                    open.pop().ok_or(misplaced("the end of a node"))?;
                    if open.is_empty() {
                        break;
                    }
                }
                NOP => {}
                END => return Err(misplaced("the end of the structure block")),
                token => return Err(BlobError::Token { token, offset }),
            }
        }
        tree.translate_all();
        Ok(tree)
    }
}

/// Returns the structure block, and the bytes of the strings block.
fn blocks(bytes: &[u8]) -> Result<(Structure<'_>, &[u8]), BlobError> {
    let field = |number: usize| {
        let cell = bytes.get(4 * number..).and_then(|rest| rest.first_chunk().copied());
        let cut = BlobError::Cut { end: bytes.len(), block: "header" };
        cell.map(u32::from_be_bytes).ok_or(cut)
    };
    match field(0)? {
        MAGIC => {}
        other => return Err(BlobError::Magic(other)),
    }
    let (version, compatible) = (field(5)?, field(6)?);
    if version < FIRST_VERSION || compatible > LAST_VERSION || version < compatible {
        return Err(BlobError::Version { version, compatible });
    }
    let total = field(1)?;
    let cut = BlobError::Cut { end: bytes.len(), block: "blocks" };
    let bytes = bytes.get(..total as usize).ok_or(cut)?;

    let end = |block, offset: u32, size: u32| {
        let end = offset.checked_add(size).filter(|end| *end <= total);
        end.ok_or(BlobError::Block { block, offset, size }).map(|end| end as usize)
    };
    let (offset, strings) = (field(2)?, field(3)?);
    let size = if version < LAST_VERSION { total.saturating_sub(offset) } else { field(9)? };
    let block = "structure block";
    let structure_end = end(block, offset, size)?;
    if offset % 4 != 0 {
        return Err(BlobError::Block { block, offset, size });
    }
    let strings_end = end("strings block", strings, field(8)?)?;
    let within = |end| bytes.get(..end).unwrap_or_default();
    let structure = Structure { bytes: within(structure_end), at: offset as usize };
    Ok((structure, within(strings_end).get(strings as usize..).unwrap_or_default()))
}

/// The unread rest of the structure block.
struct Structure<'b> {
    /// The blob up to the end of the block.
    bytes: &'b [u8],
    /// Offset of the next token, a multiple of 4.
    at: usize,
}

impl<'b> Structure<'b> {
    fn cell(&mut self) -> Result<u32, BlobError> {
        let cell = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk().copied());
        let cell = cell.ok_or(BlobError::Ends(self.at))?;
        self.at += 4;
        Ok(u32::from_be_bytes(cell))
    }

    /// Reads `length` bytes and the padding to the next cell.
    fn take(&mut self, length: usize) -> Result<&'b [u8], BlobError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..length).ok_or(BlobError::Ends(self.at))?;
        self.at = (self.at + length).next_multiple_of(4);
        Ok(taken)
    }

    /// Reads the name of a node. Returns an empty name if it is not text.
    fn name(&mut self) -> Result<&'b str, BlobError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == 0).ok_or(BlobError::Ends(self.at))?;
        let name = self.take(length + 1)?.get(..length).unwrap_or_default();
        Ok(std::str::from_utf8(name).unwrap_or_default())
    }
}

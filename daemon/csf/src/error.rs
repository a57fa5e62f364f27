// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors of the parser.

use core::fmt;

/// Reasons why an image is rejected. `offset` is the position in the file; for a section, the
/// position of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages below describe each field")]
pub enum Error {
    /// The file ends inside its header.
    HeaderCut { offset: usize },
    /// The file is not a Mali CSF firmware.
    Magic { offset: usize, found: u32 },
    /// The format version is unknown.
    Version { offset: usize, major: u8, minor: u8 },
    /// A padding field is not zero.
    Padding { offset: usize },
    /// The table size in the header is not possible.
    TableSize { offset: usize, size: u32, file: usize },
    /// The size of an entry is not valid.
    EntrySize { offset: usize, size: usize },
    /// An entry extends past the end of the table.
    EntryPastTable { offset: usize, size: usize, table: usize },
    /// An entry is too small for the fields of its type.
    EntryShort { offset: usize, kind: u8, size: usize },
    /// An entry has an unknown type and is not optional.
    EntryKind { offset: usize, kind: u8 },
    /// A section has unknown flags.
    Flags { offset: usize, unknown: u32 },
    /// A section ends before it starts.
    VaReversed { offset: usize, start: u32, end: u32 },
    /// A section is not aligned to pages.
    VaAlignment { offset: usize, start: u32, end: u32 },
    /// A section's data ends before it starts.
    DataReversed { offset: usize, start: u32, end: u32 },
    /// A section's data extends past the end of the file.
    DataPastFile { offset: usize, end: u32, file: usize },
    /// A section's data is larger than the section.
    DataTooLarge { offset: usize, data: u64, bytes: u64 },
    /// The section at [`SHARED_REGION`](crate::SHARED_REGION) is not shared.
    NotShared { offset: usize },
    /// Two sections overlap.
    Overlap { offset: usize, other: usize },
    /// The image has more than [`MAX_SECTIONS`](crate::MAX_SECTIONS) sections.
    TooManySections { offset: usize },
    /// The table has no section.
    NoSections { offset: usize },
}

impl Error {
    /// Returns the offset in the file.
    pub fn offset(&self) -> usize {
        match *self {
            Self::HeaderCut { offset }
            | Self::Magic { offset, .. }
            | Self::Version { offset, .. }
            | Self::Padding { offset }
            | Self::TableSize { offset, .. }
            | Self::EntrySize { offset, .. }
            | Self::EntryPastTable { offset, .. }
            | Self::EntryShort { offset, .. }
            | Self::EntryKind { offset, .. }
            | Self::Flags { offset, .. }
            | Self::VaReversed { offset, .. }
            | Self::VaAlignment { offset, .. }
            | Self::DataReversed { offset, .. }
            | Self::DataPastFile { offset, .. }
            | Self::DataTooLarge { offset, .. }
            | Self::NotShared { offset }
            | Self::Overlap { offset, .. }
            | Self::TooManySections { offset }
            | Self::NoSections { offset } => offset,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {:#x}: ", self.offset())?;
        match *self {
            Self::HeaderCut { .. } => {
                f.write_str("the file is truncated inside its 20-byte header")
            }
            Self::Magic { found, .. } => write!(
                f,
                "not a Mali CSF firmware: the magic number is {found:#010x}, not {:#010x}; if the \
                 file is compressed, decompress it first",
                crate::MAGIC
            ),
            Self::Version { major, minor, .. } => {
                write!(f, "format version {major}.{minor} is not supported; supported is 0.x")
            }
            Self::Padding { .. } => f.write_str("padding in the header is not zero"),
            Self::TableSize { size, file, .. } => write!(
                f,
                "header and entries have {size:#x} bytes, which must be at least 0x14 and at most \
                 the file size {file:#x}; the file may be truncated"
            ),
            Self::EntrySize { size, .. } => {
                write!(f, "the entry has {size} bytes; the size must be a positive multiple of 4")
            }
            Self::EntryPastTable { size, table, .. } => {
                write!(
                    f,
                    "the entry of {size} bytes extends past the end of the table at {table:#x}"
                )
            }
            Self::EntryShort { kind, size, .. } => {
                write!(f, "the entry of type {kind} has {size} bytes, too few for its fields")
            }
            Self::EntryKind { kind, .. } => {
                write!(f, "the entry has the unknown type {kind}, and is not marked optional")
            }
            Self::Flags { unknown, .. } => {
                write!(f, "the section has unknown flags {unknown:#010x}")
            }
            Self::VaReversed { start, end, .. } => {
                write!(f, "the section ends before it starts: {start:#010x}..{end:#010x}")
            }
            Self::VaAlignment { start, end, .. } => {
                write!(f, "the section is not aligned to 4 KiB pages: {start:#010x}..{end:#010x}")
            }
            Self::DataReversed { start, end, .. } => {
                write!(f, "the section's data ends before it starts: {start:#x}..{end:#x}")
            }
            Self::DataPastFile { end, file, .. } => write!(
                f,
                "the section's data ends at {end:#x}, past the end of the file at {file:#x}; the \
                 file may be truncated"
            ),
            Self::DataTooLarge { data, bytes, .. } => {
                write!(
                    f,
                    "the section has {data:#x} bytes of data, but only {bytes:#x} bytes of memory"
                )
            }
            Self::NotShared { .. } => {
                write!(f, "the section at {:#010x} is not shared", crate::SHARED_REGION)
            }
            Self::Overlap { other, .. } => {
                write!(f, "the section overlaps the one at offset {other:#x}")
            }
            Self::TooManySections { .. } => {
                write!(f, "the image has more than {} sections", crate::MAX_SECTIONS)
            }
            Self::NoSections { .. } => f.write_str("the image has no section"),
        }
    }
}

impl core::error::Error for Error {}

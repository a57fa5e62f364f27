// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parser for `mali_csffw.bin`, the firmware of a Mali CSF GPU. Determines how much protected
//! memory the firmware needs, which must be known before the GPU runs.
//!
//! An image is little endian. It consists of a header of 20 bytes, a table of entries, and the data
//! that entries refer to. The parser rejects every file that one of the kernel's two loaders
//! rejects, panthor (`panthor_fw.c`) or Tyr (`fw/parser.rs`), except for one check: the loaders
//! also require a section at [`SHARED_REGION`], without which a GPU cannot run but sizes can be
//! determined. Each [`Error`] has the offset in the file.
//!
//! The file does not contain the size of suspend buffers: the firmware reports it when it boots.
#![no_std]
#![forbid(unsafe_code)]

mod error;
mod section;

pub use error::Error;
pub use section::{Flags, Section};

/// First word of every image.
pub const MAGIC: u32 = 0xc3f1_3a6e;
/// Address of the region that the MCU shares with the host; a section at this address must be
/// shared.
pub const SHARED_REGION: u32 = 0x0400_0000;
/// Maximum number of sections in one image; known images have 8 or 9. Bounds the search for
/// overlaps.
pub const MAX_SECTIONS: usize = 64;

const HEADER_BYTES: usize = 20;
const ENTRY_HEADER_BYTES: usize = 4;
/// Page size of the MCU in bytes: the start and the end of every virtual address range are aligned
/// to it.
const PAGE_BYTES: u32 = 4096;

const ENTRY_SECTION: u8 = 0;
const ENTRY_BUILD_INFO: u8 = 6;
/// Types that both loaders know and skip: configuration, unit tests, trace buffers, timeline.
const ENTRY_SKIPPED: core::ops::RangeInclusive<u8> = 1..=4;
/// Flag of an entry that readers may skip if they do not know its type.
const ENTRY_OPTIONAL: u32 = 1 << 31;

/// A firmware image that both loaders accept.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    version: (u8, u8),
    version_hash: u32,
    git_sha: Option<&'a str>,
    sections: [Section; MAX_SECTIONS],
    count: usize,
}

impl<'a> Image<'a> {
    /// Parses and validates a whole uncompressed image.
    ///
    /// # Errors
    ///
    /// Returns the first error for which a loader would reject the file.
    pub fn parse(file: &'a [u8]) -> Result<Self, Error> {
        Self::parse_table(file, file.len())
    }

    /// Parses and validates an image of `length` bytes of which `file` is only the beginning. This
    /// must contain the header and the table, that is at least [`table_bytes`] bytes. The build
    /// information may then be missing.
    ///
    /// # Errors
    ///
    /// Same as [`Image::parse`].
    pub fn parse_table(file: &'a [u8], length: usize) -> Result<Self, Error> {
        let cut = Error::HeaderCut { offset: file.len() };
        let header = file.first_chunk::<HEADER_BYTES>().ok_or(cut)?;
        let mut fields = Reader { bytes: header, offset: 0 };
        let mut next = || fields.word().ok_or(cut);
        let (magic, version_word, version_hash, padding, size) =
            (next()?, next()?, next()?, next()?, next()?);
        let [minor, major, pad_low, pad_high] = version_word.to_le_bytes();

        if magic != MAGIC {
            return Err(Error::Magic { offset: 0, found: magic });
        }
        if major != 0 {
            return Err(Error::Version { offset: 5, major, minor });
        }
        if pad_low != 0 || pad_high != 0 {
            return Err(Error::Padding { offset: 6 });
        }
        if padding != 0 {
            return Err(Error::Padding { offset: 12 });
        }
        let bad_size = Error::TableSize { offset: 16, size, file: length };
        let table = usize::try_from(size).ok().and_then(|end| file.get(..end)).ok_or(bad_size)?;
        if table.len() < HEADER_BYTES {
            return Err(bad_size);
        }

        let mut image = Image {
            version: (major, minor),
            version_hash,
            git_sha: None,
            sections: [Section::NONE; MAX_SECTIONS],
            count: 0,
        };
        let mut entries = Reader { bytes: table, offset: HEADER_BYTES };
        while entries.offset < table.len() {
            let offset = entries.offset;
            let past = |size| Error::EntryPastTable { offset, size, table: table.len() };
            let word = entries.word().ok_or(past(ENTRY_HEADER_BYTES))?;
            let [kind, size, ..] = word.to_le_bytes();
            let size = usize::from(size);
            if size < ENTRY_HEADER_BYTES || !size.is_multiple_of(ENTRY_HEADER_BYTES) {
                return Err(Error::EntrySize { offset, size });
            }
            let bytes = table.get(..offset + size).ok_or(past(size))?;
            let mut body = Reader { bytes, offset: entries.offset };
            entries.offset = bytes.len();

            let short = Error::EntryShort { offset, kind, size };
            match kind {
                ENTRY_SECTION => {
                    let section = Section::read(&mut body, offset, length, short)?;
                    image.push(section)?;
                }
                ENTRY_BUILD_INFO => {
                    let start = body.word().ok_or(short)?;
                    let bytes = body.word().ok_or(short)?;
                    image.git_sha = image.git_sha.or(git_sha(file, start, bytes));
                }
                kind if ENTRY_SKIPPED.contains(&kind) || word & ENTRY_OPTIONAL != 0 => {}
                kind => return Err(Error::EntryKind { offset, kind }),
            }
        }
        if image.count == 0 {
            return Err(Error::NoSections { offset: table.len() });
        }
        Ok(image)
    }

    /// Adds a section unless it overlaps another one.
    fn push(&mut self, section: Section) -> Result<(), Error> {
        let offset = section.offset;
        if let Some(other) = self.sections().find(|other| other.overlaps(&section)) {
            return Err(Error::Overlap { offset, other: other.offset });
        }
        let free = self.sections.get_mut(self.count);
        *free.ok_or(Error::TooManySections { offset })? = section;
        self.count += 1;
        Ok(())
    }

    /// Returns the sections in the order of the file.
    pub fn sections(&self) -> core::slice::Iter<'_, Section> {
        self.sections.get(..self.count).unwrap_or_default().iter()
    }

    /// Returns the size of the protected memory that the firmware needs, in bytes: the sum over its
    /// protected sections.
    pub fn protected_bytes(&self) -> u64 {
        self.sections().filter(|s| s.flags.contains(Flags::PROT)).map(Section::bytes).sum()
    }

    /// Returns the version of the file format: major, minor.
    pub fn version(&self) -> (u8, u8) {
        self.version
    }

    /// Returns the header's version hash, which differs between builds of the firmware.
    pub fn version_hash(&self) -> u32 {
        self.version_hash
    }

    /// Returns the commit that the firmware was built from, if the build information has it in
    /// printable ASCII.
    pub fn git_sha(&self) -> Option<&'a str> {
        self.git_sha
    }
}

/// Returns the size of an image's header and table in bytes, according to the header. These are
/// sufficient to determine sizes.
pub fn table_bytes(file: &[u8]) -> Option<usize> {
    let mut size = Reader { bytes: file, offset: HEADER_BYTES - ENTRY_HEADER_BYTES };
    usize::try_from(size.word()?).ok()
}

/// Returns the commit in the build information. Invalid build information does not invalidate the
/// image.
fn git_sha(file: &[u8], start: u32, bytes: u32) -> Option<&str> {
    let text = file.get(usize::try_from(start).ok()?..)?.get(..usize::try_from(bytes).ok()?)?;
    let text = text.strip_prefix(b"git_sha: ")?.strip_suffix(b"\0")?;
    let text = text.split(|&byte| byte == 0).next()?.trim_ascii();
    let printable = !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    core::str::from_utf8(text).ok().filter(|_| printable)
}

/// Reads words; `offset` counts from the start of the file.
struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Reader<'_> {
    /// Returns the next word. Returns `None` if less than one word is left.
    fn word(&mut self) -> Option<u32> {
        let word = self.bytes.get(self.offset..)?.first_chunk::<4>()?;
        self.offset += word.len();
        Some(u32::from_le_bytes(*word))
    }
}

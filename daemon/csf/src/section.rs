// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sections of a firmware image.

use crate::{Error, PAGE_BYTES, Reader, SHARED_REGION};
use core::fmt;

/// One section: a range of the MCU's address space and its initial data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Offset of the section's entry in the file.
    pub offset: usize,
    /// How the section is mapped.
    pub flags: Flags,
    /// First address of the section in the MCU's address space.
    pub va_start: u32,
    /// First address after the section.
    pub va_end: u32,
    /// Offset of the first byte of initial data in the file.
    pub data_start: u32,
    /// Offset after the last byte of initial data in the file.
    pub data_end: u32,
}

impl Section {
    pub(crate) const NONE: Self =
        Self { offset: 0, flags: Flags(0), va_start: 0, va_end: 0, data_start: 0, data_end: 0 };

    /// Reads and checks a section entry, in the same order as panthor.
    pub(crate) fn read(
        body: &mut Reader<'_>,
        offset: usize,
        file: usize,
        short: Error,
    ) -> Result<Self, Error> {
        let mut next = || body.word().ok_or(short);
        let (flags, va_start, va_end) = (Flags(next()?), next()?, next()?);
        let (data_start, data_end) = (next()?, next()?);
        let section = Self { offset, flags, va_start, va_end, data_start, data_end };

        if data_end < data_start {
            return Err(Error::DataReversed { offset, start: data_start, end: data_end });
        }
        if va_end < va_start {
            return Err(Error::VaReversed { offset, start: va_start, end: va_end });
        }
        if usize::try_from(data_end).map_or(true, |end| end > file) {
            return Err(Error::DataPastFile { offset, end: data_end, file });
        }
        if !va_start.is_multiple_of(PAGE_BYTES) || !va_end.is_multiple_of(PAGE_BYTES) {
            return Err(Error::VaAlignment { offset, start: va_start, end: va_end });
        }
        if flags.unknown() != 0 {
            return Err(Error::Flags { offset, unknown: flags.unknown() });
        }
        // The loaders check nothing else of a protected section: only the GPU fills it.
        if !flags.contains(Flags::PROT) {
            if va_start == SHARED_REGION && !flags.contains(Flags::SHARED) {
                return Err(Error::NotShared { offset });
            }
            let data = u64::from(data_end - data_start);
            if data > section.bytes() {
                return Err(Error::DataTooLarge { offset, data, bytes: section.bytes() });
            }
        }
        Ok(section)
    }

    /// Returns the size in memory in bytes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.va_end).saturating_sub(u64::from(self.va_start))
    }

    /// Returns whether the sections share an address. An empty section shares none.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.va_start.max(other.va_start) < self.va_end.min(other.va_end)
    }
}

/// How a section is mapped. Displayed as words separated by spaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

impl Flags {
    /// The MCU may read the section.
    pub const READ: Self = Self(1 << 0);
    /// The MCU may write to the section.
    pub const WRITE: Self = Self(1 << 1);
    /// The MCU may execute code in the section.
    pub const EXEC: Self = Self(1 << 2);
    /// The section is cached.
    pub const CACHED: Self = Self(1 << 3);
    /// The section is coherent with the CPU's caches.
    pub const COHERENT: Self = Self(1 << 4);
    /// The section is only accessible in protected mode and must be in protected memory.
    pub const PROT: Self = Self(1 << 5);
    /// The section is shared with the host.
    pub const SHARED: Self = Self(1 << 30);
    /// Memory without initial data is zeroed.
    pub const ZERO: Self = Self(1 << 31);

    const WORDS: [(Self, &'static str); 8] = [
        (Self::READ, "read"),
        (Self::WRITE, "write"),
        (Self::EXEC, "exec"),
        (Self::CACHED, "cached"),
        (Self::COHERENT, "coherent"),
        (Self::PROT, "prot"),
        (Self::SHARED, "shared"),
        (Self::ZERO, "zero"),
    ];

    /// Returns the flags as they are in the file.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Returns whether every flag of `other` is set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the names of the flags that are set, in the order of their bits.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS.into_iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, word)| word)
    }

    fn unknown(self) -> u32 {
        Self::WORDS.iter().fold(self.0, |rest, (flag, _)| rest & !flag.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.words().enumerate().try_for_each(|(index, word)| {
            f.write_str(if index == 0 { "" } else { " " })?;
            f.write_str(word)
        })
    }
}

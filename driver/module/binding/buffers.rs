// SPDX-License-Identifier: GPL-2.0

//! The buffers of a binding.

use crate::{
    abstractions::dma_buf::DmaBuf,
    buffer::Buffer,
    pool::Pool, //
};
use core::ptr::NonNull;
use kernel::prelude::*;

/// The use of a buffer.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Holds the firmware's protected section.
    Firmware,
    /// Holds the state of a suspended protected group.
    Suspend,
}

/// The firmware's buffer and the suspend buffers.
///
/// # Invariants
///
/// All come from the same exporter.
pub(crate) struct Buffers<O> {
    firmware: Option<Buffer>,
    firmware_in_use: bool,
    /// The suspend buffers.
    pub(super) suspend: Pool<O>,
}

impl<O> Buffers<O> {
    /// Creates the buffers of `owner`: none.
    pub(super) fn new(owner: NonNull<O>) -> Self {
        Self {
            firmware: None,
            firmware_in_use: false,
            suspend: Pool::new(owner),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Buffer> {
        Iterator::chain(self.firmware.iter(), self.suspend.buffers())
    }

    /// Adds a buffer. `EXDEV` if its exporter is not that of the others.
    pub(super) fn add(&mut self, kind: Kind, buffer: Buffer) -> Result {
        if let Some(first) = self.iter().next() {
            if !first.is_sibling_of(&buffer) {
                return Err(EXDEV);
            }
        }
        // INVARIANT: Checked above.
        match kind {
            Kind::Firmware => self.firmware = Some(buffer),
            Kind::Suspend => self.suspend.add(buffer)?,
        }
        Ok(())
    }

    /// Releases all buffers that the driver does not hold.
    pub(super) fn release_unused(&mut self) {
        if !self.firmware_in_use {
            self.firmware = None;
        }
        self.suspend.truncate(0);
    }

    /// Returns the firmware's buffer for the driver, which holds it from now on. `ENOENT` if there
    /// is none; `EMSGSIZE` if it is smaller than `bytes`.
    pub(super) fn take_firmware(&mut self, bytes: usize) -> Result<DmaBuf> {
        let buffer = self.firmware.as_ref().ok_or(ENOENT)?;
        if buffer.size() < bytes {
            return Err(EMSGSIZE);
        }
        self.firmware_in_use = true;
        Ok(DmaBuf::clone(buffer))
    }

    /// Records that the driver no longer holds the firmware's buffer, and releases it unless `keep`
    /// is set.
    pub(super) fn put_firmware(&mut self, keep: bool) {
        self.firmware_in_use = false;
        if !keep {
            self.firmware = None;
        }
    }

    /// Returns the firmware's buffer.
    pub(super) fn firmware(&self) -> Option<&Buffer> {
        self.firmware.as_ref()
    }

    /// Returns the size of the firmware's buffer, or 0.
    pub(crate) fn firmware_bytes(&self) -> usize {
        self.firmware.as_ref().map_or(0, |buffer| buffer.size())
    }

    /// Returns whether the driver holds the firmware's buffer.
    pub(crate) fn firmware_in_use(&self) -> bool {
        self.firmware_in_use
    }

    /// Returns the number of buffers, whoever holds them.
    pub(crate) fn count(&self) -> usize {
        self.iter().count()
    }

    /// Returns the size of all buffers.
    pub(crate) fn bytes(&self) -> usize {
        let sizes = self.iter().map(|buffer| buffer.size());
        sizes.fold(0, usize::saturating_add)
    }

    /// Returns the number of buffers that the driver holds.
    pub(crate) fn in_use(&self) -> usize {
        usize::from(self.firmware_in_use) + self.suspend.in_use()
    }

    /// Returns the name of the exporter; empty if there is no buffer.
    pub(crate) fn exporter(&self) -> &[u8] {
        let first = self.iter().next();
        first.map_or(&[], |buffer| buffer.exporter().to_bytes())
    }

    /// Returns whether the CPU can map any of the buffers.
    pub(crate) fn is_mappable(&self) -> bool {
        self.iter().any(|buffer| buffer.is_mappable())
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Supply: buffers that are added to a binding.

use super::{
    Allocated,
    Binding,
    Kind,
    Phase,
    Request, //
};
use crate::abstractions::compat::{
    EMEDIUMTYPE,
    EOPNOTSUPP, //
};
use crate::{
    abstractions::{
        dma_buf::DmaBuf,
        lockdown::is_locked_down, //
    },
    buffer::Buffer, //
};
use kernel::prelude::*;

impl<O> Binding<O> {
    /// Checks that a buffer can serve: `EMSGSIZE` if it is too small, `EMEDIUMTYPE` if the CPU can
    /// map it.
    pub(super) fn fits(&self, kind: Kind, buffer: &DmaBuf) -> Result {
        let wanted = match kind {
            Kind::Firmware => self.options.firmware_bytes_wanted,
            Kind::Suspend => self.suspend_bytes,
        };
        if buffer.size() < wanted {
            return Err(EMSGSIZE);
        }
        if buffer.is_mappable() && (!self.options.allow_unprotected || is_locked_down()) {
            return Err(EMEDIUMTYPE);
        }
        Ok(())
    }

    /// Adds a buffer that user space hands over.
    ///
    /// For the errors see `uapi/protheap.h`.
    pub(crate) fn hand_over(&mut self, kind: Kind, buffer: DmaBuf) -> Result {
        if self.is_withdrawn {
            return Err(ENODEV);
        }
        if !self.options.source.is_handed() {
            return Err(EOPNOTSUPP);
        }
        if self.is_parked {
            return Err(EAGAIN);
        }
        if self.is_preparing || matches!(self.phase, Phase::None(_)) {
            return Err(EBUSY);
        }
        self.fits(kind, &buffer)?;
        let buffer = Buffer::claim(buffer)?;
        match kind {
            Kind::Firmware if self.buffers.firmware().is_some() || self.is_final() => Err(EBUSY),
            Kind::Suspend if self.suspend().len() >= self.options.suspend_count as usize => {
                Err(ENOSPC)
            }
            _ => self.buffers.add(kind, buffer),
        }
    }

    /// Adds an allocated buffer: `EMSGSIZE`, `EMEDIUMTYPE`, `EEXIST` or `EXDEV` if it cannot serve.
    fn add(&mut self, kind: Kind, buffer: DmaBuf) -> Result {
        self.fits(kind, &buffer)?;
        self.buffers.add(kind, Buffer::claim(buffer)?)
    }

    /// Adds allocated buffers, until one cannot serve.
    pub(super) fn adopt(&mut self, allocated: Allocated) -> Result {
        if let Some(buffer) = allocated.firmware {
            self.add(Kind::Firmware, buffer)?;
        }
        for buffer in allocated.suspend {
            self.add(Kind::Suspend, buffer)?;
        }
        Ok(())
    }

    /// Returns a request for one suspend buffer, if the kernel is to allocate some by now. One, so
    /// that a waiting driver gets it before the next one is allocated.
    pub(crate) fn suspend_request(&self) -> Option<Request> {
        if !self.is_bound() || self.options.source.is_handed() || self.suspend_lacking() == 0 {
            return None;
        }
        self.request(false, 1).ok()
    }

    /// Returns a request for a firmware buffer, if `firmware` is set, and for that many suspend buffers.
    pub(super) fn request(&self, firmware: bool, suspend_count: usize) -> Result<Request> {
        Request::new(&self.options, firmware, suspend_count, self.suspend_bytes)
    }

    /// Adds the buffers allocated for [`Binding::suspend_request`].
    ///
    /// After an error, another request would fail as well, and the caller's loop must end. The only
    /// buffer dropped without an error is one that had the requested size when the driver configured
    /// a larger one: the next request is another one. ([`Request::allocate`] fails if the heap
    /// returns less than requested.)
    pub(crate) fn supply(&mut self, allocated: Allocated) -> Result {
        for buffer in allocated.suspend {
            if !self.is_bound() || self.suspend_lacking() == 0 {
                break;
            }
            if buffer.size() >= self.suspend_bytes {
                self.add(Kind::Suspend, buffer)?;
            }
        }
        Ok(())
    }

    /// Returns the number of suspend buffers that the options allow beyond those that there are.
    pub(crate) fn suspend_lacking(&self) -> usize {
        if self.suspend_bytes == 0 {
            return 0;
        }
        (self.options.suspend_count as usize).saturating_sub(self.suspend().len())
    }

    /// Returns the number of suspend buffers that user space should hand over.
    pub(crate) fn suspend_wanted(&self) -> usize {
        if !self.is_bound() || !self.options.source.is_handed() {
            return 0;
        }
        self.suspend_lacking()
    }
}

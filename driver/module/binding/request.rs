// SPDX-License-Identifier: GPL-2.0

//! Requests for buffers. A request owns its arguments, because buffers are allocated with nothing
//! locked.

use super::options::Options;
use crate::{
    abstractions::dma_buf::DmaBuf,
    source::Source, //
};
use kernel::{
    prelude::*,
    str::CString, //
};

/// Buffers that a binding lacks.
pub(crate) struct Request {
    source: &'static dyn Source,
    heap: CString,
    /// Size of the firmware's buffer, if that is requested.
    firmware_bytes: Option<usize>,
    suspend_count: usize,
    suspend_bytes: usize,
}

/// Buffers that were allocated for a [`Request`].
#[derive(Default)]
pub(crate) struct Allocated {
    pub(super) firmware: Option<DmaBuf>,
    pub(super) suspend: KVec<DmaBuf>,
}

impl Request {
    /// Creates a request for a firmware buffer, if `firmware` is set, and for `suspend_count` buffers
    /// of `suspend_bytes`.
    pub(super) fn new(
        options: &Options,
        firmware: bool,
        suspend_count: usize,
        suspend_bytes: usize,
    ) -> Result<Self> {
        Ok(Self {
            source: options.source,
            heap: options.heap_name()?,
            firmware_bytes: firmware.then_some(options.firmware_bytes_wanted),
            suspend_count,
            suspend_bytes,
        })
    }

    /// Allocates the firmware buffer, then suspend buffers until the heap has no memory for more: one
    /// of them is enough. Buffers that were allocated before an error are returned as well.
    pub(crate) fn allocate(&self) -> (Allocated, Result) {
        let mut allocated = Allocated::default();
        let result = self.fill(&mut allocated);
        (allocated, result)
    }

    fn fill(&self, allocated: &mut Allocated) -> Result {
        if let Some(bytes) = self.firmware_bytes {
            allocated.firmware = Some(self.source.allocate(&self.heap, bytes)?);
        }
        for _ in 0..self.suspend_count {
            match self.source.allocate(&self.heap, self.suspend_bytes) {
                Ok(buffer) => allocated.suspend.push(buffer, GFP_KERNEL)?,
                Err(ENOMEM) if !allocated.suspend.is_empty() => break,
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Returns the size of a suspend buffer.
    pub(crate) fn suspend_bytes(&self) -> usize {
        self.suspend_bytes
    }
}

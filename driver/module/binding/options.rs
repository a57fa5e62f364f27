// SPDX-License-Identifier: GPL-2.0

//! Options of a binding, which user space sets before it commits.

use crate::source::{
    self,
    Source, //
};
use kernel::{
    prelude::*,
    str::{
        CStr,
        CString, //
    }, //
};

/// Maximum number of suspend buffers of a binding: the number of groups that drivers allow one
/// process.
pub(crate) const SUSPEND_COUNT_MAX: u32 = 128;

/// Options of a binding.
pub(crate) struct Options {
    /// Name of the heap. For buffers that were handed over, unverified: a dma-buf does not name its
    /// heap.
    pub(crate) heap: KVec<u8>,
    /// Policy that selected the heap, for the kernel log.
    pub(crate) origin: KVec<u8>,
    /// Allocator of the buffers.
    pub(crate) source: &'static dyn Source,
    /// Length of the hold that was requested in milliseconds; 0 if none was.
    pub(crate) hold_ms: u32,
    /// Minimum size of the firmware's buffer.
    pub(crate) firmware_bytes_wanted: usize,
    /// Minimum size of each suspend buffer until the driver configures its own; 0 if it is unknown.
    pub(crate) suspend_bytes_wanted: usize,
    /// Maximum number of suspend buffers, free and in use.
    pub(crate) suspend_count: u32,
    /// Accept buffers that the CPU can map.
    pub(crate) allow_unprotected: bool,
}

impl Options {
    /// Returns the defaults.
    pub(super) fn new() -> Self {
        Self {
            heap: KVec::new(),
            origin: KVec::new(),
            source: source::default(),
            hold_ms: 0,
            firmware_bytes_wanted: 0,
            suspend_bytes_wanted: 0,
            suspend_count: 0,
            allow_unprotected: false,
        }
    }

    /// Returns a terminated copy of the heap's name.
    pub(super) fn heap_name(&self) -> Result<CString> {
        let mut name = KVec::new();
        name.extend_from_slice(&self.heap, GFP_KERNEL)?;
        name.push(0, GFP_KERNEL)?;
        let name = CStr::from_bytes_with_nul(&name).map_err(|_| EINVAL)?;
        Ok(name.try_into()?)
    }
}

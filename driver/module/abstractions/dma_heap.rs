// SPDX-License-Identifier: GPL-2.0

//! dma-buf heaps.

use super::dma_buf::DmaBuf;
use kernel::{
    error::from_err_ptr,
    prelude::*,
    str::CStr, //
};

extern "C" {
    fn protheap_glue_has_heaps() -> bool;
    // `struct dma_buf *`, which has lockdep fields that Rust considers unfit for FFI.
    fn protheap_glue_allocate(heap: *const u8, bytes: usize) -> *mut c_void;
}

/// Returns whether this kernel lets modules find heaps.
pub(crate) fn is_available() -> bool {
    // SAFETY: Always safe to call.
    unsafe { protheap_glue_has_heaps() }
}

/// Allocates a buffer from the heap of that name. The heap rounds `bytes` up to pages.
///
/// `ENODEV` if there is no such heap; other errors are the heap's.
pub(crate) fn allocate(heap: &CStr, bytes: usize) -> Result<DmaBuf> {
    // SAFETY: The name is terminated.
    let ptr = from_err_ptr(unsafe { protheap_glue_allocate(heap.as_char_ptr(), bytes) })?;
    // SAFETY: The heap returned a reference that belongs to the caller.
    unsafe { DmaBuf::from_raw(ptr.cast()) }.ok_or(EIO)
}

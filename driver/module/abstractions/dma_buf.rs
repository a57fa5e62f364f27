// SPDX-License-Identifier: GPL-2.0

//! dma-bufs.

use core::ptr::NonNull;
use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    str::CStr, //
};

/// An owned reference to a dma-buf.
///
/// # Invariants
///
/// The pointer is valid, and `self` owns one reference to its target.
#[derive(PartialEq)]
pub(crate) struct DmaBuf(NonNull<bindings::dma_buf>);

// SAFETY: A dma-buf is reference-counted; its last reference can be dropped in any thread.
unsafe impl Send for DmaBuf {}
// SAFETY: Through `&self` only fields are read that do not change after the dma-buf was exported.
unsafe impl Sync for DmaBuf {}

impl DmaBuf {
    /// Takes a reference to the dma-buf behind a descriptor of the current process.
    ///
    /// `EBADF` if there is no such descriptor, `EINVAL` if it is not a dma-buf.
    pub(crate) fn from_fd(fd: i32) -> Result<Self> {
        // SAFETY: Always safe to call; it checks the descriptor.
        let ptr = from_err_ptr(unsafe { bindings::dma_buf_get(fd) })?;
        // SAFETY: `dma_buf_get()` succeeded and gave us a reference.
        unsafe { Self::from_raw(ptr) }.ok_or(EINVAL)
    }

    /// Takes over a reference. Returns [`None`] for NULL.
    ///
    /// # Safety
    ///
    /// `ptr` must be NULL, or come with a reference that the caller owns and no longer uses.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::dma_buf) -> Option<Self> {
        // INVARIANT: By the safety requirements.
        NonNull::new(ptr).map(Self)
    }

    /// Returns the pointer; `self` still owns the reference.
    pub(crate) fn as_ptr(&self) -> *mut bindings::dma_buf {
        self.0.as_ptr()
    }

    /// Returns the pointer together with the reference.
    pub(crate) fn into_raw(self) -> *mut bindings::dma_buf {
        let ptr = self.as_ptr();
        core::mem::forget(self);
        ptr
    }

    /// Returns the size in bytes.
    pub(crate) fn size(&self) -> usize {
        // SAFETY: Valid by the type invariant; the size never changes.
        unsafe { (*self.as_ptr()).size }
    }

    /// Returns the exporter's operations.
    fn ops(&self) -> &bindings::dma_buf_ops {
        // SAFETY: Valid by the type invariant; `dma_buf_export()` refuses a dma-buf without ops,
        // and the exporter's module stays for as long as the dma-buf lives.
        unsafe { &*(*self.as_ptr()).ops }
    }

    /// Returns whether the CPU can map the buffer. Protected memory cannot be mapped; the reverse
    /// does not hold.
    pub(crate) fn is_mappable(&self) -> bool {
        self.ops().mmap.is_some() || self.ops().vmap.is_some()
    }

    /// Returns the exporter's name. All TEE heaps share one; other heaps use their own.
    pub(crate) fn exporter(&self) -> &CStr {
        // SAFETY: Valid by the type invariant; `dma_buf_export()` refuses a dma-buf without a name.
        let name = unsafe { (*self.as_ptr()).exp_name };
        // SAFETY: A terminated string that the exporter keeps for as long as the dma-buf lives.
        unsafe { CStr::from_char_ptr(name) }
    }

    /// Returns whether operations and exporter name of both are the same.
    pub(crate) fn is_sibling_of(&self, other: &Self) -> bool {
        core::ptr::eq(self.ops(), other.ops()) && self.exporter() == other.exporter()
    }
}

impl Clone for DmaBuf {
    fn clone(&self) -> Self {
        // SAFETY: Valid by the type invariant; the references of a dma-buf are those of its file.
        unsafe { bindings::get_file((*self.as_ptr()).file) };
        // INVARIANT: The new reference is the clone's.
        Self(self.0)
    }
}

impl Drop for DmaBuf {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own a reference, and do not use it again.
        unsafe { bindings::dma_buf_put(self.as_ptr()) };
    }
}

/// Closes the files behind dropped references now. Otherwise a task closes them when it returns to
/// user space, and a kernel thread some time later.
pub(crate) fn flush_dropped() {
    // SAFETY: Always safe to call in process context.
    unsafe { bindings::flush_delayed_fput() };
}

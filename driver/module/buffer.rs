// SPDX-License-Identifier: GPL-2.0

//! A dma-buf.

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
/// The pointer is valid, and one reference to what it points to is owned by `self`.
#[derive(PartialEq)]
pub(crate) struct Buffer(NonNull<bindings::dma_buf>);

// SAFETY: A dma-buf is reference-counted; its last reference may go in any thread.
unsafe impl Send for Buffer {}
// SAFETY: Through `&self` only fields are read that do not change after the dma-buf was exported.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Takes a reference to the dma-buf behind a descriptor of the current process.
    ///
    /// `EBADF` if there is no such descriptor, `EINVAL` if it is not a dma-buf.
    pub(crate) fn from_fd(fd: i32) -> Result<Self> {
        // SAFETY: Always safe to call; it checks the descriptor.
        let ptr = from_err_ptr(unsafe { bindings::dma_buf_get(fd) })?;
        // SAFETY: `dma_buf_get()` succeeded and gave us a reference.
        unsafe { Self::from_raw(ptr) }.ok_or(EINVAL)
    }

    /// Takes over a reference; `None` for NULL.
    ///
    /// # Safety
    ///
    /// `ptr` must be NULL or come with a reference that is the caller's to give away.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::dma_buf) -> Option<Self> {
        // INVARIANT: By the safety requirements.
        NonNull::new(ptr).map(Self)
    }

    /// The dma-buf, still owned by `self`.
    pub(crate) fn as_ptr(&self) -> *mut bindings::dma_buf {
        self.0.as_ptr()
    }

    /// Gives the reference away.
    pub(crate) fn into_raw(self) -> *mut bindings::dma_buf {
        let ptr = self.as_ptr();
        core::mem::forget(self);
        ptr
    }

    /// Its bytes.
    pub(crate) fn size(&self) -> usize {
        // SAFETY: Valid by the type invariant; the size never changes.
        unsafe { (*self.as_ptr()).size }
    }

    /// What the exporter can do with it.
    fn ops(&self) -> &bindings::dma_buf_ops {
        // SAFETY: Valid by the type invariant; `dma_buf_export()` refuses a dma-buf without ops,
        // and the exporter's module stays for as long as the dma-buf lives.
        unsafe { &*(*self.as_ptr()).ops }
    }

    /// Whether the CPU can map it: then it is not protected. (That it cannot is necessary, not
    /// proof.)
    pub(crate) fn is_mappable(&self) -> bool {
        self.ops().mmap.is_some() || self.ops().vmap.is_some()
    }

    /// The exporter's name. All TEE heaps have the same one; other heaps state their own.
    pub(crate) fn exporter(&self) -> &CStr {
        // SAFETY: Valid by the type invariant; `dma_buf_export()` refuses a dma-buf without a name.
        let name = unsafe { (*self.as_ptr()).exp_name };
        // SAFETY: A terminated string that the exporter keeps for as long as the dma-buf lives.
        unsafe { CStr::from_char_ptr(name) }
    }

    /// Whether both come from the same exporter, as far as that can be seen.
    pub(crate) fn is_sibling_of(&self, other: &Self) -> bool {
        core::ptr::eq(self.ops(), other.ops()) && self.exporter() == other.exporter()
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        // SAFETY: Valid by the type invariant; the file is what counts a dma-buf's references.
        unsafe { bindings::get_file((*self.as_ptr()).file) };
        // INVARIANT: The new reference is the clone's.
        Self(self.0)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own a reference, and do not use it again.
        unsafe { bindings::dma_buf_put(self.as_ptr()) };
    }
}

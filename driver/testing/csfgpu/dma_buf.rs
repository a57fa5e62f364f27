// SPDX-License-Identifier: GPL-2.0

//! As much of dma-buf as a driver needs to use a buffer that it did not allocate.

use core::ptr::NonNull;
use kernel::{
    bindings,
    device::{
        Bound,
        Device, //
    },
    error::from_err_ptr,
    prelude::*,
    sync::aref::ARef, //
};

/// An owned reference to a dma-buf.
///
/// # Invariants
///
/// The pointer is valid, and one reference to what it points to is owned by `self`.
pub(crate) struct DmaBuf(NonNull<bindings::dma_buf>);

// SAFETY: A dma-buf is reference-counted; its last reference may go in any thread.
unsafe impl Send for DmaBuf {}
// SAFETY: Through `&self` only fields are read that never change.
unsafe impl Sync for DmaBuf {}

impl DmaBuf {
    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid, with a reference that the caller gives away.
    pub(crate) unsafe fn from_raw(ptr: NonNull<bindings::dma_buf>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(ptr)
    }

    /// Takes a further reference.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid for the duration of the call.
    pub(crate) unsafe fn get(ptr: NonNull<bindings::dma_buf>) -> Self {
        // SAFETY: By the safety requirements; the file is what counts a dma-buf's references.
        unsafe { bindings::get_file((*ptr.as_ptr()).file) };
        // INVARIANT: Just taken.
        Self(ptr)
    }

    /// Its bytes.
    pub(crate) fn size(&self) -> usize {
        // SAFETY: Valid by the type invariant; the size never changes.
        unsafe { (*self.0.as_ptr()).size }
    }
}

impl Drop for DmaBuf {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own a reference, and do not use it again.
        unsafe { bindings::dma_buf_put(self.0.as_ptr()) };
    }
}

/// A dma-buf that is mapped for a device.
///
/// # Invariants
///
/// `attachment` attaches `dma_buf` to `device`, and `table` is its mapping.
pub(crate) struct Mapping {
    attachment: NonNull<bindings::dma_buf_attachment>,
    table: NonNull<bindings::sg_table>,
    dma_buf: DmaBuf,
    // The attachment points to it.
    _device: ARef<Device>,
}

// SAFETY: Mappings are not tied to a thread.
unsafe impl Send for Mapping {}
// SAFETY: Through `&self` only fields are read that never change.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `dma_buf` for `device`, to be read and written.
    ///
    /// # Safety
    ///
    /// The mapping must be dropped before the driver is unbound from `device`.
    pub(crate) unsafe fn new(device: &Device<Bound>, dma_buf: DmaBuf) -> Result<Self> {
        let dev = core::ptr::from_ref(device).cast_mut().cast();
        let buf = dma_buf.0.as_ptr();
        // SAFETY: Both are valid.
        let attachment = from_err_ptr(unsafe { bindings::dma_buf_attach(buf, dev) })?;
        // SAFETY: Attached above.
        let table = from_err_ptr(unsafe {
            bindings::dma_buf_map_attachment_unlocked(
                attachment,
                bindings::dma_data_direction::DMA_BIDIRECTIONAL,
            )
        });
        match (NonNull::new(attachment), table.map(NonNull::new)) {
            // INVARIANT: Attached and mapped above.
            (Some(attachment), Ok(Some(table))) => Ok(Self {
                attachment,
                table,
                dma_buf,
                _device: device.into(),
            }),
            (_, table) => {
                // SAFETY: Attached above, and not mapped.
                unsafe { bindings::dma_buf_detach(buf, attachment) };
                Err(table.err().unwrap_or(EINVAL))
            }
        }
    }

    /// Its bytes.
    pub(crate) fn size(&self) -> usize {
        self.dma_buf.size()
    }

    /// Where the device sees the first of them.
    pub(crate) fn address(&self) -> u64 {
        // SAFETY: By the type invariant the table is mapped, so it has a first entry.
        unsafe { bindings::sg_dma_address((*self.table.as_ptr()).sgl) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let attachment = self.attachment.as_ptr();
        // SAFETY: Attached and mapped by the type invariant, and not used again.
        unsafe {
            bindings::dma_buf_unmap_attachment_unlocked(
                attachment,
                self.table.as_ptr(),
                bindings::dma_data_direction::DMA_BIDIRECTIONAL,
            );
            bindings::dma_buf_detach(self.dma_buf.0.as_ptr(), attachment);
        }
    }
}

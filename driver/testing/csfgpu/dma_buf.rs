// SPDX-License-Identifier: GPL-2.0

//! The part of dma-buf that a driver needs to use a buffer of another exporter.

use crate::compat::DMA_BIDIRECTIONAL;
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
/// The pointer is valid, and `self` owns one reference to the dma-buf.
pub(crate) struct DmaBuf(NonNull<bindings::dma_buf>);

// SAFETY: A dma-buf is reference-counted; its last reference can be dropped in any thread.
unsafe impl Send for DmaBuf {}
// SAFETY: Through `&self` only fields are read that never change.
unsafe impl Sync for DmaBuf {}

impl DmaBuf {
    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid, with a reference whose ownership the caller transfers.
    pub(crate) unsafe fn from_raw(ptr: NonNull<bindings::dma_buf>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(ptr)
    }

    /// Takes another reference.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid for the duration of the call.
    pub(crate) unsafe fn get(ptr: NonNull<bindings::dma_buf>) -> Self {
        // SAFETY: By the safety requirements; the references of a dma-buf are those of its file.
        unsafe { bindings::get_file((*ptr.as_ptr()).file) };
        // INVARIANT: The reference was taken above.
        Self(ptr)
    }

    /// Returns the size of the buffer in bytes.
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
    // Referenced by the attachment.
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
            bindings::dma_buf_map_attachment_unlocked(attachment, DMA_BIDIRECTIONAL)
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

    /// Returns the size of the buffer in bytes.
    pub(crate) fn size(&self) -> usize {
        self.dma_buf.size()
    }

    /// Returns the DMA address of the first segment.
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
                DMA_BIDIRECTIONAL,
            );
            bindings::dma_buf_detach(self.dma_buf.0.as_ptr(), attachment);
        }
    }
}

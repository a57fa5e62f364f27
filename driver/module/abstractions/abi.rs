// SPDX-License-Identifier: GPL-2.0

//! Types of `protheap.h`, named as in C.
//!
//! A kernel with `CONFIG_CFI` identifies the type of a function by the names of the structures in
//! its signature. A driver calls protheap.ko through pointers, so a function with other type names
//! would end in a trap.
#![allow(non_camel_case_types)]

use core::ptr::NonNull;
pub(crate) use kernel::bindings::{
    device,
    dma_buf, //
};
use kernel::device::Device;

/// `PROTHEAP_ABI`.
pub(crate) const ABI: u32 = 1;

/// `struct protheap`, which is opaque to drivers.
#[repr(C)]
pub(crate) struct protheap {
    _opaque: [u8; 0],
}

type RawCallback = unsafe extern "C" fn(dev: *mut device);

/// `struct protheap_ops`.
#[repr(C)]
pub(crate) struct protheap_ops {
    bound: Option<RawCallback>,
    release: Option<RawCallback>,
}

/// `struct protheap_suspend`.
#[repr(C)]
pub(crate) struct protheap_suspend {
    pub(crate) dmabuf: *mut dma_buf,
}

// SAFETY: A dma-buf may be used from any thread.
unsafe impl Send for protheap_suspend {}

/// Functions of an attached driver.
///
/// # Invariants
///
/// The pointer, if there is one, is valid and its target is constant.
pub(crate) struct Ops(Option<NonNull<protheap_ops>>);

// SAFETY: The target is constant, and its functions may be called from any thread.
unsafe impl Send for Ops {}

impl Ops {
    /// The functions behind a pointer that a driver passed.
    ///
    /// # Safety
    ///
    /// `ops` must be NULL, or valid and constant until the returned value is dropped.
    pub(crate) unsafe fn from_raw(ops: *const protheap_ops) -> Self {
        // INVARIANT: By the safety requirements.
        Self(NonNull::new(ops.cast_mut()))
    }

    fn get(&self) -> Option<&protheap_ops> {
        // SAFETY: Valid by the type invariant.
        self.0.map(|ops| unsafe { ops.as_ref() })
    }

    /// `bound` of `struct protheap_ops`.
    pub(crate) fn bound(&self) -> Option<Callback> {
        self.get()?.bound.map(Callback)
    }

    /// `release` of `struct protheap_ops`.
    pub(crate) fn release(&self) -> Option<Callback> {
        self.get()?.release.map(Callback)
    }
}

/// A function of `struct protheap_ops`.
pub(crate) struct Callback(RawCallback);

impl Callback {
    /// Calls the function.
    ///
    /// # Safety
    ///
    /// The driver must be attached to `dev`, and must not detach before this returns.
    pub(crate) unsafe fn call(self, dev: &Device) {
        // SAFETY: The device is valid. By the safety requirements, so is the driver's code.
        unsafe { self.0(super::device::as_raw(dev)) };
    }
}

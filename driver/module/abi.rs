// SPDX-License-Identifier: GPL-2.0

//! Types of `protheap.h`, named as in C.
//!
//! A kernel with `CONFIG_CFI` identifies the type of a function by the names of the structures in
//! its signature. A driver calls protheap.ko through pointers, so that a function whose types had
//! other names here would end in a trap.
#![allow(non_camel_case_types)]

use kernel::bindings;

/// `PROTHEAP_ABI`.
pub(crate) const ABI: u32 = 1;

/// `struct protheap`, which is opaque to drivers.
#[repr(C)]
pub(crate) struct protheap {
    _opaque: [u8; 0],
}

/// A function of `struct protheap_ops`.
pub(crate) type Callback = unsafe extern "C" fn(dev: *mut bindings::device);

/// `struct protheap_ops`.
#[repr(C)]
pub(crate) struct protheap_ops {
    pub(crate) bound: Option<Callback>,
    pub(crate) release: Option<Callback>,
}

/// `struct protheap_suspend`.
#[repr(C)]
pub(crate) struct protheap_suspend {
    pub(crate) dmabuf: *mut bindings::dma_buf,
}

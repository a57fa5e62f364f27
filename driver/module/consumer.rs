// SPDX-License-Identifier: GPL-2.0

//! What GPU drivers call: the functions of `protheap.h`, exported by `glue.c`.

use crate::{
    gpu::{
        Gpu,
        Ops, //
    },
    pool::Suspend,
    registry, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    device::Device,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

/// A pointer, or an error that looks like one.
fn ptr_or_err<T>(result: Result<*mut T>) -> *mut T {
    result.unwrap_or_else(Error::to_ptr)
}

/// The GPU behind an attachment.
///
/// # Safety
///
/// `protheap` must come from [`protheap_attach`], and must not be detached before the returned
/// value is dropped.
unsafe fn attached<'a>(protheap: *mut Gpu) -> ArcBorrow<'a, Gpu> {
    // SAFETY: By the safety requirements, the attachment owns what `Arc::into_raw()` returned.
    unsafe { ArcBorrow::from_raw(protheap) }
}

/// Attaches a driver to its device; see `protheap.h`.
///
/// # Safety
///
/// `dev` must be valid; `ops` must be NULL or valid until [`protheap_detach`].
#[no_mangle]
pub(crate) unsafe extern "C" fn protheap_attach(
    dev: *mut bindings::device,
    ops: *const Ops,
) -> *mut Gpu {
    let attach = || {
        // SAFETY: By the safety requirements.
        let gpu = registry::gpu(unsafe { Device::from_raw(dev) })?;
        gpu.attach(NonNull::new(ops.cast_mut()))?;
        Ok(Arc::into_raw(gpu).cast_mut())
    };
    ptr_or_err(attach())
}

/// Ends an attachment; see `protheap.h`.
///
/// # Safety
///
/// `protheap` must come from [`protheap_attach`], and must not be used again.
#[no_mangle]
pub(crate) unsafe extern "C" fn protheap_detach(protheap: *mut Gpu) {
    // SAFETY: By the safety requirements, the attachment owns what `Arc::into_raw()` returned, and
    // ends here.
    unsafe { Arc::from_raw(protheap) }.detach();
}

/// The firmware's buffer; see `protheap.h`.
///
/// # Safety
///
/// `protheap` must come from [`protheap_attach`], and must not be detached meanwhile.
#[no_mangle]
pub(crate) unsafe extern "C" fn protheap_firmware_buffer(
    protheap: *mut Gpu,
    size: usize,
) -> *mut bindings::dma_buf {
    // SAFETY: By the safety requirements.
    let gpu = unsafe { attached(protheap) };
    ptr_or_err(gpu.firmware(size).map(|buffer| buffer.into_raw()))
}

/// Tells the size of a suspend buffer; see `protheap.h`.
///
/// # Safety
///
/// `protheap` must come from [`protheap_attach`], and must not be detached meanwhile.
#[no_mangle]
pub(crate) unsafe extern "C" fn protheap_suspend_configure(
    protheap: *mut Gpu,
    size: usize,
) -> c_int {
    // SAFETY: By the safety requirements.
    let gpu = unsafe { attached(protheap) };
    match gpu.configure_suspend(size) {
        Ok(()) => 0,
        Err(err) => err.to_errno(),
    }
}

/// Takes a suspend buffer; see `protheap.h`.
///
/// # Safety
///
/// `protheap` must come from [`protheap_attach`], and must not be detached meanwhile.
#[no_mangle]
pub(crate) unsafe extern "C" fn protheap_suspend_get(
    protheap: *mut Gpu,
    held: c_uint,
    limit: c_uint,
) -> *mut Suspend {
    // SAFETY: By the safety requirements.
    let gpu = unsafe { attached(protheap) };
    ptr_or_err(gpu.take_suspend(held, limit).map(NonNull::as_ptr))
}

/// Gives a suspend buffer back; see `protheap.h`.
///
/// # Safety
///
/// `suspend` must be NULL or come from [`protheap_suspend_get`], and must not be used again.
#[no_mangle]
pub(crate) unsafe extern "C" fn protheap_suspend_put(suspend: *mut Suspend) {
    let Some(suspend) = NonNull::new(suspend) else {
        return;
    };
    // SAFETY: By the safety requirements the buffer is in use, so its pool keeps it; and its user
    // keeps the module, so the registry keeps the GPU.
    let gpu = unsafe { suspend.as_ref().gpu.as_ref() };
    gpu.put_suspend(suspend);
}

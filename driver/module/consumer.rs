// SPDX-License-Identifier: GPL-2.0

//! The functions of `protheap.h`, which GPU drivers call. `glue.c` exports them.

use crate::abstractions::compat::EPROTONOSUPPORT;
use crate::{
    abstractions::abi::{
        self,
        protheap,
        protheap_ops,
        protheap_suspend,
        Ops,
        ABI, //
    },
    gpu::{
        Gpu,
        Suspend, //
    },
    registry, //
};
use core::ptr::NonNull;
use kernel::{
    device::Device,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

/// Returns the pointer, or the error encoded as one.
fn ptr_or_err<T>(result: Result<*mut T>) -> *mut T {
    result.unwrap_or_else(Error::to_ptr)
}

/// Returns the GPU behind an attachment.
///
/// # Safety
///
/// `protheap` must come from [`protheap_attach`], and must not be detached before the returned
/// value is dropped.
unsafe fn attached<'a>(protheap: *mut protheap) -> ArcBorrow<'a, Gpu> {
    // SAFETY: By the safety requirements, the attachment owns what `Arc::into_raw()` returned.
    unsafe { ArcBorrow::from_raw(protheap.cast()) }
}

/// Attaches a driver to its device; see `protheap.h`.
///
/// # Safety
///
/// `dev` must be valid; `ops` must be NULL or valid until [`protheap_detach`].
#[no_mangle]
pub(crate) unsafe extern "C" fn protheap_attach(
    dev: *mut abi::device,
    ops: *const protheap_ops,
    version: u32,
) -> *mut protheap {
    let attach = || {
        // SAFETY: By the safety requirements.
        let dev: &Device = unsafe { Device::from_raw(dev) };
        if version != ABI {
            dev_warn!(
                dev,
                "protheap: failed to attach the driver: it uses version {version} of protheap.h, this module has {ABI}; rebuild the driver\n"
            );
            return Err(EPROTONOSUPPORT);
        }
        let gpu = registry::gpu(dev)?;
        // SAFETY: By the safety requirements; `detach()` drops it.
        gpu.attach(unsafe { Ops::from_raw(ops) })?;
        Ok(Arc::into_raw(gpu).cast_mut().cast())
    };
    ptr_or_err(attach())
}

/// Ends an attachment; see `protheap.h`.
///
/// # Safety
///
/// `protheap` must come from [`protheap_attach`], and must not be used again.
#[no_mangle]
pub(crate) unsafe extern "C" fn protheap_detach(protheap: *mut protheap) {
    // SAFETY: By the safety requirements, the attachment owns what `Arc::into_raw()` returned, and
    // ends here.
    unsafe { Arc::from_raw(protheap.cast::<Gpu>()) }.detach();
}

/// Returns the firmware's buffer; see `protheap.h`.
///
/// # Safety
///
/// `protheap` must come from [`protheap_attach`], and must not be detached meanwhile.
#[no_mangle]
pub(crate) unsafe extern "C" fn protheap_firmware_buffer(
    protheap: *mut protheap,
    size: usize,
) -> *mut abi::dma_buf {
    // SAFETY: By the safety requirements.
    let gpu = unsafe { attached(protheap) };
    ptr_or_err(gpu.take_firmware(size).map(|buffer| buffer.into_raw()))
}

/// Ends the use of the firmware's buffer; see `protheap.h`.
///
/// # Safety
///
/// `protheap` must come from [`protheap_attach`], and must not be detached meanwhile.
#[no_mangle]
pub(crate) unsafe extern "C" fn protheap_firmware_put(protheap: *mut protheap) {
    // SAFETY: By the safety requirements.
    unsafe { attached(protheap) }.put_firmware();
}

/// Returns whether the GPU is to be bound on demand; see `protheap.h`.
///
/// # Safety
///
/// `protheap` must come from [`protheap_attach`], and must not be detached meanwhile.
#[no_mangle]
pub(crate) unsafe extern "C" fn protheap_on_demand(protheap: *mut protheap) -> c_int {
    // SAFETY: By the safety requirements.
    let gpu = unsafe { attached(protheap) };
    c_int::from(gpu.awaits_demand())
}

/// Sets the size of a suspend buffer; see `protheap.h`.
///
/// # Safety
///
/// `protheap` must come from [`protheap_attach`], and must not be detached meanwhile.
#[no_mangle]
pub(crate) unsafe extern "C" fn protheap_suspend_configure(
    protheap: *mut protheap,
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
    protheap: *mut protheap,
    held: c_uint,
    limit: c_uint,
) -> *mut protheap_suspend {
    // SAFETY: By the safety requirements.
    let gpu = unsafe { attached(protheap) };
    ptr_or_err(
        gpu.take_suspend(held, limit)
            .map(|suspend| suspend.cast().as_ptr()),
    )
}

/// Puts a suspend buffer; see `protheap.h`.
///
/// # Safety
///
/// `suspend` must be NULL or come from [`protheap_suspend_get`], and must not be used again.
#[no_mangle]
pub(crate) unsafe extern "C" fn protheap_suspend_put(suspend: *mut protheap_suspend) {
    let Some(suspend) = NonNull::new(suspend.cast::<Suspend>()) else {
        return;
    };
    // SAFETY: By the safety requirements the buffer is in use, so its pool keeps it, and the registry
    // keeps the GPU, whose pointer is of an `Arc`.
    let gpu = unsafe { ArcBorrow::<Gpu>::from_raw(suspend.as_ref().owner.0.as_ptr()) };
    // The registry may forget a GPU whose device was removed when its last buffer is put.
    Arc::from(gpu).put_suspend(suspend);
}

// SPDX-License-Identifier: GPL-2.0

//! A device: its lock, its driver, and how it is found.

use core::ptr::NonNull;
use kernel::{
    bindings,
    device::Device,
    error::to_result,
    fmt,
    prelude::*,
    str::{
        BStr,
        CStr, //
    },
    sync::aref::ARef, //
};

extern "C" {
    // `struct device *`, which has lockdep fields that Rust considers unfit for FFI.
    fn protheap_glue_lock_device(dev: *mut c_void);
    fn protheap_glue_lock_device_interruptible(dev: *mut c_void) -> c_int;
    fn protheap_glue_trylock_device(dev: *mut c_void) -> bool;
    fn protheap_glue_unlock_device(dev: *mut c_void);
}

/// Returns the pointer that C functions take.
pub(super) fn as_raw(dev: &Device) -> *mut bindings::device {
    core::ptr::from_ref(dev).cast_mut().cast()
}

/// The lock under which a device is probed and removed, held until dropped. Except for
/// [`DeviceLock::try_new`], no lock of this module may be held when it is taken.
pub(crate) struct DeviceLock<'a>(&'a Device);

impl<'a> DeviceLock<'a> {
    /// Waits for the lock.
    pub(crate) fn new(dev: &'a Device) -> Self {
        // SAFETY: The device is valid.
        unsafe { protheap_glue_lock_device(as_raw(dev).cast()) };
        Self(dev)
    }

    /// Waits for the lock. `EINTR` if a signal arrives first.
    pub(crate) fn new_interruptible(dev: &'a Device) -> Result<Self> {
        // SAFETY: The device is valid.
        to_result(unsafe { protheap_glue_lock_device_interruptible(as_raw(dev).cast()) })?;
        Ok(Self(dev))
    }

    /// Takes the lock unless it is held already, as it is while the device is being probed.
    pub(crate) fn try_new(dev: &'a Device) -> Option<Self> {
        // SAFETY: The device is valid.
        let locked = unsafe { protheap_glue_trylock_device(as_raw(dev).cast()) };
        // Not `then_some()`, which would make and drop a `Self` that holds no lock.
        locked.then(|| Self(dev))
    }

    /// Returns whether a driver is bound to the device.
    pub(crate) fn has_driver(&self) -> bool {
        // SAFETY: The device is valid and, by the existence of `self`, locked.
        unsafe { bindings::device_is_bound(as_raw(self.0)) }
    }
}

impl Drop for DeviceLock<'_> {
    fn drop(&mut self) {
        // SAFETY: Locked when `self` was made.
        unsafe { protheap_glue_unlock_device(as_raw(self.0).cast()) };
    }
}

/// Probes the device unless it has a driver, under the device's lock.
pub(crate) fn attach_driver(dev: &Device) -> Result {
    // SAFETY: The device is valid.
    to_result(unsafe { bindings::device_attach(as_raw(dev)) })
}

/// Unbinds the device's driver, if there is one, under the device's lock.
pub(crate) fn release_driver(dev: &Device) {
    // SAFETY: The device is valid.
    unsafe { bindings::device_release_driver(as_raw(dev)) };
}

/// Displays the name of the device's driver, or of its bus if it has no driver.
///
/// Only for log lines about a driver that is bound: otherwise the name could be freed with the
/// module of the driver, as with `dev_printk()`.
pub(crate) struct DriverName<'a>(pub(crate) &'a Device);

impl fmt::Display for DriverName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: The device is valid. The result is a terminated string that stays while the driver
        // is bound.
        let name = unsafe { CStr::from_char_ptr(bindings::dev_driver_string(as_raw(self.0))) };
        fmt::Display::fmt(BStr::from_bytes(name.to_bytes()), f)
    }
}

/// Returns the platform device of that name.
pub(crate) fn find_platform_device(name: &CStr) -> Option<ARef<Device>> {
    // SAFETY: The bus is valid, and `device_match_name()` expects a terminated string.
    let dev = unsafe {
        bindings::bus_find_device(
            &bindings::platform_bus_type,
            core::ptr::null_mut(),
            name.as_char_ptr().cast(),
            Some(bindings::device_match_name),
        )
    };
    // SAFETY: `bus_find_device()` returns NULL, or a device with a reference for the caller.
    NonNull::new(dev.cast::<Device>()).map(|dev| unsafe { ARef::from_raw(dev) })
}

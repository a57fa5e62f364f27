// SPDX-License-Identifier: GPL-2.0

//! The lock of a device.

use kernel::{
    bindings,
    device::Device,
    error::to_result,
    prelude::*, //
};

extern "C" {
    // `struct device *`, whose lockdep fields Rust takes for unfit to pass.
    fn protheap_glue_lock_device(dev: *mut c_void);
    fn protheap_glue_lock_device_interruptible(dev: *mut c_void) -> c_int;
    fn protheap_glue_trylock_device(dev: *mut c_void) -> bool;
    fn protheap_glue_unlock_device(dev: *mut c_void);
}

/// The lock under which a device is probed and removed, held until dropped. None of our locks may
/// be held when it is taken, but for a try.
pub(crate) struct DeviceLock<'a>(&'a Device);

impl<'a> DeviceLock<'a> {
    /// Waits for the lock.
    pub(crate) fn new(dev: &'a Device) -> Self {
        // SAFETY: The device is valid, and no lock is held.
        unsafe { protheap_glue_lock_device(raw(dev).cast()) };
        Self(dev)
    }

    /// Waits for the lock until a signal comes: then `EINTR`.
    pub(crate) fn new_interruptible(dev: &'a Device) -> Result<Self> {
        // SAFETY: As above.
        to_result(unsafe { protheap_glue_lock_device_interruptible(raw(dev).cast()) })?;
        Ok(Self(dev))
    }

    /// The lock, unless it is taken: the device may be being probed.
    pub(crate) fn try_new(dev: &'a Device) -> Option<Self> {
        // SAFETY: The device is valid.
        let locked = unsafe { protheap_glue_trylock_device(raw(dev).cast()) };
        // Not `then_some()`, which would make and drop a `Self` that holds no lock.
        locked.then(|| Self(dev))
    }

    /// Whether a driver is bound to the device.
    pub(crate) fn has_driver(&self) -> bool {
        // SAFETY: The device is valid and, as `self` says, locked.
        unsafe { bindings::device_is_bound(raw(self.0)) }
    }
}

impl Drop for DeviceLock<'_> {
    fn drop(&mut self) {
        // SAFETY: Locked when `self` was made.
        unsafe { protheap_glue_unlock_device(raw(self.0).cast()) };
    }
}

/// The device, for C.
pub(crate) fn raw(dev: &Device) -> *mut bindings::device {
    core::ptr::from_ref(dev).cast_mut().cast()
}

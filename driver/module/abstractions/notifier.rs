// SPDX-License-Identifier: GPL-2.0

//! Notifiers of reboot, hibernation and the platform bus.
//!
//! `glue.c` calls `protheap_evacuate()` and `protheap_repopulate()`, which the module defines.

use kernel::{
    error::to_result,
    prelude::*, //
};

extern "C" {
    fn protheap_glue_watch() -> c_int;
    fn protheap_glue_unwatch();
}

/// `enum protheap_cause` of `glue.h`: why protected buffers must return to their heap.
#[repr(C)]
#[derive(Clone, Copy, PartialEq)]
#[allow(dead_code)] // `glue.c` makes them.
pub(crate) enum Cause {
    /// The machine shuts down or starts another kernel.
    ShutDown,
    /// An image of this kernel is taken. User space and its use of the GPU are part of the image.
    TakeImage,
    /// An image replaces this kernel and its user space.
    RestoreImage,
    /// OP-TEE's driver is about to be unbound.
    TeeLeaves,
}

/// The registered notifiers; unregistered when dropped.
pub(crate) struct Watch(());

impl Watch {
    /// Registers the notifiers.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: `drop()` unregisters them, before the module is unloaded.
        to_result(unsafe { protheap_glue_watch() })?;
        Ok(Self(()))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: Registered by `new()`. Waits for a running call.
        unsafe { protheap_glue_unwatch() };
    }
}

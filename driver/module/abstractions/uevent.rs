// SPDX-License-Identifier: GPL-2.0

//! Uevents of the module's device.

use super::device::as_raw;
use kernel::{
    bindings,
    device::Device,
    error::to_result,
    prelude::*,
    str::CStr,
    sync::aref::ARef, //
};

/// Maximum number of variables of an event.
const VARIABLES_MAX: usize = 3;

kernel::sync::global_lock! {
    // SAFETY: `init()` is called before anything else of this file is used.
    unsafe(uninit) static SENDER: Mutex<Option<ARef<Device>>> = None;
}

/// Prepares this file for use.
///
/// # Safety
///
/// Must be called once, before anything else of this file is used.
pub(crate) unsafe fn init() {
    // SAFETY: By the safety requirements.
    unsafe { SENDER.init() };
}

/// Sets the device that sends all events.
pub(crate) fn set_sender(dev: Option<&Device>) {
    let _previous = core::mem::replace(&mut *SENDER.lock(), dev.map(ARef::from));
}

/// Sends a `change` event with those variables. `ENODEV` if no device is set, `E2BIG` if the
/// variables are too many.
pub(crate) fn send_change(variables: &[&CStr]) -> Result {
    let dev = SENDER.lock().clone().ok_or(ENODEV)?;
    let mut env = [core::ptr::null_mut(); VARIABLES_MAX + 1];
    let (_terminator, slots) = env.split_last_mut().ok_or(E2BIG)?;
    if variables.len() > slots.len() {
        return Err(E2BIG);
    }
    for (slot, variable) in slots.iter_mut().zip(variables) {
        *slot = variable.as_char_ptr().cast_mut();
    }
    let dev = as_raw(&dev);
    // SAFETY: The device is valid; `env` is a list of terminated strings that ends with NULL, and
    // the strings are only read.
    to_result(unsafe {
        bindings::kobject_uevent_env(
            &raw mut (*dev).kobj,
            bindings::kobject_action_KOBJ_CHANGE,
            env.as_mut_ptr(),
        )
    })
}

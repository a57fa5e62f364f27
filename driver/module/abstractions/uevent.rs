// SPDX-License-Identifier: GPL-2.0

//! Uevents.

use super::device::as_raw;
use kernel::{
    bindings,
    device::Device,
    error::to_result,
    prelude::*,
    str::CStr, //
};

/// Maximum number of variables of an event.
const VARIABLES_MAX: usize = 3;

/// Sends a `change` event of `dev` with those variables. `E2BIG` if they are too many.
pub(crate) fn send_change(dev: &Device, variables: &[&CStr]) -> Result {
    let mut env = [core::ptr::null_mut(); VARIABLES_MAX + 1];
    let (_terminator, slots) = env.split_last_mut().ok_or(E2BIG)?;
    if variables.len() > slots.len() {
        return Err(E2BIG);
    }
    for (slot, variable) in slots.iter_mut().zip(variables) {
        *slot = variable.as_char_ptr().cast_mut();
    }
    let dev = as_raw(dev);
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

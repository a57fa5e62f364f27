// SPDX-License-Identifier: GPL-2.0

//! Kernel lockdown.

extern "C" {
    fn protheap_glue_locked_down() -> bool;
}

/// Returns whether the kernel is locked down at `integrity` or above.
pub(crate) fn is_locked_down() -> bool {
    // SAFETY: Always safe to call in process context.
    unsafe { protheap_glue_locked_down() }
}

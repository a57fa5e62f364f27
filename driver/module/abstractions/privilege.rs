// SPDX-License-Identifier: GPL-2.0

//! Privileges of the calling task.

extern "C" {
    fn protheap_glue_may_hand_over() -> bool;
}

/// Returns whether the calling task may hand buffers over: its effective user is root, or it has
/// `CAP_SYS_ADMIN`, both in the initial user namespace.
pub(crate) fn may_hand_over() -> bool {
    // SAFETY: Always safe to call in process context.
    unsafe { protheap_glue_may_hand_over() }
}

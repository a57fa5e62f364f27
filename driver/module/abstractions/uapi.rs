// SPDX-License-Identifier: GPL-2.0

//! `uapi/protheap.h`.

use kernel::{
    ioctl::_IOW,
    transmute::FromBytes, //
};

/// `struct protheap_hand_over`.
#[repr(C)]
pub(crate) struct HandOver {
    pub(crate) device: [u8; 64],
    pub(crate) fd: i32,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
}

// SAFETY: Integers only, and no padding: any bytes are valid.
unsafe impl FromBytes for HandOver {}

/// `PROTHEAP_IOCTL_HAND_OVER`.
pub(crate) const IOCTL_HAND_OVER: u32 = _IOW::<HandOver>(0xBB, 0x01);

/// `PROTHEAP_FIRMWARE`.
pub(crate) const FIRMWARE: u32 = 0;

/// `PROTHEAP_SUSPEND`.
pub(crate) const SUSPEND: u32 = 1;

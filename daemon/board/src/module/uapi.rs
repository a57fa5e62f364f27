// SPDX-License-Identifier: MIT OR Apache-2.0

//! Definitions of driver/module/uapi/protheap.h.

use std::os::fd::{AsFd as _, AsRawFd as _};

use protheap_policy::name::DeviceName;
use rustix::ioctl::{Opcode, opcode};

use crate::heaps::Buffer;

/// Version of the module's interface that this crate implements.
pub const ABI: u32 = 1;

pub(super) const NODE: &str = "/dev/protheap";

/// The purpose of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The firmware's protected section.
    Firmware,
    /// The saved state of a suspended protected command stream group.
    Suspend,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Suspend => "suspend",
        }
    }
}

/// `struct protheap_hand_over` of driver/module/uapi/protheap.h.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct HandOver {
    device: [u8; 64],
    fd: i32,
    kind: u32,
    flags: u64,
}

/// `PROTHEAP_IOCTL_HAND_OVER`.
pub(super) const HAND_OVER: Opcode = opcode::write::<HandOver>(0xbb, 0x01);

impl HandOver {
    pub(super) fn new(device: &DeviceName, kind: Kind, buffer: &Buffer) -> Self {
        let mut name = [0; 64];
        // A device name has at most 63 bytes, so the array always ends in a NUL.
        for (to, from) in name.iter_mut().zip(device.as_str().bytes()) {
            *to = from;
        }
        let kind = match kind {
            Kind::Firmware => 0,
            Kind::Suspend => 1,
        };
        Self { device: name, fd: buffer.as_fd().as_raw_fd(), kind, flags: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_over_matches_the_module_header() {
        assert_eq!(size_of::<HandOver>(), 80);
        assert_eq!(HAND_OVER, 0x4050_bb01);
        let names = (std::mem::offset_of!(HandOver, fd), std::mem::offset_of!(HandOver, flags));
        assert_eq!(names, (64, 72));
    }
}

// SPDX-License-Identifier: GPL-2.0

//! `/dev/protheap`: user space hands buffers over. The errors are listed in `uapi/protheap.h`.

use crate::{
    binding::Kind,
    buffer::Buffer,
    registry, //
};
use kernel::{
    fs::File,
    ioctl::{
        _IOC_SIZE,
        _IOW, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    str::CStr,
    transmute::FromBytes,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// `struct protheap_hand_over` of `uapi/protheap.h`.
#[repr(C)]
struct HandOver {
    device: [u8; 64],
    fd: i32,
    kind: u32,
    flags: u64,
}

// SAFETY: Integers only, and no padding: any bytes are valid.
unsafe impl FromBytes for HandOver {}

/// `PROTHEAP_IOCTL_HAND_OVER` of `uapi/protheap.h`.
const HAND_OVER: u32 = _IOW::<HandOver>(0xBB, 0x01);

/// The device, which keeps nothing for each that opened it.
pub(crate) struct Misc;

impl Misc {
    /// Registers the device.
    pub(crate) fn register() -> impl PinInit<MiscDeviceRegistration<Self>, Error> {
        MiscDeviceRegistration::register(MiscDeviceOptions { name: c"protheap" })
    }
}

#[vtable]
impl MiscDevice for Misc {
    type Ptr = ();

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result {
        Ok(())
    }

    fn ioctl(_device: (), _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            HAND_OVER => hand_over(
                UserSlice::new(UserPtr::from_addr(arg), _IOC_SIZE(cmd))
                    .reader()
                    .read()?,
            )?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

fn hand_over(what: HandOver) -> Result {
    let device = CStr::from_bytes_until_nul(&what.device).map_err(|_| EINVAL)?;
    if device.is_empty() {
        return Err(EINVAL);
    }
    let kind = match what.kind {
        0 => Kind::Firmware,
        1 => Kind::Suspend,
        _ => return Err(EOPNOTSUPP),
    };
    if what.flags != 0 {
        return Err(EOPNOTSUPP);
    }
    registry::hand_over(device, kind, Buffer::from_fd(what.fd)?)
}

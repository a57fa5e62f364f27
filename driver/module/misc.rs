// SPDX-License-Identifier: GPL-2.0

//! `/dev/protheap`, through which user space hands buffers over.
//!
//! For the errors see `uapi/protheap.h`.

use crate::{
    abstractions::{
        dma_buf::DmaBuf,
        privilege::may_hand_over,
        uapi, //
    },
    binding::Kind,
    registry, //
};
use kernel::{
    fs::File,
    ioctl::_IOC_SIZE,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    str::CStr,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// The device. It has no data for an open file.
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
            uapi::IOCTL_HAND_OVER => {
                // Of the caller: whoever opened the file may have passed it on.
                if !may_hand_over() {
                    return Err(EPERM);
                }
                hand_over(
                    UserSlice::new(UserPtr::from_addr(arg), _IOC_SIZE(cmd))
                        .reader()
                        .read()?,
                )?;
            }
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

fn hand_over(request: uapi::HandOver) -> Result {
    let device = CStr::from_bytes_until_nul(&request.device).map_err(|_| EINVAL)?;
    if device.is_empty() {
        return Err(EINVAL);
    }
    let kind = match request.kind {
        uapi::FIRMWARE => Kind::Firmware,
        uapi::SUSPEND => Kind::Suspend,
        _ => return Err(EINVAL),
    };
    if request.flags != 0 {
        return Err(EINVAL);
    }
    registry::hand_over(device, kind, DmaBuf::from_fd(request.fd)?)
}

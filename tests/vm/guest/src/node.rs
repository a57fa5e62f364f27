// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device nodes, as a player opens them.

use std::fs::File;
use std::io;
use std::path::Path;

use protheap_board::nodes;
use protheap_board::root::Root;
use protheap_core::share::Number;
use rustix::fs::{fstat, major, minor};
use rustix::ioctl::{Updater, ioctl, opcode};

use crate::Outcome;

/// `struct v4l2_capability` of linux/videodev2.h.
#[repr(C)]
struct Capability {
    driver: [u8; 16],
    card: [u8; 32],
    bus_info: [u8; 32],
    version: u32,
    capabilities: u32,
    device_caps: u32,
    reserved: [u32; 3],
}

const VIDIOC_QUERYCAP: u32 = opcode::read::<Capability>(b'V', 0);
const V4L2_CAP_VIDEO_M2M_MPLANE: u32 = 0x4000;

/// Returns the number of the node at `path`, and the hardware behind it.
pub(crate) fn hardware(path: &str) -> Outcome<String> {
    let device = fstat(File::open(path)?).map_err(io::Error::from)?.st_rdev;
    let number = Number { major: major(device), minor: minor(device) };
    let found = nodes::read(&Root::open(Path::new("/"))?, number)?;
    Ok(format!("{number} {} {}", found.name, found.compatible.join(" ")))
}

/// Returns the driver of the video node at `path`, and the kind of node.
pub(crate) fn querycap(path: &str) -> Outcome<String> {
    let node = File::options().read(true).write(true).open(path)?;
    let mut capability = Capability {
        driver: [0; 16],
        card: [0; 32],
        bus_info: [0; 32],
        version: 0,
        capabilities: 0,
        device_caps: 0,
        reserved: [0; 3],
    };
    // SAFETY: the opcode is VIDIOC_QUERYCAP, which writes this structure.
    unsafe {
        ioctl(&node, Updater::<{ VIDIOC_QUERYCAP }, _>::new(&mut capability))
            .map_err(io::Error::from)?;
    };
    let driver = capability.driver.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_m2m = capability.device_caps & V4L2_CAP_VIDEO_M2M_MPLANE != 0;
    let kind = if is_m2m { "video-m2m" } else { "other" };
    Ok(format!("{} {kind}", String::from_utf8_lossy(driver)))
}

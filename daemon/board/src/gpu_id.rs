// SPDX-License-Identifier: MIT OR Apache-2.0

//! The id of a Mali GPU, from the kernel log.
//!
//! No file of Linux 7.3 has it: panthor's directory in debugfs has no registers, and panthor makes
//! no device coredumps. Its probe logs the upper half of the register `GPU_ID` before it loads the
//! firmware (`panthor_hw.c`; `panthor_gpu.c` up to Linux 6.16).

use std::fmt;

use protheap_policy::name::DeviceName;

use crate::kmsg;
use crate::root::Root;

/// Architecture and product of a GPU: the upper half of its register `GPU_ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuId(u16);

impl GpuId {
    /// Returns the firmware that panthor loads for the GPU, such as `arch10.8`: the architecture's
    /// major version in bits 15 to 12, and its minor version in bits 11 to 8 (`GPU_ARCH_MAJOR` and
    /// `GPU_ARCH_MINOR` in panthor).
    pub fn firmware(self) -> String {
        format!("arch{}.{}", self.0 >> 12, (self.0 >> 8) & 0xf)
    }

    /// Parses a message of the GPU driver: `MODEL id 0xa867 major 0x0 minor 0x0 status 0x5`. Up to
    /// Linux 6.16, the model is one word.
    fn of_message(message: &str) -> Option<Self> {
        let (before, status) = message.rsplit_once(" status 0x")?;
        let (before, minor) = before.rsplit_once(" minor 0x")?;
        let (before, major) = before.rsplit_once(" major 0x")?;
        let (_, id) = before.rsplit_once(" id 0x")?;
        let number = |text: &str| u16::from_str_radix(text, 16).ok();
        for text in [major, minor, status] {
            number(text)?;
        }
        // A GPU without an architecture is none.
        number(id).filter(|id| *id != 0).map(Self)
    }
}

impl fmt::Display for GpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// Returns the id of `gpu` that its driver logged last. Returns `None` if it logged none, if the
/// log no longer contains it, or if the log may not be read.
pub fn read(root: &Root, gpu: &DeviceName) -> Option<GpuId> {
    let mut found = None;
    kmsg::each_record(root, &mut |record| found = logged(record, gpu).or(found));
    found
}

/// Returns the id in a record of the log: `PRIORITY,NUMBER,TIME,FLAGS;DRIVER DEVICE: MESSAGE`.
fn logged(record: &[u8], gpu: &DeviceName) -> Option<GpuId> {
    let record = String::from_utf8_lossy(record);
    let (_, text) = record.split_once(';')?;
    let (source, message) = text.lines().next()?.split_once(": ")?;
    let is_own = source.split(' ').next_back() == Some(gpu.as_str());
    GpuId::of_message(message).filter(|_| is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_yields_the_id_and_the_firmware() {
        for (message, id, firmware) in [
            ("[drm] mali-g610 id 0xa867 major 0x0 minor 0x0 status 0x5", "0xa867", "arch10.8"),
            ("[drm] Mali-G610 id 0xa867 major 0x0 minor 0x0 status 0x5", "0xa867", "arch10.8"),
            ("[drm] Mali-G310 id 0xac74 major 0x0 minor 0x0 status 0x0", "0xac74", "arch10.12"),
            (
                "[drm] Mali-G925-Immortalis MC12 id 0xd830 major 0x0 minor 0x1 status 0x0",
                "0xd830",
                "arch13.8",
            ),
            (
                "[drm] (Unknown Mali GPU) id 0xe8ff major 0xf minor 0xff status 0xf",
                "0xe8ff",
                "arch14.8",
            ),
        ] {
            let found = GpuId::of_message(message).unwrap();
            assert_eq!((found.to_string().as_str(), found.firmware().as_str()), (id, firmware));
        }
    }

    #[test]
    fn record_is_that_of_the_gpu() {
        let gpu = DeviceName::new("fb000000.gpu").unwrap();
        let record = |source: &str| {
            format!(
                "6,900,1234567,-;{source}: [drm] mali-g610 id 0xa867 major 0x0 minor 0x0 status \
                 0x5\n SUBSYSTEM=platform\n DEVICE=+platform:fb000000.gpu\n"
            )
        };
        let id = |source: &str| logged(record(source).as_bytes(), &gpu);
        assert_eq!(id("panthor fb000000.gpu"), Some(GpuId(0xa867)));
        assert_eq!(id("panthor 1fb000000.gpu"), None);
        assert_eq!(id("panthor 40000000.gpu"), None);
        assert_eq!(logged(b"6,9,1,-;panthor fb000000.gpu: probe failed", &gpu), None);
    }

    #[test]
    fn other_messages_yield_no_id() {
        for message in [
            "[drm] Features: L2:0x7120306 Tiler:0x809 Mem:0x301 MMU:0x2830 AS:0xff",
            "[drm] mali-g610 id 0xa867 major 0x0 minor 0x0",
            "[drm] mali-g610 id 0xa8670005 major 0x0 minor 0x0 status 0x5",
            "[drm] mali-g610 id 0xa867 major 0x0 minor 0x0 status 0x5 and more",
            "[drm] mali-g610 id 0x+867 major 0x0 minor 0x0 status 0x5x",
            "[drm] mali-g610 id 0x0 major 0x0 minor 0x0 status 0x0",
            "",
        ] {
            assert_eq!(GpuId::of_message(message), None, "{message}");
        }
    }
}

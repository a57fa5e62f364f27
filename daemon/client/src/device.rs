// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which device an open node is of.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FileType, fstat, major, minor};

/// The major and minor number of an open character device, such as a render node, as
/// [`find_heap`](crate::ManagerProxy::find_heap) takes them. Its path does not matter, so that it
/// also works in a sandbox that was handed the descriptor.
///
/// # Errors
///
/// `fd` is no character device, or the kernel says nothing of it.
pub fn device_of(fd: impl AsFd) -> io::Result<(u32, u32)> {
    let stat = fstat(fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the descriptor is of no character device: open the device's node",
        ));
    }
    Ok((major(stat.st_rdev), minor(stat.st_rdev)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_device_is_known_by_its_numbers() {
        // Documentation/admin-guide/devices.txt of the kernel: 1:3 is /dev/null.
        assert_eq!(device_of(File::open("/dev/null").unwrap()).unwrap(), (1, 3));
    }

    #[test]
    fn what_is_no_character_device_is_refused() {
        for path in ["/", "/proc/self/exe"] {
            let error = device_of(File::open(path).unwrap()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Device numbers of open device nodes.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FileType, fstat, major, minor};

/// Returns the major and minor number of an open character device, such as a render node, as
/// [`find_heap`](crate::ManagerProxy::find_heap) takes them. The device's path is not needed, so
/// this also works in a sandbox that received the file descriptor.
///
/// # Errors
///
/// Returns an error if `fd` is not a character device or fstat() fails.
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
    fn device_of_returns_major_and_minor() {
        // Documentation/admin-guide/devices.txt of the kernel: 1:3 is /dev/null.
        assert_eq!(device_of(File::open("/dev/null").unwrap()).unwrap(), (1, 3));
    }

    #[test]
    fn device_of_rejects_other_files() {
        for path in ["/", "/proc/self/exe"] {
            let error = device_of(File::open(path).unwrap()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writes kernel attributes in sysfs and configfs. This is the only code that writes them with root
//! privileges, so it validates everything.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, fstatfs, mkdirat, openat2, unlinkat};
use rustix::io::Errno;

use crate::root::Root;

/// File systems whose attributes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// `/sys`.
    Sysfs,
    /// `/sys/kernel/config`.
    Configfs,
}

impl FileSystem {
    /// Returns `SYSFS_MAGIC` or `CONFIGFS_MAGIC` of linux/magic.h.
    pub(crate) fn magic(self) -> u64 {
        match self {
            Self::Sysfs => 0x6265_6572,
            Self::Configfs => 0x6265_6570,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sysfs => "sysfs",
            Self::Configfs => "configfs",
        }
    }
}

/// Reasons why an attribute was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum AttributeError {
    /// The attribute or directory could not be opened.
    #[error("failed to open {path}: {errno}; {}", advice(*.errno))]
    Open {
        /// The attribute or directory.
        path: String,
        /// The error returned by the kernel.
        errno: Errno,
    },
    /// Another file system is mounted in place of the expected one.
    #[error("{path} is not on {wanted}; unmount the file system that is mounted over it")]
    FileSystem {
        /// The directory.
        path: String,
        /// The expected file system.
        wanted: &'static str,
    },
    /// The kernel refused the value.
    #[error("failed to write `{value}` to {path}: {errno}")]
    Refused {
        /// The attribute.
        path: String,
        /// The value that was written.
        value: String,
        /// The error returned by the kernel.
        errno: Errno,
    },
    /// The kernel accepted only a part of the value.
    #[error("failed to write `{value}` to {path}: only {taken} bytes were accepted")]
    Short {
        /// The attribute.
        path: String,
        /// The value that was written.
        value: String,
        /// Number of bytes that the kernel accepted.
        taken: usize,
    },
    /// The attribute reads differently from what was written.
    #[error(
        "{path} reads `{found}` after `{value}` was written; check whether another program \
        writes to it"
    )]
    ReadBack {
        /// The attribute.
        path: String,
        /// The value that was written.
        value: String,
        /// The value that was read back.
        found: String,
    },
    /// The attribute could not be read.
    #[error("failed to read {path}: {errno}")]
    Read {
        /// The attribute.
        path: String,
        /// The error returned by the kernel.
        errno: Errno,
    },
}

impl AttributeError {
    /// Returns the error of the kernel, if there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { errno, .. } | Self::Refused { errno, .. } | Self::Read { errno, .. } => {
                Some(*errno)
            }
            Self::FileSystem { .. } | Self::Short { .. } | Self::ReadBack { .. } => None,
        }
    }
}

fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => "this kernel does not have this file",
        Errno::ACCESS | Errno::PERM => "run as root, with a sandbox that permits writing to /sys",
        Errno::LOOP => "the path contains a link, and the kernel creates none",
        Errno::XDEV => "unmount the file system that is mounted over it",
        Errno::NOSYS => "use a kernel with openat2() (Linux 5.6)",
        _ => "see the kernel log",
    }
}

/// A directory of attributes, verified to be on the expected file system.
#[derive(Debug)]
pub struct Directory {
    directory: OwnedFd,
    path: String,
}

impl Directory {
    /// Opens the directory at `path` of `root`. On the running machine it must be on the file
    /// system `wanted`. Another machine's tree is never written to, so opening it fails with
    /// `EROFS`.
    ///
    /// # Errors
    ///
    /// Returns an error if `path` does not exist, ends in a link, or is on another file system.
    pub fn open(root: &Root, path: &str, wanted: FileSystem) -> Result<Self, AttributeError> {
        let shown = root.shown(path);
        if !root.is_running() {
            return Err(AttributeError::Open { path: shown, errno: Errno::ROFS });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let directory = match root.open_at(path, flags) {
            Ok(directory) => directory,
            Err(errno) => return Err(AttributeError::Open { path: shown, errno }),
        };
        match fstatfs(&directory) {
            // The width of the type and its sign differ between architectures.
            Ok(stat) if stat.f_type as u64 == wanted.magic() => Ok(Self { directory, path: shown }),
            Ok(_) => Err(AttributeError::FileSystem { path: shown, wanted: wanted.name() }),
            Err(errno) => Err(AttributeError::Open { path: shown, errno }),
        }
    }

    /// Opens the directory `name` in this one.
    ///
    /// # Errors
    ///
    /// Returns an error if `name` does not exist or is not a directory of this file system.
    pub fn below(&self, name: &str) -> Result<Self, AttributeError> {
        let directory = self.open_below(name, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(Self { directory, path: self.shown(name) })
    }

    /// Creates the directory `name`; in configfs, this creates a kernel object.
    pub(crate) fn make(&self, name: &str) -> Result<(), Errno> {
        mkdirat(&self.directory, name, Mode::from_raw_mode(0o755))
    }

    /// Removes the directory `name`.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Errno> {
        unlinkat(&self.directory, name, AtFlags::REMOVEDIR)
    }

    /// Writes `value` to `attribute` with a single write and reads it back.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel did not accept the whole value, or if the attribute does not
    /// read back as written.
    pub fn write(&self, attribute: &str, value: &str) -> Result<(), AttributeError> {
        // Use one file descriptor for both, so that the attribute read is the one written.
        let file = self.open_below(attribute, OFlags::RDWR)?;
        let refused = |errno| AttributeError::Refused {
            path: self.shown(attribute),
            value: value.to_owned(),
            errno,
        };
        let taken = rustix::io::pwrite(&file, value.as_bytes(), 0).map_err(refused)?;
        if taken != value.len() {
            let (path, value) = (self.shown(attribute), value.to_owned());
            return Err(AttributeError::Short { path, value, taken });
        }
        let found = self.read_from(&file, attribute)?;
        if found == value {
            Ok(())
        } else {
            let (path, value) = (self.shown(attribute), value.to_owned());
            Err(AttributeError::ReadBack { path, value, found })
        }
    }

    /// Reads `attribute` without its trailing newline.
    ///
    /// # Errors
    ///
    /// Returns an error if `attribute` does not exist, cannot be read, or is not UTF-8.
    pub fn read(&self, attribute: &str) -> Result<String, AttributeError> {
        let file = self.open_below(attribute, OFlags::RDONLY)?;
        self.read_from(&file, attribute)
    }

    fn read_from(&self, file: &OwnedFd, attribute: &str) -> Result<String, AttributeError> {
        let failed = |errno| AttributeError::Read { path: self.shown(attribute), errno };
        let mut buffer = [0u8; 4096];
        let length = rustix::io::pread(file, buffer.as_mut_slice(), 0).map_err(failed)?;
        let text = buffer.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let text = text.ok_or_else(|| failed(Errno::ILSEQ))?;
        Ok(text.strip_suffix('\n').unwrap_or(text).to_owned())
    }

    /// Opens `name` in this directory. Does not follow links, does not create files, and stays on
    /// the file system that [`Self::open`] verified.
    fn open_below(&self, name: &str, flags: OFlags) -> Result<OwnedFd, AttributeError> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        openat2(&self.directory, name, flags, Mode::empty(), resolve)
            .map_err(|errno| AttributeError::Open { path: self.shown(name), errno })
    }

    pub(crate) fn shown(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use std::path::Path;

    /// Opens a directory of the running kernel's /sys, which every Linux has.
    fn sys(path: &str, wanted: FileSystem) -> Result<Directory, AttributeError> {
        Directory::open(&Root::open(Path::new("/")).unwrap(), path, wanted)
    }

    #[test]
    fn open_rejects_another_file_system() {
        let error = sys("sys/kernel", FileSystem::Configfs).unwrap_err();
        assert!(matches!(error, AttributeError::FileSystem { .. }), "{error}");
        let error = sys("proc/self", FileSystem::Sysfs).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::NOTDIR), "{error}");
        let error = sys("tmp", FileSystem::Sysfs).unwrap_err();
        assert!(matches!(error, AttributeError::FileSystem { .. }), "{error}");
    }

    #[test]
    fn open_rejects_another_machines_tree() {
        let tree = Tree::new();
        tree.file("sys/kernel/attribute", "1\n");
        let error = Directory::open(&tree.root(), "sys/kernel", FileSystem::Sysfs).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ROFS));
    }

    #[test]
    fn write_rejects_links_and_paths_outside_and_missing_files() {
        let net = sys("sys/class/net", FileSystem::Sysfs).unwrap();
        let cpu = sys("sys/devices/system/cpu", FileSystem::Sysfs).unwrap();
        assert!(!cpu.read("online").unwrap().contains('\n'));
        for (directory, name, errno) in [
            (&net, "lo", Errno::LOOP),
            (&net, "lo/mtu", Errno::LOOP),
            (&cpu, "../cpu/online", Errno::XDEV),
            (&cpu, "/etc/hostname", Errno::XDEV),
            (&cpu, "no-such-attribute", Errno::NOENT),
        ] {
            let error = directory.write(name, "1").unwrap_err();
            assert_eq!(error.errno(), Some(errno), "{error}");
        }
    }

    #[test]
    fn error_names_the_path_of_a_read_only_attribute() {
        let cpu = sys("sys/devices/system/cpu", FileSystem::Sysfs).unwrap();
        // This attribute is read-only for all users, including root.
        let error = cpu.write("possible", "0").unwrap_err();
        assert!(matches!(error, AttributeError::Open { .. }));
        assert!(
            error.to_string().starts_with("failed to open /sys/devices/system/cpu/possible: "),
            "{error}"
        );
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Errors of the interface to protheap.ko.

use protheap_core::facts::{Protection, Verdict};
use protheap_policy::name::DeviceName;
use rustix::io::Errno;

use super::uapi::{ABI, Kind, NODE};
use crate::sysfs::AttributeError;

/// Errors of the module's interface.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// protheap.ko is not loaded.
    #[error(
        "protheap.ko is not available ({0}); load it, and mount configfs at /sys/kernel/config"
    )]
    Absent(AttributeError),
    /// The module implements another version of the interface.
    #[error(
        "protheap.ko has interface version {0:?}, this program has {ABI}; update the older one"
    )]
    Abi(String),
    /// An attribute was not written or read.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// An attribute has an unexpected value.
    #[error(
        "{path} has the unknown value {found:?}; check whether the module is newer than this \
        program"
    )]
    Unknown {
        /// The attribute.
        path: String,
        /// The value that was read.
        found: String,
    },
    /// A binding was not created.
    #[error("failed to create {path}: {errno}; {}", match *.errno {
        Errno::NODEV => "check that the platform device exists",
        Errno::BUSY => "the previous binding is still in use by the GPU driver",
        Errno::ACCESS | Errno::PERM => "run as root",
        _ => "see the kernel log",
    })]
    Create {
        /// The binding's directory.
        path: String,
        /// The error returned by the kernel.
        errno: Errno,
    },
    /// A binding was not withdrawn.
    #[error("failed to remove {path}: {errno}")]
    Remove {
        /// The binding's directory.
        path: String,
        /// The error returned by the kernel.
        errno: Errno,
    },
    /// The device node was not opened.
    #[error(
        "failed to open {NODE}: {0}; check that devtmpfs is mounted and that this program may \
        open the node"
    )]
    Node(Errno),
    /// The module rejected a buffer.
    #[error("failed to hand over the {} buffer for {device} to {NODE}: {errno}; {}", .kind.name(),
        refusal(*.errno))]
    HandOver {
        /// The GPU.
        device: DeviceName,
        /// The purpose of the buffer.
        kind: Kind,
        /// The error returned by the kernel.
        errno: Errno,
    },
}

impl Error {
    /// Returns the error of the kernel, if there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Absent(e) | Self::Attribute(e) => e.errno(),
            Self::Create { errno, .. }
            | Self::Remove { errno, .. }
            | Self::HandOver { errno, .. }
            | Self::Node(errno) => Some(*errno),
            Self::Abi(_) | Self::Unknown { .. } => None,
        }
    }

    /// Returns whether a withdrawn binding is still in use.
    pub fn is_busy(&self) -> bool {
        self.errno() == Some(Errno::BUSY)
    }

    /// Returns whether the binding or the device no longer exists.
    pub fn is_absent(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOENT | Errno::NODEV))
    }

    /// Returns the verdict on the heap that an error of [`Binding::commit`] implies if the kernel
    /// allocates. Returns `None` if the error is not about the heap.
    pub fn verdict(&self) -> Option<Verdict> {
        let Self::Attribute(AttributeError::Refused { path, errno, .. }) = self else {
            return None;
        };
        match *errno {
            // Errors of other attributes have other meanings.
            _ if !path.ends_with("/commit") => None,
            Errno::NODEV | Errno::IO => Some(Verdict::Dead),
            Errno::NOMEM => Some(Verdict::TooSmall(self.to_string())),
            Errno::MEDIUMTYPE => Some(Verdict::Allocated {
                protection: Protection::None,
                exporter: String::new(),
                shortage: None,
            }),
            _ => None,
        }
    }
}

/// Returns why the module rejects a buffer with `errno`.
fn refusal(errno: Errno) -> &'static str {
    match errno {
        Errno::MSGSIZE => "the buffer is too small",
        Errno::MEDIUMTYPE => "the CPU can map the buffer, so it is not protected",
        Errno::PERM => "run as root",
        Errno::EXIST => "the buffer was handed over before",
        Errno::XDEV => "the binding's first buffer has another exporter",
        Errno::NODEV => "no binding is open for this device",
        Errno::BUSY => "the binding is committed, or has such a buffer",
        Errno::NOSPC => "the binding already has suspend_count buffers",
        Errno::INVAL => "the descriptor is not a dma-buf, or the module is older than this program",
        Errno::OPNOTSUPP => "the module allocates the buffers of this binding",
        _ => "see the kernel log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_interprets_errors_of_commit() {
        let store = |path: &str, errno| {
            let (path, value) = (path.to_owned(), "bind".to_owned());
            Error::Attribute(AttributeError::Refused { path, value, errno }).verdict()
        };
        let said = |errno| store("/protheap/a.gpu/commit", errno);
        assert_eq!(store("/protheap/a.gpu/allow_unprotected", Errno::PERM), None);
        assert_eq!(said(Errno::NODEV), Some(Verdict::Dead));
        assert_eq!(said(Errno::IO), Some(Verdict::Dead));
        assert!(matches!(said(Errno::NOMEM), Some(Verdict::TooSmall(_))));
        assert!(matches!(
            said(Errno::MEDIUMTYPE),
            Some(Verdict::Allocated { protection: Protection::None, .. })
        ));
        assert_eq!(said(Errno::BUSY), None);
        assert_eq!(said(Errno::PERM), None);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Detects whether something is mounted over the image's files.
//!
//! The image's policies are below `/usr`, on the same mount: system extensions and sandboxes mount
//! `/usr` as a whole. A file on another mount is not part of the image.

use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use crate::root::{Root, mount_of};

/// The directory whose mount holds the image's files.
const IMAGE: &str = "usr";

/// Why a file or directory is not part of the image.
pub(super) const FOREIGN: &str = "is on another mount than /usr, and therefore not part of the \
    image; unmount what hides the image's file";
/// The same for a file or directory that is used nevertheless.
pub(super) const FOREIGN_COUNTS: &str = "is on another mount than /usr, and therefore not part of \
    the image; it is used because the kernel is not locked down and the image permits local \
    policies";

/// ID of the mount that holds the image's files; `None` if it is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ImageMount(pub(super) Option<u64>);

impl ImageMount {
    pub(super) fn of(root: &Root) -> Self {
        Self(root.open_at(IMAGE, OFlags::PATH | OFlags::DIRECTORY).ok().and_then(mount_of))
    }

    /// Returns whether a file on the mount `mount` is not part of the image. Returns true if
    /// either mount is unknown.
    pub(super) fn is_foreign(self, mount: Option<u64>) -> bool {
        self.0.is_none() || mount != self.0
    }

    /// Returns whether `path` exists but is not part of the image.
    pub(super) fn hides(self, root: &Root, path: &str) -> bool {
        let opened: Option<OwnedFd> = root.open_at(path, OFlags::PATH).ok();
        opened.is_some_and(|file| self.is_foreign(mount_of(file)))
    }
}

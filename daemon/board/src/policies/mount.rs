// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether the image's files are those of the image, or something is mounted over them.
//!
//! The image's policies are beneath `/usr`, on the same mount: a system extension or a sandbox
//! mounts `/usr` as a whole. What is on another mount was put there by somebody else.

use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use crate::root::{Root, mount_of};

/// The directory whose mount the image's files are on.
const IMAGE: &str = "usr";

/// Why a file or directory is not the image's.
pub(super) const FOREIGN: &str = "is on another mount than /usr, and so no part of the image: \
                                  unmount what hides the image's";
/// The same where it counts nevertheless.
pub(super) const FOREIGN_COUNTS: &str = "is on another mount than /usr, and so no part of the \
    image: it counts as long as the kernel is not locked down and the image allows local policies";

/// The mount that the image's files are on; `None` if that cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ImageMount(pub(super) Option<u64>);

impl ImageMount {
    pub(super) fn of(root: &Root) -> Self {
        Self(root.open_at(IMAGE, OFlags::PATH | OFlags::DIRECTORY).ok().and_then(mount_of))
    }

    /// A file on the mount `mount`, if that is known, is none of the image's.
    pub(super) fn is_foreign(self, mount: Option<u64>) -> bool {
        self.0.is_none() || mount != self.0
    }

    /// Something is at `path`, and it is none of the image's.
    pub(super) fn hides(self, root: &Root, path: &str) -> bool {
        let opened: Option<OwnedFd> = root.open_at(path, OFlags::PATH).ok();
        opened.is_some_and(|file| self.is_foreign(mount_of(file)))
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Buffers of protected memory that this program gives to the driver, and other descriptors in their place.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use crate::buffer;

/// Suspend buffer of a group for protected mode.
#[derive(Debug, Clone, Copy)]
pub(super) enum Suspend<'a> {
    /// None: the group is ordinary.
    None,
    /// A buffer of protheap.ko.
    Binding,
    /// A buffer of this program.
    Own(Supply<'a>),
}

/// The descriptor that an ioctl takes, and its flags.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Supply<'a> {
    /// Heap from which a buffer is allocated.
    pub(super) heap: &'a str,
    /// Size of the buffer, if it is not the one that the driver needs.
    pub(super) bytes: Option<u64>,
    /// File whose descriptor is passed in place of a buffer.
    pub(super) file: Option<&'a str>,
    /// Descriptor that is passed in place of a buffer, whether it is open or not.
    pub(super) fd: Option<RawFd>,
    /// Flags of the ioctl.
    pub(super) flags: u32,
}

/// A descriptor for an ioctl.
#[derive(Debug)]
pub(super) struct Descriptor {
    /// The number that is passed.
    pub(super) number: RawFd,
    /// The open file behind it, if this program has opened one.
    _open: Option<OwnedFd>,
}

impl Descriptor {
    /// Returns a number, whether it is open or not.
    pub(super) fn of(number: RawFd) -> Self {
        Self { number, _open: None }
    }
}

impl Supply<'_> {
    /// Allocates a buffer of `size` bytes, unless another size, a file or a number was chosen.
    pub(super) fn descriptor(&self, size: u64) -> io::Result<Descriptor> {
        if let Some(number) = self.fd {
            return Ok(Descriptor::of(number));
        }
        let open: OwnedFd = match self.file {
            Some(path) => File::open(path)?.into(),
            None => buffer::allocate(self.heap, self.bytes.unwrap_or(size))?,
        };
        Ok(Descriptor { number: open.as_raw_fd(), _open: Some(open) })
    }
}

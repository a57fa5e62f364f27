// SPDX-License-Identifier: MIT OR Apache-2.0

//! Interface to protheap.ko: its configfs directory and its device node.

mod binding;
mod error;
mod uapi;

use std::cell::OnceCell;
use std::os::fd::OwnedFd;

use protheap_policy::name::DeviceName;
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::ioctl::{Setter, ioctl};

use crate::heaps::Buffer;
use crate::kernel::CONFIGFS;
use crate::root::Root;
use crate::sysfs::{Directory, FileSystem};
pub use binding::{Binding, BindingState, Commit, Hold, Setup};
pub use error::Error;
pub use uapi::{ABI, Kind};
use uapi::{HAND_OVER, HandOver, NODE};

/// The loaded module, with a supported version of its interface.
#[derive(Debug)]
pub struct Module {
    directory: Directory,
    node: OnceCell<OwnedFd>,
}

/// Reads a counter of a binding: `suspend_free`, or `suspend_in_use`, the number of buffers that
/// groups use. Returns `None` if it does not exist. Read permission is sufficient.
pub fn counter(root: &Root, device: &DeviceName, name: &str) -> Option<u32> {
    let path = format!("{CONFIGFS}/{device}/{name}");
    root.text(&path, &mut Vec::new())?.trim().parse().ok()
}

impl Module {
    /// Opens the module's directory.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Absent`] if the module is not loaded, and [`Error::Abi`] if it implements
    /// another version of the interface.
    pub fn open(root: &Root) -> Result<Self, Error> {
        let directory =
            Directory::open(root, CONFIGFS, FileSystem::Configfs).map_err(Error::Absent)?;
        let abi = directory.read("abi")?;
        if abi.parse() != Ok(ABI) {
            return Err(Error::Abi(abi));
        }
        Ok(Self { directory, node: OnceCell::new() })
    }

    /// Creates the binding of `device`, or opens it if it exists; [`Binding::is_adopted`]
    /// distinguishes the two.
    ///
    /// # Errors
    ///
    /// ENODEV: there is no such platform device. EBUSY: a withdrawn binding is still in use.
    pub fn create(&self, device: &DeviceName) -> Result<Binding, Error> {
        let adopted = match self.directory.make(device.as_str()) {
            Ok(()) => false,
            Err(Errno::EXIST) => true,
            Err(errno) => {
                let path = self.directory.shown(device.as_str());
                return Err(Error::Create { path, errno });
            }
        };
        let directory = self.directory.below(device.as_str())?;
        Ok(Binding { directory, adopted })
    }

    /// Opens the binding of `device` if it exists.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding exists but cannot be opened.
    pub fn binding(&self, device: &DeviceName) -> Result<Option<Binding>, Error> {
        match self.directory.below(device.as_str()) {
            Ok(directory) => Ok(Some(Binding { directory, adopted: true })),
            Err(e) if e.errno() == Some(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Withdraws the binding of `device`. A buffer in use stays allocated until its user releases
    /// it.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no binding or the kernel refuses to remove it.
    pub fn remove(&self, device: &DeviceName) -> Result<(), Error> {
        let name = device.as_str();
        self.directory
            .remove(name)
            .map_err(|errno| Error::Remove { path: self.directory.shown(name), errno })
    }

    /// Hands `buffer` over to the binding of `device`. The module then holds its own reference.
    ///
    /// # Errors
    ///
    /// Returns [`Error::HandOver`] with the module's reason for rejecting the buffer.
    pub fn hand_over(&self, device: &DeviceName, kind: Kind, buffer: &Buffer) -> Result<(), Error> {
        let node = self.node()?;
        let data = HandOver::new(device, kind, buffer);
        loop {
            // SAFETY: the opcode takes a `struct protheap_hand_over`, which `data` is; the kernel
            // only reads it, and keeps no pointer.
            match unsafe { ioctl(node, Setter::<HAND_OVER, _>::new(data)) } {
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(Error::HandOver { device: device.clone(), kind, errno });
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Returns the device node, which is opened on first use.
    fn node(&self) -> Result<&OwnedFd, Error> {
        if let Some(node) = self.node.get() {
            return Ok(node);
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::open(NODE, flags, Mode::empty()).map_err(Error::Node)?;
        let mode = fstat(&node).map_err(Error::Node)?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::CharacterDevice {
            return Err(Error::Node(Errno::NODEV));
        }
        Ok(self.node.get_or_init(|| node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn open_rejects_the_module_of_another_machines_tree() {
        let tree = Tree::new();
        tree.file(&format!("{CONFIGFS}/abi"), "1\n");
        let error = Module::open(&tree.root()).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ROFS));
        assert!(matches!(error, Error::Absent(_)));
    }
}

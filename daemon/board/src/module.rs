// SPDX-License-Identifier: MIT OR Apache-2.0

//! Interface to protheap.ko: its configfs directory and its device node.

use std::cell::OnceCell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use protheap_core::facts::{KernelBinding, Protection, Source, Verdict};
use protheap_policy::name::{DeviceName, HeapName};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::ioctl::{Setter, ioctl, opcode};

use crate::heaps::Buffer;
use crate::kernel::CONFIGFS;
use crate::root::Root;
use crate::sysfs::{AttributeError, Directory, FileSystem};

/// Version of the module's interface that this crate implements.
pub const ABI: u32 = 1;

const NODE: &str = "/dev/protheap";

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
            Errno::PERM => Some(Verdict::Allocated {
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
        Errno::PERM => "the CPU can map the buffer, so it is not protected",
        Errno::EXIST => "the buffer was handed over before",
        Errno::XDEV => "the binding's first buffer has another exporter",
        Errno::NODEV => "no binding is open for this device",
        Errno::BUSY => "the binding is committed, or has such a buffer",
        Errno::NOSPC => "the binding already has suspend_count buffers",
        Errno::INVAL => "the descriptor is not a dma-buf",
        Errno::OPNOTSUPP => "update the module, which is older than this program",
        _ => "see the kernel log",
    }
}

/// The purpose of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The firmware's protected section.
    Firmware,
    /// The saved state of a suspended protected command stream group.
    Suspend,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Suspend => "suspend",
        }
    }
}

/// Parameters of a binding.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The heap that the buffers are allocated from.
    pub heap: &'a HeapName,
    /// Minimum size of the firmware buffer in bytes.
    pub firmware_bytes_wanted: u64,
    /// Size of each suspend buffer in bytes.
    pub suspend_bytes: u64,
    /// Maximum number of suspend buffers, free and in use; at most 128.
    pub suspend_count: u32,
    /// Whether the module accepts mappable buffers too.
    pub allow_unprotected: bool,
    /// The deciding policy, for people to read.
    pub origin: &'a str,
}

/// Result of starting a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The hold has started: the GPU's probe is deferred.
    Started,
    /// `protheap.hold=0` forbids holds.
    Forbidden,
    /// The device had its hold in this boot already.
    Spent,
    /// The device is bound to a driver already, or the binding is committed.
    TooLate,
}

/// The decision that ends the setup of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// The GPU driver may take the buffers.
    Bind,
    /// No heap is bound: the GPU probes without protected memory.
    None,
    /// The GPU probes without protected memory until its driver requests a suspend buffer.
    Demand,
}

impl Commit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::None => "none",
            Self::Demand => "demand",
        }
    }
}

/// State of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingState {
    /// The binding is being set up, and the GPU is not held.
    Open,
    /// The binding is being set up, and the GPU's probe is deferred.
    Held,
    /// The binding is committed.
    Bound,
    /// The binding is committed, and the GPU driver uses some of the buffers.
    InUse,
    /// The binding is committed without a heap.
    None,
    /// Nothing is bound until the GPU driver requests a suspend buffer.
    OnDemand,
}

impl BindingState {
    /// Parses the word that the module shows. Returns `None` if it is unknown.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "open" => Self::Open,
            "held" => Self::Held,
            "bound" => Self::Bound,
            "in-use" => Self::InUse,
            "none" => Self::None,
            "on-demand" => Self::OnDemand,
            _ => return None,
        })
    }
}

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

/// `struct protheap_hand_over` of driver/module/uapi/protheap.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct HandOver {
    device: [u8; 64],
    fd: i32,
    kind: u32,
    flags: u64,
}

/// `PROTHEAP_IOCTL_HAND_OVER`.
const HAND_OVER: rustix::ioctl::Opcode = opcode::write::<HandOver>(0xbb, 0x01);

impl HandOver {
    fn new(device: &DeviceName, kind: Kind, buffer: &Buffer) -> Self {
        let mut name = [0; 64];
        // A device name has at most 63 bytes, so the array always ends in a NUL.
        for (to, from) in name.iter_mut().zip(device.as_str().bytes()) {
            *to = from;
        }
        let kind = match kind {
            Kind::Firmware => 0,
            Kind::Suspend => 1,
        };
        Self { device: name, fd: buffer.as_fd().as_raw_fd(), kind, flags: 0 }
    }
}

/// The binding of one GPU.
#[derive(Debug)]
pub struct Binding {
    directory: Directory,
    adopted: bool,
}

impl Binding {
    /// Returns whether the binding existed before: another program created it.
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// Sets the parameters of the binding, before the first buffer is handed over. The binding must
    /// be new or reset by [`Binding::renew`].
    ///
    /// # Errors
    ///
    /// EBUSY: the binding is committed. EPERM: `allow_unprotected` is set under kernel lockdown.
    pub fn set_up(&self, setup: &Setup<'_>) -> Result<(), Error> {
        self.set("heap", setup.heap.as_str())?;
        self.set("firmware_bytes_wanted", &setup.firmware_bytes_wanted.to_string())?;
        self.set("suspend_bytes", &setup.suspend_bytes.to_string())?;
        self.set("suspend_count", &setup.suspend_count.to_string())?;
        // A new binding has the value 0.
        if setup.allow_unprotected {
            self.set("allow_unprotected", "1")?;
        }
        self.set_origin(setup.origin)
    }

    /// Sets the text that names the deciding policy, or says why nothing is bound. Characters that
    /// the kernel does not print are replaced.
    ///
    /// # Errors
    ///
    /// EBUSY: the binding is committed.
    pub fn set_origin(&self, origin: &str) -> Result<(), Error> {
        self.set("origin", &printable(origin))
    }

    /// Resets an uncommitted binding of an earlier run to the state of a new one with the given
    /// source. Setting the heap releases the buffers that were handed over.
    ///
    /// # Errors
    ///
    /// EBUSY: the binding is committed.
    pub fn renew(&self, source: Source) -> Result<(), Error> {
        self.set("source", source.as_str())?;
        self.set("allow_unprotected", "0")?;
        match self.heap()? {
            heap if heap.is_empty() => Ok(()),
            heap => self.set("heap", &heap),
        }
    }

    /// Starts the hold, for at most `ms` milliseconds from now.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel's answer is none of those in [`Hold`].
    pub fn start_hold(&self, ms: u32) -> Result<Hold, Error> {
        // The attribute shows the time left.
        let left = |found: &str| found.parse().is_ok_and(|left: u32| left <= ms);
        match self.directory.write("hold_ms", &ms.to_string(), &left) {
            Ok(()) => Ok(Hold::Started),
            Err(AttributeError::Refused { errno: Errno::PERM, .. }) => Ok(Hold::Forbidden),
            Err(AttributeError::Refused { errno: Errno::ALREADY, .. }) => Ok(Hold::Spent),
            Err(AttributeError::Refused { errno: Errno::BUSY, .. }) => Ok(Hold::TooLate),
            Err(e) => Err(e.into()),
        }
    }

    /// Ends the setup and the hold. If the kernel allocates, it does so now.
    ///
    /// # Errors
    ///
    /// ENODATA: no firmware buffer was handed over. EBUSY: the binding is already committed. If the
    /// kernel allocates, also the errors that [`Error::verdict`] interprets.
    pub fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.set("commit", commit.as_str())
    }

    /// Reads the name of the heap; empty until one is set.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn.
    pub fn heap(&self) -> Result<String, Error> {
        Ok(self.directory.read("heap")?)
    }

    /// Reads the state of the binding.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn or has an unknown state.
    pub fn state(&self) -> Result<BindingState, Error> {
        let word = self.directory.read("state")?;
        BindingState::parse(&word).ok_or_else(|| self.unknown("state", &word))
    }

    /// Reads the contents of a committed binding. Returns `None` if nothing is bound.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn or an attribute has an unknown value.
    pub fn bound(&self) -> Result<Option<KernelBinding>, Error> {
        let in_use = match self.state()? {
            BindingState::Bound => false,
            BindingState::InUse => true,
            BindingState::Open
            | BindingState::Held
            | BindingState::None
            | BindingState::OnDemand => return Ok(None),
        };
        let heap = self.heap()?;
        let source = self.directory.read("source")?;
        let allow_unprotected = self.directory.read("allow_unprotected")? != "0";
        let (protection, exporter) = self.judge(allow_unprotected)?;
        Ok(Some(KernelBinding {
            heap: HeapName::new(&heap).map_err(|_| self.unknown("heap", &heap))?,
            source: match source.as_str() {
                "handed" => Source::Handed,
                "kernel" => Source::Kernel,
                found => return Err(self.unknown("source", found)),
            },
            exporter,
            protection,
            in_use,
            firmware_bytes: self.number("firmware_bytes")?,
            suspend_bytes: self.number("suspend_bytes")?,
            suspend_count: self.number("suspend_count")?,
            suspend_buffers: self.suspend_buffers()?,
            suspend_in_use: self.number("suspend_in_use")?,
            suspend_wanted: self.number("suspend_wanted")?,
        }))
    }

    /// Reads the number of suspend buffers, free and in use.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn.
    pub fn suspend_buffers(&self) -> Result<u32, Error> {
        let free: u32 = self.number("suspend_free")?;
        Ok(free.saturating_add(self.number("suspend_in_use")?))
    }

    /// Reads the required size of a suspend buffer in bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn.
    pub fn suspend_bytes(&self) -> Result<u64, Error> {
        self.number("suspend_bytes")
    }

    /// Returns the known protection of the buffers and the name of their exporter. The module
    /// accepts mappable buffers only if `allow_unprotected` is set.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn.
    pub fn judge(&self, allow_unprotected: bool) -> Result<(Protection, String), Error> {
        let exporter = self.directory.read("exporter")?;
        let protection = match Protection::of_exporter(&exporter) {
            Protection::Unmappable if allow_unprotected => Protection::None,
            known => known,
        };
        Ok((protection, exporter))
    }

    /// Reads the reason for the binding's state: empty, `already-probed`, `no-consumer`,
    /// `heap-late`, or the word of a newer module.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn.
    pub fn reason(&self) -> Result<String, Error> {
        Ok(self.directory.read("reason")?)
    }

    /// Reads the time left until the hold expires, in milliseconds.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn or the attribute has an unknown value.
    pub fn hold_left(&self) -> Result<u32, Error> {
        self.number("hold_ms")
    }

    fn set(&self, attribute: &str, value: &str) -> Result<(), Error> {
        Ok(self.directory.write(attribute, value, &|found| found == value)?)
    }

    fn number<T: std::str::FromStr>(&self, attribute: &str) -> Result<T, Error> {
        let found = self.directory.read(attribute)?;
        found.parse().map_err(|_| self.unknown(attribute, &found))
    }

    fn unknown(&self, attribute: &str, found: &str) -> Error {
        Error::Unknown { path: self.directory.shown(attribute), found: found.to_owned() }
    }
}

/// Returns `text` in the form that the module accepts: at most 255 printable ASCII characters.
fn printable(text: &str) -> String {
    let ascii = text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' });
    ascii.take(255).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn hand_over_matches_the_module_header() {
        assert_eq!(size_of::<HandOver>(), 80);
        assert_eq!(HAND_OVER, 0x4050_bb01);
        let names = (std::mem::offset_of!(HandOver, fd), std::mem::offset_of!(HandOver, flags));
        assert_eq!(names, (64, 72));
    }

    #[test]
    fn open_rejects_the_module_of_another_machines_tree() {
        let tree = Tree::new();
        tree.file(&format!("{CONFIGFS}/abi"), "1\n");
        let error = Module::open(&tree.root()).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ROFS));
        assert!(matches!(error, Error::Absent(_)));
    }

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
            said(Errno::PERM),
            Some(Verdict::Allocated { protection: Protection::None, .. })
        ));
        assert_eq!(said(Errno::BUSY), None);
    }

    #[test]
    fn printable_replaces_characters_and_truncates() {
        assert_eq!(printable("acme,a9 \u{fc}\n"), "acme,a9 ??");
        assert_eq!(printable(&"x".repeat(300)).len(), 255);
    }
}

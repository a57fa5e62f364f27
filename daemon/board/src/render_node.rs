// SPDX-License-Identifier: MIT OR Apache-2.0

//! Render node of a GPU, and the ioctls by which panthor takes the buffer for the protected section
//! of its firmware.
//!
//! The interface is that of driver/patches/protheap. It is private: a driver without it returns
//! ENOTTY.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use protheap_core::facts::Section;
use protheap_policy::name::DeviceName;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, makedev, openat2};
use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

use crate::Problem;
use crate::heaps::Buffer;
use crate::root::Root;

const PLATFORM: &str = "sys/bus/platform/devices";

/// `struct panthor_protheap_query`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct RawQuery {
    flags: u32,
    pad: u32,
    firmware_size: u64,
    suspend_size: u64,
}

/// `struct panthor_protheap_set_firmware`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SetFirmware {
    fd: i32,
    flags: u32,
}

/// `PANTHOR_PROTHEAP_IOCTL_QUERY`.
const QUERY: Opcode = opcode::read::<RawQuery>(0xbb, 0x40);
/// `PANTHOR_PROTHEAP_IOCTL_SET_FIRMWARE`.
const SET_FIRMWARE: Opcode = opcode::write::<SetFirmware>(0xbb, 0x42);
/// `PANTHOR_PROTHEAP_TAKES_BUFFER`.
const TAKES_BUFFER: u32 = 1 << 1;
/// `PANTHOR_PROTHEAP_HAS_BUFFER`.
const HAS_BUFFER: u32 = 1 << 2;

/// Reasons why a GPU driver could not be queried, or did not take or release a buffer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node could not be opened.
    #[error(
        "failed to open {path}: {errno}; check that devtmpfs is mounted and that this program may \
         open the node"
    )]
    Open {
        /// The node.
        path: String,
        /// The error returned by the kernel.
        errno: Errno,
    },
    /// The node is not that of the GPU.
    #[error("{0} is not the render node of the GPU; check which program created the node")]
    Other(String),
    /// The driver could not be queried.
    #[error("failed to query the driver of {path}: {errno}")]
    Query {
        /// The node.
        path: String,
        /// The error returned by the kernel.
        errno: Errno,
    },
    /// The driver did not take the buffer.
    #[error("failed to set the firmware buffer by {path}: {errno}; {}", refusal(*.errno))]
    Set {
        /// The node.
        path: String,
        /// The error returned by the kernel.
        errno: Errno,
    },
    /// The driver did not release the buffer.
    #[error("failed to take the firmware buffer back by {path}: {errno}; {}", keeping(*.errno))]
    TakeBack {
        /// The node.
        path: String,
        /// The error returned by the kernel.
        errno: Errno,
    },
}

impl Error {
    /// Returns whether protected groups use the buffer that was to be taken back.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::TakeBack { errno, .. } if *errno == Errno::BUSY)
    }

    /// Returns whether this user may not open the node.
    fn is_denied(&self) -> bool {
        matches!(self, Self::Open { errno: Errno::ACCESS | Errno::PERM, .. })
    }

    /// Returns whether the GPU or its driver is gone.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Open { errno, .. } => {
                matches!(*errno, Errno::NOENT | Errno::NODEV | Errno::NXIO)
            }
            Self::Query { errno, .. } | Self::Set { errno, .. } | Self::TakeBack { errno, .. } => {
                *errno == Errno::NODEV
            }
            Self::Other(_) => false,
        }
    }
}

/// Returns why the driver does not take a buffer.
fn refusal(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => "run this program with CAP_SYS_ADMIN",
        Errno::MSGSIZE => "the buffer is smaller than the protected section",
        Errno::INVAL => "the CPU can map the buffer, so it is not protected",
        Errno::BUSY => "the driver has a buffer already, or gets it from protheap.ko",
        Errno::IO => "the firmware did not boot with the buffer; see the kernel log",
        _ => "see the kernel log",
    }
}

/// Returns why the driver does not release a buffer.
fn keeping(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => "run this program with CAP_SYS_ADMIN",
        Errno::BUSY => "stop the programs that have protected groups",
        _ => "see the kernel log",
    }
}

/// Answer of a GPU driver to the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Protected section of the firmware, if the driver takes or has a buffer for it by ioctl.
    pub section: Option<Section>,
    /// Whether the firmware uses a buffer that was set by ioctl.
    pub has_buffer: bool,
}

impl Query {
    fn new(raw: RawQuery) -> Self {
        let section =
            Section { firmware_bytes: raw.firmware_size, suspend_bytes: raw.suspend_size };
        let is_served = raw.flags & (TAKES_BUFFER | HAS_BUFFER) != 0;
        Self {
            section: (is_served && section.firmware_bytes > 0).then_some(section),
            has_buffer: raw.flags & HAS_BUFFER != 0,
        }
    }
}

/// The driver of a GPU cannot be queried: this user may not open its node, which is reported, or the
/// tree is that of another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hidden;

/// Returns the protected section of `device` if its driver takes or has a buffer for it by ioctl.
///
/// # Errors
///
/// Returns an error if this is not known.
pub fn section(
    root: &Root,
    device: &DeviceName,
    problems: &mut Vec<Problem>,
) -> Result<Option<Section>, Hidden> {
    if !root.is_running() {
        return Err(Hidden);
    }
    let query = || RenderNode::open(root, device)?.map(|node| node.query()).transpose();
    match query() {
        Ok(query) => Ok(query.and_then(|query| query.section)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => {
            let path = root.shown(&format!("{PLATFORM}/{device}"));
            problems.push(Problem::new(path, error.to_string()));
            if error.is_denied() { Err(Hidden) } else { Ok(None) }
        }
    }
}

/// The render node of a GPU, open.
#[derive(Debug)]
pub struct RenderNode {
    node: OwnedFd,
    path: String,
}

impl RenderNode {
    /// Opens the render node of `device`. Returns `None` if it has none, as without a driver.
    ///
    /// The driver registers the node in its probe, and devtmpfs creates it before that returns: after
    /// the uevent `bind` of the device it exists.
    ///
    /// # Errors
    ///
    /// Returns an error if the node cannot be opened, or is not that of `device`.
    pub fn open(root: &Root, device: &DeviceName) -> Result<Option<Self>, Error> {
        let Some((name, number)) = find(root, device) else { return Ok(None) };
        let path = format!("dri/{name}");
        let shown = root.shown(&format!("dev/{path}"));
        let failed = |errno| Error::Open { path: shown.clone(), errno };
        let dev = root.open_at("dev", OFlags::PATH | OFlags::DIRECTORY).map_err(failed)?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let node = openat2(&dev, path, flags, Mode::empty(), resolve).map_err(failed)?;
        let stat = fstat(&node).map_err(failed)?;
        let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        if !is_device || stat.st_rdev != number {
            return Err(Error::Other(shown));
        }
        Ok(Some(Self { node, path: shown }))
    }

    /// Queries the driver. A driver without the query has no section.
    ///
    /// # Errors
    ///
    /// Returns an error if the driver has the query and it fails.
    pub fn query(&self) -> Result<Query, Error> {
        // SAFETY: the opcode writes a `struct panthor_protheap_query`, which `RawQuery` is and for
        // which any bytes are valid.
        match unsafe { ioctl(&self.node, Getter::<QUERY, RawQuery>::new()) } {
            Ok(raw) => Ok(Query::new(raw)),
            Err(Errno::NOTTY) => Ok(Query { section: None, has_buffer: false }),
            Err(errno) => Err(Error::Query { path: self.path.clone(), errno }),
        }
    }

    /// Sets the buffer of the protected section, and resets the GPU once. The driver then holds its
    /// own reference.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Set`] with the driver's reason. The firmware then runs without the buffer.
    pub fn set_firmware(&self, buffer: &Buffer) -> Result<(), Error> {
        let set = self.set(buffer.as_fd().as_raw_fd());
        set.map_err(|errno| Error::Set { path: self.path.clone(), errno })
    }

    /// Takes the buffer of the protected section back, and resets the GPU once.
    ///
    /// # Errors
    ///
    /// Returns [`Error::TakeBack`]; with EBUSY while protected groups exist.
    pub fn take_firmware_back(&self) -> Result<(), Error> {
        self.set(-1).map_err(|errno| Error::TakeBack { path: self.path.clone(), errno })
    }

    fn set(&self, fd: i32) -> Result<(), Errno> {
        let data = SetFirmware { fd, flags: 0 };
        loop {
            // SAFETY: the opcode takes a `struct panthor_protheap_set_firmware`, which `data` is; the
            // kernel only reads it, and keeps no pointer.
            match unsafe { ioctl(&self.node, Setter::<SET_FIRMWARE, _>::new(data)) } {
                Err(Errno::INTR) => {}
                done => return done,
            }
        }
    }
}

/// Returns the name and the device number of the render node of `device`.
fn find(root: &Root, device: &DeviceName) -> Option<(String, u64)> {
    // A missing or unreadable node is that of a GPU without a driver.
    let mut ignored = Vec::new();
    let directory = format!("{PLATFORM}/{device}/drm");
    let is_render = |name: &String| {
        let number = name.strip_prefix("renderD");
        number
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    let name = root.list(&directory, &mut ignored).into_iter().find(is_render)?;
    let number = root.text(&format!("{directory}/{name}/dev"), &mut ignored)?;
    let (major, minor) = number.split_once(':')?;
    Some((name, makedev(major.parse().ok()?, minor.parse().ok()?)))
}

#[cfg(test)]
mod header;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    fn gpu() -> DeviceName {
        DeviceName::new("fb000000.gpu").unwrap()
    }

    #[test]
    fn section_exists_if_the_driver_takes_or_has_a_buffer() {
        let query = |flags, firmware_size| {
            Query::new(RawQuery { flags, pad: 0, firmware_size, suspend_size: 65_536 })
        };
        let section = Some(Section { firmware_bytes: 262_144, suspend_bytes: 65_536 });
        let takes = Query { section, has_buffer: false };
        assert_eq!(query(TAKES_BUFFER, 262_144), takes);
        assert_eq!(query(HAS_BUFFER, 262_144), Query { section, has_buffer: true });
        // PANTHOR_PROTHEAP_READY: another provider serves the driver.
        assert_eq!(query(1, 262_144).section, None);
        assert_eq!(query(TAKES_BUFFER, 0).section, None);
    }

    #[test]
    fn node_is_that_of_the_device_in_sysfs() {
        let tree = Tree::new();
        let drm = format!("{PLATFORM}/fb000000.gpu/drm");
        assert_eq!(find(&tree.root(), &gpu()), None);
        tree.file(&format!("{drm}/card0/dev"), "226:0\n");
        tree.directory(&format!("{drm}/renderDx"));
        assert_eq!(find(&tree.root(), &gpu()), None);
        tree.file(&format!("{drm}/renderD129/dev"), "226:129\n");
        assert_eq!(find(&tree.root(), &gpu()), Some(("renderD129".into(), makedev(226, 129))));
    }

    #[test]
    fn node_that_is_no_device_or_a_link_is_rejected() {
        let tree = Tree::new();
        tree.file(&format!("{PLATFORM}/fb000000.gpu/drm/renderD128/dev"), "226:128\n");
        let open = || RenderNode::open(&tree.root(), &gpu());
        assert!(open().unwrap_err().is_absent());
        tree.file("dev/dri/renderD128", "");
        assert!(matches!(open(), Err(Error::Other(path)) if path.ends_with("/dev/dri/renderD128")));
        std::fs::remove_file(tree.path("dev/dri/renderD128")).unwrap();
        tree.link("/dev/null", "dev/dri/renderD128");
        assert!(matches!(open(), Err(Error::Open { errno: Errno::LOOP, .. })));
        let mut problems = Vec::new();
        assert_eq!(section(&tree.root(), &gpu(), &mut problems), Err(Hidden));
        assert_eq!(problems, []);
    }

    #[test]
    fn only_a_node_that_may_not_be_opened_hides_its_driver() {
        let path = || "/dev/dri/renderD128".to_owned();
        for (errno, is_denied) in [(Errno::ACCESS, true), (Errno::PERM, true), (Errno::IO, false)] {
            assert_eq!(Error::Open { path: path(), errno }.is_denied(), is_denied);
            assert!(!Error::Query { path: path(), errno }.is_denied());
        }
        let root = Root::open(std::path::Path::new("/")).unwrap();
        let mut problems = Vec::new();
        let absent = DeviceName::new("no-such.gpu").unwrap();
        assert_eq!(section(&root, &absent, &mut problems), Ok(None));
        assert_eq!(problems, []);
    }

    #[test]
    fn only_a_refused_return_of_a_buffer_is_busy() {
        let path = "/dev/dri/renderD128".to_owned();
        let busy = Error::TakeBack { path: path.clone(), errno: Errno::BUSY };
        assert!(busy.is_busy() && !busy.is_absent());
        let set = Error::Set { path, errno: Errno::BUSY };
        assert!(!set.is_busy());
        assert!(set.to_string().contains("has a buffer already"), "{set}");
    }
}

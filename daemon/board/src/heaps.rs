// SPDX-License-Identifier: MIT OR Apache-2.0

//! Lists dma-buf heaps, allocates buffers from them, and determines how buffers are protected.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use protheap_core::facts::{Protection, Verdict};
use protheap_policy::name::HeapName;
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::ioctl::{Updater, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::Problem;
use crate::root::Root;

const CLASS: &str = "sys/class/dma_heap";

/// Lists the heaps that exist. Skips and reports heaps with invalid names.
pub fn read(root: &Root, problems: &mut Vec<Problem>) -> BTreeSet<HeapName> {
    let mut heaps = BTreeSet::new();
    root.each(CLASS, problems, &mut |name, problems| match HeapName::new(name) {
        Ok(name) => {
            heaps.insert(name);
        }
        Err(e) => {
            let path = root.shown(&format!("{CLASS}/{name}"));
            problems.push(Problem::new(path, format!("the heap name {e}, skipping it")));
        }
    });
    heaps
}

/// Returns whether the kernel reports that the CPU cannot access the memory of the heap, from the
/// attribute that driver/patches/upstream/06-dma-heap-attributes adds. `false` proves nothing: the
/// driver of the heap may not report it. Returns `None` if the kernel has no such attribute, or if
/// its value is invalid, which is reported.
pub fn declared_protected(
    root: &Root,
    heap: &HeapName,
    problems: &mut Vec<Problem>,
) -> Option<bool> {
    let path = format!("{CLASS}/{heap}/protected");
    match root.text(&path, problems)?.as_str() {
        "0" => Some(false),
        "1" => Some(true),
        _ => {
            problems.push(Problem::new(root.shown(&path), "is neither 0 nor 1, ignoring it"));
            None
        }
    }
}

/// Owner and permissions of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// Owning user.
    pub user: u32,
    /// Owning group.
    pub group: u32,
}

impl Access {
    /// Returns whether users other than root, or members of groups other than root's, can open the
    /// node.
    pub fn is_open(self) -> bool {
        let Self { mode, user, group } = self;
        (user != 0 && mode & 0o600 != 0) || (group != 0 && mode & 0o060 != 0) || mode & 0o006 != 0
    }
}

/// Returns owner and permissions of the heap's device node. Returns `None` if there is none.
pub fn access(root: &Root, name: &HeapName) -> Option<Access> {
    let stat = root.link_stat(&format!("dev/dma_heap/{name}")).ok()?;
    Some(Access { mode: stat.st_mode & 0o7777, user: stat.st_uid, group: stat.st_gid })
}

/// Reasons why an allocation failed.
#[derive(Debug, thiserror::Error)]
pub enum AllocateError {
    /// The heap does not have enough memory.
    #[error("failed to allocate {bytes} bytes from {node}: {errno}; enlarge the heap's memory")]
    TooSmall {
        /// The heap's node.
        node: String,
        /// Number of bytes requested.
        bytes: u64,
        /// The error returned by the kernel.
        errno: Errno,
    },
    /// The heap rejects any allocation, or the node is not a heap.
    #[error("failed to allocate from {node}: {errno}; check that the heap's driver is still bound")]
    Dead {
        /// The heap's node.
        node: String,
        /// Number of bytes requested.
        bytes: u64,
        /// The error returned by the kernel.
        errno: Errno,
    },
}

impl AllocateError {
    fn new(node: String, bytes: u64, errno: Errno) -> Self {
        match errno {
            Errno::NOMEM | Errno::NOSPC | Errno::OVERFLOW | Errno::FBIG | Errno::TOOBIG => {
                Self::TooSmall { node, bytes, errno }
            }
            _ => Self::Dead { node, bytes, errno },
        }
    }

    /// Returns whether the caller may not open the heap, in which case the heap itself may be
    /// usable.
    pub fn is_permission(&self) -> bool {
        let (Self::TooSmall { errno, .. } | Self::Dead { errno, .. }) = self;
        matches!(*errno, Errno::ACCESS | Errno::PERM)
    }

    /// Returns the verdict on the heap that this error implies.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::TooSmall { .. } => Verdict::TooSmall(self.to_string()),
            Self::Dead { .. } => Verdict::Dead,
        }
    }
}

/// A dma-buf. Its memory is freed when the last reference is released.
#[derive(Debug)]
pub struct Buffer {
    dmabuf: OwnedFd,
    bytes: u64,
}

/// `struct dma_heap_allocation_data` of linux/dma-heap.h.
#[repr(C)]
struct AllocationData {
    len: u64,
    fd: u32,
    fd_flags: u32,
    heap_flags: u64,
}

/// `DMA_HEAP_IOCTL_ALLOC`.
const ALLOC: rustix::ioctl::Opcode = opcode::read_write::<AllocationData>(b'H', 0);

/// A heap, open for allocating.
#[derive(Debug)]
pub struct Heap {
    node: OwnedFd,
    path: String,
}

impl From<Heap> for OwnedFd {
    fn from(heap: Heap) -> Self {
        heap.node
    }
}

impl Heap {
    /// Opens the heap `name`.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such heap or its node is not a character device.
    pub fn open(root: &Root, name: &HeapName) -> Result<Self, AllocateError> {
        let path = format!("dev/dma_heap/{name}");
        let failed = |errno| AllocateError::new(root.shown(&path), 0, errno);
        let node = root.open_at(&path, OFlags::RDWR | OFlags::NOFOLLOW).map_err(failed)?;
        let mode = fstat(&node).map_err(failed)?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::CharacterDevice {
            return Err(failed(Errno::NODEV));
        }
        Ok(Self { node, path: root.shown(&path) })
    }

    /// Returns the error of an allocation of `bytes` bytes from the heap `name` that has run out of
    /// memory.
    pub fn exhausted(root: &Root, name: &HeapName, bytes: u64) -> AllocateError {
        let node = root.shown(&format!("dev/dma_heap/{name}"));
        AllocateError::new(node, bytes, Errno::NOMEM)
    }

    /// Allocates a buffer of `bytes` bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if the heap does not have enough memory or rejects any allocation.
    pub fn allocate(&self, bytes: u64) -> Result<Buffer, AllocateError> {
        allocate(&self.node, bytes).map_err(|e| AllocateError::new(self.path.clone(), bytes, e))
    }
}

fn allocate(node: &OwnedFd, bytes: u64) -> Result<Buffer, Errno> {
    let fd_flags = (OFlags::RDWR | OFlags::CLOEXEC).bits();
    let mut data = AllocationData { len: bytes, fd: 0, fd_flags, heap_flags: 0 };
    loop {
        // SAFETY: the opcode takes a `struct dma_heap_allocation_data`, which `data` is; the kernel
        // writes to it and keeps no pointer.
        match unsafe { ioctl(node, Updater::<ALLOC, _>::new(&mut data)) } {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(()) => break,
        }
    }
    let fd = RawFd::try_from(data.fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the ioctl succeeded, so `fd` is a new descriptor that nothing else owns.
    let dmabuf = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(Buffer { dmabuf, bytes })
}

impl Buffer {
    /// Returns the requested size in bytes; the heap rounds up to pages.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the known protection of the buffer and the name of its exporter from `fdinfo`, which
    /// is empty if `/proc` is not mounted.
    pub fn judge(&self) -> (Protection, String) {
        let exporter = self.exporter().unwrap_or_default();
        let protection =
            if self.mappable() { Protection::None } else { Protection::of_exporter(&exporter) };
        (protection, exporter)
    }

    fn mappable(&self) -> bool {
        let Ok(length) = usize::try_from(self.bytes) else {
            return true;
        };
        // SAFETY: this creates a new mapping at an address chosen by the kernel, and nothing reads
        // it.
        let mapped = unsafe {
            mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, &self.dmabuf, 0)
        };
        match mapped {
            Ok(address) => {
                // SAFETY: the mapping was just made with this length, and nothing points into it.
                let _ = unsafe { munmap(address, length) };
                true
            }
            // The exporter refuses mappings. Other errors (ENOMEM, EAGAIN) say nothing about the
            // buffer.
            Err(Errno::INVAL | Errno::NODEV | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {
                false
            }
            Err(_) => true,
        }
    }

    fn exporter(&self) -> Option<String> {
        let path = format!("/proc/self/fdinfo/{}", self.dmabuf.as_raw_fd());
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut buffer = [0u8; 1024];
        let length = rustix::io::read(&file, buffer.as_mut_slice()).ok()?;
        exporter_in(buffer.get(..length)?)
    }
}

/// Returns the first `exp_name` in the `fdinfo` of a dma-buf. The lines after it can contain a name
/// that a user gave to the buffer.
fn exporter_in(fdinfo: &[u8]) -> Option<String> {
    let mut lines = fdinfo.split(|byte| *byte == b'\n');
    let name = lines.find_map(|line| line.strip_prefix(b"exp_name:"))?;
    std::str::from_utf8(name).ok().map(|name| name.trim().to_owned())
}

impl AsFd for Buffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dmabuf.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn read_lists_heaps_and_skips_invalid_names() {
        let tree = Tree::new();
        let mut problems = Vec::new();
        assert!(read(&tree.root(), &mut problems).is_empty());
        for name in ["system", "protected,secure-video", "two words", "a\nb"] {
            tree.directory(&format!("sys/class/dma_heap/{name}"));
        }
        let heaps = read(&tree.root(), &mut problems);
        let names: Vec<_> = heaps.iter().map(HeapName::as_str).collect();
        assert_eq!(names, ["protected,secure-video", "system"]);
        assert_eq!(problems.len(), 2);
        assert!(!problems.iter().any(|p| p.to_string().contains('\n')));
    }

    #[test]
    fn declared_protected_reports_invalid_attributes() {
        let tree = Tree::new();
        let declared = |name: &str, value: &[u8]| {
            tree.file(&format!("{CLASS}/{name}/protected"), value);
            let mut problems = Vec::new();
            let heap = HeapName::new(name).unwrap();
            let found = declared_protected(&tree.root(), &heap, &mut problems);
            (found, problems.into_iter().map(|problem| problem.message).collect::<String>())
        };
        assert_eq!(declared("mappable", b"0\n"), (Some(false), String::new()));
        assert_eq!(declared("protected", b"1\n"), (Some(true), String::new()));
        for invalid in [&b""[..], b"yes\n", b"1 0\n", b"+1\n", b"1\n1\n"] {
            let expected = (None, "is neither 0 nor 1, ignoring it".to_owned());
            assert_eq!(declared("invalid", invalid), expected);
        }
        for invalid in [&b"\xff\n"[..], &[b'1'; 5_000]] {
            let (found, problem) = declared("invalid", invalid);
            assert!(found.is_none() && !problem.is_empty());
        }
        let (mut problems, absent) = (Vec::new(), HeapName::new("absent").unwrap());
        assert_eq!(declared_protected(&tree.root(), &absent, &mut problems), None);
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn open_rejects_nodes_that_are_not_devices() {
        let tree = Tree::new();
        tree.file("dev/dma_heap/plain", "");
        tree.link("/dev/null", "dev/dma_heap/link");
        tree.fifo("dev/dma_heap/fifo");
        for (name, expected) in [
            ("plain", Errno::NODEV),
            ("fifo", Errno::NODEV),
            ("link", Errno::LOOP),
            ("absent", Errno::NOENT),
        ] {
            match Heap::open(&tree.root(), &HeapName::new(name).unwrap()) {
                Err(AllocateError::Dead { errno, node, .. }) => {
                    assert_eq!(errno, expected, "{name}");
                    assert!(node.ends_with(name));
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn alloc_ioctl_matches_the_kernel_header() {
        assert_eq!(ALLOC, 0xc018_4800);
    }

    #[test]
    fn verdict_distinguishes_lack_of_memory_from_a_dead_heap() {
        let verdict = |errno| AllocateError::new(String::new(), 1, errno).verdict();
        assert!(matches!(verdict(Errno::NOMEM), Verdict::TooSmall(_)));
        assert_eq!(verdict(Errno::INVAL), Verdict::Dead);
        assert_eq!(verdict(Errno::NODEV), Verdict::Dead);
    }

    #[test]
    fn exporter_ignores_user_defined_names() {
        let fdinfo = b"pos:\t0\nflags:\t02\nsize:\t4096\ncount:\t1\nexp_name:\ttee\nname:\tx\nexp_name:\tsystem\n";
        assert_eq!(exporter_in(fdinfo).as_deref(), Some("tee"));
        assert_eq!(exporter_in(b"pos:\t0\n"), None);
    }
}

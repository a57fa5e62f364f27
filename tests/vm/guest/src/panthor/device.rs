// SPDX-License-Identifier: MIT OR Apache-2.0
//! The render node of a GPU, its address spaces, and the buffers in them.

use std::cell::Cell;
use std::ffi::c_void;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::uapi::{
    DRM_PANTHOR_DEV_QUERY_CSIF_INFO, DRM_PANTHOR_DEV_QUERY_GPU_INFO,
    DRM_PANTHOR_VM_BIND_OP_MAP_NOEXEC, DRM_PANTHOR_VM_BIND_OP_TYPE_UNMAP,
    OPCODE_DRM_IOCTL_PANTHOR_DEV_QUERY, OPCODE_DRM_IOCTL_PANTHOR_VM_BIND, OPCODE_DRM_IOCTL_VERSION,
    Request, address, array, drm_gem_close, drm_panthor_bo_create, drm_panthor_bo_mmap_offset,
    drm_panthor_csif_info, drm_panthor_dev_query, drm_panthor_gpu_info,
    drm_panthor_tiler_heap_create, drm_panthor_vm_bind, drm_panthor_vm_bind_op,
    drm_panthor_vm_create, drm_panthor_vm_destroy, drm_prime_handle, drm_version,
    panthor_protheap_query, panthor_protheap_set_firmware,
};

/// First address of buffers in an address space; address 0 stays unmapped.
const FIRST_ADDRESS: u64 = 0x1000_0000;
/// Unit of addresses and sizes.
pub(super) const PAGE: u64 = 4096;
/// Size of a chunk of a tiler heap, which is the minimum.
const HEAP_CHUNK: u32 = 128 << 10;

/// An open render node. The kernel frees its objects when the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct Device(Rc<File>);

impl Device {
    /// Opens the render node of `gpu`, or of any GPU that panthor drives if none is named.
    ///
    /// A driver that probes, or is being unbound, has no node that can be opened: waits until it has one or is gone, at
    /// most `limit`. Fails with `ENODEV` at once if no driver is there.
    pub(super) fn open(gpu: Option<&str>, limit: Duration) -> io::Result<Self> {
        let begun = Instant::now();
        loop {
            match Self::open_now(gpu) {
                Err(error) if is_early(&error) && is_driven(gpu) && begun.elapsed() < limit => {
                    sleep(Duration::from_millis(5));
                }
                opened => return opened,
            }
        }
    }

    fn open_now(gpu: Option<&str>) -> io::Result<Self> {
        for entry in fs::read_dir("/sys/class/drm").into_iter().flatten() {
            let entry = entry?;
            let name = entry.file_name();
            if !name.to_string_lossy().starts_with("renderD") {
                continue;
            }
            let Ok(device) = entry.path().join("device").canonicalize() else { continue };
            let is_it = match gpu {
                Some(gpu) => device.ends_with(gpu),
                None => {
                    fs::read_link(device.join("driver")).is_ok_and(|to| to.ends_with("panthor"))
                }
            };
            if is_it {
                let node = Path::new("/dev/dri").join(name);
                return Ok(Self(Rc::new(File::options().read(true).write(true).open(node)?)));
            }
        }
        Err(Errno::NODEV.into())
    }

    /// Returns the major and the minor version of the driver's interface.
    pub(super) fn version(&self) -> io::Result<(i32, i32)> {
        let mut version = drm_version::default();
        // SAFETY: the buffers of the texts have no room, so that the kernel writes nothing to them.
        unsafe { self.call_with(OPCODE_DRM_IOCTL_VERSION, &mut version) }?;
        Ok((version.version_major, version.version_minor))
    }

    /// Returns the properties of the GPU.
    pub(super) fn gpu(&self) -> io::Result<drm_panthor_gpu_info> {
        // SAFETY: the query is for this structure.
        unsafe { self.query(DRM_PANTHOR_DEV_QUERY_GPU_INFO) }
    }

    /// Returns the properties of its firmware.
    pub(super) fn csif(&self) -> io::Result<drm_panthor_csif_info> {
        // SAFETY: the query is for this structure.
        unsafe { self.query(DRM_PANTHOR_DEV_QUERY_CSIF_INFO) }
    }

    /// Returns the state and the sizes of protected memory. `ENOTTY` if the driver has no protected groups.
    pub(super) fn protected_memory(&self) -> io::Result<panthor_protheap_query> {
        let mut query = panthor_protheap_query::default();
        self.call(&mut query)?;
        Ok(query)
    }

    /// Sets the buffer of the firmware's protected section, or takes it back if `fd` is -1.
    pub(super) fn set_firmware(&self, fd: RawFd, flags: u32) -> io::Result<()> {
        self.call(&mut panthor_protheap_set_firmware { fd, flags })
    }

    /// Queries information about the device.
    ///
    /// # Safety
    ///
    /// A query of this kind fills a `T`, which consists of integers.
    unsafe fn query<T: Default>(&self, kind: u32) -> io::Result<T> {
        let mut info = T::default();
        let (size, pointer) = (size_of::<T>() as u32, address(ptr::from_mut(&mut info)));
        let mut query = drm_panthor_dev_query { type_: kind, size, pointer };
        // SAFETY: the kernel writes at most `size` bytes to `info`.
        unsafe { self.call_with(OPCODE_DRM_IOCTL_PANTHOR_DEV_QUERY, &mut query) }?;
        Ok(info)
    }

    /// Sends an ioctl.
    pub(super) fn call<T: Request>(&self, argument: &mut T) -> io::Result<()> {
        // SAFETY: `Request` promises that the ioctl takes this structure, and nothing else.
        Ok(unsafe { ioctl(&*self.0, Call(T::OPCODE, argument)) }?)
    }

    /// Sends an ioctl whose argument contains addresses.
    ///
    /// # Safety
    ///
    /// As for [`call_with`].
    pub(super) unsafe fn call_with<T>(&self, opcode: u32, argument: &mut T) -> io::Result<()> {
        // SAFETY: the caller promises it.
        unsafe { call_with(&*self.0, opcode, argument) }
    }
}

/// Returns whether opening a node fails with that error before the node is registered: sysfs lists it first, then
/// `/dev` has it, then DRM finds it.
fn is_early(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NODEV | Errno::NOENT))
}

/// Returns whether a driver is bound to `gpu`, or panthor to any GPU if none is named. sysfs has the link from the
/// beginning of probe to the end of remove.
fn is_driven(gpu: Option<&str>) -> bool {
    match gpu {
        Some(gpu) => Path::new("/sys/bus/platform/devices").join(gpu).join("driver").exists(),
        None => fs::read_dir("/sys/bus/platform/drivers/panthor").is_ok_and(|entries| {
            // The entries are devices and the module.
            entries.flatten().any(|entry| entry.path().join("driver").exists())
        }),
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends an ioctl to a file.
///
/// # Safety
///
/// The ioctl takes a `T`, and the memory at addresses in it stays borrowed during the call.
pub(super) unsafe fn call_with<T>(
    file: impl AsFd,
    opcode: u32,
    argument: &mut T,
) -> io::Result<()> {
    // SAFETY: the caller promises it.
    Ok(unsafe { ioctl(file, Call(opcode as Opcode, argument)) }?)
}

/// An ioctl and its argument.
struct Call<'a, T>(Opcode, &'a mut T);

// SAFETY: whoever calls ioctl() promises that the opcode takes the argument. Nothing is returned.
unsafe impl<T> Ioctl for Call<'_, T> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.0
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(self.1).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> Result<(), Errno> {
        Ok(())
    }
}

/// An address space of the GPU.
#[derive(Debug)]
pub(super) struct Vm {
    device: Device,
    id: u32,
    next: Cell<u64>,
}

impl Vm {
    /// Creates an empty address space.
    pub(super) fn create(device: &Device) -> io::Result<Self> {
        let mut request = drm_panthor_vm_create::default();
        device.call(&mut request)?;
        Ok(Self { device: device.clone(), id: request.id, next: Cell::new(FIRST_ADDRESS) })
    }

    /// Returns the device of the address space.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the number of the address space.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Maps all of a buffer at an unused address, and returns the address.
    pub(super) fn map(&self, buffer: &Buffer) -> io::Result<u64> {
        let va = self.next.get();
        self.bind(DRM_PANTHOR_VM_BIND_OP_MAP_NOEXEC, buffer.handle, va, buffer.bytes)?;
        self.next.set(va + buffer.bytes);
        Ok(va)
    }

    /// Creates a tiler heap that can grow to that number of chunks, and returns the address of its context.
    pub(super) fn create_heap(&self, chunks: u32) -> io::Result<u64> {
        let mut request = drm_panthor_tiler_heap_create {
            vm_id: self.id,
            initial_chunk_count: 1,
            chunk_size: HEAP_CHUNK,
            max_chunks: chunks,
            target_in_flight: chunks,
            ..Default::default()
        };
        self.device.call(&mut request)?;
        Ok(request.tiler_heap_ctx_gpu_va)
    }

    /// Unmaps a buffer.
    pub(super) fn unmap(&self, va: u64, bytes: u64) -> io::Result<()> {
        self.bind(DRM_PANTHOR_VM_BIND_OP_TYPE_UNMAP, 0, va, bytes)
    }

    fn bind(&self, flags: i32, bo_handle: u32, va: u64, size: u64) -> io::Result<()> {
        let flags = flags.cast_unsigned();
        let ops = [drm_panthor_vm_bind_op { flags, bo_handle, va, size, ..Default::default() }];
        let mut bind = drm_panthor_vm_bind { vm_id: self.id, flags: 0, ops: array(&ops) };
        // SAFETY: the kernel reads `ops`, which have no array.
        unsafe { self.device.call_with(OPCODE_DRM_IOCTL_PANTHOR_VM_BIND, &mut bind) }
    }

    /// Destroys the address space. Groups that still run in it lose their memory.
    pub(super) fn destroy(self) -> io::Result<()> {
        self.device.call(&mut drm_panthor_vm_destroy { id: self.id, pad: 0 })
    }
}

/// Memory that can be mapped into address spaces.
#[derive(Debug)]
pub(super) struct Buffer {
    device: Device,
    handle: u32,
    bytes: u64,
}

impl Buffer {
    /// Creates a buffer of ordinary memory, in whole pages.
    pub(super) fn create(device: &Device, bytes: u64) -> io::Result<Self> {
        let size = bytes.next_multiple_of(PAGE);
        let mut request = drm_panthor_bo_create { size, ..Default::default() };
        device.call(&mut request)?;
        Ok(Self { device: device.clone(), handle: request.handle, bytes: request.size })
    }

    /// Imports a dma-buf of that size, which remains when the descriptor is closed.
    pub(super) fn import(device: &Device, dma_buf: impl AsFd, bytes: u64) -> io::Result<Self> {
        let fd = dma_buf.as_fd().as_raw_fd();
        let mut request = drm_prime_handle { handle: 0, flags: 0, fd };
        device.call(&mut request)?;
        Ok(Self { device: device.clone(), handle: request.handle, bytes })
    }

    /// Returns the size of the buffer.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Maps the buffer into this process, readable and writable.
    pub(super) fn words(&self) -> io::Result<Words> {
        let mut request = drm_panthor_bo_mmap_offset { handle: self.handle, ..Default::default() };
        self.device.call(&mut request)?;
        let bytes = usize::try_from(self.bytes).map_err(|_| Errno::OVERFLOW)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address.
        let at = unsafe {
            let shared = MapFlags::SHARED;
            mmap(ptr::null_mut(), bytes, access, shared, &self.device, request.offset)
        }?;
        let at = NonNull::new(at.cast()).ok_or(Errno::FAULT)?;
        Ok(Words(NonNull::slice_from_raw_parts(at, bytes / size_of::<AtomicU64>())))
    }

    /// Closes the handle of the buffer; mappings keep its memory.
    pub(super) fn close(self) -> io::Result<()> {
        self.device.call(&mut drm_gem_close { handle: self.handle, pad: 0 })
    }
}

/// A buffer that is mapped into this process. The GPU can change it at any time.
#[derive(Debug)]
pub(super) struct Words(NonNull<[AtomicU64]>);

impl Words {
    /// Returns the words of the buffer.
    pub(super) fn all(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has that length until it is dropped, begins as zeroes, and is accessed only by atomics.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        let bytes = size_of_val(self.all());
        // SAFETY: the mapping has that length, and no borrow of it exists any more.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), bytes) };
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The user-space interface of panthor and DRM: the used parts of include/uapi/drm/{panthor_drm,drm}.h and
//! linux/sync_file.h of Linux 7.3, and panthor_protheap.h, which Protheap's patch of panthor adds.
//!
//! Fields have the names of the headers; fields that must be zero are named `pad`.

use std::marker::PhantomData;
use std::ptr;

use rustix::ioctl::{Opcode, opcode};

/// Argument of an ioctl.
///
/// # Safety
///
/// The ioctl of that number takes this structure, and accesses no other memory except what the structure borrows.
pub(super) unsafe trait Request {
    /// Direction, type, number and size.
    const OPCODE: Opcode;
}

/// Returns the number of an ioctl of DRM, or of its driver from 0x40 on.
const fn drm<T>(number: u8) -> Opcode {
    opcode::read_write::<T>(b'd', number)
}

/// Type of the ioctls of protected groups: `PANTHOR_PROTHEAP_IOCTL_BASE`.
const PROTHEAP: u8 = 0xbb;

macro_rules! requests {
    ($($argument:ty = $opcode:expr;)*) => { $(
        // SAFETY: the headers specify so. Addresses in the structure are those of borrowed memory, or null.
        unsafe impl Request for $argument {
            const OPCODE: Opcode = $opcode;
        }
    )* };
}

requests! {
    Version<'_> = drm::<Self>(0x00);
    GemClose = opcode::write::<Self>(b'd', 0x09);
    PrimeHandle = drm::<Self>(0x2e);
    DevQuery<'_> = drm::<Self>(0x40);
    VmCreate = drm::<Self>(0x41);
    VmDestroy = drm::<Self>(0x42);
    VmBind<'_> = drm::<Self>(0x43);
    BoCreate = drm::<Self>(0x45);
    BoMmapOffset = drm::<Self>(0x46);
    GroupCreate<'_> = drm::<Self>(0x47);
    ProtheapQuery = opcode::read::<Self>(PROTHEAP, 0x40);
    ProtectedGroupCreate<'_> = opcode::read_write::<Self>(PROTHEAP, 0x41);
    GroupDestroy = drm::<Self>(0x48);
    GroupSubmit<'_> = drm::<Self>(0x49);
    GroupGetState = drm::<Self>(0x4a);
    SyncobjCreate = drm::<Self>(0xbf);
    SyncobjDestroy = drm::<Self>(0xc0);
    SyncobjHandle = drm::<Self>(0xc1);
    SyncobjWait<'_> = drm::<Self>(0xc3);
    SyncFileInfo<'_> = opcode::read_write::<Self>(b'>', 4);
}

/// An address of this process in a `__u64`. The memory at the address stays borrowed.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(super) struct Address<'a>(u64, PhantomData<&'a ()>);

impl<'a> Address<'a> {
    /// The null pointer.
    pub(super) const NULL: Self = Self(0, PhantomData);

    /// Returns the address of memory that the kernel reads.
    pub(super) fn of<T>(slice: &'a [T]) -> Self {
        Self(slice.as_ptr().expose_provenance() as u64, PhantomData)
    }

    /// Returns the address of memory that the kernel writes.
    fn of_mut<T>(value: &'a mut T) -> Self {
        Self(ptr::from_mut(value).expose_provenance() as u64, PhantomData)
    }
}

/// `struct drm_panthor_obj_array`
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct ObjArray<'a> {
    stride: u32,
    count: u32,
    array: Address<'a>,
}

impl<'a> ObjArray<'a> {
    /// An array without elements.
    pub(super) const EMPTY: Self = Self { stride: 0, count: 0, array: Address::NULL };

    /// `DRM_PANTHOR_OBJ_ARRAY()`
    pub(super) fn of<T>(objects: &'a [T]) -> Self {
        // The arrays have few and small elements.
        Self {
            stride: size_of::<T>() as u32,
            count: objects.len() as u32,
            array: Address::of(objects),
        }
    }
}

/// `struct drm_version`, with pointers of 64 bits
#[derive(Debug)]
#[repr(C)]
pub(super) struct Version<'a> {
    pub(super) major: i32,
    pub(super) minor: i32,
    pub(super) patchlevel: i32,
    /// Lengths and addresses of three texts, none of which is requested.
    pub(super) texts: [(u64, Address<'a>); 3],
}

/// `struct drm_gem_close`
#[derive(Debug)]
#[repr(C)]
pub(super) struct GemClose {
    pub(super) handle: u32,
    pub(super) pad: u32,
}

/// `struct drm_prime_handle`
#[derive(Debug)]
#[repr(C)]
pub(super) struct PrimeHandle {
    pub(super) handle: u32,
    pub(super) flags: u32,
    pub(super) fd: i32,
}

/// `struct drm_syncobj_create`
#[derive(Debug)]
#[repr(C)]
pub(super) struct SyncobjCreate {
    pub(super) handle: u32,
    pub(super) flags: u32,
}

/// `struct drm_syncobj_destroy`
#[derive(Debug)]
#[repr(C)]
pub(super) struct SyncobjDestroy {
    pub(super) handle: u32,
    pub(super) pad: u32,
}

/// `struct drm_syncobj_handle`
#[derive(Debug)]
#[repr(C)]
pub(super) struct SyncobjHandle {
    pub(super) handle: u32,
    pub(super) flags: u32,
    pub(super) fd: i32,
    pub(super) pad: u32,
    pub(super) point: u64,
}

/// `DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE`
pub(super) const EXPORT_SYNC_FILE: u32 = 1 << 0;

/// `struct drm_syncobj_wait`
#[derive(Debug)]
#[repr(C)]
pub(super) struct SyncobjWait<'a> {
    pub(super) handles: Address<'a>,
    /// `CLOCK_MONOTONIC` at the end.
    pub(super) timeout_nsec: i64,
    pub(super) count_handles: u32,
    pub(super) flags: u32,
    pub(super) first_signaled: u32,
    pub(super) pad: u32,
    pub(super) deadline_nsec: u64,
}

/// `struct sync_file_info`
#[derive(Debug)]
#[repr(C)]
pub(super) struct SyncFileInfo<'a> {
    pub(super) name: [u8; 32],
    /// 1, or 0 before it is signalled, or a negative errno.
    pub(super) status: i32,
    pub(super) flags: u32,
    /// 0: the status only.
    pub(super) num_fences: u32,
    pub(super) pad: u32,
    pub(super) sync_fence_info: Address<'a>,
}

/// `struct drm_panthor_dev_query`
#[derive(Debug)]
#[repr(C)]
pub(super) struct DevQuery<'a> {
    kind: u32,
    size: u32,
    pointer: Address<'a>,
}

/// Result of a query of a device.
///
/// # Safety
///
/// All byte patterns are valid values.
pub(super) unsafe trait Info: Default {
    /// `enum drm_panthor_dev_query_type`
    const KIND: u32;
}

impl<'a> DevQuery<'a> {
    /// Returns a query whose result is written to `info`.
    pub(super) fn of<T: Info>(info: &'a mut T) -> Self {
        Self { kind: T::KIND, size: size_of::<T>() as u32, pointer: Address::of_mut(info) }
    }
}

/// `struct drm_panthor_gpu_info`
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct GpuInfo {
    pub(super) gpu_id: u32,
    pub(super) gpu_rev: u32,
    /// From `csf_id` to `selected_coherency`.
    pub(super) features: [u32; 16],
    pub(super) shader_present: u64,
    pub(super) l2_present: u64,
    pub(super) tiler_present: u64,
    pub(super) core_features: u32,
    pub(super) pad: u32,
    pub(super) gpu_features: u64,
}

// SAFETY: it is made of integers.
unsafe impl Info for GpuInfo {
    const KIND: u32 = 0;
}

/// `struct drm_panthor_csif_info`
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct CsifInfo {
    pub(super) csg_slot_count: u32,
    pub(super) cs_slot_count: u32,
    pub(super) cs_reg_count: u32,
    pub(super) scoreboard_slot_count: u32,
    pub(super) unpreserved_cs_reg_count: u32,
    pub(super) pad: u32,
}

// SAFETY: it is made of integers.
unsafe impl Info for CsifInfo {
    const KIND: u32 = 1;
}

/// `struct drm_panthor_vm_create`
#[derive(Debug)]
#[repr(C)]
pub(super) struct VmCreate {
    pub(super) flags: u32,
    pub(super) id: u32,
    /// 0: the driver chooses.
    pub(super) user_va_range: u64,
}

/// `struct drm_panthor_vm_destroy`
#[derive(Debug)]
#[repr(C)]
pub(super) struct VmDestroy {
    pub(super) id: u32,
    pub(super) pad: u32,
}

/// `struct drm_panthor_vm_bind_op`
#[derive(Debug)]
#[repr(C)]
pub(super) struct VmBindOp<'a> {
    pub(super) flags: u32,
    pub(super) bo_handle: u32,
    pub(super) bo_offset: u64,
    pub(super) va: u64,
    pub(super) size: u64,
    pub(super) syncs: ObjArray<'a>,
}

/// `DRM_PANTHOR_VM_BIND_OP_TYPE_MAP`, with `DRM_PANTHOR_VM_BIND_OP_MAP_NOEXEC`: shaders are not run here.
pub(super) const MAP_NOEXEC: u32 = 1 << 1;
/// `DRM_PANTHOR_VM_BIND_OP_TYPE_UNMAP`
pub(super) const UNMAP: u32 = 1 << 28;

/// `struct drm_panthor_vm_bind`
#[derive(Debug)]
#[repr(C)]
pub(super) struct VmBind<'a> {
    pub(super) vm_id: u32,
    pub(super) flags: u32,
    pub(super) ops: ObjArray<'a>,
}

/// `struct drm_panthor_bo_create`
#[derive(Debug)]
#[repr(C)]
pub(super) struct BoCreate {
    pub(super) size: u64,
    pub(super) flags: u32,
    pub(super) exclusive_vm_id: u32,
    pub(super) handle: u32,
    pub(super) pad: u32,
}

/// `struct drm_panthor_bo_mmap_offset`
#[derive(Debug)]
#[repr(C)]
pub(super) struct BoMmapOffset {
    pub(super) handle: u32,
    pub(super) pad: u32,
    pub(super) offset: u64,
}

/// `struct drm_panthor_queue_create`
#[derive(Debug)]
#[repr(C)]
pub(super) struct QueueCreate {
    pub(super) priority: u8,
    pub(super) pad: [u8; 3],
    pub(super) ringbuf_size: u32,
}

/// `enum drm_panthor_group_priority`
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Priority {
    Low = 0,
    Medium = 1,
    High = 2,
}

/// `struct drm_panthor_group_create`
#[derive(Debug)]
#[repr(C)]
pub(super) struct GroupCreate<'a> {
    pub(super) queues: ObjArray<'a>,
    pub(super) max_compute_cores: u8,
    pub(super) max_fragment_cores: u8,
    pub(super) max_tiler_cores: u8,
    /// A `Priority`.
    pub(super) priority: u8,
    pub(super) pad: u32,
    pub(super) compute_core_mask: u64,
    pub(super) fragment_core_mask: u64,
    pub(super) tiler_core_mask: u64,
    pub(super) vm_id: u32,
    pub(super) group_handle: u32,
}

/// Argument of `PANTHOR_PROTHEAP_IOCTL_GROUP_CREATE`
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct ProtectedGroupCreate<'a>(pub(super) GroupCreate<'a>);

/// `struct panthor_protheap_query`
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct ProtheapQuery {
    pub(super) flags: u32,
    pub(super) pad: u32,
}

/// `PANTHOR_PROTHEAP_READY`
pub(super) const PROTHEAP_READY: u32 = 1 << 0;

/// `struct drm_panthor_group_destroy`
#[derive(Debug)]
#[repr(C)]
pub(super) struct GroupDestroy {
    pub(super) group_handle: u32,
    pub(super) pad: u32,
}

/// `struct drm_panthor_sync_op`
#[derive(Debug)]
#[repr(C)]
pub(super) struct SyncOp {
    pub(super) flags: u32,
    pub(super) handle: u32,
    pub(super) timeline_value: u64,
}

/// `DRM_PANTHOR_SYNC_OP_SIGNAL`, of a `DRM_PANTHOR_SYNC_OP_HANDLE_TYPE_SYNCOBJ`
pub(super) const SIGNAL_SYNCOBJ: u32 = 1 << 31;

/// `struct drm_panthor_queue_submit`
#[derive(Debug)]
#[repr(C)]
pub(super) struct QueueSubmit<'a> {
    pub(super) queue_index: u32,
    pub(super) stream_size: u32,
    pub(super) stream_addr: u64,
    /// 0: caches are flushed in any case.
    pub(super) latest_flush: u32,
    pub(super) pad: u32,
    pub(super) syncs: ObjArray<'a>,
}

/// `struct drm_panthor_group_submit`
#[derive(Debug)]
#[repr(C)]
pub(super) struct GroupSubmit<'a> {
    pub(super) group_handle: u32,
    pub(super) pad: u32,
    pub(super) queue_submits: ObjArray<'a>,
}

/// `struct drm_panthor_group_get_state`
#[derive(Debug)]
#[repr(C)]
pub(super) struct GroupGetState {
    pub(super) group_handle: u32,
    pub(super) state: u32,
    pub(super) fatal_queues: u32,
    pub(super) pad: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected numbers are the output of a C program that includes the headers.
    #[test]
    fn ioctls_have_the_numbers_of_the_headers() {
        for (here, there) in [
            (Version::OPCODE, 0xc040_6400),
            (GemClose::OPCODE, 0x4008_6409),
            (PrimeHandle::OPCODE, 0xc00c_642e),
            (DevQuery::OPCODE, 0xc010_6440),
            (VmCreate::OPCODE, 0xc010_6441),
            (VmDestroy::OPCODE, 0xc008_6442),
            (VmBind::OPCODE, 0xc018_6443),
            (BoCreate::OPCODE, 0xc018_6445),
            (BoMmapOffset::OPCODE, 0xc010_6446),
            (GroupCreate::OPCODE, 0xc038_6447),
            (ProtheapQuery::OPCODE, 0x8008_bb40),
            (ProtectedGroupCreate::OPCODE, 0xc038_bb41),
            (GroupDestroy::OPCODE, 0xc008_6448),
            (GroupSubmit::OPCODE, 0xc018_6449),
            (GroupGetState::OPCODE, 0xc010_644a),
            (SyncobjCreate::OPCODE, 0xc008_64bf),
            (SyncobjDestroy::OPCODE, 0xc008_64c0),
            (SyncobjHandle::OPCODE, 0xc018_64c1),
            (SyncobjWait::OPCODE, 0xc028_64c3),
            (SyncFileInfo::OPCODE, 0xc038_3e04),
        ] {
            assert_eq!(here, there, "{here:#x} is not {there:#x}");
        }
    }

    #[test]
    fn what_arguments_point_to_has_the_size_of_the_headers() {
        assert_eq!(size_of::<ObjArray<'_>>(), 16);
        assert_eq!(size_of::<GpuInfo>(), 112);
        assert_eq!(size_of::<CsifInfo>(), 24);
        assert_eq!(size_of::<VmBindOp<'_>>(), 48);
        assert_eq!(size_of::<QueueCreate>(), 8);
        assert_eq!(size_of::<SyncOp>(), 16);
        assert_eq!(size_of::<QueueSubmit<'_>>(), 40);
    }

    #[test]
    fn fields_are_where_the_headers_have_them() {
        assert_eq!(std::mem::offset_of!(Version<'_>, texts), 16);
        assert_eq!(std::mem::offset_of!(GpuInfo, shader_present), 72);
        assert_eq!(std::mem::offset_of!(GpuInfo, tiler_present), 88);
        assert_eq!(std::mem::offset_of!(GroupCreate<'_>, priority), 19);
        assert_eq!(std::mem::offset_of!(GroupCreate<'_>, pad), 20);
        assert_eq!(std::mem::offset_of!(GroupCreate<'_>, group_handle), 52);
        assert_eq!(std::mem::offset_of!(QueueSubmit<'_>, syncs), 24);
    }

    #[test]
    fn an_array_is_told_with_its_stride() {
        let syncs = [const { SyncOp { flags: 0, handle: 0, timeline_value: 0 } }; 3];
        let array = ObjArray::of(&syncs);
        assert_eq!((array.stride, array.count), (16, 3));
        assert_eq!(array.array.0, syncs.as_ptr().addr() as u64);
    }
}

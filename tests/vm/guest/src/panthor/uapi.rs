// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interface of DRM, panthor and sync files. bindgen makes the structures and numbers from the headers of the patched
//! kernel that `uapi.h` includes.

use std::ptr;

use rustix::ioctl::Opcode;

#[allow(
    missing_docs,
    non_camel_case_types,
    unreachable_pub,
    unused,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    reason = "generated"
)]
mod bindings {
    include!(env!("PROTHEAP_UAPI"));
}
pub(super) use bindings::*;

/// Structure that an ioctl takes.
///
/// # Safety
///
/// The ioctl of that number takes this structure, and follows no address in it.
pub(super) unsafe trait Request: Default {
    /// Direction, type, number and size.
    const OPCODE: Opcode;
}

macro_rules! requests {
    ($($argument:ty = $opcode:ident;)*) => { $(
        // SAFETY: the headers define the number with this structure, whose fields are numbers.
        unsafe impl Request for $argument {
            const OPCODE: Opcode = $opcode as Opcode;
        }
    )* };
}

requests! {
    drm_gem_close = OPCODE_DRM_IOCTL_GEM_CLOSE;
    drm_prime_handle = OPCODE_DRM_IOCTL_PRIME_FD_TO_HANDLE;
    drm_syncobj_create = OPCODE_DRM_IOCTL_SYNCOBJ_CREATE;
    drm_syncobj_destroy = OPCODE_DRM_IOCTL_SYNCOBJ_DESTROY;
    drm_syncobj_handle = OPCODE_DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD;
    drm_panthor_vm_create = OPCODE_DRM_IOCTL_PANTHOR_VM_CREATE;
    drm_panthor_vm_destroy = OPCODE_DRM_IOCTL_PANTHOR_VM_DESTROY;
    drm_panthor_bo_create = OPCODE_DRM_IOCTL_PANTHOR_BO_CREATE;
    drm_panthor_bo_mmap_offset = OPCODE_DRM_IOCTL_PANTHOR_BO_MMAP_OFFSET;
    drm_panthor_group_destroy = OPCODE_DRM_IOCTL_PANTHOR_GROUP_DESTROY;
    drm_panthor_group_get_state = OPCODE_DRM_IOCTL_PANTHOR_GROUP_GET_STATE;
    drm_panthor_tiler_heap_create = OPCODE_DRM_IOCTL_PANTHOR_TILER_HEAP_CREATE;
    panthor_protheap_query = OPCODE_PANTHOR_PROTHEAP_IOCTL_QUERY;
    panthor_protheap_set_firmware = OPCODE_PANTHOR_PROTHEAP_IOCTL_SET_FIRMWARE;
}

/// Priority of a group.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Priority {
    Low = PANTHOR_GROUP_PRIORITY_LOW as u8,
    Medium = PANTHOR_GROUP_PRIORITY_MEDIUM as u8,
    High = PANTHOR_GROUP_PRIORITY_HIGH as u8,
    RealTime = PANTHOR_GROUP_PRIORITY_REALTIME as u8,
}

impl Priority {
    /// Returns the priority of that name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "low" => Some(Self::Low),
            "medium" => Some(Self::Medium),
            "high" => Some(Self::High),
            "real-time" => Some(Self::RealTime),
            _ => None,
        }
    }
}

/// Returns an address of this process for a field of 64 bits.
pub(super) fn address<T: ?Sized>(value: *const T) -> u64 {
    value.cast::<u8>().expose_provenance() as u64
}

/// Returns a description of an array, as `DRM_PANTHOR_OBJ_ARRAY()` does. The kernel reads the array by its address.
pub(super) fn array<T>(objects: &[T]) -> drm_panthor_obj_array {
    // There are a few of each, and all are small.
    let (stride, count) = (size_of::<T>() as u32, objects.len() as u32);
    drm_panthor_obj_array { stride, count, array: address(ptr::from_ref(objects)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_has_stride_count_and_address() {
        let syncs = [drm_panthor_sync_op::default(); 3];
        let array = array(&syncs);
        assert_eq!((array.stride, array.count), (16, 3));
        assert_eq!(array.array, syncs.as_ptr().addr() as u64);
    }

    /// A structure without padding has the size that its number contains.
    #[test]
    fn numbers_have_the_sizes_of_the_structures() {
        fn check<T: Request>() {
            assert_eq!(T::OPCODE as usize >> 16 & 0x3fff, size_of::<T>());
        }
        check::<drm_gem_close>();
        check::<drm_syncobj_handle>();
        check::<drm_panthor_bo_create>();
        check::<panthor_protheap_query>();
        check::<panthor_protheap_set_firmware>();
        for (opcode, bytes) in [
            (OPCODE_DRM_IOCTL_PANTHOR_GROUP_CREATE, size_of::<drm_panthor_group_create>()),
            (
                OPCODE_PANTHOR_PROTHEAP_IOCTL_GROUP_CREATE,
                size_of::<panthor_protheap_group_create>(),
            ),
        ] {
            assert_eq!(opcode as usize >> 16 & 0x3fff, bytes);
        }
    }
}

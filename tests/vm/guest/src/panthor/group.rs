// SPDX-License-Identifier: MIT OR Apache-2.0
//! Command stream groups, and the fences of their jobs.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::ptr;
use std::time::Duration;

use crate::now_us;

use super::device::{self, Device, Vm};
use super::supply::{Descriptor, Suspend};
use super::uapi::{
    DRM_PANTHOR_SYNC_OP_SIGNAL, DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE,
    OPCODE_DRM_IOCTL_PANTHOR_GROUP_CREATE, OPCODE_DRM_IOCTL_PANTHOR_GROUP_SUBMIT,
    OPCODE_DRM_IOCTL_SYNCOBJ_WAIT, OPCODE_PANTHOR_PROTHEAP_IOCTL_GROUP_CREATE,
    OPCODE_SYNC_IOC_FILE_INFO, Priority, address, array, drm_panthor_group_create,
    drm_panthor_group_destroy, drm_panthor_group_get_state, drm_panthor_group_submit,
    drm_panthor_queue_create, drm_panthor_queue_submit, drm_panthor_sync_op, drm_syncobj_create,
    drm_syncobj_destroy, drm_syncobj_handle, drm_syncobj_wait, panthor_protheap_group_create,
    sync_file_info,
};

/// Number of queues of a group.
pub(super) const QUEUES: u32 = 2;
/// Size of the ring buffer of each queue.
const RING_BYTES: u32 = 65536;

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    device: Device,
    handle: u32,
}

impl Group {
    /// Creates a group in `vm` that may use all of the GPU.
    pub(super) fn create(vm: &Vm, suspend: Suspend<'_>, priority: Priority) -> io::Result<Self> {
        let (flags, suspend) = match suspend {
            Suspend::None => return Self::create_ordinary(vm, priority, 0),
            Suspend::Binding => (0, Descriptor::of(-1)),
            Suspend::Own(supply) => {
                let size = vm.device().protected_memory()?.suspend_size;
                (supply.flags, supply.descriptor(size)?)
            }
        };
        Self::request(vm, priority, 0, |base| {
            let mut request =
                panthor_protheap_group_create { base, suspend_fd: suspend.number, flags };
            let opcode = OPCODE_PANTHOR_PROTHEAP_IOCTL_GROUP_CREATE;
            // SAFETY: the kernel reads the array of queues, which `request` borrows.
            unsafe { vm.device().call_with(opcode, &mut request) }?;
            Ok(request.base.group_handle)
        })
    }

    /// Creates an ordinary group with `pad`, which must be zero.
    pub(super) fn create_ordinary(vm: &Vm, priority: Priority, pad: u32) -> io::Result<Self> {
        Self::request(vm, priority, pad, |mut base| {
            // SAFETY: the kernel reads the array of queues, which `request` borrows.
            unsafe { vm.device().call_with(OPCODE_DRM_IOCTL_PANTHOR_GROUP_CREATE, &mut base) }?;
            Ok(base.group_handle)
        })
    }

    /// Creates a group by an ioctl, which returns the handle.
    fn request(
        vm: &Vm,
        priority: Priority,
        pad: u32,
        create: impl FnOnce(drm_panthor_group_create) -> io::Result<u32>,
    ) -> io::Result<Self> {
        let gpu = vm.device().gpu()?;
        let queue = drm_panthor_queue_create { priority: 1, pad: [0; 3], ringbuf_size: RING_BYTES };
        let queues = [queue; QUEUES as usize];
        let cores = |mask: u64| u8::try_from(mask.count_ones()).unwrap_or(u8::MAX);
        let handle = create(drm_panthor_group_create {
            queues: array(&queues),
            max_compute_cores: cores(gpu.shader_present),
            max_fragment_cores: cores(gpu.shader_present),
            max_tiler_cores: cores(gpu.tiler_present),
            priority: priority as u8,
            pad,
            compute_core_mask: gpu.shader_present,
            fragment_core_mask: gpu.shader_present,
            tiler_core_mask: gpu.tiler_present,
            vm_id: vm.id(),
            group_handle: 0,
        })?;
        Ok(Self { device: vm.device().clone(), handle })
    }

    /// Submits the stream at that address to one of its queues.
    pub(super) fn submit(&self, queue: u32, address: u64, bytes: u32) -> io::Result<Fence> {
        let fence = Fence::create(&self.device)?;
        let flags = DRM_PANTHOR_SYNC_OP_SIGNAL.cast_unsigned();
        let syncs = [drm_panthor_sync_op { flags, handle: fence.syncobj, timeline_value: 0 }];
        let submits = [drm_panthor_queue_submit {
            queue_index: queue,
            stream_size: bytes,
            stream_addr: address,
            syncs: array(&syncs),
            ..Default::default()
        }];
        let mut submit = drm_panthor_group_submit {
            group_handle: self.handle,
            pad: 0,
            queue_submits: array(&submits),
        };
        // SAFETY: the kernel reads `submits` and `syncs`.
        unsafe { self.device.call_with(OPCODE_DRM_IOCTL_PANTHOR_GROUP_SUBMIT, &mut submit) }?;
        Ok(fence)
    }

    /// Returns the state of the group: `fine`, or the flags `DRM_PANTHOR_GROUP_STATE_*`.
    pub(super) fn state(&self) -> io::Result<String> {
        let mut request =
            drm_panthor_group_get_state { group_handle: self.handle, ..Default::default() };
        self.device.call(&mut request)?;
        Ok(state_words(request.state))
    }

    /// Destroys the group; jobs that are still running end with an error.
    pub(super) fn destroy(self) -> io::Result<()> {
        self.device.call(&mut drm_panthor_group_destroy { group_handle: self.handle, pad: 0 })
    }
}

fn state_words(state: u32) -> String {
    let names = ["timedout", "fatal-fault", "innocent"];
    let set: Vec<_> = (0..).zip(names).filter(|(bit, _)| state & 1 << bit != 0).collect();
    match set.as_slice() {
        [] if state == 0 => "fine".to_owned(),
        [] => format!("{state:#x}"),
        set => set.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(" "),
    }
}

/// Fence that is signalled at the end of a job.
#[derive(Debug)]
pub(super) struct Fence {
    device: Device,
    syncobj: u32,
}

impl Fence {
    fn create(device: &Device) -> io::Result<Self> {
        let mut request = drm_syncobj_create::default();
        device.call(&mut request)?;
        Ok(Self { device: device.clone(), syncobj: request.handle })
    }

    /// Waits for the end of the job, at most that long (else ETIME), and returns the error of the job.
    pub(super) fn wait(&self, limit: Duration) -> io::Result<()> {
        let handles = [self.syncobj];
        let end = u128::from(now_us()) * 1000 + limit.as_nanos();
        let mut wait = drm_syncobj_wait {
            handles: address(ptr::from_ref(&handles)),
            timeout_nsec: i64::try_from(end).unwrap_or(i64::MAX),
            count_handles: 1,
            ..Default::default()
        };
        // SAFETY: the kernel reads the one handle.
        unsafe { self.device.call_with(OPCODE_DRM_IOCTL_SYNCOBJ_WAIT, &mut wait) }?;
        self.result()
    }

    /// Returns the result of a job that has ended: a sync file has it, a syncobj does not.
    fn result(&self) -> io::Result<()> {
        let mut export = drm_syncobj_handle {
            handle: self.syncobj,
            flags: DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE,
            fd: -1,
            ..Default::default()
        };
        self.device.call(&mut export)?;
        // SAFETY: the kernel has just created this descriptor, and nothing else uses it.
        let file = unsafe { OwnedFd::from_raw_fd(export.fd) };
        let mut info = sync_file_info::default();
        // SAFETY: without room for fences, the kernel writes only to the structure.
        unsafe { device::call_with(&file, OPCODE_SYNC_IOC_FILE_INFO, &mut info) }?;
        match info.status {
            1 => Ok(()),
            status => Err(io::Error::from_raw_os_error(status.saturating_neg())),
        }
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // The driver can have been unbound, and its fences removed.
        let _ = self.device.call(&mut drm_syncobj_destroy { handle: self.syncobj, pad: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_group_is_told_in_words() {
        assert_eq!(state_words(0), "fine");
        assert_eq!(state_words(0b101), "timedout innocent");
        assert_eq!(state_words(0b010), "fatal-fault");
        assert_eq!(state_words(0b1000), "0x8");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Command stream groups, and the fences of their jobs.

use std::array;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::time::Duration;

use crate::now_us;

use super::device::{self, Device, Vm};
use super::uapi::{
    Address, EXPORT_SYNC_FILE, GroupCreate, GroupDestroy, GroupGetState, GroupSubmit, ObjArray,
    Priority, ProtectedGroupCreate, QueueCreate, QueueSubmit, SIGNAL_SYNCOBJ, SyncFileInfo, SyncOp,
    SyncobjCreate, SyncobjDestroy, SyncobjHandle, SyncobjWait,
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
    pub(super) fn create(vm: &Vm, protected: bool, priority: Priority) -> io::Result<Self> {
        Self::request(vm, priority, |mut request| {
            if protected {
                let mut request = ProtectedGroupCreate(request);
                vm.device().call(&mut request)?;
                return Ok(request.0.group_handle);
            }
            vm.device().call(&mut request)?;
            Ok(request.group_handle)
        })
    }

    /// Creates an ordinary group with `pad`, which must be zero.
    pub(super) fn create_padded(vm: &Vm, pad: u32) -> io::Result<Self> {
        Self::request(vm, Priority::Medium, |request| {
            let mut request = GroupCreate { pad, ..request };
            vm.device().call(&mut request)?;
            Ok(request.group_handle)
        })
    }

    fn request(
        vm: &Vm,
        priority: Priority,
        call: impl FnOnce(GroupCreate<'_>) -> io::Result<u32>,
    ) -> io::Result<Self> {
        let gpu = vm.device().gpu()?;
        let queues: [_; QUEUES as usize] =
            array::from_fn(|_| QueueCreate { priority: 1, pad: [0; 3], ringbuf_size: RING_BYTES });
        let cores = |mask: u64| u8::try_from(mask.count_ones()).unwrap_or(u8::MAX);
        let handle = call(GroupCreate {
            queues: ObjArray::of(&queues),
            max_compute_cores: cores(gpu.shader_present),
            max_fragment_cores: cores(gpu.shader_present),
            max_tiler_cores: cores(gpu.tiler_present),
            priority: priority as u8,
            pad: 0,
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
        let syncs = [SyncOp { flags: SIGNAL_SYNCOBJ, handle: fence.syncobj, timeline_value: 0 }];
        let submits = [QueueSubmit {
            queue_index: queue,
            stream_size: bytes,
            stream_addr: address,
            latest_flush: 0,
            pad: 0,
            syncs: ObjArray::of(&syncs),
        }];
        let queue_submits = ObjArray::of(&submits);
        self.device.call(&mut GroupSubmit { group_handle: self.handle, pad: 0, queue_submits })?;
        Ok(fence)
    }

    /// Returns the state of the group: `fine`, or the flags `DRM_PANTHOR_GROUP_STATE_*`.
    pub(super) fn state(&self) -> io::Result<String> {
        let mut request =
            GroupGetState { group_handle: self.handle, state: 0, fatal_queues: 0, pad: 0 };
        self.device.call(&mut request)?;
        Ok(state_words(request.state))
    }

    /// Destroys the group; jobs that are still running end with an error.
    pub(super) fn destroy(self) -> io::Result<()> {
        self.device.call(&mut GroupDestroy { group_handle: self.handle, pad: 0 })
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
        let mut request = SyncobjCreate { handle: 0, flags: 0 };
        device.call(&mut request)?;
        Ok(Self { device: device.clone(), syncobj: request.handle })
    }

    /// Waits for the end of the job, at most that long (else ETIME), and returns the error of the job.
    pub(super) fn wait(&self, limit: Duration) -> io::Result<()> {
        let handles = [self.syncobj];
        let end = u128::from(now_us()) * 1000 + limit.as_nanos();
        self.device.call(&mut SyncobjWait {
            handles: Address::of(&handles),
            timeout_nsec: i64::try_from(end).unwrap_or(i64::MAX),
            count_handles: 1,
            flags: 0,
            first_signaled: 0,
            pad: 0,
            deadline_nsec: 0,
        })?;
        self.result()
    }

    /// Returns the result of a job that has ended: a sync file has it, a syncobj does not.
    fn result(&self) -> io::Result<()> {
        let mut export = SyncobjHandle {
            handle: self.syncobj,
            flags: EXPORT_SYNC_FILE,
            fd: -1,
            pad: 0,
            point: 0,
        };
        self.device.call(&mut export)?;
        // SAFETY: the kernel has just created this descriptor, and nothing else uses it.
        let file = unsafe { OwnedFd::from_raw_fd(export.fd) };
        let mut info = SyncFileInfo {
            name: [0; 32],
            status: 0,
            flags: 0,
            num_fences: 0,
            pad: 0,
            sync_fence_info: Address::NULL,
        };
        device::call(&file, &mut info)?;
        match info.status {
            1 => Ok(()),
            status => Err(io::Error::from_raw_os_error(status.saturating_neg())),
        }
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // The driver can have been unbound, and its fences removed.
        let _ = self.device.call(&mut SyncobjDestroy { handle: self.syncobj, pad: 0 });
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

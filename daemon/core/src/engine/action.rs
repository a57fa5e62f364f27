// SPDX-License-Identifier: MIT OR Apache-2.0

//! Actions that the engine requests.

use protheap_policy::name::{DeviceName, HeapName};

use crate::facts::Source;
use crate::request::Request;
use crate::state::Reason;
use crate::timeline::Monotonic;

/// An action for the caller to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a binding, and hold the GPU's probe for this many milliseconds; 0 starts no hold.
    Open(DeviceName, u32),
    /// Allocate the request's firmware buffer, then suspend buffers until the requested number is
    /// reached or the heap has no more memory. Classify their protection, and keep them for
    /// [`Action::HandOver`].
    Allocate(DeviceName, Request),
    /// Hand over the buffers of [`Action::Allocate`], and commit. With [`Source::Ioctl`], set the
    /// firmware buffer in the GPU driver, which resets the GPU.
    HandOver(DeviceName, Request),
    /// Have the kernel allocate the buffers, and commit.
    Commit(DeviceName, Request),
    /// Allocate buffers as in [`Action::Allocate`], classify them, and free them: the GPU driver
    /// allocates its own.
    Classify(DeviceName, Request),
    /// Set the GPU driver's parameter to the heap.
    NameHeap(DeviceName, Request),
    /// Release all buffers, and have the kernel report the next protected group. Ends the hold.
    /// Fails while a protected group has a suspend buffer.
    BindOnDemand(DeviceName),
    /// End the hold without a binding, for this reason.
    EndHold(DeviceName, Reason),
    /// Withdraw the binding: it has no user, or its TEE goes away. A buffer that was set by ioctl is
    /// taken back, which resets the GPU.
    Withdraw(DeviceName),
    /// Read the kernel's binding. Only the keeper requests this.
    Read(DeviceName),
    /// Hand over as many suspend buffers from this heap as the kernel requests. Only the keeper
    /// requests this.
    Supply(DeviceName, HeapName),
    /// Log this error. Only the keeper requests this.
    Log(DeviceName, String),
    /// Send [`Event::Woken`](super::Event::Woken) at this time at the latest.
    WakeAt(Monotonic),
}

impl Action {
    /// Returns the action that obtains a verdict on the heap of `request`.
    pub(super) fn for_verdict(device: DeviceName, request: Request) -> Self {
        match request.source {
            Source::Handed | Source::Ioctl => Self::Allocate(device, request),
            Source::Kernel => Self::Commit(device, request),
            Source::Driver => Self::Classify(device, request),
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Events that the engine reacts to.

use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::policy::Policy;

use crate::facts::{Facts, Gpu, HeapModule, KernelBinding, Provider, Tee, Verdict};
use crate::timeline::Monotonic;

/// An event that the engine reacts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The facts were collected, and work can begin.
    Started,
    /// Result of [`Action::Open`](super::Action::Open).
    Opened(DeviceName, Opened),
    /// Result of [`Action::Allocate`](super::Action::Allocate) and
    /// [`Action::Classify`](super::Action::Classify). Also that of
    /// [`Action::Commit`](super::Action::Commit) if the kernel could not allocate the buffers, or
    /// the CPU can map them.
    Allocated(DeviceName, HeapName, Verdict),
    /// Result of [`Action::HandOver`](super::Action::HandOver),
    /// [`Action::NameHeap`](super::Action::NameHeap) and
    /// [`Action::Commit`](super::Action::Commit): the new binding, or the kernel's error.
    Bound(DeviceName, Result<Bound, String>),
    /// Result of [`Action::BindOnDemand`](super::Action::BindOnDemand).
    OnDemand(DeviceName, Result<(), String>),
    /// Result of [`Action::Read`](super::Action::Read): the kernel's binding, if one is committed.
    Read(DeviceName, Result<Option<KernelBinding>, String>),
    /// Result of [`Action::Supply`](super::Action::Supply).
    Supplied(DeviceName, Supplied),
    /// Result of [`Action::Withdraw`](super::Action::Withdraw) of a buffer that was set by ioctl:
    /// the error if the GPU driver keeps the buffer because protected groups exist. Only the keeper
    /// reacts to it.
    Withdrawn(DeviceName, Result<(), String>),
    /// Facts changed. One event carries all changes that are known by now, so that the engine never
    /// acts on a part of them.
    Changed(Vec<Change>),
    /// The time of an [`Action::WakeAt`](super::Action::WakeAt) has been reached.
    Woken,
    /// A client requested a new selection; see [`Keeper::may_rebind`](super::Keeper::may_rebind).
    Rebind(DeviceName),
}

impl Event {
    /// Returns the GPU of an event that is the result of an action.
    pub(super) fn of_action(&self) -> Option<&DeviceName> {
        match self {
            Self::Opened(device, _)
            | Self::Allocated(device, ..)
            | Self::Bound(device, _)
            | Self::OnDemand(device, _)
            | Self::Read(device, _)
            | Self::Supplied(device, _)
            | Self::Withdrawn(device, _) => Some(device),
            Self::Started | Self::Changed(_) | Self::Woken | Self::Rebind(_) => None,
        }
    }
}

/// Result of opening a binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The kernel holds the GPU's probe until this time. This run or an earlier one started the
    /// hold.
    Held(Monotonic),
    /// The binding is open and the GPU's probe is not held.
    NotHeld,
    /// The GPU driver has probed, and is notified if a binding is committed later, or takes a buffer
    /// by ioctl.
    AlreadyProbed,
    /// The GPU driver has probed without looking up a binding.
    NoConsumer,
    /// The kernel already reports protected groups of this GPU, and does not hold its probe.
    OnDemand,
    /// An earlier run bound this heap. The flag says whether the driver has taken buffers.
    Adopted(HeapName, bool),
    /// The driver still uses a withdrawn binding, or has protected groups with a buffer of an
    /// unknown heap. The text is the kernel's.
    Busy(String),
    /// The kernel refused to open it. The text is the reason.
    Refused(String),
}

/// A new binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Whether the GPU driver has already taken buffers.
    pub in_use: bool,
    /// Classification of buffers that the kernel allocated.
    pub judged: Option<Verdict>,
}

/// Result of handing over suspend buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supplied {
    /// The kernel accepted all buffers.
    All,
    /// The heap had too little memory. The text is the reason.
    NoMemory(String),
    /// The kernel refused a buffer. The text is the reason.
    Refused(String),
}

/// A change of a fact or of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A heap was registered.
    Heap(HeapName),
    /// The set of registered TEEs changed to this one.
    Tees(Vec<Tee>),
    /// A provider was added or removed, or its driver was bound or unbound.
    Provider(DeviceName, Option<Provider>),
    /// The state of a module that the policy names changed.
    Module(String, HeapModule),
    /// A GPU was added or removed, or its driver was bound or unbound.
    Gpu(DeviceName, Option<Gpu>),
    /// The kernel signalled a change of a GPU's binding, which has to be read again.
    Binding(DeviceName),
    /// A protected group or a client waits for a GPU's binding.
    Demand(DeviceName),
    /// Events were lost. These facts replace all earlier ones.
    All(Box<Facts>),
    /// The policies were reloaded. This one applies from now on.
    Policy(Box<Policy>),
}

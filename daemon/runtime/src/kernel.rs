// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel as the executor uses it: protheap.ko, and the heaps that buffers come from.
//!
//! [`Module`] is the real one. The executor's tests have another, which fails where a test says.

use std::fmt::Debug;

use protheap_board::heaps::{self, AllocateError};
use protheap_board::module::{self, BindingState, Commit, Error, Hold, Kind, Module, Setup};
use protheap_board::render_node::{self, RenderNode};
use protheap_board::root::Root;
use protheap_core::facts::{KernelBinding, Protection, Source};
use protheap_policy::name::{DeviceName, HeapName};

/// protheap.ko and the heaps. The methods are those of [`Module`] and [`heaps::Heap`].
#[allow(missing_docs, clippy::missing_errors_doc, reason = "see the types that implement it")]
pub trait Kernel: Debug + Sized {
    /// A binding that exists in the kernel.
    type Binding: Binding;
    /// A heap, open for allocating.
    type Heap;
    /// A buffer.
    type Buffer: Debug;
    /// A GPU driver that may take a buffer by ioctl.
    type Node: Node<Buffer = Self::Buffer>;

    fn open(root: &Root) -> Result<Self, Error>;
    fn create(&self, device: &DeviceName) -> Result<Self::Binding, Error>;
    fn binding(&self, device: &DeviceName) -> Result<Option<Self::Binding>, Error>;
    fn remove(&self, device: &DeviceName) -> Result<(), Error>;
    fn hand_over(
        &self,
        device: &DeviceName,
        kind: Kind,
        buffer: &Self::Buffer,
    ) -> Result<(), Error>;

    fn heap(root: &Root, name: &HeapName) -> Result<Self::Heap, AllocateError>;
    fn allocate(heap: &Self::Heap, bytes: u64) -> Result<Self::Buffer, AllocateError>;
    fn judge(buffer: &Self::Buffer) -> (Protection, String);

    fn node(root: &Root, device: &DeviceName) -> Result<Option<Self::Node>, render_node::Error>;
}

/// A GPU driver that may take a buffer by ioctl. The methods are those of [`RenderNode`].
#[allow(missing_docs, clippy::missing_errors_doc, reason = "see the type that implements it")]
pub trait Node {
    /// A buffer.
    type Buffer;

    fn query(&self) -> Result<render_node::Query, render_node::Error>;
    fn set_firmware(&self, buffer: &Self::Buffer) -> Result<(), render_node::Error>;
    fn take_firmware_back(&self) -> Result<(), render_node::Error>;
}

/// A binding that exists in the kernel. The methods are those of [`module::Binding`].
#[allow(missing_docs, clippy::missing_errors_doc, reason = "see the type that implements it")]
pub trait Binding {
    fn is_adopted(&self) -> bool;
    fn state(&self) -> Result<BindingState, Error>;
    fn reason(&self) -> Result<String, Error>;
    fn heap(&self) -> Result<String, Error>;
    fn bound(&self) -> Result<Option<KernelBinding>, Error>;
    fn judge(&self, allow_unprotected: bool) -> Result<(Protection, String), Error>;
    fn suspend_buffers(&self) -> Result<u32, Error>;
    fn suspend_bytes(&self) -> Result<u64, Error>;
    fn hold_left(&self) -> Result<u32, Error>;
    fn renew(&self, source: Source) -> Result<(), Error>;
    fn start_hold(&self, ms: u32) -> Result<Hold, Error>;
    fn set_up(&self, setup: &Setup<'_>) -> Result<(), Error>;
    fn set_origin(&self, origin: &str) -> Result<(), Error>;
    fn commit(&self, commit: Commit) -> Result<(), Error>;
}

impl Kernel for Module {
    type Binding = module::Binding;
    type Heap = heaps::Heap;
    type Buffer = heaps::Buffer;
    type Node = RenderNode;

    fn open(root: &Root) -> Result<Self, Error> {
        Self::open(root)
    }

    fn create(&self, device: &DeviceName) -> Result<module::Binding, Error> {
        self.create(device)
    }

    fn binding(&self, device: &DeviceName) -> Result<Option<module::Binding>, Error> {
        self.binding(device)
    }

    fn remove(&self, device: &DeviceName) -> Result<(), Error> {
        self.remove(device)
    }

    fn hand_over(
        &self,
        device: &DeviceName,
        kind: Kind,
        buffer: &heaps::Buffer,
    ) -> Result<(), Error> {
        self.hand_over(device, kind, buffer)
    }

    fn heap(root: &Root, name: &HeapName) -> Result<heaps::Heap, AllocateError> {
        heaps::Heap::open(root, name)
    }

    fn allocate(heap: &heaps::Heap, bytes: u64) -> Result<heaps::Buffer, AllocateError> {
        heap.allocate(bytes)
    }

    fn judge(buffer: &heaps::Buffer) -> (Protection, String) {
        buffer.judge()
    }

    fn node(root: &Root, device: &DeviceName) -> Result<Option<RenderNode>, render_node::Error> {
        RenderNode::open(root, device)
    }
}

impl Node for RenderNode {
    type Buffer = heaps::Buffer;

    fn query(&self) -> Result<render_node::Query, render_node::Error> {
        self.query()
    }

    fn set_firmware(&self, buffer: &heaps::Buffer) -> Result<(), render_node::Error> {
        self.set_firmware(buffer)
    }

    fn take_firmware_back(&self) -> Result<(), render_node::Error> {
        self.take_firmware_back()
    }
}

impl Binding for module::Binding {
    fn is_adopted(&self) -> bool {
        self.is_adopted()
    }

    fn state(&self) -> Result<BindingState, Error> {
        self.state()
    }

    fn reason(&self) -> Result<String, Error> {
        self.reason()
    }

    fn heap(&self) -> Result<String, Error> {
        self.heap()
    }

    fn bound(&self) -> Result<Option<KernelBinding>, Error> {
        self.bound()
    }

    fn judge(&self, allow_unprotected: bool) -> Result<(Protection, String), Error> {
        self.judge(allow_unprotected)
    }

    fn suspend_buffers(&self) -> Result<u32, Error> {
        self.suspend_buffers()
    }

    fn suspend_bytes(&self) -> Result<u64, Error> {
        self.suspend_bytes()
    }

    fn hold_left(&self) -> Result<u32, Error> {
        self.hold_left()
    }

    fn renew(&self, source: Source) -> Result<(), Error> {
        self.renew(source)
    }

    fn start_hold(&self, ms: u32) -> Result<Hold, Error> {
        self.start_hold(ms)
    }

    fn set_up(&self, setup: &Setup<'_>) -> Result<(), Error> {
        self.set_up(setup)
    }

    fn set_origin(&self, origin: &str) -> Result<(), Error> {
        self.set_origin(origin)
    }

    fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.commit(commit)
    }
}

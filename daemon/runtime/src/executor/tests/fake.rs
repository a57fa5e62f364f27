// SPDX-License-Identifier: MIT OR Apache-2.0

//! A kernel for tests: records calls, and fails where the test says.

use std::cell::RefCell;
use std::collections::BTreeMap;

use protheap_board::heaps::AllocateError;
use protheap_board::module::{BindingState, Commit, Error, Hold, Kind, Setup};
use protheap_board::render_node;
use protheap_board::root::Root;
use protheap_board::sysfs::AttributeError;
use protheap_core::facts::{KernelBinding, Protection, Section, Source};
use protheap_policy::name::{DeviceName, HeapName};
use rustix::io::Errno;

use crate::kernel::{Binding, Kernel, Node};

/// State of the kernel of one test.
#[derive(Debug)]
pub(super) struct Fake {
    /// Changes so far, in order.
    pub(super) calls: Vec<String>,
    /// State of the GPU's binding, if there is one.
    pub(super) state: Option<BindingState>,
    /// Heap of the binding.
    pub(super) heap: String,
    /// Number of suspend buffers that the kernel requests.
    pub(super) wanted: u32,
    /// Result of creating a binding.
    pub(super) create: Result<(), Errno>,
    /// Result of handing over a buffer.
    pub(super) hand_over: Result<(), Errno>,
    /// Errors of a commit, by heap.
    pub(super) commit: BTreeMap<&'static str, Errno>,
    /// Number of buffers that a heap has memory for; unlimited if it is not named.
    pub(super) memory: BTreeMap<&'static str, u32>,
    /// Whether the CPU can map the buffers.
    pub(super) is_mappable: bool,
    /// Number of buffers that exist in the program.
    pub(super) alive: u32,
    /// GPU driver that takes a buffer by ioctl, if that is the delivery.
    pub(super) node: Option<FakeNode>,
}

/// A GPU driver that takes a buffer by ioctl.
#[derive(Debug, Clone, Copy)]
pub(super) struct FakeNode {
    pub(super) has_buffer: bool,
    /// Results of setting a buffer and of taking it back.
    pub(super) set: Result<(), Errno>,
    pub(super) take_back: Result<(), Errno>,
}

impl FakeNode {
    pub(super) const FREE: Self = Self { has_buffer: false, set: Ok(()), take_back: Ok(()) };
    pub(super) const SECTION: Section = Section { firmware_bytes: 131_072, suspend_bytes: 40_960 };
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            calls: Vec::new(),
            state: None,
            heap: String::new(),
            wanted: 0,
            create: Ok(()),
            hand_over: Ok(()),
            commit: BTreeMap::new(),
            memory: BTreeMap::new(),
            is_mappable: false,
            alive: 0,
            node: None,
        }
    }
}

thread_local! {
    static FAKE: RefCell<Fake> = RefCell::default();
}

/// Accesses the kernel of this test.
pub(super) fn fake<T>(access: impl FnOnce(&mut Fake) -> T) -> T {
    FAKE.with_borrow_mut(access)
}

fn called(call: impl Into<String>) {
    fake(|fake| fake.calls.push(call.into()));
}

#[derive(Debug)]
pub(super) struct FakeKernel;

#[derive(Debug)]
pub(super) struct FakeBinding {
    is_adopted: bool,
}

#[derive(Debug)]
pub(super) struct FakeBuffer {
    bytes: u64,
}

impl Drop for FakeBuffer {
    fn drop(&mut self) {
        fake(|fake| fake.alive -= 1);
    }
}

impl Kernel for FakeKernel {
    type Binding = FakeBinding;
    type Heap = HeapName;
    type Buffer = FakeBuffer;
    type Node = FakeNode;

    fn open(_: &Root) -> Result<Self, Error> {
        Ok(Self)
    }

    fn create(&self, device: &DeviceName) -> Result<FakeBinding, Error> {
        called("create");
        let path = device.to_string();
        fake(|fake| fake.create).map_err(|errno| Error::Create { path, errno })?;
        let before = fake(|fake| *fake.state.get_or_insert(BindingState::Open));
        Ok(FakeBinding { is_adopted: before != BindingState::Open })
    }

    fn binding(&self, _: &DeviceName) -> Result<Option<FakeBinding>, Error> {
        Ok(fake(|fake| fake.state).map(|_| FakeBinding { is_adopted: true }))
    }

    fn remove(&self, _: &DeviceName) -> Result<(), Error> {
        called("remove");
        fake(|fake| fake.state = None);
        Ok(())
    }

    fn hand_over(&self, device: &DeviceName, kind: Kind, _: &FakeBuffer) -> Result<(), Error> {
        called(format!("hand over {kind:?}"));
        if kind == Kind::Suspend {
            fake(|fake| fake.wanted = fake.wanted.saturating_sub(1));
        }
        let device = device.clone();
        fake(|fake| fake.hand_over).map_err(|errno| Error::HandOver { device, kind, errno })
    }

    fn heap(_: &Root, name: &HeapName) -> Result<HeapName, AllocateError> {
        Ok(name.clone())
    }

    fn allocate(heap: &HeapName, bytes: u64) -> Result<FakeBuffer, AllocateError> {
        called(format!("allocate {heap} {bytes}"));
        let memory = fake(|fake| fake.memory.get(heap.as_str()).copied());
        match memory {
            Some(0) => {
                let (node, errno) = (heap.to_string(), Errno::NOMEM);
                return Err(AllocateError::TooSmall { node, bytes, errno });
            }
            Some(left) => fake(|fake| {
                fake.memory.values_mut().for_each(|memory| *memory = left - 1);
            }),
            None => {}
        }
        fake(|fake| fake.alive += 1);
        Ok(FakeBuffer { bytes })
    }

    fn judge(buffer: &FakeBuffer) -> (Protection, String) {
        assert!(buffer.bytes > 0);
        let is_mappable = fake(|fake| fake.is_mappable);
        (if is_mappable { Protection::None } else { Protection::Unmappable }, "acme".into())
    }

    fn node(_: &Root, _: &DeviceName) -> Result<Option<FakeNode>, render_node::Error> {
        Ok(fake(|fake| fake.node))
    }
}

impl Node for FakeNode {
    type Buffer = FakeBuffer;

    fn query(&self) -> Result<render_node::Query, render_node::Error> {
        Ok(render_node::Query { section: Some(Self::SECTION), has_buffer: self.has_buffer })
    }

    fn set_firmware(&self, buffer: &FakeBuffer) -> Result<(), render_node::Error> {
        called(format!("set {}", buffer.bytes));
        let path = String::new();
        self.set.map_err(|errno| render_node::Error::Set { path, errno })?;
        fake(|fake| fake.node = Some(Self { has_buffer: true, ..*self }));
        Ok(())
    }

    fn take_firmware_back(&self) -> Result<(), render_node::Error> {
        called("take back");
        let path = String::new();
        self.take_back.map_err(|errno| render_node::Error::TakeBack { path, errno })?;
        fake(|fake| fake.node = Some(Self { has_buffer: false, ..*self }));
        Ok(())
    }
}

impl FakeBinding {
    fn state() -> BindingState {
        fake(|fake| fake.state).unwrap_or(BindingState::Open)
    }
}

impl Binding for FakeBinding {
    fn is_adopted(&self) -> bool {
        self.is_adopted
    }

    fn state(&self) -> Result<BindingState, Error> {
        Ok(Self::state())
    }

    fn reason(&self) -> Result<String, Error> {
        Ok(String::new())
    }

    fn heap(&self) -> Result<String, Error> {
        Ok(fake(|fake| fake.heap.clone()))
    }

    fn bound(&self) -> Result<Option<KernelBinding>, Error> {
        let in_use = match Self::state() {
            BindingState::Bound => false,
            BindingState::InUse => true,
            _ => return Ok(None),
        };
        let (heap, suspend_wanted) = fake(|fake| (fake.heap.clone(), fake.wanted));
        Ok(Some(KernelBinding {
            heap: HeapName::new(&heap).unwrap(),
            source: Source::Handed,
            exporter: "acme".into(),
            protection: Protection::Unmappable,
            in_use,
            firmware_bytes: 262_144,
            suspend_bytes: 65_536,
            suspend_count: 2,
            suspend_buffers: 0,
            suspend_in_use: 0,
            suspend_wanted,
        }))
    }

    fn judge(&self, _: bool) -> Result<(Protection, String), Error> {
        Ok((Protection::Unmappable, "acme".into()))
    }

    fn suspend_buffers(&self) -> Result<u32, Error> {
        Ok(2)
    }

    fn suspend_bytes(&self) -> Result<u64, Error> {
        Ok(65_536)
    }

    fn hold_left(&self) -> Result<u32, Error> {
        Ok(1_000)
    }

    fn renew(&self, source: Source) -> Result<(), Error> {
        called(format!("renew {source:?}"));
        Ok(())
    }

    fn start_hold(&self, ms: u32) -> Result<Hold, Error> {
        called(format!("start_hold {ms}"));
        fake(|fake| fake.state = Some(BindingState::Held));
        Ok(Hold::Started)
    }

    fn set_up(&self, setup: &Setup<'_>) -> Result<(), Error> {
        called(format!("set_up {}", setup.heap));
        fake(|fake| fake.heap = setup.heap.to_string());
        Ok(())
    }

    fn set_origin(&self, origin: &str) -> Result<(), Error> {
        called(format!("set_origin {origin}"));
        Ok(())
    }

    fn commit(&self, commit: Commit) -> Result<(), Error> {
        called(format!("commit {commit:?}"));
        let state = match commit {
            Commit::Bind => BindingState::Bound,
            Commit::None => BindingState::None,
            Commit::Demand => BindingState::OnDemand,
        };
        let error = fake(|fake| fake.commit.get(fake.heap.as_str()).copied());
        if let Some(errno) = error.filter(|_| commit == Commit::Bind) {
            let (path, value) = ("/commit".to_owned(), "bind".to_owned());
            return Err(AttributeError::Refused { path, value, errno }.into());
        }
        fake(|fake| fake.state = Some(state));
        Ok(())
    }
}

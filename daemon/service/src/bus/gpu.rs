// SPDX-License-Identifier: MIT OR Apache-2.0

//! `org.protheap1.Gpu`.

use protheap_board::module::counter;
use protheap_client::Error;
use protheap_core::engine::{NoDemand, NoRebind};
use protheap_core::facts::Delivery;
use protheap_core::state::Reason;
use protheap_core::state_file::GpuState;
use protheap_policy::name::DeviceName;
use zbus::message::Header;
use zbus::{Connection, interface};

use super::Property;
use super::failure::Failure;
use crate::authority::{Action, allow};
use crate::bindings::Bindings;
use crate::snapshot::Snapshot;

#[derive(Debug)]
pub(super) struct Gpu {
    bindings: Bindings,
    device: DeviceName,
}

impl Gpu {
    pub(super) fn new(bindings: Bindings, device: DeviceName) -> Self {
        Self { bindings, device }
    }

    /// Reads the GPU's state. GPU objects exist until the daemon exits, even if the GPU is removed.
    fn now<T: Default>(&self, read: impl FnOnce(&GpuState) -> T) -> T {
        self.bindings.now().gpu(&self.device).map(read).unwrap_or_default()
    }

    /// Reads a counter of suspend buffers.
    fn counter(&self, name: &str) -> u32 {
        counter(self.bindings.root(), &self.device, name).unwrap_or_default()
    }
}

/// Returns the properties whose changes are signalled.
pub(super) fn signalled(snapshot: &Snapshot, device: &DeviceName) -> Vec<Property> {
    let Some(gpu) = snapshot.gpu(device) else { return Vec::new() };
    vec![
        ("State", gpu.state.as_str().into()),
        ("Reason", reason(gpu).into()),
        ("Heap", heap(gpu).into()),
        ("Driver", driver(gpu).into()),
    ]
}

fn heap(gpu: &GpuState) -> String {
    gpu.heap.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn reason(gpu: &GpuState) -> &'static str {
    Reason::optional_str(gpu.reason)
}

fn driver(gpu: &GpuState) -> String {
    gpu.driver.clone().unwrap_or_default()
}

#[interface(name = "org.protheap1.Gpu")]
impl Gpu {
    #[zbus(property(emits_changed_signal = "const"))]
    fn device(&self) -> String {
        self.device.to_string()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn compatible(&self) -> Vec<String> {
        self.now(|gpu| gpu.compatible.clone())
    }

    #[zbus(property)]
    fn driver(&self) -> String {
        self.now(driver)
    }

    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.now(|gpu| gpu.state.as_str())
    }

    #[zbus(property)]
    fn reason(&self) -> &'static str {
        self.now(reason)
    }

    #[zbus(property)]
    fn heap(&self) -> String {
        self.now(heap)
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn policy(&self) -> String {
        self.now(|gpu| gpu.policy.as_ref().map(ToString::to_string).unwrap_or_default())
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn delivery(&self) -> &'static str {
        self.now(|gpu| gpu.delivery).unwrap_or(Delivery::None).as_str()
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn firmware_bytes(&self) -> u64 {
        self.now(|gpu| gpu.firmware_bytes.unwrap_or_default())
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn suspend_bytes(&self) -> u64 {
        self.now(|gpu| gpu.suspend_bytes.unwrap_or_default())
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn suspend_count(&self) -> u32 {
        self.now(|gpu| gpu.suspend_count.unwrap_or_default())
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn suspend_shortage(&self) -> String {
        self.now(|gpu| gpu.suspend_shortage.clone().unwrap_or_default())
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn suspend_free(&self) -> u32 {
        self.counter("suspend_free")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn suspend_in_use(&self) -> u32 {
        self.counter("suspend_in_use")
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn bound_timestamp_monotonic(&self) -> u64 {
        self.now(|gpu| gpu.bound_at().unwrap_or_default())
    }

    async fn rebind(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Failure> {
        allow(connection, &header, Action::Manage, None).await?;
        let device = &self.device;
        let done = self.bindings.rebind(device.clone()).await;
        let refused = match done.map_err(|error| Error::Failed(error.to_string()))? {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let error = match refused {
            NoRebind::NoGpu => Error::NoSuchGpu(format!("{device} is not on the platform bus")),
            NoRebind::InUse => {
                let driver = self.now(|gpu| gpu.driver.clone());
                let driver = driver.as_deref().unwrap_or("a driver");
                Error::InUse(format!("{driver} is bound to {device} and uses its binding"))
            }
            NoRebind::Busy => {
                Error::NotReady(format!("heap selection for {device} is in progress"))
            }
            NoRebind::Fixed => Error::NotSupported(
                "protheap.ko is not loaded, and without it a heap is bound only at boot".to_owned(),
            ),
        };
        Err(error.into())
    }

    async fn bind(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Failure> {
        allow(connection, &header, Action::OpenHeap, None).await?;
        let device = &self.device;
        let done = self.bindings.demand(device.clone()).await;
        let refused = match done.map_err(|error| Error::Failed(error.to_string()))? {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let error = match refused {
            NoDemand::NoGpu => Error::NoSuchGpu(format!("{device} is not on the platform bus")),
            NoDemand::AtBoot => Error::NotSupported(format!(
                "the policy does not bind {device} on demand, or protheap.ko is not loaded"
            )),
            NoDemand::Unbound(state, reason) => {
                let reason = reason.map(|reason| format!(", {reason}")).unwrap_or_default();
                Error::NotReady(format!("no heap was bound to {device}: {state}{reason}"))
            }
        };
        Err(error.into())
    }
}

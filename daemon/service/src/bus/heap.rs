// SPDX-License-Identifier: MIT OR Apache-2.0

//! `org.protheap1.Heap`.

use protheap_board::heaps;
use protheap_client::Error;
use protheap_core::engine::Machine as _;
use protheap_core::facts::Verdict;
use protheap_policy::name::HeapName;
use tracing::info;
use zbus::message::Header;
use zbus::{Connection, OwnedFd, interface};

use super::Property;
use super::failure::Failure;
use crate::authority::{Action, allow};
use crate::bindings::Bindings;
use crate::journal::id;
use crate::snapshot::Snapshot;

#[derive(Debug)]
pub(super) struct Heap {
    bindings: Bindings,
    name: HeapName,
}

impl Heap {
    pub(super) fn new(bindings: Bindings, name: HeapName) -> Self {
        Self { bindings, name }
    }

    fn judged(&self) -> Judged {
        judged(&self.bindings.now(), &self.name)
    }
}

/// Returns the path of the heap's character device.
pub(super) fn node(heap: &HeapName) -> String {
    format!("/dev/dma_heap/{heap}")
}

/// Properties of a heap that are known from its buffers.
pub(super) struct Judged {
    /// Empty if no buffer has been examined.
    pub(super) protection: &'static str,
    /// Empty if no buffer has been examined.
    pub(super) exporter: String,
    /// False if the heap refused the last allocation or its TEE was removed.
    pub(super) usable: bool,
}

/// Returns the properties of a heap that are known from the GPUs' buffers.
pub(super) fn judged(snapshot: &Snapshot, heap: &HeapName) -> Judged {
    let facts = snapshot.engine.facts();
    let usable = !facts.lacks_tee_of(heap);
    let mut judged = Judged { protection: "", exporter: String::new(), usable };
    for verdict in facts.gpus.values().filter_map(|gpu| gpu.verdicts.get(heap)) {
        match verdict {
            Verdict::Allocated { protection, exporter, .. } => {
                (judged.protection, judged.exporter) = (protection.as_str(), exporter.clone());
            }
            Verdict::Dead => judged.usable = false,
            Verdict::TooSmall(_) => {}
        }
    }
    for kernel in snapshot.engine.kernels().filter(|kernel| kernel.heap == *heap) {
        judged.protection = kernel.protection.as_str();
        judged.exporter.clone_from(&kernel.exporter);
    }
    judged
}

/// Returns the properties whose changes are signalled.
pub(super) fn signalled(snapshot: &Snapshot, heap: &HeapName) -> Vec<Property> {
    let Judged { protection, exporter, usable } = judged(snapshot, heap);
    vec![
        ("Protection", protection.into()),
        ("Exporter", exporter.into()),
        ("Usable", usable.into()),
    ]
}

#[interface(name = "org.protheap1.Heap")]
impl Heap {
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.name.to_string()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn node(&self) -> String {
        node(&self.name)
    }

    #[zbus(property)]
    fn protection(&self) -> &'static str {
        self.judged().protection
    }

    #[zbus(property)]
    fn exporter(&self) -> String {
        self.judged().exporter
    }

    #[zbus(property)]
    fn usable(&self) -> bool {
        self.judged().usable
    }

    #[zbus(out_args("heap"))]
    async fn open(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedFd, Failure> {
        let caller = allow(connection, &header, Action::OpenHeap, Some(&self.name)).await?;
        // A client can allocate all of the heap's memory, so the GPUs get their buffers first.
        if !self.bindings.now().gpus_have_buffers() {
            let text =
                "the buffers of the GPUs are not allocated yet; wait for a change of their State";
            return Err(Error::NotReady(text.to_owned()).into());
        }
        let heap = heaps::Heap::open(self.bindings.root(), &self.name)
            .map_err(|error| Error::HeapGone(error.to_string()))?;
        let (name, uid, pid) = (&caller.name, caller.uid, caller.pid.unwrap_or_default());
        info!(
            MESSAGE_ID = id::OPENED,
            HEAP = self.name.as_str(),
            CLIENT = name.as_str(),
            CLIENT_UID = uid,
            CLIENT_PID = pid,
            "{}: opened for {name} (user {uid}, process {pid})",
            self.name
        );
        let descriptor: std::os::fd::OwnedFd = heap.into();
        Ok(descriptor.into())
    }
}

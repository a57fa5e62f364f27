// SPDX-License-Identifier: MIT OR Apache-2.0

//! The GPUs: their nodes, and the results of the last run.

use protheap_board::cma;
use protheap_core::facts::Delivery;
use protheap_core::state::Reason;

use super::{Found, Obstacle, Situation, is_without};
use crate::bus::DAEMON;
use crate::status::gpu::Status;
use crate::words;

/// Adds the nodes for Arm's own driver, and a machine without a device tree.
pub(super) fn nodes(at: &Situation<'_>, found: &mut Found) {
    for node in &at.machine.arm_nodes {
        let next = "use a device tree whose GPU node follows \
                    Documentation/devicetree/bindings/gpu/arm,mali-valhall-csf.yaml of the kernel: \
                    `compatible` ends in \"arm,mali-valhall-csf\", and `interrupt-names` are \"job\", \
                    \"mmu\", \"gpu\"";
        found.push(Obstacle {
            what: "gpu-node-of-arm",
            gpu: Some(node.device.clone()),
            message: format!(
                "the node {} is described for Arm's kernel driver (kbase), by compatible {}; if the \
                 GPU is a Mali CSF GPU, mainline's panthor needs arm,mali-valhall-csf",
                node.path,
                node.compatible.join(" "),
            ),
            next: next.to_owned(),
        });
    }
    if at.machine.is_acpi {
        found.push(Obstacle {
            what: "acpi",
            gpu: None,
            message:
                "this machine boots with ACPI and has no device tree: panthor and Tyr find Mali \
                      CSF GPUs in device trees only, so there is nothing to bind"
                    .to_owned(),
            next:
                "if the board has a Mali CSF GPU, boot with its device tree, which some firmware \
                   offers as a setting"
                    .to_owned(),
        });
    }
}

/// Adds the results of the last run.
pub(super) fn find(at: &Situation<'_>, found: &mut Found) {
    for gpu in at.gpus {
        of_gpu(at, gpu, found);
    }
}

fn of_gpu(at: &Situation<'_>, gpu: &Status, found: &mut Found) {
    let device = &gpu.device;
    let mut add = |what, message: String, next: String| {
        found.push(Obstacle { what, gpu: Some(device.clone()), message, next });
    };
    if let Some(next) = &gpu.next {
        let policy = next.policy.as_ref().map(|key| format!(", by policy {key}"));
        let message = match &next.heap {
            Some(heap) => {
                format!("the next selection would bind {heap}{}", policy.unwrap_or_default())
            }
            None => {
                let reason = Reason::optional_str(next.reason);
                format!("the next selection would bind no heap: {reason}")
            }
        };
        let now = if gpu.is_bound() {
            "run `protheapctl rebind` while no driver is bound to the GPU".to_owned()
        } else {
            format!("run `systemctl start {DAEMON}`")
        };
        add("policy-waits", message, format!("reboot, or {now}"));
    }
    if let Some(node) = at.machine.nodes.get(device)
        && node.status != crate::devicetree::OKAY
    {
        let message = format!("the status of its device-tree node is {:?}", node.status);
        add("disabled", message, "enable the node in the device tree".to_owned());
    }
    if !is_without(gpu) {
        return;
    }
    match gpu.reason {
        // The missing module is an obstacle of its own.
        Some(Some(Reason::NoConsumer)) if at.delivery == Some(Delivery::None) => {}
        Some(Some(Reason::NoConsumer)) => {
            let driver = gpu.driver.as_deref().unwrap_or("the GPU driver");
            add(
                "driver-without-protheap",
                format!("{driver} does not request buffers from protheap.ko"),
                "use a kernel with driver/patches; see docs/panthor.md".to_owned(),
            );
        }
        None => {
            let message = format!("neither protheap-bind nor {DAEMON} has published a result");
            add("not-decided", message, format!("systemctl start {DAEMON}"));
        }
        Some(Some(reason)) => {
            let words::Explanation { meaning, next } = words::reason(reason);
            let detail = gpu.detail.as_ref().map(|detail| format!(": {detail}"));
            let mut message = format!("{meaning}{}", detail.unwrap_or_default());
            // A sandboxed program cannot read CMA's state, so that its message may lack it.
            let has_cma = reason != Reason::HeapTooSmall || message.contains("CMA");
            if let Some(cma) = explain_cma(at, gpu).filter(|_| !has_cma) {
                message = format!("{message}; {cma}");
            }
            add(reason.as_str(), message, next.to_owned());
        }
        Some(None) => {}
    }
}

/// Returns how CMA relates to a heap that had too little memory.
fn explain_cma(at: &Situation<'_>, gpu: &Status) -> Option<String> {
    let bytes = gpu.firmware_bytes?.saturating_add(gpu.suspend_bytes.unwrap_or_default());
    cma::read(&at.machine.root)?.explain(gpu.heap.as_ref()?, bytes)
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! The mechanism that delivers bindings, and the GPU drivers that take none.

use protheap_board::kernel::has_module;
use protheap_core::facts::Delivery;

use super::{Found, Obstacle, Situation};
use crate::bus::DAEMON;
use crate::status::gpu::Status;
use crate::status::kernel::is_loaded;

/// GPU drivers that can take a binding.
const CONSUMERS: [&str; 2] = ["panthor", "tyr"];
const PROTHEAP: &str = "protheap";
/// Remedy for a GPU driver that takes no binding.
const KERNEL: &str = "use Linux 7.3 with driver/patches and protheap.ko, or a kernel whose panthor \
                      has the parameter protected_heap_name; see docs/panthor.md";

pub(super) fn find(at: &Situation<'_>, found: &mut Found) {
    if at.is_foreign() {
        return;
    }
    if at.is_bad() || at.delivery.is_none() {
        module(at, found);
    }
    drivers(at, found);
    daemon(at, found);
}

fn module(at: &Situation<'_>, found: &mut Found) {
    let root = &at.machine.root;
    let mut add = |what, message: String, next: &str| {
        found.push(Obstacle { what, gpu: None, message, next: next.to_owned() });
    };
    if at.delivery.is_none() && is_loaded(root) {
        let message = "protheap.ko is loaded, but configfs is not mounted".to_owned();
        add("configfs-not-mounted", message, "mount -t configfs configfs /sys/kernel/config");
    }
    if !at.lacks_module() {
        return;
    }
    if is_installed(at) {
        add("module-not-loaded", "protheap.ko is not loaded".to_owned(), "modprobe protheap");
    } else {
        let message = "protheap.ko is not installed for this kernel".to_owned();
        add(
            "module-not-installed",
            message,
            "install protheap.ko for this kernel, or build it from driver/module",
        );
    }
}

fn is_installed(at: &Situation<'_>) -> bool {
    has_module(&at.machine.root, &at.machine.facts.kernel.release, PROTHEAP, &mut Vec::new())
}

/// Adds the bound GPU drivers that take bindings from no mechanism.
fn drivers(at: &Situation<'_>, found: &mut Found) {
    let has_none = at.lacks_module() && !is_installed(at);
    for (device, gpu) in &at.machine.facts.gpus {
        let Some(driver) = gpu.driver.as_deref() else { continue };
        let message = match driver {
            "mali" => {
                "Arm's kernel driver (kbase) is bound: it allocates protected memory by itself, \
                       and takes no binding"
                    .to_owned()
            }
            _ if !CONSUMERS.contains(&driver) => {
                format!("the driver {driver} is bound, which takes no binding")
            }
            "panthor" if has_none => "this kernel's panthor takes no binding: there is no \
                                      protheap.ko for it, and it has neither the ioctl for a \
                                      firmware buffer nor the parameter protected_heap_name"
                .to_owned(),
            _ if has_none => format!("{driver} takes no binding: there is no protheap.ko for it"),
            _ => continue,
        };
        found.push(Obstacle {
            what: "driver-without-delivery",
            gpu: Some(device.to_string()),
            message,
            next: KERNEL.to_owned(),
        });
    }
}

/// Adds the daemon if it is not running. It needs the module or the driver's ioctl, and does not
/// start early at boot.
fn daemon(at: &Situation<'_>, found: &mut Found) {
    let of_use =
        !at.gpus.is_empty() && matches!(at.delivery, Some(Delivery::Ioctl | Delivery::Module));
    if of_use && at.daemon_runs == Some(false) && !at.gpus.iter().any(Status::is_pending) {
        found.push(Obstacle {
            what: "not-running",
            gpu: None,
            message: format!(
                "{DAEMON} is not running: late binding and new suspend buffers are unavailable"
            ),
            next: format!("systemctl start {DAEMON}"),
        });
    }
}

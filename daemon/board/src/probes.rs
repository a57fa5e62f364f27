// SPDX-License-Identifier: MIT OR Apache-2.0

//! Probe state of a device that is not bound to a driver.

use crate::root::Root;

const DEFERRED: &str = "sys/kernel/debug/devices_deferred";
/// Maximum size of the list in bytes; larger than that of any known board.
const LONGEST_DEFERRED: usize = 256 * 1024;

/// Returns whether the driver of `module`, or the built-in driver of that name, is registered with
/// the bus whose devices are in `devices`. The probes that the registration started are then
/// complete, unless they run asynchronously.
pub(crate) fn is_registered(root: &Root, devices: &str, module: &str) -> bool {
    let bus = devices.strip_suffix("/devices").unwrap_or(devices);
    // No probe is under way in the tree of another machine, and such a tree may be incomplete.
    has_registered(root, bus, module) || !root.is_running() && is_there(root, bus, module)
}

/// On registration, the kernel creates the driver's directory, probes devices, links the driver to
/// its module and creates the file `uevent`, in this order (`bus_add_driver()`,
/// drivers/base/bus.c).
fn has_registered(root: &Root, bus: &str, module: &str) -> bool {
    let has_uevent =
        |driver: &str| root.link_stat(&format!("{bus}/drivers/{driver}/uevent")).is_ok();
    // Most drivers have the name of their module; in module names, `_` stands for `-`.
    if has_uevent(module) || has_uevent(&module.replace('_', "-")) {
        return true;
    }
    let mut found = false;
    let prefix = format!("{}:", bus.rsplit('/').next().unwrap_or_default());
    let drivers = format!("sys/module/{}/drivers", module.replace('-', "_"));
    root.each(&drivers, &mut Vec::new(), &mut |name, _| found |= name.starts_with(&prefix));
    found
}

/// Returns whether a driver with the name of `module` exists, or `module` has been initialized.
fn is_there(root: &Root, bus: &str, module: &str) -> bool {
    let state = format!("sys/module/{}/initstate", module.replace('-', "_"));
    root.is_directory(&format!("{bus}/drivers/{module}"))
        || root.is_directory(&format!("{bus}/drivers/{}", module.replace('_', "-")))
        || root.text(&state, &mut Vec::new()).is_some_and(|state| state == "live")
}

/// Returns whether the kernel has deferred the probe of `device`. Returns `None` if debugfs is not
/// mounted or cannot be read.
pub(crate) fn is_deferred(root: &Root, device: &str) -> Option<bool> {
    let list = root.read(DEFERRED, LONGEST_DEFERRED, &mut Vec::new())?;
    // One `DEVICE<tab>REASON` per line.
    let mut lines = list.split(|byte| *byte == b'\n');
    Some(lines.any(|line| line.split(|byte| *byte == b'\t').next() == Some(device.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn driver_is_registered_once_uevent_or_module_link_exists() {
        let tree = Tree::new();
        let bus = "sys/bus/platform";
        let registered = |module: &str| has_registered(&tree.root(), bus, module);
        tree.file(&format!("{bus}/drivers/optee/bind"), "");
        assert!(!registered("optee"));
        tree.file(&format!("{bus}/drivers/optee/uevent"), "");
        assert!(registered("optee"));
        tree.file(&format!("{bus}/drivers/acme-svp/uevent"), "");
        assert!(registered("acme_svp") && !registered("acme"));
        tree.link("../../../bus/arm_ffa/drivers/svp", "sys/module/vendor/drivers/arm_ffa:svp");
        assert!(!registered("vendor"), "at another bus");
        tree.link("../../../bus/platform/drivers/svp", "sys/module/vendor/drivers/platform:svp");
        assert!(registered("vendor"));
    }

    #[test]
    fn driver_in_an_incomplete_tree_needs_no_uevent_file() {
        let tree = Tree::new();
        let devices = "sys/bus/platform/devices";
        let registered = |module: &str| is_registered(&tree.root(), devices, module);
        tree.file("sys/module/optee/initstate", "coming\n");
        assert!(!registered("optee"));
        tree.file("sys/module/acme_svp/initstate", "live\n");
        tree.directory("sys/bus/platform/drivers/simtee");
        assert!(registered("acme-svp") && registered("simtee"));
    }
}

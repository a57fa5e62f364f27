// SPDX-License-Identifier: MIT OR Apache-2.0

//! How far the kernel is with probing a device that no driver is bound to.

use crate::root::Root;

const DEFERRED: &str = "sys/kernel/debug/devices_deferred";
/// More than any board has, in bytes.
const LONGEST_DEFERRED: usize = 256 * 1024;

/// Whether the driver of `module`, or the built-in driver of that name, is registered at the bus whose
/// devices are in `devices`, and the probes that its registration started are over, unless they run
/// asynchronously.
pub(crate) fn is_registered(root: &Root, devices: &str, module: &str) -> bool {
    let bus = devices.strip_suffix("/devices").unwrap_or(devices);
    // Nothing is under way in another machine's tree, which may have less than all files.
    has_registered(root, bus, module) || !root.is_running() && is_there(root, bus, module)
}

/// The kernel makes the driver's directory, probes, links the driver to its module, and makes the
/// file `uevent` (`bus_add_driver()` in drivers/base/bus.c).
fn has_registered(root: &Root, bus: &str, module: &str) -> bool {
    let has_uevent =
        |driver: &str| root.link_stat(&format!("{bus}/drivers/{driver}/uevent")).is_ok();
    // Most drivers are called like their modules, whose names have no `-`.
    if has_uevent(module) || has_uevent(&module.replace('_', "-")) {
        return true;
    }
    let mut found = false;
    let prefix = format!("{}:", bus.rsplit('/').next().unwrap_or_default());
    let drivers = format!("sys/module/{}/drivers", module.replace('-', "_"));
    root.each(&drivers, &mut Vec::new(), &mut |name, _| found |= name.starts_with(&prefix));
    found
}

/// Whether there is a driver called like `module`, or `module` has been initialized.
fn is_there(root: &Root, bus: &str, module: &str) -> bool {
    let state = format!("sys/module/{}/initstate", module.replace('-', "_"));
    root.is_directory(&format!("{bus}/drivers/{module}"))
        || root.is_directory(&format!("{bus}/drivers/{}", module.replace('_', "-")))
        || root.text(&state, &mut Vec::new()).is_some_and(|state| state == "live")
}

/// Whether the kernel has deferred the probe of `device`. `None`: debugfs is not mounted, or may not be
/// read.
pub(crate) fn is_deferred(root: &Root, device: &str) -> Option<bool> {
    let list = root.read(DEFERRED, LONGEST_DEFERRED, &mut Vec::new())?;
    // `DEVICE<tab>REASON`, a line each.
    let mut lines = list.split(|byte| *byte == b'\n');
    Some(lines.any(|line| line.split(|byte| *byte == b'\t').next() == Some(device.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn a_driver_has_registered_when_its_probes_are_over() {
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
    fn another_machines_tree_may_lack_files_of_a_driver() {
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

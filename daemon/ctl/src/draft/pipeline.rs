// SPDX-License-Identifier: MIT OR Apache-2.0

//! Devices of the media pipeline that need a `[share]` table.

use protheap_board::nodes;

use crate::devicetree::role;
use crate::machine::Machine;

/// A device of the media pipeline.
pub(super) struct Device {
    /// The most specific compatible string, after which its table is named.
    pub(super) compatible: String,
    /// Description of the device, and the source of it.
    pub(super) seen: String,
}

/// Returns the devices of the media pipeline other than GPUs that have no table in the applied
/// policies: those with a video or DRM node, and those that the device tree names.
pub(super) fn devices(machine: &mut Machine) -> Vec<Device> {
    let mut found: Vec<Device> = Vec::new();
    let share = &machine.policy.content().share;
    let mut add = |compatible: &[String], name: &str, seen: String| {
        let is_gpu = machine.facts.gpus.keys().any(|gpu| gpu.as_str() == name);
        let has_table = share.contains_key(name)
            || compatible.iter().any(|compatible| share.contains_key(compatible));
        if let Some(first) = compatible.first()
            && !is_gpu
            && !has_table
            && !found.iter().any(|device| device.compatible == *first)
        {
            found.push(Device { compatible: first.clone(), seen });
        }
    };
    if !machine.is_blob {
        for device in nodes::media(&machine.root, &mut machine.problems).values() {
            let name = device.name.as_str();
            // The name of a device has that of its node after the address.
            let node = name.rsplit(['.', ':']).next().unwrap_or_default();
            let role = role(node, &device.compatible).map(|role| format!("{role}, "));
            let role = role.unwrap_or_default();
            add(&device.compatible, name, format!("{role}has a device node: {name}"));
        }
    }
    for device in machine.tree.media_devices() {
        let seen = format!("{} according to its node {}", device.role, device.path);
        add(&device.compatible, "", seen);
    }
    found
}

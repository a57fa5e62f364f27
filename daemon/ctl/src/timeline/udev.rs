// SPDX-License-Identifier: MIT OR Apache-2.0

//! Times at which udev first saw devices, from its database of devices with a node.

use protheap_board::root::Root;
use protheap_core::state_file::GpuState;

use super::{By, Lane, Step};

const DRM: &str = "sys/class/drm";
const TEE: &str = "sys/class/tee";

/// Returns the steps that concern a GPU. Unreadable entries are omitted.
pub(super) fn seen(root: &Root, gpu: &GpuState) -> Vec<Step> {
    let mut seen = Vec::new();
    let mut add = |lane, class: &str, name: &str| {
        if let Some(at_us) = initialized(root, &format!("{class}/{name}")) {
            let (step, detail) = (name.to_owned(), String::new());
            seen.push(Step { at_us, lane, step, detail, by: By::Udev });
        }
    };
    add(Lane::Modules, "sys/class/misc", "protheap");
    let mut problems = Vec::new();
    for name in root.list(TEE, &mut problems) {
        // `teepriv0` is the same device, for the supplicant.
        if name.strip_prefix("tee").is_some_and(|number| number.parse::<u32>().is_ok()) {
            add(Lane::Tee, TEE, &name);
        }
    }
    if let Some(heap) = &gpu.heap {
        add(Lane::Heaps, "sys/class/dma_heap", heap.as_str());
    }
    for name in root.list(DRM, &mut problems) {
        let of_gpu =
            || root.link(&format!("{DRM}/{name}/device")).as_deref() == Some(gpu.device.as_str());
        if name.starts_with("renderD") && of_gpu() {
            add(Lane::Probe, DRM, &name);
        }
    }
    seen
}

/// Returns when udev first saw the device, in microseconds of `CLOCK_MONOTONIC`: the line `I:` of
/// its database, which sd_device_get_usec_initialized(3) returns.
fn initialized(root: &Root, device: &str) -> Option<u64> {
    let mut problems = Vec::new();
    let number = root.text(&format!("{device}/dev"), &mut problems)?;
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') {
        return None;
    }
    let entry = root.text(&format!("run/udev/data/c{number}"), &mut problems)?;
    entry.lines().find_map(|line| line.strip_prefix("I:")?.parse().ok())
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! The tables of GPUs, and the firmware that each GPU loads.

use protheap_board::{devices, gpu_id};
use protheap_core::facts::Gpu;
use protheap_policy::name::DeviceName;

use crate::machine::Machine;

/// A table of a draft.
#[derive(Debug)]
pub(super) struct Table {
    /// A compatible string, or the name of a device.
    pub(super) name: String,
    /// Firmware that the driver loads according to the id of the GPU, and the id.
    pub(super) firmware: Option<(String, String)>,
    /// Firmware that the applied policies set.
    pub(super) applied: Option<String>,
}

/// Returns the tables for all GPUs: one for a compatible string that all have, or else one for each
/// GPU.
pub(super) fn tables(machine: &Machine) -> Vec<Table> {
    let gpus = &machine.facts.gpus;
    let of_all = |one: &&str| gpus.values().all(|gpu| gpu.compatible.iter().any(|has| has == one));
    match devices::GPUS.iter().copied().find(of_all) {
        Some(common) => vec![table(machine, common.to_owned(), gpus)],
        None => gpus.iter().map(|gpu| table(machine, gpu.0.to_string(), [gpu])).collect(),
    }
}

fn table<'g>(
    machine: &Machine,
    name: String,
    gpus: impl IntoIterator<Item = (&'g DeviceName, &'g Gpu)> + Copy,
) -> Table {
    let id = |device: &DeviceName| {
        let id = (!machine.is_blob).then(|| gpu_id::read(&machine.root, device)).flatten()?;
        Some((id.firmware(), id.to_string()))
    };
    let applied = |(device, gpu): (&DeviceName, &Gpu)| {
        let policy = machine.policy.gpu(device, &gpu.compatible)?;
        policy.firmware().map(str::to_owned)
    };
    let firmware = common(gpus.into_iter().map(|(device, _)| id(device)));
    Table { name, firmware, applied: common(gpus.into_iter().map(applied)) }
}

/// Returns the value if all are the same.
fn common<T: PartialEq>(mut values: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = values.next()??;
    values.all(|value| value.as_ref() == Some(&first)).then_some(first)
}

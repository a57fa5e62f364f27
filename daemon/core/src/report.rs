// SPDX-License-Identifier: MIT OR Apache-2.0

//! Builds the state file from a machine.

use std::collections::BTreeMap;

use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::policy::{GpuPolicy, Policy};

use crate::engine::{Binding, Machine};
use crate::facts::{Delivery, Gpu, KernelBinding, Source, Verdict};
use crate::share::common_heaps;
use crate::state_file::{GpuState, HeapEvidence, Refused, SCHEMA, StateFile};

/// Returns the state file of `engine`. `written_by` is the name and version of the program.
pub fn report(engine: &impl Machine, refused: &[Refused], written_by: String) -> StateFile {
    let facts = engine.facts();
    let bindings = engine.bindings();
    let heaps = common_heaps(engine.policy(), facts);
    StateFile {
        schema: SCHEMA,
        written_by,
        platform: facts.platform.clone(),
        policies: engine.policy().keys().into_iter().cloned().collect(),
        delivery: Some(facts.delivery()),
        refused: refused.to_vec(),
        gpus: bindings.map(|(device, binding)| gpu_state(engine, device, binding)).collect(),
        evidence: evidence(engine.policy(), heaps.values()),
        heaps,
    }
}

/// Returns what the policy says of the reliability of `heaps`.
fn evidence<'h>(
    policy: &Policy,
    heaps: impl Iterator<Item = &'h HeapName>,
) -> BTreeMap<HeapName, HeapEvidence> {
    heaps.map(|heap| (heap.clone(), HeapEvidence::of(policy, heap))).collect()
}

/// Returns the state of one GPU.
pub fn gpu_state(engine: &impl Machine, device: &DeviceName, binding: &Binding) -> GpuState {
    let gpu = engine.facts().gpus.get(device).unwrap_or(&NO_GPU);
    let kernel = engine.kernel(device);
    let request = binding.request();
    // The kernel's binding takes precedence over the request.
    let judged = match (kernel, binding.heap().and_then(|heap| gpu.verdicts.get(heap))) {
        (Some(kernel), _) => Some((kernel.protection, kernel.exporter.as_str())),
        (None, Some(Verdict::Allocated { protection, exporter, .. })) => {
            Some((*protection, exporter.as_str()))
        }
        _ => None,
    };
    let suspend_buffers = buffers(kernel, binding, gpu);
    let delivery = engine.facts().kernel.delivery(gpu);
    // Clients of the driver allocate their suspend buffers, and as many as they like.
    let is_counted = delivery != Delivery::Ioctl;
    let suspend_count = kernel
        .map(|kernel| kernel.suspend_count)
        .or(request.map(|request| request.suspend_count))
        .or(binding.policy().map(GpuPolicy::suspend_count))
        .filter(|_| is_counted);
    let evidence = binding
        .heap()
        .filter(|_| binding.is_bound())
        .map_or_else(HeapEvidence::default, |heap| HeapEvidence::of(engine.policy(), heap));
    GpuState {
        device: device.clone(),
        compatible: gpu.compatible.clone(),
        driver: gpu.driver.clone(),
        delivery: Some(delivery),
        state: binding.state(),
        reason: binding.reason(),
        heap: binding.heap().cloned(),
        protection: judged.map(|(protection, _)| protection),
        exporter: judged.map(|(_, exporter)| exporter.to_owned()),
        evidence: evidence.status,
        firewall: evidence.firewall,
        policy: binding.named_by().cloned(),
        firmware_bytes: kernel
            .map(|kernel| kernel.firmware_bytes)
            .or(request.map(|request| request.firmware_bytes))
            .or(gpu.section.map(|section| section.firmware_bytes)),
        suspend_bytes: kernel
            .map(|kernel| kernel.suspend_bytes)
            .or(request.map(|request| request.suspend_bytes))
            .or(gpu.section.map(|section| section.suspend_bytes))
            .or(binding.policy().map(GpuPolicy::suspend_bytes)),
        suspend_count,
        suspend_buffers,
        suspend_shortage: binding
            .shortage()
            .or(kernel.and_then(unknown_shortage))
            .filter(|_| suspend_buffers.is_some() && suspend_buffers < suspend_count)
            .map(str::to_owned),
        next: engine.next(device),
        held_us: binding.held(),
        considered: engine.considered(device, binding).into_owned(),
        timeline: binding.timeline().to_vec(),
    }
}

static NO_GPU: Gpu = Gpu {
    compatible: Vec::new(),
    driver: None,
    section: None,
    hides_section: false,
    verdicts: BTreeMap::new(),
};

/// Returns the number of a binding's suspend buffers: as last seen in the kernel, else as
/// allocated. `None` without a binding, and where the GPU driver or its clients allocate them.
fn buffers(kernel: Option<&KernelBinding>, binding: &Binding, gpu: &Gpu) -> Option<u32> {
    let is_ours = |source| !matches!(source, Source::Driver | Source::Ioctl);
    let request = binding.request().filter(|request| is_ours(request.source));
    let allocated = request.filter(|_| binding.is_bound()).map(|request| {
        let shortage = gpu.verdicts.get(&request.heap).and_then(Verdict::shortage);
        shortage.map_or(request.suspend_count, |shortage| shortage.allocated)
    });
    let kernel = kernel.filter(|kernel| is_ours(kernel.source));
    kernel.map(|kernel| kernel.suspend_buffers).or(allocated)
}

/// Returns the reason for missing suspend buffers of which no program saw the failed allocation.
fn unknown_shortage(kernel: &KernelBinding) -> Option<&'static str> {
    let is_its = kernel.source == Source::Kernel;
    is_its.then_some("protheap.ko failed to allocate more from the heap; see the kernel log")
}

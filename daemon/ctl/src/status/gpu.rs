// SPDX-License-Identifier: MIT OR Apache-2.0

//! Status of one GPU's binding: the kernel's current state, and members of `state.json` that do not
//! contradict it.

use protheap_board::module::BindingState;
use protheap_core::facts::{Facts, Gpu, Protection};
use protheap_core::next::{self, Current, Next};
use protheap_core::state::{Reason, State};
use protheap_core::state_file::GpuState;
use protheap_core::timeline::Step;
use protheap_policy::name::{DeviceName, HeapName, Key};
use protheap_policy::policy::Policy;
use protheap_policy::schema::EvidenceStatus;
use serde::{Serialize, Serializer};

use super::kernel::{self, Seen};

/// Status of a GPU. A null member does not exist, or is listed as unknown.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    pub(crate) device: String,
    pub(crate) compatible: Vec<String>,
    pub(crate) driver: Option<String>,
    /// A state of docs/state.md.
    pub(crate) state: Option<State>,
    /// A reason of docs/state.md, or empty.
    #[serde(serialize_with = "known_reason")]
    pub(crate) reason: Option<Option<Reason>>,
    /// Source of state and reason.
    pub(crate) from: Option<From>,
    pub(crate) heap: Option<HeapName>,
    pub(crate) protection: Option<Protection>,
    pub(crate) exporter: Option<String>,
    /// Reliability of a policy's evidence for a firewall.
    pub(crate) firewall: Option<EvidenceStatus>,
    /// Key of the policy file that names the heap.
    pub(crate) policy: Option<Key>,
    /// Position in that file.
    pub(crate) origin: Option<String>,
    pub(crate) firmware_bytes: Option<u64>,
    pub(crate) suspend_bytes: Option<u64>,
    pub(crate) suspend_count: Option<u32>,
    pub(crate) suspend_free: Option<u32>,
    pub(crate) suspend_in_use: Option<u32>,
    /// Reason why there are fewer suspend buffers than `suspend_count`, from state.json.
    pub(crate) suspend_shortage: Option<String>,
    /// Detail of the candidate that caused the reason, from state.json.
    #[serde(skip)]
    pub(crate) detail: Option<String>,
    pub(crate) held_us: Option<u64>,
    /// Time at which the state was reached, in microseconds since boot.
    pub(crate) since_us: Option<u64>,
    pub(crate) next: Option<Next>,
}

/// Source of a binding's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum From {
    /// The current state in the kernel.
    Kernel,
    /// The last state that a program wrote.
    #[serde(rename = "state.json")]
    StateFile,
    /// The device tree. No such device exists.
    DeviceTree,
}

/// A state, its reason if known, and the source of both.
type Known = (State, Option<Option<Reason>>, From);

/// Serializes a known reason as a word or empty text, and an unknown one as null.
fn known_reason<S: Serializer>(
    reason: &Option<Option<Reason>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    reason.map(Reason::optional_str).serialize(serializer)
}

impl Status {
    /// Makes the status of a GPU that has a node but no device.
    pub(super) fn of_node(device: &str, compatible: &[String]) -> Self {
        Self {
            state: Some(State::Absent),
            reason: Some(None),
            from: Some(From::DeviceTree),
            ..Self::of_device(device, &Gpu { compatible: compatible.to_vec(), ..Gpu::default() })
        }
    }

    fn of_device(device: &str, gpu: &Gpu) -> Self {
        Self {
            device: device.to_owned(),
            compatible: gpu.compatible.clone(),
            driver: gpu.driver.clone(),
            state: None,
            reason: None,
            from: None,
            heap: None,
            protection: None,
            exporter: None,
            firewall: None,
            policy: None,
            origin: None,
            firmware_bytes: None,
            suspend_bytes: None,
            suspend_count: None,
            suspend_free: None,
            suspend_in_use: None,
            suspend_shortage: None,
            detail: None,
            held_us: None,
            since_us: None,
            next: None,
        }
    }

    /// Makes the status of a GPU. `running` is whether the program that wrote the file is still
    /// running, if known.
    pub(super) fn of(
        device: &DeviceName,
        gpu: &Gpu,
        seen: &Seen,
        file: Option<&GpuState>,
        running: Option<bool>,
    ) -> Self {
        let mut status = Self::of_device(device.as_str(), gpu);
        // A pending state of a killed program is outdated.
        let file = file.filter(|file| file.state.is_end() || running != Some(false));
        if let Some((state, reason, from)) = known(seen, file, gpu) {
            (status.state, status.reason, status.from) = (Some(state), reason, Some(from));
        }
        let is_bound = status.is_bound();
        if let Seen::Binding(binding) = seen
            && is_bound
        {
            status.take_kernel(binding);
        } else if let Seen::Parameter(heap) = seen
            && is_bound
        {
            status.heap = HeapName::new(heap).ok();
        } else if let Seen::Firmware(section) = seen {
            status.firmware_bytes = Some(section.firmware_bytes);
            status.suspend_bytes = Some(section.suspend_bytes);
        }
        // The file describes the same binding, or the reason why there is none.
        let same = |file: &&GpuState| {
            file.state.is_bound() == is_bound && (status.heap.is_none() || status.heap == file.heap)
        };
        if let Some(file) = file.filter(same) {
            status.take_file(file);
        }
        status
    }

    fn take_kernel(&mut self, binding: &kernel::Binding) {
        self.heap = HeapName::new(&binding.heap).ok();
        self.protection = binding.protection;
        self.exporter = Some(binding.exporter.clone()).filter(|exporter| !exporter.is_empty());
        self.origin = Some(binding.origin.clone()).filter(|origin| !origin.is_empty());
        self.policy = self.origin.as_deref().and_then(key);
        self.firmware_bytes = binding.firmware_bytes;
        self.suspend_bytes = binding.suspend_bytes;
        self.suspend_count = binding.suspend_count;
        self.suspend_free = binding.suspend_free;
        self.suspend_in_use = binding.suspend_in_use;
    }

    /// Adds members from the state file that the kernel does not show.
    fn take_file(&mut self, file: &GpuState) {
        self.heap = self.heap.take().or_else(|| file.heap.clone());
        self.protection = self.protection.or(file.protection);
        self.exporter = self.exporter.take().or_else(|| file.exporter.clone());
        self.firewall = self.firewall.or(file.firewall);
        self.policy = self.policy.take().or_else(|| file.policy.clone());
        self.origin = self.origin.take().or_else(|| file.origin().map(str::to_owned));
        self.firmware_bytes = self.firmware_bytes.or(file.firmware_bytes);
        self.suspend_bytes = self.suspend_bytes.or(file.suspend_bytes);
        self.suspend_count = self.suspend_count.or(file.suspend_count);
        if self.suspend_buffers().or(file.suspend_buffers) < self.suspend_count {
            self.suspend_shortage.clone_from(&file.suspend_shortage);
        }
        self.held_us = Some(file.held_us);
        self.detail = file.detail().map(str::to_owned);
        let reason = self.reason.flatten().map(Reason::as_str);
        let is_end = |step: &&Step| match self.is_bound() {
            true => ["bound", "in-use"].contains(&&*step.step),
            false => Some(&*step.step) == reason,
        };
        self.since_us = file.timeline.iter().rev().find(is_end).map(|step| step.at.0);
    }

    /// Returns the number of suspend buffers, free and in use, as the kernel shows it.
    pub(crate) fn suspend_buffers(&self) -> Option<u32> {
        Some(self.suspend_free?.saturating_add(self.suspend_in_use?))
    }

    /// Returns whether a heap is bound.
    pub(crate) fn is_bound(&self) -> bool {
        self.state.is_some_and(State::is_bound)
    }

    /// Returns whether the binding is pending.
    pub(crate) fn is_pending(&self) -> bool {
        self.state.is_some_and(State::is_pending)
    }
}

/// Returns the key of the policy file in `PATH:LINE:COLUMN`.
fn key(origin: &str) -> Option<Key> {
    let path = origin.rsplitn(3, ':').last()?;
    let mut names = path.rsplit('/');
    let name = names.next()?;
    let key = names.next().and_then(|directory| directory.strip_suffix(".toml.d"));
    Key::new(key.or_else(|| name.strip_suffix(".toml"))?).ok()
}

/// Returns the state and its reason; `None` if they are not known.
fn known(seen: &Seen, file: Option<&GpuState>, gpu: &Gpu) -> Option<Known> {
    let written = |file: &GpuState| (file.state, Some(file.reason), From::StateFile);
    let unbound = |reason: Option<Reason>| (State::Unprotected, reason.map(Some), From::Kernel);
    let unbound_file = file.filter(|file| !file.state.is_bound());
    let withdrawn = file.filter(|file| file.state.is_bound()).map(|_| Reason::Withdrawn);
    let bound = |state: State, heap: &str| {
        let is_same = |file: &&GpuState| {
            file.state.is_bound() && file.heap.as_ref().is_some_and(|of| of.as_str() == heap)
        };
        let reason = file.filter(is_same).map_or(Some(Reason::Adopted), |file| file.reason);
        (state, Some(reason), From::Kernel)
    };
    Some(match seen {
        Seen::Hidden(_) => written(file?),
        Seen::Binding(binding) => match (binding.state, unbound_file) {
            (Some(BindingState::Bound), _) => bound(State::Bound, &binding.heap),
            (Some(BindingState::InUse), _) => bound(State::InUse, &binding.heap),
            (_, Some(file)) => written(file),
            (Some(BindingState::Held), None) => (State::Held, Some(None), From::Kernel),
            // A program that ends an attempt without a binding leaves the reason in `origin`.
            (state, None) => {
                let origin = (state == Some(BindingState::None)).then_some(&binding.origin);
                let words = [Some(&binding.reason), origin].into_iter().flatten();
                unbound(words.flat_map(|word| word.parse()).next().or(withdrawn))
            }
        },
        // A driver other than panthor does not read the parameter.
        Seen::Parameter(heap)
            if !heap.is_empty() && gpu.driver.as_ref().is_none_or(|name| name == "panthor") =>
        {
            bound(State::Bound, heap)
        }
        Seen::Firmware(_) => {
            let file = file.filter(|file| file.state.is_bound());
            let reason = file.map_or(Some(Reason::Adopted), |file| file.reason);
            (State::InUse, Some(reason), From::Kernel)
        }
        Seen::None | Seen::NoDelivery | Seen::Parameter(_) => match (unbound_file, seen) {
            (Some(file), _) => written(file),
            (None, Seen::NoDelivery) => unbound(Some(Reason::NoConsumer)),
            (None, _) => unbound(withdrawn),
        },
    })
}

/// Returns what selection would bind now, if that differs from the binding.
pub(super) fn next(
    policy: &Policy,
    facts: &Facts,
    device: &DeviceName,
    status: &Status,
) -> Option<Next> {
    let gpu = facts.gpus.get(device)?;
    let heap = status.heap.as_ref().filter(|_| status.is_bound());
    let current = heap.map(|heap| Current { heap, suspend_count: status.suspend_count });
    next::next(policy.gpu(device, &gpu.compatible).as_ref(), facts, gpu, current)
}

/// Describes a policy's evidence for a firewall around memory that cannot be mapped.
pub(super) fn firewall(protection: Protection, evidence: Option<EvidenceStatus>) -> Option<String> {
    if protection == Protection::None {
        return None;
    }
    Some(match evidence {
        Some(word) => format!("{word}, according to the policy's evidence"),
        None => "unknown: no policy has evidence, and the kernel cannot detect a firewall".into(),
    })
}

/// Describes the protection of memory.
pub(super) fn protection(protection: Protection) -> &'static str {
    match protection {
        Protection::Tee => "the CPU cannot map the memory, which is from the kernel's TEE heap",
        Protection::Unmappable => {
            "the CPU cannot map the memory, which does not prove that it is protected"
        }
        Protection::None => "the CPU can map the memory",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_that_of_the_file() {
        let usr = "/usr/lib/protheap/policies";
        for (origin, found) in [
            (format!("{usr}/acme,a9.toml:5:3"), Some("acme,a9")),
            (format!("{usr}/acme,a9.toml.d/10-x.toml:5:3"), Some("acme,a9")),
            ("no-heap".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(key(&origin).as_ref().map(Key::as_str), found, "{origin}");
        }
    }
}

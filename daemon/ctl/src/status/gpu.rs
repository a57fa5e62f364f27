// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is known of one GPU's binding: what the kernel has now, and what `state.json` says where
//! the kernel does not contradict it.

use protheap_core::decision::{Patience, Plan, decide_gpu};
use protheap_core::facts::{Facts, Gpu, Protection};
use protheap_policy::name::DeviceName;
use protheap_policy::policy::Policy;
use serde::Serialize;

use super::kernel::{self, Seen};
use crate::state_file::{self, Next};

/// A GPU, as it is printed. What is null is not there, or is listed as unknown.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    pub(crate) device: String,
    pub(crate) compatible: Vec<String>,
    pub(crate) driver: Option<String>,
    /// A word of docs/state.md.
    pub(crate) state: Option<String>,
    /// A word of docs/state.md, or empty.
    pub(crate) reason: Option<String>,
    /// Who says so.
    pub(crate) from: Option<From>,
    pub(crate) heap: Option<String>,
    pub(crate) protection: Option<String>,
    pub(crate) exporter: Option<String>,
    /// How far a policy's evidence for a firewall can be relied upon.
    pub(crate) firewall: Option<String>,
    /// The key of the file that names the heap.
    pub(crate) policy: Option<String>,
    /// Where in that file.
    pub(crate) origin: Option<String>,
    pub(crate) firmware_bytes: Option<u64>,
    pub(crate) suspend_bytes: Option<u64>,
    pub(crate) suspend_count: Option<u32>,
    pub(crate) suspend_free: Option<u32>,
    pub(crate) suspend_in_use: Option<u32>,
    /// Why there are fewer suspend buffers than `suspend_count`, as a program said it.
    pub(crate) suspend_shortage: Option<String>,
    /// What a program said of the candidate that is the reason.
    #[serde(skip)]
    pub(crate) detail: Option<String>,
    pub(crate) held_us: Option<u64>,
    /// When it came to its state, in microseconds since the boot.
    pub(crate) since_us: Option<u64>,
    pub(crate) next: Option<Next>,
}

/// Who says how a GPU's binding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum From {
    /// The kernel, now.
    Kernel,
    /// A program, when it last wrote.
    #[serde(rename = "state.json")]
    StateFile,
    /// The device tree: there is no such device.
    DeviceTree,
}

/// The words for a state, and who says so.
type Words = (String, Option<String>, From);

impl Status {
    /// A GPU that has a node and is no device.
    pub(super) fn of_node(device: &str, compatible: &[String]) -> Self {
        Self {
            state: Some("absent".to_owned()),
            reason: Some(String::new()),
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

    /// What is known of a GPU. `running`: the program that wrote the file still runs, if that can
    /// be seen.
    pub(super) fn of(
        device: &DeviceName,
        gpu: &Gpu,
        seen: &Seen,
        file: Option<&state_file::Binding>,
        running: Option<bool>,
    ) -> Self {
        let mut status = Self::of_device(device.as_str(), gpu);
        // What a run was about to do when it was killed says nothing.
        let file = file.filter(|file| file.is_end() || running != Some(false));
        if let Some((state, reason, from)) = words(seen, file, gpu) {
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
            status.heap = Some(heap.clone());
        }
        // It is about the same binding, or about why there is none.
        let same = |file: &&state_file::Binding| {
            file.is_bound() == is_bound && (status.heap.is_none() || status.heap == file.heap)
        };
        if let Some(file) = file.filter(same) {
            status.take_file(file);
        }
        status
    }

    fn take_kernel(&mut self, binding: &kernel::Binding) {
        self.heap = Some(binding.heap.clone());
        self.protection = binding.protection.map(|protection| protection.as_str().to_owned());
        self.exporter = Some(binding.exporter.clone()).filter(|exporter| !exporter.is_empty());
        self.origin = Some(binding.origin.clone()).filter(|origin| !origin.is_empty());
        self.policy = self.origin.as_deref().and_then(key);
        self.firmware_bytes = binding.firmware_bytes;
        self.suspend_bytes = binding.suspend_bytes;
        self.suspend_count = binding.suspend_count;
        self.suspend_free = binding.suspend_free;
        self.suspend_in_use = binding.suspend_in_use;
    }

    /// Takes what the kernel has not said.
    fn take_file(&mut self, file: &state_file::Binding) {
        let fill = |to: &mut Option<String>, from: &Option<String>| {
            if to.is_none() {
                to.clone_from(from);
            }
        };
        fill(&mut self.heap, &file.heap);
        fill(&mut self.protection, &file.protection);
        fill(&mut self.exporter, &file.exporter);
        fill(&mut self.firewall, &file.firewall);
        fill(&mut self.policy, &file.policy);
        fill(&mut self.origin, &file.origin().map(str::to_owned));
        self.firmware_bytes = self.firmware_bytes.or(file.firmware_bytes);
        self.suspend_bytes = self.suspend_bytes.or(file.suspend_bytes);
        self.suspend_count = self.suspend_count.or(file.suspend_count);
        if self.suspend_buffers().or(file.suspend_buffers) < self.suspend_count {
            fill(&mut self.suspend_shortage, &file.suspend_shortage);
        }
        self.held_us = Some(file.held_us);
        self.detail = file.detail().map(str::to_owned);
        let word = if self.is_bound() {
            |step: &str, _: &str| matches!(step, "bound" | "in-use")
        } else {
            |step: &str, reason: &str| !reason.is_empty() && step == reason
        };
        let reason = self.reason.as_deref().unwrap_or_default();
        let came = file.timeline.iter().rev().find(|step| word(&step.step, reason));
        self.since_us = came.map(|step| step.at_us);
    }

    /// How many suspend buffers there are, free and in use, as the kernel shows it.
    pub(crate) fn suspend_buffers(&self) -> Option<u32> {
        Some(self.suspend_free?.saturating_add(self.suspend_in_use?))
    }

    /// The GPU has a heap.
    pub(crate) fn is_bound(&self) -> bool {
        matches!(self.state.as_deref(), Some("bound" | "in-use"))
    }

    /// Its driver may come to have one without anything being mended.
    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self.state.as_deref(), Some("held" | "waiting" | "preparing"))
    }
}

/// The key of the file in `PATH:LINE:COLUMN`.
fn key(origin: &str) -> Option<String> {
    let path = origin.rsplitn(3, ':').last()?;
    let mut names = path.rsplit('/');
    let name = names.next()?;
    let key = names.next().and_then(|directory| directory.strip_suffix(".toml.d"));
    key.or_else(|| name.strip_suffix(".toml")).map(str::to_owned)
}

/// The state and its reason; `None`: they are not known.
fn words(seen: &Seen, file: Option<&state_file::Binding>, gpu: &Gpu) -> Option<Words> {
    let said = |file: &state_file::Binding| {
        (file.state.clone(), Some(file.reason.clone()), From::StateFile)
    };
    let unbound =
        |reason: Option<&str>| ("unprotected".to_owned(), reason.map(str::to_owned), From::Kernel);
    let told_unbound = file.filter(|file| !file.is_bound());
    let was_bound = file.is_some_and(state_file::Binding::is_bound);
    let bound = |state: &str, heap: &str, without_file: &str| {
        let same = file.filter(|file| file.is_bound() && file.heap.as_deref() == Some(heap));
        let reason = same.map_or(without_file, |file| &file.reason);
        (state.to_owned(), Some(reason.to_owned()), From::Kernel)
    };
    Some(match seen {
        Seen::Hidden(_) => said(file?),
        Seen::Binding(binding) if binding.is_bound() => {
            bound(&binding.state, &binding.heap, "adopted")
        }
        Seen::Binding(binding) => match told_unbound {
            Some(file) => said(file),
            None if binding.state == "held" => {
                ("held".to_owned(), Some(String::new()), From::Kernel)
            }
            None if !binding.reason.is_empty() => unbound(Some(&binding.reason)),
            // Who decides against a binding leaves the reason there.
            None if binding.state == "none" && !binding.origin.is_empty() => {
                unbound(Some(&binding.origin))
            }
            None if was_bound => unbound(Some("withdrawn")),
            None => unbound(None),
        },
        // A driver that knows no such parameter takes nothing from it.
        Seen::Parameter(heap)
            if !heap.is_empty() && gpu.driver.as_ref().is_none_or(|name| name == "panthor") =>
        {
            bound("bound", heap, "adopted")
        }
        Seen::None | Seen::NoDelivery | Seen::Parameter(_) => match (told_unbound, seen) {
            (Some(file), _) => said(file),
            (None, Seen::NoDelivery) => unbound(Some("no-consumer")),
            (None, _) => unbound(was_bound.then_some("withdrawn")),
        },
    })
}

/// What policies and heaps that are there now would bind, where that is not what is bound.
pub(super) fn next(
    policy: &Policy,
    facts: &Facts,
    device: &DeviceName,
    status: &Status,
) -> Option<Next> {
    let gpu = facts.gpus.get(device)?;
    let gpu_policy = policy.gpu(device, &gpu.compatible);
    let plan = decide_gpu(gpu_policy.as_ref(), facts, gpu, Patience::LastCall).plan;
    let is_bound = status.is_bound();
    match plan {
        Plan::Try(request) | Plan::Bind(request) => {
            let count = status.suspend_count.unwrap_or(request.suspend_count);
            let same = status.heap.as_deref() == Some(request.heap.as_str())
                && count == request.suspend_count;
            let stays = is_bound && same || facts.lacks_tee_of(&request.heap);
            (!stays).then(|| Next {
                heap: Some(request.heap.to_string()),
                policy: Some(request.policy.to_string()),
                reason: String::new(),
            })
        }
        Plan::Without(reason) | Plan::Fail(reason) if is_bound => {
            Some(Next { reason: reason.to_string(), ..Next::default() })
        }
        Plan::Without(_) | Plan::Fail(_) | Plan::Wait | Plan::Keep(_) => None,
    }
}

/// What a policy says of a firewall around memory that cannot be mapped, for people.
pub(super) fn firewall(protection: &str, evidence: Option<&str>) -> Option<String> {
    if protection == Protection::None.as_str() {
        return None;
    }
    Some(match evidence {
        Some(word) => format!("{word}, says the policy's evidence"),
        None => {
            "unknown: no policy has evidence, and nothing that the kernel shows proves one".into()
        }
    })
}

/// What is known of the protection of memory, for people.
pub(super) fn protection(word: &str) -> &'static str {
    let known = [Protection::Tee, Protection::Unmappable, Protection::None];
    match known.into_iter().find(|known| known.as_str() == word) {
        Some(Protection::Tee) => "it cannot be mapped, and is of the kernel's TEE heap",
        Some(Protection::Unmappable) => "it cannot be mapped, which is no proof",
        Some(Protection::None) => "it can be mapped: it protects nothing",
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_tells_its_key() {
        let usr = "/usr/lib/protheap/policies";
        for (origin, found) in [
            (format!("{usr}/acme,a9.toml:5:3"), Some("acme,a9")),
            (format!("{usr}/acme,a9.toml.d/10-x.toml:5:3"), Some("acme,a9")),
            ("no-heap".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(key(&origin).as_deref(), found, "{origin}");
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Heaps that others can open, and heaps without evidence that the GPU can access them.

use std::collections::BTreeSet;

use protheap_board::heaps::access;
use protheap_board::udev_rules::{self, KEEP};
use protheap_core::decision::Plan;
use protheap_core::trace::{Considered, Outcome};
use protheap_policy::name::HeapName;
use protheap_policy::schema::EvidenceStatus;

use super::{Found, Obstacle, Situation};

/// The rule that gives the nodes of protected heaps back to root.
const RULES: &str = "99-zz-protheap-heaps.rules";

/// Adds the device nodes of protected heaps that others than root can open.
pub(super) fn open(at: &Situation<'_>, found: &mut Found) {
    if at.is_foreign() {
        return;
    }
    for heap in protected(at) {
        let given = udev_rules::given(&at.machine.root, &heap, &mut Vec::new());
        if given.kept {
            continue;
        }
        let by_rule = given.opened_to();
        let (who, origin) = match access(&at.machine.root, &heap) {
            Some(access) if !access.is_open() => continue,
            Some(access) => {
                let who = by_rule.as_ref().map(|(who, _)| who.clone());
                let mode =
                    format!("{:o} of user {}, group {}", access.mode, access.user, access.group);
                (format!("{} (mode {mode})", who.as_deref().unwrap_or("others")), by_rule)
            }
            None => match by_rule {
                Some((who, origin)) => (who.clone(), Some((who, origin))),
                None => continue,
            },
        };
        let by = origin.map(|(_, origin)| format!(", by {origin}")).unwrap_or_default();
        found.push(Obstacle {
            what: "open-heap",
            gpu: None,
            message: format!(
                "/dev/dma_heap/{heap} is open to {who}{by}: each program with access can allocate all \
                 of the protected memory"
            ),
            next: remedy(&heap, given.is_final()),
        });
    }
}

fn remedy(heap: &HeapName, is_final: bool) -> String {
    let is_covered =
        ["protected,", "restricted,"].iter().any(|start| heap.as_str().starts_with(start))
            || heap.as_str() == "protected";
    if is_final {
        "change that rule: it assigns with `:=`, which no later rule can change".to_owned()
    } else if is_covered {
        format!(
            "install {RULES} of Protheap, and reboot; if it is intended, set ENV{{{KEEP}}}=\"1\" in that \
             rule"
        )
    } else {
        format!(
            "add a udev rule in a file after {RULES}: SUBSYSTEM==\"dma_heap\", KERNEL==\"{heap}\", \
             OWNER=\"root\", GROUP=\"root\", MODE=\"0600\"; if it is intended, set \
             ENV{{{KEEP}}}=\"1\" for the heap"
        )
    }
}

/// Returns the heaps that count as protected: those of a TEE, and those that a policy names for a
/// GPU that must not have ordinary memory.
fn protected(at: &Situation<'_>) -> BTreeSet<HeapName> {
    let facts = &at.machine.facts;
    let mut heaps: BTreeSet<_> =
        facts.heaps.iter().filter(|heap| heap.is_of_tee()).cloned().collect();
    for (device, decision) in &at.decision.gpus {
        let gpu = facts.gpus.get(device);
        let policy = gpu.and_then(|gpu| at.machine.policy.gpu(device, &gpu.compatible));
        if policy.is_none_or(|policy| policy.allow_unprotected()) {
            continue;
        }
        let is_candidate = |one: &&Considered| {
            !matches!(one.outcome, Outcome::ConditionUnmet | Outcome::NotProtected)
        };
        for Considered { candidate, .. } in decision.trace.iter().filter(is_candidate) {
            match candidate.strip_suffix('*') {
                Some(start) => heaps.extend(
                    facts.heaps.iter().filter(|heap| heap.as_str().starts_with(start)).cloned(),
                ),
                None => heaps.extend(HeapName::new(candidate).ok()),
            }
        }
    }
    heaps
}

/// Adds the selected heaps whose evidence does not show that the GPU reaches them.
pub(super) fn reach(at: &Situation<'_>, found: &mut Found) {
    if !at.is_plan {
        return;
    }
    for (device, decision) in &at.decision.gpus {
        let Some(considered) = super::selected(decision) else { continue };
        let candidate = considered.candidate.as_str();
        let heap = match &decision.plan {
            Plan::Try(request) | Plan::Bind(request) => request.heap.as_str(),
            Plan::Keep(heap) => heap.as_str(),
            _ => candidate,
        };
        let evidence = &at.machine.policy.content().evidence;
        let evidence = evidence.get(heap).or_else(|| evidence.get(candidate));
        let status = evidence.map(|evidence| evidence.status);
        if status == Some(EvidenceStatus::Tested) {
            continue;
        }
        let status = status.map_or("none", EvidenceStatus::as_str);
        found.push(Obstacle {
            what: "reach-unverified",
            gpu: Some(device.to_string()),
            message: format!(
                "no test is known in which this GPU accessed the memory of {heap} (evidence: {status})"
            ),
            next: format!(
                "play protected content on this board, and record the result in [evidence.{heap:?}] of \
                 a policy"
            ),
        });
    }
}

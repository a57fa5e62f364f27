// SPDX-License-Identifier: MIT OR Apache-2.0

//! Heap providers: those that failed, and a TEE without protected memory.

use protheap_board::devices::OPTEE;
use protheap_core::facts::Provider;
use protheap_policy::name::HeapName;

use super::{Found, Obstacle, Situation};

/// Adds the providers whose driver failed to probe, unless all GPUs have a heap.
pub(super) fn find(at: &Situation<'_>, found: &mut Found) {
    if at.machine.is_blob || at.without_heap().next().is_none() {
        return;
    }
    for (device, provider) in &at.machine.facts.providers {
        let Some(failure) = &provider.failure else { continue };
        let (meaning, next) = meaning(provider, &failure.message);
        found.push(Obstacle {
            what: "provider-failed",
            gpu: None,
            message: format!("{device}: {}{meaning}", failure.message),
            next: next.to_owned(),
        });
    }
    tee(at, found);
}

/// Returns what the messages of OP-TEE's driver mean (`drivers/tee/optee/smc_abi.c`), and the
/// remedy.
fn meaning(provider: &Provider, message: &str) -> (&'static str, &'static str) {
    if !is_optee(provider) {
        return ("", "see `dmesg` for the messages of the driver");
    }
    let has = |words: &str| message.contains(words);
    if has("api revision mismatch") || has("capabilities mismatch") {
        return (
            ": the firmware's OP-TEE does not fit this kernel",
            "update the firmware to OP-TEE 4.9 or later; see docs/optee.md",
        );
    }
    let meaning = if has("api uid mismatch") || has("error -22") {
        ": there is no OP-TEE in the firmware behind this node"
    } else {
        ""
    };
    (
        meaning,
        "use a firmware with OP-TEE (BL32 of TF-A), or remove OP-TEE's node from the device tree; \
         see docs/optee.md",
    )
}

/// Adds an OP-TEE that runs and has registered no heap.
fn tee(at: &Situation<'_>, found: &mut Found) {
    let facts = &at.machine.facts;
    let is_bound = |provider: &&Provider| is_optee(provider) && provider.driver.is_some();
    if !facts.has_tee_for_heaps()
        || facts.heaps.iter().any(HeapName::is_of_tee)
        || !facts.providers.values().any(|provider| is_bound(&provider))
        || found.obstacles.iter().any(|one| one.message.contains("CONFIG_TEE_DMABUF_HEAPS"))
    {
        return;
    }
    let tees: Vec<_> = facts.tees.iter().filter(|tee| tee.makes_heaps()).collect();
    let names: Vec<_> = tees.iter().map(ToString::to_string).collect();
    found.push(Obstacle {
        what: "tee-without-protected-memory",
        gpu: None,
        message: format!(
            "{} runs and has registered no heap: it was built without protected memory, or the \
             kernel lacks CONFIG_TEE_DMABUF_HEAPS",
            names.join(", ")
        ),
        next: "build OP-TEE 4.9 or later with CFG_SECURE_DATA_PATH=y and either \
               CFG_CORE_DYN_PROTMEM=y, or CFG_TEE_SDP_MEM_BASE and CFG_TEE_SDP_MEM_SIZE for a static \
               carve-out; see docs/optee.md"
            .to_owned(),
    });
}

/// Returns whether a provider is OP-TEE. A device on FF-A has no node.
pub(super) fn is_optee(provider: &Provider) -> bool {
    provider.compatible.is_empty() || provider.compatible.iter().any(|one| one == OPTEE)
}

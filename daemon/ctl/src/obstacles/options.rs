// SPDX-License-Identifier: MIT OR Apache-2.0

//! Options of the kernel that are required and disabled.

use protheap_policy::name::HeapName;

use super::{Found, Obstacle, Situation};
use crate::config::{self, Choice, Config};

/// A required option of the kernel.
struct Needed {
    /// Alternatives, of which one is sufficient.
    options: &'static [&'static str],
    when: fn(&Situation<'_>) -> bool,
    why: &'static str,
}

const NEEDED: [Needed; 6] = [
    Needed {
        options: &["CONFIG_CONFIGFS_FS"],
        when: |at| at.lacks_module(),
        why: "protheap.ko needs configfs",
    },
    Needed {
        options: &["CONFIG_RUST"],
        when: |at| at.lacks_module(),
        why: "protheap.ko is written in Rust",
    },
    Needed {
        options: &["CONFIG_DRM_PANTHOR", "CONFIG_DRM_TYR"],
        when: |at| at.machine.facts.gpus.values().any(|gpu| gpu.driver.is_none()),
        why: "the GPU has no driver",
    },
    Needed {
        options: &["CONFIG_DMABUF_HEAPS"],
        when: |at| at.machine.facts.heaps.is_empty(),
        why: "this kernel has no dma-buf heaps",
    },
    Needed {
        options: &["CONFIG_OPTEE"],
        when: |at| at.lacks_driver_of_optee(),
        why: "OP-TEE has no driver",
    },
    Needed {
        options: &["CONFIG_TEE_DMABUF_HEAPS"],
        when: |at| at.has_optee() && !at.machine.facts.heaps.iter().any(HeapName::is_of_tee),
        why: "OP-TEE's protected memory is not available as a heap",
    },
];

/// Adds the required options that are disabled, or the reason if the configuration is unknown.
pub(super) fn find(at: &Situation<'_>, found: &mut Found) {
    if at.is_foreign() || at.unbound().next().is_none() {
        return;
    }
    let needed: Vec<_> = NEEDED.iter().filter(|needed| (needed.when)(at)).collect();
    if needed.is_empty() {
        return;
    }
    let mut problems = Vec::new();
    let release = &at.machine.facts.kernel.release;
    let Some(config) = config::read(&at.machine.root, release, &mut problems) else {
        let why = problems.first().map_or_else(
            || "found neither /proc/config.gz nor a configuration file for this kernel".to_owned(),
            ToString::to_string,
        );
        found.unknown = Some(format!("kernel options unknown: {why}"));
        return;
    };
    for Needed { options, why, .. } in needed {
        if options.iter().all(|option| config.choice(option) == Choice::No) {
            found.push(off(&config, options, why));
        }
    }
}

/// Returns the obstacle of disabled options, of which one is needed.
pub(super) fn off(config: &Config, options: &[&str], why: &str) -> Obstacle {
    let names = options.join(" and ");
    let are = if options.len() == 1 { "is" } else { "are" };
    Obstacle {
        what: "kernel-option",
        gpu: None,
        message: format!("{names} {are} disabled in {}: {why}", config.path),
        next: format!("use a kernel with {}", options.join(" or ")),
    }
}

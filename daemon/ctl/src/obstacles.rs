// SPDX-License-Identifier: MIT OR Apache-2.0

//! Obstacles between a board and its protected memory, each with a remedy.

use std::collections::BTreeSet;

use crate::config::{self, Choice, Config};
use protheap_board::cma;
use protheap_board::kernel::has_module;
use protheap_core::facts::Delivery;
use protheap_core::state::Reason;
use protheap_core::state_file::Refused;
use protheap_policy::name::HeapName;
use serde::Serialize;

use crate::bus::DAEMON;
use crate::machine::Machine;
use crate::status::gpu::Status;
use crate::status::kernel::is_loaded;
use crate::words;

/// An obstacle.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Obstacle {
    /// A stable word: an obstacle of docs/protheapctl.md, or a reason of docs/state.md.
    pub(crate) what: &'static str,
    /// The affected GPU; null if all are.
    pub(crate) gpu: Option<String>,
    pub(crate) message: String,
    /// Next step.
    pub(crate) next: String,
}

/// The facts to search for obstacles.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) gpus: &'a [Status],
    pub(crate) refused: &'a [Refused],
    /// Whether protheapd is running, if known.
    pub(crate) daemon_runs: Option<bool>,
    /// Mechanism that delivers a binding to the GPU driver, if known.
    pub(crate) delivery: Option<Delivery>,
}

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
        when: |at| at.has_optee(false),
        why: "OP-TEE has no driver",
    },
    Needed {
        options: &["CONFIG_TEE_DMABUF_HEAPS"],
        when: |at| at.has_optee(true) && !at.machine.facts.heaps.iter().any(HeapName::is_of_tee),
        why: "OP-TEE's protected memory is not available as a heap",
    },
];

impl Situation<'_> {
    /// Returns whether a GPU has no heap and no pending attempt.
    fn is_bad(&self) -> bool {
        let gpus = || self.machine.facts.gpus.keys();
        let status = |device: &str| self.gpus.iter().find(|gpu| gpu.device == device);
        gpus().filter_map(|device| status(device.as_str())).any(is_without)
    }

    fn lacks_module(&self) -> bool {
        self.delivery == Some(Delivery::None)
    }

    /// Returns whether there is an OP-TEE whose driver is bound (`driven`) or not.
    fn has_optee(&self, driven: bool) -> bool {
        let providers = self.machine.facts.providers.values();
        let is_optee = |compatible: &[String]| {
            // A device on FF-A has no node.
            compatible.is_empty()
                || compatible.iter().any(|one| one == protheap_board::devices::OPTEE)
        };
        let mut optees = providers.filter(|provider| is_optee(&provider.compatible));
        optees.any(|provider| driven == provider.driver.is_some())
    }
}

fn is_without(gpu: &Status) -> bool {
    gpu.state.is_some() && !gpu.is_bound() && !gpu.is_pending()
}

/// Returns all obstacles, and the reason if the list may be incomplete.
pub(crate) fn find(at: &Situation<'_>) -> (Vec<Obstacle>, Option<String>) {
    let (mut found, mut why) = (Vec::new(), None);
    if at.is_bad() || at.delivery.is_none() {
        module(at, &mut found);
    }
    if at.is_bad() {
        why = options(at, &mut found);
    }
    for gpu in at.gpus {
        of_gpu(at, gpu, &mut found);
    }
    files(at, &mut found);
    // protheapd needs the module, and does not start early at boot.
    let of_use = !at.gpus.is_empty() && at.delivery == Some(Delivery::Module);
    if of_use && at.daemon_runs == Some(false) && !at.gpus.iter().any(Status::is_pending) {
        found.push(Obstacle {
            what: "not-running",
            gpu: None,
            message: format!(
                "{DAEMON} is not running: late binding and new suspend buffers are unavailable"
            ),
            next: format!("systemctl start {DAEMON}"),
        });
    }
    (found, why)
}

fn module(at: &Situation<'_>, found: &mut Vec<Obstacle>) {
    let root = &at.machine.root;
    let mut add = |what, message: String, next: &str| {
        found.push(Obstacle { what, gpu: None, message, next: next.to_owned() });
    };
    if at.delivery.is_none() && is_loaded(root) {
        let message = "protheap.ko is loaded, but configfs is not mounted".to_owned();
        add("configfs-not-mounted", message, "mount -t configfs configfs /sys/kernel/config");
    }
    if !at.lacks_module() {
        return;
    }
    if has_module(root, &at.machine.facts.kernel.release, "protheap", &mut Vec::new()) {
        add("module-not-loaded", "protheap.ko is not loaded".to_owned(), "modprobe protheap");
    } else {
        let message = "protheap.ko is not installed for this kernel".to_owned();
        add(
            "module-not-installed",
            message,
            "install protheap.ko for this kernel, or build it from driver/module",
        );
    }
}

/// Adds the required options that are disabled. Returns the reason if the configuration is unknown.
fn options(at: &Situation<'_>, found: &mut Vec<Obstacle>) -> Option<String> {
    let needed: Vec<_> = NEEDED.iter().filter(|needed| (needed.when)(at)).collect();
    if needed.is_empty() {
        return None;
    }
    let mut problems = Vec::new();
    let release = &at.machine.facts.kernel.release;
    let Some(config) = config::read(&at.machine.root, release, &mut problems) else {
        let why = problems.first().map_or_else(
            || "found neither /proc/config.gz nor a configuration file for this kernel".to_owned(),
            ToString::to_string,
        );
        return Some(format!("kernel options unknown: {why}"));
    };
    for Needed { options, why, .. } in needed {
        if options.iter().all(|option| config.choice(option) == Choice::No) {
            found.push(off(&config, options, why));
        }
    }
    None
}

fn off(config: &Config, options: &[&str], why: &str) -> Obstacle {
    let names = options.join(" and ");
    let are = if options.len() == 1 { "is" } else { "are" };
    Obstacle {
        what: "kernel-option",
        gpu: None,
        message: format!("{names} {are} disabled in {}: {why}", config.path),
        next: format!("use a kernel with {}", options.join(" or ")),
    }
}

fn of_gpu(at: &Situation<'_>, gpu: &Status, found: &mut Vec<Obstacle>) {
    let device = &gpu.device;
    let mut add = |what, message: String, next: String| {
        found.push(Obstacle { what, gpu: Some(device.clone()), message, next });
    };
    if let Some(next) = &gpu.next {
        let policy = next.policy.as_ref().map(|key| format!(", by policy {key}"));
        let message = match &next.heap {
            Some(heap) => {
                format!("the next selection would bind {heap}{}", policy.unwrap_or_default())
            }
            None => {
                let reason = Reason::optional_str(next.reason);
                format!("the next selection would bind no heap: {reason}")
            }
        };
        let now = if gpu.is_bound() {
            "run `protheapctl rebind` while no driver is bound to the GPU".to_owned()
        } else {
            format!("run `systemctl start {DAEMON}`")
        };
        add("policy-waits", message, format!("reboot, or {now}"));
    }
    if let Some(node) = at.machine.nodes.get(device)
        && node.status != crate::devicetree::OKAY
    {
        let message = format!("the status of its device-tree node is {:?}", node.status);
        add("disabled", message, "enable the node in the device tree".to_owned());
    }
    if !is_without(gpu) {
        return;
    }
    match gpu.reason {
        // The missing module is an obstacle of its own.
        Some(Some(Reason::NoConsumer)) if at.delivery == Some(Delivery::None) => {}
        Some(Some(Reason::NoConsumer)) => {
            let driver = gpu.driver.as_deref().unwrap_or("the GPU driver");
            add(
                "driver-without-protheap",
                format!("{driver} does not request buffers from protheap.ko"),
                "use a kernel with driver/patches; see docs/panthor.md".to_owned(),
            );
        }
        None => {
            let message = format!("neither protheap-bind nor {DAEMON} has published a result");
            add("not-decided", message, format!("systemctl start {DAEMON}"));
        }
        Some(Some(reason)) => {
            let words::Explanation { meaning, next } = words::reason(reason);
            let failures = failures(at).filter(|_| reason == Reason::NoHeap);
            let detail = failures.or(gpu.detail.clone()).map(|detail| format!(": {detail}"));
            let mut message = format!("{meaning}{}", detail.unwrap_or_default());
            // A sandboxed program cannot read CMA's state, so that its message may lack it.
            let has_cma = reason != Reason::HeapTooSmall || message.contains("CMA");
            if let Some(cma) = explain_cma(at, gpu).filter(|_| !has_cma) {
                message = format!("{message}; {cma}");
            }
            add(reason.as_str(), message, next.to_owned());
        }
        Some(None) => {}
    }
}

/// Returns why providers failed. Unlike a sandboxed program, this one can read all of the kernel
/// log.
fn failures(at: &Situation<'_>) -> Option<String> {
    let providers = at.machine.facts.providers.iter();
    let failures = providers.filter_map(|(device, provider)| {
        Some(format!("{device}: {}", provider.failure.as_ref()?.message))
    });
    Some(failures.collect::<Vec<_>>().join("; ")).filter(|failures| !failures.is_empty())
}

/// Returns how CMA relates to a heap that had too little memory.
fn explain_cma(at: &Situation<'_>, gpu: &Status) -> Option<String> {
    let bytes = gpu.firmware_bytes?.saturating_add(gpu.suspend_bytes.unwrap_or_default());
    cma::read(&at.machine.root)?.explain(gpu.heap.as_ref()?, bytes)
}

fn files(at: &Situation<'_>, found: &mut Vec<Obstacle>) {
    let mut paths = BTreeSet::new();
    for refused in at.refused.iter().filter(|refused| paths.insert(&refused.path)) {
        let Refused { path, line, column, message, kept } = refused;
        let place = if *line == 0 { String::new() } else { format!(":{line}:{column}") };
        let kept = if *kept { "; its last valid contents still apply" } else { "" };
        let next = if path.ends_with(".toml") {
            format!("protheapctl check {path}")
        } else {
            String::new()
        };
        found.push(Obstacle {
            what: "refused-file",
            gpu: None,
            message: format!("{path}{place}: {message}{kept}"),
            next,
        });
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl draft`: drafts a policy for a board from what is visible of it.

use std::fmt::Write as _;

use crate::devicetree::Region;
use anyhow::{Result, bail};
use protheap_board::heaps::Heap;
use protheap_board::{devices, firmware};
use protheap_core::facts::{FIRMWARE_BYTES, Firmware, Gpu, Protection, Verdict};
use protheap_policy::name::{DeviceName, HeapName, Key};
use protheap_policy::policy::SUSPEND_BYTES;
use protheap_policy::sanitize::is_hidden;
use protheap_runtime::state_file;

use crate::machine::{Machine, Which};
use crate::output::Sanitized;

/// OP-TEE's heap in a kernel from kernel.org, registered by `drivers/tee/optee`.
const OPTEE_HEAP: &str = "protected,secure-video";
/// Compatible strings of carve-outs whose driver is not in kernel.org and registers a heap with the
/// node's name.
const CARVE_OUTS: [&str; 2] = ["linaro,restricted-heap", "linaro,secure-heap"];

/// Which machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The draft is printed to standard output, and begins with the name that the file must have. On the
running machine, the buffers of a GPU are allocated from each heap, and freed immediately. This
needs root; some firmware lends memory to the secure world meanwhile. To install a draft, run:

  protheapctl draft >draft.toml &&
  install -D -m 0644 draft.toml /etc/protheap/policies/NAME.toml &&
  protheapctl check /etc/protheap/policies/NAME.toml &&
  protheapctl explain

Exit status: 0 on success, 1 on failure or if the board has no enabled Mali CSF GPU, 2 on a usage
error.")]
pub(crate) struct Args {
    #[command(flatten)]
    machine: Which,
}

/// A possible heap.
struct Candidate {
    name: HeapName,
    /// Observation about the heap, for a comment and its evidence.
    seen: String,
    protection: Option<Protection>,
}

/// A heap that was left out.
struct LeftOut {
    name: String,
    why: String,
}

/// Examines the machine, and returns the policy.
pub(crate) fn run(args: &Args) -> Result<String> {
    let mut machine = Machine::look(&args.machine)?;
    if machine.facts.gpus.is_empty() {
        if let Some(node) = machine.nodes.values().next() {
            bail!(
                "the status of the GPU's node {} is {:?}; enable it in the device tree",
                node.path,
                node.status
            );
        }
        if let Some(node) = machine.arm_nodes.first() {
            bail!(
                "the node {} is described for Arm's kernel driver (kbase), by compatible {}; if its \
                 GPU is a Mali CSF GPU, mainline's panthor needs arm,mali-valhall-csf; see \
                 `protheapctl explain`",
                node.path,
                node.compatible.join(" ")
            );
        }
        if machine.is_acpi {
            bail!(
                "this machine boots with ACPI and has no device tree: it needs no policy, because GPU \
                 drivers find Mali CSF GPUs in device trees only"
            );
        }
        bail!("this board has no Mali CSF GPU, and needs no policy");
    }
    let Some(key) = machine.facts.platform.compatible.iter().find_map(|one| Key::new(one).ok())
    else {
        bail!("this board has no compatible string after which a policy can be named");
    };
    let images = if machine.is_blob {
        Vec::new()
    } else {
        let release = &machine.facts.kernel.release;
        firmware::read(&machine.root, release, None, &mut machine.problems)
    };
    let (candidates, left_out) = judge(&mut machine, &images);
    Ok(text(&machine, &key, &images, &candidates, &left_out))
}

/// Classifies every heap that is present or can appear.
fn judge(machine: &mut Machine, images: &[Firmware]) -> (Vec<Candidate>, Vec<LeftOut>) {
    let (mut candidates, mut left_out) = (Vec::new(), Vec::new());
    if machine.is_blob {
        foresee(machine, &mut candidates, &mut left_out);
        return (candidates, left_out);
    }
    if let Some(file) = state_file::read(&machine.root, &mut machine.problems) {
        file.add_verdicts(&mut machine.facts);
    }
    let known = |heap: &HeapName| {
        let verdicts = machine.facts.gpus.values().filter_map(|gpu| gpu.verdicts.get(heap));
        // An earlier success counts, because the heap's memory may now be in use.
        verdicts.into_iter().find(|verdict| matches!(verdict, Verdict::Allocated { .. })).cloned()
    };
    for heap in &machine.facts.heaps {
        let verdict = match known(heap) {
            Some(verdict) => Ok(verdict),
            None if machine.root.is_running() => try_heap(machine, heap, images),
            None => Err("present, but no buffers were allocated from it".to_owned()),
        };
        let leave = |why: &str| LeftOut { name: heap.to_string(), why: why.to_owned() };
        match verdict {
            Ok(Verdict::Allocated { protection: Protection::None, .. }) => {
                left_out.push(leave("not protected: the CPU can map its memory"));
            }
            Ok(Verdict::Allocated { protection, exporter, .. }) => {
                let proof = match protection {
                    Protection::Tee => "the kernel's TEE heap",
                    _ => "necessary for protection, but no proof of it",
                };
                let seen = format!("the CPU cannot map its memory; exporter {exporter}: {proof}");
                candidates.push(Candidate {
                    name: heap.clone(),
                    seen,
                    protection: Some(protection),
                });
            }
            Ok(Verdict::TooSmall(_)) => left_out.push(leave(
                "too little free memory for the buffers of a GPU; check its size and its users",
            )),
            Ok(Verdict::Dead) => {
                left_out.push(leave("refuses every allocation; check that its TEE is running"));
            }
            Err(why) if heap.is_of_tee() => {
                candidates.push(Candidate { name: heap.clone(), seen: why, protection: None });
            }
            Err(why) => left_out.push(leave(&why)),
        }
    }
    // Heaps of a TEE come first. The order of names has no meaning.
    candidates.sort_by_key(|candidate| candidate.protection != Some(Protection::Tee));
    (candidates, left_out)
}

/// Allocates the minimum of buffers that a GPU needs, and frees them. Returns an error if the
/// attempt shows nothing about the heap.
fn try_heap(machine: &Machine, name: &HeapName, images: &[Firmware]) -> Result<Verdict, String> {
    let heap = match Heap::open(&machine.root, name) {
        Ok(heap) => heap,
        Err(error) if error.is_permission() => {
            return Err(
                "present, but no buffers were allocated from it; run `protheapctl draft` as root"
                    .to_owned(),
            );
        }
        Err(error) => return Ok(error.verdict()),
    };
    let firmware = images.iter().map(|image| image.protected_bytes).max();
    let firmware = firmware.filter(|bytes| *bytes > 0).unwrap_or(FIRMWARE_BYTES);
    let firmware = match heap.allocate(firmware) {
        Ok(buffer) => buffer,
        Err(error) => return Ok(error.verdict()),
    };
    let (protection, exporter) = firmware.judge();
    // One suspend buffer is sufficient for a binding.
    if protection != Protection::None
        && let Err(error) = heap.allocate(SUSPEND_BYTES)
    {
        return Ok(error.verdict());
    }
    Ok(Verdict::Allocated { protection, exporter, shortage: None })
}

/// Adds the heaps that can appear according to the device tree.
fn foresee(machine: &Machine, candidates: &mut Vec<Candidate>, left_out: &mut Vec<LeftOut>) {
    for region in machine.tree.reserved_memory().take(100) {
        let Region { path, compatible, reusable, .. } = &region;
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Some(driver) = compatible.iter().find(|one| CARVE_OUTS.contains(&one.as_str())) {
            // The heap has the name of the node without its address.
            let name = name.split('@').next().unwrap_or_default();
            if let Ok(name) = HeapName::new(name) {
                let seen = format!("carve-out at {path} for the driver of \"{driver}\"");
                candidates.push(Candidate { name, seen, protection: None });
            }
        } else if *reusable && compatible.iter().any(|one| one == "shared-dma-pool") {
            let why = "not protected: a CMA pool of the kernel".to_owned();
            left_out.push(LeftOut { name: name.to_owned(), why });
        }
    }
    let has_optee = machine
        .facts
        .providers
        .values()
        .any(|provider| provider.compatible.iter().any(|one| one == devices::OPTEE));
    if has_optee && let Ok(name) = HeapName::new(OPTEE_HEAP) {
        let seen = "OP-TEE has a node; its heap appears if its firmware has protected memory";
        candidates.push(Candidate { name, seen: seen.to_owned(), protection: None });
    }
}

/// Returns the policy: comments for the observations, and tables for their consequences.
fn text(
    machine: &Machine,
    key: &Key,
    images: &[Firmware],
    candidates: &[Candidate],
    left_out: &[LeftOut],
) -> String {
    let facts = &machine.facts;
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    let tame = |text: &str| Sanitized(text).to_string();
    let model = facts.platform.model.as_deref().unwrap_or(key.as_str());

    head(&mut line, machine, key);
    line("schema = 1");
    line(&format!("description = {}", quoted(model)));

    for table in tables(&facts.gpus) {
        line("");
        line(&format!("[gpu.{}]", quoted(&table)));
        heaps(&mut line, candidates);
    }
    if !left_out.is_empty() {
        line("# Rejected heaps:");
    }
    for LeftOut { name, why } in left_out {
        line(&tame(&format!("#   {name}: {why}")));
    }
    firmware_lines(&mut line, images, machine.is_blob);
    line("# See protheap-policy(5) for all settings.");

    for Candidate { name, seen, .. } in candidates {
        line("");
        line(&format!("[evidence.{}]", quoted(name.as_str())));
        line("# Change this to \"tested\" once protected content has been played with this heap.");
        line("status = \"unverified\"");
        line(&format!("source = {}", quoted(&format!("protheapctl draft on this board: {seen}"))));
    }
    line("");
    line(
        "# Heaps that each device of the media pipeline can use, by the compatible string of its \
         node. Media stacks",
    );
    line("# get the heap that all of these devices can use, or none without such tables.");
    let example = candidates.first().map_or(OPTEE_HEAP, |candidate| candidate.name.as_str());
    for device in tables(&facts.gpus).into_iter().chain(["vendor,video-decoder".to_owned()]) {
        line(&format!("# [share.{}]", quoted(&device)));
        line(&format!("# secure-video = [{}]", quoted(example)));
    }
    text
}

/// Writes the file name that the policy needs, and the observations.
fn head(line: &mut impl FnMut(&str), machine: &Machine, key: &Key) {
    let facts = &machine.facts;
    let tame = |text: &str| Sanitized(text).to_string();
    line(&format!(
        "# Draft of /etc/protheap/policies/{key}.toml, which applies to this board only."
    ));
    let others = facts.platform.compatible.iter().filter(|one| *one != key.as_str());
    for other in others {
        line(&format!(
            "# Name it {other}.toml to apply it to all boards with that compatible string."
        ));
    }
    line("# It refines more general policies: remove settings that they already have.");
    line("#");
    if machine.is_blob {
        line("# Source: the board's device tree, which does not list heaps.");
    } else {
        let tees: Vec<_> = facts.tees.iter().map(ToString::to_string).collect();
        let (release, tees) = (or(&facts.kernel.release, "of unknown release"), tees.join(", "));
        line(&tame(&format!(
            "# Source: the heaps of the board; kernel {release}, TEEs: {}.",
            or(&tees, "none")
        )));
    }
    for (device, gpu) in &facts.gpus {
        let driver = gpu.driver.as_deref().map_or(String::new(), |d| format!(", driver {d}"));
        line(&tame(&format!("# GPU {device}: {}{driver}", gpu.compatible.join(" "))));
    }
    for node in machine.nodes.values().filter(|node| !is_there(facts.gpus.keys(), &node.device)) {
        line(&tame(&format!(
            "# GPU {}: omitted, because the status of its node is {:?}",
            node.device, node.status
        )));
    }
}

fn is_there<'a>(mut names: impl Iterator<Item = &'a DeviceName>, device: &str) -> bool {
    names.any(|name| name.as_str() == device)
}

/// Returns names of tables for all GPUs: a compatible string that all have, or else one for each
/// GPU.
fn tables(gpus: &std::collections::BTreeMap<DeviceName, Gpu>) -> Vec<String> {
    let of_all = |one: &&str| gpus.values().all(|gpu| gpu.compatible.iter().any(|has| has == one));
    match devices::GPUS.iter().copied().find(of_all) {
        Some(common) => vec![common.to_owned()],
        None => gpus.keys().map(ToString::to_string).collect(),
    }
}

fn heaps(line: &mut impl FnMut(&str), candidates: &[Candidate]) {
    if candidates.is_empty() {
        line(
            "# No heap was found that could be protected, so the heaps of more general policies \
             apply. The heap of a TEE",
        );
        line("# needs CONFIG_OPTEE, CONFIG_TEE_DMABUF_HEAPS, and an OP-TEE with protected memory.");
        line("# To use another heap, name it here. The order is that of preference:");
        line("# heaps = [{ name = \"...\" }]");
        return;
    }
    line(
        "# In order of preference: the first heap that is present, meets its conditions and is \
         protected is bound.",
    );
    line("# Remove heaps that this GPU cannot access, which the kernel does not show.");
    line("heaps = [");
    for Candidate { name, seen, .. } in candidates {
        line(&Sanitized(&format!("  # {seen}")).to_string());
        line(&format!("  {{ name = {} }},", quoted(name.as_str())));
    }
    line("]");
}

fn firmware_lines(line: &mut impl FnMut(&str), images: &[Firmware], is_blob: bool) {
    if is_blob {
        return;
    }
    if images.is_empty() {
        line(
            "# No firmware image was found: 256 KiB are assumed, which is what all known images \
            need.",
        );
        return;
    }
    line(
        "# Uncomment the image that the GPU loads. By default, the largest protected section of \
         all images is assumed.",
    );
    for image in images {
        let kib = image.protected_bytes / 1024;
        line(&format!("# firmware = {}  # {kib} KiB", quoted(&image.name)));
    }
}

fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

/// Returns a TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if is_hidden(c) => {
                // Writing to a `String` cannot fail.
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_quoted() {
        for text in [
            "",
            "Acme \"A9\" \\ TV",
            "line\nline",
            "\u{7f}\u{1b}[2J\u{85}",
            "\u{202e}\u{e0041}",
            "Müller",
        ] {
            let toml = format!("schema = 1\ndescription = {}\n", quoted(text));
            let key = Key::new("k").unwrap();
            protheap_policy::fragment::Fragment::parse(&key, "k.toml", &toml).unwrap();
            assert!(!toml.trim_end_matches('\n').contains(|c| is_hidden(c) && c != '\n'));
        }
    }
}

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
use crate::tame::Tame;

/// OP-TEE's heap in a kernel from kernel.org, registered by `drivers/tee/optee`.
const OPTEE_HEAP: &str = "protected,secure-video";
/// Compatible strings of carve-outs whose driver is not in kernel.org and registers a heap with the
/// node's name.
const CARVE_OUTS: [&str; 2] = ["linaro,restricted-heap", "linaro,secure-heap"];

/// Which machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The draft goes to standard output; its first lines say which name the file has to have. On the
running machine each heap is tried with the buffers that a GPU needs, which are freed at once: that
needs root, and with some firmware it lends memory to the secure world for that moment. Then:

  protheapctl draft >draft.toml &&
  install -D -m 0644 draft.toml /etc/protheap/policies/NAME.toml &&
  protheapctl check /etc/protheap/policies/NAME.toml &&
  protheapctl explain

Exit status 1 if the board has no Mali CSF GPU that is enabled: it needs no policy.")]
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
                "the GPU at {} has the status {:?}: no policy can use it before the device tree \
                 enables it",
                node.path,
                node.status
            );
        }
        bail!("this board has no Mali CSF GPU: it needs no policy");
    }
    let Some(key) = machine.facts.platform.compatible.iter().find_map(|one| Key::new(one).ok())
    else {
        bail!("the board has no compatible string that a policy could be named by");
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
            None => Err("it is there, and was not tried".to_owned()),
        };
        let leave = |why: &str| LeftOut { name: heap.to_string(), why: why.to_owned() };
        match verdict {
            Ok(Verdict::Allocated { protection: Protection::None, .. }) => {
                left_out.push(leave("its memory can be mapped: it protects nothing"));
            }
            Ok(Verdict::Allocated { protection, exporter, .. }) => {
                let proof = match protection {
                    Protection::Tee => "the kernel's TEE heap",
                    _ => "necessary, but no proof that it is protected",
                };
                let seen = format!("cannot be mapped; exporter {exporter}: {proof}");
                candidates.push(Candidate {
                    name: heap.clone(),
                    seen,
                    protection: Some(protection),
                });
            }
            Ok(Verdict::TooSmall(_)) => left_out.push(leave(
                "it has too little memory left for a GPU's buffers: is it in use, or small?",
            )),
            Ok(Verdict::Dead) => left_out.push(leave("it gives no memory: has its TEE gone?")),
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
            return Err("it is there, and was not tried: that needs root".to_owned());
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
                let seen = format!("a carve-out at {path} for the driver of \"{driver}\"");
                candidates.push(Candidate { name, seen, protection: None });
            }
        } else if *reusable && compatible.iter().any(|one| one == "shared-dma-pool") {
            let why = "a pool of the kernel's: its memory can be mapped".to_owned();
            left_out.push(LeftOut { name: name.to_owned(), why });
        }
    }
    let has_optee = machine
        .facts
        .providers
        .values()
        .any(|provider| provider.compatible.iter().any(|one| one == devices::OPTEE));
    if has_optee && let Ok(name) = HeapName::new(OPTEE_HEAP) {
        let seen = "there is a node of OP-TEE; its heap comes if its firmware has protected memory";
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
    let tame = |text: &str| Tame(text).to_string();
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
        line("# Left out:");
    }
    for LeftOut { name, why } in left_out {
        line(&tame(&format!("#   {name}: {why}")));
    }
    firmware_lines(&mut line, images, machine.is_blob);
    line("# What else can be said here, and what it means: protheap-policy(5).");

    for Candidate { name, seen, .. } in candidates {
        line("");
        line(&format!("[evidence.{}]", quoted(name.as_str())));
        line("# \"tested\" when protected content has played with it.");
        line("status = \"unverified\"");
        line(&format!("source = {}", quoted(&format!("protheapctl draft on this board: {seen}"))));
    }
    line("");
    line(
        "# What each device of the media pipeline can use, by the compatible string of its node. The heap that all",
    );
    line(
        "# of them can use is the one that media stacks are told; without such tables they are told none.",
    );
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
    let tame = |text: &str| Tame(text).to_string();
    line(&format!("# Draft of /etc/protheap/policies/{key}.toml, for this board alone."));
    let others = facts.platform.compatible.iter().filter(|one| *one != key.as_str());
    for other in others {
        line(&format!("# Named {other}.toml it is for all boards that have that string."));
    }
    line("# It refines what the policies below it say: take out what they say already.");
    line("#");
    if machine.is_blob {
        line("# Seen in its device tree; which heaps there are, only the running board can say.");
    } else {
        let tees: Vec<_> = facts.tees.iter().map(ToString::to_string).collect();
        let (release, tees) = (or(&facts.kernel.release, "of unknown release"), tees.join(", "));
        line(&tame(&format!(
            "# Seen with kernel {release}, and these TEEs: {}.",
            or(&tees, "none")
        )));
    }
    for (device, gpu) in &facts.gpus {
        let driver = gpu.driver.as_deref().map_or(String::new(), |d| format!(", driver {d}"));
        line(&tame(&format!("# GPU {device}: {}{driver}", gpu.compatible.join(" "))));
    }
    for node in machine.nodes.values().filter(|node| !is_there(facts.gpus.keys(), &node.device)) {
        line(&tame(&format!(
            "# GPU {}: its node is {:?}, and it is left out",
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
            "# No heap was found that could be protected memory, so that what other policies say stays. A heap of the",
        );
        line(
            "# TEE comes with its driver: CONFIG_OPTEE, CONFIG_TEE_DMABUF_HEAPS, and an OP-TEE with protected memory.",
        );
        line("# Whoever knows another one names it, the most preferred first:");
        line("# heaps = [{ name = \"...\" }]");
        return;
    }
    line(
        "# The most preferred first: the first that is there, fits and passes is bound. Only somebody who knows the",
    );
    line("# board can say which of them this GPU reaches.");
    line("heaps = [");
    for Candidate { name, seen, .. } in candidates {
        line(&Tame(&format!("  # {seen}")).to_string());
        line(&format!("  {{ name = {} }},", quoted(name.as_str())));
    }
    line("]");
}

fn firmware_lines(line: &mut impl FnMut(&str), images: &[Firmware], is_blob: bool) {
    if is_blob {
        return;
    }
    if images.is_empty() {
        line("# No firmware image was found: 256 KiB are assumed, as all known images need.");
        return;
    }
    line(
        "# Which of these images the GPU loads is not known; without a word the largest protected section counts.",
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
fn quoted(text: &str) -> String {
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

// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl draft`: drafts a policy for a board from what is visible of it.

mod gpu;
mod heaps;
mod pipeline;
mod text;

use anyhow::{Result, bail};
use protheap_board::firmware;
use protheap_core::facts::Firmware;
use protheap_policy::name::Key;

use crate::machine::{Machine, Which};
use crate::obstacles;
use gpu::Table;
use heaps::{Candidate, LeftOut, Source};
pub(crate) use text::quoted;

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

/// Contents of a draft.
struct Draft {
    machine: Machine,
    /// Compatible string of the board, after which the file is named.
    key: Key,
    /// Firmware images that are installed.
    images: Vec<Firmware>,
    tables: Vec<Table>,
    candidates: Vec<Candidate>,
    left_out: Vec<LeftOut>,
    /// Nodes that may be the source of heaps whose names are unknown.
    sources: Vec<Source>,
    /// Devices of the media pipeline without a table in the applied policies.
    pipeline: Vec<pipeline::Device>,
    /// Required kernel options that are disabled.
    options: Vec<String>,
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
    let heaps = heaps::judge(&mut machine, &images);
    let draft = Draft {
        tables: gpu::tables(&machine),
        pipeline: pipeline::devices(&mut machine),
        options: if machine.is_blob { Vec::new() } else { obstacles::disabled_options(&machine) },
        candidates: heaps.candidates,
        left_out: heaps.left_out,
        sources: heaps.sources,
        machine,
        key,
        images,
    };
    Ok(draft.text())
}

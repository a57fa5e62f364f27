// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl timeline`: shows the binding events of each GPU, from `state.json` and udev.

mod svg;
mod text;
mod udev;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use protheap_board::Problem;
use protheap_board::root::Root;
use protheap_core::state::{Reason, State};
use protheap_core::state_file::GpuState;
use protheap_policy::name::DeviceName;
use protheap_runtime::state_file;
use serde::Serialize;

use crate::output::json;

/// Version of the `--json` output.
const SCHEMA: u32 = 1;

/// Which machine, and how to print it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Times are milliseconds since boot. A device from udev's database appeared at the shown time or
earlier. docs/protheapctl.md describes the JSON.

Exit status: 0 on success, 1 on failure, 2 on a usage error.")]
pub(crate) struct Args {
    /// Inspect the machine whose directory tree is at DIR
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
    /// Print one JSON object
    #[arg(long, conflicts_with = "svg")]
    json: bool,
    /// Write an SVG diagram to FILE
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Reads the timelines, and returns the text to print.
pub(crate) fn run(args: &Args) -> Result<String> {
    let root = Root::open(&args.root)?;
    let mut problems = Vec::new();
    let timelines = Timelines::of(&root, &mut problems);
    if let Some(problem) = problems.into_iter().next() {
        return Err(problem.into());
    }
    if let Some(path) = &args.svg {
        if timelines.gpus.iter().all(|gpu| gpu.steps.is_empty()) {
            bail!("nothing to draw: {}", timelines.nothing());
        }
        let shown = path.display();
        fs::write(path, svg::draw(&timelines))
            .with_context(|| format!("failed to write {shown}"))?;
        return Ok(String::new());
    }
    Ok(if args.json { json(&timelines)? } else { timelines.to_string() })
}

/// The timelines of all GPUs.
#[derive(Debug, Serialize)]
struct Timelines {
    schema: u32,
    written_by: Option<String>,
    gpus: Vec<Gpu>,
}

#[derive(Debug, Serialize)]
struct Gpu {
    device: DeviceName,
    state: State,
    reason: &'static str,
    /// Time of the hold, in microseconds since boot. The end is null while the hold lasts.
    hold: Option<Hold>,
    /// Steps in chronological order.
    steps: Vec<Step>,
    /// Lanes without any step.
    unknown: Vec<Lane>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Hold {
    from_us: u64,
    to_us: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Step {
    at_us: u64,
    lane: Lane,
    step: String,
    detail: String,
    by: By,
}

/// Subject of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Lane {
    /// protheap.ko was loaded, or a module that registers a heap.
    Modules,
    /// A TEE or another provider of heaps.
    Tee,
    Heaps,
    /// The hold of the GPU's probe.
    Hold,
    /// Selections and bindings.
    Bind,
    /// The GPU driver has probed.
    Probe,
    /// Buffers were allocated, handed over or taken.
    Buffers,
}

impl Lane {
    const ALL: [Self; 7] =
        [Self::Modules, Self::Tee, Self::Heaps, Self::Hold, Self::Bind, Self::Probe, Self::Buffers];

    fn of(step: &str) -> Self {
        match step {
            "provider-probed" | "provider-failed" => Self::Tee,
            "module-loading" | "module-loaded" | "module-failed" => Self::Modules,
            "heap-appeared" => Self::Heaps,
            "hold-started" | "no-hold" => Self::Hold,
            "already-probed" | "no-consumer" => Self::Probe,
            "tried" | "in-use" | "supplied" | "supply-failed" => Self::Buffers,
            _ => Self::Bind,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Modules => "modules",
            Self::Tee => "tee",
            Self::Heaps => "heaps",
            Self::Hold => "hold",
            Self::Bind => "bind",
            Self::Probe => "probe",
            Self::Buffers => "buffers",
        }
    }
}

/// Source of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum By {
    /// The binder or the daemon, at the time of the event.
    #[serde(rename = "state.json")]
    StateFile,
    /// udev, when it first saw the device, which was there already.
    #[serde(rename = "udev")]
    Udev,
}

impl Timelines {
    fn of(root: &Root, problems: &mut Vec<Problem>) -> Self {
        let file = state_file::read(root, problems);
        let gpus = file.as_ref().map(|file| file.gpus.as_slice()).unwrap_or_default();
        let gpus = gpus.iter().map(|gpu| Gpu::of(root, gpu)).collect();
        Self { schema: SCHEMA, written_by: file.map(|file| file.written_by), gpus }
    }

    /// Returns why there are no steps.
    fn nothing(&self) -> &'static str {
        match (&self.written_by, self.gpus.is_empty()) {
            (None, _) => "/run/protheap/state.json does not exist",
            (Some(_), true) => "state.json lists no GPU",
            (Some(_), false) => "no events are recorded",
        }
    }
}

impl Gpu {
    fn of(root: &Root, gpu: &GpuState) -> Self {
        let written = gpu.timeline.iter().map(|step| Step {
            at_us: step.at.0,
            lane: Lane::of(&step.step),
            step: step.step.to_string(),
            detail: step.detail.clone(),
            by: By::StateFile,
        });
        let mut steps: Vec<_> = written.collect();
        steps.extend(udev::seen(root, gpu));
        // The sort is stable: steps of the same time keep their order.
        steps.sort_by_key(|step| step.at_us);
        let is_known = |lane: &Lane| steps.iter().any(|step| step.lane == *lane);
        Self {
            device: gpu.device.clone(),
            state: gpu.state,
            reason: Reason::optional_str(gpu.reason),
            hold: hold(gpu),
            unknown: Lane::ALL.into_iter().filter(|lane| !is_known(lane)).collect(),
            steps,
        }
    }
}

/// Returns when the GPU was held. A device is held once in each boot.
fn hold(gpu: &GpuState) -> Option<Hold> {
    let from_us = gpu.timeline.iter().find(|step| step.step == "hold-started")?.at.0;
    let to_us = gpu.state.is_end().then(|| from_us.saturating_add(gpu.held_us));
    Some(Hold { from_us, to_us })
}

/// Formats microseconds as milliseconds.
fn milliseconds(us: u64) -> String {
    format!("{}.{:03}", us / 1_000, us % 1_000)
}

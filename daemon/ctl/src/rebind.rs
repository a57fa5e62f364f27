// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl rebind`: repeats heap selection for a GPU.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::bus;
use crate::output::{Sanitized, joined, json};

/// Version of the `--json` output.
const SCHEMA: u32 = 1;

/// Which GPU, and how to print the result.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
protheapd checks the heaps again, and selects one. A binding that a driver uses is never changed:
unload the driver first, or reboot. docs/protheapctl.md describes the JSON.

Exit status: 0 if the selection was started, 1 on failure, 2 on a usage error, 3 if protheapd is
not running.")]
pub(crate) struct Args {
    /// Device name of the GPU, such as fb000000.gpu; optional on a board with one GPU
    gpu: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The state of the GPU afterwards.
#[derive(Debug, Serialize)]
struct Rebound {
    schema: u32,
    device: String,
    state: String,
    reason: String,
    heap: Option<String>,
}

/// Sends the request, and returns the text to print.
pub(crate) fn run(args: &Args) -> Result<String> {
    let rebound = bus::ask(async |connection| {
        let gpu = bus::gpu(&connection, args.gpu.as_deref()).await?;
        gpu.rebind().await?;
        Ok(Rebound {
            schema: SCHEMA,
            device: gpu.device().await?,
            state: gpu.state().await?,
            reason: gpu.reason().await?,
            heap: Some(gpu.heap().await?).filter(|heap| !heap.is_empty()),
        })
    })?;
    Ok(if args.json { json(&rebound)? } else { rebound.to_string() })
}

impl fmt::Display for Rebound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, state, reason, heap, .. } = self;
        let why = if reason.is_empty() { "" } else { ", " };
        let heap = joined(heap, "no heap");
        writeln!(f, "{}: {}{why}{}: {heap}", Sanitized(device), Sanitized(state), Sanitized(reason))
    }
}

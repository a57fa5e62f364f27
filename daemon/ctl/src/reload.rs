// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl reload`: makes protheapd reload the policies.

use anyhow::Result;
use protheap_client::{Error, ManagerProxy};
use serde::Serialize;
use zbus::proxy::CacheProperties;

use crate::bus;
use crate::tame::{joined, json};

/// Version of the `--json` output.
const SCHEMA: u32 = 1;

/// How to print which policies apply then.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
protheapd also sees by itself when a policy changes. What is bound stays: `protheapctl` says what
the next boot will bind. docs/protheapctl.md describes the JSON.

Exit status: 0 if it was done, 1 if it failed, 2 for wrong usage, 3 if protheapd does not run.")]
pub(crate) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Reloaded {
    schema: u32,
    policies: Vec<String>,
}

/// Sends the request, and returns the text to print.
pub(crate) fn run(args: &Args) -> Result<String> {
    let policies = bus::ask(async |connection| {
        let manager = ManagerProxy::builder(&connection).cache_properties(CacheProperties::No);
        let manager = manager.build().await.map_err(Error::from)?;
        manager.reload().await?;
        Ok(manager.policies().await?)
    })?;
    Ok(if args.json {
        json(&Reloaded { schema: SCHEMA, policies })?
    } else {
        format!("policies {}\n", joined(policies, "none"))
    })
}

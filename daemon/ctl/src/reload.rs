// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl reload`: makes protheapd reload the policies.

use anyhow::Result;
use protheap_client::{Error, ManagerProxy};
use serde::Serialize;
use zbus::proxy::CacheProperties;

use crate::bus;
use crate::output::{joined, json};

/// Version of the `--json` output.
const SCHEMA: u32 = 1;

/// How to print the policies that apply afterwards.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
protheapd also detects changes of policies by itself. Existing bindings are not changed:
`protheapctl status` shows what the next boot will bind. docs/protheapctl.md describes the JSON.

Exit status: 0 on success, 1 on failure, 2 on a usage error, 3 if protheapd is not running.")]
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

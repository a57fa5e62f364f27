// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl schema`: what a policy may say, as editors read it.

use anyhow::Result;

/// It takes no options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Makes the schema.
pub(crate) fn run() -> Result<String> {
    Ok(String::new())
}

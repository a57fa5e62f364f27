// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask dist`: source archives, packages and images, made by `packaging/`.

pub(crate) mod arch;
pub(crate) mod deb;
pub(crate) mod dkms;
mod layout;
pub(crate) mod lists;
pub(crate) mod offline;
pub(crate) mod reproducible;
pub(crate) mod rpm;
pub(crate) mod sbom;
pub(crate) mod selinux;
pub(crate) mod source;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use crate::cache::{self, Workspace};
use crate::uki;

/// Arguments of the `dist` command.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make the archives of the source and of its crates
    Source(To),
    /// List the files that dracut, initramfs-tools and mkosi put into initrds
    Initrds(To),
    /// Make the CycloneDX bills of materials of the programs
    Sbom(To),
    /// Make one signed unified kernel image for the demonstration's boards
    Uki(uki::Args),
    /// Make Debian's packages for arm64
    Deb(To),
    /// Make packages for Fedora and its derivatives
    Rpm(To),
    /// Make packages for Arch Linux
    Arch(To),
    /// Make and check one of them, as `cargo xtask test` does
    Check {
        /// Artifact to check
        what: Check,
    },
}

/// Artifacts that can be checked.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Check {
    Deb,
    Rpm,
    Arch,
    Dkms,
    Reproducible,
}

impl Check {
    fn run(self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Deb => deb::check(workspace),
            Self::Rpm => rpm::check(workspace),
            Self::Arch => arch::check(workspace),
            Self::Dkms => dkms::check(workspace),
            Self::Reproducible => reproducible::check(workspace),
        }
    }
}

/// Output directory.
#[derive(Debug, ClapArgs)]
struct To {
    /// Output directory
    #[arg(default_value = "target/dist")]
    directory: PathBuf,
}

impl To {
    /// Creates the directory and returns its absolute path.
    fn open(&self) -> Result<PathBuf> {
        let directory =
            std::path::absolute(&self.directory).context("failed to find the directory")?;
        cache::create_dir(&directory)?;
        Ok(directory)
    }
}

/// Runs the `dist` command.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    let made = match &args.what {
        What::Sbom(to) => sbom::write(workspace, &to.open()?)?,
        What::Source(to) => source::archives(workspace, &to.open()?)?,
        What::Uki(args) => vec![uki::write(workspace, args)?],
        What::Initrds(to) => lists::write(workspace, &to.open()?)?,
        What::Deb(to) => deb::write(workspace, &to.open()?)?,
        What::Rpm(to) => rpm::write(workspace, &to.open()?)?,
        What::Arch(to) => arch::write(workspace, &to.open()?)?,
        What::Check { what } => what.run(workspace).map(|()| Vec::new())?,
    };
    for path in made {
        println!("wrote {}", path.display());
    }
    Ok(true)
}
